//! Blocks: a header (NTH), datagrams, and tables of where they are (NDP). All numbers are little-endian, 16 bits wide, and
//! offsets count from the start of the block (NCM 1.0, chapter 3).

use core::cell::Cell;
use core::ops::Range;

use crate::burst::{END, Piece, Walk};
use crate::events::NicEvent;
use crate::exchange::FRAME_LEN_MAX;
use crate::usbnet::{Ending, Framing};

/// Signatures: "NCMH" (3.2.1), "NCM0" and, with a checksum behind each datagram, "NCM1" (3.3.1).
const NTH_SIGNATURE: [u8; 4] = *b"NCMH";
const NDP_SIGNATURE: [u8; 4] = *b"NCM0";
const NDP_CRC_SIGNATURE: [u8; 4] = *b"NCM1";
/// Lengths of the header, of a table without entries, and of an entry.
const NTH_LEN: usize = 12;
const NDP_LEN: usize = 8;
const ENTRY_LEN: usize = 4;
/// Bytes of the checksum behind a datagram.
const CRC_LEN: usize = 4;
/// Most datagrams in a block that is sent.
const DATAGRAMS_MAX: usize = 16;
/// Shortest and longest frame: a header, and a VLAN tag more than usual.
const FRAME_LEN: core::ops::RangeInclusive<usize> = 14..=FRAME_LEN_MAX + 4;
/// Length of the header of a frame, which alignment does not count.
const ETHERNET_HEADER_LEN: usize = 14;
/// Smallest size of blocks that a function may offer (table 6-3).
const BLOCK_LEN_MIN: usize = 2048;
/// Most bytes of a block that is sent.
const BATCH_LEN: usize = 8 * 1024;
/// Coarsest alignment that is believed.
const ALIGNMENT_MAX: usize = 256;

/// What a function says about its blocks (table 6-3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    /// Most bytes of a block to the host.
    pub(super) in_len_max: usize,
    /// Most bytes of a block to the function.
    out_len_max: usize,
    /// The payload of a frame is at an offset that leaves `remainder` when it is divided by `divisor`.
    divisor: usize,
    remainder: usize,
    /// The table is at a multiple of this.
    table_alignment: usize,
    /// Most datagrams in a block.
    datagrams_max: usize,
}

impl Layout {
    /// Parses the NTB parameter structure. `None` when it makes no sense.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let divisor = usize::from(half(bytes, 20)?).max(4);
        let table_alignment = usize::from(half(bytes, 24)?).max(4);
        let datagrams_max = half(bytes, 26).unwrap_or(0);
        let layout = Self {
            in_len_max: word(bytes, 4)?,
            out_len_max: word(bytes, 16)?,
            divisor,
            remainder: usize::from(half(bytes, 22)?) % divisor,
            table_alignment,
            // 0 is "no limit".
            datagrams_max: if datagrams_max == 0 { DATAGRAMS_MAX } else { DATAGRAMS_MAX.min(datagrams_max.into()) },
        };
        let is_sane = table_alignment.is_power_of_two()
            && table_alignment.max(divisor) <= ALIGNMENT_MAX
            && layout.in_len_max.min(layout.out_len_max) >= BLOCK_LEN_MIN;
        is_sane.then_some(layout)
    }

    /// Returns where the table is.
    fn table(&self) -> usize {
        NTH_LEN.next_multiple_of(self.table_alignment)
    }

    /// Returns the first place for a frame that is not before `from`. Linux `cdc_ncm_fix_modulus` takes the header of the
    /// frame off the remainder, too.
    fn place(&self, from: usize) -> usize {
        let payload = from + ETHERNET_HEADER_LEN;
        let over = payload % self.divisor;
        from + (self.divisor + self.remainder - over) % self.divisor
    }
}

/// Packs frames into blocks.
pub(super) struct NcmFraming {
    layout: Layout,
    receive_len: usize,
    sequence: Cell<u16>,
}

impl NcmFraming {
    /// Makes one for a function that sends blocks of at most `receive_len` bytes.
    pub(super) fn new(layout: Layout, receive_len: usize) -> Self {
        Self { layout, receive_len, sequence: Cell::new(0) }
    }

