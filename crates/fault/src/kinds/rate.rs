//! `rate`: frames pass at a limited rate, in order, through a token bucket with a queue behind it.
//!
//! It is reckoned with virtual times (as the Generic Cell Rate Algorithm does, ITU-T I.371 annex A), one for each direction:
//! a frame leaves when the bucket has its bits, and is lost when that would be too late.

use alloc::boxed::Box;

use chance::{Random, Unit};

use super::Kind;
use crate::Direction;
use crate::effect::{Alter, Effect, Holds, Passing};
use crate::words::Key;

/// Without another word: one frame of the greatest length at once, and a queue of a usual router's depth.
const BURST: u64 = 1_514;
const QUEUE_US: u64 = 100_000;

pub(super) const KIND: Kind = Kind {
    name: "rate",
    help: "frames pass at a limited rate; what waits too long is lost",
    example: "rate rate=2Mbit/s burst=16k queue=50ms dir=out",
    subject: None,
    own: &[
        Key { name: "rate", form: "bits of frames per second, from 1k to 10G", help: "the rate, in each direction" },
        Key { name: "burst", form: "bytes from 1514 to 1M", help: "what passes at once after a pause; 1514" },
        Key { name: "queue", form: "a time up to 10s, such as 50ms", help: "the longest that a frame waits; 100ms" },
    ],
    is_of_frames: true,
    make: |words| {
        let rate = words.needed("rate", Unit::BitRate, 1_000..=10_000_000_000)?;
        let burst = words.number("burst", Unit::Bytes, BURST..=1 << 20)?.unwrap_or(BURST);
        let queue_us = words.number("queue", Unit::Time, 0..=super::delay::MAX_US)?.unwrap_or(QUEUE_US);
        Ok(Effect::Frames(Box::new(Rate { rate, burst_ns: time_ns(burst, rate), queue_us, full_ns: [0; 2] })))
    },
};

struct Rate {
    /// Bits per second.
    rate: u64,
    /// How long the bucket takes to fill.
    burst_ns: u64,
    queue_us: u64,
    /// When the bucket of each direction is full again, in ns.
    full_ns: [u64; 2],
}

/// Returns how long so many bytes take.
fn time_ns(bytes: u64, rate: u64) -> u64 {
    // At most 2^20 bytes at 1 kbit/s: 2^53.
    bytes * 8 * 1_000_000_000 / rate
}

impl Alter for Rate {
    fn alter(&mut self, frame: &mut Passing<'_>, _: &mut Random) {
        let [inward, outward] = &mut self.full_ns;
        let full_ns = if frame.direction == Direction::In { inward } else { outward };
        let now_ns = frame.at_us * 1_000;
        let next_ns = now_ns.max(*full_ns) + time_ns(frame.bytes.len() as u64, self.rate);
        // Up to the next µs: never faster than the rate.
        let at_us = next_ns.saturating_sub(self.burst_ns).div_ceil(1_000).max(frame.at_us);
        frame.is_hit = at_us > frame.at_us;
        if at_us - frame.at_us > self.queue_us {
            frame.is_lost = true;
        } else {
            *full_ns = next_ns;
            frame.at_us = at_us;
        }
    }

    fn keeps_order(&self) -> bool {
        true
    }

    fn holds(&self) -> Holds {
        Holds::Many
    }
}
