//! What nodes have told in the course of a run. Counts go on when a workload or its node was started anew.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use serde_json::Value;
use telemetry::metrics::Kind;

use super::measure::short_name;
use crate::fleet::plain;

/// A figure of workloads, as nodes name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Figure {
    /// As experiments name it.
    pub(super) short: String,
    pub(super) is_counter: bool,
}

/// Every figure, by its metric's name.
static FIGURES: LazyLock<BTreeMap<&'static str, Figure>> = LazyLock::new(|| {
    let of = |workload: &&'static dyn workload::Workload| {
        let name = workload.name();
        workload.figures().iter().map(move |metric| {
            let figure = Figure { short: short_name(name, metric.name), is_counter: metric.kind == Kind::Counter };
            (metric.name, figure)
        })
    };
    workload::builtin::WORKLOADS.iter().flat_map(of).collect()
});

/// What a workload of a node has done, all its cores together.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Work {
    /// `running`, `finished` ...; `gone` when its node does not know it any more.
    pub(super) state: String,
    pub(super) reason: String,
    pub(super) runs: u64,
    /// By the names that experiments have for them.
    pub(super) figures: BTreeMap<&'static str, f64>,
    /// Which of them count, and are no levels.
    pub(super) counters: BTreeSet<&'static str>,
    /// How many operations took how long, by the least duration in µs of their bucket.
    pub(super) durations: BTreeMap<u64, u64>,
}

/// Counts that every workload has: by their names in JSON, and in experiments.
const COMMON: [(&str, &str, f64); 5] = [
    ("operations", "operations", 1.0),
    ("bytes", "bytes", 1.0),
    ("errors", "errors", 1.0),
    ("restarts", "restarts", 1.0),
    ("busy_us", "busy", 1e-6),
];

impl Work {
    pub(super) fn figure(&self, name: &str) -> Option<f64> {
        self.figures.get(name).copied()
    }

    pub(super) fn is_running(&self) -> bool {
        matches!(self.state.as_str(), "running" | "starting" | "stalled")
    }

    /// Adds what one core has done.
    fn add(&mut self, value: &Value) -> Option<()> {
        let state = plain(value["state"].as_str()?);
        // The least good news of its cores.
        if self.state.is_empty() || self.state == "finished" || state == "failed" {
            (self.state, self.reason) = (state, plain(value["reason"].as_str().unwrap_or_default()));
        }
        self.runs += value["runs"].as_u64()?;
        for (key, name, unit) in COMMON {
            *self.figures.entry(name).or_default() += value[key].as_f64().unwrap_or_default() * unit;
            self.counters.insert(name);
        }
        for (name, value) in value["figures"].as_object()? {
            if let (Some(figure), Some(value)) = (FIGURES.get(name.as_str()), value.as_f64()) {
                let name = figure.short.as_str();
                *self.figures.entry(name).or_default() += value;
                if figure.is_counter {
                    self.counters.insert(name);
                }
            }
        }
        for pair in value["durations_us"].as_array()?.chunks(2) {
            let [start, count] = pair else { return None };
            *self.durations.entry(start.as_u64()?).or_default() += count.as_u64()?;
        }
        Some(())
    }
}

/// What a node has told at once.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Reading {
    /// Changes with each start of the node.
    boots: u64,
    /// Time from the node's start to its newest sample.
    pub(super) sample_us: u64,
    works: BTreeMap<String, Work>,
}

impl Reading {
    /// Reads what a node says at `/api/v1/live`; `None` if that is not as it should be.
    pub(super) fn read(value: &Value) -> Option<Self> {
        let mut reading =
            Self { boots: value["boots"].as_u64()?, sample_us: value["sample_us"].as_u64()?, works: BTreeMap::new() };
        for work in value["workloads"].as_array()? {
            reading.works.entry(plain(work["id"].as_str()?)).or_default().add(work)?;
        }
        Some(reading)
    }

    /// Leaves out what had ended before, in the same life of the node, and has not been started anew since: a node shows what has ended
    /// until its place is needed.
    #[must_use]
    pub(super) fn without_ended(mut self, before: &Self) -> Self {
        if !self.is_after_reboot(before) {
            // What has ended does not change any more, and what was started anew has other figures.
            self.works.retain(|id, work| work.is_running() || before.works.get(id) != Some(work));
        }
        self
    }

    /// Returns the ids of workloads that have failed, and why.
    pub(super) fn failed(&self) -> impl Iterator<Item = (&str, &str)> {
        let failed = self.works.iter().filter(|(_, work)| work.state == "failed");
        failed.map(|(id, work)| (id.as_str(), work.reason.as_str()))
    }

    /// Returns whether the node was started anew since `earlier`.
    pub(super) fn is_after_reboot(&self, earlier: &Self) -> bool {
        self.boots != earlier.boots || self.sample_us < earlier.sample_us
    }
}