    /// Returns the bytes in front of a frame that has a block of its own.
    pub(super) fn headroom(&self) -> usize {
        self.layout.place(self.table() + NDP_LEN + 2 * ENTRY_LEN)
    }

    fn table(&self) -> usize {
        self.layout.table()
    }

    /// Writes header and table of a block of `len` bytes whose datagrams are all entered.
    fn write_header(&self, block: &mut [u8], len: usize) {
        let sequence = self.sequence.get();
        self.sequence.set(sequence.wrapping_add(1));
        write(block, 0, &NTH_SIGNATURE);
        write_half(block, 4, NTH_LEN);
        write(block, 6, &sequence.to_le_bytes());
        write_half(block, 8, len);
        write_half(block, 10, self.table());
    }

    /// Writes a table with room for `entries` and the empty one behind them.
    fn write_table(&self, block: &mut [u8], entries: usize) {
        let table = self.table();
        let len = NDP_LEN + (entries + 1) * ENTRY_LEN;
        if let Some(bytes) = block.get_mut(NTH_LEN..table + len) {
            bytes.fill(0);
        }
        write(block, table, &NDP_SIGNATURE);
        write_half(block, table + 4, len);
    }

    fn write_entry(&self, block: &mut [u8], index: usize, frame: &Range<usize>) {
        let at = self.table() + NDP_LEN + index * ENTRY_LEN;
        write_half(block, at, frame.start);
        write_half(block, at + 2, frame.len());
    }
}

impl Framing for NcmFraming {
    // A block that is shorter than the longest ends with a short packet (3.2.2).
    const ENDING: Ending = Ending::EmptyPacket;
    const WALK: Walk = walk;

    fn receive_len(&self) -> usize {
        self.receive_len
    }

    fn wrap(&self, buffer: &mut [u8], frame: Range<usize>, _max_packet: usize) -> usize {
        self.write_table(buffer, 1);
        self.write_entry(buffer, 0, &frame);
        self.write_header(buffer, frame.end);
        frame.end
    }

    fn batch_len(&self) -> usize {
        if self.layout.datagrams_max > 1 { BATCH_LEN.min(self.layout.out_len_max) } else { 0 }
    }

    fn append(&self, batch: &mut [u8], end: usize, frame: &[u8]) -> Option<usize> {
        let entries = self.layout.datagrams_max;
        let first = self.table() + NDP_LEN + (entries + 1) * ENTRY_LEN;
        let index = if end == 0 { 0 } else { (0..entries).find(|index| !self.has_entry(batch, *index))? };
        let from = if end == 0 { first } else { end };
        let start = self.layout.place(from);
        let place = start..start + frame.len();
        batch.get(place.clone())?;
        if end == 0 {
            self.write_table(batch, entries);
        }
        batch.get_mut(from..start)?.fill(0);
        batch.get_mut(place.clone())?.copy_from_slice(frame);
        self.write_entry(batch, index, &place);
        if end == 0 {
            self.write_header(batch, place.end);
        } else {
            write_half(batch, 8, place.end);
        }
        Some(place.end)
    }
}

impl NcmFraming {
    fn has_entry(&self, block: &[u8], index: usize) -> bool {
        half(block, self.table() + NDP_LEN + index * ENTRY_LEN).is_some_and(|start| start != 0)
    }
}

