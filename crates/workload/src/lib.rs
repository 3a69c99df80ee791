//! The programs a node runs for its user.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]
