//! What the source knows of its messages: nothing is forgotten before its end is known.
//!
//! ```text
//! issue -> Sent -> settle(Delivered)                       delivered
//!           |  ^
//!           v  | at-least-once: the message again; at-most-once: a question whether it has come, after some time
//!          Doubt -> settle(GivenUp)                        lost, for the reason that brought the doubt
//! ```
//!
//! The sink has the last word: a message that it has not got when it is asked it will not take any more. So what the source
//! counts as lost was not delivered, and the counts of both agree.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec;

use super::wire::Verdict;

/// Most messages of which the source does not know the end.
pub(super) const WINDOW_MAX: usize = 16 << 10;

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The sink has it.
    Delivered { due_us: u64 },
    /// It is lost, for this reason.
    Lost(Verdict),
}

#[derive(Clone, Copy)]
enum State {
    Settled,
    /// It, or the question about it, is on its way on this connection.
    Sent(u8),
    /// It is not known where it is.
    Doubt,
}

#[derive(Clone, Copy)]
struct Entry {
    state: State,
    due_us: u64,
    /// Why it is, or was, in doubt.
    reason: Verdict,
}

/// The book of all messages whose end is not known.
pub(super) struct Ledger {
    /// The entry of a number is at its remainder.
    entries: Box<[Entry]>,
    /// The least number that is not settled, and the next that is free.
    base: u64,
    next: u64,
    unsettled: usize,
    /// What is to be sent again, or asked about, and from when on in µs. Some of it may be settled since.
    doubts: VecDeque<(u64, u64)>,
    /// How long to wait before asking.
    patience_us: u64,
}

impl Ledger {
    /// Makes a book for `window` messages. What is in doubt is dealt with after `patience_us`.
    pub(super) fn new(window: usize, patience_us: u64) -> Self {
        let window = window.clamp(1, WINDOW_MAX);
        let empty = Entry { state: State::Settled, due_us: 0, reason: Verdict::Connection };
        Self {
            entries: vec![empty; window].into_boxed_slice(),
            base: 0,
            next: 0,
            unsettled: 0,
            doubts: VecDeque::with_capacity(window),
            patience_us,
        }
    }

    pub(super) fn base(&self) -> u64 {
        self.base
    }

    /// Returns how many messages were issued.
    pub(super) fn issued(&self) -> u64 {
        self.next
    }

    /// Returns of how many the end is not known.
    pub(super) fn unsettled(&self) -> usize {
        self.unsettled
    }

    pub(super) fn has_room(&self) -> bool {
        self.next - self.base < self.entries.len() as u64
    }

    fn entry(&mut self, number: u64) -> Option<&mut Entry> {
        if !(self.base..self.next).contains(&number) {
            return None;
        }
        let place = number % self.entries.len() as u64;
        self.entries.get_mut(place as usize)
    }

    /// Takes the next number for a message that was due then and is sent on `connection`; `None` without room.
    pub(super) fn issue(&mut self, due_us: u64, connection: u8) -> Option<u64> {
        if !self.has_room() {
            return None;
        }
        let number = self.next;
        self.next += 1;
        self.unsettled += 1;
        *self.entry(number)? = Entry { state: State::Sent(connection), due_us, reason: Verdict::Connection };
        Some(number)
    }

    /// Returns a message that is to be sent again, or asked about, on `connection`, and when it was due.
    pub(super) fn take_doubt(&mut self, connection: u8, now_us: u64) -> Option<(u64, u64)> {
        loop {
            let (number, _) = *self.doubts.front().filter(|(_, from)| *from <= now_us)?;
            self.doubts.pop_front();
            if let Some(entry) = self.entry(number)
                && matches!(entry.state, State::Doubt)
            {
                entry.state = State::Sent(connection);
                return Some((number, entry.due_us));
            }
        }
    }

    /// Returns when the next doubt is to be dealt with.
    pub(super) fn next_doubt_us(&self) -> Option<u64> {
        self.doubts.front().map(|(_, from)| *from)
    }

    /// Puts all in doubt that was sent on a connection that has ended.
    pub(super) fn lose_connection(&mut self, connection: u8, now_us: u64) {
        for number in self.base..self.next {
            if let Some(entry) = self.entry(number)
                && matches!(entry.state, State::Sent(on) if on == connection)
            {
                // A question keeps the reason of the message.
                entry.state = State::Doubt;
                self.doubts.push_back((number, now_us + self.patience_us));
            }
        }
    }

