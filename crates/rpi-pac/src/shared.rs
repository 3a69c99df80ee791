//! Registers that several cores, and interrupt handlers, may use at the same time without a lock.
//!
//! safe-mmio asks for an exclusive pointer for every write, because in general a write may disturb what another user of
//! the register is doing. Two kinds of registers have no such problem: those where a written 1 acts on its bit and a
//! written 0 does nothing, and those that are always written whole, never read, modified and written back. One write is
//! one bus transaction, the block orders the transactions, and no sequence of them has to stay together. Interrupt
//! controllers are made of such registers for just this reason. A third kind is a core's own, although all have it at the
//! same address.

use core::ptr::NonNull;

use safe_mmio::fields::{ReadOnly, ReadPure, ReadPureWrite, WriteOnly};
use safe_mmio::{SharedMmioPointer, UniqueMmioPointer};

/// A block, or a register of one, that every core may access at any time.
///
/// Made from an exclusive pointer to the block, so nothing else accesses it in another way.
pub(crate) struct Shared<'a, T>(SharedMmioPointer<'a, T>);

// SAFETY: 1. the registers may be accessed from any core (`UniqueMmioPointer::new` demands it); 2. every access that this
// type offers is one single-word bus transaction, and no sequence of them has to stay together (module documentation).
unsafe impl<T: Send + Sync> Sync for Shared<'_, T> {}

impl<'a, T> Shared<'a, T> {
    /// Makes a block shareable.
    pub(crate) fn new(block: UniqueMmioPointer<'a, T>) -> Self {
        Self(block.into())
    }

    /// Returns a part of the block. `part` must return a part of what it is given.
    pub(crate) fn part<U>(
        &self,
        part: impl FnOnce(SharedMmioPointer<'a, T>) -> SharedMmioPointer<'a, U>,
    ) -> Shared<'a, U> {
        Shared(part(self.0))
    }
}

impl<'a, T, const N: usize> Shared<'a, [T; N]> {
    /// Returns one of an array of registers, if there is such a one.
    pub(crate) fn get(&self, index: usize) -> Option<Shared<'a, T>> {
        Some(Shared(self.0.get(index)?))
    }
}

impl Shared<'_, ReadPure<u32>> {
    pub(crate) fn read(&self) -> u32 {
        self.0.read()
    }
}

impl Shared<'_, ReadPureWrite<u32>> {
    pub(crate) fn read(&self) -> u32 {
        self.0.read()
    }

    pub(crate) fn write(&self, value: u32) {
        unique(self.0).write(value);
    }
}

impl Shared<'_, ReadOnly<u32>> {
    /// Reads a register whose read has an effect. Only for registers that each core has to itself.
    pub(crate) fn read(&self) -> u32 {
        unique(self.0).read()
    }
}

impl Shared<'_, WriteOnly<u32>> {
    pub(crate) fn write(&self, value: u32) {
        unique(self.0).write(value);
    }
}

/// Returns a pointer for one write, or one read that has an effect.
fn unique<T>(register: SharedMmioPointer<'_, T>) -> UniqueMmioPointer<'_, T> {
    // A pointer made from a `NonNull` is not null.
    let address = NonNull::new(register.ptr().cast_mut()).unwrap_or(NonNull::dangling());
    // SAFETY: 1. the address comes from a valid pointer to the same register, which was exclusive before it became a
    // `Shared`; 2. the callers use it for one access only, which may happen at the same time as others (module
    // documentation; a read with an effect is of a register that only this core has), so it need not be the only pointer.
    unsafe { UniqueMmioPointer::new(address) }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use testkit as _;

    use super::*;

    #[test]
    fn a_shared_block_is_usable_from_two_threads() {
        let mut fake = [ReadPureWrite(0xff_u32), ReadPureWrite(0xffff)];
        let registers = Shared::new(UniqueMmioPointer::from(&mut fake));
        std::thread::scope(|scope| {
            scope.spawn(|| registers.get(0).unwrap().write(1));
            scope.spawn(|| registers.get(1).unwrap().write(2));
        });
        assert_eq!(registers.get(0).unwrap().read(), 1);
        assert_eq!(registers.get(1).unwrap().read(), 2);
        assert!(registers.get(2).is_none());
    }
}
