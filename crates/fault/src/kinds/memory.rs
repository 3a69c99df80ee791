//! `memory`: memory gets scarce.

use super::Kind;
use crate::effect::{Effect, NodeFault};
use crate::words::Key;
use chance::Unit;

const TAKE: Key = Key { name: "take", form: "bytes up to 1G, such as 32M", help: "how much" };

pub(super) const KIND: Kind = Kind {
    name: "memory",
    help: "so much of the heap is taken",
    example: "memory take=32M for=30s",
    subject: None,
    own: &[TAKE],
    is_of_frames: false,
    make: |words| Ok(Effect::Node(NodeFault::Memory(words.needed("take", Unit::Bytes, 1..=1 << 30)?))),
};
