//! `reorder`: some frames are held back, and those behind them overtake.

use alloc::boxed::Box;

use chance::Distribution;

use super::delay::{Delay, MAX_US};
use super::{Kind, share};
use crate::effect::Effect;
use crate::words::Key;

/// Without another word: long enough to be overtaken, shorter than any time-out.
const TIME_US: u64 = 10_000;
const SHARE: u64 = 100_000;

pub(super) const KIND: Kind = Kind {
    name: "reorder",
    help: "some frames are held back, and others overtake them",
    example: "reorder share=20% time=uniform:1ms-5ms dir=in",
    subject: None,
    own: &[
        share("how many of the frames are held back; 10%"),
        Key { name: "time", form: "a time up to 10s, or as for delay", help: "for how long; 10ms" },
    ],
    is_of_frames: true,
    make: |words| {
        let time = words.distribution("time", MAX_US)?.unwrap_or(Distribution::Constant(TIME_US));
        Ok(Effect::Frames(Box::new(Delay { time, jitter_us: 0, share: words.share(SHARE)?, keeps_order: false })))
    },
};
