//! How long to wait before the next attempt to reach a server that was away.

use embassy_futures::select::select;
use embassy_time::{Duration, Timer};

use crate::random::Random;
use crate::stack::Stack;

/// The first wait is at most this long, and each further one up to twice as long as the one before it.
const FIRST: Duration = Duration::from_millis(500);
/// The longest wait: a server that comes back has its nodes back within it.
const LONGEST: Duration = Duration::from_secs(30);

/// Exponential backoff with jitter: half of each wait is random, so that the nodes of a rack do not all come at once when
/// their server is back.
pub struct Backoff {
    random: Random,
    next: Duration,
}

impl Backoff {
    /// Makes one whose delays follow from `seed`, which should differ between nodes and services.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { random: Random::new(seed), next: FIRST }
    }

    /// Makes one for a client on the given port.
    #[must_use]
    pub fn of(stack: &Stack, port: u16) -> Self {
        Self::new(stack.settings.seed ^ u64::from(port))
    }

    /// Forgets earlier failures: the server was there.
    pub fn reset(&mut self) {
        self.next = FIRST;
    }

    /// Returns the next delay.
    pub fn delay(&mut self) -> Duration {
        let half = self.next.as_micros() / 2;
        self.next = (self.next * 2).min(LONGEST);
        Duration::from_micros(half + self.random.below(half))
    }

    /// Waits for the next delay, or until the node's link or addresses change, which may be what was missing.
    pub async fn wait(&mut self, stack: &Stack) {
        let epoch = stack.epoch();
        select(Timer::after(self.delay()), stack.wait_epoch(epoch)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_start_anew_after_a_success() {
        let mut backoff = Backoff::new(7);
        let mut bound = FIRST;
        for _ in 0..20 {
            let delay = backoff.delay();
            assert!(delay >= bound / 2 && delay <= bound, "{delay:?} of at most {bound:?}");
            bound = (bound * 2).min(LONGEST);
        }
        assert_eq!(bound, LONGEST);
        backoff.reset();
        assert!(backoff.delay() <= FIRST);
    }

    #[test]
    fn two_nodes_do_not_wait_for_the_same_time() {
        let (mut one, mut other) = (Backoff::new(1), Backoff::new(2));
        assert!((0..8).all(|_| one.delay() != other.delay()));
    }
}
