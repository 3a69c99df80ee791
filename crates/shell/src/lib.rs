//! The serial shell: line editor and command table.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]
