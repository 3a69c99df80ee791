//! What came of the requests: in all, and in each of the last seconds.

use embassy_time::{Duration, Instant};
use telemetry::Second;
use telemetry::metrics::{Metric, Unit};

use super::latencies::Latencies;
use crate::Context;
use crate::figures::{counter, gauge};

/// What can happen to a request or a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// A request was due.
    Offered,
    /// It was sent.
    Sent,
    /// It was answered as it should be.
    Completed,
    /// It was not answered in time.
    TimedOut,
    /// It was due while too many were waiting, and was dropped.
    Overload,
    /// It was answered, but with an error status or other data.
    BadAnswer,
    /// The connection was lost while it was under way.
    Lost,
    /// A connection was made.
    Connected,
    /// A connection was refused, or not answered.
    Refused,
    /// The peer is not known, or no way leads there.
    Unreachable,
    /// A datagram came for which nobody waits (any more).
    Late,
    /// A request was sent again.
    Retried,
    /// The circuit breaker did not let it pass.
    Rejected,
    /// The circuit breaker has opened.
    Opened,
}

/// How many kinds of events there are.
const EVENTS: usize = Event::Opened as usize + 1;
/// What ends a request without a good answer.
const FAILURES: [Event; 5] = [Event::TimedOut, Event::Overload, Event::BadAnswer, Event::Lost, Event::Rejected];
/// Quantiles that are shown, in millionths.
const QUANTILES: [u64; 4] = [500_000, 900_000, 990_000, 999_000];
/// How often the figures are set.
const LOOK: Duration = Duration::from_millis(100);

/// First the events in their order, then what [`Tally::show`] sets.
pub(super) static FIGURES: &[Metric] = &[
    counter("minipirack_load_offered_total", Unit::Count, "Requests that were due by the plan."),
    counter("minipirack_load_sent_total", Unit::Count, "Requests that were sent, each time that they were."),
    counter("minipirack_load_completed_total", Unit::Count, "Requests that were answered as they should be."),
    counter("minipirack_load_timeouts_total", Unit::Count, "Requests that were not answered in time, at the last try or still waiting."),
    counter("minipirack_load_overload_total", Unit::Count, "Requests that were dropped because too many were waiting."),
    counter("minipirack_load_bad_answers_total", Unit::Count, "Requests whose last answer had an error status or wrong data."),
    counter("minipirack_load_lost_total", Unit::Count, "Requests whose connection was lost at the last try."),
    counter("minipirack_load_connections_total", Unit::Count, "Connections that were made."),
    counter("minipirack_load_refused_total", Unit::Count, "Connections that were refused or not answered."),
    counter("minipirack_load_unreachable_total", Unit::Count, "Times that the peer was not known or no way led there."),
    counter("minipirack_load_late_total", Unit::Count, "Answers for which nobody was waiting any more."),
    counter("minipirack_load_retries_total", Unit::Count, "Times that a request was sent again."),
    counter("minipirack_load_rejected_total", Unit::Count, "Requests that the circuit breaker did not let pass."),
    counter("minipirack_load_breaker_openings_total", Unit::Count, "Times that the circuit breaker has opened."),
    gauge("minipirack_load_breaker", Unit::Count, "State of the circuit breaker: 0 closed or none, 1 half-open, 2 open."),
    gauge("minipirack_load_under_way", Unit::Count, "Requests that are sent, waiting, or to be tried again."),
    gauge("minipirack_load_p50_seconds", Unit::Seconds, "Half of all latencies, from when a request was due, are at most this."),
    gauge("minipirack_load_p90_seconds", Unit::Seconds, "90 % of all latencies are at most this."),
    gauge("minipirack_load_p99_seconds", Unit::Seconds, "99 % of all latencies are at most this."),
    gauge("minipirack_load_p999_seconds", Unit::Seconds, "99.9 % of all latencies are at most this."),
    gauge("minipirack_load_longest_seconds", Unit::Seconds, "The longest latency."),
    gauge("minipirack_load_last_offered", Unit::Count, "Requests that were due in the last second."),
    gauge("minipirack_load_last_completed", Unit::Count, "Requests that were answered in the last second."),
    gauge("minipirack_load_last_failed", Unit::Count, "Requests that failed in the last second."),
    gauge("minipirack_load_last_p50_seconds", Unit::Seconds, "Half of the last second's latencies are at most this."),
    gauge("minipirack_load_last_p99_seconds", Unit::Seconds, "99 % of the last second's latencies are at most this."),
    gauge("minipirack_load_last_longest_seconds", Unit::Seconds, "The longest latency of the last second."),
    gauge("minipirack_load_behind_seconds", Unit::Seconds, "The longest time by which the node itself was late."),
];

