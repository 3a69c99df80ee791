//! What a switch has learned: behind which port each Ethernet address is.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// How long an address is remembered that sends nothing (IEEE 802.1Q-2018, table 8-6: the recommended ageing time).
const AGEING: Duration = Duration::from_secs(300);
/// Addresses at most: a node that makes up sources must not fill the memory.
const ADDRESSES_MAX: usize = 4096;
/// In the first byte: the address names a group (IEEE 802-2014, section 8.2.2).
const GROUP: u8 = 1;

/// Where a frame goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Destination<P> {
    /// To every port but the one it came from.
    All,
    /// To one.
    One(P),
    /// Nowhere: it is for the segment that it came from.
    None,
}

#[derive(Debug)]
pub(super) struct Table<P>(HashMap<[u8; 6], (P, Instant)>);

impl<P> Default for Table<P> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<P: Copy + PartialEq> Table<P> {
    /// Learns from a frame that came from `port`, and says where it goes.
    pub(super) fn learn(&mut self, from: [u8; 6], to: [u8; 6], port: P, now: Instant) -> Destination<P> {
        // Nobody is a group.
        if from[0] & GROUP == 0 && (self.0.len() < ADDRESSES_MAX || self.0.contains_key(&from) || self.make_room(now)) {
            self.0.insert(from, (port, now));
        }
        if to[0] & GROUP != 0 {
            return Destination::All;
        }
        match self.find(to, now) {
            Some(found) if found == port => Destination::None,
            Some(found) => Destination::One(found),
            None => Destination::All,
        }
    }

    /// Returns behind which port an address is.
    pub(super) fn find(&self, address: [u8; 6], now: Instant) -> Option<P> {
        let (port, seen) = self.0.get(&address)?;
        (now.duration_since(*seen) < AGEING).then_some(*port)
    }

    /// Forgets a port that is gone.
    pub(super) fn forget(&mut self, port: P) {
        self.0.retain(|_, (of, _)| *of != port);
    }

    /// Forgets what is too old; returns whether there is room now.
    fn make_room(&mut self, now: Instant) -> bool {
        self.0.retain(|_, (_, seen)| now.duration_since(*seen) < AGEING);
        self.0.len() < ADDRESSES_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn mac(last: u8) -> [u8; 6] {
        [2, 0, 0, 0, 0, last]
    }

    #[test]
    fn an_address_is_learned_moves_and_is_forgotten() {
        let (mut table, now) = (Table::default(), Instant::now());
        assert_eq!(table.learn(mac(1), mac(2), 1, now), Destination::All);
        assert_eq!(table.learn(mac(2), mac(1), 2, now), Destination::One(1));
        assert_eq!(table.learn(mac(3), mac(1), 1, now), Destination::None, "both are behind the same port");
        // It is plugged in elsewhere.
        assert_eq!(table.learn(mac(1), mac(2), 3, now), Destination::One(2));
        assert_eq!(table.learn(mac(2), mac(1), 2, now + AGEING / 2), Destination::One(3));
        assert_eq!(table.learn(mac(2), mac(1), 2, now + AGEING), Destination::All, "silent for too long");
        table.forget(2);
        assert_eq!(table.find(mac(2), now + AGEING), None);
    }

    #[test]
    fn groups_go_to_all_and_are_never_learned() {
        let (mut table, now) = (Table::default(), Instant::now());
        let group = [0x33, 0x33, 0, 0, 0, 1];
        assert_eq!(table.learn(group, [0xff; 6], 1, now), Destination::All);
        assert_eq!(table.find(group, now), None);
    }

    #[test]
    fn made_up_addresses_do_not_fill_the_memory() {
        let (mut table, now) = (Table::default(), Instant::now());
        let made_up = |i: u32| {
            let [a, b, c, d] = i.to_be_bytes();
            [2, 0, a, b, c, d]
        };
        for i in 0..2 * ADDRESSES_MAX as u32 {
            table.learn(made_up(i), [0xff; 6], 1, now);
        }
        assert_eq!(table.0.len(), ADDRESSES_MAX);
        assert_eq!(table.find(made_up(0), now), Some(1), "who was there first stays");
        let late = [6, 0, 0, 0, 0, 1];
        table.learn(late, [0xff; 6], 2, now + AGEING);
        assert_eq!((table.0.len(), table.find(late, now + AGEING)), (1, Some(2)));
    }
}
