//! Writes patterns to a whole region of memory, then reads all of it back.
//!
//! Each pass has another pattern: addresses and their complements find address lines that are open or shorted, walking ones and
//! zeros find data lines, random numbers find what depends on neighbours. A region is larger than the caches, so what is read
//! comes from the RAM.

use core::hint::black_box;
use core::ops::Range;

/// Words of a chunk: 64 KiB, some tens of µs.
const CHUNK: usize = (64 << 10) / size_of::<u64>();

/// A region under test.
pub(crate) struct MemoryTest<'a> {
    words: &'a mut [u64],
    base: u64,
    pattern: Pattern,
    cycle: u64,
    phase: Phase,
    next: usize,
    found: Tested,
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tested {
    /// The addresses of the region.
    pub(crate) region: Range<u64>,
    /// How many patterns were written and read back.
    pub(crate) passes: u64,
    /// Words that were not what was written.
    pub(crate) wrong: u64,
    /// The first of them.
    pub(crate) first: Option<Fault>,
}

/// A word that was not what was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// Where.
    pub(crate) address: u64,
    /// What was written.
    pub(crate) written: u64,
    /// What was read.
    pub(crate) read: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pattern {
    Addresses,
    Complements,
    WalkingOnes,
    WalkingZeros,
    Random,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Write,
    Read,
}

impl<'a> MemoryTest<'a> {
    /// Prepares a test of `words`.
    pub(crate) fn new(words: &'a mut [u64]) -> Self {
        // Memory is mapped one to one, so this is also the physical address.
        let base = words.as_ptr().addr() as u64;
        let region = base..base + size_of_val(words) as u64;
        let found = Tested { region, ..Tested::default() };
        Self { words, base, pattern: Pattern::Addresses, cycle: 0, phase: Phase::Write, next: 0, found }
    }

    /// Returns what was found until now.
    pub(crate) fn found(&self) -> &Tested {
        &self.found
    }

    /// Goes on by one chunk, and returns how many bytes it moved and how many words were wrong.
    pub(crate) fn step(&mut self) -> (u64, u64) {
        let range = self.next..(self.next + CHUNK).min(self.words.len());
        let wrong = match self.phase {
            Phase::Write => {
                self.write(range.clone());
                0
            }
            Phase::Read => self.read(range.clone()),
        };
        self.next = range.end;
        if self.next == self.words.len() {
            self.turn();
        }
        ((range.len() * size_of::<u64>()) as u64, wrong)
    }

    fn write(&mut self, range: Range<usize>) {
        let (pattern, base, cycle) = (self.pattern, self.base, self.cycle);
        for (word, i) in black_box(self.words.get_mut(range.clone()).unwrap_or_default()).iter_mut().zip(range) {
            *word = pattern.word(i as u64, base, cycle);
        }
    }

    fn read(&mut self, range: Range<usize>) -> u64 {
        let mut wrong = 0;
        for (word, i) in black_box(self.words.get(range.clone()).unwrap_or_default()).iter().zip(range) {
            let written = self.pattern.word(i as u64, self.base, self.cycle);
            if *word != written {
                wrong += 1;
                let address = self.base + (i * size_of::<u64>()) as u64;
                self.found.first.get_or_insert(Fault { address, written, read: *word });
            }
        }
        self.found.wrong += wrong;
        wrong
    }

    /// Turns from writing to reading, and from one pattern to the next.
    fn turn(&mut self) {
        self.next = 0;
        if self.phase == Phase::Write {
            self.phase = Phase::Read;
            return;
        }
        self.phase = Phase::Write;
        // A region without a word proves nothing.
        self.found.passes += u64::from(!self.words.is_empty());
        self.pattern = match self.pattern {
            Pattern::Addresses => Pattern::Complements,
            Pattern::Complements => Pattern::WalkingOnes,
            Pattern::WalkingOnes => Pattern::WalkingZeros,
            Pattern::WalkingZeros => Pattern::Random,
            Pattern::Random => {
                self.cycle += 1;
                Pattern::Addresses
            }
        };
    }
}

