//! Is a history linearizable: could a register that does one thing after the other have given these answers?
//!
//! The search of Wing and Gong ("Testing and Verifying Concurrent Objects", 1993) with Lowe's memory of what was tried already
//! ("Testing for Linearizability", 2017), key by key, because a history is linearizable exactly when that of each key is
//! (Herlihy and Wing, "Linearizability", 1990, theorem 1). Knossos and porcupine do the same.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::time::Duration;

use super::operation::{Action, Operation};

/// Steps after which the search gives up: some seconds, some hundred MB.
const STEPS_MAX: u64 = 5_000_000;

/// What the check of a history found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// A register could have given these answers.
    Linearizable,
    /// None could.
    Violated(Vec<Violation>),
    /// Too much was going on at once to tell within a reasonable time; the keys.
    Undecided(Vec<u32>),
}

/// Why the answers for a key are impossible.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Violation {
    /// The operation behind which no order goes on.
    pub(crate) stuck: Operation,
    /// What the register held after the longest order that there is.
    pub(crate) held: Option<u64>,
    /// When the value was written that the operation has read, and when the one that the register held.
    writes: [Option<(Duration, Duration)>; 2],
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, but at that time it held {}", self.stuck, Value(self.held))?;
        let [read, held] = self.writes;
        for (value, times) in [(self.held, held), (self.stuck.action.value(), read)] {
            if let (Some(value), Some((from, to))) = (value, times) {
                write!(f, "; {value} was written from {:.3}s to {:.3}s", from.as_secs_f64(), to.as_secs_f64())?;
            }
        }
        Ok(())
    }
}

/// What a register holds, for a person.
pub(crate) struct Value(pub(crate) Option<u64>);

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(value) => write!(f, "{value}"),
            None => f.write_str("nothing"),
        }
    }
}

/// Checks operations on registers that held nothing at first.
pub(crate) fn check(operations: &[Operation]) -> Verdict {
    let mut keys: BTreeMap<u32, Vec<Operation>> = BTreeMap::new();
    for operation in operations {
        keys.entry(operation.key).or_default().push(*operation);
    }
    let (mut violations, mut undecided) = (Vec::new(), Vec::new());
    for (key, operations) in keys {
        match Search::new(bounded(operations)).run() {
            Outcome::Found => {}
            Outcome::Impossible(violation) => violations.push(violation),
            Outcome::Undecided => undecided.push(key),
        }
    }
    match (violations.is_empty(), undecided.is_empty()) {
        (false, _) => Verdict::Violated(violations),
        (true, false) => Verdict::Undecided(undecided),
        (true, true) => Verdict::Linearizable,
    }
}

/// Gives operations whose outcome is not known an end, where that changes nothing: they would overlap with all that comes later.
///
/// A write that nobody has read can be the last of all, so it is left out. One whose value only it has written, and that was
/// read, has taken effect before the first such read was answered. A read without an answer says nothing.
fn bounded(mut operations: Vec<Operation>) -> Vec<Operation> {
    let mut writers: HashMap<u64, u32> = HashMap::new();
    let mut read: HashMap<u64, Duration> = HashMap::new();
    for operation in &operations {
        match (operation.action, operation.answered) {
            (Action::Write(value), _) => *writers.entry(value).or_default() += 1,
            (Action::Read(Some(value)), Some(answered)) => {
                let first = read.entry(value).or_insert(answered);
                *first = answered.min(*first);
            }
            (Action::Read(_), _) => {}
        }
    }
    operations.retain_mut(|operation| match (operation.action, operation.answered) {
        (_, Some(_)) => true,
        (Action::Read(_), None) => false,
        (Action::Write(value), None) => match read.get(&value) {
            None => false,
            Some(first) => {
                // A value that was read before it was written stays without an end: no order will be found.
                let is_only = writers.get(&value) == Some(&1) && *first >= operation.asked;
                operation.answered = is_only.then_some(*first);
                true
            }
        },
    });
    operations
}

/// What a search found.
enum Outcome {
    Found,
    Impossible(Violation),
    Undecided,
}

/// No neighbour.
const NONE: usize = usize::MAX;

/// The beginning or the end of an operation, in a list by time.
#[derive(Clone, Copy)]
struct Event {
    operation: usize,
    is_begin: bool,
    before: usize,
    after: usize,
}

/// The search for an order of the operations of one key.
struct Search {
    operations: Vec<Operation>,
    /// All events by time. At the same time beginnings come first: what touches overlaps.
    events: Vec<Event>,
    first: usize,
    /// Where the end of each operation is.
    ends: Vec<usize>,
    /// Which operations, by when they began, have their place in the order.
    done: Vec<u64>,
    /// So many words of that are full, and behind so many there is none.
    full: usize,
    reach: usize,
    held: Option<u64>,
}

