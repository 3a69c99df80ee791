//! The plots of the report, as data: lines of time and value.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::super::crew::Crew;
use super::super::judge::flow::Flow;
use super::super::judge::percentile;
use super::super::measure::What;
use super::super::outcome::Outcome;
use super::super::series::{Pulse, Track};

/// Points of a line at most: a wide screen has about as many pixels.
const POINTS_MAX: u32 = 600;
/// Plots of levels at most.
const LEVELS_MAX: usize = 4;
/// Levels that are shown first, if there are any,
const FIRST: [&str; 3] = ["depth", "backlog", "in_flight"];
/// and those that tell nothing over time.
const DULL: [&str; 2] = ["connections", "uncertainty"];

/// Makes all plots.
pub(super) fn all(outcome: &Outcome, crew: &Crew<'_>) -> Vec<Value> {
    let time = Time::of(outcome);
    let mut charts = vec![throughput(outcome, crew, &time)];
    charts.extend(sizes(outcome, crew));
    charts.extend(crew.experiment.roles.iter().enumerate().filter_map(|(role, _)| latency(outcome, crew, role, &time)));
    charts.extend(levels(outcome, crew));
    charts.extend(health(outcome, crew));
    charts
}

/// The moments at which what is counted over time is looked at.
struct Time {
    moments: Vec<Instant>,
    step: Duration,
}

impl Time {
    fn of(outcome: &Outcome) -> Self {
        let length = outcome.end.saturating_duration_since(outcome.zero);
        let step = (length / POINTS_MAX).max(outcome.interval);
        let mut moments = vec![outcome.zero];
        while let Some(next) = moments.last().map(|at| *at + step).filter(|at| *at <= outcome.end) {
            moments.push(next);
        }
        Self { moments, step }
    }
}

fn chart(title: &str, unit: &str, lines: Vec<Value>) -> Value {
    json!({"title": title, "unit": unit, "lines": lines})
}

fn line(name: &str, points: Vec<(f64, Option<f64>)>) -> Value {
    json!({"name": name, "points": points})
}

/// Returns each workload of a member, and what people call it.
fn works<'a>(crew: &'a Crew<'_>, track: &'a Track, at: usize) -> Vec<(&'a String, String)> {
    let ids: Vec<&String> = track.points.last().map(|point| point.works.keys().collect()).unwrap_or_default();
    let is_only = ids.len() == 1;
    let name = |id: &String| if is_only { crew.part(at) } else { format!("{} {id}", crew.part(at)) };
    ids.into_iter().map(|id| (id, name(id))).collect()
}

fn throughput(outcome: &Outcome, crew: &Crew<'_>, time: &Time) -> Value {
    let mut lines = Vec::new();
    for (at, track) in outcome.tracks.iter().enumerate() {
        for (id, name) in works(crew, track, at) {
            let flow = Flow::of(track, id);
            // Of the last second: of less, single operations would show.
            let window = time.step.max(Duration::from_secs(1));
            let rate = |at: &Instant| at.checked_sub(window).and_then(|from| flow.rate(from.max(outcome.zero), *at));
            let points: Vec<_> = time.moments.iter().map(|at| (outcome.second(*at), rate(at).map(rounded))).collect();
            if points.iter().any(|(_, rate)| rate.is_some_and(|rate| rate > 0.0)) {
                lines.push(line(&name, points));
            }
        }
    }
    chart("Throughput", "operations/s", lines)
}

fn latency(outcome: &Outcome, crew: &Crew<'_>, role: usize, time: &Time) -> Option<Value> {
    let step = time.step.max(Duration::from_secs(1));
    let members: Vec<usize> = (0..crew.members.len()).filter(|at| crew.members[*at].role == role).collect();
    let mut lines: BTreeMap<u32, Vec<(f64, Option<f64>)>> = BTreeMap::new();
    let mut from = outcome.zero;
    while from + step <= outcome.end {
        let to = from + step;
        let mut counts = percentile::Counts::new();
        for track in members.iter().filter_map(|at| outcome.tracks.get(*at)) {
            let (Some(before), Some(now)) = (track.at(from), track.at(to)) else { continue };
            now.works.iter().for_each(|(id, work)| percentile::add(&mut counts, work, before.works.get(id)));
        }
        for permille in [500, 900, 990] {
            let value = percentile::of(&counts, permille);
            lines.entry(permille).or_default().push((outcome.second(from + step / 2), value));
        }
        from = to;
    }
    let is_there = lines.values().flatten().any(|(_, value)| value.is_some());
    let name = &crew.experiment.roles.get(role)?.name;
    let lines =
        lines.into_iter().rev().map(|(permille, points)| line(&format!("p{}", permille / 10), points)).collect();
    is_there.then(|| chart(&format!("Latency of {name}"), "s", lines))
}

