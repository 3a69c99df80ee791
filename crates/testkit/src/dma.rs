//! DMA memory that copies at hand-over, so that a forgotten one shows as stale bytes.
//!
//! The device's view of a buffer is a second memory. [`FakeDma::device_read`] and [`FakeDma::device_write`] are what a
//! device model uses to reach it, by the kind of address that the device has: the two kinds are so far apart that a driver
//! which gives its device the other one fails.

use core::ptr::NonNull;
use std::collections::BTreeMap;
use std::sync::Mutex;

use hal::dma::{BusAddr, Direction, DmaBackend, DmaPool, PhysAddr};

/// Where a device of the legacy bus sees the region: differs from every CPU address, so that a missing translation fails.
const BUS_BASE: u64 = 0xC000_0000;
/// Where a device with physical addresses sees the region: beyond 32 bits, so that a forgotten upper half fails.
const PHYS_BASE: u64 = 0x1_4000_0000;
/// What the CPU finds in a buffer that the device owns.
const POISON: u8 = 0xA5;

/// An address as a device sees it: of one bus or the other.
pub trait DeviceAddr {
    /// Returns the distance from the start of the region; `None` below it.
    fn offset(self) -> Option<u64>;
}

impl DeviceAddr for BusAddr {
    fn offset(self) -> Option<u64> {
        self.0.checked_sub(BUS_BASE)
    }
}

impl DeviceAddr for PhysAddr {
    fn offset(self) -> Option<u64> {
        self.0.checked_sub(PHYS_BASE)
    }
}

/// A region of fake DMA memory and the device's view of it.
pub struct FakeDma {
    start: usize,
    device: Mutex<Vec<u8>>,
    /// Lengths of what the device owns, by offset.
    shared: Mutex<BTreeMap<usize, usize>>,
}

impl FakeDma {
    /// Makes a region of `len` bytes and the pool that hands it out. Both live as long as the test.
    #[must_use]
    pub fn new(len: usize) -> (&'static Self, DmaPool) {
        let cpu = Box::leak(vec![0; len].into_boxed_slice());
        let fake: &'static Self = Box::leak(Box::new(Self {
            start: cpu.as_ptr().addr(),
            device: Mutex::new(vec![0; len]),
            shared: Mutex::default(),
        }));
        (fake, DmaPool::new(cpu, fake))
    }

    /// Returns `len` bytes as the device sees them at `addr`.
    ///
    /// # Panics
    ///
    /// When the range is outside the region: a driver gave the device a wrong address.
    #[must_use]
    pub fn device_read(&self, addr: impl DeviceAddr, len: usize) -> Vec<u8> {
        let at = Self::offset(addr);
        self.device.lock().unwrap()[at..at + len].to_vec()
    }

    /// Writes `bytes` as the device at `addr`.
    ///
    /// # Panics
    ///
    /// When the range is outside the region: a driver gave the device a wrong address.
    pub fn device_write(&self, addr: impl DeviceAddr, bytes: &[u8]) {
        let at = Self::offset(addr);
        self.device.lock().unwrap()[at..at + bytes.len()].copy_from_slice(bytes);
    }

    /// Returns whether `len` bytes at `addr` are in one buffer that was handed to the device and not taken back.
    #[must_use]
    pub fn is_shared(&self, addr: impl DeviceAddr, len: usize) -> bool {
        let Some(at) = addr.offset().and_then(|at| usize::try_from(at).ok()) else { return false };
        let shared = self.shared.lock().unwrap();
        shared.range(..=at).next_back().is_some_and(|(start, shared)| at - start + len <= *shared)
    }

    /// Returns how many buffers the device owns.
    #[must_use]
    pub fn shared_count(&self) -> usize {
        self.shared.lock().unwrap().len()
    }

    fn offset(addr: impl DeviceAddr) -> usize {
        usize::try_from(addr.offset().expect("an address below the device's window")).unwrap()
    }
}

// SAFETY: both copies stay inside the range given, which the caller owns; the device's view is a memory of its own, so
// the CPU's bytes change only at hand-over.
unsafe impl DmaBackend for FakeDma {
    fn to_device(&self, start: NonNull<u8>, len: usize, direction: Direction) {
        let at = start.addr().get() - self.start;
        self.shared.lock().unwrap().insert(at, len);
        // SAFETY: the caller hands over `len` bytes at `start` that it owns.
        let cpu = unsafe { core::slice::from_raw_parts_mut(start.as_ptr(), len) };
        if direction != Direction::FromDevice {
            self.device.lock().unwrap()[at..at + len].copy_from_slice(cpu);
        }
        if direction != Direction::ToDevice {
            cpu.fill(POISON);
        }
    }

    fn to_cpu(&self, start: NonNull<u8>, len: usize, direction: Direction) {
        let at = start.addr().get() - self.start;
        self.shared.lock().unwrap().remove(&at);
        if direction != Direction::ToDevice {
            // SAFETY: the caller takes back `len` bytes at `start`, which it owns.
            let cpu = unsafe { core::slice::from_raw_parts_mut(start.as_ptr(), len) };
            cpu.copy_from_slice(&self.device.lock().unwrap()[at..at + len]);
        }
    }

    fn bus_addr(&self, start: NonNull<u8>) -> BusAddr {
        BusAddr(BUS_BASE + (start.addr().get() - self.start) as u64)
    }

    fn phys_addr(&self, start: NonNull<u8>) -> PhysAddr {
        PhysAddr(PHYS_BASE + (start.addr().get() - self.start) as u64)
    }
}
