//! `stall`: a core stands still.

use super::Kind;
use crate::effect::{Effect, NodeFault};
use crate::words::Key;
use chance::Unit;

const CORE: Key = Key { name: "core", form: "a core from 1 to 3", help: "which" };

pub(super) const KIND: Kind = Kind {
    name: "stall",
    help: "a core that runs workloads does nothing at all",
    example: "stall core=2 for=500ms",
    subject: None,
    own: &[CORE],
    is_of_frames: false,
    make: |words| {
        let core = words.needed("core", Unit::Count, 1..=3)?;
        Ok(Effect::Node(NodeFault::Stall(core as u8)))
    },
};
