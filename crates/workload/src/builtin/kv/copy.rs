//! Makes the copy of the store that a new replica gets, a little at a time, so that nobody waits for it.

use super::cells::{NIL, PIECE_LEN};
use super::feed::{Link, LinkId, RING_LEN, Step, Word, encoded_len};
use super::store::Store;
use super::value::Kind;

/// Buckets that are copied at once, at most.
const BUCKETS: usize = 1024;
/// Pieces of a long string that are copied at once: 15 KiB.
const PIECES: usize = 256;
/// A bucket is begun with this much room, so that nearly always all of it fits: changes in a half-copied bucket break the link.
const ROOM_FOR_BUCKET: usize = RING_LEN / 2;
/// A part of a key's value is copied with this much room.
const ROOM_FOR_PART: usize = 32 << 10;

/// How far a copy has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// There is more, as soon as the ring has room.
    More,
    Done,
}

impl Store {
    /// Goes on with the copy for a replica.
    pub(super) fn copy(&mut self, id: LinkId) -> Progress {
        let buckets = self.bucket_count();
        let Some(mut cursor) = self.feed.link(id).map(|link| link.cursor) else { return Progress::Done };
        if cursor >= buckets {
            return Progress::Done;
        }
        let end = cursor.saturating_add(BUCKETS);
        while cursor < end.min(buckets) {
            let Some(link) = self.feed.link(id).filter(|link| !link.is_broken) else { return Progress::More };
            let is_begun = link.step.is_some();
            if link.room() < if is_begun { ROOM_FOR_PART } else { ROOM_FOR_BUCKET } {
                return Progress::More;
            }
            if link.offset == 0 {
                link.put(&[Word::Bytes(b"FLUSHALL")]);
            }
            let step = match link.step {
                Some(step) => self.copy_part(id, step),
                None => self.next_in_bucket(cursor, None).map(|entry| self.first_step(entry)),
            };
            let Some(link) = self.feed.link(id) else { return Progress::Done };
            link.step = step;
            if step.is_none() {
                cursor += 1;
                link.cursor = cursor;
            }
        }
        if cursor < buckets {
            return Progress::More;
        }
        if let Some(link) = self.feed.link(id) {
            link.put(&[Word::Bytes(b"COPIED")]);
        }
        Progress::Done
    }

    fn first_step(&self, entry: u32) -> Step {
        Step { entry, done: 0, node: self.cells.entry(entry).first }
    }

    /// Copies a part of a key's value, or all of it, and returns what comes next in its bucket.
    fn copy_part(&mut self, id: LinkId, step: Step) -> Option<Step> {
        let kind = self.kind(step.entry);
        let expires_in = self.expires_in(step.entry);
        let bucket = self.bucket_of_entry(step.entry);
        let len = self.cells.entry(step.entry).len as usize;
        let Self { cells, feed, .. } = self;
        let link = feed.link(id)?;
        let key = Word::Parts(cells.key(step.entry));
        let next = match kind {
            Kind::String => {
                let command: &[u8] = if step.done == 0 { b"SET" } else { b"APPEND" };
                let is_whole = step.node == NIL;
                let part = if is_whole { len } else { (len - step.done).min(PIECES * PIECE_LEN) };
                let value = if is_whole { cells.string(step.entry) } else { cells.parts(&[], step.node, part) };
                link.put(&[Word::Bytes(command), key.clone(), Word::Parts(value)]);
                let done = step.done + part;
                let node = (0..part / PIECE_LEN).fold(step.node, |node, _| cells.piece(node).next);
                (done < len).then_some(Step { done, node, ..step })
            }
            Kind::List => {
                let mut node = step.node;
                let mut is_first = true;
                while node != NIL {
                    let words =
                        [Word::Bytes(b"RPUSH"), key.clone(), Word::Parts(cells.element(node))];
                    // The first one may be larger than the ring: then the link breaks, which is counted.
                    if !is_first && link.room() < encoded_len(&words) + ROOM_FOR_PART / 2 {
                        break;
                    }
                    is_first = false;
                    link.put(&words);
                    node = cells.node(node).after;
                }
                (node != NIL).then_some(Step { node, ..step })
            }
        };
        if next.is_some() {
            return next;
        }
        if let Some(ms) = expires_in {
            put_end(link, key, ms);
        }
        self.next_in_bucket(bucket, Some(step.entry)).map(|entry| self.first_step(entry))
    }
}

fn put_end(link: &mut Link, key: Word<'_>, ms: u64) {
    let ms = resp::IntegerText::new(i64::try_from(ms).unwrap_or(i64::MAX));
    link.put(&[Word::Bytes(b"PEXPIRE"), key, Word::Bytes(ms.as_bytes())]);
}
