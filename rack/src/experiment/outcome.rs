//! What has come of a run, and what is told of it: on the terminal, and as JSON.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::book::Entry;
use super::crew::{Crew, seconds};
use super::judge::{Verdict, percentile};
use super::measure::Kind;
use super::series::{Point, Track};
use super::timeline::Span;

/// See the module.
pub(super) struct Outcome {
    /// The time of day at which the first phase began,
    pub(super) began: SystemTime,
    /// and by the clock that all else goes by.
    pub(super) zero: Instant,
    pub(super) end: Instant,
    pub(super) spans: Vec<Span>,
    pub(super) entries: Vec<Entry>,
    /// What makes it void; nothing if it is not.
    pub(super) void: Vec<String>,
    pub(super) verdicts: Vec<Verdict>,
    /// By member.
    pub(super) tracks: Vec<Track>,
    pub(super) interval: Duration,
}

impl Outcome {
    pub(super) fn is_void(&self) -> bool {
        !self.void.is_empty()
    }

    pub(super) fn is_met(&self) -> bool {
        !self.is_void() && self.verdicts.iter().all(|verdict| verdict.is_met)
    }

    /// Returns the result in a word.
    pub(super) fn result(&self) -> &'static str {
        match (self.is_void(), self.is_met()) {
            (true, _) => "void",
            (_, true) => "met",
            _ => "not met",
        }
    }

    /// Returns the exit code: 0 met, 1 not met, 2 void.
    pub(super) fn code(&self) -> u8 {
        match (self.is_void(), self.is_met()) {
            (true, _) => 2,
            (_, true) => 0,
            _ => 1,
        }
    }

    /// Returns a moment in seconds from the beginning of the first phase, to the millisecond.
    pub(super) fn second(&self, at: Instant) -> f64 {
        let after = at.saturating_duration_since(self.zero).as_secs_f64()
            - self.zero.saturating_duration_since(at).as_secs_f64();
        (after * 1000.0).round() / 1000.0
    }

    /// Shows it for the terminal.
    pub(super) fn show(&self, crew: &Crew<'_>) -> String {
        let mut out = String::new();
        // Writing to a String does not fail.
        for verdict in &self.verdicts {
            let mark = if verdict.is_met { "met    " } else { "NOT MET" };
            let note =
                if verdict.measured.note.is_empty() { String::new() } else { format!("  ({})", verdict.measured.note) };
            let _ = writeln!(
                out,
                "{mark}  {:32} {}{note}",
                verdict.expectation.text,
                shown(verdict.measured.value, verdict.expectation.kind)
            );
        }
        for reason in &self.void {
            let _ = writeln!(out, "VOID     {reason}");
        }
        let took = seconds(self.end.saturating_duration_since(self.zero));
        let _ = writeln!(out, "{}: {} after {took}", crew.experiment.name, self.result());
        out
    }

    /// Returns everything for programs. Times are in seconds from the beginning of the first phase.
    pub(super) fn json(&self, crew: &Crew<'_>) -> Value {
        let experiment = crew.experiment;
        let nodes: Vec<Value> = crew
            .members
            .iter()
            .enumerate()
            .map(|(at, member)| {
                json!({
                    "part": crew.part(at), "role": crew.role(member).name, "index": member.index, "node": member.node.name,
                    "address": member.node.address.ip(), "origin": member.node.origin.to_string(),
                    "board": member.look.board, "version": member.look.version,
                    "workloads": crew.workloads(at).into_iter().map(|(_, words)| words).collect::<Vec<_>>(),
                    "series": self.tracks.get(at).map(|track| self.series(track)),
                })
            })
            .collect();
        json!({
            "name": experiment.name, "about": experiment.about, "seed": experiment.seed,
            "result": self.result(), "void": self.void,
            "began_unix_ms": self.began.duration_since(UNIX_EPOCH).ok().and_then(|time| u64::try_from(time.as_millis()).ok()),
            "seconds": self.second(self.end), "interval_s": self.interval.as_secs_f64(),
            "phases": self.spans.iter().map(|span| json!({"name": span.name, "from": self.second(span.from), "to": self.second(span.to)})).collect::<Vec<_>>(),
            "expectations": self.verdicts.iter().map(|verdict| self.verdict(verdict)).collect::<Vec<_>>(),
            "events": self.entries.iter().map(|entry| self.entry(entry, crew)).collect::<Vec<_>>(),
            "nodes": nodes,
        })
    }

    fn verdict(&self, verdict: &Verdict) -> Value {
        json!({
            "that": verdict.expectation.text, "is_met": verdict.is_met,
            // JSON has no infinity: it never came back.
            "value": verdict.measured.value.filter(|value| value.is_finite()),
            "shown": shown(verdict.measured.value, verdict.expectation.kind), "note": verdict.measured.note,
        })
    }

    fn entry(&self, entry: &Entry, crew: &Crew<'_>) -> Value {
        json!({
            "kind": entry.kind.name(), "node": entry.member.map(|at| crew.part(at)), "text": entry.text,
            "planned": entry.planned.map(|planned| planned.as_secs_f64()), "at": self.second(entry.at),
            "done": entry.done.map(|at| self.second(at)), "until": entry.until.map(|at| self.second(at)), "error": entry.error,
        })
    }

    /// Returns what a node has told: of each workload a row per reading, of the node one per second.
    fn series(&self, track: &Track) -> Value {
        let mut works: BTreeMap<&String, Vec<Value>> = BTreeMap::new();
        let mut last: Option<&Point> = None;
        for point in &track.points {
            for (id, work) in &point.works {
                let mut counts = percentile::Counts::new();
                if let Some(last) = last {
                    percentile::add(&mut counts, work, last.works.get(id));
                }
                let at = |permille| percentile::of(&counts, permille).map(|seconds| (seconds * 1e6).round());
                works.entry(id).or_default().push(json!({
                    "at": self.second(point.at), "state": work.state, "figures": work.figures,
                    "p50_us": at(500), "p99_us": at(990),
                }));
            }
            last = Some(point);
        }
        let pulses: Vec<Value> = track
            .pulses
            .iter()
            .map(|pulse| {
                json!({
                    "at": self.second(pulse.at), "cores_busy_permille": pulse.busy_permille,
                    "rx_bytes_per_second": pulse.rx_bytes_per_second, "tx_bytes_per_second": pulse.tx_bytes_per_second,
                    "temperature_millicelsius": pulse.temperature_millicelsius, "invalid_reasons": pulse.reasons,
                    "faults": pulse.faults,
                })
            })
            .collect();
        json!({"workloads": works, "node": pulses})
    }
}

