//! A core's large memory for workloads, which one of them can have at a time.

use alloc::vec::Vec;
use core::cell::Cell;
use core::ops::{Deref, DerefMut};

use embassy_sync::blocking_mutex::Mutex;
use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;

/// A core's memory; larger than the caches, or the memory workload measures those.
pub struct Scratch(Mutex<CriticalSectionRawMutex, Cell<Option<Regions>>>);

/// The parts that RAM comes in, the largest of which need not be the first.
type Regions = Vec<&'static mut [u64]>;

impl Scratch {
    /// Takes the memory into care.
    #[must_use]
    pub const fn new(regions: Vec<&'static mut [u64]>) -> Self {
        Self(Mutex::new(Cell::new(Some(regions))))
    }

    /// Lends the memory; `None` while another workload has it.
    pub(crate) fn take(&self) -> Option<Buffer<'_>> {
        self.0.lock(Cell::take).map(|regions| Buffer { regions, scratch: self })
    }
}

/// The memory, which goes back when this is dropped. As a slice it is the first region.
pub struct Buffer<'a> {
    regions: Regions,
    scratch: &'a Scratch,
}

impl Buffer<'_> {
    /// Returns every region.
    pub(crate) fn regions(&mut self) -> &mut [&'static mut [u64]] {
        &mut self.regions
    }
}

impl Deref for Buffer<'_> {
    type Target = [u64];

    fn deref(&self) -> &[u64] {
        self.regions.first().map_or(&[], |words| words)
    }
}

impl DerefMut for Buffer<'_> {
    fn deref_mut(&mut self) -> &mut [u64] {
        self.regions.first_mut().map_or(&mut [], |words| words)
    }
}

impl Drop for Buffer<'_> {
    fn drop(&mut self) {
        let memory = core::mem::take(&mut self.regions);
        self.scratch.0.lock(|cell| cell.set(Some(memory)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time_has_the_memory() {
        let scratch = Scratch::new(vec![vec![7; 10].leak()]);
        let mut first = scratch.take().unwrap();
        first[3] = 1;
        assert!(scratch.take().is_none());
        drop(first);
        assert_eq!(scratch.take().unwrap()[2..5], [7, 1, 7]);
    }
}
