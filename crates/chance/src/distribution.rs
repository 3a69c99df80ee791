//! Time spans that are not always the same: read from text such as `uniform:1ms-9ms`, and drawn.

use core::fmt;

use heapless::Vec;

use crate::random::Random;
use crate::unit::Unit;

/// Most values of a list.
pub const LIST_MAX: usize = 16;

/// What may be written, for help and errors.
pub const FORMS: &str = "5ms, constant:5ms, uniform:1ms-9ms, exponential:5ms (mean), lognormal:5ms,0.5 (median, sigma) or \
                         list:1ms,1ms,20ms";

/// Greatest sigma of a log-normal distribution, in thousandths: beyond it a mean says nothing any more.
const SIGMA_MAX: u64 = 5_000;

/// How long something takes, in µs.
#[derive(Clone, Debug, PartialEq)]
pub enum Distribution {
    /// Always the same.
    Constant(u64),
    /// Anything from the first to the second, each as likely.
    Uniform(u64, u64),
    /// Most are short, few are long: times between events that know nothing of each other. With this mean.
    Exponential(u64),
    /// Times whose logarithm is normally distributed, as response times often are.
    LogNormal {
        /// Half of the times are shorter.
        median: u64,
        /// Standard deviation of the logarithm: about two thirds are between median / e^sigma and median · e^sigma.
        sigma: f64,
    },
    /// One of these, each as likely; what is listed twice is twice as likely.
    List(Vec<u64, LIST_MAX>),
}

impl Distribution {
    /// Reads one of [`FORMS`], of times up to `max_us`; `None` if it is none, or a time is longer.
    #[must_use]
    pub fn parse(text: &str, max_us: u64) -> Option<Self> {
        let time = |text: &str| Unit::Time.parse(text).filter(|us| *us <= max_us);
        let Some((form, numbers)) = text.split_once(':') else { return time(text).map(Self::Constant) };
        match form {
            "constant" => time(numbers).map(Self::Constant),
            "uniform" => {
                let (low, high) = numbers.split_once('-')?;
                let (low, high) = (time(low)?, time(high)?);
                (low <= high).then_some(Self::Uniform(low, high))
            }
            "exponential" => time(numbers).map(Self::Exponential),
            "lognormal" => {
                let (median, sigma) = numbers.split_once(',')?;
                let sigma = Unit::Decimal.parse(sigma).filter(|thousandths| *thousandths <= SIGMA_MAX)?;
                Some(Self::LogNormal { median: time(median)?, sigma: sigma as f64 / 1_000.0 })
            }
            "list" => {
                let mut list = Vec::new();
                for part in numbers.split(',') {
                    list.push(time(part)?).ok()?;
                }
                Some(Self::List(list))
            }
            _ => None,
        }
    }

    /// Draws a time in µs.
    #[must_use]
    pub fn draw(&self, random: &mut Random) -> u64 {
        match self {
            Self::Constant(us) => *us,
            Self::Uniform(low, high) => low + random.below((high - low).saturating_add(1)),
            Self::Exponential(mean) => (*mean as f64 * exponential(random)) as u64,
            // A float that is too large becomes the greatest integer.
            Self::LogNormal { median, sigma } => (*median as f64 * libm::exp(sigma * normal(random))) as u64,
            Self::List(list) => list.get(random.below(list.len() as u64) as usize).copied().unwrap_or(0),
        }
    }

    /// Returns whether no time at all is all that can be drawn.
    #[must_use]
    pub fn is_zero(&self) -> bool {
        matches!(
            self,
            Self::Constant(0) | Self::Uniform(0, 0) | Self::Exponential(0) | Self::LogNormal { median: 0, .. }
        )
    }
}

/// Draws from the exponential distribution with mean 1, by the inverse of its distribution function.
#[must_use]
pub fn exponential(random: &mut Random) -> f64 {
    // 1 - u is never 0.
    -libm::log(1.0 - random.unit())
}

/// Draws from the normal distribution with mean 0 and standard deviation 1, by Marsaglia's polar method (1964).
fn normal(random: &mut Random) -> f64 {
    loop {
        let (x, y) = (2.0 * random.unit() - 1.0, 2.0 * random.unit() - 1.0);
        let s = x * x + y * y;
        // Three of four points are inside: 40 misses in a row are less likely than 10^-26.
        if s > 0.0 && s < 1.0 {
            return x * libm::sqrt(-2.0 * libm::log(s) / s);
        }
    }
}

