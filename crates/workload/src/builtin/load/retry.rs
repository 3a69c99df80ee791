//! Trying again what has failed: how often, and after which pause.

use embassy_time::Duration;

use crate::parameter::{Kind, Unit, Values};
use crate::{Parameter, Random};

pub(super) static RETRIES: Parameter = Parameter {
    name: "retries",
    help: "how often a request that failed is tried again before its timeout, not for udp",
    kind: Kind::Integer { min: 0, max: 100, default: 0, unit: Unit::Count },
};

pub(super) static TRY_TIMEOUT: Parameter = Parameter {
    name: "try-timeout",
    help: "a try that is not answered so long after it was sent has failed; 0s is the timeout",
    kind: Kind::Integer { min: 0, max: 60_000_000, default: 0, unit: Unit::Time },
};

pub(super) static BACKOFF: Parameter = Parameter {
    name: "backoff",
    help: "pause before the first retry, twice as long before each further one",
    kind: Kind::Integer { min: 0, max: 60_000_000, default: 0, unit: Unit::Time },
};

pub(super) static JITTER: Parameter = Parameter {
    name: "jitter",
    help: "share of each pause that is random",
    kind: Kind::Integer { min: 0, max: 1_000_000, default: 1_000_000, unit: Unit::Share },
};

/// Longest pause.
const PAUSE_MAX_US: u64 = 60_000_000;

/// How a client tries again.
#[derive(Clone, Debug)]
pub(super) struct Policy {
    pub(super) retries: u8,
    /// How long a try may take; `None` for as long as the request.
    pub(super) try_timeout: Option<Duration>,
    backoff_us: u64,
    jitter_ppm: u64,
    random: Random,
}

impl Policy {
    /// Reads the parameters; the same `seed` gives the same pauses.
    pub(super) fn read(values: &Values, seed: u64) -> Self {
        Self {
            retries: u8::try_from(values.number(&RETRIES)).unwrap_or(u8::MAX),
            try_timeout: Some(values.number(&TRY_TIMEOUT)).filter(|us| *us > 0).map(Duration::from_micros),
            backoff_us: values.number(&BACKOFF),
            jitter_ppm: values.number(&JITTER),
            // Not the sequence of the arrivals.
            random: Random::new(!seed),
        }
    }

    /// Returns the pause after so many tries, of which there was one at least.
    pub(super) fn pause(&mut self, tries: u8) -> Duration {
        let doublings = u32::from(tries.saturating_sub(1)).min(32);
        let whole = (self.backoff_us << doublings).min(PAUSE_MAX_US);
        let random = whole * self.jitter_ppm / 1_000_000;
        Duration::from_micros(whole - random + self.random.below(random + 1))
    }
}

#[cfg(test)]
pub(super) fn policy(retries: u8, backoff_us: u64, jitter_ppm: u64) -> Policy {
    Policy { retries, try_timeout: None, backoff_us, jitter_ppm, random: Random::new(1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_limit_and_vary_by_the_share_that_is_random() {
        let mut steady = policy(9, 100_000, 0);
        let pauses: Vec<_> = (1..=12).map(|tries| steady.pause(tries).as_millis()).collect();
        assert_eq!(pauses, [100, 200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 51_200, 60_000, 60_000]);
        assert_eq!(policy(9, 0, 1_000_000).pause(200), Duration::MIN);
        let mut random = policy(9, 100_000, 500_000);
        let pauses: Vec<_> = (0..1000).map(|_| random.pause(2).as_millis()).collect();
        let (least, most) = (pauses.iter().min().unwrap(), pauses.iter().max().unwrap());
        assert!((100..110).contains(least) && (190..=200).contains(most), "{least} {most}");
    }
}
