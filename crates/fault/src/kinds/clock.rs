//! `clock`: the wall clock is wrong.

use super::Kind;
use crate::effect::{Effect, NodeFault};
use crate::words::Key;

/// A year.
const MAX_US: i64 = 365 * 24 * 3_600 * 1_000_000;
const SKEW: Key = Key { name: "skew", form: "a time such as 500ms or -10s, up to a year", help: "how much it is ahead" };

pub(super) const KIND: Kind = Kind {
    name: "clock",
    help: "the time of day is wrong, for workloads and telemetry",
    example: "clock skew=-1.5s for=1m",
    subject: None,
    own: &[SKEW],
    is_of_frames: false,
    make: |words| Ok(Effect::Node(NodeFault::Clock(words.signed_time("skew", MAX_US)?))),
};
