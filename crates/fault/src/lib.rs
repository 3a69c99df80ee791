//! Faults: disturbances that a user injects on purpose, to see what an architecture makes of them.
//!
//! [`Spec::parse`] reads what a user types, such as `drop share=5% dir=out peer=10.0.0.2 for=30s`. A [`Plane`] holds the faults
//! of a node, and decides the fate of each frame that passes between the NIC and the stack. It knows neither: frames
//! are bytes, and time is what it is told, in µs. Faults of the node itself, such as a core that stands still, are only
//! scheduled here: [`Plane::next_event`] says when they begin and end.
//!
//! What holds for every fault:
//!
//! - It ends by itself: each has a duration ([`spec::FOR_DEFAULT_US`], at most [`spec::FOR_MAX_US`]).
//! - The control channel is exempt unless a fault asks for it (see [`control`]).
//! - The same packets have the same fate: what happens to the k-th packet in a direction that a fault matches depends on k, the
//!   direction, its seed and its words, and on nothing else (but on time, where it is about time).
//! - Memory is bounded, and taken when a fault is added that needs it, not when a frame comes.
//!
//! Adding a kind of fault is one file in `kinds` and one line in the table there.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]
#![cfg_attr(
    test,
    allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that can't go on must stop")
)]

extern crate alloc;

pub mod control;
mod effect;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod held;
pub mod kinds;
mod matcher;
mod packet;
mod plane;
mod rule;
pub mod spec;
mod view;
mod words;

pub use effect::{NAME_MAX, NodeFault};
pub use kinds::{KINDS, Kind};
pub use plane::{AddError, Event, Fate, Moment, Plane, RULES_MAX, Totals};
pub use spec::{Spec, SpecError};
pub use view::{State, View};
pub use words::Key;

/// The way of a frame, as the node sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the network to the node.
    In,
    /// From the node to the network.
    Out,
}
