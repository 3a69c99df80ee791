//! The unchanged driver under the node's network stack.
