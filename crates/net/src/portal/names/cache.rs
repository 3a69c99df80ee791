//! What was learned of names lately, for as long as who told it said that it holds.

use core::net::IpAddr;

use embassy_time::{Duration, Instant};
use heapless::Vec;

use crate::settings::NodeName;

/// Names that are kept; the one that ends first goes for another.
const ENTRIES: usize = 8;
/// Longest that one is kept: a node that got another address must be found again soon, whatever it said before.
const TTL_MAX_S: u32 = 10;

/// See the module.
pub(crate) struct Cache {
    entries: Vec<Entry, ENTRIES>,
    /// The cable's number: another cable may lead to another network.
    link: u32,
}

struct Entry {
    label: NodeName,
    address: IpAddr,
    end: Instant,
}

impl Cache {
    pub(crate) const fn new() -> Self {
        Self { entries: Vec::new(), link: 0 }
    }

    /// Returns the address of a name, if it is known.
    pub(super) fn get(&mut self, label: &str, link: u32, now: Instant) -> Option<IpAddr> {
        if link != self.link {
            self.entries.clear();
            self.link = link;
        }
        self.entries.retain(|entry| entry.end > now);
        self.entries.iter().find(|entry| entry.label.eq_ignore_ascii_case(label)).map(|entry| entry.address)
    }

    /// Keeps what an answer says, for `ttl_s` seconds at most. A TTL of zero says that it holds no longer.
    pub(super) fn put(&mut self, label: &str, address: IpAddr, ttl_s: u32, now: Instant) {
        self.entries.retain(|entry| !entry.label.eq_ignore_ascii_case(label));
        let Ok(label) = NodeName::try_from(label) else { return };
        if ttl_s == 0 {
            return;
        }
        if self.entries.is_full()
            && let Some(first) = (0..ENTRIES).min_by_key(|index| self.entries.get(*index).map(|entry| entry.end))
        {
            self.entries.swap_remove(first);
        }
        let end = now + Duration::from_secs(u64::from(ttl_s.min(TTL_MAX_S)));
        // There is room now.
        let _ = self.entries.push(Entry { label, address, end });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    #[test]
    fn names_are_known_for_as_long_as_was_said_and_no_longer_than_ten_seconds() {
        let mut cache = Cache::new();
        let at = Instant::from_secs;
        cache.put("a", address(1), 3, at(0));
        cache.put("b", address(2), 4500, at(0));
        assert_eq!(cache.get("A", 0, at(2)), Some(address(1)));
        assert_eq!((cache.get("a", 0, at(3)), cache.get("b", 0, at(9))), (None, Some(address(2))));
        assert_eq!(cache.get("b", 0, at(10)), None);
        cache.put("a", address(1), 5, at(20));
        cache.put("a", address(3), 5, at(21));
        assert_eq!(cache.get("a", 0, at(22)), Some(address(3)));
        cache.put("a", address(3), 0, at(22));
        assert_eq!(cache.get("a", 0, at(22)), None);
    }

    #[test]
    fn another_cable_makes_it_forget() {
        let mut cache = Cache::new();
        cache.put("a", address(1), 9, Instant::from_secs(0));
        assert_eq!(cache.get("a", 1, Instant::from_secs(0)), None);
    }

    #[test]
    fn however_many_names_there_are_memory_is_bounded() {
        let mut cache = Cache::new();
        for number in 0..100_u8 {
            cache.put(&format!("n{number}"), address(number), u32::from(number % 9) + 1, Instant::from_secs(0));
        }
        assert_eq!(cache.entries.len(), ENTRIES);
        assert_eq!(cache.get("n99", 0, Instant::from_secs(0)), Some(address(99)));
    }
}
