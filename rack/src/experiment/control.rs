//! Controllers: nodes of a role are put to work and sent home by what is measured.

use std::time::{Duration, Instant};

use super::book::lock;
use super::crew::Crew;
use super::file::{Controller, Experiment};
use super::judge::Judge;
use super::measure::{Kind, Measure, What};
use super::sample::Sampler;
use super::timeline::Span;

/// A measure of a time span is that of the last so long: throughput, counts,
const RECENT: Duration = Duration::from_secs(2);
/// and percentiles, which need some operations.
const RECENT_PERCENTILES: Duration = Duration::from_secs(5);

/// What a controller wants of a node.
#[derive(Debug)]
pub(super) struct Order {
    pub(super) at: usize,
    pub(super) lines: Vec<String>,
    pub(super) why: String,
}

/// See the module.
pub(super) struct Control<'e> {
    controllers: Vec<State<'e>>,
}

struct State<'e> {
    controller: &'e Controller,
    /// How many of the role's nodes are to work: the first ones.
    size: usize,
    changed: Option<Instant>,
}

impl<'e> Control<'e> {
    pub(super) fn new(experiment: &'e Experiment) -> Self {
        let state = |controller: &'e Controller| State { controller, size: controller.min, changed: None };
        Self { controllers: experiment.controllers.iter().map(state).collect() }
    }

    /// Returns how many nodes of a role work at first; `None` if nobody controls it.
    pub(super) fn begins_with(&self, role: &str) -> Option<usize> {
        self.controllers.iter().find(|state| state.controller.role == role).map(|state| state.controller.min)
    }

    /// Decides what to change now.
    pub(super) fn look(&mut self, crew: &Crew<'_>, sampler: &Sampler, spans: &[Span]) -> Vec<Order> {
        let mut orders = Vec::new();
        for state in &mut self.controllers {
            let now = Instant::now();
            if state.changed.is_some_and(|at| now.duration_since(at) < state.controller.hold) {
                continue;
            }
            let Some(value) = measured(&state.controller.measure, crew, sampler, spans, now) else { continue };
            let Some((at, verb)) = state.decide(value, crew) else { continue };
            state.changed = Some(now);
            let works = crew.workloads(at);
            let line = |(id, words): &(String, String)| match verb {
                "add" => format!("workload start {words}"),
                _ => format!("workload stop {id}"),
            };
            let why = format!("{verb}: {} is {value:.0}, so {} work", state.controller.measure, state.size);
            orders.push(Order { at, lines: works.iter().map(line).collect(), why });
        }
        orders
    }
}

impl State<'_> {
    /// Returns which node is to begin or to end; notes how many work then.
    fn decide(&mut self, value: f64, crew: &Crew<'_>) -> Option<(usize, &'static str)> {
        let members = crew.of_role(&self.controller.role);
        if value >= self.controller.add && self.size < self.controller.max {
            self.size += 1;
            return Some((*members.get(self.size - 1)?, "add"));
        }
        if value <= self.controller.remove && self.size > self.controller.min {
            self.size -= 1;
            return Some((*members.get(self.size)?, "remove"));
        }
        None
    }
}

fn measured(measure: &Measure, crew: &Crew<'_>, sampler: &Sampler, spans: &[Span], now: Instant) -> Option<f64> {
    let guards: Vec<_> = sampler.tracks.iter().map(lock).collect();
    let tracks = guards.iter().map(|guard| &**guard).collect();
    let judge = Judge { crew, tracks, spans, disturbances: Vec::new(), finding: None, interval: sampler.interval };
    let recent = if matches!(measure.what, What::Percentile(_)) { RECENT_PERCENTILES } else { RECENT };
    let from = now.checked_sub(recent)?.max(spans.first()?.from);
    judge.measure_in(measure, Kind::Plain, from, now).value
}
