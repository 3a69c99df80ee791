//! Keys, their values, and when they end.
//!
//! A hash table of chained entries over [`Cells`]. The table is as large from the start as the memory can ever need, because
//! every key takes at least a cell: it never grows, so no request waits for that, and a key's bucket never changes, which
//! walks (SCAN, expiry, a replica's copy) rely on. A cell of 64 bytes holds a key of 16 bytes with a value of 8.
//!
//! Every change goes through a function here, which also tells it to the replicas ([`Feed`]). A change that finds no memory
//! changes nothing.

use alloc::vec::Vec;
use core::hash::Hasher as _;

use siphasher::sip::SipHasher13;

use super::cells::{BLOCK_CELLS, CELL_LEN, Cells, Chain, ENTRY_ROOM, Entry, Full, NIL, Parts, pieces};
use super::feed::{Feed, Word};
use super::value::{Expiry, Kind, Refusal, Value};

/// Longest key in bytes.
pub(super) const KEY_LEN_MAX: usize = 1024;
/// Cells per bucket of the table.
const CELLS_PER_BUCKET: usize = 2;
/// Buckets that a change which finds no memory searches for keys that have ended, and how often. 4096 take about 0.1 ms.
const SEARCH: (usize, u32) = (1024, 4);

/// What has happened since the start.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub(super) hits: u64,
    pub(super) misses: u64,
    pub(super) expired: u64,
}

/// The store.
pub(super) struct Store {
    pub(super) cells: Cells,
    pub(super) feed: Feed,
    pub(super) counts: Counts,
    table: Vec<u32>,
    /// Keys of the hash function: who does not know them can't make keys that all fall into one bucket.
    seed: (u64, u64),
    entries: usize,
    /// Entries that have an end.
    expiring: usize,
    /// Elements of deleted lists, linked by `after`: given back a few at a time.
    garbage: u32,
    /// Where the search for keys that have ended goes on.
    sweep_at: usize,
    /// Cells that values leave to requests that arrive and replies that leave.
    reserve: usize,
    now_ms: u64,
}

impl Store {
    /// Makes a store without memory; `seed` should be unpredictable.
    pub(super) const fn new(seed: (u64, u64)) -> Self {
        Self {
            cells: Cells::new(),
            feed: Feed::new(),
            counts: Counts { hits: 0, misses: 0, expired: 0 },
            table: Vec::new(),
            seed,
            entries: 0,
            expiring: 0,
            garbage: NIL,
            sweep_at: 0,
            reserve: 0,
            now_ms: 0,
        }
    }

    /// Returns how many blocks of cells `memory` bytes are good for, beside the table.
    pub(super) fn blocks(memory: usize) -> usize {
        let cells = memory / CELL_LEN;
        let table = Self::buckets(cells) * size_of::<u32>();
        memory.saturating_sub(table) / (BLOCK_CELLS * CELL_LEN)
    }

    fn buckets(cells: usize) -> usize {
        // A power of two, for the sake of the mask; at most two cells per bucket.
        (cells / CELLS_PER_BUCKET).next_power_of_two()
    }

    /// Makes the table, once all cells are there.
    ///
    /// # Errors
    ///
    /// When the heap has no room for it.
    pub(super) fn open(&mut self, memory: usize) -> Result<(), Full> {
        let buckets = Self::buckets(memory / CELL_LEN);
        self.table.try_reserve_exact(buckets).map_err(|_| Full)?;
        self.table.resize(buckets, NIL);
        self.reserve = self.cells.total() / 8;
        Ok(())
    }

    /// Sets the time for what comes, in ms; it never goes back.
    pub(super) fn set_now(&mut self, now_ms: u64) {
        self.now_ms = now_ms.max(self.now_ms);
    }

    pub(super) fn now_ms(&self) -> u64 {
        self.now_ms
    }

    /// Returns how many keys there are, with those that have ended and were not found yet.
    pub(super) fn len(&self) -> usize {
        self.entries
    }

    /// Returns how many of them have an end.
    pub(super) fn expiring(&self) -> usize {
        self.expiring
    }