impl Pattern {
    /// Returns what word `i` of a region at `base` holds; `cycle` moves walking bits on and gives other random numbers.
    fn word(self, i: u64, base: u64, cycle: u64) -> u64 {
        let address = base + 8 * i;
        let walking = 1u64.rotate_left(((i + cycle) % 64) as u32);
        match self {
            Self::Addresses => address | !address << 32,
            Self::Complements => !(address | !address << 32),
            Self::WalkingOnes => walking,
            Self::WalkingZeros => !walking,
            Self::Random => random(i.wrapping_add(cycle.rotate_left(32))),
        }
    }
}

/// Sebastiano Vigna's SplitMix64 for the `n`th number.
fn random(n: u64) -> u64 {
    // Modulo 2^64 is meant throughout.
    let z = n.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Chunks of one pass over `words`, written and read.
    fn steps(words: usize) -> usize {
        2 * words.div_ceil(CHUNK)
    }

    #[test]
    fn sound_memory_passes_every_pattern() {
        for len in [1, 63, CHUNK, 3 * CHUNK + 5] {
            let mut memory = vec![0; len];
            let mut test = MemoryTest::new(&mut memory);
            let moved: u64 = (0..12 * steps(len)).map(|_| test.step().0).sum();
            assert_eq!(moved, 12 * 16 * len as u64);
            let Tested { region, passes, wrong, first } = test.found().clone();
            assert_eq!((region.end - region.start, passes, wrong, first), (8 * len as u64, 12, 0, None));
        }
    }

    /// Runs a test of memory that `damage` changes after each pass of writing, and returns what it found.
    fn damaged(len: usize, passes: usize, damage: impl Fn(&mut [u64])) -> Tested {
        let mut memory = vec![0; len];
        let mut test = MemoryTest::new(&mut memory);
        for _ in 0..passes {
            (0..len.div_ceil(CHUNK)).for_each(|_| _ = test.step());
            assert_eq!(test.phase, Phase::Read);
            damage(test.words);
            (0..len.div_ceil(CHUNK)).for_each(|_| _ = test.step());
        }
        test.found().clone()
    }

    #[test]
    fn every_stuck_bit_is_found_within_one_cycle_of_patterns() {
        for bit in 0..64 {
            for is_one in [false, true] {
                let found = damaged(200, 5, |words| {
                    words[77] = if is_one { words[77] | 1 << bit } else { words[77] & !(1 << bit) };
                });
                assert!(found.wrong > 0, "bit {bit} stuck at {is_one}");
                let Some(Fault { address, written, read }) = found.first else { unreachable!("some word was wrong") };
                assert_eq!((address, written ^ read), (found.region.start + 77 * 8, 1 << bit));
            }
        }
    }

    #[test]
    fn two_words_at_one_address_are_found_at_once() {
        // As when an address line is open: what is written to one half arrives in the other.
        for distance in [1, 2, 64, 4096] {
            let found = damaged(8192, 1, |words| {
                for i in (0..words.len()).filter(|i| i & distance != 0) {
                    words[i ^ distance] = words[i];
                }
            });
            assert_eq!(found.wrong, 4096, "{distance}");
        }
    }

    #[test]
    fn a_bit_that_flips_once_is_counted_once() {
        let flips = std::cell::Cell::new(1);
        let found = damaged(3 * CHUNK, 10, |words| words[2 * CHUNK + 9] ^= flips.replace(0) << 13);
        assert_eq!((found.passes, found.wrong), (10, 1));
    }

    #[test]
    fn no_memory_is_no_pass() {
        let mut test = MemoryTest::new(&mut []);
        (0..10).for_each(|_| _ = test.step());
        assert_eq!((test.found().passes, test.found().wrong), (0, 0));
    }
}
