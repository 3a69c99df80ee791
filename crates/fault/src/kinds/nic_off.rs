//! `nic-off`: the cable is pulled, as far as the stack can see.

use super::Kind;
use crate::effect::{Effect, NodeFault};

pub(super) const KIND: Kind = Kind {
    name: "nic-off",
    help: "the node sees its network cable pulled; SSH and all else are cut, too",
    example: "nic-off for=10s",
    subject: None,
    own: &[],
    is_of_frames: false,
    make: |_| Ok(Effect::Node(NodeFault::NicOff)),
};
