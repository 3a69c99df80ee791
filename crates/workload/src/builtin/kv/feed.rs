//! What the replicas are told: every change as a command, each replica in a ring of its own.
//!
//! A replica that connects first gets a copy of the store, bucket by bucket, while the store goes on changing. A change in a
//! bucket that was copied already is told; one in a bucket that comes later is not, because its copy will have it. That is
//! exact, because a key's bucket never changes. The copy (`replica.rs`) goes through the same ring, so its order with the changes is
//! the order in which they happened. A replica that is too slow for its ring is cut off and begins anew.
//! Anybody can say to be one: who confirms nothing makes room for another, and is cut off in any case (`serve.rs`).

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::cells::Parts;

/// Replicas that a store feeds at once.
pub(super) const REPLICAS_MAX: usize = 2;
/// Bytes of a replica's ring.
pub(super) const RING_LEN: usize = 256 << 10;

/// A replica that has confirmed nothing for so many milliseconds makes room when another comes and all places are taken. One
/// that follows confirms twice a second at least.
const SILENT_MS: u64 = 2_000;

/// Tells a replica from all others that there are and were.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LinkId {
    /// Its place.
    pub(super) number: usize,
    edition: u64,
}

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
    /// When it has said last that there are more of them than before, or has connected.
    confirmed_ms: u64,
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

    /// Makes a ring for a new replica and returns what it is known by; `None` when there are enough, or there is no memory.
    pub(super) fn open(&mut self, now_ms: u64) -> Option<LinkId> {
                let is_there = |link: &Link| !link.is_silent(now_ms, SILENT_MS);
        let places = self.links.iter_mut().enumerate();
        let free = places.filter(|(_, link)| !link.as_ref().is_some_and(is_there));
        // One that nobody has before all others.
        let (number, place) = free.min_by_key(|(_, link)| link.as_ref().map(|link| link.confirmed_ms))?;
        *place = None;
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
            confirmed_ms: now_ms,
            cursor: 0,
            step: None,
            is_broken: false,
        });
        Some(LinkId { number, edition: self.opened })
    }

    /// Forgets a replica, if it is still there.
    pub(super) fn close(&mut self, id: LinkId) {
        if let Some(place) = self.links.get_mut(id.number)
            && place.as_ref().is_some_and(|link| link.edition == id.edition)
        {
            *place = None;
        }
    }

    /// Returns a replica; `None` if it had to make room for another.
    pub(super) fn link(&mut self, id: LinkId) -> Option<&mut Link> {
        self.at(id.number).filter(|link| link.edition == id.edition)
    }

    /// Returns the replica that has this place now.
    pub(super) fn at(&mut self, number: usize) -> Option<&mut Link> {
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

    /// Returns whether it has confirmed nothing for so long.
    pub(super) fn is_silent(&self, now_ms: u64, for_ms: u64) -> bool {
        now_ms.saturating_sub(self.confirmed_ms) >= for_ms
    }

    /// Notes how many bytes the replica says it has applied; false if it was never told as many.
    pub(super) fn confirm(&mut self, applied: u64, now_ms: u64) -> bool {
        if applied > self.acknowledged && applied <= self.offset {
            (self.acknowledged, self.confirmed_ms) = (applied, now_ms);
        }
        applied <= self.offset
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replica_makes_room_only_when_it_is_silent_and_another_comes() {
        let mut feed = Feed::new();
        let (one, two) = (feed.open(0).unwrap(), feed.open(0).unwrap());
        for id in [one, two] {
            feed.link(id).unwrap().ask();
        }
        assert_eq!(feed.open(SILENT_MS - 1), None);
        assert!(feed.link(two).unwrap().confirm(5, SILENT_MS - 1));
        // What is confirmed again is nothing new.
        assert!(feed.link(two).unwrap().confirm(5, SILENT_MS + 1));
        let three = feed.open(SILENT_MS + 1).unwrap();
        assert_eq!((three.number, feed.open(SILENT_MS + 1)), (one.number, None));
        // Who had its place before can't do anything with it.
        assert!(feed.link(one).is_none());
        feed.close(one);
        assert!(feed.link(three).is_some() && feed.link(two).is_some());
        feed.close(three);
        assert_eq!(feed.open(SILENT_MS + 1).unwrap().number, three.number);
    }

    #[test]
    fn a_replica_that_confirms_what_it_was_not_told_is_caught() {
        let mut feed = Feed::new();
        let id = feed.open(0).unwrap();
        let link = feed.link(id).unwrap();
        link.ask();
        let told = link.offset;
        assert!(link.confirm(told, 1) && !link.confirm(told + 1, 2) && !link.confirm(u64::MAX, 3));
        assert_eq!(link.acknowledged, told);
        assert!(link.is_silent(11, 10) && !link.is_silent(10, 10));
    }
}
