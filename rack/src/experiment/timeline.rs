//! The phases of a run, with what happens in them, each thing at its time.

use std::io::{self, IsTerminal};
use std::sync::mpsc::{Receiver, TryRecvError};
use std::thread;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::book::{Book, Entry, Kind, lock};
use super::control::Control;
use super::crew::{Crew, seconds};
use super::file::{Deed, Event, fault_time};
use super::hand::{Hand, Told};
use super::sample::Sampler;
use super::stop::Stop;

/// Longest sleep: how fast Ctrl-C is obeyed, and how late an event may be.
const LOOK: Duration = Duration::from_millis(5);
/// Between two looks of controllers, and at whether workloads have finished.
const SLOW_LOOK: Duration = Duration::from_millis(500);

/// A phase as it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) name: String,
    pub(super) from: Instant,
    pub(super) to: Instant,
}

/// An order that was given.
struct Pending {
    entry: usize,
    at: usize,
    /// The words of a fault.
    fault: Option<String>,
    result: Receiver<Told>,
}

/// See the module.
pub(super) struct Timeline<'a> {
    crew: &'a Crew<'a>,
    hands: &'a [Hand],
    book: &'a Book,
    sampler: &'a Sampler,
    zero: Instant,
    pending: Vec<Pending>,
    pub(super) spans: Vec<Span>,
}

impl<'a> Timeline<'a> {
    pub(super) fn new(crew: &'a Crew<'a>, hands: &'a [Hand], book: &'a Book, sampler: &'a Sampler) -> Self {
        Self { crew, hands, book, sampler, zero: Instant::now(), pending: Vec::new(), spans: Vec::new() }
    }

    /// Goes through all phases; ends early when the run is void or the user has had enough.
    pub(super) fn run(&mut self, stop: &Stop) {
        let experiment = self.crew.experiment;
        self.zero = Instant::now();
        let bar = bar(experiment.length());
        self.book.set_bar(bar.clone());
        let mut events = experiment.events.iter().peekable();
        let mut control = Control::new(experiment);
        let mut slow_due = self.zero;
        'phases: for phase in &experiment.phases {
            let text = format!("{} for {}", phase.name, seconds(phase.length));
            let begin = Instant::now();
            self.spans.push(Span { name: phase.name.clone(), from: begin, to: begin });
            self.book.note(Entry { planned: Some(phase.start), ..Entry::new(Kind::Phase, None, text) }, "");
            let end = self.zero + phase.start + phase.length;
            loop {
                let now = Instant::now();
                if let Some(span) = self.spans.last_mut() {
                    span.to = now.min(end);
                }
                if stop.is_set() || self.book.is_void() {
                    break 'phases;
                }
                while let Some(event) = events.next_if(|event| self.zero + event.at <= now) {
                    self.carry_out(event, &control);
                }
                self.hear();
                if now >= slow_due {
                    slow_due = now + SLOW_LOOK;
                    for order in control.look(self.crew, self.sampler, &self.spans) {
                        let entry = Entry::new(Kind::Controller, Some(order.at), order.why);
                        self.give(order.at, &order.lines, None, &entry);
                    }
                    if phase.until.as_ref().is_some_and(|role| self.has_finished(role)) {
                        break;
                    }
                    self.show(bar.as_ref(), &phase.name, now);
                }
                if now >= end {
                    break;
                }
                thread::sleep(LOOK.min(end - now));
            }
        }
        self.book.set_bar(None);
        if let Some(bar) = bar {
            bar.finish_and_clear();
        }
    }

    pub(super) fn zero(&self) -> Instant {
        self.zero
    }

    fn carry_out(&mut self, event: &Event, control: &Control<'_>) {
        let mut members = self.crew.of(&event.on);
        if matches!(event.what, Deed::Enter) {
            members.truncate(control.begins_with(&event.on.role).unwrap_or(usize::MAX));
        }
        for at in members {
            let (kind, lines, fault) = match &event.what {
                Deed::Fault(template) => {
                    let words = self.crew.fill(template, at);
                    (Kind::Fault, vec![format!("fault add {words}")], Some(words))
                }
                Deed::Start(workload) => {
                    (Kind::Action, vec![format!("workload start {}", self.crew.fill(&workload.template, at))], None)
                }
                Deed::Set(template) => {
                    (Kind::Action, vec![format!("workload set {}", self.crew.fill(template, at))], None)
                }
                Deed::Stop(id) => (Kind::Action, vec![format!("workload stop {id}")], None),
                Deed::Restart(id) => (Kind::Action, vec![format!("workload restart {id}")], None),
                Deed::Enter => {
                    let start = |(_, words): (String, String)| format!("workload start {words}");
                    (Kind::Action, self.crew.workloads(at).into_iter().map(start).collect(), None)
                }
            };
            let text = fault.clone().unwrap_or_else(|| lines.join("; "));
            let entry = Entry { planned: Some(event.at), ..Entry::new(kind, Some(at), text) };
            self.give(at, &lines, fault.as_ref(), &entry);
        }
    }

    fn give(&mut self, at: usize, lines: &[String], fault: Option<&String>, entry: &Entry) {
        let Some(hand) = self.hands.get(at) else { return };
        let place = self.book.note(entry.clone(), &self.crew.label(at));
        for line in lines {
            self.pending.push(Pending { entry: place, at, fault: fault.cloned(), result: hand.order(line) });
        }
    }

    /// Takes note of what nodes have answered. What was ordered last may be answered when the last phase is over.
    pub(super) fn hear(&mut self) {
        let (book, crew) = (self.book, self.crew);
        self.pending.retain(|pending| {
            let told = match pending.result.try_recv() {
                Ok(told) => told,
                Err(TryRecvError::Empty) => return true,
                Err(TryRecvError::Disconnected) => {
                    let lost = "nobody knows whether the node has obeyed: the thread for it has ended";
                    book.amend(pending.entry, |entry| entry.error = Some(lost.into()));
                    book.void(Some(pending.at), format!("{}: {lost}", crew.label(pending.at)));
                    return false;
                }
            };
            book.amend(pending.entry, |entry| {
                (entry.at, entry.done) = (told.sent, Some(told.answered));
                let times = pending.fault.as_deref().map(fault_time);
                if let (Some((after, lasts)), Ok(_)) = (times, &told.said) {
                    (entry.at, entry.until) = (told.answered + after, Some(told.answered + after + lasts));
                }
                // Of several orders one may be obeyed, and another not.
                if let Err(error) = &told.said {
                    entry.error = Some(format!("{error:#}"));
                }
            });
            if let Err(error) = told.said {
                book.void(Some(pending.at), format!("{}: {error:#}", crew.label(pending.at)));
            }
            false
        });
        for (at, hand) in self.hands.iter().enumerate() {
            if let Some(reason) = hand.planned.take_failure() {
                book.void(Some(at), format!("{}, after a planned restart: {reason}", crew.label(at)));
            }
        }
    }

    /// Returns whether all workloads of a role have been there and have ended.
    fn has_finished(&self, role: &str) -> bool {
        self.crew.of_role(role).into_iter().all(|at| {
            let Some(track) = self.sampler.tracks.get(at).map(lock) else { return false };
            let works = self.crew.workloads(at);
            track.points.last().is_some_and(|point| {
                works
                    .iter()
                    .all(|(id, _)| point.works.get(id).is_some_and(|work| !work.is_running() && work.state != "gone"))
            })
        })
    }

    fn show(&self, bar: Option<&ProgressBar>, phase: &str, now: Instant) {
        let Some(bar) = bar else { return };
        let elapsed = now.duration_since(self.zero);
        bar.set_position(u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX));
        let faults = self
            .sampler
            .tracks
            .iter()
            .filter(|track| lock(track).pulses.last().is_some_and(|pulse| !pulse.faults.is_empty()));
        let disturbed = match faults.count() {
            0 => String::new(),
            count => format!("  {count} disturbed"),
        };
        bar.set_message(format!("{phase}  {}{disturbed}", seconds(elapsed)));
    }
}

