//! The journal: the last log lines, in memory that survives a reset, so that they tell what came before it, whatever it was.
//!
//! A crash report can be written only by a node that notices that it crashes. The journal needs no last moment: each line is
//! sealed by itself when it is written, with a number, and the oldest makes room for it. A line that a reset has cut short,
//! and what power-on leaves in RAM, have a wrong checksum and are not there.

use crc::{CRC_32_ISO_HDLC, Crc};
use heapless::Vec;
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes};

const CRC: Crc<u32> = Crc::<u32>::new(&CRC_32_ISO_HDLC);
/// Lines that are kept.
pub const LINES: usize = 48;
/// Longest text of a line, in bytes.
pub const TEXT_LEN: usize = 160;
/// Changes with the layout; it is part of what the checksum is made of.
const VERSION: u32 = 0x4d50_4a01;

/// What the journal is made of. Every value of its bytes is a value of the type.
#[repr(C, align(64))]
#[derive(Clone, FromBytes, IntoBytes, Immutable)]
pub struct Memory {
    slots: [Slot; LINES],
}

/// Three lines of the data cache.
#[repr(C)]
#[derive(Clone, FromBytes, IntoBytes, Immutable)]
struct Slot {
    /// Of everything behind it.
    crc: u32,
    version: u32,
    /// Counts lines over all lives.
    number: u64,
    at_us: u64,
    boot: u32,
    level: u8,
    core: u8,
    len: u16,
    text: [u8; TEXT_LEN],
}

/// A line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// The number of the boot of which it tells.
    pub boot: u32,
    /// When it was written, in µs since that boot.
    pub at_us: u64,
    /// How much it matters, as a number that the writer chose.
    pub level: u8,
    /// The core that wrote it.
    pub core: u8,
    /// What it says.
    pub text: &'a str,
}

/// The journal of a running node.
pub struct Journal {
    memory: &'static mut Memory,
    next: u64,
    boot: u32,
}

impl Memory {
    /// Returns the lines that are there, the oldest first.
    pub fn lines(&self) -> impl Iterator<Item = Line<'_>> {
        let mut slots: Vec<&Slot, LINES> = self.valid().collect();
        slots.sort_unstable_by_key(|slot| slot.number);
        slots.into_iter().filter_map(Slot::line)
    }

    fn valid(&self) -> impl Iterator<Item = &Slot> {
        self.slots.iter().filter(|slot| slot.version == VERSION && slot.crc == slot.checksum())
    }
}

impl Journal {
    /// Goes on with the journal in `memory`: what is there stays until it is overwritten. `boot` is the number of this boot.
    #[must_use]
    pub fn open(memory: &'static mut Memory, boot: u32) -> Self {
        let next = memory.valid().map(|slot| slot.number.wrapping_add(1)).max().unwrap_or(0);
        Self { memory, next, boot }
    }

    /// Writes a line, of which as much is kept as there is room for, and returns the memory that has to be written back to
    /// RAM. `level` and `core` are as in [`Line`].
    pub fn push(&mut self, at_us: u64, level: u8, core: u8, text: &str) -> &[u8] {
        let (number, boot) = (self.next, self.boot);
        self.next = number.wrapping_add(1);
        let index = (number % LINES as u64) as usize;
        let Some(slot) = self.memory.slots.get_mut(index) else { return &[] };
        let len = text.floor_char_boundary(TEXT_LEN);
        slot.zero();
        (slot.version, slot.number, slot.at_us, slot.boot) = (VERSION, number, at_us, boot);
        // At most 160.
        (slot.level, slot.core, slot.len) = (level, core, len as u16);
        for (to, from) in slot.text.iter_mut().zip(text.bytes().take(len)) {
            *to = from;
        }
        slot.crc = slot.checksum();
        slot.as_bytes()
    }
}

impl Slot {
    fn checksum(&self) -> u32 {
        CRC.checksum(self.as_bytes().get(size_of::<u32>()..).unwrap_or_default())
    }

    fn line(&self) -> Option<Line<'_>> {
        let text = str::from_utf8(self.text.get(..self.len.into())?).ok()?;
        Some(Line { boot: self.boot, at_us: self.at_us, level: self.level, core: self.core, text })
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    fn memory(noise: u8) -> &'static mut Memory {
        Box::leak(Box::new(Memory::read_from_bytes(&[noise; size_of::<Memory>()]).unwrap()))
    }

    fn after_reset(journal: &Journal) -> &'static mut Memory {
        Box::leak(Box::new(Memory::read_from_bytes(journal.memory.as_bytes()).unwrap()))
    }

    fn texts(memory: &Memory) -> std::vec::Vec<String> {
        memory.lines().map(|line| line.text.to_owned()).collect()
    }

    #[test]
    fn power_on_leaves_an_empty_journal() {
        for noise in [0, 0xff, 0x5a] {
            assert_eq!(memory(noise).lines().count(), 0);
        }
    }

    #[test]
    fn lines_survive_resets_in_order() {
        let mut journal = Journal::open(memory(0xa5), 1);
        for number in 0..LINES as u64 + 3 {
            journal.push(number, 2, 1, &format!("line {number}"));
        }
        let memory = after_reset(&journal);
        let lines: std::vec::Vec<_> = memory.lines().collect();
        assert_eq!(lines.len(), LINES);
        assert_eq!(lines[0], Line { boot: 1, at_us: 3, level: 2, core: 1, text: "line 3" });
        assert!(lines.windows(2).all(|pair| pair[0].at_us + 1 == pair[1].at_us));
        // The next life overwrites the oldest first, and its lines come last although its time began anew.
        let mut journal = Journal::open(memory, 2);
        journal.push(0, 2, 0, "again");
        let last = after_reset(&journal).lines().last().map(|line| (line.boot, line.text));
        assert_eq!(last, Some((2, "again")));
        assert_eq!(texts(after_reset(&journal))[0], "line 4");
    }

    #[test]
    fn a_line_that_was_cut_short_is_not_there() {
        let mut journal = Journal::open(memory(0), 1);
        journal.push(1, 0, 0, "whole");
        journal.push(2, 0, 0, "broken");
        for at in size_of::<Slot>()..2 * size_of::<Slot>() {
            let damaged = after_reset(&journal);
            damaged.as_mut_bytes()[at] ^= 0x10;
            assert_eq!(texts(damaged), ["whole"], "byte {at}");
        }
    }

    #[test]
    fn what_is_returned_is_what_has_changed() {
        let mut journal = Journal::open(memory(0), 1);
        assert_eq!(journal.push(1, 0, 0, "a").len(), 192);
        assert_eq!(align_of::<Memory>(), 64);
    }

    #[test]
    fn a_long_line_is_cut_between_characters() {
        let mut journal = Journal::open(memory(0), 1);
        journal.push(1, 0, 0, &format!("{}é", "x".repeat(TEXT_LEN - 1)));
        assert_eq!(texts(journal.memory), ["x".repeat(TEXT_LEN - 1)]);
    }
}