/// What a node had told up to a moment.
#[derive(Clone, Debug)]
pub(super) struct Point {
    pub(super) at: Instant,
    pub(super) works: BTreeMap<String, Work>,
}

/// How a node was in a second.
#[derive(Clone, Debug)]
pub(super) struct Pulse {
    pub(super) at: Instant,
    /// Shares of the time that its cores worked, in thousandths.
    pub(super) busy_permille: Vec<Option<u64>>,
    pub(super) rx_bytes_per_second: Option<u64>,
    pub(super) tx_bytes_per_second: Option<u64>,
    pub(super) temperature_millicelsius: Option<i64>,
    /// What is wrong with its hardware.
    pub(super) reasons: Vec<String>,
    /// Disturbances on purpose, in a line.
    pub(super) faults: String,
}

impl Pulse {
    /// Reads what a node says at `/api/v1/sample`.
    pub(super) fn read(value: &Value, at: Instant) -> Self {
        let texts =
            |key: &str| value[key].as_array().into_iter().flatten().filter_map(Value::as_str).map(plain).collect();
        let busy = value["cores_busy_permille"].as_array().into_iter().flatten().take(16).map(Value::as_u64).collect();
        Self {
            at,
            busy_permille: busy,
            rx_bytes_per_second: value["network"]["rx_bytes_per_second"].as_u64(),
            tx_bytes_per_second: value["network"]["tx_bytes_per_second"].as_u64(),
            temperature_millicelsius: value["temperature_millicelsius"].as_i64(),
            reasons: texts("invalid_reasons"),
            faults: plain(value["faults"].as_str().unwrap_or_default()),
        }
    }
}

/// How often something made a node's samples worthless.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ailment {
    pub(super) reason: String,
    pub(super) is_now: bool,
    /// Samples since the node's start.
    pub(super) count: u64,
    /// How long before the newest sample the last of them was.
    pub(super) ago: Duration,
}

/// What has kept a node's hardware from working as it should since the node's start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Ailments(pub(super) Vec<Ailment>);

impl Ailments {
    /// Reads what a node says at `/api/v1/health`; `None` if that is not as it should be.
    pub(super) fn read(value: &Value) -> Option<Self> {
        let at_us = value["at_us"].as_u64()?;
        let ailment = |condition: &Value| {
            let last_us = condition["last_us"].as_u64().unwrap_or(at_us);
            Some(Ailment {
                reason: plain(condition["reason"].as_str()?),
                is_now: condition["now"].as_bool().unwrap_or_default(),
                count: condition["sick_samples"].as_u64()?,
                ago: Duration::from_micros(at_us.saturating_sub(last_us)),
            })
        };
        value["conditions"].as_array()?.iter().map(ailment).collect::<Option<_>>().map(Self)
    }

    /// Returns how many samples something has made worthless.
    pub(super) fn count(&self, reason: &str) -> u64 {
        self.0.iter().find(|ailment| ailment.reason == reason).map_or(0, |ailment| ailment.count)
    }
}

/// All that a node has told.
#[derive(Clone, Debug, Default)]
pub(super) struct Track {
    pub(super) points: Vec<Point>,
    pub(super) pulses: Vec<Pulse>,
    last: Reading,
    /// What earlier lives of each workload had counted.
    before: BTreeMap<String, Work>,
}

impl Track {
    /// Adds what a node has told, which was asked at `at`.
    pub(super) fn add(&mut self, at: Instant, reading: Reading) {
        let is_anew = reading.is_after_reboot(&self.last);
        for (id, old) in &self.last.works {
            let is_other = match reading.works.get(id) {
                Some(new) => is_anew || new.runs != old.runs || new.figure("operations") < old.figure("operations"),
                None => true,
            };
            if is_other {
                let before = self.before.entry(id.clone()).or_default();
                for (name, value) in old.figures.iter().filter(|(name, _)| old.counters.contains(*name)) {
                    *before.figures.entry(name).or_default() += value;
                    before.counters.insert(name);
                }
                old.durations.iter().for_each(|(us, count)| *before.durations.entry(*us).or_default() += count);
            }
        }
        let mut works = reading.works.clone();
        for (id, before) in &self.before {
            let work = works.entry(id.clone()).or_insert_with(|| Work { state: "gone".into(), ..Work::default() });
            for (name, value) in &before.figures {
                *work.figures.entry(name).or_default() += value;
                work.counters.insert(name);
            }
            before.durations.iter().for_each(|(us, count)| *work.durations.entry(*us).or_default() += count);
        }
        self.last = reading;
        self.points.push(Point { at, works });
    }

    /// Returns the newest point not after `at`; the first if there is none.
    pub(super) fn at(&self, at: Instant) -> Option<&Point> {
        let behind = self.points.partition_point(|point| point.at <= at);
        self.points.get(behind.saturating_sub(1))
    }

