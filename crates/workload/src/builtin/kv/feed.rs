//! What the replicas are told: every change as a command, each replica in a ring of its own.
//!
//! A replica that connects first gets a copy of the store, bucket by bucket, while the store goes on changing. A change in a
//! bucket that was copied already is told; one in a bucket that comes later is not, because its copy will have it. That is
//! exact, because a key's bucket never changes. The copy (`replica.rs`) goes through the same ring, so its order with the changes is
//! the order in which they happened. A replica that is too slow for its ring is cut off and begins anew.

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::cells::Parts;

/// Replicas that a store feeds at once.
pub(super) const REPLICAS_MAX: usize = 2;
/// Bytes of a replica's ring.
pub(super) const RING_LEN: usize = 256 << 10;

/// An argument of a command for the replicas.
#[derive(Clone)]
pub(super) enum Word<'a> {
    Bytes(&'a [u8]),
    Parts(Parts<'a>),
}

impl Word<'_> {
    fn len(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::Parts(parts) => parts.len(),
        }
    }
}

/// Returns how many bytes a command has at most.
pub(super) fn encoded_len(words: &[Word<'_>]) -> usize {
    words.iter().map(|word| word.len() + 2 * resp::INTEGER_LEN_MAX).sum::<usize>() + resp::INTEGER_LEN_MAX
}

/// The rings of all replicas.
pub(super) struct Feed {
    links: [Option<Link>; REPLICAS_MAX],
    /// Links that there were.
    opened: u64,
}

/// One replica's.
pub(super) struct Link {
    /// Which one of all that there were.
    pub(super) edition: u64,
    ring: Box<[u8]>,
    start: usize,
    len: usize,
    /// Bytes put into the ring since the replica connected.
    pub(super) offset: u64,
    /// Bytes that the replica says it has applied.
    pub(super) acknowledged: u64,
    /// Buckets below this one were copied.
    pub(super) cursor: usize,
    /// How far the copy of the bucket at the cursor has come, if it takes several steps.
    pub(super) step: Option<Step>,
    /// The replica has to begin anew.
    pub(super) is_broken: bool,
}

/// A key of which a part was copied.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    pub(super) entry: u32,
    /// Bytes of a string, or elements of a list, that were copied.
    pub(super) done: usize,
    /// The next element of a list.
    pub(super) node: u32,
}

impl Feed {
    pub(super) const fn new() -> Self {
        Self { links: [const { None }; REPLICAS_MAX], opened: 0 }
    }

    /// Returns whether anybody listens.
    pub(super) fn has_readers(&self) -> bool {
        self.links.iter().any(Option::is_some)
    }

    /// Makes a ring for a new replica and returns its number; `None` when there are enough, or there is no memory.
    pub(super) fn open(&mut self) -> Option<usize> {
        let (number, place) = self.links.iter_mut().enumerate().find(|(_, link)| link.is_none())?;
        let mut ring = Vec::new();
        ring.try_reserve_exact(RING_LEN).ok()?;
        ring.resize(RING_LEN, 0);
        self.opened += 1;
        *place = Some(Link {
            edition: self.opened,
            ring: ring.into_boxed_slice(),
            start: 0,
            len: 0,
            offset: 0,
            acknowledged: 0,
            cursor: 0,
            step: None,
            is_broken: false,
        });
        Some(number)
    }

    /// Forgets a replica.
    pub(super) fn close(&mut self, number: usize) {
        if let Some(place) = self.links.get_mut(number) {
            *place = None;
        }
    }

    pub(super) fn link(&mut self, number: usize) -> Option<&mut Link> {
        self.links.get_mut(number)?.as_mut()
    }

    /// Returns all replicas.
    pub(super) fn links(&self) -> impl Iterator<Item = &Link> {
        self.links.iter().flatten()
    }

    /// Tells a command that changes a key of `bucket`.
    pub(super) fn tell(&mut self, bucket: usize, words: &[Word<'_>]) {
        for link in self.links.iter_mut().flatten() {
            if bucket < link.cursor {
                link.put(words);
            } else if bucket == link.cursor && link.step.is_some() {
                // Half of the bucket was copied: which half the change belongs to nobody knows.
                link.is_broken = true;
            }
        }
    }
}

impl Link {
    /// Returns how many bytes the ring has room for.
    pub(super) fn room(&self) -> usize {
        self.ring.len() - self.len
    }

    /// Returns whether everything was taken.
    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Asks the replica how far it is, and tells it how far that should be.
    pub(super) fn ask(&mut self) {
        let offset = resp::IntegerText::new(i64::try_from(self.offset).unwrap_or(i64::MAX));
        self.put(&[Word::Bytes(b"OFFSET"), Word::Bytes(offset.as_bytes())]);
    }

    /// Puts a command into the ring; if it has no room for it, the replica has to begin anew.
    pub(super) fn put(&mut self, words: &[Word<'_>]) {
        if self.is_broken || self.room() < encoded_len(words) {
            self.is_broken = true;
            return;
        }
        resp::array(self, words.len());
        for word in words {
            resp::bulk_header(self, word.len());
            match word {
                Word::Bytes(bytes) => resp::Sink::put(self, bytes),
                Word::Parts(parts) => parts.clone().for_each(|part| resp::Sink::put(self, part)),
            }
            resp::Sink::put(self, b"\r\n");
        }
    }

    /// Moves bytes from the ring to `room` and returns how many.
    pub(super) fn drain(&mut self, room: &mut [u8]) -> usize {
        let end = (self.start + self.len).min(self.ring.len());
        let ready = self.ring.get(self.start..end).unwrap_or_default();
        let len = ready.len().min(room.len());
        if let (Some(to), Some(from)) = (room.get_mut(..len), ready.get(..len)) {
            to.copy_from_slice(from);
        }
        self.start = (self.start + len) % self.ring.len();
        self.len -= len;
        len
    }
}

impl resp::Sink for Link {
    fn put(&mut self, bytes: &[u8]) {
        // `Link::put` has seen to it that there is room.
        let end = (self.start + self.len) % self.ring.len();
        let first = (self.ring.len() - end).min(bytes.len());
        let (now, wrapped) = bytes.split_at_checked(first).unwrap_or((bytes, &[]));
        if let Some(to) = self.ring.get_mut(end..end + now.len()) {
            to.copy_from_slice(now);
        }
        if let Some(to) = self.ring.get_mut(..wrapped.len()) {
            to.copy_from_slice(wrapped);
        }
        self.len += bytes.len();
        self.offset += bytes.len() as u64;
    }
}