/// Counts.
pub(super) struct Tally {
    counts: [u64; EVENTS],
    /// Those at the end of the last second.
    before: [u64; EVENTS],
    all: Latencies,
    second: Latencies,
    behind: Duration,
    /// Failures that the workload's errors hold already.
    shown_failures: u64,
    second_start: Instant,
}

impl Tally {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            counts: [0; EVENTS],
            before: [0; EVENTS],
            all: Latencies::new(),
            second: Latencies::new(),
            behind: Duration::MIN,
            shown_failures: 0,
            second_start: now,
        }
    }

    pub(super) fn count(&mut self, event: Event) {
        if let Some(count) = self.counts.get_mut(event as usize) {
            *count += 1;
        }
    }

    pub(super) fn of(&self, event: Event) -> u64 {
        self.counts.get(event as usize).copied().unwrap_or(0)
    }

    /// Returns quantiles of all latencies in µs.
    #[cfg(test)]
    pub(super) fn quantiles_us<const N: usize>(&self, ppm: [u64; N]) -> [u64; N] {
        self.all.quantiles(ppm)
    }

    /// Counts an answer to a request that was due `latency` ago.
    pub(super) fn complete(&mut self, latency: Duration) {
        self.count(Event::Completed);
        self.all.record(latency.as_micros());
        self.second.record(latency.as_micros());
    }

    /// Notes by how much the node itself was late with a request.
    pub(super) fn note_behind(&mut self, by: Duration) {
        self.behind = self.behind.max(by);
    }

    /// Returns when to look at the time next, as long as there is no other reason to: at the end of the second at the latest.
    pub(super) fn next_look(&self, now: Instant) -> Instant {
        (now + LOOK).min(self.second_end())
    }

    /// Sets the figures, those of the last second when one has passed.
    pub(super) fn show(&mut self, context: &Context<'_>, now: Instant, under_way: u64, breaker: u64) {
        for (index, count) in self.counts.iter().enumerate() {
            context.set(index, *count);
        }
        let failures = FAILURES.map(|event| self.of(event)).iter().sum();
        context.add_errors(failures - core::mem::replace(&mut self.shown_failures, failures));
        context.set(EVENTS, breaker);
        context.set(EVENTS + 1, under_way);
        if now >= self.second_end() {
            self.end_second(context, now);
        }
    }

    /// Sets the figures at the end of a run, which is the end of the second at hand too.
    pub(super) fn finish(&mut self, context: &Context<'_>, now: Instant, under_way: u64, breaker: u64) {
        self.show(context, now, under_way, breaker);
        if now > self.second_start {
            self.end_second(context, now);
        }
    }

    /// Returns the end of the second at hand: seconds are those of the node's clock, whenever the run has begun.
    fn second_end(&self) -> Instant {
        Instant::from_secs(self.second_start.as_secs() + 1)
    }

    fn end_second(&mut self, context: &Context<'_>, now: Instant) {
        let last = |event: Event| {
            let before = self.before.get(event as usize).copied().unwrap_or(0);
            self.of(event) - before
        };
        let [p50, p90, p99, p999] = self.all.quantiles(QUANTILES);
        let [last50, last99] = self.second.quantiles([QUANTILES[0], QUANTILES[2]]);
        let short = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
        let second = Second {
            start_us: self.second_start.as_micros(),
            span_us: short((now - self.second_start).as_micros()),
            offered: short(last(Event::Offered)),
            sent: short(last(Event::Sent)),
            completed: short(last(Event::Completed)),
            failed: short(FAILURES.map(last).iter().sum()),
            p50_us: short(last50),
            p99_us: short(last99),
            longest_us: short(self.second.max_us()),
        };
        context.add_second(&second);
        let values = [
            p50,
            p90,
            p99,
            p999,
            self.all.max_us(),
            second.offered.into(),
            second.completed.into(),
            second.failed.into(),
            last50,
            last99,
            self.second.max_us(),
            self.behind.as_micros(),
        ];
        for (index, value) in values.into_iter().enumerate() {
            context.set(EVENTS + 2 + index, value);
        }
        self.before = self.counts;
        self.second.clear();
        self.second_start = now;
    }
}
