//! `reset`: the node restarts.

use super::Kind;
use crate::effect::{Effect, NodeFault};

pub(super) const KIND: Kind = Kind {
    name: "reset",
    help: "the node restarts",
    example: "reset after=10s",
    subject: None,
    own: &[],
    is_of_frames: false,
    make: |_| Ok(Effect::Node(NodeFault::Reset)),
};
