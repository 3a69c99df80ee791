//! The crash report and the black box that survives a reset.
//!
//! A node that panics or takes an exception makes a [`Report`], shows it on the console, writes it into the [`BlackBox`]
//! and restarts; the next boot finds it there, shows it again and counts it. The [`journal`] beside it keeps the last log
//! lines. Nothing here touches hardware: what to
//! report, where the black box is and how memory is read is the kernel's.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

pub mod backtrace;
pub mod black_box;
pub mod esr;
pub mod journal;
pub mod report;
pub mod text;

pub use black_box::{BlackBox, Kept, Memory, Reports};
pub use report::{Kind, Registers, Report};
pub use text::Text;
