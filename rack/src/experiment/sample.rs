//! Asks every node, some times a second, what it has done; and sees when one is gone, was started anew, or is another.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::book::{Book, Entry, Kind, lock};
use super::crew::{Crew, Member};
use super::hand::Hand;
use super::series::{Pulse, Reading, Track};
use crate::fleet::Look;

/// A node that has been silent for so long, and may not be, is lost.
const LOST_AFTER: Duration = Duration::from_secs(8);
/// Between two looks at the node itself.
const PULSE: Duration = Duration::from_secs(1);
/// Between two looks at whether to end.
const LOOK: Duration = Duration::from_millis(20);

/// Returns how often nodes are asked: what measures of time are exact to.
pub(super) fn interval(nodes: usize, length: Duration) -> Duration {
    match (nodes, length.as_secs()) {
        (..=8, ..=900) => Duration::from_millis(250),
        (..=30, ..=3600) => Duration::from_millis(500),
        _ => Duration::from_secs(1),
    }
}

/// What the threads share.
#[derive(Debug)]
pub(super) struct Sampler {
    pub(super) tracks: Vec<Mutex<Track>>,
    pub(super) interval: Duration,
    is_over: AtomicBool,
}

impl Sampler {
    pub(super) fn new(nodes: usize, length: Duration) -> Self {
        let tracks = (0..nodes).map(|_| Mutex::default()).collect();
        Self { tracks, interval: interval(nodes, length), is_over: AtomicBool::new(false) }
    }

    /// Has the threads end.
    pub(super) fn end(&self) {
        self.is_over.store(true, Ordering::Relaxed);
    }

    /// Asks one node until the end.
    pub(super) fn follow(&self, at: usize, crew: &Crew<'_>, hand: &Hand, book: &Book) {
        let (Some(member), Some(track)) = (crew.members.get(at), self.tracks.get(at)) else { return };
        let mut watch = Watch { at, crew, hand, book, last: None, heard: Instant::now(), told: BTreeSet::new() };
        let (mut due, mut pulse_due) = (Instant::now(), Instant::now());
        while !self.is_over.load(Ordering::Relaxed) {
            let now = Instant::now();
            if now < due {
                thread::sleep(LOOK.min(due - now));
                continue;
            }
            // Those that were missed are left out.
            due = (due + self.interval).max(now);
            let Some((asked, reading)) = ask(member) else {
                watch.hear_nothing();
                continue;
            };
            watch.hear(&reading);
            lock(track).add(asked, reading);
            if now >= pulse_due
                && let Ok(sample) = member.node.api("sample")
            {
                pulse_due = now + PULSE;
                let pulse = Pulse::read(&sample, Instant::now());
                watch.feel(&pulse);
                lock(track).pulses.push(pulse);
            }
        }
    }

    /// Asks one node once more; `None` if it does not answer.
    pub(super) fn last_look(&self, at: usize, crew: &Crew<'_>) -> Option<()> {
        let (asked, reading) = ask(crew.members.get(at)?)?;
        lock(self.tracks.get(at)?).add(asked, reading);
        Some(())
    }
}

/// Asks for a reading; with the middle of the time that this took.
fn ask(member: &Member) -> Option<(Instant, Reading)> {
    let begin = Instant::now();
    let value = member.node.api("live").ok()?;
    Some((begin + begin.elapsed() / 2, Reading::read(&value)?))
}

/// What is known of a node that is followed.
struct Watch<'a> {
    at: usize,
    crew: &'a Crew<'a>,
    hand: &'a Hand,
    book: &'a Book,
    last: Option<Reading>,
    heard: Instant,
    /// What was told of it: once is enough.
    told: BTreeSet<String>,
}

impl Watch<'_> {
    fn hear_nothing(&mut self) {
        let now = Instant::now();
        if self.hand.planned.is_silence(now) {
            self.heard = now;
        }
        if now.duration_since(self.heard) < LOST_AFTER {
            return;
        }
        self.trouble("lost", format!("has not answered for {LOST_AFTER:?}"));
    }

    fn hear(&mut self, reading: &Reading) {
        let is_reboot = self.last.as_ref().is_some_and(|last| reading.is_after_reboot(last));
        let was_silent = self.heard.elapsed() > 2 * PULSE;
        self.last = Some(reading.clone());
        self.heard = Instant::now();
        if is_reboot {
            if self.hand.planned.take_restart() {
                let entry = Entry::new(Kind::Seen, Some(self.at), "is up again");
                self.book.note(entry, &self.crew.label(self.at));
            } else {
                self.trouble("rebooted", "was started anew, which was not planned".into());
            }
        }
        if is_reboot || was_silent {
            self.compare_version();
        }
    }

    fn compare_version(&mut self) {
        let Some(member) = self.crew.members.get(self.at) else { return };
        let Ok(look) = Look::at(&member.node) else { return };
        if look.version != member.look.version {
            self.trouble("version", format!("now runs {}, and ran {} before", look.version, member.look.version));
        }
    }

    /// Notes what the hardware makes worthless.
    fn feel(&mut self, pulse: &Pulse) {
        for reason in &pulse.reasons {
            // The cable was pulled on purpose.
            if reason == "link_lost" && self.hand.planned.is_silence(pulse.at) {
                continue;
            }
            self.trouble(reason, format!("has {}", reason.replace('_', " ")));
        }
    }

    /// Notes what makes the run void, if it does.
    fn trouble(&mut self, condition: &str, what: String) {
        if !self.told.insert(condition.to_owned()) {
            return;
        }
        let label = self.crew.label(self.at);
        if self.crew.experiment.void.contains(&condition) {
            self.book.void(Some(self.at), format!("{label} {what}"));
        } else {
            self.book.note(Entry::new(Kind::Seen, Some(self.at), what), &label);
        }
    }
}
