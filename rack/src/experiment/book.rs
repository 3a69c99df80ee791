//! What has happened in a run: noted as it happens, by whoever does it or sees it.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use indicatif::ProgressBar;

use crate::progress::say;

/// What kind of thing has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Phase,
    Fault,
    Action,
    Controller,
    /// Seen, and not done by this program.
    Seen,
    /// It makes the run void.
    Trouble,
}

impl Kind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Phase => "phase",
            Self::Fault => "fault",
            Self::Action => "action",
            Self::Controller => "controller",
            Self::Seen => "seen",
            Self::Trouble => "trouble",
        }
    }
}

/// Something that has happened.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) kind: Kind,
    /// To which member.
    pub(super) member: Option<usize>,
    pub(super) text: String,
    /// When it was meant to, from the beginning of the first phase.
    pub(super) planned: Option<Duration>,
    /// When it was done, or seen: for an order, when it was sent,
    pub(super) at: Instant,
    /// and when the node had answered.
    pub(super) done: Option<Instant>,
    /// When it is over, where it lasts.
    pub(super) until: Option<Instant>,
    /// What went wrong with it.
    pub(super) error: Option<String>,
}

impl Entry {
    pub(super) fn new(kind: Kind, member: Option<usize>, text: impl Into<String>) -> Self {
        let at = Instant::now();
        Self { kind, member, text: text.into(), planned: None, at, done: None, until: None, error: None }
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Book {
    entries: Mutex<Vec<Entry>>,
    void: Mutex<Vec<String>>,
    bar: Mutex<Option<ProgressBar>>,
}

impl Book {
    /// Notes something, shows it, and returns its place.
    pub(super) fn note(&self, entry: Entry, who: &str) -> usize {
        let gap = if who.is_empty() { "" } else { ": " };
        self.show(&format!("  {:10} {who}{gap}{}", entry.kind.name(), entry.text));
        let mut entries = lock(&self.entries);
        entries.push(entry);
        entries.len() - 1
    }

    /// Changes what was noted.
    pub(super) fn amend(&self, at: usize, change: impl FnOnce(&mut Entry)) {
        lock(&self.entries).get_mut(at).map(change);
    }

    /// Notes what makes the run void.
    pub(super) fn void(&self, member: Option<usize>, reason: String) {
        self.note(Entry::new(Kind::Trouble, member, reason.clone()), "");
        lock(&self.void).push(reason);
    }

    pub(super) fn is_void(&self) -> bool {
        !lock(&self.void).is_empty()
    }

    /// Returns everything, in the order of time, and what makes the run void.
    pub(super) fn read(&self) -> (Vec<Entry>, Vec<String>) {
        let mut entries = lock(&self.entries).clone();
        entries.sort_by_key(|entry| entry.at);
        (entries, lock(&self.void).clone())
    }

    /// Has lines shown above a bar.
    pub(super) fn set_bar(&self, bar: Option<ProgressBar>) {
        *lock(&self.bar) = bar;
    }

    /// Shows a line to the user.
    pub(super) fn show(&self, line: &str) {
        match lock(&self.bar).as_ref() {
            Some(bar) => bar.suspend(|| say(line)),
            None => say(line),
        }
    }
}

/// A thread that panicked while it held a lock has left whole values behind.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
