//! Bytes on their way from one core to another.

use core::sync::atomic::{AtomicUsize, Ordering};
use core::task::Context;

use bbqueue::BBQueue;
use bbqueue::traits::coordination::cas::AtomicCoord;
use bbqueue::traits::notifier::polling::Polling;
use bbqueue::traits::storage::BoxedSlice;

use crate::bell::Bell;

/// A ring of bytes with one writer and one reader, which both work in its memory, without a lock.
///
/// It carries either a stream ([`put`](Self::put), [`take`](Self::take)) or frames ([`put_frame`](Self::put_frame),
/// [`take_frame`](Self::take_frame)).
pub(crate) struct Ring {
    queue: BBQueue<BoxedSlice, AtomicCoord, Polling>,
    /// Bytes ever written and read; they wrap. Each is written by one side, and only tells how full the ring is about.
    written: AtomicUsize,
    read: AtomicUsize,
    data: Bell,
    room: Bell,
}

impl Ring {
    /// Makes a ring of `len` bytes (at least two), of which one can't always be used.
    pub(crate) fn new(len: usize) -> Self {
        Self {
            queue: BBQueue::new_with_storage(BoxedSlice::new(len.max(2))),
            written: AtomicUsize::new(0),
            read: AtomicUsize::new(0),
            data: Bell::new(),
            room: Bell::new(),
        }
    }

    /// Has `put` fill room that lies together and say how much of it. `None` when there is no room.
    ///
    /// The reader learns of it by [`announce`](Self::announce).
    pub(crate) fn put<R>(&self, put: impl FnOnce(&mut [u8]) -> (usize, R)) -> Option<R> {
        let mut room = self.queue.stream_producer().grant_max_remaining(usize::MAX).ok()?;
        let (len, result) = put(&mut room);
        let len = len.min(room.len());
        room.commit(len);
        self.written.fetch_add(len, Ordering::Relaxed);
        Some(result)
    }

    /// Copies as much of `data` as there is room for, and returns how much that was.
    pub(crate) fn put_slice(&self, data: &[u8]) -> usize {
        let mut done = 0;
        // Twice: room may lie in two pieces.
        for _ in 0..2 {
            let rest = data.get(done..).unwrap_or_default();
            if rest.is_empty() {
                break;
            }
            done += self.put(|room| copy(rest, room)).unwrap_or(0);
        }
        done
    }

    /// Has `take` look at bytes that lie together and say how many of them it has used up. `None` when there are none.
    pub(crate) fn take<R>(&self, take: impl FnOnce(&mut [u8]) -> (usize, R)) -> Option<R> {
        let mut bytes = self.queue.stream_consumer().read().ok()?;
        let (len, result) = take(&mut bytes);
        let len = len.min(bytes.len());
        bytes.release(len);
        self.count_read(len);
        Some(result)
    }

    /// Has `put` write a frame into a place of `len` bytes. `None` when there is no room.
    pub(crate) fn put_frame(&self, len: usize, put: impl FnOnce(&mut [u8])) -> Option<()> {
        let len = u16::try_from(len).ok()?;
        let mut room = self.queue.framed_producer().grant(len).ok()?;
        put(&mut room);
        room.commit(len);
        self.written.fetch_add(usize::from(len), Ordering::Relaxed);
        Some(())
    }

    /// Has `take` look at the next frame; if it returns something, the frame is used up. `None` when there is none.
    pub(crate) fn take_frame<R>(&self, take: impl FnOnce(&[u8]) -> Option<R>) -> Option<Option<R>> {
        let frame = self.queue.framed_consumer().read().ok()?;
        let result = take(&frame);
        if result.is_some() {
            let len = frame.len();
            frame.release();
            self.count_read(len);
        }
        Some(result)
    }

    /// Returns whether there is a frame to take.
    pub(crate) fn has_frame(&self) -> bool {
        self.take_frame(|_| None::<()>).is_some()
    }

    /// Returns whether there is room for a frame of `len` bytes.
    pub(crate) fn has_room_for_frame(&self, len: usize) -> bool {
        u16::try_from(len).is_ok_and(|len| self.queue.framed_producer().grant(len).is_ok())
    }

    /// Throws away what is in the ring; for its reader.
    pub(crate) fn clear(&self) {
        while self.take(|bytes| (bytes.len(), ())).is_some() {}
    }

    /// Wakes the reader if it waits.
    pub(crate) fn announce(&self) {
        self.data.ring();
    }

    /// Has the task woken when there is something to read.
    pub(crate) fn listen_for_data(&self, cx: &Context<'_>) {
        self.data.listen(cx);
    }

    /// Has the task woken when a good part of the ring is free.
    pub(crate) fn listen_for_room(&self, cx: &Context<'_>) {
        self.room.listen(cx);
    }

    /// Wakes both sides, whatever they wait for.
    pub(crate) fn wake(&self) {
        self.data.ring();
        self.room.ring();
    }

    /// A writer that waits has filled the ring, and is woken when a quarter is free: not for every byte.
    fn count_read(&self, len: usize) {
        if len == 0 {
            return;
        }
        let read = self.read.fetch_add(len, Ordering::Relaxed).wrapping_add(len);
        let capacity = self.queue.capacity();
        self.room.ring_if(|| self.written.load(Ordering::Relaxed).wrapping_sub(read) <= capacity - capacity / 4);
    }
}

/// Copies what fits, for [`Ring::put`] and [`Ring::take`].
pub(crate) fn copy(from: &[u8], to: &mut [u8]) -> (usize, usize) {
    let len = from.len().min(to.len());
    if let (Some(from), Some(to)) = (from.get(..len), to.get_mut(..len)) {
        to.copy_from_slice(from);
    }
    (len, len)
}
