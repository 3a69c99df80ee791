//! An address of the node's own choice (RFC 3927), for when no DHCP server answers: the rules, without any I/O.
//!
//! A candidate from 169.254.1.0 to 169.254.254.255 is derived from the MAC address, so that a node tends to get the same
//! one each time. It is probed before it is used, announced when it is, and given up when somebody else uses it.

use core::net::Ipv4Addr;

use embassy_time::{Duration, Instant};
use nic::MacAddress;

use crate::random::Random;

// The constants of RFC 3927, section 9.
const PROBE_WAIT: Duration = Duration::from_secs(1);
const PROBE_NUM: u32 = 3;
const PROBE_MIN: Duration = Duration::from_secs(1);
const PROBE_MAX: Duration = Duration::from_secs(2);
const ANNOUNCE_WAIT: Duration = Duration::from_secs(2);
const ANNOUNCE_NUM: u32 = 2;
const ANNOUNCE_INTERVAL: Duration = Duration::from_secs(2);
const MAX_CONFLICTS: u32 = 10;
const RATE_LIMIT_INTERVAL: Duration = Duration::from_secs(60);
const DEFEND_INTERVAL: Duration = Duration::from_secs(10);

/// Length of the prefix of 169.254/16.
pub(crate) const PREFIX_LEN: u8 = 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Off,
    Probing { sent: u32 },
    Owned { announced: u32, defended: Option<Instant> },
}

/// What is to be done now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Ask whether anybody has the address.
    Probe(Ipv4Addr),
    /// Take the address, and tell everybody.
    Claim(Ipv4Addr),
    /// Tell everybody again.
    Announce(Ipv4Addr),
    /// Give the address up.
    Release,
    /// Nothing until then.
    Wait(Instant),
}

/// The state of the choice.
pub(crate) struct LinkLocal {
    phase: Phase,
    due: Instant,
    conflicts: u32,
    mac: MacAddress,
    delays: Random,
}

impl LinkLocal {
    pub(crate) fn new(seed: u64) -> Self {
        Self { phase: Phase::Off, due: Instant::MAX, conflicts: 0, mac: MacAddress([0; 6]), delays: Random::new(seed) }
    }

    /// Returns whether a choice is under way or made.
    pub(crate) fn is_on(&self) -> bool {
        self.phase != Phase::Off
    }

    /// Starts to look for an address.
    pub(crate) fn start(&mut self, mac: MacAddress, now: Instant) {
        self.mac = mac;
        self.conflicts = 0;
        self.phase = Phase::Probing { sent: 0 };
        self.due = now + self.delay(Duration::MIN, PROBE_WAIT);
    }

    /// Gives the search, or the address, up.
    pub(crate) fn stop(&mut self) {
        self.phase = Phase::Off;
        self.due = Instant::MAX;
    }

    /// Returns the address that is being probed or used.
    pub(crate) fn address(&self) -> Ipv4Addr {
        let [a, b, c, d, e, f] = self.mac.0;
        let seed = u64::from_be_bytes([0, 0, a, b, c, d, e, f]);
        let mut choice = Random::new(seed);
        let mut offset = choice.below(CANDIDATES);
        for _ in 0..self.conflicts {
            offset = choice.below(CANDIDATES);
        }
        // Below CANDIDATES, which fits.
        Ipv4Addr::from(FIRST + u32::try_from(offset).unwrap_or(0))
    }

    /// Says what is to be done at `now`. Call it again until the answer is to wait.
    pub(crate) fn poll(&mut self, now: Instant) -> Step {
        if now < self.due {
            return Step::Wait(self.due);
        }
        let address = self.address();
        match &mut self.phase {
            Phase::Off => Step::Wait(Instant::MAX),
            Phase::Probing { sent } if *sent < PROBE_NUM => {
                *sent += 1;
                let is_last = *sent == PROBE_NUM;
                self.due = now + if is_last { ANNOUNCE_WAIT } else { self.delay(PROBE_MIN, PROBE_MAX) };
                Step::Probe(address)
            }
            Phase::Probing { .. } => {
                self.phase = Phase::Owned { announced: 1, defended: None };
                self.due = now + ANNOUNCE_INTERVAL;
                Step::Claim(address)
            }
            Phase::Owned { announced, .. } if *announced < ANNOUNCE_NUM => {
                *announced += 1;
                self.due = Instant::MAX;
                Step::Announce(address)
            }
            Phase::Owned { .. } => Step::Wait(Instant::MAX),
        }
    }