impl Search {
    fn new(mut operations: Vec<Operation>) -> Self {
        operations.sort_by_key(|operation| operation.asked);
        let mut times: Vec<(Duration, bool, usize)> = Vec::new();
        for (number, operation) in operations.iter().enumerate() {
            times.push((operation.asked, false, number));
            times.push((operation.answered.unwrap_or(Duration::MAX), true, number));
        }
        times.sort_unstable();
        let mut ends = vec![NONE; operations.len()];
        let last = times.len().wrapping_sub(1);
        let events = times.iter().enumerate().map(|(at, (_, is_end, operation))| {
            if *is_end {
                ends[*operation] = at;
            }
            Event {
                operation: *operation,
                is_begin: !is_end,
                before: at.checked_sub(1).unwrap_or(NONE),
                after: if at == last { NONE } else { at + 1 },
            }
        });
        let events = events.collect();
        let done = vec![0; operations.len().div_ceil(64)];
        let first = if operations.is_empty() { NONE } else { 0 };
        Self { first, operations, events, ends, done, full: 0, reach: 0, held: None }
    }

    fn run(mut self) -> Outcome {
        let mut tried: HashSet<(usize, Box<[u64]>, Option<u64>)> = HashSet::new();
        // The beginnings of those that have their place, each with what was held before.
        let mut order: Vec<(usize, Option<u64>)> = Vec::new();
        let mut furthest: Option<(usize, Violation)> = None;
        let mut at = self.first;
        for _ in 0..STEPS_MAX {
            if at == NONE {
                return Outcome::Found;
            }
            let event = self.events[at];
            if event.is_begin {
                if let Some(held) = self.after(event.operation) {
                    self.mark(event.operation, true);
                    let (full, rest) = self.done();
                    if tried.insert((full, rest.into(), held)) {
                        order.push((at, self.held));
                        self.held = held;
                        self.take_out(at);
                        at = self.first;
                        continue;
                    }
                    self.mark(event.operation, false);
                }
                at = event.after;
                continue;
            }
            // The end of one that has no place yet: nothing that began before it can come next. Back to the last choice.
            if furthest.as_ref().is_none_or(|(len, _)| order.len() > *len) {
                furthest = Some((order.len(), self.violation(event.operation)));
            }
            let Some((begin, held)) = order.pop() else {
                return furthest.map_or(Outcome::Undecided, |(_, violation)| Outcome::Impossible(violation));
            };
            self.held = held;
            self.put_back(begin);
            self.mark(self.events[begin].operation, false);
            at = self.events[begin].after;
        }
        Outcome::Undecided
    }

    /// Returns what is held after an operation; `None` when it can't come next.
    fn after(&self, operation: usize) -> Option<Option<u64>> {
        match self.operations[operation].action {
            Action::Write(value) => Some(Some(value)),
            Action::Read(value) => (value == self.held).then_some(value),
        }
    }

    fn mark(&mut self, operation: usize, is_done: bool) {
        let bit = 1 << (operation % 64);
        let word = &mut self.done[operation / 64];
        *word = if is_done { *word | bit } else { *word & !bit };
        self.full = self.full.min(operation / 64);
        while self.done.get(self.full) == Some(&u64::MAX) {
            self.full += 1;
        }
        self.reach = self.reach.max(operation / 64 + 1);
        while self.reach > 0 && self.done.get(self.reach - 1) == Some(&0) {
            self.reach -= 1;
        }
    }

    /// Returns which operations have their place: so many words are full of them, and behind these the words up to the last that has
    /// any. What was long ago has its place, and what comes later has none, so that is short however long a history is.
    fn done(&self) -> (usize, &[u64]) {
        (self.full, self.done.get(self.full..self.reach).unwrap_or_default())
    }

    fn take_out(&mut self, begin: usize) {
        for at in [begin, self.ends[self.events[begin].operation]] {
            let Event { before, after, .. } = self.events[at];
            match before {
                NONE => self.first = after,
                before => self.events[before].after = after,
            }
            if after != NONE {
                self.events[after].before = before;
            }
        }
    }

    /// Undoes [`take_out`](Self::take_out), in the opposite order.
    fn put_back(&mut self, begin: usize) {
        for at in [self.ends[self.events[begin].operation], begin] {
            let Event { before, after, .. } = self.events[at];
            match before {
                NONE => self.first = at,
                before => self.events[before].after = at,
            }
            if after != NONE {
                self.events[after].before = at;
            }
        }
    }

    fn violation(&self, operation: usize) -> Violation {
        let stuck = self.operations[operation];
        let write = |value: Option<u64>| {
            let write =
                value.and_then(|value| self.operations.iter().find(|other| other.action == Action::Write(value)));
            write.map(|write| (write.asked, write.answered.unwrap_or(write.asked)))
        };
        let read = matches!(stuck.action, Action::Read(_)).then(|| stuck.action.value()).flatten();
        Violation { stuck, held: self.held, writes: [write(read), write(self.held)] }
    }
}

#[cfg(test)]
mod tests;
