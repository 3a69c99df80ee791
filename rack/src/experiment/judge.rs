//! What a run has come to: measures of what nodes have told, and whether they are as expected.
//!
//! | module | what |
//! |---|---|
//! | `figures` | what workloads count, and levels |
//! | `flow` | operations over time: throughput, gaps, failover |
//! | `percentile` | how long operations took |

mod figures;
pub(super) mod flow;
pub(super) mod percentile;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use self::figures::fold;
use self::flow::Flow;
use super::book::{self, Entry};
use super::crew::Crew;
use super::measure::{Comparison, Expectation, Kind, Measure, What};
use super::series::{Track, Work};
use super::timeline::Span;
use crate::history::Finding;

/// A value that was measured.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Measured {
    /// `None` when there was nothing to measure.
    pub(super) value: Option<f64>,
    /// What has to be known with it.
    pub(super) note: String,
}

impl Measured {
    fn of(value: Option<f64>) -> Self {
        Self { value, note: if value.is_some() { String::new() } else { "nothing was measured".into() } }
    }
}

/// Whether something was as expected.
#[derive(Clone, Debug)]
pub(super) struct Verdict {
    pub(super) expectation: Expectation,
    pub(super) measured: Measured,
    pub(super) is_met: bool,
}

/// A fault as it was: when it began and ended.
#[derive(Clone, Debug)]
pub(super) struct Disturbance {
    pub(super) from: Instant,
    /// What people call it.
    pub(super) text: String,
}

/// What is judged.
pub(super) struct Judge<'a> {
    pub(super) crew: &'a Crew<'a>,
    pub(super) tracks: Vec<&'a Track>,
    pub(super) spans: &'a [Span],
    pub(super) disturbances: Vec<Disturbance>,
    /// What came of the history of clients of stores.
    pub(super) finding: Option<&'a Finding>,
    /// What times are exact to.
    pub(super) interval: Duration,
}

