//! The store's memory: cells of 64 bytes, handed out and taken back in no time that depends on how many there are.
//!
//! All of it is taken from the heap at the start, in blocks, so that serving allocates nothing there and what the store uses
//! is known to the cell. Strings are chains of cells; a whole chain goes back to the list of free cells at once.

use alloc::boxed::Box;
use alloc::vec::Vec;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, transmute_mut, transmute_ref};

/// Bytes of a cell.
pub(super) const CELL_LEN: usize = 64;
/// Bytes of a string that a cell holds which is nothing else.
pub(super) const PIECE_LEN: usize = 60;
/// Bytes of an element that its first cell holds.
pub(super) const NODE_ROOM: usize = 44;
/// Bytes of a key, and of a short value behind it, that an entry's first cell holds.
pub(super) const ENTRY_ROOM: usize = 24;
/// Cells of a block: 64 KiB, so that the heap is not asked for one huge piece.
pub(super) const BLOCK_CELLS: usize = 1024;
/// No cell.
pub(super) const NIL: u32 = u32::MAX;

#[derive(Clone, Copy)]
#[repr(align(64))]
struct Cell([u64; 8]);

/// A cell that holds a part of a string.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct Piece {
    /// The next cell of the chain, or of the list of free cells.
    pub(super) next: u32,
    pub(super) data: [u8; PIECE_LEN],
}

/// The first cell of an element of a list.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct Node {
    /// Pieces with the rest of the element.
    pub(super) rest: u32,
    pub(super) rest_last: u32,
    /// Bytes of the element.
    pub(super) len: u32,
    pub(super) before: u32,
    pub(super) after: u32,
    pub(super) data: [u8; NODE_ROOM],
}

/// The first cell of a key with its value.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct Entry {
    /// Pieces with the rest of the key.
    pub(super) rest: u32,
    pub(super) rest_last: u32,
    /// The next entry of the same bucket.
    pub(super) next: u32,
    pub(super) hash: u32,
    /// When it ends, in ms of the store's clock; 0 for never.
    pub(super) expires_ms: u64,
    /// A string's bytes; a list's elements.
    pub(super) len: u32,
    /// A string's pieces, unless it is behind the key; a list's elements.
    pub(super) first: u32,
    pub(super) last: u32,
    pub(super) key_len: u16,
    /// A `Kind`.
    pub(super) kind: u8,
    pub(super) spare: u8,
    /// The key, and behind it a string that is short enough.
    pub(super) data: [u8; ENTRY_ROOM],
}

/// A string in pieces. Whoever has one must give it back or away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Chain {
    pub(super) first: u32,
    pub(super) last: u32,
    /// Its bytes.
    pub(super) len: usize,
}

impl Chain {
    pub(super) const EMPTY: Self = Self { first: NIL, last: NIL, len: 0 };
}

/// Where a stored string is, for when the cells can't be borrowed.
#[derive(Clone, Copy, Debug)]
pub(super) enum Text {
    /// The key of an entry.
    Key(u32),
    /// The string of an entry.
    String(u32),
    /// An element of a list.
    Element(u32),
    /// One that arrived.
    Chain(Chain),
}

/// No cell is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Full;

/// Returns how many pieces `len` bytes take.
pub(super) fn pieces(len: usize) -> usize {
    len.div_ceil(PIECE_LEN)
}

/// The memory.
pub(super) struct Cells {
    blocks: Vec<Box<[Cell]>>,
    /// Cells that were used before.
    free: u32,
    /// The first of the cells that never were.
    fresh: u32,
    total: u32,
    used: u32,
}

impl Cells {
    /// Makes a memory without cells.
    pub(super) const fn new() -> Self {
        Self { blocks: Vec::new(), free: NIL, fresh: 0, total: 0, used: 0 }
    }

    /// Adds a block of [`BLOCK_CELLS`] cells from the heap.
    ///
    /// # Errors
    ///
    /// When the heap has no room for it.
    pub(super) fn add_block(&mut self) -> Result<(), Full> {
        let mut block = Vec::new();
        block.try_reserve_exact(BLOCK_CELLS).map_err(|_| Full)?;
        self.blocks.try_reserve(1).map_err(|_| Full)?;
        block.resize(BLOCK_CELLS, Cell([0; 8]));
        self.blocks.push(block.into_boxed_slice());
        self.total += BLOCK_CELLS as u32;
        Ok(())
    }

