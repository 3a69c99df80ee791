//! Any bytes as what a client sends.

use alloc::vec::Vec;

use super::{Connection, Error, Event, Settings, Stage};
use crate::channel::Output;
use crate::host_key::HostKey;
use crate::random::Random;

/// Bytes that wait for a client at most, as `packet` has it.
const OUTPUT_LEN: usize = 16 * 1024;
/// More steps than any input can need: for each byte, some messages of input and output.
const STEPS_MAX: usize = 20_000;

/// Talks to a client, whose bytes come at once and in small pieces; that must make no difference.
///
/// The first byte says how: as it is, or as payloads, each behind its length, of which packets are made (bit 0); from the
/// beginning, or as one who has logged in with keys that encrypt nothing (bit 1).
pub fn run(data: &[u8]) {
    let Some((&how, rest)) = data.split_first() else { return };
    let is_logged_in = how & 2 != 0;
    let mut wire = Vec::new();
    if how & 1 == 0 {
        wire.extend_from_slice(rest);
    } else {
        if !is_logged_in {
            wire.extend_from_slice(b"SSH-2.0-x\r\n");
        }
        let mut rest = rest;
        while let Some((&len, behind)) = rest.split_first() {
            let (payload, behind) = behind.split_at(behind.len().min(len.into()));
            packet(payload, &mut wire);
            rest = behind;
        }
    }
    let whole = converse(&wire, usize::MAX, is_logged_in);
    assert_eq!(converse(&wire, 1 + usize::from(how >> 2), is_logged_in), whole, "in pieces");
}

/// Makes the client of a connection one who has logged in with keys that encrypt nothing.
pub(crate) fn log_in(connection: &mut Connection<'_>) {
    connection.is_identified = true;
    connection.has_keys = true;
    connection.has_service = true;
    connection.is_logged_in = true;
    connection.stage = Stage::Idle;
    connection.sender.stop_exchange();
}

/// Makes a packet without encryption (RFC 4253, section 6).
pub(crate) fn packet(payload: &[u8], wire: &mut Vec<u8>) {
    let padding = 4 + (8 - (payload.len() + 9) % 8) % 8;
    wire.extend_from_slice(&((1 + payload.len() + padding) as u32).to_be_bytes());
    wire.push(padding as u8);
    wire.extend_from_slice(payload);
    wire.resize(wire.len() + padding, 0);
}

/// What came of it: events other than progress, what the user typed, bytes sent, and why it ended.
type Outcome = (Vec<Event>, Vec<u8>, usize, Option<Error>);

fn converse(wire: &[u8], piece: usize, is_logged_in: bool) -> Outcome {
    let settings = Settings::new(HostKey::derive(b"secret", b"board"), &[], "a banner\n");
    let mut outcome = Outcome::default();
    let Ok(mut connection) = Connection::new(&settings, Random::new([7; 32])) else { return outcome };
    if is_logged_in {
        log_in(&mut connection);
    }
    let result = wire.chunks(piece).try_for_each(|part| take(&mut connection, part, &mut outcome));
    outcome.3 = result.err();
    if let Some(error) = outcome.3 {
        connection.disconnect(error.reason(), "");
    }
    outcome
}

/// Lets a connection take some bytes; its shell says again what it is told.
fn take(connection: &mut Connection<'_>, mut part: &[u8], outcome: &mut Outcome) -> Result<(), Error> {
    for _ in 0..STEPS_MAX {
        let event = connection.step()?;
        if !matches!(event, Event::Idle | Event::Progress) {
            outcome.0.push(event);
        }
        while let Some(byte) = connection.read() {
            outcome.1.push(byte);
            // There is room: all that waits is taken below.
            let _ = connection.write(Output::Normal, &[byte]);
        }
        let waiting = connection.waiting().len();
        assert!(waiting <= OUTPUT_LEN);
        connection.sent(waiting);
        outcome.2 += waiting;
        match event {
            Event::Idle if part.is_empty() || !connection.is_hungry() => return Ok(()),
            Event::Idle => {
                let taken = connection.receive(part)?;
                part = part.get(taken..).unwrap_or_default();
            }
            Event::Goodbye => return Err(Error::Closed),
            _ => {}
        }
    }
    Err(Error::OutputFull)
}

#[cfg(test)]
mod tests {
    #[test]
    fn it_holds_for_a_session_and_for_garbage() {
        // Opens a session, wants a shell, types "hi", and closes.
        let open = b"\x1b\x5a\0\0\0\x07session\0\0\0\0\0\0\x80\0\0\0\x80\0";
        let shell = b"\x0f\x62\0\0\0\0\0\0\0\x05shell\x01";
        let typed = b"\x0b\x5e\0\0\0\0\0\0\0\x02hi\x05\x61\0\0\0\0";
        super::run(&[b"\x03", &open[..], shell, typed].concat());
        super::run(b"\0SSH-2.0-x\r\n\0\0\0\x0c");
        super::run(b"\x08GET / HTTP/1.0\r\n\r\n");
        super::run(b"\x01\x03\x14\0\0");
    }

    #[test]
    fn a_session_echoes_what_is_typed() {
        let mut wire = Vec::new();
        for payload in [
            &b"\x5a\0\0\0\x07session\0\0\0\0\0\0\x80\0\0\0\x80\0"[..],
            b"\x62\0\0\0\0\0\0\0\x05shell\x01",
            b"\x5e\0\0\0\0\0\0\0\x02hi",
        ] {
            super::packet(payload, &mut wire);
        }
        let (events, typed, sent, end) = super::converse(&wire, usize::MAX, true);
        assert_eq!((events.as_slice(), typed.as_slice(), end), (&[super::Event::Shell][..], &b"hi"[..], None));
        assert!(sent > 60, "{sent}");
    }
}
