//! How soon a bulk endpoint that answered NAK is asked again by a controller that does not do so by itself.
//!
//! Asking costs: about 4 µs of the guest while it runs, and waking a sleeping virtual CPU about 20 µs of a host core. So a
//! node that moves data asks often, and one that idles once a millisecond, which bounds the latency of the first
//! frame of a conversation. Data on any bulk endpoint counts: who just sent a frame is likely to get one.

use embassy_time::{Duration, Instant};

/// Since the last data at least so long ago (µs), ask at this interval (µs).
const STEPS: [(u64, u64); 4] = [(0, 20), (1_000, 50), (5_000, 250), (50_000, 1_000)];

/// Paces by the time since data last moved.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pace {
    is_needed: bool,
    last_traffic: Option<Instant>,
}

impl Pace {
    /// Makes a pace for a controller that needs to be paced, or for one that retries by itself.
    #[must_use]
    pub fn new(is_needed: bool) -> Self {
        Self { is_needed, last_traffic: None }
    }

    /// Notes that data moved.
    pub fn note_traffic(&mut self, now: Instant) {
        self.last_traffic = Some(now);
    }

    /// Returns how long to rest before asking again.
    ///
    /// A controller that retries by itself only comes here after flow control at high speed, where the next
    /// microframe is due.
    #[must_use]
    pub fn rest(&self, now: Instant) -> Duration {
        if !self.is_needed {
            return Duration::from_micros(125);
        }
        let idle_us = self
            .last_traffic
            .map_or(u64::MAX, |last| now.checked_duration_since(last).map_or(0, |idle| idle.as_micros()));
        let rest_us = STEPS.iter().rev().find(|(since_us, _)| idle_us >= *since_us).map_or(20, |(_, rest_us)| *rest_us);
        Duration::from_micros(rest_us)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longer_nothing_moves_the_less_often_it_asks() {
        let mut pace = Pace::new(true);
        let start = Instant::from_micros(1_000_000);
        assert_eq!(pace.rest(start), Duration::from_millis(1));
        pace.note_traffic(start);
        let mut last = Duration::from_micros(0);
        for idle_us in [0, 500, 1_000, 5_000, 50_000, 10_000_000] {
            let rest = pace.rest(start + Duration::from_micros(idle_us));
            assert!(rest >= last && rest <= Duration::from_millis(1), "{rest} after {idle_us} µs");
            last = rest;
        }
        assert_eq!(last, Duration::from_millis(1));
    }
}
