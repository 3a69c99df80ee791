//! USB host stack: DWC2 controller, enumeration, hubs, transfers.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]
