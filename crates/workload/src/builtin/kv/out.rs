//! What a client is to get: a few KiB at once, and behind them, for long replies, cells of the store.

use alloc::vec::Vec;

use super::cells::{Cells, Chain, Text};

/// Bytes of replies that need no cells.
pub(super) const NEAR_LEN: usize = 8 << 10;

/// The replies of a connection that were not sent yet.
pub(super) struct Out {
    /// Never grows beyond [`NEAR_LEN`].
    near: Vec<u8>,
    near_sent: usize,
    /// What did not fit; everything goes here until it is empty again.
    far: Chain,
    far_sent: usize,
    /// There was no memory for a part of a reply: the client must not get what follows it.
    pub(super) is_broken: bool,
}

impl Out {
    pub(super) fn new() -> Self {
        Self { near: Vec::with_capacity(NEAR_LEN), near_sent: 0, far: Chain::EMPTY, far_sent: 0, is_broken: false }
    }

    /// Returns whether there is something to send.
    pub(super) fn is_empty(&self) -> bool {
        self.near_sent == self.near.len() && self.far.len == 0
    }

    /// Returns whether requests should wait until some of it was sent.
    pub(super) fn is_busy(&self) -> bool {
        self.near.len() > NEAR_LEN / 2 || self.far.len > 0 || self.is_broken
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self, cells: &mut Cells) {
        self.near.clear();
        self.near_sent = 0;
        cells.give_back_chain(self.far);
        self.far = Chain::EMPTY;
        self.far_sent = 0;
        self.is_broken = false;
    }

    /// Moves what is to be sent to `room` and returns how many bytes.
    pub(super) fn drain(&mut self, cells: &mut Cells, room: &mut [u8]) -> usize {
        let ready = self.near.get(self.near_sent..).unwrap_or_default();
        let len = ready.len().min(room.len());
        if let (Some(to), Some(from)) = (room.get_mut(..len), ready.get(..len)) {
            to.copy_from_slice(from);
        }
        self.near_sent += len;
        if self.near_sent < self.near.len() {
            return len;
        }
        self.near.clear();
        self.near_sent = 0;
        len + cells.drain(&mut self.far, &mut self.far_sent, room.get_mut(len..).unwrap_or_default())
    }

    /// Adds a stored string as a reply.
    pub(super) fn bulk(&mut self, cells: &mut Cells, text: Text) {
        let len = cells.text(text).len();
        resp::bulk_header(&mut Reply { out: self, cells }, len);
        if self.far.len == 0 && len <= NEAR_LEN - self.near.len() {
            for part in cells.text(text) {
                self.near.extend_from_slice(part);
            }
        } else {
            self.is_broken |= cells.append_text(&mut self.far, text).is_err();
        }
        resp::Sink::put(&mut Reply { out: self, cells }, b"\r\n");
    }
}

/// Takes replies for a connection.
pub(super) struct Reply<'a> {
    pub(super) out: &'a mut Out,
    pub(super) cells: &'a mut Cells,
}

impl resp::Sink for Reply<'_> {
    fn put(&mut self, bytes: &[u8]) {
        let Self { out, cells } = self;
        if out.far.len == 0 && bytes.len() <= NEAR_LEN - out.near.len() {
            out.near.extend_from_slice(bytes);
        } else {
            out.is_broken |= cells.append(&mut out.far, bytes).is_err();
        }
    }
}
