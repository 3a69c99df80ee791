//! When a bulk endpoint that answered NAK is asked again by a controller that does not do so by itself.
//!
//! Asking costs about 4 µs of the guest while it runs, but waking a sleeping virtual CPU for it 100 to 300 µs of a host
//! core. In one series (QEMU 10, a two-core host that was busy otherwise) an idle node took 11 % of a core at 1 ms, 6 % at
//! 10 ms, 5.4 % at 16 ms, 4 % at 33 ms and still 3.4 to 4.3 % at 1 s: that is the model's own timer of 1 ms, which a guest
//! can't stop. On a quiet host, where each waking costs more, it was 8 % at 33 ms and 6 % at 1 s.
//! Between those two lies 66 ms: 3.2 to 3.8 % where 33 ms took 4.8 to 5.3 % (host load 2 to 4).
//!
//! So a node that moves data asks often, one in a conversation (a ping every second) often enough to answer within a
//! millisecond, and one that nobody talks to seldom. Data on any bulk endpoint counts: who just sent a frame is likely
//! to get one.

use embassy_time::{Duration, Instant};

/// Instants at which an idle node does what can wait are multiples of this: one waking serves all endpoints.
///
/// It is also the longest that the first frame after a silence waits.
pub const GRID: Duration = Duration::from_micros(65_536);

/// While the last data is less than so long ago (µs), ask at this interval (µs). Later, on the grid.
const STEPS: [(u64, u64); 4] = [(1_000, 20), (5_000, 50), (50_000, 250), (2_500_000, 500)];

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

    /// Returns when to ask again.
    ///
    /// A controller that retries by itself only comes here after flow control at high speed, where the next
    /// microframe is due.
    #[must_use]
    pub fn next(&self, now: Instant) -> Instant {
        if !self.is_needed {
            return now + Duration::from_micros(125);
        }
        let idle_us = self.last_traffic.and_then(|last| now.checked_duration_since(last)).map(|idle| idle.as_micros());
        match STEPS.iter().find(|(until_us, _)| idle_us.is_some_and(|idle_us| idle_us < *until_us)) {
            Some((_, rest_us)) => now + Duration::from_micros(*rest_us),
            None => on_grid(now + GRID),
        }
    }
}

/// Returns the last instant of the grid that is not later.
#[must_use]
pub fn on_grid(at: Instant) -> Instant {
    Instant::from_ticks(at.as_ticks() / GRID.as_ticks() * GRID.as_ticks())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longer_nothing_moves_the_less_often_it_asks() {
        let mut pace = Pace::new(true);
        let start = Instant::from_micros(1_000_000);
        assert!(pace.next(start) <= start + GRID);
        pace.note_traffic(start);
        let mut last = Duration::from_micros(0);
        for idle_us in [0, 999, 1_000, 5_000, 50_000, 2_400_000] {
            let now = start + Duration::from_micros(idle_us);
            let rest = pace.next(now) - now;
            assert!(rest >= last && rest <= Duration::from_micros(500), "{rest} after {idle_us} µs");
            last = rest;
        }
        let idle = start + Duration::from_secs(10);
        let next = pace.next(idle);
        assert!(next > idle && next <= idle + GRID);
        assert_eq!(next.as_ticks() % GRID.as_ticks(), 0);
    }
}
