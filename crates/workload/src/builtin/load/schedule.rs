//! When requests are to be sent: a rate that changes by a plan, and arrivals that are regular or random.
//!
//! Each request costs work, one unit or, for Poisson arrivals, an exponentially distributed amount with that mean, and the
//! work that has come together by a moment is the area under the rate. So every plan works with both kinds of arrivals, and
//! random ones are those of an inhomogeneous Poisson process (time rescaling; Daley and Vere-Jones, "An Introduction to the
//! Theory of Point Processes", theorem 7.4.I). All of it is integers, so a plan does not drift however long it runs.

use heapless::Vec;

use crate::random::Random;

/// Most rates of a plan.
pub(in crate::builtin) const RATES_MAX: usize = 16;
/// The work of a request: thousandths per second times µs.
const REQUEST: u64 = 1_000_000_000;
/// A rate that stays is looked at in pieces of this length in µs, so that no product overflows.
const PIECE_US: u64 = 1_000_000;
/// Highest rate in thousandths per second: a million requests per second.
pub(in crate::builtin) const RATE_MAX: u64 = 1_000_000_000;

/// How the rate changes. Rates are in thousandths per second, times in µs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::builtin) enum Plan {
    /// Not at all.
    Steady(u64),
    /// The rate, then none, again and again.
    OnOff { rate: u64, on: u64, off: u64 },
    /// One rate after the other, each for a while; the last one stays.
    Steps { rates: Vec<u64, RATES_MAX>, each: u64 },
}

/// How requests follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::builtin) enum Arrivals {
    /// At equal distances.
    Constant,
    /// Independently of each other.
    Poisson,
}

/// The times of all requests, in µs since the start.
#[derive(Clone, Debug)]
pub(in crate::builtin) struct Schedule {
    plan: Plan,
    arrivals: Arrivals,
    random: Random,
    /// Where the piece at hand begins, and how much of its work was used.
    at: u64,
    used: u64,
}

impl Schedule {
    /// Makes a schedule; the same `seed` gives the same times.
    pub(in crate::builtin) fn new(plan: Plan, arrivals: Arrivals, seed: u64) -> Self {
        Self { plan, arrivals, random: Random::new(seed), at: 0, used: 0 }
    }

    /// Returns the time of the next request; `None` when there will be no more.
    ///
    /// The first of regular ones is one distance after the start.
    pub(in crate::builtin) fn next_us(&mut self) -> Option<u64> {
        let mut work = match self.arrivals {
            Arrivals::Constant => REQUEST,
            Arrivals::Poisson => exponential(&mut self.random),
        };
        loop {
            let (rate, len) = self.piece()?;
            let left = rate * len - self.used;
            if rate > 0 && work < left {
                self.used += work;
                return Some(self.at + self.used / rate);
            }
            work -= left;
            self.at += len;
            self.used = 0;
        }
    }

    /// Returns the rate at the piece at hand and how long it stays, at most [`PIECE_US`]; `None` if nothing comes any more.
    fn piece(&self) -> Option<(u64, u64)> {
        let (rate, left) = match &self.plan {
            Plan::Steady(rate) => (*rate, u64::MAX),
            Plan::OnOff { rate, on, off } => {
                let phase = self.at % (on + off).max(1);
                if phase < *on { (*rate, on - phase) } else { (0, on + off - phase) }
            }
            Plan::Steps { rates, each } => {
                let step = usize::try_from(self.at / (*each).max(1)).unwrap_or(usize::MAX);
                match rates.get(step) {
                    Some(rate) if step + 1 < rates.len() => (*rate, (step as u64 + 1) * each - self.at),
                    _ => (*rates.last()?, u64::MAX),
                }
            }
        };
        let is_over = rate == 0 && (left == u64::MAX || matches!(self.plan, Plan::OnOff { rate: 0, .. }));
        (!is_over && self.at < u64::MAX / 2).then_some((rate, left.clamp(1, PIECE_US)))
    }
}

