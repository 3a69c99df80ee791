//! Lists: elements linked both ways.

use super::cells::{Chain, Full, NIL, NODE_ROOM, Node, pieces};
use super::feed::Word;
use super::store::Store;
use super::value::{Kind, Refusal, Value};

/// The two ends of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Left,
    Right,
}

impl End {
    fn push_name(self) -> &'static [u8] {
        match self {
            Self::Left => b"LPUSH",
            Self::Right => b"RPUSH",
        }
    }

    fn pop_name(self) -> &'static [u8] {
        match self {
            Self::Left => b"LPOP",
            Self::Right => b"RPOP",
        }
    }
}

/// Returns how many cells an element of `len` bytes takes.
pub(super) fn node_cells(len: usize) -> usize {
    1 + pieces(len.saturating_sub(NODE_ROOM))
}

impl Store {
    /// Makes room for elements that take `cells`, and returns the list that they go to; without one, an empty one is made,
    /// which the caller must add to.
    pub(super) fn open_list(&mut self, key: &[u8], cells: usize) -> Result<u32, Refusal> {
        if let Some(id) = self.find_kind(key, Kind::List)? {
            self.make_room(cells, 0)?;
            return Ok(id);
        }
        self.make_room(cells + Self::key_cells(key), 0)?;
        self.insert(key, Kind::List)
    }

    /// Adds an element, for which [`Store::open_list`] has made room, and returns how many there are.
    pub(super) fn push(&mut self, list: u32, end: End, value: Value<'_>) -> Result<usize, Refusal> {
        let node = self.make_node(value);
        if let Value::Chain(chain) = value {
            self.cells.give_back_chain(chain);
        }
        let node = node?;
        let entry = *self.cells.entry(list);
        let neighbour = match end {
            End::Left => entry.first,
            End::Right => entry.last,
        };
        if neighbour == NIL {
            let entry = self.cells.entry_mut(list);
            (entry.first, entry.last) = (node, node);
        } else if end == End::Left {
            self.cells.node_mut(node).after = neighbour;
            self.cells.node_mut(neighbour).before = node;
            self.cells.entry_mut(list).first = node;
        } else {
            self.cells.node_mut(node).before = neighbour;
            self.cells.node_mut(neighbour).after = node;
            self.cells.entry_mut(list).last = node;
        }
        let entry = self.cells.entry_mut(list);
        entry.len += 1;
        let len = entry.len as usize;
        if self.feed.has_readers() {
            let bucket = self.bucket_of_entry(list);
            let Self { cells, feed, .. } = self;
            let (key, value) = (Word::Parts(cells.key(list)), Word::Parts(cells.element(node)));
            feed.tell(bucket, &[Word::Bytes(end.push_name()), key, value]);
        }
        Ok(len)
    }

    fn make_node(&mut self, value: Value<'_>) -> Result<u32, Full> {
        let id = self.cells.take()?;
        let mut data = [0; NODE_ROOM];
        let mut rest = Chain::EMPTY;
        let filled = match value {
            Value::Bytes(bytes) => {
                let (head, tail) = bytes.split_at_checked(NODE_ROOM).unwrap_or((bytes, &[]));
                if let Some(to) = data.get_mut(..head.len()) {
                    to.copy_from_slice(head);
                }
                self.cells.append(&mut rest, tail)
            }
            Value::Chain(chain) => self.move_behind(&mut data, &mut rest, chain),
        };
        if filled.is_err() {
            self.cells.give_back_chain(rest);
            self.cells.give_back(id, id, 1);
            return Err(Full);
        }
        let len = value.len() as u32;
        *self.cells.node_mut(id) =
            Node { rest: rest.first, rest_last: rest.last, len, before: NIL, after: NIL, data };
        Ok(id)
    }

    /// Copies a chain, the beginning to `head` and what follows to `rest`.
    fn move_behind(&mut self, head: &mut [u8; NODE_ROOM], rest: &mut Chain, from: Chain) -> Result<(), Full> {
        let (mut id, mut left, mut filled) = (from.first, from.len, 0);
        while left > 0 {
            let piece = *self.cells.piece(id);
            let part = piece.data.get(..left).unwrap_or(&piece.data);
            let room = head.get_mut(filled..).unwrap_or_default();
            let len = room.len().min(part.len());
            let (now, later) = part.split_at_checked(len).unwrap_or((part, &[]));
            if let Some(to) = room.get_mut(..len) {
                to.copy_from_slice(now);
            }
            filled += len;
            self.cells.append(rest, later)?;
            left -= part.len();
            id = piece.next;
        }
        Ok(())
    }

    /// Returns the element at an end.
    pub(super) fn end_node(&self, list: u32, end: End) -> u32 {
        let entry = self.cells.entry(list);
        match end {
            End::Left => entry.first,
            End::Right => entry.last,
        }
    }

    /// Takes away the element at an end; a list without elements is deleted.
    pub(super) fn drop_end(&mut self, list: u32, end: End) {
        let node = self.end_node(list, end);
        if self.feed.has_readers() {
            let bucket = self.bucket_of_entry(list);
            let Self { cells, feed, .. } = self;
            feed.tell(bucket, &[Word::Bytes(end.pop_name()), Word::Parts(cells.key(list))]);
        }
        let Node { before, after, .. } = *self.cells.node(node);
        let neighbour = match end {
            End::Left => after,
            End::Right => before,
        };
        self.give_back_node(node);
        let entry = self.cells.entry_mut(list);
        entry.len -= 1;
        if neighbour == NIL {
            (entry.first, entry.last) = (NIL, NIL);
            self.remove(list);
        } else if end == End::Left {
            entry.first = neighbour;
            self.cells.node_mut(neighbour).before = NIL;
        } else {
            entry.last = neighbour;
            self.cells.node_mut(neighbour).after = NIL;
        }
    }

    /// Returns the `index`-th element, from whichever end is nearer; [`NIL`] behind the last.
    pub(super) fn nth_node(&self, list: u32, index: usize) -> u32 {
        let entry = self.cells.entry(list);
        let len = entry.len as usize;
        if index >= len {
            NIL
        } else if index < len / 2 {
            (0..index).fold(entry.first, |id, _| self.cells.node(id).after)
        } else {
            (index + 1..len).fold(entry.last, |id, _| self.cells.node(id).before)
        }
    }

    /// Gives back the cells of an element that is in no list any more.
    pub(super) fn give_back_node(&mut self, id: u32) {
        let Node { rest, rest_last, len, .. } = *self.cells.node(id);
        self.cells.give_back(rest, rest_last, node_cells(len as usize) - 1);
        self.cells.give_back(id, id, 1);
    }
}
