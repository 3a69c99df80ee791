//! `delay`: frames come later, in the order in which they were sent.

use alloc::boxed::Box;

use chance::{Distribution, Random, Unit};

use super::{Kind, share};
use crate::effect::{Alter, Effect, Holds, Passing};
use crate::spec::SpecError;
use crate::words::{ALL, Key};

/// The longest time that a frame is held.
pub(super) const MAX_US: u64 = 10_000_000;

pub(super) const KIND: Kind = Kind {
    name: "delay",
    help: "frames come later, and keep their order",
    example: "delay time=20ms jitter=5ms dir=in proto=tcp for=1m",
    subject: None,
    own: &[
        Key {
            name: "time",
            form: "a time up to 10s, constant:5ms, uniform:1ms-9ms, exponential:5ms, lognormal:5ms,0.5 or list:1ms,20ms",
            help: "how much later",
        },
        Key { name: "jitter", form: "a time up to 10s, such as 2ms", help: "up to so much more or less; none" },
        share("how many of the frames; 100%"),
    ],
    is_of_frames: true,
    make: |words| {
        let time = words.distribution("time", MAX_US)?.ok_or(SpecError::Missing { kind: &KIND_REF, what: "time" })?;
        let jitter_us = words.number("jitter", Unit::Time, 0..=MAX_US)?.unwrap_or(0);
        Ok(Effect::Frames(Box::new(Delay { time, jitter_us, share: words.share(ALL)?, keeps_order: true })))
    },
};

static KIND_REF: Kind = KIND;

/// Also what a reordering is, without keeping the order.
pub(super) struct Delay {
    pub(super) time: Distribution,
    pub(super) jitter_us: u64,
    pub(super) share: u64,
    pub(super) keeps_order: bool,
}

impl Alter for Delay {
    fn alter(&mut self, frame: &mut Passing<'_>, random: &mut Random) {
        if random.happens(self.share) {
            let shift = random.below(2 * self.jitter_us + 1);
            // Never longer than what memory was made for, whatever a distribution without an end gives.
            let time = (self.time.draw(random).min(MAX_US) + shift).saturating_sub(self.jitter_us).min(MAX_US);
            frame.at_us += time;
            frame.is_hit = true;
        }
    }

    fn keeps_order(&self) -> bool {
        self.keeps_order
    }

    fn holds(&self) -> Holds {
        Holds::Many
    }
}
