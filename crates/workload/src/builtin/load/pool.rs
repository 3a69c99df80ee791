//! Requests that are due, and connections that take them: what happens when, without any I/O.
//!
//! A request that is due goes to a connection that has nothing to do, else it waits; how long it waits belongs to its latency,
//! because a client that came at that moment would have waited as well. What waits is bounded, and what is dropped for that is counted.

use embassy_time::{Duration, Instant};
use heapless::{Deque, Vec};

use super::tally::{Event, Tally};

/// Connections at most.
pub(super) const CONNECTIONS_MAX: usize = 64;
/// Requests that wait for a connection at most.
pub(super) const WAITING_MAX: usize = 1024;

/// The state of all requests.
pub(super) struct Pool {
    pub(super) tally: Tally,
    /// When each of the requests was due that wait, the oldest first.
    waiting: Deque<Instant, WAITING_MAX>,
    /// Connections that have nothing to do.
    free: Vec<usize, CONNECTIONS_MAX>,
    busy: usize,
    timeout: Duration,
}

impl Pool {
    pub(super) fn new(now: Instant, timeout: Duration) -> Self {
        Self { tally: Tally::new(now), waiting: Deque::new(), free: Vec::new(), busy: 0, timeout }
    }

    /// Takes a request that was due at `due`; returns the connection that is to send it, if one is free.
    pub(super) fn offer(&mut self, due: Instant, now: Instant) -> Option<usize> {
        self.tally.count(Event::Offered);
        self.tally.note_behind(now.checked_duration_since(due).unwrap_or(Duration::MIN));
        self.expire(now);
        if let Some(connection) = self.free.pop() {
            self.busy += 1;
            return Some(connection);
        }
        if self.waiting.push_back(due).is_err() {
            self.tally.count(Event::Overload);
        }
        None
    }

    /// Gives a connection that has nothing to do the request that waits longest; without one, it is free.
    pub(super) fn take(&mut self, connection: usize, now: Instant) -> Option<Instant> {
        self.expire(now);
        let due = self.waiting.pop_front();
        match due {
            Some(_) => self.busy += 1,
            // There is a place for every connection.
            None => drop(self.free.push(connection)),
        }
        due
    }

    /// Takes a connection out of those that have nothing to do; returns whether it was one.
    pub(super) fn withdraw(&mut self, connection: usize) -> bool {
        let place = self.free.iter().position(|free| *free == connection);
        place.map(|place| self.free.swap_remove(place)).is_some()
    }

    /// Notes what became of a request that a connection had.
    pub(super) fn finish(&mut self, due: Instant, now: Instant, result: Result<(), Event>) {
        self.busy -= 1;
        match result {
            Ok(()) => self.tally.complete(now.checked_duration_since(due).unwrap_or(Duration::MIN)),
            Err(event) => self.tally.count(event),
        }
    }

    /// Gives up what has waited for too long.
    pub(super) fn expire(&mut self, now: Instant) {
        while self.waiting.front().is_some_and(|due| *due + self.timeout <= now) {
            self.waiting.pop_front();
            self.tally.count(Event::TimedOut);
        }
    }

    /// Returns how many requests are sent or wait.
    pub(super) fn under_way(&self) -> usize {
        self.busy + self.waiting.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Instant {
        Instant::from_millis(ms)
    }

    fn pool() -> Pool {
        Pool::new(ms(0), Duration::from_millis(500))
    }

    #[test]
    fn a_request_that_waits_for_a_connection_has_waited_when_it_is_answered() {
        let mut pool = pool();
        assert_eq!(pool.take(3, ms(0)), None);
        assert_eq!(pool.offer(ms(10), ms(10)), Some(3));
        assert_eq!(pool.offer(ms(20), ms(20)), None);
        assert_eq!(pool.under_way(), 2);
        // The peer stalls until 300 ms; the second answer comes a millisecond after it was sent.
        pool.finish(ms(10), ms(300), Ok(()));
        assert_eq!(pool.take(3, ms(300)), Some(ms(20)));
        pool.finish(ms(20), ms(301), Ok(()));
        assert_eq!((pool.under_way(), pool.tally.of(Event::Completed)), (0, 2));
        // A generator that had waited before it sent the second would report 1 ms for it.
        let [shortest, longest] = pool.tally.quantiles_us([1, 1_000_000]);
        assert!((278_000..=283_000).contains(&shortest) && (287_000..=293_000).contains(&longest), "{shortest} {longest}");
    }

    #[test]
    fn nothing_is_lost_from_the_count() {
        let mut pool = pool();
        for n in 0..3000 {
            assert_eq!(pool.offer(ms(n / 10), ms(n / 10)), None);
        }
        let counts = |pool: &Pool| {
            let of = |event| pool.tally.of(event);
            (of(Event::Offered), of(Event::Overload), of(Event::TimedOut), pool.under_way())
        };
        assert_eq!(counts(&pool), (3000, 3000 - 1024, 0, 1024));
        pool.expire(ms(550));
        assert_eq!(counts(&pool), (3000, 3000 - 1024, 501 + 9, 1024 - 510), "those due until 50 ms");
        assert_eq!(pool.take(0, ms(5000)), None);
        assert_eq!(counts(&pool), (3000, 3000 - 1024, 1024, 0));
        assert!(pool.withdraw(0) && !pool.withdraw(0));
        assert_eq!(pool.take(0, ms(5000)), None);
        assert_eq!(pool.offer(ms(5001), ms(5003)), Some(0));
        pool.finish(ms(5001), ms(5004), Err(Event::Lost));
        assert_eq!(pool.under_way(), 0);
    }
}
