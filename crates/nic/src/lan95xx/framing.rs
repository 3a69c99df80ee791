//! How frames are packed into transfers (LAN950x data sheet, 5.3.1.1 and 5.4).
//!
//! Received: a status word, two bytes of padding (HW_CFG.RXDOFF) that put the IP header on a word, the frame with its FCS,
//! and padding to a word; then the next. To be sent: two command words and the frame; frames of a batch start on words.

use core::ops::Range;

use crate::burst::{END, Piece, Walk};
use crate::events::NicEvent;
use crate::exchange::FRAME_LEN_MAX;
use crate::usbnet::{Ending, Framing};

/// Bytes of command words in front of a frame to be sent.
pub(super) const HEADROOM: usize = 8;
/// Bytes between the status word and the frame.
pub(super) const RX_OFFSET: usize = 2;
/// Bytes of the FCS, which the status word counts in.
const FCS_LEN: usize = 4;
/// Shortest and longest frame with its FCS: runts are the MAC's to drop; a VLAN tag more than usual.
const FRAME_LEN: core::ops::RangeInclusive<usize> = 14 + FCS_LEN..=FRAME_LEN_MAX + 4 + FCS_LEN;

/// Bits of the status word (table 5-40; Linux `RX_STS_*`, FreeBSD `SMSC_RX_STAT_*`).
const RX_ERROR: u32 = 1 << 15;
const RX_LENGTH_ERROR: u32 = 1 << 12;
const RX_RUNT: u32 = 1 << 11;
const RX_TOO_LONG: u32 = 1 << 7;
const RX_COLLISION: u32 = 1 << 6;
const RX_MII_ERROR: u32 = 1 << 3;
const RX_DRIBBLING: u32 = 1 << 2;
const RX_CRC: u32 = 1 << 1;

/// Bits of command word A (table 5-41).
const FIRST_AND_LAST_SEGMENT: u32 = 1 << 13 | 1 << 12;

/// The chip's own format.
pub(super) struct Lan95xxFraming {
    /// Most bytes of a receive.
    pub(super) receive_len: usize,
}

impl Framing for Lan95xxFraming {
    // Linux sends one (`FLAG_SEND_ZLP`), FreeBSD too (`force_short_xfer`).
    const ENDING: Ending = Ending::EmptyPacket;
    const IS_STREAM: bool = true;
    const WALK: Walk = walk;

    fn receive_len(&self) -> usize {
        self.receive_len
    }

    fn wrap(&self, buffer: &mut [u8], frame: Range<usize>, _max_packet: usize) -> usize {
        write_commands(buffer, frame.len());
        frame.end
    }

    fn batch_len(&self) -> usize {
        // The transmit FIFO (5.4).
        8 * 1024
    }

    fn append(&self, batch: &mut [u8], end: usize, frame: &[u8]) -> Option<usize> {
        let start = end.next_multiple_of(4);
        let new_end = start + HEADROOM + frame.len();
        batch.get_mut(end..start)?.fill(0);
        let (commands, content) = batch.get_mut(start..new_end)?.split_at_mut(HEADROOM);
        write_commands(commands, frame.len());
        content.copy_from_slice(frame);
        Some(new_end)
    }
}

/// Writes the command words of a frame that is sent whole.
fn write_commands(buffer: &mut [u8], len: usize) {
    // Eleven bits each: frames are shorter than 2,048 bytes.
    #[expect(clippy::cast_possible_truncation, reason = "see the line above")]
    let len = len as u32 & 0x7FF;
    for (chunk, word) in buffer.as_chunks_mut::<4>().0.iter_mut().zip([len | FIRST_AND_LAST_SEGMENT, len]) {
        *chunk = word.to_le_bytes();
    }
}

/// Finds the frame whose status word is at an offset.
pub(super) fn walk(bytes: &[u8], at: usize) -> Piece {
    let rest = bytes.get(at..).unwrap_or_default();
    let Some((status, rest)) = rest.split_first_chunk() else {
        // Nothing, or the padding behind the last frame.
        return Piece::End;
    };
    let status = u32::from_le_bytes(*status);
    let len = (status >> 16 & 0x3FFF) as usize;
    let start = at + 4 + RX_OFFSET;
    // Where the next status word is can't be known when this length is not one that the chip can have meant.
    if rest.len() < RX_OFFSET + len || !(status & RX_ERROR != 0 || FRAME_LEN.contains(&len)) {
        return Piece::Damaged { why: NicEvent::RxStatus, next: END };
    }
    let next = (start + len).next_multiple_of(4);
    if status & RX_ERROR != 0 {
        return Piece::Damaged { why: reason(status), next };
    }
    Piece::Frame { frame: start..start + len - FCS_LEN, next }
}

