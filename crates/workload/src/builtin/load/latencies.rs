//! Latencies to two significant digits, in memory that does not grow: an HDR histogram (Tene, "HdrHistogram").
//!
//! Each power of two is cut into 128 equal parts, so a value is known to 0.8 % whatever its size. The histograms of the
//! telemetry are coarser (6 %), which is enough for plots and not for a benchmark.

use alloc::boxed::Box;
use alloc::vec;

const SUB_BITS: u32 = 7;
/// Values from here on (2^27 µs, 134 s) are counted in the last bucket.
const VALUE_BITS: u32 = 27;
const BUCKETS: usize = ((VALUE_BITS - SUB_BITS + 1) << SUB_BITS) as usize;

/// Counts of latencies in µs.
pub(super) struct Latencies {
    buckets: Box<[u32]>,
    count: u64,
    max_us: u64,
}

impl Latencies {
    pub(super) fn new() -> Self {
        Self { buckets: vec![0; BUCKETS].into_boxed_slice(), count: 0, max_us: 0 }
    }

    pub(super) fn record(&mut self, us: u64) {
        if let Some(bucket) = self.buckets.get_mut(bucket_of(us)) {
            *bucket = bucket.saturating_add(1);
        }
        self.count += 1;
        self.max_us = self.max_us.max(us);
    }

    pub(super) fn clear(&mut self) {
        self.buckets.fill(0);
        self.count = 0;
        self.max_us = 0;
    }

    pub(super) fn max_us(&self) -> u64 {
        self.max_us
    }

    /// Returns for each of `ppm`, which ascend, the latency that so many millionths of all do not exceed; 0 of none.
    ///
    /// One walk for all of them: 2,688 buckets take some µs.
    pub(super) fn quantiles<const N: usize>(&self, ppm: [u64; N]) -> [u64; N] {
        let mut found = [0; N];
        let mut wanted = ppm.iter().zip(&mut found).peekable();
        let mut seen = 0;
        for (index, bucket) in self.buckets.iter().enumerate() {
            seen += u64::from(*bucket);
            while let Some((ppm, place)) = wanted.peek_mut() {
                let rank = (self.count * **ppm).div_ceil(1_000_000).max(1);
                if seen < rank {
                    break;
                }
                // The middle of the bucket, as the least error there can be.
                **place = ((bucket_start(index) + bucket_start(index + 1)) / 2).min(self.max_us);
                wanted.next();
            }
        }
        found
    }
}

fn bucket_of(us: u64) -> usize {
    let us = us.min((1 << VALUE_BITS) - 1);
    let shift = us.checked_ilog2().unwrap_or(0).saturating_sub(SUB_BITS);
    ((u64::from(shift) << SUB_BITS) + (us >> shift)) as usize
}

/// Returns the smallest value of a bucket.
fn bucket_start(bucket: usize) -> u64 {
    let sub = 1 << SUB_BITS;
    let shift = (bucket / sub).saturating_sub(1);
    ((bucket - shift * sub) as u64) << shift
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;

    #[test]
    fn every_value_is_in_its_bucket_to_two_digits() {
        for value in (0..200_000).chain((0..VALUE_BITS).flat_map(|b| [(1 << b) - 1, 1 << b, (1 << b) + 1])) {
            let bucket = bucket_of(value);
            let (start, end) = (bucket_start(bucket), bucket_start(bucket + 1));
            assert!(bucket < BUCKETS && start <= value && value < end, "{value} in {start}..{end}");
            assert!((end - start) * 100 <= start.max(100), "{start}..{end}");
        }
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn quantiles_are_near_the_exact_ones() {
        let mut latencies = Latencies::new();
        assert_eq!(latencies.quantiles([500_000, 1_000_000]), [0, 0]);
        let mut values: Vec<u64> = (0..100_000u64).map(|i| (i * 7919) % 500_000 + 100).collect();
        values.iter().for_each(|value| latencies.record(*value));
        values.sort_unstable();
        let got = latencies.quantiles([10_000, 500_000, 990_000, 999_000, 1_000_000]);
        for (got, at) in got.into_iter().zip([999, 49_999, 98_999, 99_899, 99_999]) {
            assert!(got.abs_diff(values[at]) * 100 <= values[at], "{got}, not {}", values[at]);
        }
        assert_eq!(latencies.max_us(), values[99_999]);
        latencies.clear();
        assert_eq!(latencies.quantiles([1_000_000]), [0]);
    }
}
