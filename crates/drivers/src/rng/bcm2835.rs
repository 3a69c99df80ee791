//! The random number generator of BCM2837.
//!
//! Source: Linux drivers/char/hw_random/bcm2835-rng.c.

use embassy_time::Duration;
use rpi_pac::rng::{CTRL_RBGEN, Registers, STATUS_WORDS_SHIFT, WARMUP_COUNT};
use safe_mmio::{UniqueMmioPointer, field, field_shared};

use crate::wait::{Timeout, until};

/// How long the first word may take, with the numbers that are discarded before it. No document says; Linux waits for
/// ever. A node should rather boot without.
const WARMUP_TIMEOUT: Duration = Duration::from_secs(2);
/// How long any other word may take. Not documented either.
const WORD_TIMEOUT: Duration = Duration::from_millis(50);

/// The generator.
#[derive(Debug)]
pub struct Bcm2835Rng<'a> {
    registers: UniqueMmioPointer<'a, Registers>,
    is_warm: bool,
}

impl<'a> Bcm2835Rng<'a> {
    /// Starts the generator, unless the boot loader has.
    #[must_use]
    pub fn new(mut registers: UniqueMmioPointer<'a, Registers>) -> Self {
        if field_shared!(registers, ctrl).read() & CTRL_RBGEN == 0 {
            field!(registers, int_mask).modify(|mask| mask | 1);
            field!(registers, status).write(WARMUP_COUNT);
            field!(registers, ctrl).write(CTRL_RBGEN);
        }
        Self { registers, is_warm: false }
    }

    fn try_next(&mut self) -> Option<u32> {
        if field_shared!(self.registers, status).read() >> STATUS_WORDS_SHIFT == 0 {
            return None;
        }
        self.is_warm = true;
        Some(field!(self.registers, data).read())
    }

    /// Waits for a random word.
    pub(super) fn next_word(&mut self) -> Result<u32, Timeout> {
        let timeout = if self.is_warm { WORD_TIMEOUT } else { WARMUP_TIMEOUT };
        let mut word = None;
        until(timeout, || {
            word = self.try_next();
            word.is_some()
        })?;
        word.ok_or(Timeout(timeout))
    }
}

#[cfg(test)]
mod tests {
    use embassy_time::Instant;
    use testkit::mmio::{Block, Model, claim};
    use testkit::time;

    use super::*;
    use crate::rng::{Rng, RngError};

    const CTRL: usize = 0x00;
    const STATUS: usize = 0x04;
    const DATA: usize = 0x08;
    const INT_MASK: usize = 0x10;

    #[derive(Default)]
    struct Generator {
        ctrl: u32,
        /// Looks until the next word is there; nothing: it never is.
        busy: Option<u32>,
        pace: u32,
        words: u32,
        writes: Vec<(usize, u32)>,
    }

    impl Block for Generator {
        fn read(&mut self, offset: usize) -> u32 {
            match offset {
                CTRL => self.ctrl,
                STATUS => {
                    self.busy = self.busy.map(|busy| busy.saturating_sub(1));
                    u32::from(self.busy == Some(0)) << 24
                }
                DATA => {
                    assert_eq!((self.busy, self.ctrl), (Some(0), 1), "a word was taken that is not there");
                    self.busy = Some(self.pace);
                    self.words += 1;
                    0x1111_1111 * self.words
                }
                _ => 0,
            }
        }

        fn write(&mut self, offset: usize, value: u32) {
            self.writes.push((offset, value));
            if offset == CTRL {
                self.ctrl = value;
            }
        }
    }

    fn rng(generator: Generator) -> (Rng<'static>, Model<Generator>) {
        let (registers, model) = claim(generator);
        (Rng::Bcm2835(Bcm2835Rng::new(registers)), model)
    }

    #[test]
    fn the_first_numbers_are_discarded() {
        let (_, model) = rng(Generator::default());
        assert_eq!(model.lock().writes, [(INT_MASK, 1), (STATUS, 0x4_0000), (CTRL, 1)]);
    }

    #[test]
    fn a_generator_that_runs_is_left_running() {
        let (_, model) = rng(Generator { ctrl: 1, ..Generator::default() });
        assert!(model.lock().writes.is_empty());
    }

    #[test]
    fn each_word_is_used_once() {
        time::run(async {
            let (mut rng, model) = rng(Generator { busy: Some(1_000_000), pace: 30, ..Generator::default() });
            let mut bytes = [0; 10];
            assert_eq!(rng.fill(&mut bytes), Ok(()));
            assert_eq!(bytes, [0x11, 0x11, 0x11, 0x11, 0x22, 0x22, 0x22, 0x22, 0x33, 0x33]);
            assert_eq!(model.lock().words, 3);
        });
    }

    #[test]
    fn a_generator_that_stops_is_an_error() {
        time::run(async {
            let (mut rng, model) = rng(Generator::default());
            assert_eq!(rng.fill(&mut [0]), Err(RngError::Timeout(Timeout(WARMUP_TIMEOUT))));
            model.lock().busy = Some(1);
            assert_eq!(rng.fill(&mut [0]), Ok(()));
            model.lock().busy = None;
            let start = Instant::now();
            assert_eq!(
                rng.fill(&mut [0]),
                Err(RngError::Timeout(Timeout(WORD_TIMEOUT))),
                "once warm, a word comes soon or never"
            );
            assert!(start.elapsed() < WORD_TIMEOUT * 2);
            assert_eq!(rng.fill(&mut []), Ok(()));
        });
    }
}
