//! Asks every node, some times a second, what it has done.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use super::book::{Book, lock};
use super::crew::{Crew, Member};
use super::hand::Hand;
use super::series::{Ailments, Pulse, Reading, Track};
use super::watch::Watch;
use crate::fleet::{Look, in_parallel};

/// Between two looks at the node itself.
pub(super) const PULSE: Duration = Duration::from_secs(1);
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
    /// What the nodes had told before anything was started.
    before: Vec<Reading>,
    is_over: AtomicBool,
}

impl Sampler {
    /// What [`first_look`] has found is not of this run.
    pub(super) fn new(nodes: usize, length: Duration, before: Vec<Reading>) -> Self {
        let tracks = (0..nodes).map(|_| Mutex::default()).collect();
        Self { tracks, interval: interval(nodes, length), before, is_over: AtomicBool::new(false) }
    }

    /// Has the threads end.
    pub(super) fn end(&self) {
        self.is_over.store(true, Ordering::Relaxed);
    }

    /// Asks one node until the end.
    pub(super) fn follow(&self, at: usize, crew: &Crew<'_>, hand: &Hand, book: &Book) {
        let (Some(member), Some(track)) = (crew.members.get(at), self.tracks.get(at)) else { return };
        let mut watch = Watch::new(at, crew, &hand.planned, book);
        // It may be another by now.
        let mut is_unsure = false;
        let (mut due, mut pulse_due) = (Instant::now(), Instant::now());
        while !self.is_over.load(Ordering::Relaxed) {
            let now = Instant::now();
            if now < due {
                thread::sleep(LOOK.min(due - now));
                continue;
            }
            // Those that were missed are left out.
            due = (due + self.interval).max(now);
            let Some((asked, reading)) = self.ask(at, member) else {
                watch.hear_nothing(Instant::now());
                continue;
            };
            is_unsure |= watch.hear(&reading);
            if is_unsure && let Ok(look) = Look::at(&member.node) {
                watch.compare(&look);
                is_unsure = false;
            }
            lock(track).add(asked, reading);
            if now >= pulse_due
                && let Ok(sample) = member.node.api("sample")
            {
                pulse_due = now + PULSE;
                lock(track).pulses.push(Pulse::read(&sample, Instant::now()));
                feel(member, &mut watch);
            }
        }
        // What came behind the last look counts, too.
        if watch.is_heard() {
            feel(member, &mut watch);
        }
    }

    /// Asks one node once more; `None` if it does not answer.
    pub(super) fn last_look(&self, at: usize, crew: &Crew<'_>) -> Option<()> {
        let (asked, reading) = self.ask(at, crew.members.get(at)?)?;
        lock(self.tracks.get(at)?).add(asked, reading);
        Some(())
    }

    fn ask(&self, at: usize, member: &Member) -> Option<(Instant, Reading)> {
        let (asked, reading) = ask(member)?;
        let Some(before) = self.before.get(at) else { return Some((asked, reading)) };
        Some((asked, reading.without_ended(before)))
    }
}

/// Asks all nodes what they have done so far.
///
/// # Errors
/// When one does not answer.
pub(super) fn first_look(crew: &Crew<'_>) -> Result<Vec<Reading>> {
    let readings = in_parallel(&crew.members, ask).into_iter().enumerate();
    readings
        .map(|(at, asked)| {
            asked.map(|(_, reading)| reading).with_context(|| format!("{} does not answer", crew.label(at)))
        })
        .collect()
}

/// Asks how often the hardware was not well.
fn feel(member: &Member, watch: &mut Watch<'_>) {
    if let Some(ailments) = member.node.api("health").ok().and_then(|value| Ailments::read(&value)) {
        watch.feel(ailments, Instant::now());
    }
}

/// Asks for a reading; with the middle of the time that this took.
fn ask(member: &Member) -> Option<(Instant, Reading)> {
    let begin = Instant::now();
    let value = member.node.api("live").ok()?;
    Some((begin + begin.elapsed() / 2, Reading::read(&value)?))
}
