//! For tests only: fakes of what a node has and a host has not.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on should panic")]

pub mod dma;
pub mod genet;
pub mod mmio;
pub mod time;
pub mod usb;
