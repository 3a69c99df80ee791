//! A run of an experiment: as a story.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Instant, SystemTime};

use anyhow::{Context, Result};

use super::Options;
use super::assign::{ask, assign};
use super::book::{Book, lock};
use super::control::Control;
use super::crew::Crew;
use super::file::{self, Experiment};
use super::hand::Hand;
use super::judge::{Judge, disturbances};
use super::outcome::Outcome;
use super::own_rack::OwnRack;
use super::provision;
use super::sample::{self, Sampler};
use super::stop::Stop;
use super::timeline::Timeline;
use crate::fleet::{Node, Selection};
use crate::history::{self, Finding, Plan, Recorder};
use crate::progress::say;

/// Runs an experiment from finding its nodes to the end of the last of its workloads. `show` gets the outcome while the nodes are
/// still known.
///
/// # Errors
/// When it could not begin; then nothing has been changed, or was undone.
pub(super) fn run<T>(
    experiment: &Experiment,
    options: &Options,
    show: impl FnOnce(&Crew<'_>, &Outcome) -> Result<T>,
) -> Result<T> {
    let stop = Stop::catch()?;
    let (_rack, nodes) = find(experiment, options, &stop)?;
    let candidates = ask(nodes);
    let crew = assign(experiment, &candidates)?;
    provision::check(&crew, options.force)?;
    let hands: Vec<Hand> = crew.members.iter().map(|member| Hand::of(&member.node)).collect();
    let cleanup = Cleanup { crew: &crew, hands: &hands, is_done: AtomicBool::new(false) };
    let outcome = conduct(&crew, &hands, &cleanup, options, &stop)?;
    show(&crew, &outcome)
}

/// Finds the nodes, or starts a rack for them.
fn find(experiment: &Experiment, options: &Options, stop: &Stop) -> Result<(Option<OwnRack>, Vec<Node>)> {
    if !options.up {
        let nodes = options.selection.all(&options.login)?;
        let is_named = options.selection.rack.is_some() || options.selection.lan;
        if !nodes.is_empty() || is_named {
            return Ok((None, nodes));
        }
    }
    let count = experiment.node_count();
    say(&format!("a virtual rack of {count} nodes is started, and ended with the experiment"));
    let rack = OwnRack::start(count, options.no_build, stop)?;
    let selection = Selection { rack: Some(rack.name().clone()), ..Selection::default() };
    let nodes = selection.all(&options.login)?;
    Ok((Some(rack), nodes))
}

/// Ends everything on all nodes, whatever happens: once.
struct Cleanup<'a> {
    crew: &'a Crew<'a>,
    hands: &'a [Hand],
    is_done: AtomicBool,
}

impl Cleanup<'_> {
    /// Returns what could not be ended.
    fn end(&self) -> Vec<String> {
        if self.is_done.swap(true, Ordering::Relaxed) {
            return Vec::new();
        }
        provision::clean(self.crew, self.hands)
    }
}

impl Drop for Cleanup<'_> {
    fn drop(&mut self) {
        for left in self.end() {
            say(&format!("warning: it can't be told whether all has ended on {left}"));
        }
    }
}

/// Has the threads that ask nodes end, whatever happens.
struct Following<'a>(&'a Sampler);

impl Drop for Following<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}

