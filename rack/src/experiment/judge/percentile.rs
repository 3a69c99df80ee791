//! Percentiles of how long operations took, from the nodes' histograms: exact to 1/16 of the value, as these are.

use std::collections::BTreeMap;

use super::super::series::Work;

/// How many operations took how long, by the least duration in µs of their bucket.
pub(in crate::experiment) type Counts = BTreeMap<u64, u64>;

/// A bucket is so many times narrower than the power of two that it is a part of (`telemetry::histogram`).
const SUB_BITS: u32 = 4;

/// Adds what a workload has done since it was as `before`.
pub(in crate::experiment) fn add(counts: &mut Counts, now: &Work, before: Option<&Work>) {
    for (us, count) in &now.durations {
        let old = before.and_then(|work| work.durations.get(us)).copied().unwrap_or(0);
        let new = count.saturating_sub(old);
        if new > 0 {
            *counts.entry(*us).or_default() += new;
        }
    }
}

/// Returns the time in seconds within which so many thousandths of the operations were done: the middle of a bucket.
pub(in crate::experiment) fn of(counts: &Counts, permille: u32) -> Option<f64> {
    let total: u64 = counts.values().sum();
    let rank = (total * u64::from(permille)).div_ceil(1000).max(1);
    let mut seen = 0;
    let (start, _) = counts.iter().find(|(_, count)| {
        seen += **count;
        seen >= rank
    })?;
    let width = 1_u64 << start.checked_ilog2().unwrap_or(0).saturating_sub(SUB_BITS);
    // Far below 2^53.
    Some((start + width / 2) as f64 / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_the_histogram() {
        let histogram = telemetry::Histogram::new();
        (0..10_000_u64).for_each(|n| histogram.record((n * 7919) % 50_000 + 100));
        let counts: Counts = histogram.buckets().map(|(us, count)| (us, count.into())).collect();
        let summary = histogram.summary();
        for (permille, wanted) in [(500, summary.map(|s| s.p50_us)), (900, summary.map(|s| s.p90_us))] {
            assert_eq!(of(&counts, permille).map(|seconds| (seconds * 1e6).round() as u64), wanted);
        }
        assert_eq!(of(&Counts::new(), 500), None);
    }

    #[test]
    fn only_what_came_since_counts() {
        let work = |pairs: &[(u64, u64)]| Work { durations: pairs.iter().copied().collect(), ..Work::default() };
        let mut counts = Counts::new();
        add(&mut counts, &work(&[(10, 5), (100, 2)]), Some(&work(&[(10, 5)])));
        assert_eq!(counts, Counts::from([(100, 2)]));
    }
}