/// Finds a datagram. A place is the offset of its table and its number there, except for the first.
pub(super) fn walk(bytes: &[u8], place: usize) -> Piece {
    let damaged = Piece::Damaged { why: NicEvent::RxStatus, next: END };
    if bytes.is_empty() {
        // What ends a block whose last packet was full.
        return Piece::End;
    }
    let (mut table, mut index) = (place >> 16, place & 0xFFFF);
    if place == 0 {
        let (Some(signature), Some(first)) = (bytes.first_chunk(), half(bytes, 10)) else { return damaged };
        if *signature != NTH_SIGNATURE || usize::from(first) < NTH_LEN {
            return damaged;
        }
        (table, index) = (first.into(), 0);
    }
    loop {
        let Some((crc_len, len, next_table)) = table_at(bytes, table) else { return damaged };
        let at = NDP_LEN + index * ENTRY_LEN;
        let next = table << 16 | (index + 1);
        let entry = (half(bytes, table + at), half(bytes, table + at + 2));
        match entry {
            (Some(start @ 1..), Some(frame_len @ 1..)) if at + ENTRY_LEN <= len => {
                let frame = usize::from(start)..usize::from(start) + usize::from(frame_len);
                let is_frame = frame.end <= bytes.len() && FRAME_LEN.contains(&frame.len().saturating_sub(crc_len));
                return if is_frame {
                    Piece::Frame { frame: frame.start..frame.end - crc_len, next }
                } else {
                    Piece::Damaged { why: NicEvent::RxLength, next }
                };
            }
            (None, _) | (_, None) if at + ENTRY_LEN <= len => return damaged,
            // The empty entry at the end.
            _ if next_table == 0 => return Piece::End,
            // Tables follow each other: one that leads back would be walked for ever, overlapping ones for long.
            _ if next_table < table + len.max(NDP_LEN) => return damaged,
            _ => (table, index) = (next_table, 0),
        }
    }
}

/// Returns the length of the checksums, the table's own length and where the next one is.
fn table_at(bytes: &[u8], table: usize) -> Option<(usize, usize, usize)> {
    let signature: &[u8; 4] = bytes.get(table..)?.first_chunk()?;
    let crc_len = match *signature {
        NDP_SIGNATURE => 0,
        NDP_CRC_SIGNATURE => CRC_LEN,
        _ => return None,
    };
    Some((crc_len, half(bytes, table + 4)?.into(), half(bytes, table + 6)?.into()))
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|bytes| u16::from_le_bytes(*bytes))
}

fn word(bytes: &[u8], at: usize) -> Option<usize> {
    bytes.get(at..)?.first_chunk().map(|bytes| u32::from_le_bytes(*bytes) as usize)
}

fn write(bytes: &mut [u8], at: usize, value: &[u8]) {
    if let Some(to) = bytes.get_mut(at..at + value.len()) {
        to.copy_from_slice(value);
    }
}

