//! The last five minutes of samples.

use crate::rates::Rates;
use crate::sample::Sample;

/// Samples that are kept: five minutes at one a second.
pub const HISTORY_LEN: usize = 300;

/// A ring of the newest samples.
pub struct History {
    samples: [Sample; HISTORY_LEN],
    next: usize,
    len: usize,
}

impl History {
    /// Makes an empty history.
    #[must_use]
    pub const fn new() -> Self {
        Self { samples: [Sample::EMPTY; HISTORY_LEN], next: 0, len: 0 }
    }

    /// Adds the newest sample; the oldest makes room for it.
    pub fn push(&mut self, sample: Sample) {
        if let Some(slot) = self.samples.get_mut(self.next) {
            *slot = sample;
        }
        self.next = (self.next + 1) % HISTORY_LEN;
        self.len = (self.len + 1).min(HISTORY_LEN);
    }

    /// Returns how many samples there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Returns whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Returns the newest sample.
    #[must_use]
    pub fn newest(&self) -> Option<&Sample> {
        self.last(1).next()
    }

    /// Returns all samples, newest last.
    pub fn iter(&self) -> impl Iterator<Item = &Sample> + Clone {
        self.last(self.len)
    }

    /// Returns the `count` newest samples, newest last; fewer if there are fewer.
    pub fn last(&self, count: usize) -> impl Iterator<Item = &Sample> + Clone {
        let count = count.min(self.len);
        let start = self.next + HISTORY_LEN - count;
        (start..start + count).filter_map(|i| self.samples.get(i % HISTORY_LEN))
    }

    /// Returns the rates between the two newest samples.
    #[must_use]
    pub fn rates(&self) -> Option<Rates> {
        self.last_rates(1).next()
    }

    /// Returns the rates between each of the `count` newest pairs of neighbours, newest last.
    pub fn last_rates(&self, count: usize) -> impl Iterator<Item = Rates> {
        let count = count.min(self.len.saturating_sub(1));
        let newer = self.last(count);
        self.last(count + 1).zip(newer).filter_map(|(old, new)| Rates::between(old, new))
    }
}

impl Default for History {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: u64) -> Sample {
        Sample { at_us: second * 1_000_000, ..Sample::EMPTY }
    }

    fn seconds<'a>(samples: impl Iterator<Item = &'a Sample>) -> Vec<u64> {
        samples.map(|s| s.at_us / 1_000_000).collect()
    }

    #[test]
    fn an_empty_history_has_nothing() {
        let history = History::new();
        assert!(history.is_empty());
        assert!(history.newest().is_none());
        assert!(history.rates().is_none());
        assert_eq!(history.iter().count(), 0);
    }

    #[test]
    fn samples_come_out_oldest_first() {
        let mut history = History::new();
        for second in 0..5 {
            history.push(at(second));
        }
        assert_eq!(seconds(history.iter()), [0, 1, 2, 3, 4]);
        assert_eq!(seconds(history.last(2)), [3, 4]);
        assert_eq!(seconds(history.last(99)), [0, 1, 2, 3, 4]);
    }

    #[test]
    fn the_oldest_sample_makes_room() {
        let mut history = History::new();
        for second in 0..(2 * HISTORY_LEN as u64 + 7) {
            history.push(at(second));
        }
        assert_eq!(history.len(), HISTORY_LEN);
        let all = seconds(history.iter());
        assert_eq!(all.first(), Some(&(HISTORY_LEN as u64 + 7)));
        assert_eq!(all.last(), Some(&(2 * HISTORY_LEN as u64 + 6)));
        assert!(all.windows(2).all(|w| w[0] + 1 == w[1]));
    }

    #[test]
    fn rates_cover_neighbours_only() {
        let mut history = History::new();
        for second in 0..10 {
            let mut sample = at(second);
            sample.nic.rx_bytes = second * second;
            history.push(sample);
        }
        let rates: Vec<_> = history.last_rates(3).map(|r| r.rx_bytes).collect();
        assert_eq!(rates, [49 - 36, 64 - 49, 81 - 64]);
        assert_eq!(history.last_rates(99).count(), 9);
        assert_eq!(history.rates().map(|r| r.rx_bytes), Some(17));
    }
}
