//! A histogram of time spans with fixed memory and a bounded relative error, that one core writes and others read.
//!
//! Buckets are log-linear, as in HDR histograms: each power of two is cut into [`SUB_BUCKETS`] equal parts, so a value is
//! known to 1/16 (6 %) whatever its size, and recording it is a few instructions.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

const SUB_BITS: u32 = 4;
/// Buckets per power of two.
pub const SUB_BUCKETS: u32 = 1 << SUB_BITS;
/// Values from here on (2^27 µs, 134 s) are counted in the last bucket.
const VALUE_BITS: u32 = 27;
const BUCKETS: usize = ((VALUE_BITS - SUB_BITS + 1) * SUB_BUCKETS) as usize;

/// Upper bounds of the buckets in which a histogram is shown to Prometheus, as powers of two in µs: 16 µs to 16.8 s.
pub const BOUND_BITS: core::ops::RangeInclusive<u32> = 4..=24;

/// Counts of time spans in µs.
pub struct Histogram {
    buckets: [AtomicU32; BUCKETS],
    sum_us: AtomicU64,
    /// The least, taken from the greatest number: so that an empty histogram is all zeros and costs nothing in the image.
    min_below_max_us: AtomicU64,
    max_us: AtomicU64,
}

impl Histogram {
    /// Makes an empty histogram.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            buckets: [const { AtomicU32::new(0) }; BUCKETS],
            sum_us: AtomicU64::new(0),
            min_below_max_us: AtomicU64::new(0),
            max_us: AtomicU64::new(0),
        }
    }

    /// Counts one time span.
    pub fn record(&self, us: u64) {
        if let Some(bucket) = self.buckets.get(bucket_of(us)) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        self.sum_us.fetch_add(us, Ordering::Relaxed);
        self.min_below_max_us.fetch_max(u64::MAX - us, Ordering::Relaxed);
        self.max_us.fetch_max(us, Ordering::Relaxed);
    }

    /// Forgets everything.
    pub fn clear(&self) {
        for bucket in &self.buckets {
            bucket.store(0, Ordering::Relaxed);
        }
        self.sum_us.store(0, Ordering::Relaxed);
        self.min_below_max_us.store(0, Ordering::Relaxed);
        self.max_us.store(0, Ordering::Relaxed);
    }

    /// Returns how many time spans were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(|b| u64::from(b.load(Ordering::Relaxed))).sum()
    }

    /// Returns the sum of all time spans in µs.
    #[must_use]
    pub fn sum_us(&self) -> u64 {
        self.sum_us.load(Ordering::Relaxed)
    }

    /// Returns the figures people ask for; `None` if nothing was counted.
    #[must_use]
    pub fn summary(&self) -> Option<Summary> {
        let count = self.count();
        if count == 0 {
            return None;
        }
        let min_us = u64::MAX - self.min_below_max_us.load(Ordering::Relaxed);
        let max_us = self.max_us.load(Ordering::Relaxed);
        let at = |permille| self.quantile(count, permille).clamp(min_us, max_us.max(min_us));
        Some(Summary {
            count,
            min_us,
            mean_us: self.sum_us() / count,
            p50_us: at(500),
            p90_us: at(900),
            p99_us: at(990),
            max_us,
        })
    }

    /// Returns the buckets that have any time spans: the least span that a bucket is for, in µs, and how many it has.
    pub fn buckets(&self) -> impl Iterator<Item = (u64, u32)> + '_ {
        let counts = self.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed)).enumerate();
        counts.filter(|(_, count)| *count > 0).map(|(bucket, count)| (bucket_start(bucket), count))
    }

    /// Gives `take` the number of time spans up to each bound of [`BOUND_BITS`] (as its power of two in µs), and last
    /// `None` with the number of all.
    ///
    /// # Errors
    ///
    /// Passes on the error of `take`.
    pub fn cumulative<E>(&self, mut take: impl FnMut(Option<u32>, u64) -> Result<(), E>) -> Result<(), E> {
        let mut count = 0;
        let mut buckets = self.buckets.iter().enumerate().peekable();
        for bits in BOUND_BITS {
            // A value is cut to whole µs, so 2^bits µs itself begins the next bucket.
            let end = bucket_of(1 << bits);
            while let Some((_, bucket)) = buckets.next_if(|(i, _)| *i < end) {
                count += u64::from(bucket.load(Ordering::Relaxed));
            }
            take(Some(bits), count)?;
        }
        count += buckets.map(|(_, b)| u64::from(b.load(Ordering::Relaxed))).sum::<u64>();
        take(None, count)
    }

    /// Returns the middle of the bucket in which the value at `permille` of `count` values lies.
    fn quantile(&self, count: u64, permille: u64) -> u64 {
        let rank = (count * permille).div_ceil(1000).max(1);
        let mut seen = 0;
        for (i, bucket) in self.buckets.iter().enumerate() {
            seen += u64::from(bucket.load(Ordering::Relaxed));
            if seen >= rank {
                let start = bucket_start(i);
                return start + (bucket_start(i + 1) - start) / 2;
            }
        }
        // A writer was at work between the two readings.
        self.max_us.load(Ordering::Relaxed)
    }
}

