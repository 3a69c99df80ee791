//! The messages of a queue: a fixed number of places, each waiting, or given to a worker and not settled.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;

use super::wire::{Message, Verdict};

/// What the queue does with what a worker says, or with a worker's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It waits for another worker.
    Waits,
    /// The one that it came from is to be told: its connection and the verdict.
    Tell { to: u32, verdict: Verdict },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Free,
    /// A connection writes into it.
    Filling,
    Waiting,
    /// This connection has it.
    Given(u32),
}

#[derive(Clone, Copy)]
struct Slot {
    state: State,
    message: Message,
    /// The connection that it came on.
    from: u32,
    since_us: u64,
}

/// The places.
pub(super) struct Store {
    slots: Vec<Slot>,
    bytes: Box<[u8]>,
    size: usize,
    free: Vec<u16>,
    waiting: VecDeque<u16>,
    given: usize,
}

/// There is too little memory.
#[derive(Debug)]
pub(super) struct NoMemory;

impl Store {
    /// Makes `capacity` places for messages of up to `size` bytes.
    ///
    /// # Errors
    ///
    /// When the heap has too little room.
    pub(super) fn new(capacity: u16, size: usize) -> Result<Self, NoMemory> {
        let count = usize::from(capacity);
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(count * size).map_err(|_| NoMemory)?;
        bytes.resize(count * size, 0);
        let mut slots = Vec::new();
        slots.try_reserve_exact(count).map_err(|_| NoMemory)?;
        slots.resize(count, Slot { state: State::Free, message: Message::default(), from: 0, since_us: 0 });
        let free = (0..capacity).rev().collect();
        Ok(Self { slots, bytes: bytes.into_boxed_slice(), size, free, waiting: VecDeque::with_capacity(count), given: 0 })
    }

    pub(super) fn free(&self) -> usize {
        self.free.len()
    }

    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn given(&self) -> usize {
        self.given
    }

    fn slot(&mut self, place: u16) -> Option<&mut Slot> {
        self.slots.get_mut(usize::from(place))
    }

    /// Takes a place for a message that is coming on connection `from`.
    pub(super) fn begin(&mut self, message: Message, from: u32) -> Option<u16> {
        if message.len > self.size {
            return None;
        }
        let place = self.free.pop()?;
        *self.slot(place)? = Slot { state: State::Filling, message, from, since_us: 0 };
        Some(place)
    }

    /// Returns the payload in a place.
    pub(super) fn payload(&mut self, place: u16) -> &mut [u8] {
        let len = self.slot(place).map_or(0, |slot| slot.message.len);
        let start = usize::from(place) * self.size;
        self.bytes.get_mut(start..start + len).unwrap_or_default()
    }

    /// Lets the message in a place wait for a worker.
    pub(super) fn finish(&mut self, place: u16, now_us: u64) {
        if let Some(slot) = self.slot(place) {
            (slot.state, slot.since_us) = (State::Waiting, now_us);
            self.waiting.push_back(place);
        }
    }

    /// Gives a place back.
    pub(super) fn free_place(&mut self, place: u16) {
        if let Some(slot) = self.slot(place) {
            slot.state = State::Free;
            self.free.push(place);
        }
    }

    /// Has a message that is here already, and has come again, belong to the connection that it came on.
    /// Returns whether it is here.
    pub(super) fn adopt(&mut self, message: &Message, from: u32) -> bool {
        match self.find(message.stream, message.number, |state| !matches!(state, State::Free | State::Filling)) {
            Some(place) => {
                if let Some(slot) = self.slot(place) {
                    slot.from = from;
                }
                true
            }
            None => false,
        }
    }

    /// Gives the message that waits longest to a worker's connection; returns its place, and for how long it has waited.
    pub(super) fn give(&mut self, to: u32, now_us: u64) -> Option<(u16, Message, u64)> {
        let place = self.waiting.pop_front()?;
        self.given += 1;
        let slot = self.slot(place)?;
        slot.state = State::Given(to);
        Some((place, slot.message, now_us.saturating_sub(slot.since_us)))
    }

    /// Takes in what a worker says of a message. `None` when the message is not here.
    pub(super) fn settle(&mut self, stream: u64, number: u64, verdict: Verdict, by: u32) -> Option<Fate> {
        let is_held = |state: &State| matches!(state, State::Waiting | State::Given(_));
        let place = self.find(stream, number, is_held)?;
        let state = self.slot(place)?.state;
        let is_final = matches!(verdict, Verdict::Delivered | Verdict::GivenUp);
        if !is_final && state != State::Given(by) {
            // Somebody else has it by now.
            return Some(Fate::Waits);
        }
        Some(self.end(place, verdict))
    }

