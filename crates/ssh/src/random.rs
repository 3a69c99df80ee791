//! Random numbers for secrets: ChaCha20 with a key from the board's generator.

use chacha20::ChaCha20Legacy;
use chacha20::cipher::{KeyIvInit, StreamCipher};
use sha2::{Digest, Sha256};
use zeroize::Zeroize;

use crate::exchange::hash_string;

/// Bytes of a seed.
pub const SEED_LEN: usize = 32;
/// Bytes that are made at a time. The first [`SEED_LEN`] of them are the next key.
const BLOCK_LEN: usize = 256;

/// A generator of random numbers for secrets.
///
/// It makes a block of its key stream, and takes a new key from its beginning at once ("fast key erasure", D. J. Bernstein,
/// 2017): what is in memory tells nothing of numbers that were given out.
pub struct Random {
    key: [u8; SEED_LEN],
}

impl Random {
    /// Makes a generator that nobody can foresee who does not know `seed`.
    #[must_use]
    pub const fn new(seed: [u8; SEED_LEN]) -> Self {
        Self { key: seed }
    }

    /// Makes a generator that nobody can foresee who does not know all of `parts`.
    #[must_use]
    pub fn from_parts(parts: &[&[u8]]) -> Self {
        let mut hash = Sha256::new();
        parts.iter().for_each(|part| hash_string(&mut hash, &[part]));
        Self::new(hash.finalize().into())
    }

    /// Fills a buffer.
    pub fn fill(&mut self, buffer: &mut [u8]) {
        for chunk in buffer.chunks_mut(BLOCK_LEN - SEED_LEN) {
            let mut block = [0; BLOCK_LEN];
            ChaCha20Legacy::new(&self.key.into(), &[0; 8].into()).apply_keystream(&mut block);
            if let Some((key, numbers)) = block.split_at_checked(SEED_LEN) {
                self.key.copy_from_slice(key);
                chunk.iter_mut().zip(numbers).for_each(|(to, from)| *to = *from);
            }
            block.zeroize();
        }
    }

    /// Returns an array of random bytes.
    pub fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut array = [0; N];
        self.fill(&mut array);
        array
    }

    /// Makes another generator, whose numbers tell nothing of this one's.
    pub fn fork(&mut self) -> Self {
        Self::new(self.array())
    }
}

impl Drop for Random {
    fn drop(&mut self) {
        self.key.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_differ_and_depend_on_the_seed() {
        let (mut one, mut two, mut same) = (Random::new([1; 32]), Random::new([2; 32]), Random::new([1; 32]));
        let first: [u8; 1000] = one.array();
        assert_eq!(first, same.array::<1000>());
        assert_ne!(first, two.array::<1000>());
        assert_ne!(first, one.array::<1000>());
        assert_ne!(one.fork().array::<32>(), one.array::<32>());
        // Each half of all bits, more or less: 4000 of 8000, with a deviation of 45.
        let ones: u32 = first.iter().map(|byte| byte.count_ones()).sum();
        assert!((3700..4300).contains(&ones), "{ones}");
    }
}
