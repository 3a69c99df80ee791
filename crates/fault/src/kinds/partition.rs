//! `partition`: nothing passes, in both directions or in one.

use alloc::boxed::Box;

use super::Kind;
use super::drop::Drop;
use crate::effect::Effect;
use crate::words::ALL;

pub(super) const KIND: Kind = Kind {
    name: "partition",
    help: "no frame passes; with dir=in or dir=out, in that direction",
    example: "partition peer=10.0.0.0/24 for=10s",
    subject: None,
    own: &[],
    is_of_frames: true,
    make: |_| Ok(Effect::Frames(Box::new(Drop { share: ALL }))),
};
