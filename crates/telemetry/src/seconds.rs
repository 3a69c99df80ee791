//! What a workload has done in each of the last seconds: a ring that one core writes and others read.
//!
//! A row that nobody came to read is not lost before two minutes are over. Seconds are those of the node's clock, so rows of
//! several workloads and cores, and the node's samples, can be laid beside each other.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Rows that can be read.
pub const SECONDS_LEN: usize = 120;
/// Rows that there is room for. The oldest are not shown any more, so none is overwritten while it is read, unless the reader
/// takes eight seconds for it.
const PLACES: usize = 128;
/// Names of a row's values behind the time at which it began, in the order of [`Second::values`].
pub const COLUMNS: [&str; 8] = ["span_us", "offered", "sent", "completed", "failed", "p50_us", "p99_us", "longest_us"];

/// One second of a workload that sends requests: counts of what happened in it. A count beyond 32 bits stays at their end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Second {
    /// When it began, in µs since boot.
    pub start_us: u64,
    /// How long it was in µs: less at the beginning and at the end of a run, more when its core was held up.
    pub span_us: u32,
    /// Requests that were due.
    pub offered: u32,
    /// Requests that were sent, each time that they were.
    pub sent: u32,
    /// Requests that were answered as they should be.
    pub completed: u32,
    /// Requests that ended without a good answer.
    pub failed: u32,
    /// Half of the latencies of the completed, in µs, are at most this.
    pub p50_us: u32,
    /// 99 % of them are at most this.
    pub p99_us: u32,
    /// The longest of them.
    pub longest_us: u32,
}

impl Second {
    /// Returns all but its beginning, in the order of [`COLUMNS`].
    #[must_use]
    pub fn values(&self) -> [u32; COLUMNS.len()] {
        let Self { span_us, offered, sent, completed, failed, p50_us, p99_us, longest_us, start_us: _ } = *self;
        [span_us, offered, sent, completed, failed, p50_us, p99_us, longest_us]
    }
}

/// The last seconds of a run. Rows are numbered through all runs of a workload slot.
pub struct Seconds {
    rows: [Row; PLACES],
    /// Rows that were ever written.
    written: AtomicU32,
    /// Number of the first row of this run.
    first: AtomicU32,
}

struct Row {
    start_us: AtomicU64,
    values: [AtomicU32; COLUMNS.len()],
}

impl Row {
    const fn new() -> Self {
        Self { start_us: AtomicU64::new(0), values: [const { AtomicU32::new(0) }; COLUMNS.len()] }
    }
}

impl Seconds {
    /// Makes an empty ring.
    #[must_use]
    pub const fn new() -> Self {
        Self { rows: [const { Row::new() }; PLACES], written: AtomicU32::new(0), first: AtomicU32::new(0) }
    }

    /// Begins another run: what is there is not shown any more. Only for the core that writes.
    pub fn clear(&self) {
        self.first.store(self.written.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    /// Adds a row. Only for the core that writes.
    pub fn push(&self, second: &Second) {
        let number = self.written.load(Ordering::Relaxed);
        if let Some(row) = self.rows.get(number as usize % PLACES) {
            row.start_us.store(second.start_us, Ordering::Relaxed);
            row.values.iter().zip(second.values()).for_each(|(place, value)| place.store(value, Ordering::Relaxed));
        }
        // Release: who sees the number sees the row. It wraps after 136 years.
        self.written.store(number.wrapping_add(1), Ordering::Release);
    }

    /// Returns the `last` newest rows of this run from number `from` on, oldest first, each with its number.
    pub fn last(&self, last: usize, from: u32) -> impl Iterator<Item = (u32, Second)> {
        // Acquire: see `push`.
        let written = self.written.load(Ordering::Acquire);
        let count = last.min(SECONDS_LEN).min(written.wrapping_sub(self.first.load(Ordering::Relaxed)) as usize);
        let oldest = written.saturating_sub(u32::try_from(count).unwrap_or(u32::MAX));
        (oldest.max(from)..written).filter_map(|number| {
            let row = self.rows.get(number as usize % PLACES)?;
            let [span_us, offered, sent, completed, failed, p50_us, p99_us, longest_us] =
                row.values.each_ref().map(|value| value.load(Ordering::Relaxed));
            let start_us = row.start_us.load(Ordering::Relaxed);
            Some((number, Second { start_us, span_us, offered, sent, completed, failed, p50_us, p99_us, longest_us }))
        })
    }
}

impl Default for Seconds {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn starts(seconds: &Seconds, last: usize, from: u32) -> Vec<u64> {
        seconds.last(last, from).map(|(_, second)| second.start_us).collect()
    }

    #[test]
    fn the_last_two_minutes_stay_whole_and_in_order() {
        let seconds = Seconds::new();
        assert_eq!(starts(&seconds, 120, 0), []);
        for n in 0..1000 {
            seconds.push(&Second { start_us: u64::from(n), sent: n, longest_us: n + 1, ..Second::default() });
        }
        assert_eq!(starts(&seconds, usize::MAX, 0), (880..1000).collect::<Vec<_>>());
        assert_eq!(starts(&seconds, 2, 0), [998, 999]);
        assert_eq!(starts(&seconds, 120, 997), [997, 998, 999]);
        assert_eq!(starts(&seconds, 120, 1000), []);
        assert!(seconds.last(120, 0).all(|(n, row)| (row.sent, row.longest_us, row.offered) == (n, n + 1, 0)));
    }

    #[test]
    fn another_run_begins_with_nothing() {
        let seconds = Seconds::new();
        (0..50).for_each(|n| seconds.push(&Second { start_us: n, ..Second::default() }));
        seconds.clear();
        assert_eq!(starts(&seconds, 120, 0), []);
        seconds.push(&Second { start_us: 99, ..Second::default() });
        assert_eq!(starts(&seconds, 120, 0), [99]);
    }
}
