//! What the sink knows of each source: which of its messages have come.

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;

use super::ledger::WINDOW_MAX;
use super::wire::{Message, Verdict};

/// Sources that are told apart. One more takes the place of the one that was silent longest.
const STREAMS_MAX: usize = 8;
const WINDOW: u64 = WINDOW_MAX as u64;

/// What a message is to the sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// New. Reordered if one with a higher number was here before (RFC 4737, section 3.3).
    New { is_reordered: bool },
    /// It was here before.
    Duplicate,
    /// It was given up before it came.
    Late,
    /// A question about a message that is here.
    Known,
    /// A question about a message that is not here, and is given up now.
    GivenUp,
    /// A question about a message that was given up.
    Gone,
    /// A number that no source can have given out.
    Impossible,
}

impl Arrival {
    /// Returns what the source is told.
    pub(super) fn verdict(self) -> Option<Verdict> {
        match self {
            Self::New { .. } | Self::Duplicate | Self::Known => Some(Verdict::Delivered),
            Self::Late | Self::GivenUp | Self::Gone => Some(Verdict::GivenUp),
            Self::Impossible => None,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Unseen,
    Here,
    GivenUp,
}

struct Stream {
    id: u64,
    /// Below this the source knows the end of every message.
    base: u64,
    /// One more than the highest number that was here.
    end: u64,
    /// Numbers from base to end that are neither here nor given up.
    missing: u64,
    /// The state of a number is at its remainder.
    states: Box<[State]>,
    touched: u64,
}

impl Stream {
    fn new(id: u64, base: u64) -> Self {
        Self { id, base, end: base, missing: 0, states: vec![State::Unseen; WINDOW_MAX].into_boxed_slice(), touched: 0 }
    }

    fn state(&mut self, number: u64) -> Option<&mut State> {
        self.states.get_mut((number % WINDOW) as usize)
    }

    /// Forgets what the source needs no more.
    fn advance(&mut self, base: u64) {
        if base >= self.base.saturating_add(WINDOW) {
            self.states.fill(State::Unseen);
            (self.missing, self.base) = (0, base);
        }
        while self.base < base {
            let was_here = self.state(self.base).is_some_and(|state| core::mem::replace(state, State::Unseen) != State::Unseen);
            if self.base < self.end && !was_here {
                self.missing -= 1;
            }
            self.base += 1;
        }
        self.end = self.end.max(self.base);
    }

    fn record(&mut self, message: &Message) -> Arrival {
        self.advance(message.base);
        let number = message.number;
        if number < self.base {
            return if message.is_question { Arrival::Known } else { Arrival::Duplicate };
        }
        if number - self.base >= WINDOW {
            return Arrival::Impossible;
        }
        let Some(state) = self.state(number) else { return Arrival::Impossible };
        let arrival = match (*state, message.is_question) {
            (State::Here, false) => return Arrival::Duplicate,
            (State::Here, true) => return Arrival::Known,
            (State::GivenUp, false) => return Arrival::Late,
            (State::GivenUp, true) => return Arrival::Gone,
            (State::Unseen, true) => {
                *state = State::GivenUp;
                Arrival::GivenUp
            }
            (State::Unseen, false) => {
                *state = State::Here;
                Arrival::New { is_reordered: number < self.end }
            }
        };
        if number < self.end {
            self.missing -= 1;
        } else {
            self.missing += number - self.end;
            self.end = number + 1;
        }
        arrival
    }
}

/// What is known of all sources.
pub(super) struct Record {
    streams: Vec<Stream>,
    touched: u64,
}

impl Record {
    pub(super) fn new() -> Self {
        Self { streams: Vec::with_capacity(STREAMS_MAX), touched: 0 }
    }

    /// Takes in a message that is undamaged.
    pub(super) fn record(&mut self, message: &Message) -> Arrival {
        // The greatest number would have none behind it.
        if message.number < message.base || message.number == u64::MAX {
            return Arrival::Impossible;
        }
        self.touched += 1;
        let touched = self.touched;
        let place = self.streams.iter().position(|stream| stream.id == message.stream).unwrap_or_else(|| {
            // The window is 16 KiB long, once per source.
            let new = Stream::new(message.stream, message.base);
            if self.streams.len() < STREAMS_MAX {
                self.streams.push(new);
                return self.streams.len() - 1;
            }
            let oldest = self.streams.iter().enumerate().min_by_key(|(_, stream)| stream.touched);
            let place = oldest.map_or(0, |(place, _)| place);
            if let Some(stream) = self.streams.get_mut(place) {
                *stream = new;
            }
            place
        });
        let Some(stream) = self.streams.get_mut(place) else { return Arrival::Impossible };
        stream.touched = touched;
        stream.record(message)
    }

    /// Returns how many messages have not come although later ones have, and are not given up.
    pub(super) fn missing(&self) -> u64 {
        self.streams.iter().map(|stream| stream.missing).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    fn message(number: u64, base: u64, is_question: bool) -> Message {
        Message { stream: 9, number, base, is_question, ..Message::default() }
    }

    #[test]
    fn every_arrival_is_what_it_is() {
        let mut record = Record::new();
        let mut arrive = |number, base| record.record(&message(number, base, false));
        assert_eq!(arrive(0, 0), Arrival::New { is_reordered: false });
        assert_eq!(arrive(3, 0), Arrival::New { is_reordered: false });
        assert_eq!(arrive(1, 0), Arrival::New { is_reordered: true });
        assert_eq!(arrive(3, 0), Arrival::Duplicate);
        assert_eq!(arrive(WINDOW, 0), Arrival::Impossible);
        assert_eq!(arrive(u64::MAX, 0), Arrival::Impossible);
        assert_eq!(arrive(4, 5), Arrival::Impossible, "the source knows its end, and sends it");
        assert_eq!(record.missing(), 1);
        assert_eq!(record.record(&message(2, 0, true)), Arrival::GivenUp);
        assert_eq!(record.record(&message(2, 0, true)), Arrival::Gone);
        assert_eq!(record.record(&message(2, 0, false)), Arrival::Late);
        assert_eq!(record.record(&message(3, 0, true)), Arrival::Known);
        assert_eq!(record.missing(), 0);
        // The source goes on: what it needs no more is an old story.
        assert_eq!(record.record(&message(WINDOW + 3, 4, false)), Arrival::New { is_reordered: false });
        assert_eq!(record.missing(), WINDOW - 1);
        assert_eq!(record.record(&message(u64::MAX - 1, u64::MAX - 1, false)), Arrival::New { is_reordered: false });
    }

    #[test]
    fn it_agrees_with_a_record_that_keeps_everything() {
        for seed in 0..50 {
            let mut random = Random::new(seed);
            let (mut record, mut here, mut given_up) = (Record::new(), std::collections::BTreeSet::new(), std::collections::BTreeSet::new());
            let (mut base, mut highest) = (0, None);
            for _ in 0..3000 {
                base += if random.happens(200_000) { random.below(5) } else { 0 };
                let number = base + random.below(60);
                let is_question = random.happens(150_000);
                let arrival = record.record(&message(number, base, is_question));
                let expected = match (here.contains(&number), given_up.contains(&number), is_question) {
                    (true, _, false) => Arrival::Duplicate,
                    (true, _, true) => Arrival::Known,
                    (_, true, false) => Arrival::Late,
                    (_, true, true) => Arrival::Gone,
                    (_, _, true) => Arrival::GivenUp,
                    _ => Arrival::New { is_reordered: highest.is_some_and(|highest| number < highest) },
                };
                assert_eq!(arrival, expected, "{number} from {base}");
                match arrival {
                    Arrival::New { .. } => drop(here.insert(number)),
                    Arrival::GivenUp => drop(given_up.insert(number)),
                    _ => {}
                }
                highest = highest.max(Some(number));
                let missing = (base..highest.unwrap_or(0)).filter(|n| !here.contains(n) && !given_up.contains(n));
                assert_eq!(record.missing(), missing.count() as u64);
            }
        }
    }

    #[test]
    fn many_sources_are_bounded() {
        let mut record = Record::new();
        for stream in 0..100 {
            let message = Message { stream, ..Message::default() };
            assert_eq!(record.record(&message), Arrival::New { is_reordered: false });
        }
        assert_eq!(record.streams.len(), STREAMS_MAX);
    }
}
