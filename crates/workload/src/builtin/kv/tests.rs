//! The store and its conversations, against a model and against what Redis answers.

#![expect(clippy::panic, reason = "a test that cannot go on should panic")]

mod model;
mod replicas;
mod talk;

use super::session::{Facts, Server, Session};
use super::store::Store;

/// A server with so many quarters of a MiB.
pub(super) fn server(quarters: usize) -> Server {
    let mut store = Store::new((1, 2));
    for _ in 0..4 * quarters {
        store.cells.add_block().unwrap();
    }
    store.open(quarters << 18).unwrap();
    Server::new(store, Facts { clients_max: 50, port: 6379, ..Facts::default() })
}

/// A client with its session.
pub(super) struct Client {
    pub(super) session: Box<Session>,
}

impl Client {
    pub(super) fn new() -> Self {
        Self { session: Box::new(Session::new(false)) }
    }

    /// Sends bytes in one piece and returns all replies.
    pub(super) fn send(&mut self, server: &mut Server, bytes: &[u8]) -> Vec<u8> {
        self.send_in(server, bytes, bytes.len().max(1))
    }

    /// Sends bytes in pieces of `step` bytes and returns all replies.
    pub(super) fn send_in(&mut self, server: &mut Server, bytes: &[u8], step: usize) -> Vec<u8> {
        let mut replies = Vec::new();
        for piece in bytes.chunks(step) {
            let mut used = 0;
            while used < piece.len() {
                let len = self.session.feed(server, &piece[used..]);
                used += len;
                let taken = self.take(server, &mut replies);
                if len == 0 && taken == 0 {
                    return replies;
                }
            }
        }
        replies
    }

    fn take(&mut self, server: &mut Server, replies: &mut Vec<u8>) -> usize {
        let before = replies.len();
        let mut room = [0; 777];
        while !self.session.out.is_empty() {
            let len = self.session.out.drain(&mut server.store.cells, &mut room);
            replies.extend_from_slice(&room[..len]);
        }
        replies.len() - before
    }

    /// Sends a command and returns its reply as text.
    pub(super) fn ask(&mut self, server: &mut Server, words: &[&[u8]]) -> String {
        let reply = self.send(server, &request(words));
        String::from_utf8_lossy(&reply).into_owned()
    }

    /// Sends a line of words and returns the reply as text, without the last line break.
    pub(super) fn say(&mut self, server: &mut Server, line: &str) -> String {
        let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        self.ask(server, &words).trim_end_matches("\r\n").to_owned()
    }
}

pub(super) fn request(words: &[&[u8]]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        bytes.extend_from_slice(word);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

/// Xorshift (Marsaglia 2003): seeded, so that a failure can be repeated.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n as u64) as usize
    }
}
