//! RNG200 of BCM2711.
//!
//! Source: Linux drivers/char/hw_random/iproc-rng200.c. The generator tests itself; when a test fails it is reset, as Linux
//! does, and when that does not help it is an error.
//!
//! QEMU has no model of it, and reading its registers there is an external abort: don't make one there. Tested against a
//! model on the host only.

use embassy_time::{Duration, Instant};
use rpi_pac::rng200::{
    CONTROL_1_MHZ, CONTROL_GENERATE, FIFO_COUNT_MASK, FIFO_THRESHOLD, RESET, RUNNING_BITS, Registers, STATUS_LOCKOUT,
    STATUS_NIST_FAIL, WARMUP_BITS,
};
use safe_mmio::{UniqueMmioPointer, field, field_shared};

use super::RngError;
use crate::wait::Timeout;

/// How long the first word may take: a quarter of a second to throw 2^18 bits away at 1 MHz, and much to spare.
const WARMUP_TIMEOUT: Duration = Duration::from_secs(2);
/// How long any other word may take: 32 us at 1 MHz, if the noise is good.
const WORD_TIMEOUT: Duration = Duration::from_millis(50);
/// Status bits that mean that the numbers are not random.
const FAILURES: u32 = STATUS_NIST_FAIL | STATUS_LOCKOUT;
/// How often the generator is reset for one word.
const RESETS: u32 = 2;

/// The generator.
#[derive(Debug)]
pub struct Rng200<'a> {
    registers: UniqueMmioPointer<'a, Registers>,
    is_warm: bool,
}

impl<'a> Rng200<'a> {
    /// Starts the generator, unless the boot loader has.
    #[must_use]
    pub fn new(registers: UniqueMmioPointer<'a, Registers>) -> Self {
        let mut this = Self { registers, is_warm: false };
        field!(this.registers, interrupt_enable).write(0);
        if field_shared!(this.registers, control).read() & CONTROL_GENERATE == 0 {
            this.start();
        }
        this
    }

    /// Waits for a random word.
    pub(super) fn next_word(&mut self) -> Result<u32, RngError> {
        let mut resets = 0;
        loop {
            self.wait()?;
            let word = field!(self.registers, data).read();
            let status = field_shared!(self.registers, status).read();
            // Looked at behind the word: a failure before it was taken counts.
            if status & FAILURES == 0 {
                self.is_warm = true;
                return Ok(word);
            }
            if resets == RESETS {
                return Err(RngError::Unhealthy { status });
            }
            resets += 1;
            self.reset();
        }
    }

    /// Waits until there is a word, or a failure that keeps words away.
    fn wait(&self) -> Result<(), Timeout> {
        let timeout = if self.is_warm { WORD_TIMEOUT } else { WARMUP_TIMEOUT };
        let deadline = Instant::now() + timeout;
        loop {
            let is_late = Instant::now() >= deadline;
            let is_running = self.is_warm || field_shared!(self.registers, bit_count).read() > RUNNING_BITS;
            if is_running && field_shared!(self.registers, fifo_count).read() & FIFO_COUNT_MASK != 0
                || field_shared!(self.registers, status).read() & FAILURES != 0
            {
                return Ok(());
            }
            if is_late {
                return Err(Timeout(timeout));
            }
            core::hint::spin_loop();
        }
    }

    fn start(&mut self) {
        field!(self.registers, bit_count_threshold).write(WARMUP_BITS);
        field!(self.registers, fifo_count).write(FIFO_THRESHOLD);
        field!(self.registers, control).write(CONTROL_1_MHZ | CONTROL_GENERATE);
    }