    /// Returns how many cells there are.
    pub(super) fn total(&self) -> usize {
        self.total as usize
    }

    /// Returns how many of them are in use.
    pub(super) fn used(&self) -> usize {
        self.used as usize
    }

    /// Returns how many of them are not.
    pub(super) fn available(&self) -> usize {
        (self.total - self.used) as usize
    }

    fn cell(&self, id: u32) -> &[u64; 8] {
        static NONE: [u64; 8] = [0; 8];
        let id = id as usize;
        match self.blocks.get(id / BLOCK_CELLS).and_then(|block| block.get(id % BLOCK_CELLS)) {
            Some(cell) => &cell.0,
            // Only a broken link leads here.
            None => &NONE,
        }
    }

    #[expect(clippy::panic, reason = "a link that leads nowhere is a bug of ours, and writing elsewhere would spread it")]
    fn cell_mut(&mut self, id: u32) -> &mut [u64; 8] {
        let at = id as usize;
        match self.blocks.get_mut(at / BLOCK_CELLS).and_then(|block| block.get_mut(at % BLOCK_CELLS)) {
            Some(cell) => &mut cell.0,
            None => panic!("cell {id} does not exist"),
        }
    }

    pub(super) fn piece(&self, id: u32) -> &Piece {
        transmute_ref!(self.cell(id))
    }

    pub(super) fn piece_mut(&mut self, id: u32) -> &mut Piece {
        transmute_mut!(self.cell_mut(id))
    }

    pub(super) fn node(&self, id: u32) -> &Node {
        transmute_ref!(self.cell(id))
    }

    pub(super) fn node_mut(&mut self, id: u32) -> &mut Node {
        transmute_mut!(self.cell_mut(id))
    }

    pub(super) fn entry(&self, id: u32) -> &Entry {
        transmute_ref!(self.cell(id))
    }

    pub(super) fn entry_mut(&mut self, id: u32) -> &mut Entry {
        transmute_mut!(self.cell_mut(id))
    }

    /// Takes a cell; what is in it is left over from its last use.
    pub(super) fn take(&mut self) -> Result<u32, Full> {
        let id = if self.free != NIL {
            let id = self.free;
            self.free = self.piece(id).next;
            id
        } else if self.fresh < self.total {
            self.fresh += 1;
            self.fresh - 1
        } else {
            return Err(Full);
        };
        self.used += 1;
        Ok(id)
    }

    /// Gives back the `count` cells from `first` to `last`, which are linked by their first word.
    pub(super) fn give_back(&mut self, first: u32, last: u32, count: usize) {
        if count > 0 {
            self.piece_mut(last).next = self.free;
            self.free = first;
            self.used -= count as u32;
        }
    }

    /// Gives back a chain.
    pub(super) fn give_back_chain(&mut self, chain: Chain) {
        self.give_back(chain.first, chain.last, pieces(chain.len));
    }

    /// Adds `bytes` to the end of a chain.
    ///
    /// # Errors
    ///
    /// When the cells run out; the chain then has as many bytes as it says.
    pub(super) fn append(&mut self, chain: &mut Chain, mut bytes: &[u8]) -> Result<(), Full> {
        while !bytes.is_empty() {
            let filled = chain.len % PIECE_LEN;
            if filled == 0 {
                let id = self.take()?;
                self.piece_mut(id).next = NIL;
                match chain.last {
                    NIL => chain.first = id,
                    last => self.piece_mut(last).next = id,
                }
                chain.last = id;
            }
            let piece = self.piece_mut(chain.last);
            let room = piece.data.get_mut(filled..).unwrap_or_default();
            let len = room.len().min(bytes.len());
            let (now, later) = bytes.split_at_checked(len).unwrap_or_default();
            if let Some(to) = room.get_mut(..len) {
                to.copy_from_slice(now);
            }
            chain.len += len;
            bytes = later;
        }
        Ok(())
    }

    /// Adds the bytes of `from` to the end of a chain; `from` stays as it is.
    ///
    /// # Errors
    ///
    /// As for [`Cells::append`].
    pub(super) fn append_chain(&mut self, chain: &mut Chain, from: Chain) -> Result<(), Full> {
        let (mut id, mut left) = (from.first, from.len);
        while left > 0 {
            let piece = *self.piece(id);
            let len = left.min(PIECE_LEN);
            self.append(chain, piece.data.get(..len).unwrap_or_default())?;
            left -= len;
            id = piece.next;
        }
        Ok(())
    }

