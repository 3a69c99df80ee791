//! Operations over time: how many a second, how long none, and how long fewer than before.
//!
//! Nodes are asked several times a second, and what is between two answers is not known. So times are rounded up to whole intervals
//! between questions: a measure is never shorter than what was.

use std::time::{Duration, Instant};

use super::super::series::{Point, Track};
use super::{Disturbance, Measured};

/// How long throughput is looked at to be called one: two operations a second are seen.
const WINDOW: Duration = Duration::from_secs(1);
/// What throughput was before a fault is the mean of so long.
const BEFORE: Duration = Duration::from_secs(4);
/// Least time before a fault that tells what throughput was.
const BEFORE_MIN: Duration = Duration::from_millis(900);
/// Throughput is back when it is this share of what it was.
const BACK: f64 = 0.5;

/// Operations of some workloads, node by node: how many up to each moment.
#[derive(Clone, Debug, Default)]
pub(in crate::experiment) struct Flow {
    pub(super) counts: Vec<Vec<(Instant, f64)>>,
    /// When the first of them had done all it was told to do.
    pub(super) finished: Option<Instant>,
}

impl Flow {
    /// Returns the operations of one workload of a node.
    pub(in crate::experiment) fn of(track: &Track, id: &str) -> Self {
        let count =
            |point: &Point| (point.at, point.works.get(id).and_then(|work| work.figure("operations")).unwrap_or(0.0));
        Self { counts: vec![track.points.iter().map(count).collect()], finished: None }
    }

    /// Returns how many operations were done up to a moment; between two answers, as many as if they were done evenly.
    fn count(&self, at: Instant) -> f64 {
        self.counts.iter().map(|points| interpolated(points, at)).sum()
    }

    /// Returns operations per second.
    pub(in crate::experiment) fn rate(&self, from: Instant, to: Instant) -> Option<f64> {
        let time = to.checked_duration_since(from).filter(|time| !time.is_zero())?;
        self.counts
            .iter()
            .any(|points| !points.is_empty())
            .then(|| (self.count(to) - self.count(from)) / time.as_secs_f64())
    }

    /// Returns the longest time without an operation, in seconds; `None` if nobody was asked.
    pub(super) fn gap(&self, from: Instant, to: Instant, interval: Duration) -> Option<f64> {
        // Whoever had answered between two moments did it at one of his own.
        let mut moments: Vec<(Instant, bool)> = Vec::new();
        for points in &self.counts {
            for pair in points.windows(2) {
                if pair[0].0 >= from && pair[1].0 <= to && pair[1].1 > pair[0].1 {
                    // Something was done between the two.
                    moments.push((pair[0].0, true));
                    moments.push((pair[1].0, false));
                }
            }
        }
        if self.counts.iter().all(|points| points.len() < 2) {
            return None;
        }
        moments.sort();
        let (mut open, mut since, mut longest) = (0_usize, from, Duration::ZERO);
        for (at, begins) in moments {
            if begins {
                if open == 0 {
                    longest = longest.max(at.saturating_duration_since(since));
                }
                open += 1;
            } else {
                open -= 1;
                since = at;
            }
        }
        longest = longest.max(to.saturating_duration_since(since));
        Some(rounded_up(longest, interval).as_secs_f64() + interval.as_secs_f64())
    }
}

fn interpolated(points: &[(Instant, f64)], at: Instant) -> f64 {
    let behind = points.partition_point(|(time, _)| *time <= at);
    let Some((before, count)) = behind.checked_sub(1).and_then(|i| points.get(i)) else { return 0.0 };
    let Some((after, next)) = points.get(behind) else { return *count };
    let share = at.duration_since(*before).as_secs_f64() / after.duration_since(*before).as_secs_f64();
    count + (next - count) * share
}

/// Returns the whole seconds from one moment to another; the whole time if it is shorter.
pub(in crate::experiment) fn seconds(from: Instant, to: Instant) -> impl Iterator<Item = (Instant, Instant)> {
    let whole = to.saturating_duration_since(from).as_secs();
    let (count, length) =
        if whole == 0 { (1, to.saturating_duration_since(from)) } else { (whole, Duration::from_secs(1)) };
    (0..count).map(move |second| {
        let start = from + Duration::from_secs(second);
        (start, start + length)
    })
}

/// Returns the longest time that it took after a fault, which began within `span`, until throughput was, for good, at least half of what
/// it had been. "For good" ends with the next fault, when the first workload has done all it was told to, or with the phase: at the
/// next of `ends`.
pub(super) fn failover(
    flow: &Flow,
    disturbances: &[Disturbance],
    (from, to): (Instant, Instant),
    ends: &[Instant],
    interval: Duration,
) -> Measured {
    let mut worst: Option<(f64, String)> = None;
    let mut unknown = Vec::new();
    for fault in disturbances.iter().filter(|fault| (from..=to).contains(&fault.from)) {
        let others = disturbances.iter().map(|other| other.from).filter(|at| *at > fault.from + interval);
        let end =
            others.chain(flow.finished).chain(ends.iter().copied()).filter(|at| *at > fault.from).min().unwrap_or(to);
        let begin = fault.from.checked_sub(BEFORE).unwrap_or(from).max(from);
        let before = flow.rate(begin, fault.from).filter(|rate| *rate > 0.0);
        let (Some(before), true) = (before, fault.from.saturating_duration_since(begin) >= BEFORE_MIN) else {
            unknown.push(format!("{}: no throughput before it", fault.text));
            continue;
        };
        let (time, note) = match back(flow, fault.from, end, before * BACK, interval) {
            Some(time) => (rounded_up(time, interval).as_secs_f64(), format!("after {}", fault.text)),
            None => {
                let seen = end.saturating_duration_since(fault.from).as_secs_f64();
                (f64::INFINITY, format!("after {}: not within the {seen:.1} s until the next event", fault.text))
            }
        };
        if worst.as_ref().is_none_or(|(longest, _)| time > *longest) {
            worst = Some((time, note));
        }
    }
    let note = |text: String| [vec![text], unknown.clone()].concat().join("; ");
    match worst {
        Some((time, text)) => Measured { value: Some(time), note: note(text) },
        None if unknown.is_empty() => Measured { value: None, note: "there was no fault".into() },
        None => Measured { value: None, note: unknown.join("; ") },
    }
}