    /// In Linux's order (`iproc_rng200_restart`).
    fn reset(&mut self) {
        field!(self.registers, control).write(0);
        field!(self.registers, status).write(u32::MAX);
        field!(self.registers, generator_reset).write(RESET);
        field!(self.registers, soft_reset).write(RESET);
        field!(self.registers, soft_reset).write(0);
        field!(self.registers, generator_reset).write(0);
        self.is_warm = false;
        self.start();
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::panic, reason = "a test fails by panicking")]

    use testkit::mmio::{Block, Model, claim};
    use testkit::time;

    use super::*;
    use crate::rng::Rng;

    /// A generator that makes a bit each look at its registers (which takes a microsecond).
    #[derive(Default)]
    struct Generator {
        control: u32,
        threshold: u32,
        bits: u32,
        status: u32,
        words: u32,
        /// Words from which on its tests fail, until it was reset so many times.
        fails_from: Option<u32>,
        is_stuck: bool,
        resets: u32,
        heals_after: u32,
        generator_reset: bool,
    }

    impl Block for Generator {
        fn read(&mut self, offset: usize) -> u32 {
            if self.control & 0x1fff == 0x1fff && !self.is_stuck && !self.generator_reset {
                self.bits += 1;
            }
            match offset {
                0x00 => self.control,
                0x0c => self.bits,
                0x18 => self.status,
                0x20 => {
                    assert!(self.available() > 0 || self.status != 0, "a word was taken that is not there");
                    self.words += 1;
                    if self.fails_from == Some(self.words) {
                        self.status |= if self.words == 1 { 1 << 31 } else { 1 << 5 };
                    }
                    0x1111_1111_u32.wrapping_mul(self.words)
                }
                0x24 => 2 << 8 | self.available(),
                _ => panic!("read of {offset:#x}"),
            }
        }

        fn write(&mut self, offset: usize, value: u32) {
            match offset {
                0x00 => self.control = value,
                0x04 if value == 1 => {
                    assert!(self.generator_reset && self.control == 0, "off, and the generator first");
                    (self.bits, self.words) = (0, 0);
                    self.resets += 1;
                    if self.resets >= self.heals_after {
                        self.fails_from = None;
                    }
                }
                0x08 => self.generator_reset = value == 1,
                0x10 => self.threshold = value,
                0x18 => self.status &= !value,
                0x04 | 0x1c | 0x24 => {}
                _ => panic!("write of {offset:#x}"),
            }
        }
    }

    impl Generator {
        fn available(&self) -> u32 {
            (self.bits.saturating_sub(self.threshold) / 32).saturating_sub(self.words).min(16)
        }
    }

    fn rng(generator: Generator) -> (Rng<'static>, Model<Generator>) {
        let (registers, model) = claim(generator);
        (Rng::Rng200(Rng200::new(registers)), model)
    }

    #[test]
    fn it_starts_as_other_drivers_start_it() {
        let (_, model) = rng(Generator::default());
        assert_eq!(
            {
                let model = model.lock();
                (model.control, model.threshold)
            },
            (0x7fff, 0x4_0000)
        );
    }

    #[test]
    fn the_first_bits_are_thrown_away_and_each_word_is_used_once() {
        time::run(async {
            let (mut rng, model) = rng(Generator::default());
            let mut bytes = [0; 10];
            assert_eq!(rng.fill(&mut bytes), Ok(()));
            assert_eq!(bytes, [0x11, 0x11, 0x11, 0x11, 0x22, 0x22, 0x22, 0x22, 0x33, 0x33]);
            let model = model.lock();
            assert!(model.bits > 0x4_0000 && model.resets == 0);
        });
    }

    #[test]
    fn a_generator_that_runs_is_left_running() {
        let (_, model) = rng(Generator { control: 0x3fff, bits: 99, ..Generator::default() });
        assert_eq!(
            {
                let model = model.lock();
                (model.control, model.threshold)
            },
            (0x3fff, 0)
        );
    }

    #[test]
    fn a_generator_that_makes_nothing_is_an_error_in_time() {
        time::run(async {
            let (mut rng, model) = rng(Generator { is_stuck: true, ..Generator::default() });
            let start = Instant::now();
            assert_eq!(rng.fill(&mut [0]), Err(RngError::Timeout(Timeout(WARMUP_TIMEOUT))));
            assert!(start.elapsed() < WARMUP_TIMEOUT * 2);
            model.lock().is_stuck = false;
            assert_eq!(rng.fill(&mut [0]), Ok(()));
            model.lock().is_stuck = true;
            let left = model.lock().available();
            for _ in 0..left {
                assert_eq!(rng.fill(&mut [0]), Ok(()));
            }
            let start = Instant::now();
            assert_eq!(rng.fill(&mut [0]), Err(RngError::Timeout(Timeout(WORD_TIMEOUT))));
            assert!(start.elapsed() < WORD_TIMEOUT * 2);
        });
    }

    #[test]
    fn a_failed_test_resets_it_and_its_word_is_not_used() {
        time::run(async {
            let (mut rng, model) = rng(Generator { fails_from: Some(2), heals_after: 1, ..Generator::default() });
            let mut bytes = [0; 8];
            assert_eq!(rng.fill(&mut bytes), Ok(()));
            // After the reset the model counts from 1 again.
            assert_eq!(bytes, [0x11; 8]);
            let model = model.lock();
            assert_eq!((model.resets, model.control, model.status), (1, 0x7fff, 0));
        });
    }

    #[test]
    fn a_generator_that_fails_for_good_is_an_error() {
        time::run(async {
            let broken = Generator { fails_from: Some(1), heals_after: u32::MAX, ..Generator::default() };
            let (mut rng, model) = rng(broken);
            assert_eq!(rng.fill(&mut [0]), Err(RngError::Unhealthy { status: 1 << 31 }));
            assert_eq!(model.lock().resets, RESETS);
        });
    }
}
