//! A set of cores, written `2`, `1-3`, `1+3` or `all`.

use core::fmt;

/// The core that runs drivers and network, and no workloads.
const DRIVER_CORE: usize = 0;

/// Some of the cores that run workloads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CoreSet(u8);

impl CoreSet {
    /// No core.
    pub const EMPTY: Self = Self(0);
    /// Every core that runs workloads.
    pub const ALL: Self = Self(((1 << telemetry::CORES) - 1) & !(1 << DRIVER_CORE));

    /// Returns the set that `text` means; `None` if it names no core, or one that runs no workloads.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text == "all" {
            return Some(Self::ALL);
        }
        let mut set = Self::EMPTY;
        for part in text.split('+') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last) = (core_number(first)?, core_number(last)?);
            if first > last {
                return None;
            }
            (first..=last).for_each(|core| set.insert(core));
        }
        Some(set)
    }

    /// Returns the set of one core; empty if that core runs no workloads.
    #[must_use]
    pub fn of(core: u8) -> Self {
        let mut set = Self::EMPTY;
        set.insert(core);
        set
    }

    /// Adds a core, if it runs workloads.
    pub fn insert(&mut self, core: u8) {
        self.0 |= 1u8.checked_shl(core.into()).unwrap_or(0) & Self::ALL.0;
    }

    /// Returns whether `core` is in the set.
    #[must_use]
    pub fn contains(self, core: u8) -> bool {
        self.0 & 1u8.checked_shl(core.into()).unwrap_or(0) != 0
    }

    /// Returns whether no core is in the set.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Returns the cores, in order.
    pub fn iter(self) -> impl Iterator<Item = u8> + Clone {
        (0..8).filter(move |core| self.contains(*core))
    }
}

fn core_number(text: &str) -> Option<u8> {
    let core = match text.as_bytes() {
        [digit @ b'0'..=b'9'] => digit - b'0',
        _ => return None,
    };
    CoreSet::ALL.contains(core).then_some(core)
}

impl fmt::Display for CoreSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut before = "";
        for first in self.iter().filter(|core| *core == 0 || !self.contains(core - 1)) {
            let last = (first..8).take_while(|core| self.contains(*core)).last().unwrap_or(first);
            write!(f, "{before}{first}")?;
            if last > first {
                write!(f, "-{last}")?;
            }
            before = "+";
        }
        if self.is_empty() { f.write_str("none") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_are_read_and_shown_alike() {
        for text in ["1", "3", "1-2", "1-3", "1+3"] {
            assert_eq!(CoreSet::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(CoreSet::parse("all"), CoreSet::parse("1-3"));
        assert_eq!(CoreSet::parse("3+1+2"), CoreSet::parse("1-3"));
        assert_eq!(CoreSet::parse("1-3").unwrap().iter().collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!(CoreSet::EMPTY.to_string(), "none");
    }

    #[test]
    fn cores_that_run_no_workloads_are_refused() {
        for text in ["", "0", "4", "0-3", "1-4", "3-1", "1+", "+1", "-", "1-", "01", "1-2-3", "x", "255", "²"] {
            assert_eq!(CoreSet::parse(text), None, "{text}");
        }
        assert!(CoreSet::of(0).is_empty() && CoreSet::of(9).is_empty() && !CoreSet::of(1).is_empty());
    }
}
