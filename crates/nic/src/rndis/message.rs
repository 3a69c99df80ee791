//! The bytes of RNDIS messages ([MS-RNDIS] 2.2). All numbers are little-endian words.

use core::ops::Range;

use crate::burst::{END, Piece};
use crate::events::NicEvent;
use crate::exchange::FRAME_LEN_MAX;

/// Length in bytes of the header in front of a frame (REMOTE_NDIS_PACKET_MSG).
pub(super) const PACKET_HEADER_LEN: usize = 44;
/// Most bytes that the device may put in a transfer; it is told so. A frame with its header and padding.
pub(super) const TRANSFER_LEN: usize = 2048;
/// Longest control message that is exchanged.
pub(super) const CONTROL_LEN_MAX: usize = 256;

/// Message types.
pub(super) mod kind {
    pub(in super::super) const PACKET: u32 = 1;
    pub(in super::super) const INITIALIZE: u32 = 2;
    pub(in super::super) const QUERY: u32 = 4;
    pub(in super::super) const SET: u32 = 5;
    pub(in super::super) const INDICATE_STATUS: u32 = 7;
    pub(in super::super) const KEEPALIVE: u32 = 8;
    /// Set in the type of an answer.
    pub(in super::super) const COMPLETION: u32 = 0x8000_0000;
}

/// Status of INDICATE_STATUS: the cable was plugged in, or pulled.
const MEDIA_CONNECT: u32 = 0x4001_000B;
const MEDIA_DISCONNECT: u32 = 0x4001_000C;
/// Offsets in control messages count from the request ID.
const OFFSET_BASE: usize = 8;
/// Shortest and longest frame: a header, and a tag more than usual.
const FRAME_LEN: core::ops::RangeInclusive<usize> = 14..=FRAME_LEN_MAX + 4;

/// Writes the header of a message of `len` bytes whose frame is at `frame`.
pub(super) fn write_packet_header(buffer: &mut [u8], frame: Range<usize>, len: usize) {
    let words = [
        kind::PACKET,
        word(len),
        word(frame.start.saturating_sub(OFFSET_BASE)),
        word(frame.len()),
        0,
        0,
        0,
        0,
        0,
        0,
        0,
    ];
    for (chunk, word) in buffer.as_chunks_mut::<4>().0.iter_mut().zip(words) {
        *chunk = word.to_le_bytes();
    }
    if let Some(padding) = buffer.get_mut(frame.end..len) {
        padding.fill(0);
    }
}

/// Finds the message at an offset of what was received.
///
/// What is behind a damaged message is lost with it: its length can't be believed.
pub(super) fn walk(bytes: &[u8], at: usize) -> Piece {
    let mut at = at;
    loop {
        // A byte or so behind the last message is padding.
        let Some(rest) = bytes.get(at..).filter(|rest| rest.len() >= OFFSET_BASE) else { return Piece::End };
        let (Some(kind), Some(len)) = (read(rest, 0), read(rest, 4)) else { return Piece::End };
        let len = len as usize;
        let Some(message) = rest.get(..len).filter(|_| len >= OFFSET_BASE) else {
            return Piece::Damaged { why: NicEvent::RxStatus, next: END };
        };
        let next = at + len;
        if kind == kind::PACKET {
            return match frame_of(message) {
                Some(frame) => Piece::Frame { frame: frame.start + at..frame.end + at, next },
                None => Piece::Damaged { why: NicEvent::RxStatus, next },
            };
        }
        at = next;
    }
}

fn frame_of(message: &[u8]) -> Option<Range<usize>> {
    let start = (read(message, 8)? as usize).checked_add(OFFSET_BASE)?;
    let len = read(message, 12)? as usize;
    let end = start.checked_add(len)?;
    (FRAME_LEN.contains(&len) && start >= 16 && end <= message.len()).then_some(start..end)
}

/// A control message that is built word by word.
pub(super) struct Command {
    bytes: [u8; CONTROL_LEN_MAX],
    len: usize,
}

