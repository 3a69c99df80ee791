//! When messages were due: exact between stages on one node, and as exact as the time servers make it between two.

use core::sync::atomic::{AtomicU64, Ordering};

use embassy_time::{Duration, Instant, Timer};

use super::link::Lock;
use super::wire::Message;
use crate::Context;

/// How often the time of day is asked for: clocks drift, and time servers are found.
const INTERVAL: Duration = Duration::from_secs(1);

/// The number of this node's clock, which counts from its start; 0 before it has one. Two stages that find the same number
/// read the same clock.
static NUMBER: AtomicU64 = AtomicU64::new(0);

/// The time of day at the clock's zero, in µs since 1970, and how far off it may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Day {
    zero_us: u64,
    error_us: u32,
}

/// A node's clock.
pub(super) struct Clock {
    number: u64,
    day: Lock<Option<Day>>,
}

/// How long a message was on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Latency {
    pub(super) us: u64,
    /// How far off that may be.
    pub(super) uncertainty_us: u64,
}

impl Clock {
    pub(super) fn new(context: &Context<'_>) -> Self {
        let new = context.env().seed().max(1);
        let number = match NUMBER.compare_exchange(0, new, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => new,
            Err(number) => number,
        };
        Self { number, day: Lock::new(None) }
    }

    /// Asks for the time of day, again and again.
    pub(super) async fn keep(&self, context: &Context<'_>) -> core::convert::Infallible {
        loop {
            if let Some(seen) = context.env().look().await
                && let (Some(unix_us), Some(error_us)) = (seen.sample.unix_us, seen.sample.clock_error_us)
                && let Some(mut day) = self.day.get()
            {
                let error_us = u32::try_from(error_us).unwrap_or(u32::MAX);
                *day = unix_us.checked_sub(seen.sample.at_us).map(|zero_us| Day { zero_us, error_us });
            }
            Timer::after(INTERVAL).await;
        }
    }

    /// Writes into a message when it was due.
    pub(super) fn stamp(&self, message: &mut Message, due: Instant) {
        message.due_us = due.as_micros();
        message.clock = self.number;
        if let Some(day) = self.day.get().and_then(|day| *day) {
            message.unix_us = day.zero_us.saturating_add(message.due_us);
            message.unix_error_us = day.error_us;
        }
    }

    /// Returns how long a message was on its way that is here now; `None` if nobody can know.
    pub(super) fn latency(&self, message: &Message, now: Instant) -> Option<Latency> {
        let now_us = now.as_micros();
        if message.clock == self.number {
            return Some(Latency { us: now_us.saturating_sub(message.due_us), uncertainty_us: 0 });
        }
        let day = self.day.get().and_then(|day| *day)?;
        (message.unix_us > 0).then(|| Latency {
            // Clocks that are off may show a message before it was sent: that is as good as no time at all.
            us: day.zero_us.saturating_add(now_us).saturating_sub(message.unix_us),
            uncertainty_us: u64::from(day.error_us) + u64::from(message.unix_error_us),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clock(number: u64, day: Option<(u64, u32)>) -> Clock {
        Clock { number, day: Lock::new(day.map(|(zero_us, error_us)| Day { zero_us, error_us })) }
    }

    #[test]
    fn latency_is_exact_on_one_node_and_as_uncertain_as_both_clocks_between_two() {
        let mut message = Message::default();
        clock(1, Some((1_000_000, 300))).stamp(&mut message, Instant::from_micros(500));
        let at = Instant::from_micros;
        assert_eq!(clock(1, None).latency(&message, at(700)), Some(Latency { us: 200, uncertainty_us: 0 }));
        let other = clock(2, Some((900_000, 40)));
        assert_eq!(other.latency(&message, at(100_900)), Some(Latency { us: 400, uncertainty_us: 340 }));
        assert_eq!(other.latency(&message, at(100_000)), Some(Latency { us: 0, uncertainty_us: 340 }));
        assert_eq!(clock(2, None).latency(&message, at(100_900)), None);
        clock(3, None).stamp(&mut message, Instant::from_micros(500));
        message.unix_us = 0;
        assert_eq!(other.latency(&message, at(100_900)), None);
    }
}
