//! The random number generator of BCM2837.
//!
//! Source: Linux drivers/char/hw_random/bcm2835-rng.c.

use embassy_time::Duration;
use rpi_pac::rng::{CTRL_RBGEN, Registers, STATUS_WORDS_SHIFT, WARMUP_COUNT};
use safe_mmio::{UniqueMmioPointer, field, field_shared};

use crate::wait::{Timeout, until};

/// How long the first word may take: the generator makes some 1 Mbit/s and discards 0x40000 numbers before.
const WARMUP_TIMEOUT: Duration = Duration::from_secs(2);
/// How long any other word may take: a thousand times as long as it does.
const WORD_TIMEOUT: Duration = Duration::from_millis(50);
const WORD: usize = 4;

/// The generator.
#[derive(Debug)]
pub struct Rng<'a> {
    registers: UniqueMmioPointer<'a, Registers>,
    is_warm: bool,
}

impl<'a> Rng<'a> {
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

    /// Returns a random word if there is one already.
    pub fn try_next(&mut self) -> Option<u32> {
        if field_shared!(self.registers, status).read() >> STATUS_WORDS_SHIFT == 0 {
            return None;
        }
        self.is_warm = true;
        Some(field!(self.registers, data).read())
    }

    /// Fills a buffer with random bytes.
    ///
    /// # Errors
    ///
    /// When the generator does not make them in time. What the buffer has then is not random.
    pub fn fill(&mut self, buffer: &mut [u8]) -> Result<(), Timeout> {
        for chunk in buffer.chunks_mut(WORD) {
            let timeout = if self.is_warm { WORD_TIMEOUT } else { WARMUP_TIMEOUT };
            let mut word = None;
            until(timeout, || {
                word = self.try_next();
                word.is_some()
            })?;
            for (place, byte) in chunk.iter_mut().zip(word.unwrap_or_default().to_le_bytes()) {
                *place = byte;
            }
        }
        Ok(())
    }
}