fn conduct(crew: &Crew<'_>, hands: &[Hand], cleanup: &Cleanup<'_>, options: &Options, stop: &Stop) -> Result<Outcome> {
    let experiment = crew.experiment;
    if options.force {
        let left = provision::clean(crew, hands);
        if !left.is_empty() {
            anyhow::bail!("what runs there can't be ended\n  {}", left.join("\n  "));
        }
    }
    let control = Control::new(experiment);
    let is_first = |at: &usize| {
        let member = &crew.members[*at];
        let role = crew.role(member);
        role.start.is_none() && control.begins_with(&role.name).is_none_or(|count| member.index < count)
    };
    let first: Vec<usize> = (0..crew.members.len()).filter(is_first).collect();
    let works: Vec<(usize, String)> =
        first.iter().flat_map(|at| crew.workloads(*at).into_iter().map(|(_, words)| (*at, words))).collect();
    say(&format!("{} nodes get their workloads", crew.members.len()));
    // Also those that start none now: what is wrong with a login shows before anything has begun.
    login(crew, hands)?;
    let sampler = Sampler::new(crew.members.len(), experiment.length(), sample::first_look(crew)?);
    provision::start(crew, hands, &works)?;
    provision::wait_until_ready(crew, &first, stop)?;

    let (book, began) = (Book::default(), SystemTime::now());
    let mut timeline = Timeline::new(crew, hands, &book, &sampler);
    let recorder = experiment.history.as_ref().map(|history| clients(history, crew));
    thread::scope(|scope| {
        let _following = Following(&sampler);
        for (at, hand) in hands.iter().enumerate() {
            let (sampler, book) = (&sampler, &book);
            scope.spawn(move || sampler.follow(at, crew, hand, book));
        }
        timeline.run(stop);
    });
    // Who has had enough does not wait for what a history has come to.
    let recorded = recorder.filter(|_| !stop.is_set()).map(|(recorder, plan)| (recorder.stop(), plan));
    if stop.is_set() {
        book.void(None, "it was interrupted".into());
    }
    for at in 0..crew.members.len() {
        if !book.is_void() && sampler.last_look(at, crew).is_none() {
            book.void(Some(at), format!("{} does not answer at the end", crew.label(at)));
        }
    }
    let end = Instant::now();
    // Behind the end: what is read here is not measured. The look for lost writes needs stores that run.
    let account = recorded.filter(|_| !stop.is_set()).map(|(history, plan)| {
        let missing = history::audit(&history, &plan);
        (history, missing)
    });
    for left in cleanup.end() {
        book.void(None, format!("it can't be told whether all has ended on {left}"));
    }
    if account.is_some() && stop.is_set() && !book.is_void() {
        book.void(None, "it was interrupted before its history was checked".into());
    }
    let account = account.filter(|_| !stop.is_set());
    let finding = account.map(|(history, missing)| Finding::judge(&history, missing.as_deref()));
    // Nodes obey in turn: what was ordered before the end is answered now.
    timeline.hear();
    let (entries, void) = book.read();
    let tracks: Vec<_> = sampler.tracks.iter().map(|track| lock(track).clone()).collect();
    let (spans, zero) = (timeline.spans.clone(), timeline.zero());
    // The last look was a moment behind the last phase.
    let spans = spans.into_iter().enumerate().map(|(at, mut span)| {
        if at + 1 == timeline.spans.len() {
            span.to = end;
        }
        span
    });
    let spans: Vec<_> = spans.collect();
    let judge = Judge {
        crew,
        tracks: tracks.iter().collect(),
        spans: &spans,
        disturbances: disturbances(&entries, crew),
        finding: finding.as_ref(),
        interval: sampler.interval,
    };
    let verdicts = judge.all();
    Ok(Outcome { began, zero, end, spans, entries, void, verdicts, tracks, interval: sampler.interval })
}

/// Starts the clients whose history is checked.
fn clients(history: &file::History, crew: &Crew<'_>) -> (Recorder, Plan) {
    let members = history.stores.iter().flat_map(|target| crew.of(target));
    let nodes = members.filter_map(|at| crew.members.get(at)).map(|member| member.node.clone());
    let plan = Plan {
        stores: nodes.map(history::node).collect(),
        clients: history.clients,
        keys: history.keys,
        pace: history.pace,
        timeout: history.timeout,
        seed: crew.experiment.seed,
    };
    (Recorder::start(&plan), plan)
}

fn login(crew: &Crew<'_>, hands: &[Hand]) -> Result<()> {
    let orders: Vec<_> = hands.iter().map(|hand| hand.order("fault list")).collect();
    for (at, order) in orders.into_iter().enumerate() {
        let told = order.recv().with_context(|| format!("{} has not answered", crew.label(at)))?;
        told.said.with_context(|| crew.label(at))?;
    }
    Ok(())
}
