//! Random numbers and random times that are the same for the same seed, and numbers with units as people write them: what
//! workloads and faults are told, and what they draw.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]
#![cfg_attr(test, expect(clippy::unwrap_used, reason = "a test that cannot go on should panic"))]

pub mod distribution;
pub mod random;
pub mod unit;

pub use distribution::Distribution;
pub use random::Random;
pub use unit::Unit;
