//! The driver for GENET over the model of its registers.
#![expect(clippy::unwrap_used, reason = "a failed unwrap fails the test, as it should")]

mod board;
mod faults;
mod frames;
mod link;
mod soak;
mod stack;
