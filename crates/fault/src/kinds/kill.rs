//! `kill`: a workload loses its life, and gets another one.

use super::Kind;
use crate::effect::{Effect, NodeFault};
use crate::spec::name;

pub(super) const KIND: Kind = Kind {
    name: "kill",
    help: "a workload is stopped at once, and started anew at the end",
    example: "kill worker for=5s",
    subject: Some("WORKLOAD"),
    own: &[],
    is_of_frames: false,
    make: |words| Ok(Effect::Node(NodeFault::Kill(name(words.subject())?))),
};
