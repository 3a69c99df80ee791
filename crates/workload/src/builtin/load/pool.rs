//! Requests that are due, and connections that take them: what happens when, without any I/O.
//!
//! A request that is due goes to a connection that has nothing to do, else it waits; how long it waits belongs to its latency,
//! because a client that came at that moment would have waited as well. What waits is bounded, and what is dropped for that is counted.

use alloc::collections::{BinaryHeap, VecDeque};
use core::cmp::Reverse;

use embassy_time::{Duration, Instant};
use heapless::Vec;

use super::breaker::{Breaker, Limits, Ticket};
use super::retry::Policy;
use super::tally::{Event, Tally};

/// Connections at most.
pub(super) const CONNECTIONS_MAX: usize = 64;
/// Requests that wait for a connection at most.
pub(super) const WAITING_MAX: usize = 1024;
/// Requests that wait for another try at most.
const PAUSING_MAX: usize = 1024;

/// A request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Request {
    /// When it was due.
    pub(super) due: Instant,
    /// How often it was tried.
    pub(super) tries: u8,
}

/// A try that a connection has to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Order {
    pub(super) request: Request,
    ticket: Ticket,
}

/// The state of all requests.
pub(super) struct Pool {
    pub(super) tally: Tally,
    /// Requests that wait, the oldest first.
    waiting: VecDeque<Request>,
    /// Those that are to be tried again, and when: the next first.
    pausing: BinaryHeap<Reverse<(Instant, Request)>>,
    /// Connections that have nothing to do.
    free: Vec<usize, CONNECTIONS_MAX>,
    busy: usize,
    timeout: Duration,
    policy: Policy,
    breaker: Option<Breaker>,
}

impl Pool {
    pub(super) fn new(now: Instant, timeout: Duration, policy: Policy, breaker: Option<Limits>) -> Self {
        Self {
            tally: Tally::new(now),
            waiting: VecDeque::with_capacity(WAITING_MAX),
            pausing: BinaryHeap::with_capacity(if policy.retries > 0 { PAUSING_MAX } else { 0 }),
            free: Vec::new(),
            busy: 0,
            timeout,
            policy,
            breaker: breaker.map(Breaker::new),
        }
    }

    /// Takes a request that was due at `due`; returns the connection that is to send it, if one is free.
    pub(super) fn offer(&mut self, due: Instant, now: Instant) -> Option<(usize, Order)> {
        self.tally.count(Event::Offered);
        self.tally.note_behind(now.checked_duration_since(due).unwrap_or(Duration::MIN));
        self.expire(now);
        self.send(Request { due, tries: 0 }, now)
    }

    /// Gives a connection that has nothing to do the request that waits longest; without one, it is free.
    pub(super) fn take(&mut self, connection: usize, now: Instant) -> Option<Order> {
        self.expire(now);
        while let Some(request) = self.waiting.pop_front() {
            if let Some(order) = self.admit(request, now) {
                return Some(order);
            }
            self.expire(now);
        }
        // There is a place for every connection.
        let _ = self.free.push(connection);
        None
    }

    /// Takes a connection out of those that have nothing to do; returns whether it was one.
    pub(super) fn withdraw(&mut self, connection: usize) -> bool {
        let place = self.free.iter().position(|free| *free == connection);
        place.map(|place| self.free.swap_remove(place)).is_some()
    }

    /// Notes what became of a try that a connection had: the request is done, or is tried again after a pause.
    pub(super) fn finish(&mut self, order: Order, now: Instant, result: Result<(), Event>) {
        self.busy -= 1;
        if let Some(breaker) = &mut self.breaker
            && breaker.note(order.ticket, result.is_ok(), now)
        {
            self.tally.count(Event::Opened);
        }
        let Request { due, tries } = order.request;
        let Err(event) = result else {
            return self.tally.complete(now.checked_duration_since(due).unwrap_or(Duration::MIN));
        };
        let tries = tries.saturating_add(1);
        let at = now + self.policy.pause(tries);
        if tries <= self.policy.retries && at < due + self.timeout && self.pausing.len() < PAUSING_MAX {
            self.pausing.push(Reverse((at, Request { due, tries })));
        } else {
            self.tally.count(event);
        }
    }

    /// Returns when the next pause ends.
    pub(super) fn pause_end(&self) -> Option<Instant> {
        self.pausing.peek().map(|Reverse((at, _))| *at)
    }

    /// Puts those whose pause is over at the head of those that wait; returns the next for which a connection is free.
    pub(super) fn resume(&mut self, now: Instant) -> Option<(usize, Order)> {
        while self.pause_end().is_some_and(|at| at <= now) {
            let Some(Reverse((_, request))) = self.pausing.pop() else { break };
            let order = self.send(request, now);
            if order.is_some() {
                return order;
            }
        }
        None
    }

    /// Returns a free connection for a request, or has it wait.
    fn send(&mut self, request: Request, now: Instant) -> Option<(usize, Order)> {
        if let Some(connection) = self.free.pop() {
            let order = self.admit(request, now);
            if order.is_none() {
                // It has just left its place.
                let _ = self.free.push(connection);
            }
            return Some((connection, order?));
        }
        if self.waiting.len() >= WAITING_MAX {
            self.tally.count(Event::Overload);
        } else if request.tries > 0 {
            // It is older than nearly all that wait.
            self.waiting.push_front(request);
        } else {
            self.waiting.push_back(request);
        }
        None
    }

    /// Asks the circuit breaker, if there is one; what it does not let pass has failed.
    fn admit(&mut self, request: Request, now: Instant) -> Option<Order> {
        let ticket = match &mut self.breaker {
            Some(breaker) => breaker.admit(now),
            None => Some(Ticket::default()),
        };
        if ticket.is_none() {
            self.tally.count(Event::Rejected);
        }
        self.busy += usize::from(ticket.is_some());
        ticket.map(|ticket| Order { request, ticket })
    }

