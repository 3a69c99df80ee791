//! The random number generators of the SoCs, behind one type.

mod bcm2835;
mod rng200;

pub use bcm2835::Bcm2835Rng;
pub use rng200::Rng200;
use thiserror::Error;

use crate::wait::Timeout;

/// Bytes of what a generator makes at a time.
const WORD: usize = 4;

/// Why there are no random numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum RngError {
    /// They don't come.
    #[error("the random number generator is silent: {0}")]
    Timeout(#[from] Timeout),
    /// The generator's own tests have failed, also after a reset.
    #[error("the random number generator fails its own tests (status {status:#010x})")]
    Unhealthy {
        /// Its status register.
        status: u32,
    },
}

/// The random number generator of the running SoC.
#[derive(Debug)]
pub enum Rng<'a> {
    /// BCM2837's.
    Bcm2835(Bcm2835Rng<'a>),
    /// BCM2711's.
    Rng200(Rng200<'a>),
}

impl Rng<'_> {
    /// Fills a buffer with random bytes. The first ones take some time after the start.
    ///
    /// # Errors
    ///
    /// When the generator does not make them in time, or finds itself broken. What the buffer has then is not random.
    pub fn fill(&mut self, buffer: &mut [u8]) -> Result<(), RngError> {
        for chunk in buffer.chunks_mut(WORD) {
            let word = match self {
                Self::Bcm2835(rng) => rng.next_word()?,
                Self::Rng200(rng) => rng.next_word()?,
            };
            for (place, byte) in chunk.iter_mut().zip(word.to_le_bytes()) {
                *place = byte;
            }
        }
        Ok(())
    }
}
