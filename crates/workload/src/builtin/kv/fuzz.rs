//! Any bytes as what a client of the key-value store sends.

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::session::{Facts, Server, Session};
use super::store::Store;

/// The store's memory.
const MEMORY: usize = 1 << 18;

/// Sends `data` at once and in pieces, which must lead to the same replies; then everything goes, and no memory is left behind.
pub fn run(data: &[u8]) {
    let Some((piece, data)) = data.split_first() else { return };
    let whole = converse(data, usize::MAX);
    assert_eq!(converse(data, 1 + usize::from(*piece)), whole, "in pieces of {}", 1 + usize::from(*piece));
}

fn converse(data: &[u8], piece: usize) -> Vec<u8> {
    let mut store = Store::new((1, 2));
    (0..Store::blocks(MEMORY)).for_each(|_| assert!(store.cells.add_block().is_ok()));
    assert!(store.open(MEMORY).is_ok());
    store.set_now(1_000);
    let mut server = Server::new(store, Facts { clients_max: 1, port: 6379, ..Facts::default() });
    let mut session = Box::new(Session::new(false));
    let mut replies = Vec::new();
    for part in data.chunks(piece) {
        let mut rest = part;
        while !rest.is_empty() {
            let used = session.feed(&mut server, rest);
            rest = rest.get(used..).unwrap_or_default();
            if used == 0 && drain(&mut session, &mut server, &mut replies) == 0 {
                break;
            }
        }
        drain(&mut session, &mut server, &mut replies);
        assert!(server.store.used_bytes() <= server.store.limit_bytes());
    }
    session.reset(&mut server.store.cells);
    server.store.clear();
    server.store.sweep(100_000);
    assert_eq!(server.store.cells.used(), 0, "cells are left");
    replies
}

fn drain(session: &mut Session, server: &mut Server, replies: &mut Vec<u8>) -> usize {
    let before = replies.len();
    let mut room = [0; 512];
    while !session.out.is_empty() {
        let len = session.out.drain(&mut server.store.cells, &mut room);
        replies.extend_from_slice(room.get(..len).unwrap_or_default());
    }
    replies.len() - before
}

#[cfg(test)]
mod tests {
    #[test]
    fn it_holds_for_commands_and_garbage() {
        super::run(b"\x02*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\nv\r\nGET k\r\nLPUSH l a b\r\nLRANGE l 0 -1\r\nINFO\r\n");
        super::run(b"\x00*1\r\n$2000\r\nabc");
        super::run(b"\x09*x\r\nGET \"");
    }
}