/// Returns an exponentially distributed amount of work with the mean of a request.
fn exponential(random: &mut Random) -> u64 {
    // 1 - unit() is above 0, so the logarithm is finite; the longest is 37 times the mean.
    let work = -libm::log(1.0 - random.unit()) * REQUEST as f64;
    work as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(plan: Plan, arrivals: Arrivals, seed: u64, count: usize) -> std::vec::Vec<u64> {
        let mut schedule = Schedule::new(plan, arrivals, seed);
        core::iter::from_fn(|| schedule.next_us()).take(count).collect()
    }

    #[test]
    fn constant_arrivals_are_exact_for_ever() {
        // Three per second: 333,333 and a third.
        let thirds = times(Plan::Steady(3_000), Arrivals::Constant, 0, 3_000_000);
        assert_eq!(thirds[..4], [333_333, 666_666, 1_000_000, 1_333_333]);
        assert_eq!(thirds[2_999_999], 1_000_000_000_000);
        for (rate, distance) in [(RATE_MAX, 1), (1_000_000, 1_000), (1, 1_000_000_000), (500, 2_000_000)] {
            let times = times(Plan::Steady(rate), Arrivals::Constant, 0, 1000);
            assert_eq!((times[0], times[999]), (distance, 1000 * distance), "{rate}");
        }
    }

    #[test]
    fn poisson_arrivals_have_the_mean_and_variance_of_the_exponential_distribution() {
        for seed in 1..=5 {
            let n = 200_000;
            let times = times(Plan::Steady(2_000_000), Arrivals::Poisson, seed, n);
            let gaps: std::vec::Vec<f64> = times.windows(2).map(|pair| (pair[1] - pair[0]) as f64).collect();
            let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
            let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
            // 500 µs, and its square; five standard errors of each (sigma / sqrt(n), and sqrt(8 / n) of the square).
            assert!((mean - 500.0).abs() < 5.0 * 500.0 / (n as f64).sqrt(), "{mean}");
            assert!((variance / 250_000.0 - 1.0).abs() < 5.0 * (8.0 / n as f64).sqrt(), "{variance}");
            // Numbers per window of 10 ms are Poisson: mean and variance are both 20.
            let mut windows = std::vec![0u32; (times[n - 1] / 10_000) as usize];
            for time in &times {
                if let Some(window) = windows.get_mut((time / 10_000) as usize) {
                    *window += 1;
                }
            }
            let mean = windows.iter().map(|n| f64::from(*n)).sum::<f64>() / windows.len() as f64;
            let variance =
                windows.iter().map(|n| (f64::from(*n) - mean).powi(2)).sum::<f64>() / windows.len() as f64;
            assert!((mean - 20.0).abs() < 0.3 && (variance / mean - 1.0).abs() < 0.08, "{mean} {variance}");
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_times_and_another_gives_others() {
        let times = |seed| times(Plan::Steady(100_000), Arrivals::Poisson, seed, 100);
        assert_eq!(times(7), times(7));
        assert_ne!(times(7), times(8));
    }

    #[test]
    fn nothing_is_sent_while_it_is_off() {
        let plan = Plan::OnOff { rate: 100_000, on: 500_000, off: 1_500_000 };
        let regular = times(plan.clone(), Arrivals::Constant, 0, 200);
        assert_eq!(regular[..3], [10_000, 20_000, 30_000]);
        // 50 in each phase that is on; work that was begun when it ended goes on in the next.
        assert!(regular.iter().all(|time| time % 2_000_000 <= 500_000), "{regular:?}");
        assert_eq!(regular.iter().filter(|time| (2_000_000..4_000_000).contains(*time)).count(), 50);
        let random = times(plan, Arrivals::Poisson, 3, 2000);
        assert!(random.iter().all(|time| time % 2_000_000 <= 500_000));
    }

    #[test]
    fn rates_follow_each_other_and_the_last_one_stays() {
        let rates = Vec::from_slice(&[10_000, 0, 100_000]).unwrap();
        let times = times(Plan::Steps { rates, each: 1_000_000 }, Arrivals::Constant, 0, 1000);
        let count = |from: u64, to: u64| times.iter().filter(|time| (from..to).contains(*time)).count();
        assert_eq!((count(0, 1_000_001), count(1_000_001, 2_000_000)), (9, 0));
        assert_eq!((count(2_000_000, 3_000_000), count(3_000_000, 4_000_000)), (100, 100));
    }

    #[test]
    fn a_plan_without_a_rate_ends() {
        let zeros = |n: usize| (0..n).map(|_| 0).collect::<Vec<u64, RATES_MAX>>();
        for plan in [
            Plan::Steady(0),
            Plan::OnOff { rate: 0, on: 1, off: 1 },
            Plan::Steps { rates: zeros(2), each: 10 },
            Plan::Steps { rates: Vec::new(), each: 10 },
        ] {
            assert_eq!(Schedule::new(plan.clone(), Arrivals::Poisson, 1).next_us(), None, "{plan:?}");
        }
    }
}