    /// Takes in what is said of a message; returns its end if that is one.
    pub(super) fn settle(&mut self, number: u64, verdict: Verdict, now_us: u64) -> Option<End> {
        let patience_us = self.patience_us;
        let entry = self.entry(number)?;
        let end = match (verdict, entry.state) {
            (_, State::Settled) => return None,
            (Verdict::Delivered, _) => End::Delivered { due_us: entry.due_us },
            (Verdict::GivenUp, _) => End::Lost(entry.reason),
            (reason, State::Sent(_)) => {
                entry.state = State::Doubt;
                entry.reason = reason;
                self.doubts.push_back((number, now_us + patience_us));
                return None;
            }
            (_, State::Doubt) => return None,
        };
        entry.state = State::Settled;
        self.unsettled -= 1;
        while self.base < self.next && self.entry(self.base).is_some_and(|entry| matches!(entry.state, State::Settled)) {
            self.base += 1;
        }
        Some(end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    #[test]
    fn a_message_has_one_end_whatever_is_said_of_it() {
        let mut ledger = Ledger::new(2, 100);
        assert_eq!((ledger.issue(5, 0), ledger.issue(6, 1), ledger.issue(7, 0)), (Some(0), Some(1), None));
        // The second is settled first: its place is free only when the first is settled, too.
        assert_eq!(ledger.settle(1, Verdict::Delivered, 10), Some(End::Delivered { due_us: 6 }));
        assert_eq!(ledger.settle(1, Verdict::Delivered, 10), None);
        assert!(!ledger.has_room());
        assert_eq!(ledger.settle(0, Verdict::Worker, 10), None);
        assert_eq!(ledger.settle(0, Verdict::Corrupted, 10), None, "it is in doubt already");
        assert_eq!((ledger.take_doubt(1, 109), ledger.take_doubt(1, 110)), (None, Some((0, 5))));
        // The question is lost with its connection, and asked again.
        ledger.lose_connection(1, 200);
        assert_eq!((ledger.take_doubt(0, 300), ledger.next_doubt_us()), (Some((0, 5)), None));
        assert_eq!(ledger.settle(0, Verdict::GivenUp, 310), Some(End::Lost(Verdict::Worker)));
        assert_eq!((ledger.base(), ledger.issued(), ledger.unsettled()), (2, 2, 0));
        assert_eq!(ledger.settle(0, Verdict::Delivered, 311), None);
        assert_eq!(ledger.settle(u64::MAX, Verdict::Delivered, 311), None, "a number that was never given");
    }

    #[test]
    fn the_books_balance_after_any_sequence() {
        for seed in 0..200 {
            let mut random = Random::new(seed);
            let mut ledger = Ledger::new(1 + random.below(40) as usize, random.below(50));
            let (mut delivered, mut lost, mut now) = (0, 0, 0);
            for _ in 0..2000 {
                now += random.below(20);
                let connection = random.below(3) as u8;
                match random.below(10) {
                    0..=3 => drop(ledger.issue(now, connection)),
                    4 => ledger.lose_connection(connection, now),
                    5 => drop(ledger.take_doubt(connection, now)),
                    _ => {
                        let number = ledger.base() + random.below(45);
                        let verdict = Verdict::ALL[random.below(5) as usize];
                        match ledger.settle(number, verdict, now) {
                            Some(End::Delivered { .. }) => delivered += 1,
                            Some(End::Lost(_)) => lost += 1,
                            None => {}
                        }
                    }
                }
                assert_eq!(ledger.issued(), delivered + lost + ledger.unsettled() as u64);
            }
            // Whatever is open can be dealt with: nothing is stuck.
            (0..3).for_each(|connection| ledger.lose_connection(connection, now));
            while let Some((number, _)) = ledger.take_doubt(0, u64::MAX) {
                assert!(ledger.settle(number, Verdict::GivenUp, now).is_some());
                lost += 1;
            }
            assert_eq!((ledger.issued(), ledger.unsettled()), (delivered + lost, 0));
        }
    }
}