    /// Says what is to be done when somebody else uses, or probes, the address.
    pub(crate) fn conflict(&mut self, now: Instant) -> Step {
        match &mut self.phase {
            Phase::Off => return Step::Wait(Instant::MAX),
            // The first time, the address is defended (section 2.5, b).
            Phase::Owned { defended, .. } if defended.is_none_or(|last| now - last > DEFEND_INTERVAL) => {
                *defended = Some(now);
                return Step::Announce(self.address());
            }
            Phase::Owned { .. } | Phase::Probing { .. } => {}
        }
        self.conflicts += 1;
        self.phase = Phase::Probing { sent: 0 };
        let is_flooded = self.conflicts >= MAX_CONFLICTS;
        self.due = now + if is_flooded { RATE_LIMIT_INTERVAL } else { self.delay(Duration::MIN, PROBE_WAIT) };
        Step::Release
    }

    fn delay(&mut self, from: Duration, to: Duration) -> Duration {
        from + Duration::from_ticks(self.delays.below((to - from).as_ticks().max(1)))
    }
}

const FIRST: u32 = u32::from_be_bytes([169, 254, 1, 0]);
/// From 169.254.1.0 to 169.254.254.255 (section 2.1).
const CANDIDATES: u64 = 254 * 256;

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: MacAddress = MacAddress([0x52, 0x54, 0, 1, 2, 3]);

    fn at(ms: u64) -> Instant {
        Instant::from_millis(1_000_000 + ms)
    }

    /// Runs the rules until `end` and returns what they wanted, with the time.
    fn steps(choice: &mut LinkLocal, from: Instant, end: Instant) -> Vec<(Instant, Step)> {
        let mut now = from;
        let mut steps = vec![];
        loop {
            match choice.poll(now) {
                Step::Wait(until) if until >= end => return steps,
                Step::Wait(until) => now = until,
                step => steps.push((now, step)),
            }
        }
    }

    #[test]
    fn three_probes_then_two_announcements() {
        let mut choice = LinkLocal::new(7);
        choice.start(MAC, at(0));
        let steps = steps(&mut choice, at(0), at(60_000));
        let ip = choice.address();
        let kinds: Vec<_> = steps.iter().map(|(_, step)| *step).collect();
        assert_eq!(kinds, [Step::Probe(ip), Step::Probe(ip), Step::Probe(ip), Step::Claim(ip), Step::Announce(ip)]);
        assert!(steps[0].0 - at(0) < PROBE_WAIT);
        for pair in steps[..3].windows(2) {
            let gap = pair[1].0 - pair[0].0;
            assert!((PROBE_MIN..=PROBE_MAX).contains(&gap), "{gap:?}");
        }
        assert_eq!(steps[3].0 - steps[2].0, ANNOUNCE_WAIT);
        assert_eq!(steps[4].0 - steps[3].0, ANNOUNCE_INTERVAL);
    }

    #[test]
    fn addresses_are_in_range_and_differ_between_nodes() {
        let mut seen = std::collections::HashSet::new();
        for last in 0..=255 {
            let mut choice = LinkLocal::new(0);
            choice.start(MacAddress([0xB8, 0x27, 0xEB, 0, 0, last]), at(0));
            let [a, b, c, _] = choice.address().octets();
            assert!((a, b) == (169, 254) && (1..=254).contains(&c), "{}", choice.address());
            seen.insert(choice.address());
        }
        // 256 of 65,024: about half a collision is expected.
        assert!(seen.len() >= 252, "{} different addresses", seen.len());
    }

    #[test]
    fn a_conflict_while_probing_takes_another_address() {
        let mut choice = LinkLocal::new(7);
        choice.start(MAC, at(0));
        let first = choice.address();
        assert_eq!(choice.conflict(at(10)), Step::Release);
        assert_ne!(choice.address(), first);
        assert!(matches!(steps(&mut choice, at(10), at(60_000))[..], [_, _, _, (_, Step::Claim(_)), _]));
    }

    #[test]
    fn an_address_in_use_is_defended_once_in_ten_seconds() {
        let mut choice = LinkLocal::new(7);
        choice.start(MAC, at(0));
        steps(&mut choice, at(0), at(20_000));
        let ip = choice.address();
        assert_eq!(choice.conflict(at(20_000)), Step::Announce(ip));
        assert_eq!(choice.conflict(at(31_000)), Step::Announce(ip));
        assert_eq!(choice.conflict(at(32_000)), Step::Release);
        assert_ne!(choice.address(), ip);
    }

    #[test]
    fn after_ten_conflicts_the_search_slows_down() {
        let mut choice = LinkLocal::new(7);
        choice.start(MAC, at(0));
        for _ in 0..MAX_CONFLICTS {
            choice.conflict(at(0));
        }
        assert_eq!(choice.poll(at(1)), Step::Wait(at(0) + RATE_LIMIT_INTERVAL));
    }
}
