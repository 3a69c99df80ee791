//! `pause`: a workload stands still.

use super::Kind;
use crate::effect::{Effect, NodeFault};
use crate::spec::name;

pub(super) const KIND: Kind = Kind {
    name: "pause",
    help: "a workload stands still in the middle of what it does",
    example: "pause worker for=5s",
    subject: Some("WORKLOAD"),
    own: &[],
    is_of_frames: false,
    make: |words| Ok(Effect::Node(NodeFault::Pause(name(words.subject())?))),
};
