//! What happened between two samples, per second.

use crate::sample::{CORES, Sample, WORKLOAD_SLOTS};
use crate::workload_status::WorkloadStatus;

/// Rates per second, and shares in thousandths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    /// Time between the two samples in µs; never 0.
    pub elapsed_us: u64,
    /// Share of time that each core was awake, in thousandths; `None` for a core that did not run.
    pub busy_permille: [Option<u16>; CORES],
    /// Bytes received.
    pub rx_bytes: u64,
    /// Frames received.
    pub rx_frames: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Frames sent.
    pub tx_frames: u64,
    /// Frames lost in either direction, by error or for want of room.
    pub lost_frames: u64,
    /// Interrupts, if they are counted.
    pub interrupts: Option<u64>,
    /// Of each workload, by its slot.
    pub workloads: [WorkloadRates; WORKLOAD_SLOTS],
}

/// Rates of a workload on one core.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WorkloadRates {
    /// Operations per second.
    pub operations: u64,
    /// Bytes per second.
    pub bytes: u64,
    /// Errors per second, rounded up so that a single one shows.
    pub errors: u64,
    /// Share of time that the workload worked, in thousandths.
    pub busy_permille: u16,
}

impl Rates {
    /// Returns the rates of the workload that has this status.
    #[must_use]
    pub fn workload(&self, status: &WorkloadStatus) -> WorkloadRates {
        self.workloads.get(status.slot).copied().unwrap_or_default()
    }

    /// Returns the rates from `old` to `new`; `None` if no time has passed.
    #[must_use]
    pub fn between(old: &Sample, new: &Sample) -> Option<Self> {
        let elapsed_us = new.at_us.checked_sub(old.at_us).filter(|us| *us > 0)?;
        let rate = |old: u64, new: u64| per_second(increase(old, new), elapsed_us);
        let (o, n) = (&old.nic, &new.nic);
        let mut rates = Self {
            elapsed_us,
            rx_bytes: rate(o.rx_bytes, n.rx_bytes),
            rx_frames: rate(o.rx_frames, n.rx_frames),
            tx_bytes: rate(o.tx_bytes, n.tx_bytes),
            tx_frames: rate(o.tx_frames, n.tx_frames),
            lost_frames: rate(o.rx_errors, n.rx_errors)
                .saturating_add(rate(o.rx_dropped, n.rx_dropped))
                .saturating_add(rate(o.tx_errors, n.tx_errors))
                .saturating_add(rate(o.tx_dropped, n.tx_dropped)),
            interrupts: old.interrupts.zip(new.interrupts).map(|(old, new)| rate(old, new)),
            ..Self::default()
        };
        for ((permille, old), new) in rates.busy_permille.iter_mut().zip(old.cores).zip(new.cores) {
            *permille = old.zip(new).and_then(|(old, new)| {
                let busy = increase(old.busy_us, new.busy_us);
                let total = busy.checked_add(increase(old.idle_us, new.idle_us))?;
                (total > 0).then(|| permille_of(busy, total))
            });
        }
        for ((w, old), new) in rates.workloads.iter_mut().zip(&old.workloads).zip(&new.workloads) {
            *w = WorkloadRates {
                operations: rate(old.operations, new.operations),
                bytes: rate(old.bytes, new.bytes),
                errors: rate(old.errors, new.errors).max(u64::from(new.errors > old.errors)),
                busy_permille: permille_of(increase(old.busy_us, new.busy_us), elapsed_us),
            };
        }
        Some(rates)
    }
}

/// Returns by how much a counter has grown, whether or not it wrapped or began again.
///
/// A counter that went down either wrapped at 32 bits (it was near the top of that range and is near its bottom) or
/// started again at zero, as the counters of a controller that was plugged out and in do.
#[must_use]
pub fn increase(old: u64, new: u64) -> u64 {
    const WRAP: u64 = 1 << 32;
    match new.checked_sub(old) {
        Some(increase) => increase,
        None if (WRAP - WRAP / 4..WRAP).contains(&old) && new < WRAP / 4 => WRAP - old + new,
        None => new,
    }
}