impl Command {
    /// Makes one of `words` (beginning with the type; the length is filled in) and `data`.
    pub(super) fn new(words: &[u32], data: &[u8]) -> Self {
        let mut command = Self { bytes: [0; CONTROL_LEN_MAX], len: 4 * words.len() + data.len() };
        for (chunk, word) in command.bytes.as_chunks_mut::<4>().0.iter_mut().zip(words) {
            *chunk = word.to_le_bytes();
        }
        if let Some(to) = command.bytes.get_mut(4 * words.len()..command.len) {
            to.copy_from_slice(data);
        }
        if let Some(to) = command.bytes.get_mut(4..8) {
            to.copy_from_slice(&word(command.len).to_le_bytes());
        }
        command
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

/// A message from the control channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer<'a> {
    /// The answer to a command.
    Completion { kind: u32, request: u32, status: u32, information: &'a [u8] },
    /// The device asks whether the host lives.
    KeepAlive { request: u32 },
    /// The cable was plugged in, or pulled.
    Media { is_connected: bool },
    /// Something else, well-formed.
    Other,
}

/// Reads a control message. `None` when there is none, or a damaged one.
pub(super) fn parse_answer(bytes: &[u8]) -> Option<Answer<'_>> {
    let kind = read(bytes, 0)?;
    let len = read(bytes, 4)? as usize;
    let message = bytes.get(..len)?;
    let word_2 = read(message, 8);
    if kind & kind::COMPLETION != 0 {
        let status = read(message, 12)?;
        let is_query = kind == kind::QUERY | kind::COMPLETION;
        let information = if is_query { information(message) } else { None };
        let information = information.unwrap_or_default();
        return Some(Answer::Completion { kind: kind & !kind::COMPLETION, request: word_2?, status, information });
    }
    Some(match (kind, word_2) {
        (kind::KEEPALIVE, Some(request)) => Answer::KeepAlive { request },
        (kind::INDICATE_STATUS, Some(MEDIA_CONNECT)) => Answer::Media { is_connected: true },
        (kind::INDICATE_STATUS, Some(MEDIA_DISCONNECT)) => Answer::Media { is_connected: false },
        _ => Answer::Other,
    })
}

/// The information buffer of a query's completion.
fn information(message: &[u8]) -> Option<&[u8]> {
    let len = read(message, 16)? as usize;
    let start = (read(message, 20)? as usize).checked_add(OFFSET_BASE)?;
    message.get(start..start.checked_add(len)?)
}

fn read(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.first_chunk().map(|word| u32::from_le_bytes(*word))
}

/// Lengths here are bounded by buffers of a few kilobytes.
#[expect(clippy::cast_possible_truncation, reason = "see above")]
fn word(len: usize) -> u32 {
    len as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::burst::frames_of;

    fn message(frame: &[u8], padding: usize) -> Vec<u8> {
        let mut bytes = vec![0xEE; PACKET_HEADER_LEN + frame.len() + padding];
        let end = PACKET_HEADER_LEN + frame.len();
        bytes[PACKET_HEADER_LEN..end].copy_from_slice(frame);
        write_packet_header(&mut bytes, PACKET_HEADER_LEN..end, end + padding);
        bytes
    }

    #[test]
    fn what_is_written_is_found() {
        let bytes = message(&[7; 60], 4);
        assert_eq!(bytes[..16], [1, 0, 0, 0, 108, 0, 0, 0, 36, 0, 0, 0, 60, 0, 0, 0]);
        assert_eq!(bytes[104..], [0; 4]);
        assert_eq!(frames_of(&bytes, walk), (vec![[44, 104]], 0));
    }

    #[test]
    fn several_messages_in_one_transfer_are_all_found() {
        let mut bytes = message(&[1; 60], 0);
        bytes.extend(message(&[2; 1514], 2));
        bytes.extend(message(&[3; 14], 0));
        bytes.push(0);
        let (frames, damaged) = frames_of(&bytes, walk);
        assert_eq!((frames, damaged), (vec![[44, 104], [148, 1662], [1708, 1722]], 0));
    }

    #[test]
    fn a_message_that_is_cut_off_costs_only_itself() {
        let mut bytes = message(&[1; 60], 0);
        bytes.extend(&message(&[2; 600], 0)[..300]);
        assert_eq!(frames_of(&bytes, walk), (vec![[44, 104]], 1));
    }

    #[test]
    fn frames_outside_their_message_are_damaged() {
        for (offset, len) in [(36, 61), (u32::MAX, 60), (36, u32::MAX), (0, 60), (36, 13), (36, 0)] {
            let mut bytes = message(&[1; 60], 0);
            bytes[8..12].copy_from_slice(&offset.to_le_bytes());
            bytes[12..16].copy_from_slice(&len.to_le_bytes());
            assert_eq!(frames_of(&bytes, walk), (vec![], 1), "{offset} {len}");
        }
    }

    #[test]
    fn a_message_without_length_does_not_loop() {
        assert_eq!(frames_of(&[0; 64], walk), (vec![], 1));
    }

    #[test]
    fn answers_are_read() {
        // QEMU's answer to a query of OID_GEN_MEDIA_CONNECT_STATUS with request ID 5.
        let words = [0x8000_0004, 28, 5, 0, 4, 16, 0];
        let bytes: Vec<u8> = words.iter().flat_map(|w: &u32| w.to_le_bytes()).collect();
        let expected = Answer::Completion { kind: kind::QUERY, request: 5, status: 0, information: &[0; 4] };
        assert_eq!(parse_answer(&bytes), Some(expected));
        assert_eq!(parse_answer(&[0]), None, "nothing there yet");
        let words = [7, 20, MEDIA_DISCONNECT, 0, 0];
        let bytes: Vec<u8> = words.iter().flat_map(|w: &u32| w.to_le_bytes()).collect();
        assert_eq!(parse_answer(&bytes), Some(Answer::Media { is_connected: false }));
    }

    #[test]
    fn random_bytes_never_panic_and_no_frame_is_outside() {
        let mut random = 0x5EED_0001_u64;
        let mut found = 0;
        for round in 0..200_000 {
            let mut bytes = message(&[9; 100], 0);
            bytes.extend(message(&[9; 40], 0));
            for _ in 0..round % 4 {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                let at = (random % bytes.len() as u64) as usize;
                // Mostly in the headers, where it matters.
                let at = if random & 0x100 == 0 { at % 16 } else { at };
                bytes[at] = (random >> 32) as u8;
            }
            bytes.truncate(bytes.len() - (random >> 48) as usize % 20);
            found += frames_of(&bytes, walk).0.len();
            let _ = parse_answer(&bytes);
        }
        assert!(found > 100_000, "{found}");
    }
}
