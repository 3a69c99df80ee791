//! Messages for a receiver that acknowledges them and may be away: kept in order until they have arrived, as long as there
//! is room.
//!
//! Messages are numbered from 1. When there is no room the oldest make it; how many of them had not arrived is counted. So a
//! receiver that sees the numbers knows of every message that it lacks.

use alloc::collections::VecDeque;
use alloc::vec;
use alloc::vec::Vec;

/// A ring of messages in memory that is taken once.
pub struct Outbox {
    entries: VecDeque<Entry>,
    /// Payloads one after the other, wrapping around.
    bytes: Vec<u8>,
    /// Where the next payload goes.
    end: usize,
    used: usize,
    /// Number of the next message.
    next: u64,
    lost: u64,
}

#[derive(Clone, Copy)]
struct Entry {
    number: u64,
    topic: &'static str,
    len: usize,
    start: usize,
}

impl Outbox {
    /// Makes one for at most so many messages, at least one, with so many bytes in all.
    #[must_use]
    pub fn new(messages: usize, bytes: usize) -> Self {
        Self {
            entries: VecDeque::with_capacity(messages.max(1)),
            bytes: vec![0; bytes],
            end: 0,
            used: 0,
            next: 1,
            lost: 0,
        }
    }

    /// Returns the number that the next message will have.
    #[must_use]
    pub fn next_number(&self) -> u64 {
        self.next
    }

    /// Returns how many messages have been lost.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// Returns how many messages have not arrived yet.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Returns whether all messages have arrived.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Adds a message. One that is longer than all of the memory is lost itself.
    pub fn push(&mut self, topic: &'static str, payload: &[u8]) {
        let number = self.next;
        self.next += 1;
        if payload.len() > self.bytes.len() {
            self.lost += 1;
            return;
        }
        while self.used + payload.len() > self.bytes.len() || self.entries.len() == self.entries.capacity() {
            self.drop_oldest();
            self.lost += 1;
        }
        let start = self.end;
        let (first, second) = payload.split_at(payload.len().min(self.bytes.len() - start));
        if let Some(room) = self.bytes.get_mut(start..start + first.len()) {
            room.copy_from_slice(first);
        }
        if let Some(room) = self.bytes.get_mut(..second.len()) {
            room.copy_from_slice(second);
        }
        self.end = if second.is_empty() { start + first.len() } else { second.len() };
        self.used += payload.len();
        self.entries.push_back(Entry { number, topic, len: payload.len(), start });
    }

    /// Replaces `payload` by that of message `number`, or of the oldest behind it that is kept, and returns the message's
    /// number and topic. Returns `None` if there is none yet.
    pub fn read(&self, number: u64, payload: &mut Vec<u8>) -> Option<(u64, &'static str)> {
        let at = self.entries.partition_point(|entry| entry.number < number);
        let entry = self.entries.get(at)?;
        payload.clear();
        let end = (entry.start + entry.len).min(self.bytes.len());
        payload.extend_from_slice(self.bytes.get(entry.start..end)?);
        payload.extend_from_slice(self.bytes.get(..entry.start + entry.len - end)?);
        Some((entry.number, entry.topic))
    }

    /// Forgets all messages up to `number`: they have arrived.
    pub fn acknowledge(&mut self, number: u64) {
        while self.entries.front().is_some_and(|entry| entry.number <= number) {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        if let Some(entry) = self.entries.pop_front() {
            self.used -= entry.len;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_all(outbox: &Outbox, from: u64) -> Vec<(u64, &'static str, Vec<u8>)> {
        let (mut all, mut next, mut payload) = (vec![], from, vec![]);
        while let Some((number, topic)) = outbox.read(next, &mut payload) {
            all.push((number, topic, payload.clone()));
            next = number + 1;
        }
        all
    }

    #[test]
    fn messages_stay_until_they_have_arrived() {
        let mut outbox = Outbox::new(4, 100);
        outbox.push("a", b"one");
        outbox.push("b", b"");
        outbox.push("a", b"three");
        let all = [(1, "a", b"one".to_vec()), (2, "b", vec![]), (3, "a", b"three".to_vec())];
        assert_eq!(read_all(&outbox, 0), all);
        assert_eq!(read_all(&outbox, 3), all[2..]);
        outbox.acknowledge(2);
        assert_eq!(read_all(&outbox, 0), all[2..]);
        outbox.acknowledge(3);
        assert!(outbox.is_empty() && outbox.lost() == 0 && outbox.next_number() == 4);
    }

    #[test]
    fn without_room_the_oldest_are_lost_and_counted() {
        let mut outbox = Outbox::new(3, 1000);
        (0..10).for_each(|_| outbox.push("t", b"x"));
        assert_eq!((read_all(&outbox, 2)[0].0, outbox.len(), outbox.lost()), (8, 3, 7));
        outbox.push("t", &[0; 1001]);
        assert_eq!((outbox.len(), outbox.lost(), outbox.next_number()), (3, 8, 12));
    }

    #[test]
    fn payloads_come_out_as_they_went_in_wherever_they_wrap() {
        for capacity in [7, 50, 64, 1000] {
            let mut outbox = Outbox::new(20, capacity);
            let mut sent = vec![];
            for number in 1..500u64 {
                let payload: Vec<u8> = (0..(number * 7 % 23)).map(|at| (at ^ number) as u8).collect();
                outbox.push("t", &payload);
                sent.push(payload);
                let kept = read_all(&outbox, 0);
                assert!(kept.iter().map(|(_, _, payload)| payload.len()).sum::<usize>() <= capacity);
                for (number, _, payload) in &kept {
                    assert_eq!(*payload, sent[*number as usize - 1], "{number} of {capacity} bytes");
                }
                let arrived = kept.len() as u64 + outbox.lost();
                assert_eq!(arrived, number, "each message is kept or counted");
            }
        }
    }
}
