//! Figures of workloads: what a counter has counted, what a level was, and of whom.

use std::time::Instant;

use super::super::measure::{Aggregate, Kind, Measure, WHOLES};
use super::super::series::Track;
use super::{Judge, flow};

/// A level of several nodes is looked at when all of them were heard within so many intervals. A lease that is given up half a second
/// before another takes it is never seen twice, at four looks a second.
const FRESH: u32 = 2;

impl Judge<'_> {
    /// Returns a figure of all workloads that are meant: what a counter has counted, what a level was.
    pub(super) fn figure(&self, measure: &Measure, name: &str, kind: Kind, from: Instant, to: Instant) -> Option<f64> {
        if kind == Kind::Share {
            let whole = WHOLES.iter().find(|(part, _)| *part == name)?.1;
            let (part, whole) = (self.growth(measure, name, from, to)?, self.growth(measure, whole, from, to)?);
            return (whole > 0.0).then(|| part / whole);
        }
        let is_counter = self.is_counter(measure, name);
        match (is_counter, measure.aggregate) {
            (true, None) => self.growth(measure, name, from, to),
            (true, Some(aggregate)) => {
                let rate = |(from, to)| self.growth(measure, name, from, to);
                fold(aggregate, flow::seconds(from, to).filter_map(rate))
            }
            (false, aggregate) => {
                let aggregate = aggregate.unwrap_or(Aggregate::Last);
                let mut moments = self.moments(from, to);
                if aggregate != Aggregate::Last {
                    moments.retain(|at| self.is_known(measure, name, *at));
                }
                fold(aggregate, moments.iter().filter_map(|at| self.sum(measure, name, *at)))
            }
        }
    }

    fn growth(&self, measure: &Measure, name: &str, from: Instant, to: Instant) -> Option<f64> {
        let end = self.sum(measure, name, to)?;
        Some(end - self.sum(measure, name, from).unwrap_or(0.0))
    }

    /// Returns the sum of a figure at a moment; `None` if nobody has it.
    fn sum(&self, measure: &Measure, name: &str, at: Instant) -> Option<f64> {
        let mut sum = None;
        for (member, track) in self.tracks.iter().enumerate() {
            let Some(point) = track.at(at) else { continue };
            for (id, work) in &point.works {
                if self.is_meant(measure, member, id, name)
                    && let Some(value) = work.figure(name)
                {
                    // Before its first point a node had done nothing.
                    *sum.get_or_insert(0.0) += if point.at <= at { value } else { 0.0 };
                }
            }
        }
        sum
    }

    /// Returns whether everybody who has a figure was heard shortly before: what one was long ago, and another is now, is no sum.
    fn is_known(&self, measure: &Measure, name: &str, at: Instant) -> bool {
        self.tracks.iter().enumerate().all(|(member, track)| {
            let point = track.at(at).filter(|point| {
                point
                    .works
                    .iter()
                    .any(|(id, work)| work.figure(name).is_some() && self.is_meant(measure, member, id, name))
            });
            point.is_none_or(|point| at.saturating_duration_since(point.at) <= self.interval * FRESH)
        })
    }

    fn is_counter(&self, measure: &Measure, name: &str) -> bool {
        let last = |(member, track): (usize, &&Track)| {
            let works = track.points.last().into_iter().flat_map(|point| &point.works);
            works
                .filter(|(id, _)| self.is_meant(measure, member, id, name))
                .any(|(_, work)| work.counters.contains(name))
        };
        self.tracks.iter().enumerate().any(last)
    }

    /// Returns the nodes of a role whose workloads run, over time.
    pub(super) fn size(&self, measure: &Measure, from: Instant, to: Instant) -> Option<f64> {
        let is_at_work = |member: usize, track: &Track, at: Instant| {
            let point = track.at(at).filter(|point| point.at <= at);
            point.is_some_and(|point| {
                point.works.iter().any(|(id, work)| self.is_of(measure, member, id) && work.is_running())
            })
        };
        let count = |at: &Instant| {
            let working = self.tracks.iter().enumerate().filter(|(member, track)| is_at_work(*member, track, *at));
            // A few.
            working.count() as f64
        };
        fold(measure.aggregate.unwrap_or(Aggregate::Last), self.moments(from, to).iter().map(count))
    }

    /// Returns the moments at which a level is looked at: those of the node with most readings.
    fn moments(&self, from: Instant, to: Instant) -> Vec<Instant> {
        let points = self.tracks.iter().map(|track| track.between(from, to)).max_by_key(|points| points.len());
        let mut moments: Vec<Instant> = points.unwrap_or_default().iter().map(|point| point.at).collect();
        moments.push(to);
        moments
    }

    /// As [`is_of`](Self::is_of); of a pipeline as a whole, its ends count: what sources have sent and given up, what sinks have got.
    fn is_meant(&self, measure: &Measure, member: usize, id: &str, figure: &str) -> bool {
        if !self.is_of(measure, member, id) {
            return false;
        }
        let wanted = match figure {
            _ if measure.role.is_some() => return true,
            "sent" | "lost" | "backlog" => "source",
            "delivered" | "duplicates" | "missing" | "reordered" | "late" => "sink",
            _ => return true,
        };
        let Some(member) = self.crew.members.get(member) else { return false };
        let workload = self.crew.experiment.workload(self.crew.role(member), member.index, id);
        workload.filter(|workload| workload.name == "pipeline").is_none_or(|workload| {
            let words = &workload.template.text.text;
            words.split_whitespace().find_map(|word| word.strip_prefix("stage=")).unwrap_or("source") == wanted
        })
    }
}

/// Makes one value of many.
pub(super) fn fold(aggregate: Aggregate, values: impl Iterator<Item = f64>) -> Option<f64> {
    let values: Vec<f64> = values.collect();
    match aggregate {
        Aggregate::Max => values.iter().copied().reduce(f64::max),
        Aggregate::Min => values.iter().copied().reduce(f64::min),
        Aggregate::Last => values.last().copied(),
        Aggregate::Mean if values.is_empty() => None,
        Aggregate::Mean => Some(values.iter().sum::<f64>() / values.len() as f64),
    }
}
