//! Moves memory as fast as the core can, and checks that what was written is what is read.
//!
//! Works on the core's memory in chunks, and lets go of the core every few milliseconds. Word `i` of a pass holds
//! `seed + i`, so any chunk can be checked without knowing the others, and the sum of a chunk is known beforehand.

use alloc::boxed::Box;
use core::hint::black_box;

use embassy_time::{Duration, Instant};

use crate::parameter::{Kind, Unit, Values};
use crate::stride::Stride;
use crate::{BoxFuture, Context, Failure, Parameter, Workload};

static MODE: Parameter = Parameter {
    name: "mode",
    help: "what to do; all does one after the other",
    kind: Kind::Choice { of: &["all", "fill", "copy", "read"], default: 0 },
};

static SIZE: Parameter = Parameter {
    name: "size",
    help: "bytes to work on, of the third of the RAM that a core has",
    kind: Kind::Integer { min: 4 << 10, max: 1 << 30, default: 4 << 20, unit: Unit::Bytes },
};

const WORD: usize = size_of::<u64>();
/// Words of a chunk: 64 KiB, some tens of µs.
const CHUNK: usize = (64 << 10) / WORD;
/// How long to work before letting go of the core.
const SLICE: Duration = Duration::from_millis(5);

static PARAMETERS: &[&Parameter] = &[&MODE, &SIZE];

pub(super) static WORKLOAD: Memory = Memory;

pub(super) struct Memory;

impl Workload for Memory {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn summary(&self) -> &'static str {
        "fills, copies and reads memory, and checks what it reads"
    }

    fn operation(&self) -> &'static str {
        "one pass; bytes are those read and written (a copy does both); a wrong word is an error"
    }

    fn parameters(&self) -> &'static [&'static Parameter] {
        PARAMETERS
    }

    fn run<'a>(&'a self, values: &'a Values, context: Context<'a>) -> BoxFuture<'a, Result<(), Failure>> {
        let passes: &[Pass] = match values.number(&MODE) {
            1 => &[Pass::Fill],
            2 => &[Pass::Copy],
            3 => &[Pass::Read],
            _ => &[Pass::Fill, Pass::Copy, Pass::Read],
        };
        let (size, is_given) = (values.number(&SIZE), values.is_given(&SIZE));
        Box::pin(async move {
            let Some(mut buffer) = context.take_buffer() else {
                return Err(Failure::MemoryTaken { core: context.core });
            };
            let available = (buffer.len() * WORD) as u64;
            let needed = if is_given { size } else { size.min(available.max(4 << 10)) };
            let Some(buffer) = usize::try_from(needed).ok().and_then(|len| buffer.get_mut(..len / WORD)) else {
                return Err(Failure::Memory { needed, available });
            };
            let mut halves = Halves::new(buffer);
            let mut work = Work::new(&context);
            // The first two give both halves a known content, whatever follows.
            for pass in [Pass::Fill, Pass::Copy].iter().chain(passes.iter().cycle()) {
                halves.begin(*pass);
                for chunk in 0..halves.chunks() {
                    let (bytes, wrong) = halves.work(*pass, chunk);
                    context.add_bytes(bytes);
                    if wrong > 0 {
                        context.add_errors(wrong);
                    }
                    work.breathe().await;
                }
                work.end_pass();
            }
            Ok(())
        })
    }
}

/// Keeps account of the time spent at work, which is not the time that has passed.
struct Work<'a> {
    context: &'a Context<'a>,
    /// When the core is to be let go.
    slice_end: Instant,
    /// From when on time is not yet accounted for.
    began: Instant,
    /// What the pass has taken before that.
    pass: Duration,
    stride: Stride,
    /// When the clock was looked at last, and how many chunks were done and are to be done between that and the next look.
    looked: Instant,
    done: u64,
    wanted: u64,
}

impl<'a> Work<'a> {
    fn new(context: &'a Context<'a>) -> Self {
        let began = context.now();
        let (slice_end, pass, stride) = (began + SLICE, Duration::MIN, Stride::default());
        Self { context, slice_end, began, pass, stride, looked: began, done: 0, wanted: 1 }
    }

    /// Lets go of the core if it is time to.
    async fn breathe(&mut self) {
        self.done += 1;
        if self.done < self.wanted {
            return;
        }
        let now = self.context.now();
        self.stride.note(self.done, now.checked_duration_since(self.looked).unwrap_or(Duration::MIN));
        self.looked = now;
        if now >= self.slice_end {
            self.settle();
            self.context.pause().await;
            self.began = self.context.now();
            self.slice_end = self.began + SLICE;
            self.looked = self.began;
        }
        self.done = 0;
        self.wanted = self.stride.steps(self.slice_end - self.looked);
    }

    /// Notes that a pass is done.
    fn end_pass(&mut self) {
        self.settle();
        self.context.add_operation(self.pass);
        self.pass = Duration::MIN;
    }

