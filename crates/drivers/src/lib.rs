//! Drivers of the SoC's own blocks.
//!
//! Each driver owns its registers and knows no address and no board. Waits are polled with a deadline; what may take
//! longer than a millisecond has an async form too.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

pub mod atags;
pub mod device_tree;
pub mod gpio;
pub mod interrupts;
pub mod led;
pub mod mailbox;
pub mod rng;
pub mod uart;
mod wait;
pub mod watchdog;

pub use wait::Timeout;