impl Judge<'_> {
    /// Judges everything that is expected.
    pub(super) fn all(&self) -> Vec<Verdict> {
        let judge = |expectation: &Expectation| {
            let measured = self.measure(&expectation.measure, expectation.kind);
            let is_met = measured.value.is_some_and(|value| holds(value, expectation.comparison, expectation.value));
            Verdict { expectation: expectation.clone(), measured, is_met }
        };
        self.crew.experiment.expectations.iter().map(judge).collect()
    }

    fn measure(&self, measure: &Measure, kind: Kind) -> Measured {
        let whole = self.spans.first().zip(self.spans.last()).map(|(first, last)| (first.from, last.to));
        let span = match &measure.phase {
            Some(name) => self.spans.iter().find(|span| span.name == *name).map(|span| (span.from, span.to)),
            None => whole,
        };
        match span {
            Some((from, to)) => self.measure_in(measure, kind, from, to),
            None => Measured { value: None, note: "this phase was not reached".into() },
        }
    }

    /// Measures from one moment to another.
    pub(super) fn measure_in(&self, measure: &Measure, kind: Kind, from: Instant, to: Instant) -> Measured {
        match &measure.what {
            What::Figure(name) => Measured::of(self.figure(measure, name, kind, from, to)),
            What::Size => Measured::of(self.size(measure, from, to)),
            What::Percentile(permille) => Measured::of(match measure.aggregate {
                None => percentile::of(&self.durations(measure, from, to), *permille),
                Some(aggregate) => {
                    let second = |(from, to)| percentile::of(&self.durations(measure, from, to), *permille);
                    fold(aggregate, flow::seconds(from, to).filter_map(second))
                }
            }),
            What::Throughput => {
                let flow = self.flow(measure);
                Measured::of(match measure.aggregate {
                    None => flow.rate(from, to),
                    Some(aggregate) => {
                        fold(aggregate, flow::seconds(from, to).filter_map(|(from, to)| flow.rate(from, to)))
                    }
                })
            }
            What::Violations | What::LostWrites | What::Silence => self.of_history(&measure.what),
            What::Gap => Measured::of(self.flow(measure).gap(from, to, self.interval)),
            What::Failover => {
                let ends: Vec<Instant> = self.spans.iter().map(|span| span.to).collect();
                flow::failover(&self.flow(measure), &self.disturbances, (from, to), &ends, self.interval)
            }
        }
    }

    fn of_history(&self, what: &What) -> Measured {
        let Some(finding) = self.finding else { return Measured::of(None) };
        // A few.
        let (value, note) = match what {
            What::Silence => (Some(finding.silence.as_secs_f64()), String::new()),
            What::LostWrites => (finding.lost.map(|lost| lost as f64), finding.about_lost.clone()),
            _ => (finding.violations.map(|violations| violations as f64), finding.about_violations.clone()),
        };
        Measured { value, note }
    }

    fn durations(&self, measure: &Measure, from: Instant, to: Instant) -> percentile::Counts {
        let mut counts = percentile::Counts::new();
        for (member, track) in self.tracks.iter().enumerate() {
            let (Some(end), start) = (track.at(to), track.at(from).filter(|point| point.at <= from)) else { continue };
            for (id, work) in end.works.iter().filter(|(id, _)| self.is_of(measure, member, id)) {
                percentile::add(&mut counts, work, start.and_then(|point| point.works.get(id)));
            }
        }
        counts
    }

    /// Returns the operations of the workloads that are meant.
    pub(super) fn flow(&self, measure: &Measure) -> Flow {
        let count = |(member, track): (usize, &&Track)| {
            let operations = |works: &BTreeMap<String, Work>| {
                works
                    .iter()
                    .filter(|(id, _)| self.is_of(measure, member, id))
                    .filter_map(|(_, work)| work.figure("operations"))
                    .sum()
            };
            track.points.iter().map(|point| (point.at, operations(&point.works))).collect()
        };
        let has_finished = |(member, track): (usize, &&Track)| {
            let is_over = |work: &(&String, &Work)| self.is_of(measure, member, work.0) && work.1.state == "finished";
            track.points.iter().find(|point| point.works.iter().any(|work| is_over(&work))).map(|point| point.at)
        };
        Flow {
            counts: self.tracks.iter().enumerate().map(count).collect(),
            finished: self.tracks.iter().enumerate().filter_map(has_finished).min(),
        }
    }

    fn is_of(&self, measure: &Measure, member: usize, id: &str) -> bool {
        let Some(member) = self.crew.members.get(member) else { return false };
        measure.role.as_ref().is_none_or(|role| self.crew.role(member).name == *role)
            && measure.id.as_ref().is_none_or(|wanted| wanted == id)
    }
}

#[expect(clippy::float_cmp, reason = "counts are whole, and what is written in a file as equal is meant as equal")]
fn holds(value: f64, comparison: Comparison, wanted: f64) -> bool {
    match comparison {
        Comparison::AtLeast => value >= wanted,
        Comparison::AtMost => value <= wanted,
        Comparison::Equal => value == wanted,
        Comparison::NotEqual => value != wanted,
        Comparison::Less => value < wanted,
        Comparison::More => value > wanted,
    }
}

/// Returns the faults of an experiment that were there, as judges need them.
pub(super) fn disturbances(entries: &[Entry], crew: &Crew<'_>) -> Vec<Disturbance> {
    let faults = entries.iter().filter(|entry| entry.kind == book::Kind::Fault && entry.error.is_none());
    let of = |entry: &Entry| {
        let who = entry.member.map(|at| crew.part(at)).unwrap_or_default();
        Disturbance { from: entry.at, text: format!("{} on {who}", entry.text.split(' ').next().unwrap_or_default()) }
    };
    faults.map(of).collect()
}

#[cfg(test)]
mod tests;
