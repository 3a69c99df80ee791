//! Writes patterns to all of the memory, then reads all of it back.
//!
//! Each pass has another pattern: addresses and their complements find address lines that are open or shorted, walking ones and
//! zeros find data lines, random numbers find what depends on neighbours. The memory is larger than the caches, so what is read
//! comes from the RAM.

use alloc::vec::Vec;
use core::hint::black_box;
use core::ops::Range;

/// Words of a chunk: 64 KiB, some tens of µs.
const CHUNK: usize = (64 << 10) / size_of::<u64>();

/// Memory under test.
pub(crate) struct MemoryTest<'a> {
    /// None is empty.
    regions: Vec<&'a mut [u64]>,
    pattern: Pattern,
    cycle: u64,
    phase: Phase,
    /// The region to go on with, and the word in it.
    next: (usize, usize),
    found: Tested,
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tested {
    /// From the lowest address to the end of the highest.
    pub(crate) span: Range<u64>,
    /// Bytes that were tested between them.
    pub(crate) bytes: u64,
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
    /// Prepares a test of `regions`, in their order, of at most `bytes_max` bytes in all.
    pub(crate) fn new(regions: impl IntoIterator<Item = &'a mut [u64]>, bytes_max: u64) -> Self {
        let mut left = usize::try_from(bytes_max).unwrap_or(usize::MAX) / size_of::<u64>();
        let take = |words: &'a mut [u64]| {
            let len = words.len().min(left);
            left -= len;
            words.get_mut(..len).filter(|words| !words.is_empty())
        };
        let regions: Vec<_> = regions.into_iter().filter_map(take).collect();
        let start = regions.iter().map(|words| base(words)).min().unwrap_or(0);
        let end = regions.iter().map(|words| base(words) + size_of_val(*words) as u64).max().unwrap_or(0);
        let bytes = regions.iter().map(|words| size_of_val(*words) as u64).sum();
        let found = Tested { span: start..end, bytes, ..Tested::default() };
        Self { regions, pattern: Pattern::Addresses, cycle: 0, phase: Phase::Write, next: (0, 0), found }
    }

    /// Returns what was found until now.
    pub(crate) fn found(&self) -> &Tested {
        &self.found
    }

    /// Goes on by one chunk, and returns how many bytes it moved and how many words were wrong.
    pub(crate) fn step(&mut self) -> (u64, u64) {
        let (index, start) = self.next;
        let Some(words) = self.regions.get_mut(index) else { return (0, 0) };
        let (base, len) = (base(words), words.len());
        let range = start..(start + CHUNK).min(len);
        let chunk = words.get_mut(range.clone()).unwrap_or_default();
        let expected = range.clone().map(|i| (i, self.pattern.word(i as u64, base, self.cycle)));
        let mut wrong = 0;
        match self.phase {
            Phase::Write => {
                for (word, (_, written)) in black_box(chunk).iter_mut().zip(expected) {
                    *word = written;
                }
            }
            Phase::Read => {
                for (&read, (i, written)) in black_box(&*chunk).iter().zip(expected) {
                    if read != written {
                        wrong += 1;
                        let address = base + (i * size_of::<u64>()) as u64;
                        self.found.first.get_or_insert(Fault { address, written, read });
                    }
                }
            }
        }
        self.found.wrong += wrong;
        self.next = if range.end < len { (index, range.end) } else { (index + 1, 0) };
        if self.next.0 == self.regions.len() {
            self.turn();
        }
        ((range.len() * size_of::<u64>()) as u64, wrong)
    }

    /// Turns from writing to reading, and from one pattern to the next.
    fn turn(&mut self) {
        self.next = (0, 0);
        if self.phase == Phase::Write {
            self.phase = Phase::Read;
            return;
        }
        self.phase = Phase::Write;
        self.found.passes += 1;
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

/// Returns the address of the first word, the physical one too, because memory is mapped one to one.
fn base(words: &[u64]) -> u64 {
    words.as_ptr().addr() as u64
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
            let mut test = MemoryTest::new([&mut memory[..]], u64::MAX);
            let moved: u64 = (0..12 * steps(len)).map(|_| test.step().0).sum();
            assert_eq!(moved, 12 * 16 * len as u64);
            let Tested { span, bytes, passes, wrong, first } = test.found().clone();
            assert_eq!(span.end - span.start, bytes);
            assert_eq!((bytes, passes, wrong, first), (8 * len as u64, 12, 0, None));
        }
    }

    /// Runs a test of memory that `damage` changes after each pass of writing, and returns what it found.
    fn damaged(len: usize, passes: usize, damage: impl Fn(&mut [u64])) -> Tested {
        let mut memory = vec![0; len];
        let mut test = MemoryTest::new([&mut memory[..]], u64::MAX);
        for _ in 0..passes {
            (0..len.div_ceil(CHUNK)).for_each(|_| _ = test.step());
            assert_eq!(test.phase, Phase::Read);
            damage(test.regions[0]);
            (0..len.div_ceil(CHUNK)).for_each(|_| _ = test.step());
        }
        test.found().clone()
    }

    #[test]
    fn every_region_is_tested_as_far_as_told() {
        let mut memory = vec![0; 5 * CHUNK];
        let (first, rest) = memory.split_at_mut(CHUNK + 3);
        let mut test = MemoryTest::new([first, &mut [], rest], 8 * (3 * CHUNK as u64));
        assert_eq!(test.found().bytes, 8 * (3 * CHUNK as u64));
        // Two steps for the first region, two for what of the other fits.
        for _ in 0..4 {
            test.step();
        }
        assert_eq!((test.phase, test.next), (Phase::Read, (0, 0)));
        test.regions[1][CHUNK + 7] ^= 1;
        for _ in 0..4 {
            test.step();
        }
        let found = test.found().clone();
        assert_eq!((found.passes, found.wrong), (1, 1));
        assert_eq!(found.first.unwrap().address, found.span.start + 8 * (2 * CHUNK as u64 + 10));
        assert!(memory[3 * CHUNK..].iter().all(|&word| word == 0), "what was not to be tested was written");
    }

    #[test]
    fn no_memory_passes_nothing() {
        let mut test = MemoryTest::new([], u64::MAX);
        assert_eq!(test.step(), (0, 0));
        assert_eq!(test.found(), &Tested::default());
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
                assert_eq!((address, written ^ read), (found.span.start + 77 * 8, 1 << bit));
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
}