    /// Returns the points from one moment to another.
    pub(super) fn between(&self, from: Instant, to: Instant) -> &[Point] {
        let start = self.points.partition_point(|point| point.at < from);
        let end = self.points.partition_point(|point| point.at <= to);
        self.points.get(start..end.max(start)).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use serde_json::json;

    use super::*;

    fn reading(boots: u64, sample_us: u64, runs: u64, operations: u64, depth: u64) -> Reading {
        let work = json!({"id": "q", "core": 1, "state": "running", "reason": "", "runs": runs, "operations": operations,
            "bytes": 0, "errors": 0, "restarts": 0, "busy_us": 500_000, "durations_us": [100, operations],
            "figures": {"minipirack_pipeline_depth": depth, "minipirack_pipeline_sent_total": operations, "x": 1}});
        Reading::read(&json!({"boots": boots, "sample_us": sample_us, "workloads": [work, work]})).unwrap()
    }

    #[test]
    fn counts_go_on_over_restarts_and_levels_do_not() {
        let (mut track, begin) = (Track::default(), Instant::now());
        let lives = [(1, 9, 1, 50, 7), (1, 10, 1, 60, 7), (1, 11, 2, 5, 1), (2, 1, 2, 6, 2)];
        for (second, (boots, sample_us, runs, operations, depth)) in (0..).zip(lives) {
            track.add(begin + Duration::from_secs(second), reading(boots, sample_us, runs, operations, depth));
        }
        track.add(begin + Duration::from_secs(9), Reading { boots: 2, sample_us: 2, ..Reading::default() });
        let figures =
            |name| track.points.iter().map(|point| point.works["q"].figure(name).unwrap()).collect::<Vec<_>>();
        // Both cores together.
        assert_eq!(figures("operations"), [100.0, 120.0, 130.0, 142.0, 142.0]);
        assert_eq!(figures("sent"), figures("operations"));
        assert_eq!(track.points[3].works["q"].figure("depth"), Some(4.0));
        assert_eq!(track.points[3].works["q"].durations[&100], 142);
        assert_eq!((track.points[4].works["q"].state.as_str(), figures("busy")[0]), ("gone", 1.0));
        assert_eq!(track.at(begin + Duration::from_millis(1500)).unwrap().works["q"].figure("sent"), Some(120.0));
        assert_eq!(track.between(begin, begin + Duration::from_secs(1)).len(), 2);
    }

    #[test]
    fn what_had_ended_before_a_run_is_not_of_it() {
        let read = |boots: u64, works: &[(&str, &str, u64)]| {
            let work = |(id, state, operations): &(&str, &str, u64)| {
                json!({"id": id, "state": state, "reason": "no memory", "runs": 1, "operations": operations,
                    "figures": {}, "durations_us": []})
            };
            let works: Vec<_> = works.iter().map(work).collect();
            Reading::read(&json!({"boots": boots, "sample_us": 1, "workloads": works})).unwrap()
        };
        let before = read(1, &[("a", "failed", 0), ("b", "stopped", 50)]);
        assert_eq!(before.clone().without_ended(&before).works.len(), 0);
        // Started anew, and ended again; others; and another life of the node.
        let later = read(1, &[("a", "running", 0), ("b", "stopped", 3), ("c", "failed", 0)]).without_ended(&before);
        assert_eq!(later.works.keys().collect::<Vec<_>>(), ["a", "b", "c"]);
        assert_eq!(later.failed().map(|(id, _)| id).collect::<Vec<_>>(), ["c"]);
        assert_eq!(read(2, &[("a", "failed", 0)]).without_ended(&before).works.len(), 1);
    }

    #[test]
    fn what_is_no_reading_is_none() {
        for value in [json!({}), json!([]), json!({"boots": 1, "sample_us": 1, "workloads": [{"id": 1}]})] {
            assert_eq!(Reading::read(&value), None, "{value}");
        }
        let condition = json!({"reason": "throttled", "now": null});
        for value in [json!({}), json!({"at_us": 1}), json!({"at_us": 1, "conditions": [condition]})] {
            assert_eq!(Ailments::read(&value), None, "{value}");
        }
    }

    #[test]
    fn what_was_wrong_is_read_with_how_long_ago_it_was() {
        let conditions = json!([
            {"reason": "throttled", "now": null, "since_boot": null, "sick_samples": 0, "last_us": null},
            {"reason": "link_lost", "now": false, "since_boot": true, "sick_samples": 3, "last_us": 4_000_000},
        ]);
        let ailments = Ailments::read(&json!({"at_us": 9_000_000, "conditions": conditions})).unwrap();
        assert_eq!([ailments.count("throttled"), ailments.count("link_lost"), ailments.count("x")], [0, 3, 0]);
        assert_eq!((ailments.0[1].is_now, ailments.0[1].ago), (false, Duration::from_secs(5)));
    }
}