    /// Takes back what a worker had whose connection has ended; `tell` is called for each that is not given out again.
    /// Returns how many are.
    pub(super) fn lose(&mut self, by: u32, mut tell: impl FnMut(u64, u64, Fate)) -> u64 {
        let mut again = 0;
        // Backwards, because each goes to the front: so they keep their order.
        let mut places: Vec<u16> = (0..self.slots.len() as u16).collect();
        places.retain(|place| self.slots.get(usize::from(*place)).is_some_and(|slot| slot.state == State::Given(by)));
        places.sort_by_key(|place| self.slots.get(usize::from(*place)).map(|slot| slot.message.number));
        for place in places.into_iter().rev() {
            let Some(slot) = self.slots.get(usize::from(place)) else { continue };
            let (stream, number) = (slot.message.stream, slot.message.number);
            let fate = self.end(place, Verdict::Worker);
            again += u64::from(fate == Fate::Waits);
            tell(stream, number, fate);
        }
        again
    }

    fn end(&mut self, place: u16, verdict: Verdict) -> Fate {
        let Some(slot) = self.slot(place) else { return Fate::Waits };
        let (from, message, state) = (slot.from, slot.message, slot.state);
        if let State::Given(_) = state {
            self.given -= 1;
        }
        let is_final = matches!(verdict, Verdict::Delivered | Verdict::GivenUp);
        if !is_final && (message.is_at_least_once || message.is_question) {
            if let Some(slot) = self.slot(place) {
                slot.state = State::Waiting;
                slot.message.is_again = true;
            }
            self.waiting.push_front(place);
            return Fate::Waits;
        }
        if state == State::Waiting {
            self.waiting.retain(|waiting| *waiting != place);
        }
        self.free_place(place);
        Fate::Tell { to: from, verdict }
    }

    fn find(&self, stream: u64, number: u64, is: impl Fn(&State) -> bool) -> Option<u16> {
        let is_it = |slot: &Slot| slot.message.number == number && slot.message.stream == stream && is(&slot.state);
        self.slots.iter().position(is_it).map(|place| place as u16)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(number: u64, is_at_least_once: bool) -> Message {
        Message { number, len: 4, is_at_least_once, ..Message::default() }
    }

    fn put(store: &mut Store, message: Message, from: u32) {
        let place = store.begin(message, from).unwrap();
        store.payload(place).fill(message.number as u8);
        store.finish(place, 0);
    }

    #[test]
    fn a_queue_is_bounded_and_gives_out_in_order() {
        let mut store = Store::new(3, 4).unwrap();
        (0..3).for_each(|number| put(&mut store, message(number, true), 7));
        assert_eq!(store.begin(message(3, true), 7), None);
        for number in 0..3 {
            let (place, message, waited) = store.give(1, 50).unwrap();
            assert_eq!((message.number, store.payload(place), waited), (number, [number as u8; 4].as_mut_slice(), 50));
        }
        assert_eq!((store.waiting(), store.given(), store.free(), store.give(1, 50).is_none()), (0, 3, 0, true));
        assert_eq!(store.settle(0, 1, Verdict::Delivered, 1), Some(Fate::Tell { to: 7, verdict: Verdict::Delivered }));
        assert_eq!(store.settle(0, 1, Verdict::Delivered, 1), None);
        assert!(store.begin(Message { len: 5, ..message(3, true) }, 7).is_none(), "too long");
        assert!(store.begin(message(3, true), 7).is_some());
    }

    #[test]
    fn what_a_lost_worker_had_is_given_out_again_in_order_or_told() {
        let mut store = Store::new(8, 4).unwrap();
        (0..3).for_each(|number| put(&mut store, message(number, true), 7));
        put(&mut store, message(3, false), 7);
        put(&mut store, Message { is_question: true, ..message(4, false) }, 7);
        put(&mut store, message(5, true), 7);
        for _ in 0..5 {
            store.give(1, 0).unwrap();
        }
        let mut told = Vec::new();
        let again = store.lose(1, |_, number, fate| told.push((number, fate)));
        assert_eq!((again, store.given(), store.waiting(), store.free()), (4, 0, 5, 3));
        assert!(told.contains(&(3, Fate::Tell { to: 7, verdict: Verdict::Worker })));
        for (number, is_again) in [(0, true), (1, true), (2, true), (4, true), (5, false)] {
            let (_, message, _) = store.give(2, 0).unwrap();
            assert_eq!((message.number, message.is_again), (number, is_again));
        }
        // The lost one has passed it on before it went: that counts, whoever has it now.
        assert_eq!(store.settle(0, 0, Verdict::Delivered, 1), Some(Fate::Tell { to: 7, verdict: Verdict::Delivered }));
        // But that it broke its own connection does not.
        assert_eq!(store.settle(0, 1, Verdict::Connection, 1), Some(Fate::Waits));
        assert_eq!((store.waiting(), store.given()), (0, 4));
        assert_eq!(store.settle(0, 1, Verdict::Connection, 2), Some(Fate::Waits));
        assert_eq!((store.waiting(), store.given()), (1, 3));
    }

    #[test]
    fn a_message_that_comes_again_is_not_there_twice() {
        let mut store = Store::new(2, 4).unwrap();
        put(&mut store, message(0, true), 7);
        assert!(store.adopt(&message(0, true), 8) && !store.adopt(&message(1, true), 8));
        assert_eq!(store.settle(0, 0, Verdict::Delivered, 1), Some(Fate::Tell { to: 8, verdict: Verdict::Delivered }));
        assert_eq!((store.waiting(), store.free()), (0, 2));
    }
}