fn reason(status: u32) -> NicEvent {
    match status {
        _ if status & (RX_CRC | RX_DRIBBLING) != 0 => NicEvent::RxCrc,
        _ if status & RX_MII_ERROR != 0 => NicEvent::RxSymbol,
        _ if status & (RX_LENGTH_ERROR | RX_TOO_LONG | RX_RUNT | RX_COLLISION) != 0 => NicEvent::RxLength,
        _ => NicEvent::RxStatus,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test, as it should")]

    use super::*;
    use crate::burst::frames_of;

    /// A frame as the chip packs it, with padding to a word behind it.
    fn packed(frame: &[u8], status: u32) -> Vec<u8> {
        let word = ((frame.len() + FCS_LEN) as u32) << 16 | status;
        let mut bytes = word.to_le_bytes().to_vec();
        bytes.extend([0xEE; RX_OFFSET]);
        bytes.extend(frame);
        bytes.extend([0xFC; FCS_LEN]);
        bytes.resize(bytes.len().next_multiple_of(4), 0xEE);
        bytes
    }

    #[test]
    fn frames_of_every_alignment_are_found_behind_each_other() {
        for first in 14..1519 {
            let mut bytes = packed(&vec![1; first], 0);
            let second = bytes.len();
            bytes.extend(packed(&[2; 60], 1 << 13));
            let expected = vec![[6, 6 + first], [second + 6, second + 66]];
            assert_eq!(frames_of(&bytes, walk), (expected, 0), "{first}");
        }
    }

    #[test]
    fn the_last_frame_needs_no_padding() {
        let mut bytes = packed(&[1; 61], 0);
        bytes.truncate(6 + 61 + 4);
        assert_eq!(frames_of(&bytes, walk), (vec![[6, 67]], 0));
    }

    #[test]
    fn an_empty_transfer_is_nothing() {
        assert_eq!(frames_of(&[], walk), (vec![], 0));
    }

    #[test]
    fn a_frame_with_an_error_is_counted_by_its_reason_and_the_next_one_arrives() {
        for (bits, why) in [
            (RX_CRC, NicEvent::RxCrc),
            (RX_MII_ERROR, NicEvent::RxSymbol),
            (RX_RUNT, NicEvent::RxLength),
            (RX_TOO_LONG, NicEvent::RxLength),
            (0, NicEvent::RxStatus),
        ] {
            let mut bytes = packed(&[1; 63], RX_ERROR | bits);
            let second = bytes.len();
            assert_eq!(walk(&bytes, 0), Piece::Damaged { why, next: second });
            bytes.extend(packed(&[2; 60], 0));
            assert_eq!(frames_of(&bytes, walk), (vec![[second + 6, second + 66]], 1));
        }
    }

    #[test]
    fn a_burst_that_is_cut_off_costs_only_its_last_frame() {
        let mut bytes = packed(&[1; 60], 0);
        let second = bytes.len();
        bytes.extend(packed(&[2; 600], 0));
        for len in second + 4..second + 6 + 604 {
            assert_eq!(frames_of(&bytes[..len], walk), (vec![[6, 66]], 1), "{len}");
        }
    }

    #[test]
    fn lengths_that_no_frame_has_end_the_burst() {
        for len in [0_u32, 1, 17, 1523, 0x3FFF] {
            let mut bytes = (len << 16).to_le_bytes().to_vec();
            bytes.resize(20_000, 0);
            assert_eq!(frames_of(&bytes, walk), (vec![], 1), "{len}");
        }
    }

    #[test]
    fn random_bytes_never_panic_and_no_frame_is_outside() {
        let mut random = 0x5EED_0095_u64;
        let mut step = || {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random
        };
        let (mut found, mut lost) = (0, 0);
        for _ in 0..20_000 {
            let mut bytes = Vec::new();
            for _ in 0..1 + step() % 6 {
                bytes.extend(packed(&vec![9; 14 + (step() % 300) as usize], 0));
            }
            for _ in 0..step() % 4 {
                let at = (step() % bytes.len() as u64) as usize;
                bytes[at] = step() as u8;
            }
            bytes.truncate(bytes.len() - (step() % 20) as usize);
            let (frames, damaged) = frames_of(&bytes, walk);
            found += frames.len();
            lost += damaged;
        }
        assert!(found > 40_000 && lost > 5_000, "{found} {lost}");
    }

    #[test]
    fn a_frame_to_be_sent_has_its_length_twice_in_front() {
        let mut buffer = [0; 100];
        let framing = Lan95xxFraming { receive_len: 0 };
        assert_eq!(framing.wrap(&mut buffer, HEADROOM..HEADROOM + 60, 512), 68);
        assert_eq!(buffer[..8], [60, 0x30, 0, 0, 60, 0, 0, 0]);
    }

    #[test]
    fn frames_of_a_batch_start_on_words() {
        let framing = Lan95xxFraming { receive_len: 0 };
        let mut batch = [0xEE; 400];
        let end = framing.append(&mut batch, 0, &[1; 61]).unwrap();
        assert_eq!(end, 69);
        let end = framing.append(&mut batch, end, &[2; 60]).unwrap();
        assert_eq!((end, &batch[69..72], &batch[72..80]), (140, &[0; 3][..], &[60, 0x30, 0, 0, 60, 0, 0, 0][..]));
        assert_eq!(batch[80..140], [2; 60]);
        assert_eq!(framing.append(&mut batch, end, &[3; 300]), None, "no room");
    }
}