    /// Returns the bytes in use: cells and table.
    pub(super) fn used_bytes(&self) -> usize {
        self.cells.used() * CELL_LEN + self.table.len() * size_of::<u32>()
    }

    /// Returns the bytes at which values are refused.
    pub(super) fn limit_bytes(&self) -> usize {
        (self.cells.total() - self.reserve) * CELL_LEN + self.table.len() * size_of::<u32>()
    }

    /// Returns how many buckets a walk goes through.
    pub(super) fn bucket_count(&self) -> usize {
        self.table.len()
    }

    /// Returns the first entry of a bucket that has not ended, or the next one after `entry`.
    pub(super) fn next_in_bucket(&self, bucket: usize, entry: Option<u32>) -> Option<u32> {
        let first = || self.table.get(bucket).copied().unwrap_or(NIL);
        let mut id = entry.map_or_else(first, |entry| self.cells.entry(entry).next);
        while id != NIL && self.has_ended(id) {
            id = self.cells.entry(id).next;
        }
        (id != NIL).then_some(id)
    }

    /// Returns the entry of a key, as reads want it: counted.
    pub(super) fn look_up(&mut self, key: &[u8]) -> Option<u32> {
        let found = self.find(key);
        match found {
            Some(_) => self.counts.hits += 1,
            None => self.counts.misses += 1,
        }
        found
    }

    /// Returns the entry of a key. One that has ended is deleted.
    pub(super) fn find(&mut self, key: &[u8]) -> Option<u32> {
        let hash = self.hash(key);
        let mut id = self.table.get(self.bucket_of(hash)).copied().unwrap_or(NIL);
        while id != NIL {
            let entry = self.cells.entry(id);
            if entry.hash == hash && usize::from(entry.key_len) == key.len() && self.key(id).is(key) {
                if self.has_ended(id) {
                    self.expire(id);
                    return None;
                }
                return Some(id);
            }
            id = entry.next;
        }
        None
    }

    /// As [`Store::find`], for a key that must be of a type.
    pub(super) fn find_kind(&mut self, key: &[u8], kind: Kind) -> Result<Option<u32>, Refusal> {
        let found = self.find(key);
        self.check(found, kind)
    }

    /// As [`Store::look_up`], for a key that must be of a type.
    pub(super) fn look_up_kind(&mut self, key: &[u8], kind: Kind) -> Result<Option<u32>, Refusal> {
        let found = self.look_up(key);
        self.check(found, kind)
    }

    fn check(&self, found: Option<u32>, kind: Kind) -> Result<Option<u32>, Refusal> {
        if found.is_some_and(|id| self.kind(id) != kind) { Err(Refusal::Type) } else { Ok(found) }
    }

    pub(super) fn kind(&self, id: u32) -> Kind {
        if self.cells.entry(id).kind == Kind::List as u8 { Kind::List } else { Kind::String }
    }

