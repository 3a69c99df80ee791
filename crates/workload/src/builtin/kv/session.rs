//! A client's conversation, without its socket: bytes in, bytes out.
//!
//! Requests that lie together in what has come are read in place. One that does not (its end has not come, or lies at the other end of
//! the socket's ring) is put together in a buffer; long strings go into cells as they come, and may become a value
//! without being copied again. A client that does not take its replies is not read from, so all that it can hold up is itself.

use alloc::vec::Vec;

use resp::{Argument, Arguments, Parsed, Sink as _};

use super::cells::{Cells, Chain, Full};
use super::command::{self, Call, Request};
use super::feed::LinkId;
use super::out::{Out, Reply};
use super::store::Store;
use super::value::Refusal;

/// Longest request in bytes, without its long strings, that need not come in one piece.
pub(super) const REQUEST_LEN_MAX: usize = 16 << 10;
/// Strings longer than this are long.
const LONG_LEN: usize = 1024;
/// Long strings of a request that need not come in one piece.
const LONG_MAX: usize = 8;
/// Bytes that are taken over at least when a request is put together, so that it is not looked at for every few.
const PORTION: usize = 1024;

/// What all sessions share.
pub(super) struct Server {
    pub(super) store: Store,
    pub(super) facts: Facts,
    /// The arguments of the request at hand.
    arguments: Arguments,
}

/// What INFO and CONFIG tell, and how the store is used.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Facts {
    pub(super) started_ms: u64,
    pub(super) clients: usize,
    pub(super) clients_max: usize,
    pub(super) port: u16,
    pub(super) commands: u64,
    pub(super) refusals: u64,
    pub(super) protocol_errors: u64,
    pub(super) connections: u64,
    /// Clients that were cut off, because there was no memory for their replies or they did not take them.
    pub(super) cut_off: u64,
    pub(super) replica: Option<ReplicaFacts>,
    /// Replicas that have to confirm before a command on keys is answered.
    pub(super) acks: usize,
    /// Commands on keys.
    pub(super) key_commands: u64,
    /// Clients that were cut off because too few replicas have confirmed.
    pub(super) unconfirmed: u64,
    /// Clients that had to make room for others.
    pub(super) unseated: u64,
    /// Changes whenever the store begins or ends to follow another.
    pub(super) reign: u32,
}

/// How the copy of another store is doing.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ReplicaFacts {
    /// There is a connection.
    pub(super) is_up: bool,
    /// It has brought all that there was when it began.
    pub(super) is_copied: bool,
    /// Bytes of commands that were applied since it began.
    pub(super) offset: u64,
    /// Bytes that the other had more at its last word about that.
    pub(super) lag_bytes: u64,
    /// When that was, by the store's clock.
    pub(super) heard_ms: u64,
    /// Copies that were begun.
    pub(super) copies: u64,
    /// The other wants to know how far this one is.
    pub(super) is_asked: bool,
}

impl Server {
    pub(super) const fn new(store: Store, facts: Facts) -> Self {
        Self { store, facts, arguments: Arguments::new() }
    }
}

/// A long string that arrives.
#[derive(Clone, Copy, Debug)]
pub(super) struct Long {
    pub(super) chain: Chain,
    missing: usize,
    pub(super) is_lost: bool,
}

impl Long {
    fn take(&mut self, cells: &mut Cells, bytes: &[u8]) {
        self.missing -= bytes.len();
        if !self.is_lost && cells.append(&mut self.chain, bytes) == Err(Full) {
            self.is_lost = true;
            cells.give_back_chain(core::mem::replace(&mut self.chain, Chain::EMPTY));
        }
    }
}

/// What becomes of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Open,
    /// Closed when everything was sent.
    Closing,
    /// Gets the store's changes from now on, by this link.
    Replica(LinkId),
}

/// A conversation.
pub(super) struct Session {
    pub(super) out: Out,
    pub(super) fate: Fate,
    /// Its replies wait for replicas.
    pub(super) is_unconfirmed: bool,
    /// May change a store that follows another: its source does.
    is_source: bool,
    /// Never grows beyond [`REQUEST_LEN_MAX`].
    input: Vec<u8>,
    /// Bytes that the input needs before it is worth another look.
    needed: usize,
    offsets: heapless::Vec<usize, LONG_MAX>,
    longs: heapless::Vec<Long, LONG_MAX>,
}

impl Session {
    pub(super) fn new(is_source: bool) -> Self {
        Self {
            out: Out::new(),
            fate: Fate::Open,
            is_unconfirmed: false,
            is_source,
            input: Vec::with_capacity(REQUEST_LEN_MAX),
            needed: 0,
            offsets: heapless::Vec::new(),
            longs: heapless::Vec::new(),
        }
    }

    /// Makes the session ready for another client.
    pub(super) fn reset(&mut self, cells: &mut Cells) {
        self.out.clear(cells);
        self.fate = Fate::Open;
        self.is_unconfirmed = false;
        self.end_request(cells);
    }

    /// Returns whether a request has begun and not ended.
    pub(super) fn is_begun(&self) -> bool {
        !self.input.is_empty()
    }