    /// Adds a stored string, which is not this chain, to the end of a chain.
    ///
    /// # Errors
    ///
    /// As for [`Cells::append`].
    pub(super) fn append_text(&mut self, chain: &mut Chain, text: Text) -> Result<(), Full> {
        let parts = self.text(text);
        let (next, len) = (parts.next, parts.left);
        let mut head = [0; PIECE_LEN];
        let head_len = parts.head.len().min(len).min(PIECE_LEN);
        if let (Some(to), Some(from)) = (head.get_mut(..head_len), parts.head.get(..head_len)) {
            to.copy_from_slice(from);
        }
        self.append(chain, head.get(..head_len).unwrap_or_default())?;
        self.append_chain(chain, Chain { first: next, last: NIL, len: len - head_len })
    }

    /// Moves bytes from the beginning of a chain, of which `skip` are gone already, to `room`, and returns how many.
    ///
    /// Cells go back as they empty.
    pub(super) fn drain(&mut self, chain: &mut Chain, skip: &mut usize, room: &mut [u8]) -> usize {
        let mut moved = 0;
        while chain.len > *skip {
            let piece = self.piece(chain.first);
            let next = piece.next;
            let part = piece.data.get(*skip..chain.len.min(PIECE_LEN)).unwrap_or_default();
            let room = room.get_mut(moved..).unwrap_or_default();
            let len = part.len().min(room.len());
            if len == 0 {
                break;
            }
            if let (Some(to), Some(from)) = (room.get_mut(..len), part.get(..len)) {
                to.copy_from_slice(from);
            }
            moved += len;
            *skip += len;
            if *skip == chain.len.min(PIECE_LEN) {
                self.give_back(chain.first, chain.first, 1);
                chain.first = next;
                chain.len -= *skip;
                *skip = 0;
            }
        }
        if chain.len == 0 {
            *chain = Chain::EMPTY;
        }
        moved
    }

    /// Makes a chain of `bytes`.
    ///
    /// # Errors
    ///
    /// When there are too few cells; none is taken then.
    pub(super) fn chain(&mut self, bytes: &[u8]) -> Result<Chain, Full> {
        let mut chain = Chain::EMPTY;
        let result = self.append(&mut chain, bytes);
        if result.is_err() {
            self.give_back_chain(chain);
        }
        result.map(|()| chain)
    }

    /// Returns the `len` bytes that begin in `head` and go on in the pieces from `next` on, part by part.
    pub(super) fn parts<'a>(&'a self, head: &'a [u8], next: u32, len: usize) -> Parts<'a> {
        Parts { cells: self, head, next, left: len }
    }

    /// Returns an entry's key.
    pub(super) fn key(&self, id: u32) -> Parts<'_> {
        let entry = self.entry(id);
        let len = usize::from(entry.key_len);
        self.parts(entry.data.get(..len).unwrap_or(&entry.data), entry.rest, len)
    }

    /// Returns the string of an entry.
    pub(super) fn string(&self, id: u32) -> Parts<'_> {
        let entry = self.entry(id);
        let len = entry.len as usize;
        if entry.first == NIL {
            let start = usize::from(entry.key_len);
            self.parts(entry.data.get(start..start + len).unwrap_or_default(), NIL, len)
        } else {
            self.parts(&[], entry.first, len)
        }
    }

    /// Returns an element of a list.
    pub(super) fn element(&self, id: u32) -> Parts<'_> {
        let node = self.node(id);
        let len = node.len as usize;
        self.parts(node.data.get(..len).unwrap_or(&node.data), node.rest, len)
    }

    /// Returns a stored string.
    pub(super) fn text(&self, text: Text) -> Parts<'_> {
        match text {
            Text::Key(id) => self.key(id),
            Text::String(id) => self.string(id),
            Text::Element(id) => self.element(id),
            Text::Chain(chain) => self.chain_parts(chain),
        }
    }

    /// Returns the bytes of a chain, part by part.
    pub(super) fn chain_parts(&self, chain: Chain) -> Parts<'_> {
        self.parts(&[], chain.first, chain.len)
    }
}