impl Default for Histogram {
    fn default() -> Self {
        Self::new()
    }
}

/// What a histogram says in seven numbers. Quantiles are exact to 1/16 of their value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// How many time spans.
    pub count: u64,
    /// The shortest.
    pub min_us: u64,
    /// Their mean.
    pub mean_us: u64,
    /// Half are at most this long.
    pub p50_us: u64,
    /// 90 % are at most this long.
    pub p90_us: u64,
    /// 99 % are at most this long.
    pub p99_us: u64,
    /// The longest.
    pub max_us: u64,
}

fn bucket_of(us: u64) -> usize {
    let us = us.min((1 << VALUE_BITS) - 1);
    // Below SUB_BUCKETS each value has a bucket of its own; above, the top five bits choose it.
    let shift = us.checked_ilog2().unwrap_or(0).saturating_sub(SUB_BITS);
    (u64::from(shift * SUB_BUCKETS) + (us >> shift)) as usize
}

/// Returns the smallest value of a bucket.
fn bucket_start(bucket: usize) -> u64 {
    let sub = SUB_BUCKETS as usize;
    let shift = (bucket / sub).saturating_sub(1);
    ((bucket - shift * sub) as u64) << shift
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_is_in_its_bucket() {
        for value in (0..100_000).chain((0..VALUE_BITS).flat_map(|b| [(1 << b) - 1, 1 << b, (1 << b) + 1])) {
            let bucket = bucket_of(value);
            assert!(bucket < BUCKETS);
            let (start, end) = (bucket_start(bucket), bucket_start(bucket + 1));
            assert!(start <= value && value < end, "{value} in {start}..{end}");
            assert!((end - start) * u64::from(SUB_BUCKETS) <= start.max(u64::from(SUB_BUCKETS)));
        }
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn quantiles_are_near_the_exact_ones() {
        let histogram = Histogram::new();
        let mut values: Vec<u64> = (0..10_000u64).map(|i| (i * 7919) % 50_000 + 100).collect();
        for value in &values {
            histogram.record(*value);
        }
        values.sort_unstable();
        let s = histogram.summary().unwrap();
        let near = |got: u64, want: u64| got.abs_diff(want) * 16 <= want;
        assert_eq!((s.count, s.min_us, s.max_us), (10_000, values[0], values[9_999]));
        assert_eq!(s.mean_us, values.iter().sum::<u64>() / 10_000);
        assert!(near(s.p50_us, values[4_999]), "{s:?}");
        assert!(near(s.p90_us, values[8_999]), "{s:?}");
        assert!(near(s.p99_us, values[9_899]), "{s:?}");
    }

    #[test]
    fn one_value_is_every_quantile() {
        let histogram = Histogram::new();
        histogram.record(1_003);
        let s = histogram.summary().unwrap();
        assert_eq!([s.min_us, s.p50_us, s.p90_us, s.p99_us, s.max_us], [1_003; 5]);
    }

    #[test]
    fn bounds_count_everything_below_them() {
        let histogram = Histogram::new();
        for value in [0, 15, 16, 31, 32, 1_000, 20_000_000, 999_999_999] {
            histogram.record(value);
        }
        let mut all = Vec::new();
        histogram
            .cumulative::<()>(|bits, count| {
                all.push((bits, count));
                Ok(())
            })
            .unwrap();
        assert_eq!(all[..3], [(Some(4), 2), (Some(5), 4), (Some(6), 5)]);
        assert_eq!(all.iter().find(|(b, _)| *b == Some(10)), Some(&(Some(10), 6)));
        assert_eq!(all[all.len() - 2..], [(Some(24), 6), (None, 8)]);
    }

    #[test]
    fn buckets_that_have_any_are_told() {
        let histogram = Histogram::new();
        [3, 3, 1_003].iter().for_each(|us| histogram.record(*us));
        assert_eq!(histogram.buckets().collect::<Vec<_>>(), [(3, 2), (992, 1)]);
    }

    #[test]
    fn clear_forgets() {
        let histogram = Histogram::new();
        histogram.record(5);
        histogram.clear();
        assert_eq!(histogram.summary(), None);
        histogram.record(9);
        assert_eq!(histogram.summary().unwrap().min_us, 9);
    }
}