fn per_second(increase: u64, elapsed_us: u64) -> u64 {
    scaled(increase, 1_000_000, elapsed_us)
}

fn permille_of(part: u64, whole: u64) -> u16 {
    u16::try_from(scaled(part, 1000, whole).min(1000)).unwrap_or(1000)
}

/// Returns `part` · `scale` / `whole`, rounded, and the greatest number if that is too large.
fn scaled(part: u64, scale: u64, whole: u64) -> u64 {
    let whole = whole.max(1);
    // The usual case in 64 bits: a division of 128 bits takes some twenty times as long, and a page has hundreds.
    if let Some(rounded) = part.checked_mul(scale).and_then(|n| n.checked_add(whole / 2)) {
        return rounded / whole;
    }
    let rounded = (u128::from(part) * u128::from(scale) + u128::from(whole / 2)) / u128::from(whole);
    u64::try_from(rounded).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::CoreTime;

    fn sample(at_us: u64) -> Sample {
        Sample { at_us, ..Sample::EMPTY }
    }

    #[test]
    fn no_time_gives_no_rates() {
        assert_eq!(Rates::between(&sample(5), &sample(5)), None);
        assert_eq!(Rates::between(&sample(6), &sample(5)), None);
    }

    #[test]
    fn a_rate_is_per_second_whatever_the_distance() {
        let old = sample(1_000_000);
        let mut new = sample(3_500_000);
        new.nic.rx_bytes = 2_500;
        assert_eq!(Rates::between(&old, &new).unwrap().rx_bytes, 1_000);
    }

    #[test]
    fn a_core_is_busy_by_its_own_time_not_by_the_clock() {
        let mut old = sample(0);
        let mut new = sample(1_000_000);
        old.cores[1] = Some(CoreTime { idle_us: 100, busy_us: 100 });
        new.cores[1] = Some(CoreTime { idle_us: 850, busy_us: 350 });
        new.cores[2] = Some(CoreTime { idle_us: 1, busy_us: 1 });
        let rates = Rates::between(&old, &new).unwrap();
        assert_eq!(rates.busy_permille, [None, Some(250), None, None]);
    }

    #[test]
    fn a_wrapped_counter_goes_on() {
        assert_eq!(increase(0xFFFF_FFF0, 0x10), 0x20);
        assert_eq!(increase(0xFFFF_FFFF, 0), 1);
    }

    #[test]
    fn a_counter_that_began_again_counts_from_zero() {
        assert_eq!(increase(5_000, 20), 20);
        assert_eq!(increase(1 << 40, 7), 7);
        assert_eq!(increase(0x4000_0000, 0x3000_0000), 0x3000_0000);
    }

    #[test]
    fn extremes_do_not_overflow() {
        let mut new = sample(1);
        new.nic.rx_bytes = u64::MAX;
        new.nic.rx_errors = u64::MAX;
        new.nic.tx_errors = u64::MAX;
        new.cores[0] = Some(CoreTime { idle_us: u64::MAX, busy_us: u64::MAX });
        let mut old = sample(0);
        old.cores[0] = Some(CoreTime::default());
        let rates = Rates::between(&old, &new).unwrap();
        assert_eq!(rates.rx_bytes, u64::MAX);
        assert_eq!(rates.lost_frames, u64::MAX);
        assert_eq!(rates.busy_permille[0], None);
    }

    #[test]
    fn scaling_is_the_same_in_64_and_128_bits() {
        for part in [0, 1, 7, 499, 500, 1 << 43, 1 << 44, 1 << 45, 1 << 63, u64::MAX] {
            for whole in [1, 3, 1_000, 999_983, 1 << 50, u64::MAX] {
                let exact = (u128::from(part) * 1_000_000 + u128::from(whole / 2)) / u128::from(whole);
                assert_eq!(u128::from(scaled(part, 1_000_000, whole)), exact.min(u128::from(u64::MAX)));
            }
        }
    }

    #[test]
    fn one_error_in_a_long_time_shows() {
        let mut new = sample(100_000_000);
        new.workloads[1].errors = 1;
        assert_eq!(Rates::between(&sample(0), &new).unwrap().workloads[1].errors, 1);
    }
}
