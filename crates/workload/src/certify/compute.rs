//! Computations whose answers are known: what a core that is too hot, too fast or fed too little voltage gets wrong first.

use core::hint::black_box;

use crc::{CRC_32_ISO_HDLC, Crc};

use crate::builtin::cpu::Blocks;

/// Steps of the integer and floating-point sequences: together some hundred µs of a Cortex-A53 per round.
const STEPS: u32 = 2_000;

/// Answers known beforehand, made by Python: `zlib.crc32`, and integer arithmetic without limits.
const CRC: u32 = 0x5d1c_4ee3;
const MATRIX: f64 = 21_297_672.0;
const QUOTIENTS: u64 = 0x73c3_8453_bee8_9a58;

/// How often a core computed, and what it got wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Computed {
    /// Rounds of all computations.
    pub(crate) rounds: u64,
    /// Rounds in which an answer was wrong.
    pub(crate) wrong: u64,
    /// The first computation that was wrong.
    pub(crate) first: Option<&'static str>,
}

impl Computed {
    /// Does a round and returns whether every answer was right.
    pub(crate) fn round(&mut self, known: &Answers) -> bool {
        self.count(&Answers::compute(), known)
    }

    fn count(&mut self, answers: &Answers, known: &Answers) -> bool {
        self.rounds += 1;
        let wrong = answers.difference(known);
        self.wrong += u64::from(wrong.is_some());
        self.first = self.first.or(wrong);
        wrong.is_none()
    }
}

/// The answers of a round.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Answers {
    sequences: Blocks,
    crc: u32,
    matrix: f64,
    quotients: u64,
}

impl Answers {
    /// Returns what is known to be right.
    pub(crate) fn known() -> Self {
        Self { sequences: Blocks::expected(STEPS), crc: CRC, matrix: MATRIX, quotients: QUOTIENTS }
    }

    fn compute() -> Self {
        Self { sequences: Blocks::compute(black_box(STEPS)), crc: crc(), matrix: matrix(), quotients: quotients() }
    }

    /// Returns the first computation in which the two differ.
    fn difference(&self, known: &Self) -> Option<&'static str> {
        [
            ("integers", self.sequences.integer == known.sequences.integer),
            ("floating point", self.sequences.float == known.sequences.float),
            ("CRC-32", self.crc == known.crc),
            ("matrices", self.matrix == known.matrix),
            ("divisions", self.quotients == known.quotients),
        ]
        .into_iter()
        .find_map(|(name, is_right)| (!is_right).then_some(name))
    }
}

/// Bytes `31·i + 7`, 4 KiB of them.
fn crc() -> u32 {
    static CRC_32: Crc<u32> = Crc::<u32>::new(&CRC_32_ISO_HDLC);
    let mut digest = CRC_32.digest();
    for block in 0..64u32 {
        // Modulo 256 is meant.
        let bytes: [u8; 64] =
            core::array::from_fn(|i| black_box(64 * block + i as u32).wrapping_mul(31).wrapping_add(7) as u8);
        digest.update(&bytes);
    }
    digest.finalize()
}

/// The sum of `(7i + j) · C[i][j]`, where C = A·B, `A[i][j] = i + 2j + 1`, `B[i][j] = 3i − j`, 12 rows each. Every step is exact.
fn matrix() -> f64 {
    const N: u32 = 12;
    let mut sum = 0.0;
    for i in 0..N {
        for j in 0..N {
            let (row, column) = (f64::from(black_box(i)), f64::from(black_box(j)));
            let product = (0..N).map(f64::from).fold(0.0, |c, k| c + (row + 2.0 * k + 1.0) * (3.0 * k - column));
            sum += product * (7.0 * row + column);
        }
    }
    sum
}

/// The sum of `X / k + (X % k) · k` for k from 1 to 1,000, modulo 2^64.
fn quotients() -> u64 {
    const X: u64 = 0xfedc_ba98_7654_3210;
    (1..=1_000u64).fold(0u64, |sum, k| {
        let (x, k) = (black_box(X), black_box(k));
        // Modulo 2^64 is meant.
        sum.wrapping_add(x.checked_div(k).unwrap_or(0)).wrapping_add(x.checked_rem(k).unwrap_or(0) * k)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sound_core_gets_every_answer_right() {
        let mut computed = Computed::default();
        for _ in 0..10 {
            assert!(computed.round(&Answers::known()), "{computed:?}");
        }
        assert_eq!(computed, Computed { rounds: 10, wrong: 0, first: None });
    }

    #[test]
    fn every_wrong_answer_is_counted_under_its_name() {
        let known = Answers::known();
        let one_bit = |float: f64| f64::from_bits(float.to_bits() ^ 1);
        let wrong = [
            (
                "integers",
                Answers { sequences: Blocks { integer: known.sequences.integer ^ 1, ..known.sequences }, ..known },
            ),
            (
                "floating point",
                Answers { sequences: Blocks { float: one_bit(known.sequences.float), ..known.sequences }, ..known },
            ),
            ("CRC-32", Answers { crc: known.crc ^ 1 << 31, ..known }),
            ("matrices", Answers { matrix: one_bit(known.matrix), ..known }),
            ("divisions", Answers { quotients: known.quotients ^ 1 << 40, ..known }),
        ];
        for (name, answers) in wrong {
            let mut computed = Computed::default();
            assert!(computed.count(&known, &known) && !computed.count(&answers, &known));
            assert_eq!(computed, Computed { rounds: 2, wrong: 1, first: Some(name) });
        }
    }
}
