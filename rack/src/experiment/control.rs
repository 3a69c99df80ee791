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

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use serde_json::json;

    use super::super::crew::Member;
    use super::super::series::Reading;
    use super::*;
    use crate::fleet::tests::{look, node};

    const FILE: &str = "name = \"x\"\n[roles.queue]\nworkloads = [\"pipeline stage=queue id=queue\"]\n[roles.worker]\ncount = 3\n\
        workloads = [\"pipeline stage=worker from={queue} to={queue} id=worker\"]\n[[phases]]\nname = \"run\"\nfor = \"9s\"\n\
        [[controllers]]\nrole = \"worker\"\nmeasure = \"depth of queue\"\nadd = 50\nremove = 5\nhold = \"1ms\"\n\
        [expect]\nthat = [\"errors == 0\"]\n";

    #[test]
    fn nodes_come_with_the_load_and_go_with_it() {
        let experiment = Experiment::read(FILE).unwrap();
        let member = |(number, (role, index))| Member { role, index, node: node("pi", number), look: look() };
        let members = (1..).zip([(0, 0), (1, 0), (1, 1), (1, 2)]).map(member).collect();
        let crew = Crew { experiment: &experiment, members };
        let sampler = Sampler::new(4, Duration::from_secs(9), Vec::new());
        let mut control = Control::new(&experiment);
        assert_eq!((control.begins_with("worker"), control.begins_with("queue")), (Some(1), None));
        let mut look = |second: u64, depth: u64| {
            let figures = json!({"minipirack_pipeline_depth": depth});
            let work = json!({"id": "queue", "state": "running", "runs": 1, "figures": figures, "durations_us": []});
            let reading = Reading::read(&json!({"boots": 1, "sample_us": second, "workloads": [work]})).unwrap();
            let now = Instant::now();
            lock(&sampler.tracks[0]).add(now, reading);
            let spans = [Span { name: "run".into(), from: now - Duration::from_secs(1), to: now }];
            let orders = control.look(&crew, &sampler, &spans);
            std::thread::sleep(Duration::from_millis(2));
            orders
                .into_iter()
                .map(|order| format!("{}: {}", crew.part(order.at), order.lines.join("; ")))
                .collect::<Vec<_>>()
        };
        assert_eq!(look(1, 20), [""; 0], "neither much nor little");
        let start = "workload start pipeline stage=worker from=10.77.0.11 to=10.77.0.11 id=worker";
        assert_eq!(look(2, 50), [format!("worker[1]: {start}")]);
        assert_eq!(look(3, 90), [format!("worker[2]: {start}")]);
        assert_eq!(look(4, 900), [""; 0], "there are no more");
        assert_eq!(look(5, 5), ["worker[2]: workload stop worker"]);
        assert_eq!(look(6, 0), ["worker[1]: workload stop worker"]);
        assert_eq!(look(7, 0), [""; 0], "one always works");
    }
}
