//! `duplicate`: frames come twice, one right behind the other.

use alloc::boxed::Box;

use chance::Random;

use super::{Kind, share};
use crate::effect::{Alter, Effect, Holds, Passing};
use crate::words::ALL;

pub(super) const KIND: Kind = Kind {
    name: "duplicate",
    help: "frames come twice",
    example: "duplicate share=10% proto=udp",
    subject: None,
    own: &[share("how many of the frames; 100%")],
    is_of_frames: true,
    make: |words| Ok(Effect::Frames(Box::new(Duplicate { share: words.share(ALL)? }))),
};

struct Duplicate {
    share: u64,
}

impl Alter for Duplicate {
    fn alter(&mut self, frame: &mut Passing<'_>, random: &mut Random) {
        frame.is_hit = random.happens(self.share);
        frame.is_doubled |= frame.is_hit;
    }

    fn holds(&self) -> Holds {
        Holds::Few
    }
}
