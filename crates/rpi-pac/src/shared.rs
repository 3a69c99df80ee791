//! Registers that several cores, and interrupt handlers, may use at the same time without a lock.
//!
//! safe-mmio asks for an exclusive pointer for every write, because in general a write may disturb what another user of
//! the register is doing. Registers where a written 1 sets (or clears) one bit and a written 0 does nothing have no
//! such problem: one write is one bus transaction, the block orders the transactions, and the effects of two writers do
//! not depend on each other. Interrupt controllers are made of them for just this reason.

use safe_mmio::fields::{ReadPure, ReadPureWrite, WriteOnly};
use safe_mmio::{SharedMmioPointer, UniqueMmioPointer};

/// A register in which a written 1 acts and a written 0 does nothing.
pub type SetBits = WriteOnly<u32>;

/// A register, or a group of them, that every core may access at any time.
///
/// Made from an exclusive pointer, so nothing else accesses it in another way.
#[derive(Debug)]
pub struct Shared<'a, T>(SharedMmioPointer<'a, T>);

// SAFETY: 1. the registers may be accessed from any core (`UniqueMmioPointer::new` demands it); 2. every access that this
// type offers is one single-word bus transaction, and no sequence of them has to stay together (module documentation).
unsafe impl<T: Send + Sync> Sync for Shared<'_, T> {}

impl<'a, T> Shared<'a, T> {
    /// Makes a register shareable.
    #[must_use]
    pub fn new(register: UniqueMmioPointer<'a, T>) -> Self {
        Self(register.into())
    }
}

impl Shared<'_, ReadPure<u32>> {
    /// Reads the register.
    #[must_use]
    pub fn read(&self) -> u32 {
        self.0.read()
    }
}

impl<const N: usize> Shared<'_, [ReadPure<u32>; N]> {
    /// Reads one register of an array, or nothing where there is none.
    #[must_use]
    pub fn read(&self, index: usize) -> Option<u32> {
        Some(self.0.get(index)?.read())
    }
}

impl Shared<'_, SetBits> {
    /// Acts on the bits that are 1 in `bits`.
    pub fn set(&self, bits: u32) {
        write(self.0, bits);
    }
}

impl<const N: usize> Shared<'_, [SetBits; N]> {
    /// Acts on the bits that are 1 in `bits` of one register of an array. Does nothing where there is none.
    pub fn set(&self, index: usize, bits: u32) {
        if let Some(register) = self.0.get(index) {
            write(register, bits);
        }
    }
}

impl<const N: usize> Shared<'_, [WriteOneToClear; N]> {
    /// Reads one register of an array, or nothing where there is none.
    #[must_use]
    pub fn read(&self, index: usize) -> Option<u32> {
        Some(self.0.get(index)?.read())
    }

    /// Clears the bits that are 1 in `bits` of one register of an array. Does nothing where there is none.
    pub fn clear(&self, index: usize, bits: u32) {
        if let Some(register) = self.0.get(index) {
            write_one_to_clear(register, bits);
        }
    }
}

/// A register that reads without side effect, and in which a written 1 clears its bit.
pub type WriteOneToClear = ReadPureWrite<u32>;

fn write(register: SharedMmioPointer<'_, SetBits>, bits: u32) {
    let Some(address) = core::ptr::NonNull::new(register.ptr().cast_mut()) else { return };
    // SAFETY: 1. the address comes from a valid pointer to the same register; 2. it is used for one write only, which
    // may happen at the same time as others (module documentation), so it need not be the only one.
    let mut register = unsafe { UniqueMmioPointer::<SetBits>::new(address) };
    register.write(bits);
}

fn write_one_to_clear(register: SharedMmioPointer<'_, WriteOneToClear>, bits: u32) {
    let Some(address) = core::ptr::NonNull::new(register.ptr().cast_mut()) else { return };
    // SAFETY: as in `write`.
    let mut register = unsafe { UniqueMmioPointer::<WriteOneToClear>::new(address) };
    register.write(bits);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shared_register_is_usable_from_two_threads() {
        let mut fake = [ReadPureWrite(0xff_u32), ReadPureWrite(0xffff)];
        let registers = Shared::new(UniqueMmioPointer::from(&mut fake));
        std::thread::scope(|scope| {
            scope.spawn(|| registers.clear(0, 1));
            scope.spawn(|| registers.clear(1, 2));
        });
        // Plain memory keeps what was written.
        assert_eq!((registers.read(0), registers.read(1), registers.read(2)), (Some(1), Some(2), None));
    }

    #[test]
    fn writes_outside_an_array_are_ignored() {
        let mut fake = [WriteOnly(0_u32), WriteOnly(0)];
        Shared::new(UniqueMmioPointer::from(&mut fake)).set(2, 7);
        assert_eq!(fake, [WriteOnly(0), WriteOnly(0)]);
    }
}
