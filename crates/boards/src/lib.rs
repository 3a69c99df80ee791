//! Constant facts per board family.
//!
//! Two questions are answered here, without touching any register: which SoC is this ([`Soc::from_midr`], and
//! [`Soc::facts`] for where everything is), and which board is it on ([`revision::Revision`]).
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

pub mod board;
pub mod revision;
pub mod soc;

pub use board::{Board, Ethernet, Led, LedLine};
pub use revision::{Model, Revision};
pub use soc::{Facts, InterruptController, Irq, RandomNumbers, Soc};