    /// Takes what has come, answers the requests in it, and returns how many bytes it has used.
    ///
    /// It uses all of them, unless replies have to be sent first or the connection is at its end.
    pub(super) fn feed(&mut self, server: &mut Server, bytes: &[u8]) -> usize {
        let mut used = 0;
        while self.fate == Fate::Open && !self.out.is_busy() {
            let Some(rest) = bytes.get(used..).filter(|rest| !rest.is_empty()) else { break };
            used += match self.longs.last_mut().filter(|long| long.missing > 0) {
                Some(long) => {
                    let part = rest.get(..long.missing).unwrap_or(rest);
                    long.take(&mut server.store.cells, part);
                    part.len()
                }
                None if self.input.is_empty() => self.feed_in_place(server, rest),
                None => self.feed_input(server, rest),
            };
        }
        used
    }

    fn feed_in_place(&mut self, server: &mut Server, bytes: &[u8]) -> usize {
        match resp::parse(bytes, LONG_LEN, &[], &mut server.arguments) {
            Ok(Parsed::Request { used }) => {
                self.answer(server, bytes, true);
                used
            }
            Ok(Parsed::Partial { needed }) => {
                self.needed = needed;
                self.keep(server, bytes)
            }
            Ok(Parsed::Large { start, len }) => {
                self.needed = start;
                let begin = bytes.get(..start).unwrap_or(bytes);
                let used = self.keep(server, begin);
                self.begin_long(start, len);
                used
            }
            Err(error) => self.fail(server, &error),
        }
    }

    fn feed_input(&mut self, server: &mut Server, bytes: &[u8]) -> usize {
        let before = self.input.len();
        let portion = self.needed.saturating_sub(before).max(PORTION);
        let portion = bytes.get(..portion).unwrap_or(bytes);
        let used = self.keep(server, portion);
        if self.fate != Fate::Open || self.input.len() < self.needed {
            return used;
        }
        // What was taken over behind the request is left where it was.
        let surplus = |end: usize| used.saturating_sub(before + used - end);
        let large = if self.longs.is_full() { usize::MAX } else { LONG_LEN };
        match resp::parse(&self.input, large, &self.offsets, &mut server.arguments) {
            Ok(Parsed::Request { used: end }) => {
                self.answer(server, &[], false);
                self.end_request(&mut server.store.cells);
                surplus(end)
            }
            Ok(Parsed::Partial { needed }) => {
                self.needed = needed;
                used
            }
            Ok(Parsed::Large { start, len }) => {
                self.input.truncate(start);
                self.begin_long(start, len);
                surplus(start)
            }
            Err(error) => self.fail(server, &error),
        }
    }

    /// Adds to the request that is put together.
    fn keep(&mut self, server: &mut Server, bytes: &[u8]) -> usize {
        let room = REQUEST_LEN_MAX - self.input.len();
        let part = bytes.get(..room).unwrap_or(bytes);
        self.input.extend_from_slice(part);
        if self.needed > REQUEST_LEN_MAX || room == 0 {
            server.facts.protocol_errors += 1;
            let cells = &mut server.store.cells;
            resp::error(&mut Reply { out: &mut self.out, cells }, "ERR Protocol error: too big request");
            self.fate = Fate::Closing;
        }
        part.len()
    }

    fn begin_long(&mut self, offset: usize, len: usize) {
        // There is room: otherwise no string is long.
        let _ = self.offsets.push(offset);
        let _ = self.longs.push(Long { chain: Chain::EMPTY, missing: len, is_lost: false });
        self.needed = offset + 2;
    }

    fn fail(&mut self, server: &mut Server, error: &resp::ProtocolError) -> usize {
        server.facts.protocol_errors += 1;
        let mut reply = Reply { out: &mut self.out, cells: &mut server.store.cells };
        command::put_error(&mut reply, error);
        self.fate = Fate::Closing;
        0
    }

    fn end_request(&mut self, cells: &mut Cells) {
        self.input.clear();
        self.offsets.clear();
        self.needed = 0;
        for long in &self.longs {
            cells.give_back_chain(long.chain);
        }
        self.longs.clear();
    }

    fn answer(&mut self, server: &mut Server, input: &[u8], in_place: bool) {
        let Server { store, facts, arguments } = server;
        let arguments: &[Argument] = arguments;
        if arguments.is_empty() {
            return;
        }
        facts.commands += 1;
        let is_lost = self.longs.iter().any(|long| long.is_lost);
        let input = if in_place { input } else { &self.input };
        let mut call = Call {
            store,
            facts,
            request: Request { input, arguments, longs: &mut self.longs },
            out: &mut self.out,
            fate: &mut self.fate,
            is_source: self.is_source,
        };
        let result = if is_lost { Err(Refusal::Memory) } else { command::run(&mut call) };
        if let Err(refusal) = result {
            facts.refusals += 1;
            command::put_error(&mut Reply { out: &mut self.out, cells: &mut store.cells }, &refusal);
        }
    }
}

/// Writes what an unknown command is answered with, cut to what is decent.
pub(super) fn put_unknown(reply: &mut Reply<'_>, name: &[u8]) {
    reply.put(b"-ERR unknown command '");
    for byte in name.iter().take(32) {
        reply.put(&[if byte.is_ascii_graphic() { *byte } else { b'?' }]);
    }
    reply.put(b"'\r\n");
}
