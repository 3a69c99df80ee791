//! What keeps the server open for its owners: how many connections there may be, who has to go, and who has to wait.
//!
//! Connections that have not logged in cost nobody anything to make. So they never take the last free places: before one does,
//! the oldest of them goes, of the address that has most, and that is the one that floods.

use core::net::{IpAddr, Ipv6Addr};

use embassy_time::{Duration, Instant};
use heapless::Vec;

/// Connections at once: sessions, some that are logging in, and those that wait for a client.
pub const PLACES: usize = 14;
/// Sessions at once.
pub const SESSIONS_MAX: usize = 6;
/// Places that wait for a client: as many may come in the same moment.
const FREE_MIN: usize = 3;
/// Addresses whose failures are remembered.
const PENALTIES: usize = 32;
/// Failures that cost no time: a user may have several keys.
const FREE_FAILURES: u8 = 3;
/// What the first failure after these costs; each one after it costs twice as much.
const FIRST_DELAY: Duration = Duration::from_millis(200);
/// What a failure costs at most.
const LONGEST_DELAY: Duration = Duration::from_millis(3200);
/// After so long without a failure all are forgotten.
const FORGIVENESS: Duration = Duration::from_secs(300);

/// Knows every connection of the server.
#[derive(Debug)]
pub struct Guard {
    places: [Place; PLACES],
    penalties: Vec<Penalty, PENALTIES>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Waits for a client.
    Free,
    /// A client that has not logged in.
    Stranger { from: Origin, since: Instant },
    /// A client that has.
    Session,
}

/// Where a client comes from: an IPv4 address, or the network of an IPv6 address, whose owner has all addresses in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Origin(IpAddr);

impl From<IpAddr> for Origin {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V6(address) => {
                // Link-local addresses are single machines, on a network that we share with them.
                let is_local = address.is_unicast_link_local();
                let network = u128::from(address) & !u128::from(u64::MAX);
                Self(IpAddr::V6(if is_local { address } else { Ipv6Addr::from(network) }))
            }
            IpAddr::V4(_) => Self(address),
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Penalty {
    from: Origin,
    failures: u8,
    last: Instant,
}

impl Guard {
    /// Makes a guard of an empty house.
    #[must_use]
    pub const fn new() -> Self {
        Self { places: [Place::Free; PLACES], penalties: Vec::new() }
    }

    /// Notes that a client has come to the place `at`. Returns the place that has to be left, if too few are free.
    pub fn enter(&mut self, at: usize, from: IpAddr, now: Instant) -> Option<usize> {
        *self.places.get_mut(at)? = Place::Stranger { from: from.into(), since: now };
        if self.places.iter().filter(|place| **place == Place::Free).count() >= FREE_MIN {
            return None;
        }
        let count = |from| self.strangers().filter(|(_, other, _)| *other == from).count();
        let worst = self.strangers().max_by_key(|(_, from, since)| (count(*from), core::cmp::Reverse(*since)));
        worst.map(|(place, ..)| place)
    }

    /// Notes that the client at the place `at` has logged in. False if there are too many sessions: it has to go.
    pub fn admit(&mut self, at: usize) -> bool {
        if self.sessions() >= SESSIONS_MAX {
            return false;
        }
        if let Some(place) = self.places.get_mut(at) {
            if let Place::Stranger { from, .. } = *place {
                self.penalties.retain(|penalty| penalty.from != from);
            }
            *place = Place::Session;
        }
        true
    }

    /// Notes that the place `at` is free again. Returns whether its client had logged in.
    pub fn leave(&mut self, at: usize) -> bool {
        let place = self.places.get_mut(at).map(|place| core::mem::replace(place, Place::Free));
        place == Some(Place::Session)
    }

    /// Notes a failed attempt to log in, or a connection that came to nothing, and returns how many there were.
    pub fn fail(&mut self, from: IpAddr, now: Instant) -> u8 {
        let from = Origin::from(from);
        self.penalties.retain(|penalty| now.saturating_duration_since(penalty.last) < FORGIVENESS);
        if let Some(penalty) = self.penalties.iter_mut().find(|penalty| penalty.from == from) {
            penalty.failures = penalty.failures.saturating_add(1);
            penalty.last = now;
            return penalty.failures;
        }
        if self.penalties.is_full() {
            // The least sinner goes, not the oldest: a flood of new addresses must not wash away a real one.
            let least = self.penalties.iter().enumerate().min_by_key(|(_, penalty)| (penalty.failures, penalty.last));
            if let Some((at, _)) = least {
                self.penalties.swap_remove(at);
            }
        }
        // There is room, as just seen.
        let _ = self.penalties.push(Penalty { from, failures: 1, last: now });
        1
    }

