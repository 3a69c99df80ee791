//! When a bulk endpoint that answered NAK is asked again by a controller that does not do so by itself.
//!
//! Asking costs about 4 µs of the guest while it runs, but waking a sleeping virtual CPU for it 100 to 300 µs of a host
//! core. What no guest can save is the model's own timer: as long as a device is plugged in, it wakes QEMU 1,000 times a
//! second, which alone takes 3.4 to 4.0 % of a core (QEMU 10, two-core host, guest asleep in WFI and nothing else). With
//! bulk and slow interrupt endpoints asked at the same instants, every 66 ms, an idle node is woken 20 times a second, takes
//! 0.5 % for itself and 4.0 to 4.1 % in all; when each kept its own time it was 53 wakings and 4.6 to 4.8 %.
//!
//! So a node that moves data asks often, one in a conversation (a ping every second) often enough to answer within a
//! millisecond, and one that nobody talks to seldom. Who just sent a frame is in a conversation; who only got one is not: a
//! network has broadcasts enough to keep every node of a rack from idling.

use embassy_time::{Duration, Instant};

use crate::host::Direction;

/// Instants at which an idle node does what can wait are multiples of this: one waking serves all endpoints.
///
/// It is also the longest that the first frame after a silence waits.
const GRID: Duration = Duration::from_micros(65_536);

/// An interrupt endpoint that may be asked this seldom is asked on the grid: what it has to say is not urgent. usb-net's,
/// which tells about the link, says 32 ms.
const SLOW: Duration = Duration::from_micros(GRID.as_ticks() / 4);

/// While the last data in either direction is less than so long ago (µs), ask at this interval (µs).
const BUSY: [(u64, u64); 3] = [(1_000, 20), (5_000, 50), (50_000, 250)];
/// The same with the last data sent. Later, on the grid.
const CONVERSATION: (u64, u64) = (2_500_000, 500);

/// Paces by the time since data last moved.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pace {
    is_needed: bool,
    last_traffic: Option<Instant>,
    last_sent: Option<Instant>,
}

impl Pace {
    /// Makes a pace for a controller that needs to be paced, or for one that retries by itself.
    #[must_use]
    pub fn new(is_needed: bool) -> Self {
        Self { is_needed, last_traffic: None, last_sent: None }
    }

    /// Notes that data moved.
    pub fn note_traffic(&mut self, direction: Direction, now: Instant) {
        self.last_traffic = Some(now);
        if direction == Direction::Out {
            self.last_sent = Some(now);
        }
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
        let busy = BUSY.iter().find(|(until_us, _)| is_within(self.last_traffic, *until_us, now));
        let conversation = Some(&CONVERSATION).filter(|(until_us, _)| is_within(self.last_sent, *until_us, now));
        match busy.or(conversation) {
            Some((_, rest_us)) => now + Duration::from_micros(*rest_us),
            None => on_grid(now + GRID),
        }
    }
}

/// Returns whether there is a last time and it is less than `us` ago.
fn is_within(last: Option<Instant>, us: u64, now: Instant) -> bool {
    last.and_then(|last| now.checked_duration_since(last)).is_some_and(|idle| idle.as_micros() < us)
}

/// Returns when an interrupt endpoint is asked next that was asked `now`: after its interval, or, if that is long, on the
/// grid, so that the slow ones wait for each other and an idle core sleeps longer at a time.
#[must_use]
pub fn next_poll(now: Instant, interval: Duration) -> Instant {
    let next = now + interval;
    if interval >= SLOW { on_grid(next) + GRID } else { next }
}

/// Returns the last instant of the grid that is not later.
fn on_grid(at: Instant) -> Instant {
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
        pace.note_traffic(Direction::Out, start);
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

    #[test]
    fn slow_interrupt_endpoints_are_asked_together_and_fast_ones_at_their_interval() {
        let now = Instant::from_micros(1_000_003);
        let slow = next_poll(now, Duration::from_millis(32));
        assert_eq!(slow, next_poll(now + Duration::from_micros(777), Duration::from_millis(17)));
        assert!(slow - now >= Duration::from_millis(32) && slow - now <= Duration::from_millis(32) + GRID);
        assert_eq!(next_poll(now, Duration::from_millis(1)), now + Duration::from_millis(1));
    }

    #[test]
    fn a_frame_that_is_not_answered_keeps_nobody_awake() {
        let mut pace = Pace::new(true);
        let start = Instant::from_micros(1_000_000);
        pace.note_traffic(Direction::In, start);
        let soon = start + Duration::from_micros(49_000);
        assert_eq!(pace.next(soon), soon + Duration::from_micros(250));
        let later = start + Duration::from_micros(51_000);
        assert_eq!(pace.next(later).as_ticks() % GRID.as_ticks(), 0);
        pace.note_traffic(Direction::Out, start);
        assert_eq!(pace.next(later), later + Duration::from_micros(500));
    }
}