/// Offsets and lengths here are bounded by buffers of a few kilobytes.
#[expect(clippy::cast_possible_truncation, reason = "see above")]
fn write_half(bytes: &mut [u8], at: usize, value: usize) {
    write(bytes, at, &(value as u16).to_le_bytes());
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test, as it should")]

    use super::*;
    use crate::burst::frames_of;

    fn parameters(divisor: u16, remainder: u16, alignment: u16, datagrams: u16) -> Vec<u8> {
        let mut bytes = vec![28, 0, 1, 0];
        bytes.extend(16_384_u32.to_le_bytes());
        [4_u16, 0, 4, 0].iter().for_each(|half| bytes.extend(half.to_le_bytes()));
        bytes.extend(8192_u32.to_le_bytes());
        [divisor, remainder, alignment, datagrams].iter().for_each(|half| bytes.extend(half.to_le_bytes()));
        bytes
    }

    fn framing(divisor: u16, remainder: u16, alignment: u16, datagrams: u16) -> NcmFraming {
        NcmFraming::new(Layout::parse(&parameters(divisor, remainder, alignment, datagrams)).unwrap(), 16_384)
    }

    #[test]
    fn parameters_that_make_no_sense_are_refused() {
        assert!(Layout::parse(&parameters(4, 0, 4, 0)).is_some());
        assert!(Layout::parse(&parameters(4, 0, 4, 0)[..25]).is_none(), "cut off");
        assert!(Layout::parse(&parameters(4, 0, 12, 0)).is_none(), "no power of two");
        assert!(Layout::parse(&parameters(4, 0, 4096, 0)).is_none());
        let mut bytes = parameters(4, 0, 4, 0);
        bytes[16..20].fill(0);
        assert!(Layout::parse(&bytes).is_none(), "no room for a frame");
    }

    #[test]
    fn a_frame_alone_has_header_and_table_in_front() {
        let framing = framing(4, 0, 4, 0);
        // 28 bytes of header and table; the payload, 14 bytes further on, is at a multiple of four.
        assert_eq!(framing.headroom(), 30);
        let mut buffer = [0xEE; 128];
        assert_eq!(framing.wrap(&mut buffer, 30..90, 512), 90);
        assert_eq!(buffer[..12], *b"NCMH\x0C\0\0\0\x5A\0\x0C\0");
        assert_eq!(buffer[12..28], *b"NCM0\x10\0\0\0\x1E\0\x3C\0\0\0\0\0");
        assert_eq!(frames_of(&buffer[..90], walk), (vec![[30, 90]], 0));
        framing.wrap(&mut buffer, 30..90, 512);
        assert_eq!(buffer[6], 1, "blocks are numbered");
    }

    #[test]
    fn batches_keep_to_every_alignment_and_limit() {
        for (divisor, remainder, alignment, datagrams) in
            [(4, 0, 4, 0), (4, 2, 4, 3), (32, 0, 32, 0), (64, 14, 8, 40), (1, 0, 4, 2)]
        {
            let framing = framing(divisor, remainder, alignment, datagrams);
            let most = framing.batch_len();
            let mut batch = vec![0xEE; most];
            let (mut end, mut expected) = (0, Vec::new());
            for len in (0..).map(|i| 60 + i * 97 % 1400) {
                let Some(new_end) = framing.append(&mut batch, end, &vec![len as u8; len]) else { break };
                expected.push([new_end - len, new_end]);
                end = new_end;
            }
            let limit = if datagrams == 0 { 16 } else { usize::from(datagrams) };
            assert!(expected.len() > 1 && expected.len() <= limit, "{}", expected.len());
            assert_eq!(frames_of(&batch[..end], walk), (expected.clone(), 0));
            assert_eq!(usize::from(half(&batch, 8).unwrap()), end);
            let table = usize::from(half(&batch, 10).unwrap());
            assert!(table.is_multiple_of(usize::from(alignment)));
            for [start, frame_end] in expected {
                let divisor = usize::from(divisor).max(4);
                assert_eq!((start + 14) % divisor, usize::from(remainder) % divisor);
                assert!(batch[start..frame_end].iter().all(|byte| *byte == (frame_end - start) as u8));
            }
        }
    }

    /// A block with two tables, the second with checksums.
    fn two_tables() -> Vec<u8> {
        let mut block = vec![0; 600];
        block[..12].copy_from_slice(b"NCMH\x0C\0\x07\0\0\0\x0C\0");
        block[12..32].copy_from_slice(b"NCM0\x14\0\xC8\0\x40\0\x3C\0\x80\0\x3C\0\0\0\0\0");
        block[200..216].copy_from_slice(b"NCM1\x10\0\0\0\x2C\x01\x40\0\0\0\0\0");
        block
    }

    #[test]
    fn tables_follow_each_other_and_checksums_are_taken_off() {
        assert_eq!(frames_of(&two_tables(), walk), (vec![[64, 124], [128, 188], [300, 360]], 0));
    }

    #[test]
    fn a_block_that_is_cut_off_costs_only_what_is_not_in_it() {
        assert_eq!(frames_of(&two_tables()[..363], walk), (vec![[64, 124], [128, 188]], 1));
        assert_eq!(frames_of(&two_tables()[..20], walk), (vec![], 1));
        assert_eq!(frames_of(&two_tables()[..5], walk), (vec![], 1));
        assert_eq!(frames_of(&[], walk), (vec![], 0));
    }

    #[test]
    fn tables_that_lead_back_do_not_loop() {
        let mut block = two_tables();
        block[206..208].copy_from_slice(&12_u16.to_le_bytes());
        assert_eq!(frames_of(&block, walk).1, 1);
        block[206..208].copy_from_slice(&200_u16.to_le_bytes());
        assert_eq!(frames_of(&block, walk).1, 1);
    }

    #[test]
    fn random_bytes_never_panic_and_no_frame_is_outside() {
        let mut random = 0x5EED_0D0D_u64;
        let mut step = || {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random
        };
        let mut found = 0;
        for _ in 0..100_000 {
            let mut block = two_tables();
            for _ in 0..step() % 4 {
                // In header and tables, where it matters.
                let at = [step() % 32, 200 + step() % 16][(step() % 2) as usize];
                block[at as usize] = step() as u8;
            }
            block.truncate(600 - (step() % 300) as usize);
            found += frames_of(&block, walk).0.len();
        }
        assert!(found > 100_000, "{found}");
    }
}