    fn settle(&mut self) {
        let now = self.context.now();
        let worked = now.checked_duration_since(self.began).unwrap_or(Duration::MIN);
        self.context.add_busy(worked);
        self.pass += worked;
        self.began = now;
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pass {
    /// Writes the first half with a new pattern.
    Fill,
    /// Copies the first half to the second.
    Copy,
    /// Reads and checks the second half.
    Read,
}

/// The memory, and which pattern each half holds.
struct Halves<'a> {
    first: &'a mut [u64],
    second: &'a mut [u64],
    first_seed: u64,
    second_seed: u64,
    passes: usize,
}

impl<'a> Halves<'a> {
    fn new(memory: &'a mut [u64]) -> Self {
        let (first, second) = memory.split_at_mut(memory.len() / 2);
        // An odd word is left out.
        let second = second.get_mut(..first.len()).unwrap_or_default();
        Self { first, second, first_seed: 0, second_seed: 0, passes: 0 }
    }

    fn chunks(&self) -> usize {
        self.first.len().div_ceil(CHUNK)
    }

    /// Prepares a pass over all chunks.
    fn begin(&mut self, pass: Pass) {
        self.passes = self.passes.wrapping_add(1);
        match pass {
            // Any odd number will do; this one, from the golden ratio, changes half of the bits.
            Pass::Fill => self.first_seed = self.first_seed.wrapping_add(0x9E37_79B9_7F4A_7C15),
            Pass::Copy => self.second_seed = self.first_seed,
            Pass::Read => {}
        }
    }

    /// Does one chunk and returns how many bytes it moved and how many words were wrong.
    ///
    /// A pass that only writes checks one of its chunks, another one each time. Wrong words are put right, so that each is
    /// counted once.
    fn work(&mut self, pass: Pass, chunk: usize) -> (u64, u64) {
        let start = chunk * CHUNK;
        let is_checked = self.passes % self.chunks() == chunk;
        let range = start..(start + CHUNK).min(self.first.len());
        let (Some(first), Some(second)) = (self.first.get_mut(range.clone()), self.second.get_mut(range)) else {
            return (0, 0);
        };
        let first_seed = self.first_seed.wrapping_add(start as u64);
        let second_seed = self.second_seed.wrapping_add(start as u64);
        let bytes = (first.len() * WORD) as u64;
        match pass {
            Pass::Fill => {
                fill(first, first_seed);
                (bytes, if is_checked { mend(first, first_seed) } else { 0 })
            }
            Pass::Copy => {
                black_box(&mut *second).copy_from_slice(black_box(first));
                (2 * bytes, if is_checked { mend(first, first_seed) + mend(second, second_seed) } else { 0 })
            }
            Pass::Read => (bytes, mend(second, second_seed)),
        }
    }
}

fn fill(words: &mut [u64], seed: u64) {
    for (word, i) in black_box(words).iter_mut().zip(0u64..) {
        *word = seed.wrapping_add(i);
    }
}

/// Puts wrong words right and returns how many there were. Reads each word once if there are none.
fn mend(words: &mut [u64], seed: u64) -> u64 {
    let n = words.len() as u64;
    let sum = black_box(&*words).iter().fold(0u64, |sum, word| sum.wrapping_add(*word));
    // n·seed + 0 + 1 + … + (n − 1), modulo 2^64; n is far below 2^32.
    if sum == seed.wrapping_mul(n).wrapping_add(n * n.saturating_sub(1) / 2) {
        return 0;
    }
    let mut wrong = 0;
    for (word, i) in words.iter_mut().zip(0u64..) {
        let right = seed.wrapping_add(i);
        wrong += u64::from(*word != right);
        *word = right;
    }
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(halves: &mut Halves<'_>, pass: Pass) -> (u64, u64) {
        halves.begin(pass);
        (0..halves.chunks()).map(|chunk| halves.work(pass, chunk)).fold((0, 0), |a, b| (a.0 + b.0, a.1 + b.1))
    }

    #[test]
    fn passes_move_every_word_and_find_nothing_wrong() {
        for len in [2, 7, CHUNK, 2 * CHUNK, 5 * CHUNK + 11] {
            let mut memory = vec![0u64; len];
            let mut halves = Halves::new(&mut memory);
            let half = (len / 2 * WORD) as u64;
            for _ in 0..5 {
                assert_eq!(run(&mut halves, Pass::Fill), (half, 0));
                assert_eq!(run(&mut halves, Pass::Copy), (2 * half, 0));
                assert_eq!(run(&mut halves, Pass::Read), (half, 0));
                assert_eq!(halves.first, halves.second);
            }
        }
    }

    #[test]
    fn a_flipped_bit_is_counted_once() {
        let mut memory = vec![0u64; 6 * CHUNK];
        let mut halves = Halves::new(&mut memory);
        run(&mut halves, Pass::Fill);
        run(&mut halves, Pass::Copy);
        halves.second[2 * CHUNK + 5] ^= 1 << 40;
        halves.second[7] ^= 1;
        assert_eq!(run(&mut halves, Pass::Read).1, 2);
        assert_eq!(run(&mut halves, Pass::Read).1, 0);
    }

    #[test]
    fn a_pass_that_writes_checks_every_chunk_in_turn() {
        let mut memory = vec![0u64; 6 * CHUNK];
        let mut halves = Halves::new(&mut memory);
        run(&mut halves, Pass::Fill);
        halves.first[CHUNK] ^= 1;
        let found: u64 = (0..3).map(|_| run(&mut halves, Pass::Copy).1).sum();
        assert!((1..=2).contains(&found), "the word, and its copy if it was copied before: {found}");
    }
}
