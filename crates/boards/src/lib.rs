//! Constant facts per board family.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]