/// Returns the time from a fault until throughput stays at `enough`; `None` if it never does.
fn back(flow: &Flow, fault: Instant, end: Instant, enough: f64, interval: Duration) -> Option<Duration> {
    let step = interval / 5;
    // The last window in which there was too little: it is back in the middle of the one behind it.
    let (mut at, mut last_bad) = (fault, None);
    while at + WINDOW <= end {
        if flow.rate(at, at + WINDOW).is_none_or(|rate| rate < enough) {
            last_bad = Some(at);
        }
        at += step;
    }
    if at == fault {
        // There was no time to see anything.
        return None;
    }
    match last_bad {
        None => Some(Duration::ZERO),
        Some(bad) if bad + step + WINDOW > end => None,
        Some(bad) => Some((bad + step + WINDOW / 2).saturating_duration_since(fault)),
    }
}

fn rounded_up(time: Duration, interval: Duration) -> Duration {
    let intervals = time.as_nanos().div_ceil(interval.as_nanos().max(1));
    interval * u32::try_from(intervals).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_millis(250);

    /// 100 operations a second for 20 s, but none in these times, asked every 250 ms.
    fn flow(begin: Instant, outages: &[(f64, f64)]) -> Flow {
        let done = |at: f64| at - outages.iter().map(|(from, to)| (at.min(*to) - from).max(0.0)).sum::<f64>();
        let point = |n: u32| {
            let at = INTERVAL * n;
            (begin + at, (100.0 * done(at.as_secs_f64())).floor())
        };
        Flow { counts: vec![(0..=80).map(point).collect()], finished: None }
    }

    fn at(begin: Instant, seconds: f64) -> Instant {
        begin + Duration::from_secs_f64(seconds)
    }

    fn fault(begin: Instant, seconds: f64) -> Disturbance {
        Disturbance { from: at(begin, seconds), text: "drop on a".into() }
    }

    #[test]
    fn an_outage_is_a_failover_of_its_length() {
        let begin = Instant::now();
        for (outage, wanted) in [((5.0, 7.5), 2.5), ((5.1, 6.0), 1.0), ((5.0, 5.2), 0.0)] {
            let flow = flow(begin, &[outage]);
            let span = (begin, at(begin, 20.0));
            let found = failover(&flow, &[fault(begin, 5.0)], span, &[at(begin, 20.0)], INTERVAL).value.unwrap_or(-1.0);
            // Never less, but for outages too short to halve a second's throughput.
            assert!((wanted..=wanted + 0.5).contains(&found), "{outage:?}: {found}");
        }
    }

    #[test]
    fn a_second_dip_counts_and_what_never_ends_is_endless() {
        let begin = Instant::now();
        let span = (begin, at(begin, 20.0));
        let twice = flow(begin, &[(5.0, 6.0), (8.0, 9.0)]);
        let found = failover(&twice, &[fault(begin, 5.0)], span, &[at(begin, 20.0)], INTERVAL).value.unwrap_or(0.0);
        assert!((4.0..=4.5).contains(&found), "{found}");
        let lost = flow(begin, &[(5.0, 99.0)]);
        assert_eq!(
            failover(&lost, &[fault(begin, 5.0)], span, &[at(begin, 20.0)], INTERVAL).value,
            Some(f64::INFINITY)
        );
        assert_eq!(failover(&lost, &[], span, &[at(begin, 20.0)], INTERVAL).value, None);
        // What a source has been told to send is sent: its end is no outage.
        let done = Flow { finished: Some(at(begin, 10.0)), ..flow(begin, &[(10.0, 99.0)]) };
        assert_eq!(failover(&done, &[fault(begin, 5.0)], span, &[at(begin, 20.0)], INTERVAL).value, Some(0.0));
    }

    #[test]
    fn gaps_are_never_too_short_and_at_most_two_intervals_too_long() {
        let begin = Instant::now();
        for outage in [(5.0, 7.0), (5.1, 6.33)] {
            let found = flow(begin, &[outage]).gap(begin, at(begin, 20.0), INTERVAL).unwrap_or(0.0);
            let real = outage.1 - outage.0;
            assert!((real..=real + 0.51).contains(&found), "{outage:?}: {found}");
        }
        assert_eq!(Flow::default().gap(begin, at(begin, 1.0), INTERVAL), None);
    }

    #[test]
    fn rates_are_those_of_the_time_asked_for() {
        let begin = Instant::now();
        let flow = flow(begin, &[(5.0, 7.5)]);
        let rate = |from, to| flow.rate(at(begin, from), at(begin, to)).unwrap_or(-1.0).round();
        assert_eq!([rate(0.0, 5.0), rate(5.0, 7.0), rate(0.0, 10.0)], [100.0, 0.0, 75.0]);
        assert_eq!(seconds(begin, at(begin, 2.5)).count(), 2);
    }
}
