//! Drivers of the SoC's own blocks.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]
