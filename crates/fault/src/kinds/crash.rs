//! `crash`: the node dies with a report.

use super::Kind;
use crate::effect::{Effect, NodeFault};
use crate::words::Key;
use chance::Unit;

const CORE: Key = Key { name: "core", form: "a core from 0 to 3", help: "which; 0" };

pub(super) const KIND: Kind = Kind {
    name: "crash",
    help: "a core crashes, and the node restarts",
    example: "crash core=2 after=10s",
    subject: None,
    own: &[CORE],
    is_of_frames: false,
    make: |words| {
        let core = words.number("core", Unit::Count, 0..=3)?.unwrap_or(0);
        Ok(Effect::Node(NodeFault::Crash(core as u8)))
    },
};
