//! `drop`: frames are lost, each independently of the others.

use alloc::boxed::Box;

use chance::Random;

use super::{Kind, share};
use crate::effect::{Alter, Effect, Holds, Passing};
use crate::words::ALL;

pub(super) const KIND: Kind = Kind {
    name: "drop",
    help: "frames are lost",
    example: "drop share=5% dir=out peer=10.0.0.7 for=30s",
    subject: None,
    own: &[share("how many of the frames; 100%")],
    is_of_frames: true,
    make: |words| Ok(Effect::Frames(Box::new(Drop { share: words.share(ALL)? }))),
};

/// Also what a partition is, with a share of all.
pub(super) struct Drop {
    pub(super) share: u64,
}

impl Alter for Drop {
    fn alter(&mut self, frame: &mut Passing<'_>, random: &mut Random) {
        frame.is_hit = random.happens(self.share);
        frame.is_lost |= frame.is_hit;
    }

    fn holds(&self) -> Holds {
        Holds::None
    }
}
