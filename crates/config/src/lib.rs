//! What a node is told at boot: the command line.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]