fn bar(length: Duration) -> Option<ProgressBar> {
    io::stderr().is_terminal().then(|| {
        let bar = ProgressBar::new(u64::try_from(length.as_millis()).unwrap_or(u64::MAX));
        let style = ProgressStyle::with_template("{wide_bar} {msg}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar
    })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use std::sync::mpsc::channel;

    use anyhow::{Result, anyhow};

    use super::super::crew::Member;
    use super::super::file::Experiment;
    use super::*;
    use crate::fleet::tests::{look, node};

    #[test]
    fn an_order_that_was_not_obeyed_makes_the_run_void_whatever_else_was() {
        let file = "name = \"x\"\n[roles.a]\nworkloads = [\"cpu\"]\n[[phases]]\nname = \"run\"\nfor = \"1s\"\n\
                    [expect]\nthat = [\"errors == 0\"]\n";
        let experiment = Experiment::read(file).unwrap();
        let crew = Crew { experiment: &experiment, members: Vec::new() };
        let (book, sampler) = (Book::default(), Sampler::new(0, Duration::from_secs(1), Vec::new()));
        let mut timeline = Timeline::new(&crew, &[], &book, &sampler);
        let mut order = |entry, said: Option<Result<String>>| {
            let (sender, result) = channel();
            let now = Instant::now();
            // Without an answer the thread is gone.
            said.into_iter().for_each(|said| sender.send(Told { sent: now, answered: now, said }).unwrap());
            drop(sender);
            timeline.pending.push(Pending { entry, at: 0, fault: None, result });
            timeline.hear();
            timeline.pending.len()
        };
        let entry = book.note(Entry::new(Kind::Action, None, "two orders"), "");
        assert_eq!(order(entry, Some(Err(anyhow!("no such workload")))), 0);
        assert_eq!(order(entry, Some(Ok(String::new()))), 0);
        assert_eq!(book.read().1, [": no such workload"]);
        let error = |text: &str| book.read().0.iter().find(|entry| entry.text == text).unwrap().error.clone();
        assert_eq!(error("two orders").as_deref(), Some("no such workload"));
        let entry = book.note(Entry::new(Kind::Action, None, "nobody answers"), "");
        assert_eq!(order(entry, None), 0);
        assert!(error("nobody answers").unwrap().contains("nobody knows") && book.read().1.len() == 2);
    }

    #[test]
    fn a_node_that_does_not_come_back_as_it_was_makes_the_run_void() {
        let file = "name = \"x\"\n[roles.a]\nworkloads = [\"cpu\"]\n[[phases]]\nname = \"run\"\nfor = \"1s\"\n\
                    [expect]\nthat = [\"errors == 0\"]\n";
        let experiment = Experiment::read(file).unwrap();
        let crew = Crew {
            experiment: &experiment,
            members: vec![Member { role: 0, index: 0, node: node("pi", 1), look: look() }],
        };
        let (book, sampler) = (Book::default(), Sampler::new(1, Duration::from_secs(1), Vec::new()));
        let hands = [Hand::of(&crew.members[0].node)];
        let mut timeline = Timeline::new(&crew, &hands, &book, &sampler);
        timeline.hear();
        assert!(!book.is_void());
        hands[0].planned.fail("pi is not back 60s after a restart".into());
        timeline.hear();
        timeline.hear();
        assert_eq!(book.read().1, ["a (pi), after a planned restart: pi is not back 60s after a restart"]);
    }
}