/// Returns a value as people read it.
pub(super) fn shown(value: Option<f64>, kind: Kind) -> String {
    let Some(value) = value else { return "-".into() };
    match kind {
        _ if !value.is_finite() => "never".into(),
        // A share that is exact, such as 29 %, may be a little less as a float.
        Kind::Share => format!("{}%", (value * 100_000.0 + 1e-6).floor() / 1000.0),
        Kind::Seconds if value <= 0.0 => "0 s".into(),
        Kind::Seconds if value < 0.001 => format!("{:.0} µs", value * 1e6),
        Kind::Seconds if value < 1.0 => format!("{:.1} ms", value * 1e3),
        Kind::Seconds => format!("{value:.2} s"),
        Kind::PerSecond => format!("{value:.1}/s"),
        Kind::Plain => format!("{}", (value * 1000.0).round() / 1000.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_shown_in_their_unit_and_never_better_than_they_are() {
        let shown = |value, kind| shown(Some(value), kind);
        assert_eq!(shown(0.999_999, Kind::Share), "99.999%");
        assert_eq!([shown(1.0, Kind::Share), shown(0.29, Kind::Share)], ["100%", "29%"]);
        assert_eq!(
            [shown(0.000_05, Kind::Seconds), shown(0.0123, Kind::Seconds), shown(2.5, Kind::Seconds)],
            ["50 µs", "12.3 ms", "2.50 s"]
        );
        assert_eq!(
            [shown(1499.0, Kind::Plain), shown(99.87, Kind::PerSecond), shown(f64::INFINITY, Kind::Seconds)],
            ["1499", "99.9/s", "never"]
        );
    }
}