    pub(super) fn key(&self, id: u32) -> Parts<'_> {
        self.cells.key(id)
    }

    /// Returns a string.
    pub(super) fn string(&self, id: u32) -> Parts<'_> {
        self.cells.string(id)
    }

    /// Returns when a key ends: ms from now; `None` if never.
    pub(super) fn expires_in(&self, id: u32) -> Option<u64> {
        let end = self.cells.entry(id).expires_ms;
        (end != 0).then(|| end.saturating_sub(self.now_ms))
    }

    /// Sets a key to a string.
    pub(super) fn set(&mut self, key: &[u8], value: Value<'_>, expiry: Expiry) -> Result<(), Refusal> {
        let result = self.set_value(key, value);
        match (result, value) {
            (Ok(id), _) => {
                self.set_end(id, expiry);
                self.tell_set(id);
                Ok(())
            }
            (Err(refusal), Value::Chain(chain)) => {
                self.cells.give_back_chain(chain);
                Err(refusal)
            }
            (Err(refusal), Value::Bytes(_)) => Err(refusal),
        }
    }

    /// Adds to a number and returns the sum.
    pub(super) fn add(&mut self, key: &[u8], by: i64) -> Result<i64, Refusal> {
        let number = match self.find_kind(key, Kind::String)? {
            None => 0,
            Some(id) => {
                let mut text = [0; resp::INTEGER_LEN_MAX + 1];
                resp::parse_integer(self.string(id).copy_to(&mut text)).ok_or(Refusal::Integer)?
            }
        };
        let sum = number.checked_add(by).ok_or(Refusal::Overflow)?;
        self.set(key, Value::Bytes(resp::IntegerText::new(sum).as_bytes()), Expiry::Keep)?;
        Ok(sum)
    }

    /// Adds to the end of a string and returns its new length.
    pub(super) fn append(&mut self, key: &[u8], value: Value<'_>) -> Result<usize, Refusal> {
        let result = match self.find_kind(key, Kind::String) {
            Ok(None) => return self.set(key, value, Expiry::Never).map(|()| value.len()),
            Ok(Some(id)) => self.extend(id, value),
            Err(refusal) => Err(refusal),
        };
        if result.is_ok() && self.feed.has_readers() {
            let hash = self.hash(key);
            let bucket = self.bucket_of(hash);
            let Self { cells, feed, .. } = self;
            let parts = match value {
                Value::Bytes(bytes) => cells.parts(bytes, NIL, bytes.len()),
                Value::Chain(chain) => cells.chain_parts(chain),
            };
            feed.tell(bucket, &[Word::Bytes(b"APPEND"), Word::Bytes(key), Word::Parts(parts)]);
        }
        if let Value::Chain(chain) = value {
            self.cells.give_back_chain(chain);
        }
        result
    }

    fn extend(&mut self, id: u32, value: Value<'_>) -> Result<usize, Refusal> {
        let Entry { len, first, last, .. } = *self.cells.entry(id);
        let old = if first == NIL { Chain::EMPTY } else { Chain { first, last, len: len as usize } };
        let total = len as usize + value.len();
        self.make_room(pieces(total) - pieces(old.len), 0)?;
        let mut chain = old;
        if first == NIL {
            let mut short = [0; ENTRY_ROOM];
            let short = self.string(id).copy_to(&mut short);
            self.cells.append(&mut chain, short)?;
        }
        match value {
            Value::Bytes(bytes) => self.cells.append(&mut chain, bytes)?,
            Value::Chain(from) => self.cells.append_chain(&mut chain, from)?,
        }
        let entry = self.cells.entry_mut(id);
        (entry.first, entry.last, entry.len) = (chain.first, chain.last, total as u32);
        Ok(total)
    }

    /// Deletes a key and returns whether there was one.
    pub(super) fn delete(&mut self, key: &[u8]) -> bool {
        let Some(id) = self.find(key) else { return false };
        self.tell_delete(id);
        self.remove(id);
        true
    }

    /// Sets or takes away the end of a key.
    pub(super) fn end_at(&mut self, id: u32, expires_ms: Option<u64>) {
        self.set_end(id, expires_ms.map_or(Expiry::Never, Expiry::At));
        let ms = self.expires_in(id).map(|ms| resp::IntegerText::new(i64::try_from(ms).unwrap_or(i64::MAX)));
        let bucket = self.bucket_of_entry(id);
        let Self { cells, feed, .. } = self;
        let key = Word::Parts(cells.key(id));
        match &ms {
            Some(ms) => feed.tell(bucket, &[Word::Bytes(b"PEXPIRE"), key, Word::Bytes(ms.as_bytes())]),
            None => feed.tell(bucket, &[Word::Bytes(b"PERSIST"), key]),
        }
    }

    /// Deletes every key. Takes some ms when there are many.
    pub(super) fn clear(&mut self) {
        for bucket in 0..self.table.len() {
            while let Some(id) = self.table.get(bucket).copied().filter(|id| *id != NIL) {
                self.remove(id);
            }
        }
        self.feed.tell(0, &[Word::Bytes(b"FLUSHALL")]);
    }

    /// Looks through `buckets` buckets for keys that have ended, and gives back some elements of deleted lists.
    pub(super) fn sweep(&mut self, buckets: usize) {
        self.collect(buckets);
        if self.expiring == 0 {
            return;
        }
        for _ in 0..buckets {
            self.sweep_at = if self.sweep_at + 1 < self.table.len() { self.sweep_at + 1 } else { 0 };
            let mut id = self.table.get(self.sweep_at).copied().unwrap_or(NIL);
            while id != NIL {
                let next = self.cells.entry(id).next;
                if self.has_ended(id) {
                    self.expire(id);
                }
                id = next;
            }
        }
    }

    /// Makes sure that `cells` more can be taken, of which `freed` are given back before, without touching the reserve.
    pub(super) fn make_room(&mut self, cells: usize, freed: usize) -> Result<(), Full> {
        let mut searches = 0;
        while self.cells.available() + freed < cells + self.reserve {
            if self.collect(64) {
                continue;
            }
            if searches == SEARCH.1 || self.expiring == 0 {
                return Err(Full);
            }
            searches += 1;
            self.sweep(SEARCH.0);
        }
        Ok(())
    }

    /// Returns how many cells a new key takes, without its value.
    pub(super) fn key_cells(key: &[u8]) -> usize {
        1 + pieces(key.len().saturating_sub(ENTRY_ROOM))
    }

    /// Returns the cells that a string of `len` bytes takes beside its entry.
    pub(super) fn value_cells(key_len: usize, len: usize) -> usize {
        if key_len + len <= ENTRY_ROOM { 0 } else { pieces(len) }
    }

    /// Makes an entry for a key that there is none of. The caller has made room, and sets the value.
    pub(super) fn insert(&mut self, key: &[u8], kind: Kind) -> Result<u32, Refusal> {
        let key_len = u16::try_from(key.len()).ok().filter(|len| usize::from(*len) <= KEY_LEN_MAX);
        let key_len = key_len.ok_or(Refusal::KeyLength)?;
        let (head, rest) = key.split_at_checked(ENTRY_ROOM).unwrap_or((key, &[]));
        let rest = self.cells.chain(rest)?;
        let hash = self.hash(key);
        let bucket = self.bucket_of(hash);
        let id = self.cells.take().inspect_err(|_| self.cells.give_back_chain(rest))?;
        let next = self.table.get(bucket).copied().unwrap_or(NIL);
        let mut data = [0; ENTRY_ROOM];
        if let Some(to) = data.get_mut(..head.len()) {
            to.copy_from_slice(head);
        }
        *self.cells.entry_mut(id) = Entry {
            rest: rest.first,
            rest_last: rest.last,
            next,
            hash,
            expires_ms: 0,
            len: 0,
            first: NIL,
            last: NIL,
            key_len,
            kind: kind as u8,
            spare: 0,
            data,
        };
        if let Some(place) = self.table.get_mut(bucket) {
            *place = id;
        }
        self.entries += 1;
        Ok(id)
    }

    /// Takes an entry out of the table and gives back its cells.
    pub(super) fn remove(&mut self, id: u32) {
        self.set_end(id, Expiry::Never);
        self.give_back_value(id);
        let entry = *self.cells.entry(id);
        let bucket = self.bucket_of(entry.hash);
        let mut at = self.table.get(bucket).copied().unwrap_or(NIL);
        if at == id {
            if let Some(place) = self.table.get_mut(bucket) {
                *place = entry.next;
            }
        } else {
            while at != NIL {
                let next = self.cells.entry(at).next;
                if next == id {
                    self.cells.entry_mut(at).next = entry.next;
                    break;
                }
                at = next;
            }
        }
        let rest_len = usize::from(entry.key_len).saturating_sub(ENTRY_ROOM);
        self.cells.give_back(entry.rest, entry.rest_last, pieces(rest_len));
        self.cells.give_back(id, id, 1);
        self.entries -= 1;
    }

    /// Adds elements that nothing refers to any more, from `first` to `last`.
    pub(super) fn discard_nodes(&mut self, first: u32, last: u32) {
        if first != NIL {
            self.cells.node_mut(last).after = self.garbage;
            self.garbage = first;
        }
    }

    pub(super) fn bucket_of_entry(&self, id: u32) -> usize {
        self.bucket_of(self.cells.entry(id).hash)
    }

    fn set_value(&mut self, key: &[u8], value: Value<'_>) -> Result<u32, Refusal> {
        let needed = match value {
            Value::Bytes(bytes) => Self::value_cells(key.len(), bytes.len()),
            // Are taken already.
            Value::Chain(_) => 0,
        };
        let id = match self.find(key) {
            Some(id) => {
                let entry = self.cells.entry(id);
                let is_chain = entry.kind == Kind::String as u8 && entry.first != NIL;
                let freed = if is_chain { pieces(entry.len as usize) } else { 0 };
                self.make_room(needed, freed)?;
                self.give_back_value(id);
                id
            }
            None => {
                self.make_room(Self::key_cells(key) + needed, 0)?;
                self.insert(key, Kind::String)?
            }
        };
        let chain = match value {
            Value::Bytes(bytes) if needed == 0 => {
                let entry = self.cells.entry_mut(id);
                let start = usize::from(entry.key_len);
                if let Some(to) = entry.data.get_mut(start..start + bytes.len()) {
                    to.copy_from_slice(bytes);
                }
                Chain { len: bytes.len(), ..Chain::EMPTY }
            }
            Value::Bytes(bytes) => self.cells.chain(bytes)?,
            Value::Chain(chain) => chain,
        };
        let entry = self.cells.entry_mut(id);
        (entry.first, entry.last, entry.len) = (chain.first, chain.last, chain.len as u32);
        Ok(id)
    }

    /// Leaves an entry with an empty string.
    fn give_back_value(&mut self, id: u32) {
        let Entry { first, last, len, kind, .. } = *self.cells.entry(id);
        if kind == Kind::List as u8 {
            self.discard_nodes(first, last);
        } else if first != NIL {
            self.cells.give_back_chain(Chain { first, last, len: len as usize });
        }
        let entry = self.cells.entry_mut(id);
        (entry.first, entry.last, entry.len, entry.kind) = (NIL, NIL, 0, Kind::String as u8);
    }

    /// Gives back up to `count` elements of deleted lists; returns whether there were any.
    fn collect(&mut self, count: usize) -> bool {
        for done in 0..count {
            if self.garbage == NIL {
                return done > 0;
            }
            let id = self.garbage;
            self.garbage = self.cells.node(id).after;
            self.give_back_node(id);
        }
        true
    }

    fn set_end(&mut self, id: u32, expiry: Expiry) {
        let end = match expiry {
            Expiry::Keep => return,
            Expiry::Never => 0,
            Expiry::At(ms) => ms.max(1),
        };
        let before = core::mem::replace(&mut self.cells.entry_mut(id).expires_ms, end);
        self.expiring = self.expiring + usize::from(end != 0) - usize::from(before != 0);
    }

    fn has_ended(&self, id: u32) -> bool {
        let end = self.cells.entry(id).expires_ms;
        end != 0 && end <= self.now_ms
    }

    fn expire(&mut self, id: u32) {
        self.counts.expired += 1;
        self.tell_delete(id);
        self.remove(id);
    }

    fn tell_set(&mut self, id: u32) {
        if !self.feed.has_readers() {
            return;
        }
        let ms = self.expires_in(id).map(|ms| resp::IntegerText::new(i64::try_from(ms).unwrap_or(i64::MAX)));
        let bucket = self.bucket_of_entry(id);
        let Self { cells, feed, .. } = self;
        let (set, key, value) = (Word::Bytes(b"SET"), Word::Parts(cells.key(id)), Word::Parts(cells.string(id)));
        match &ms {
            Some(ms) => feed.tell(bucket, &[set, key, value, Word::Bytes(b"PX"), Word::Bytes(ms.as_bytes())]),
            None => feed.tell(bucket, &[set, key, value]),
        }
    }

    fn tell_delete(&mut self, id: u32) {
        let bucket = self.bucket_of_entry(id);
        let Self { cells, feed, .. } = self;
        feed.tell(bucket, &[Word::Bytes(b"DEL"), Word::Parts(cells.key(id))]);
    }

    fn hash(&self, key: &[u8]) -> u32 {
        let mut hasher = SipHasher13::new_with_keys(self.seed.0, self.seed.1);
        hasher.write(key);
        // The lower half; the table has fewer buckets than that.
        hasher.finish() as u32
    }

    fn bucket_of(&self, hash: u32) -> usize {
        hash as usize & self.table.len().wrapping_sub(1)
    }
}
