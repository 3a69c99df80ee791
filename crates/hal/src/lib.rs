//! Seams between drivers and the machine they run on.
//!
//! A driver takes what it needs through these types, so the same driver runs on a Pi and, over fakes, in host tests.
//! Time is not here: everything uses `embassy_time`, whose driver the kernel (or `testkit`) supplies.
#![cfg_attr(not(test), no_std)]

pub mod dma;