    /// Returns how long a client from this address has to wait for the answer to a failure, or for its next connection.
    #[must_use]
    pub fn delay(&self, from: IpAddr, now: Instant) -> Duration {
        let from = Origin::from(from);
        let known = self.penalties.iter().find(|penalty| penalty.from == from);
        let Some(known) = known.filter(|known| now.saturating_duration_since(known.last) < FORGIVENESS) else {
            return Duration::from_ticks(0);
        };
        match known.failures.checked_sub(FREE_FAILURES + 1) {
            Some(doublings) => (FIRST_DELAY * (1 << doublings.min(8))).min(LONGEST_DELAY),
            None => Duration::from_ticks(0),
        }
    }

    /// Returns how many sessions there are.
    #[must_use]
    pub fn sessions(&self) -> usize {
        self.places.iter().filter(|place| **place == Place::Session).count()
    }

    fn strangers(&self) -> impl Iterator<Item = (usize, Origin, Instant)> {
        self.places.iter().enumerate().filter_map(|(at, place)| match place {
            Place::Stranger { from, since } => Some((at, *from, *since)),
            _ => None,
        })
    }
}

impl Default for Guard {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Instant {
        Instant::from_millis(ms)
    }

    fn host(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    #[test]
    fn the_last_places_are_kept_free_by_the_oldest_of_those_who_flood() {
        let mut guard = Guard::new();
        // The owner came first, and somebody else floods.
        assert_eq!(guard.enter(0, host(1), at(0)), None);
        for place in 1..PLACES - FREE_MIN {
            assert_eq!(guard.enter(place, host(2), at(place as u64)), None);
        }
        assert_eq!(guard.enter(PLACES - 1, host(2), at(99)), Some(1));
        guard.leave(1);
        assert_eq!(guard.enter(1, host(2), at(100)), Some(2));
    }

    #[test]
    fn sessions_are_never_sent_away_and_limited() {
        let mut guard = Guard::new();
        for place in 0..SESSIONS_MAX {
            assert_eq!(guard.enter(place, host(1), at(0)), None);
            assert!(guard.admit(place));
        }
        for place in SESSIONS_MAX..PLACES - FREE_MIN {
            assert_eq!(guard.enter(place, host(1), at(place as u64)), None);
        }
        assert_eq!(guard.enter(PLACES - 1, host(1), at(99)), Some(SESSIONS_MAX));
        assert!(!guard.admit(PLACES - 1));
        assert!(guard.leave(0) && !guard.leave(PLACES - 1));
        assert!(guard.admit(SESSIONS_MAX));
        assert_eq!(guard.sessions(), SESSIONS_MAX);
    }

    #[test]
    fn failures_cost_ever_more_until_they_are_forgotten() {
        let mut guard = Guard::new();
        let delays: Vec<u64, 20> = (1..=10)
            .map(|i| {
                assert_eq!(guard.fail(host(7), at(i)), i as u8);
                guard.delay(host(7), at(i)).as_millis()
            })
            .collect();
        assert_eq!(delays, [0, 0, 0, 200, 400, 800, 1600, 3200, 3200, 3200]);
        assert_eq!(guard.delay(host(8), at(11)).as_millis(), 0);
        assert_eq!(guard.delay(host(7), at(300_009)).as_millis(), 3200);
        assert_eq!(guard.delay(host(7), at(300_010)).as_millis(), 0);
        assert_eq!(guard.fail(host(7), at(300_011)), 1);
        (0..255).for_each(|_| _ = guard.fail(host(7), at(300_012)));
        assert_eq!(guard.fail(host(7), at(300_013)), 255);
    }

    #[test]
    fn logging_in_clears_the_record() {
        let mut guard = Guard::new();
        (0..9).for_each(|_| _ = guard.fail(host(7), at(0)));
        guard.enter(0, host(7), at(1));
        assert!(guard.admit(0));
        assert_eq!(guard.delay(host(7), at(2)).as_millis(), 0);
    }

    #[test]
    fn many_addresses_do_not_wash_away_the_worst() {
        let mut guard = Guard::new();
        (0..9).for_each(|_| _ = guard.fail(host(200), at(0)));
        for i in 0..100 {
            guard.fail(host(i), at(u64::from(i)));
        }
        assert_eq!(guard.delay(host(200), at(100)).as_millis(), 3200);
    }

    #[test]
    fn all_addresses_of_a_network_are_one() {
        let mut guard = Guard::new();
        let address = |text: &str| -> IpAddr { text.parse().unwrap() };
        (0..9).for_each(|_| _ = guard.fail(address("2001:db8::1"), at(0)));
        assert_eq!(guard.delay(address("2001:db8::ffff"), at(1)).as_millis(), 3200);
        assert_eq!(guard.delay(address("2001:db8:0:1::1"), at(1)).as_millis(), 0);
        (0..9).for_each(|_| _ = guard.fail(address("fe80::1"), at(0)));
        assert_eq!(guard.delay(address("fe80::2"), at(1)).as_millis(), 0);
    }
}
