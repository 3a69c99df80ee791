//! The crash report and the black box that survives a reset.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]
