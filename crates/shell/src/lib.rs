//! The shell: a line editor over bytes, and a table of commands that are run against a [`Node`].
//!
//! Nothing here waits or allocates. Bytes come in through [`Shell::feed`], text goes out through `fmt::Write`, and a view
//! that refreshes itself is drawn by [`Shell::tick`]; so the same shell serves the serial line and a network session.
//! [`Script`] runs the same commands for a program: without prompt and echo, with a status.
//! Text goes out with `\n` alone at the end of a line: whoever drives a terminal makes `\r\n` of it.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]
#![cfg_attr(test, expect(clippy::unwrap_used, reason = "a test that cannot go on should panic"))]

// Brings the clock that the workloads' embassy-time is linked with in tests.
#[cfg(test)]
use testkit as _;

pub mod commands;
mod history;
pub mod keys;
mod line;
pub mod node;
mod script;
mod session;
mod view;

pub use commands::{COMMANDS, Command, Failure, execute};
pub use node::{Crash, Node};
pub use script::Script;
pub use session::{Flow, Shell, Terminal};
