//! Frames that wait: copies, sorted by when they go on, in memory that is bounded and taken in advance.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use crate::Direction;
use crate::effect::Holds;

/// Longest frame in bytes: 1,500 of payload and the header.
const FRAME_MAX: usize = 1_514;
/// Most frames that wait, of both directions: 1.5 MB, which is 0.1 s of 100 Mbit/s.
pub(crate) const MANY: usize = 1_024;
/// As many as are on their way at once although they do not wait.
pub(crate) const FEW: usize = 64;

struct Entry {
    at_us: u64,
    /// The faults that hold it, as bits.
    holders: u32,
    frame: Vec<u8>,
}

/// See the module.
#[derive(Default)]
pub(crate) struct Held {
    queues: [VecDeque<Entry>; 2],
    free: Vec<Vec<u8>>,
    /// Buffers in all, with those that are lent.
    buffers: usize,
}

impl Held {
    /// Takes the memory for a fault; returns whether there is enough.
    pub(crate) fn reserve(&mut self, holds: Holds) -> bool {
        let wanted = match holds {
            Holds::None => 0,
            Holds::Few => FEW,
            Holds::Many => MANY,
        };
        let more = wanted.saturating_sub(self.buffers);
        let mut is_enough = self.free.try_reserve_exact(wanted.saturating_sub(self.free.len())).is_ok();
        for queue in &mut self.queues {
            is_enough &= queue.try_reserve_exact(wanted.saturating_sub(queue.len())).is_ok();
        }
        for _ in 0..more {
            let mut buffer = Vec::new();
            is_enough = is_enough && buffer.try_reserve_exact(FRAME_MAX).is_ok();
            if !is_enough {
                return false;
            }
            self.free.push(buffer);
            self.buffers += 1;
        }
        is_enough
    }

    /// Gives all memory back, but for what is lent.
    pub(crate) fn release(&mut self) {
        *self = Self::default();
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queues.iter().all(VecDeque::is_empty)
    }

    /// Returns whether it has memory.
    pub(crate) fn has_memory(&self) -> bool {
        self.buffers > 0
    }

    /// Keeps a copy of a frame until a time, behind those of the same time, and gives it to `change`. Returns whether there
    /// is room.
    pub(crate) fn put(
        &mut self,
        direction: Direction,
        at_us: u64,
        holders: u32,
        bytes: &[u8],
        change: impl FnOnce(&mut [u8]),
    ) -> bool {
        if bytes.len() > FRAME_MAX {
            return false;
        }
        let Some(mut frame) = self.free.pop() else { return false };
        frame.clear();
        frame.extend_from_slice(bytes);
        change(&mut frame);
        let queue = self.queue(direction);
        let place = queue.partition_point(|entry| entry.at_us <= at_us);
        queue.insert(place, Entry { at_us, holders, frame });
        true
    }

    /// Returns when the next frame goes on.
    pub(crate) fn next_us(&self, direction: Direction) -> Option<u64> {
        self.queues.get(direction as usize)?.front().map(|entry| entry.at_us)
    }

    /// Takes the next frame if its time has come, and the faults that have held it.
    pub(crate) fn take(&mut self, direction: Direction, now_us: u64) -> Option<(Vec<u8>, u32)> {
        let queue = self.queue(direction);
        queue.front().filter(|entry| entry.at_us <= now_us)?;
        queue.pop_front().map(|entry| (entry.frame, entry.holders))
    }

    /// Takes a buffer back.
    pub(crate) fn give_back(&mut self, buffer: Vec<u8>) {
        // One that was lent when all memory was given back has no place any more.
        if self.free.len() < self.free.capacity() && self.buffers > 0 {
            self.free.push(buffer);
        }
    }

    /// Has frames go on that only this fault holds, in their order.
    pub(crate) fn let_go(&mut self, bit: u32, now_us: u64) {
        for queue in &mut self.queues {
            for entry in queue.iter_mut().filter(|entry| entry.holders & bit != 0) {
                entry.holders &= !bit;
                if entry.holders == 0 {
                    entry.at_us = entry.at_us.min(now_us);
                }
            }
            // Stable: those of the same time stay in their order.
            queue.make_contiguous().sort_by_key(|entry| entry.at_us);
        }
    }

    /// Loses all frames; returns how many.
    pub(crate) fn lose_all(&mut self) -> usize {
        let mut lost = 0;
        for queue in &mut self.queues {
            while let Some(entry) = queue.pop_front() {
                self.free.push(entry.frame);
                lost += 1;
            }
        }
        lost
    }

    fn queue(&mut self, direction: Direction) -> &mut VecDeque<Entry> {
        let [inward, outward] = &mut self.queues;
        if direction == Direction::In { inward } else { outward }
    }
}