impl fmt::Display for Distribution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = |us: &u64| Unit::Time.show(*us);
        match self {
            Self::Constant(us) => write!(f, "constant:{}", time(us)),
            Self::Uniform(low, high) => write!(f, "uniform:{}-{}", time(low), time(high)),
            Self::Exponential(mean) => write!(f, "exponential:{}", time(mean)),
            Self::LogNormal { median, sigma } => {
                write!(f, "lognormal:{},{}", time(median), Unit::Decimal.show((sigma * 1_000.0 + 0.5) as u64))
            }
            Self::List(list) => {
                f.write_str("list:")?;
                for (i, us) in list.iter().enumerate() {
                    write!(f, "{}{}", if i == 0 { "" } else { "," }, time(us))?;
                }
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DRAWS: usize = 100_000;

    fn parse(text: &str) -> Option<Distribution> {
        Distribution::parse(text, 60_000_000)
    }

    /// Draws many, sorted.
    fn draws(text: &str) -> std::vec::Vec<u64> {
        let distribution = parse(text).unwrap();
        let mut random = Random::new(42);
        let mut all: std::vec::Vec<u64> = (0..DRAWS).map(|_| distribution.draw(&mut random)).collect();
        all.sort_unstable();
        all
    }

    fn mean(all: &[u64]) -> f64 {
        all.iter().sum::<u64>() as f64 / all.len() as f64
    }

    #[test]
    fn every_form_is_read_and_shown() {
        for text in [
            "constant:5ms",
            "uniform:1ms-9ms",
            "exponential:5ms",
            "lognormal:5ms,0.5",
            "lognormal:1s,1",
            "list:1ms,20ms,1ms",
        ] {
            assert_eq!(parse(text).unwrap().to_string(), text);
        }
        assert_eq!(parse("1.5ms"), Some(Distribution::Constant(1_500)));
        assert!(parse("0us").unwrap().is_zero() && !parse("uniform:0us-1us").unwrap().is_zero());
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for text in [
            "",
            "5",
            "constant",
            "constant:",
            "constant:5",
            "constant:61s",
            "uniform:5ms",
            "uniform:9ms-1ms",
            "uniform:1ms-61s",
            "exponential:-1ms",
            "lognormal:5ms",
            "lognormal:5ms,",
            "lognormal:5ms,6",
            "lognormal:5ms,-1",
            "lognormal:5ms,0.5,1",
            "list:",
            "list:1ms,",
            "list:1ms,2",
            "normal:5ms",
            "list:1ms,1ms,1ms,1ms,1ms,1ms,1ms,1ms,1ms,1ms,1ms,1ms,1ms,1ms,1ms,1ms,1ms",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    // The bounds below are some five standard deviations of the mean of so many draws wide.

    #[test]
    fn uniform_times_fill_their_range_evenly() {
        let all = draws("uniform:1ms-9ms");
        assert!(all[0] >= 1_000 && all[DRAWS - 1] <= 9_000 && all[0] < 1_010 && all[DRAWS - 1] > 8_990);
        assert!((mean(&all) - 5_000.0).abs() < 40.0, "{}", mean(&all));
        assert!(all[DRAWS / 4].abs_diff(3_000) < 60 && all[DRAWS * 3 / 4].abs_diff(7_000) < 60);
        assert_eq!(draws("uniform:7us-7us")[0], 7);
    }

    #[test]
    fn exponential_times_have_their_mean_and_their_tail() {
        let all = draws("exponential:5ms");
        assert!((mean(&all) - 5_000.0).abs() < 80.0, "{}", mean(&all));
        // Quantiles are mean · ln(1 / (1 - p)): 3.466 ms for a half, 23.03 ms for 99 %.
        assert!(all[DRAWS / 2].abs_diff(3_466) < 80, "{}", all[DRAWS / 2]);
        assert!(all[DRAWS * 99 / 100].abs_diff(23_026) < 800, "{}", all[DRAWS * 99 / 100]);
    }

    #[test]
    fn log_normal_times_have_their_median_and_spread() {
        let all = draws("lognormal:5ms,0.5");
        assert!(all[DRAWS / 2].abs_diff(5_000) < 50, "{}", all[DRAWS / 2]);
        // One standard deviation: 15.87 % and 84.13 % are at median · e^∓0.5, 3.033 and 8.244 ms.
        assert!(all[DRAWS * 1_587 / 10_000].abs_diff(3_033) < 50, "{}", all[DRAWS * 1_587 / 10_000]);
        assert!(all[DRAWS * 8_413 / 10_000].abs_diff(8_244) < 120, "{}", all[DRAWS * 8_413 / 10_000]);
        // The mean is median · e^(sigma²/2).
        assert!((mean(&all) - 5_665.7).abs() < 60.0, "{}", mean(&all));
        assert!(draws("lognormal:5ms,0").iter().all(|us| *us == 5_000));
    }

    #[test]
    fn listed_times_come_as_often_as_they_are_listed() {
        let all = draws("list:1ms,1ms,20ms");
        let short = all.iter().filter(|us| **us == 1_000).count();
        assert_eq!(short + all.iter().filter(|us| **us == 20_000).count(), DRAWS);
        assert!(short.abs_diff(DRAWS * 2 / 3) < 800, "{short}");
    }
}