fn levels(outcome: &Outcome, crew: &Crew<'_>) -> Vec<Value> {
    // And whether the experiment is about them.
    let mut names: BTreeMap<&str, bool> = BTreeMap::new();
    for (at, track) in outcome.tracks.iter().enumerate() {
        for (id, work) in track.points.iter().flat_map(|point| &point.works) {
            for (name, value) in work.figures.iter().filter(|(name, _)| !work.counters.contains(*name)) {
                let is_asked_for = is_asked_for(crew, at, id, name);
                if is_asked_for || *value > 0.0 && !DULL.contains(name) {
                    *names.entry(name).or_default() |= is_asked_for;
                }
            }
        }
    }
    let mut names: Vec<(&str, bool)> = names.into_iter().collect();
    names.sort_by_key(|(name, is_asked_for)| {
        (!is_asked_for, FIRST.iter().position(|first| first == name).unwrap_or(FIRST.len()))
    });
    let level = |(name, _): &(&str, bool)| {
        let mut lines = Vec::new();
        for (at, track) in outcome.tracks.iter().enumerate() {
            for (id, called) in works(crew, track, at) {
                let value =
                    |point: &super::super::series::Point| point.works.get(id).and_then(|work| work.figure(name));
                let points: Vec<_> =
                    track.points.iter().map(|point| (outcome.second(point.at), value(point))).collect();
                let is_asked_for = is_asked_for(crew, at, id, name);
                if points.iter().any(|(_, value)| value.is_some_and(|value| value > 0.0 || is_asked_for)) {
                    lines.push(line(&called, thinned(points)));
                }
            }
        }
        chart(&title(name), "", lines)
    };
    names.iter().take(LEVELS_MAX).map(level).collect()
}

/// Returns whether the experiment is about a figure of a workload, so that it is worth a plot also if it never was more than 0.
fn is_asked_for(crew: &Crew<'_>, at: usize, id: &str, figure: &str) -> bool {
    let experiment = crew.experiment;
    let role = crew.members.get(at).and_then(|member| experiment.roles.get(member.role)).map(|role| &role.name);
    let expected = experiment.expectations.iter().map(|expectation| &expectation.measure);
    expected.chain(experiment.controllers.iter().map(|controller| &controller.measure)).any(|measure| {
        measure.what == What::Figure(figure.into())
            && measure.role.as_ref().is_none_or(|wanted| Some(wanted) == role)
            && measure.id.as_ref().is_none_or(|wanted| wanted == id)
    })
}

/// How many nodes of each controlled role work.
fn sizes(outcome: &Outcome, crew: &Crew<'_>) -> Option<Value> {
    let controllers = &crew.experiment.controllers;
    let of = |role: &String| {
        let members = crew.of_role(role);
        let tracks: Vec<&Track> = members.iter().filter_map(|at| outcome.tracks.get(*at)).collect();
        let points = tracks.first().map(|track| track.points.as_slice()).unwrap_or_default();
        let size = |at: Instant| {
            let is_at_work = |track: &&&Track| {
                track.at(at).is_some_and(|point| point.at <= at && point.works.values().any(|work| work.is_running()))
            };
            // A few.
            tracks.iter().filter(is_at_work).count() as f64
        };
        line(role, thinned(points.iter().map(|point| (outcome.second(point.at), Some(size(point.at)))).collect()))
    };
    let lines: Vec<Value> = controllers.iter().map(|controller| of(&controller.role)).collect();
    (!lines.is_empty()).then(|| json!({"title": "Nodes at work", "unit": "", "lines": lines, "is_step": true}))
}

fn health(outcome: &Outcome, crew: &Crew<'_>) -> Vec<Value> {
    let busy = |pulse: &Pulse| {
        let known: Vec<u64> = pulse.busy_permille.iter().copied().flatten().collect();
        // Shares of a few cores.
        (!known.is_empty()).then(|| known.iter().sum::<u64>() as f64 / known.len() as f64 / 10.0)
    };
    // Far below 2^53, here and below.
    let traffic = |pulse: &Pulse| Some((pulse.rx_bytes_per_second? + pulse.tx_bytes_per_second?) as f64);
    let warmth = |pulse: &Pulse| pulse.temperature_millicelsius.map(|mc| mc as f64 / 1000.0);
    let of = |title: &str, unit: &str, value: &dyn Fn(&Pulse) -> Option<f64>| {
        let mut lines = Vec::new();
        for (at, track) in outcome.tracks.iter().enumerate() {
            let points: Vec<_> =
                track.pulses.iter().map(|pulse| (outcome.second(pulse.at), value(pulse).map(rounded))).collect();
            if points.iter().any(|(_, value)| value.is_some()) {
                lines.push(line(&crew.part(at), thinned(points)));
            }
        }
        (!lines.is_empty()).then(|| chart(title, unit, lines))
    };
    [
        of("Processor, mean of all cores", "%", &busy),
        of("Network, both directions", "B/s", &traffic),
        of("Temperature", "°C", &warmth),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Leaves out what a screen could not show: the greatest of neighbours stays.
fn thinned(points: Vec<(f64, Option<f64>)>) -> Vec<(f64, Option<f64>)> {
    let group = points.len().div_ceil(POINTS_MAX as usize).max(1);
    let greatest = |points: &[(f64, Option<f64>)]| points.iter().copied().reduce(|a, b| if b.1 > a.1 { b } else { a });
    points.chunks(group).filter_map(greatest).collect()
}

fn rounded(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

fn title(name: &str) -> String {
    let name = name.replace('_', " ");
    let mut letters = name.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}