    /// Returns until when a try that is sent now may take.
    pub(super) fn deadline(&self, request: Request, now: Instant) -> Instant {
        let end = request.due + self.timeout;
        self.policy.try_timeout.map_or(end, |timeout| end.min(now + timeout))
    }

    /// Gives up what has waited for too long.
    pub(super) fn expire(&mut self, now: Instant) {
        while self.waiting.front().is_some_and(|request| request.due + self.timeout <= now) {
            self.waiting.pop_front();
            self.tally.count(Event::TimedOut);
        }
    }

    /// Returns how many requests are sent, wait, or are to be tried again.
    pub(super) fn under_way(&self) -> usize {
        self.busy + self.waiting.len() + self.pausing.len()
    }

    /// Returns the state of the circuit breaker as a number; 0 without one.
    pub(super) fn breaker_state(&mut self, now: Instant) -> u64 {
        self.breaker.as_mut().map_or(0, |breaker| breaker.state(now) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::super::retry::policy;
    use super::*;

    fn ms(ms: u64) -> Instant {
        Instant::from_millis(ms)
    }

    fn pool() -> Pool {
        Pool::new(ms(0), Duration::from_millis(500), policy(0, 0, 0), None)
    }

    #[test]
    fn a_request_that_waits_for_a_connection_has_waited_when_it_is_answered() {
        let mut pool = pool();
        assert_eq!(pool.take(3, ms(0)), None);
        let (connection, first) = pool.offer(ms(10), ms(10)).unwrap();
        assert_eq!((connection, first.request.due), (3, ms(10)));
        assert_eq!(pool.offer(ms(20), ms(20)), None);
        assert_eq!(pool.under_way(), 2);
        // The peer stalls until 300 ms; the second answer comes a millisecond after it was sent.
        pool.finish(first, ms(300), Ok(()));
        let second = pool.take(3, ms(300)).unwrap();
        assert_eq!(second.request.due, ms(20));
        pool.finish(second, ms(301), Ok(()));
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
        let (connection, order) = pool.offer(ms(5001), ms(5003)).unwrap();
        assert_eq!(connection, 0);
        pool.finish(order, ms(5004), Err(Event::Lost));
        assert_eq!(pool.under_way(), 0);
    }

    #[test]
    fn what_failed_is_tried_again_after_a_pause_and_counted_once() {
        let mut pool = Pool::new(ms(0), Duration::from_millis(500), policy(2, 100_000, 0), None);
        assert_eq!(pool.take(0, ms(0)), None);
        let (_, first) = pool.offer(ms(10), ms(10)).unwrap();
        pool.finish(first, ms(20), Err(Event::Lost));
        assert_eq!((pool.pause_end(), pool.under_way(), pool.tally.of(Event::Lost)), (Some(ms(120)), 1, 0));
        assert_eq!(pool.resume(ms(119)), None);
        // No connection is free: it goes before those that came after it.
        assert_eq!(pool.offer(ms(115), ms(115)), None);
        assert_eq!(pool.resume(ms(120)), None);
        let second = pool.take(0, ms(130)).unwrap();
        assert_eq!(second.request, Request { due: ms(10), tries: 1 });
        pool.finish(second, ms(140), Err(Event::BadAnswer));
        assert_eq!(pool.take(1, ms(150)).map(|order| order.request.due), Some(ms(115)));
        assert_eq!((pool.take(0, ms(340)), pool.pause_end()), (None, Some(ms(340))), "the second pause is 200 ms");
        let (_, third) = pool.resume(ms(340)).unwrap();
        pool.finish(third, ms(350), Err(Event::BadAnswer));
        let of = |event| pool.tally.of(event);
        assert_eq!((of(Event::Lost), of(Event::BadAnswer), pool.under_way()), (0, 1, 1), "two retries are all");
    }

    #[test]
    fn nothing_is_tried_again_whose_time_is_over_before() {
        let mut pool = Pool::new(ms(0), Duration::from_millis(500), policy(9, 400_000, 0), None);
        assert_eq!(pool.take(0, ms(0)), None);
        let (_, order) = pool.offer(ms(10), ms(10)).unwrap();
        pool.finish(order, ms(110), Err(Event::TimedOut));
        assert_eq!((pool.tally.of(Event::TimedOut), pool.under_way()), (1, 0));
    }

    #[test]
    fn an_open_breaker_fails_requests_at_once_and_its_connections_stay_free() {
        let limits = Limits {
            share_ppm: 500_000,
            window: Duration::from_millis(100),
            min: 2,
            open: Duration::from_millis(100),
            probes: 1,
        };
        let mut pool = Pool::new(ms(0), Duration::from_millis(500), policy(0, 0, 0), Some(limits));
        for n in 0..2 {
            assert_eq!(pool.take(0, ms(n)), None);
            let (_, order) = pool.offer(ms(n), ms(n)).unwrap();
            pool.finish(order, ms(n), Err(Event::BadAnswer));
        }
        assert_eq!((pool.take(0, ms(2)), pool.offer(ms(2), ms(2))), (None, None));
        let of = |pool: &Pool, event| pool.tally.of(event);
        assert_eq!((of(&pool, Event::Opened), of(&pool, Event::Rejected), pool.under_way()), (1, 1, 0));
        let (connection, probe) = pool.offer(ms(101), ms(101)).unwrap();
        assert_eq!((connection, pool.breaker_state(ms(101))), (0, 1));
        pool.finish(probe, ms(102), Ok(()));
        assert_eq!((pool.breaker_state(ms(102)), of(&pool, Event::Completed)), (0, 1));
    }
}