/// The parts of a string.
#[derive(Clone)]
pub(super) struct Parts<'a> {
    cells: &'a Cells,
    head: &'a [u8],
    next: u32,
    left: usize,
}

impl Parts<'_> {
    /// Returns how many bytes are to come.
    pub(super) fn len(&self) -> usize {
        self.left
    }

    /// Returns whether the bytes are those of `other`.
    pub(super) fn is(self, other: &[u8]) -> bool {
        let mut rest = other;
        self.left == other.len()
            && self.into_iter().all(|part| match rest.split_at_checked(part.len()) {
                Some((begin, end)) => {
                    rest = end;
                    begin == part
                }
                None => false,
            })
    }

    /// Copies the bytes to the beginning of `to` and returns those that fit.
    pub(super) fn copy_to(self, to: &mut [u8]) -> &[u8] {
        let mut at = 0;
        for part in self {
            let room = to.get_mut(at..).unwrap_or_default();
            let len = part.len().min(room.len());
            if let (Some(room), Some(part)) = (room.get_mut(..len), part.get(..len)) {
                room.copy_from_slice(part);
            }
            at += len;
        }
        to.get(..at).unwrap_or_default()
    }
}

impl<'a> Iterator for Parts<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.left == 0 {
            return None;
        }
        let source = if self.head.is_empty() {
            let piece = self.cells.piece(self.next);
            self.next = piece.next;
            &piece.data[..]
        } else {
            core::mem::take(&mut self.head)
        };
        let part = source.get(..self.left).unwrap_or(source);
        self.left -= part.len();
        Some(part)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cells() -> Cells {
        let mut cells = Cells::new();
        cells.add_block().unwrap();
        cells
    }

    #[test]
    fn a_chain_gives_back_what_went_in_and_then_its_cells() {
        let mut cells = cells();
        let bytes: Vec<u8> = (0..1000).map(|i| (i % 251) as u8).collect();
        for len in [0, 1, 59, 60, 61, 119, 120, 121, 1000] {
            let chain = cells.chain(&bytes[..len]).unwrap();
            assert_eq!(cells.used(), len.div_ceil(60));
            assert_eq!(cells.chain_parts(chain).collect::<Vec<_>>().concat(), bytes[..len]);
            assert!(cells.chain_parts(chain).is(&bytes[..len]) && !cells.chain_parts(chain).is(&vec![251; len + 1]));
            cells.give_back_chain(chain);
            assert_eq!(cells.used(), 0);
        }
    }

    #[test]
    fn a_chain_is_drained_in_portions_of_any_size() {
        let mut cells = cells();
        let bytes: Vec<u8> = (0..1000).map(|i| (i % 251) as u8).collect();
        for step in [1, 7, 59, 60, 61, 120, 999, 1000, 2000] {
            let (mut chain, mut skip) = (cells.chain(&bytes).unwrap(), 0);
            let (mut out, mut room) = (Vec::new(), vec![0; step]);
            while chain.len > skip {
                let len = cells.drain(&mut chain, &mut skip, &mut room);
                out.extend_from_slice(&room[..len]);
                // What is added meanwhile goes behind what is left.
                if out.len() == step {
                    cells.append(&mut chain, b"tail").unwrap();
                }
            }
            let tail: &[u8] = if step <= 1000 { b"tail" } else { b"" };
            assert_eq!((&out[..1000], cells.used()), (&bytes[..], 0));
            assert_eq!(&out[1000..], tail);
        }
    }

    #[test]
    fn when_cells_run_out_nothing_is_lost() {
        let mut cells = cells();
        let half = vec![7; PIECE_LEN * BLOCK_CELLS / 2];
        let (a, b) = (cells.chain(&half).unwrap(), cells.chain(&half).unwrap());
        assert_eq!((cells.take(), cells.available()), (Err(Full), 0));
        cells.give_back_chain(a);
        assert_eq!(cells.chain(&vec![1; half.len() + 1]), Err(Full));
        assert_eq!(cells.available(), BLOCK_CELLS / 2);
        let mut chain = b;
        cells.append_chain(&mut chain, b).unwrap();
        assert_eq!(cells.available(), 0);
        cells.give_back_chain(chain);
        assert_eq!(cells.available(), BLOCK_CELLS);
    }
}
