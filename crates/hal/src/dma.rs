//! Memory shared with a device that reads and writes it by itself.
//!
//! Ownership is in the type: a [`DmaBuffer`] belongs to the CPU, a [`DeviceBuffer`] to the device. Handing over
//! ([`DmaBuffer::share`], [`DeviceBuffer::unshare`]) does the cache maintenance and yields the bus address, so neither
//! can be forgotten. Host tests use a backend that copies between two memories at hand-over: code that reads a buffer
//! without taking it back sees stale bytes there, as it would on a Pi with its non-coherent caches.

use core::ptr::NonNull;
use core::{fmt, slice};

/// Size in bytes of the largest data cache line of the supported cores (Cortex-A53/A72 TRM, CTR_EL0.DminLine = 4).
///
/// Buffers start and end on such a line, so that maintenance on one never touches a neighbour.
pub const CACHE_LINE: usize = 64;

/// An address as the CPU sees it, and bus masters that have no window of their own.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PhysAddr(pub u64);

impl fmt::Debug for PhysAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PhysAddr({:#x})", self.0)
    }
}

/// An address as the masters of the legacy peripheral bus see it (mailbox, DWC2): through the VideoCore's window.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BusAddr(pub u64);

impl fmt::Debug for BusAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BusAddr({:#x})", self.0)
    }
}

/// Who writes a shared buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// The device only reads it.
    ToDevice,
    /// The device writes it; what the CPU had in it is lost.
    FromDevice,
    /// The device may do both (descriptor rings).
    Both,
}

/// Makes hand-overs real: cache maintenance and address translation on a Pi, copies in host tests.
///
/// # Safety
///
/// After `to_device` the device sees what the CPU wrote, and no later eviction of a CPU cache line may overwrite what
/// the device writes. After `to_cpu` the CPU sees what the device wrote in the first `len` bytes. `bus_addr` and
/// `phys_addr` are where devices of their kind find the first byte of the buffer. None of them may access memory outside
/// the given range.
pub unsafe trait DmaBackend: Sync {
    /// Hands `len` bytes at `start` to the device.
    fn to_device(&self, start: NonNull<u8>, len: usize, direction: Direction);
    /// Takes the first `len` bytes at `start` back from the device.
    fn to_cpu(&self, start: NonNull<u8>, len: usize, direction: Direction);
    /// Returns where a master of the legacy peripheral bus sees `start`.
    fn bus_addr(&self, start: NonNull<u8>) -> BusAddr;
    /// Returns where the CPU, and a master that sees what it sees, finds `start`.
    fn phys_addr(&self, start: NonNull<u8>) -> PhysAddr;
}

/// A buffer for DMA, owned by the CPU. Starts on a [`CACHE_LINE`]; its length is a multiple of it.
pub struct DmaBuffer {
    start: NonNull<u8>,
    len: usize,
    backend: &'static dyn DmaBackend,
}

/// A buffer that the device owns: nothing but its bus address can be asked for.
#[must_use = "a dropped device buffer is lost for good"]
#[derive(Debug)]
pub struct DeviceBuffer {
    buffer: DmaBuffer,
    direction: Direction,
}

// SAFETY: 1. the pointer is to memory that only this value refers to (see `DmaPool::new`), so moving the value to another
// core moves the memory with it; 2. the backend is Sync.
unsafe impl Send for DmaBuffer {}

impl DmaBuffer {
    /// Returns the length in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Returns whether the buffer has no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Returns the bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: `start` is valid for `len` initialised bytes, and they are this value's alone (`DmaPool::new`).
        unsafe { slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }

    /// Returns the bytes for writing.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `bytes`, and `&mut self` makes the borrow exclusive.
        unsafe { slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }

    /// Hands the whole buffer to the device.
    pub fn share(self, direction: Direction) -> DeviceBuffer {
        let len = self.len;
        self.share_first(len, direction)
    }

    /// Hands the buffer to the device, which will touch only its first `len` bytes (rounded up to whole cache lines).
    pub fn share_first(self, len: usize, direction: Direction) -> DeviceBuffer {
        let len = len.next_multiple_of(CACHE_LINE).min(self.len);
        self.backend.to_device(self.start, len, direction);
        DeviceBuffer { buffer: self, direction }
    }
}

impl fmt::Debug for DmaBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DmaBuffer({:p}, {} bytes)", self.start, self.len)
    }
}

impl DeviceBuffer {
    /// Returns where a master of the legacy peripheral bus finds the first byte.
    #[must_use]
    pub fn bus_addr(&self) -> BusAddr {
        self.buffer.backend.bus_addr(self.buffer.start)
    }

    /// Returns where a master that sees physical addresses as the CPU does finds the first byte.
    #[must_use]
    pub fn phys_addr(&self) -> PhysAddr {
        self.buffer.backend.phys_addr(self.buffer.start)
    }

    /// Returns the length in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.buffer.len
    }

    /// Returns whether the buffer has no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.buffer.len == 0
    }

    /// Takes the whole buffer back. The device must be done with it.
    #[must_use]
    pub fn unshare(self) -> DmaBuffer {
        let len = self.buffer.len;
        self.unshare_first(len)
    }

    /// Takes the buffer back when the device has written at most its first `len` bytes.
    ///
    /// The bytes behind them are unspecified.
    #[must_use]
    pub fn unshare_first(self, len: usize) -> DmaBuffer {
        let len = len.next_multiple_of(CACHE_LINE).min(self.buffer.len);
        self.backend_to_cpu(len);
        self.buffer
    }

    fn backend_to_cpu(&self, len: usize) {
        self.buffer.backend.to_cpu(self.buffer.start, len, self.direction);
    }
}

/// Hands out DMA buffers from one region. They are never given back: their users keep them for the life of the node.
pub struct DmaPool {
    next: NonNull<u8>,
    left: usize,
    backend: &'static dyn DmaBackend,
}

// SAFETY: as for `DmaBuffer`.
unsafe impl Send for DmaPool {}

impl DmaPool {
    /// Makes a pool of `region`.
    ///
    /// Bytes before the first and behind the last whole cache line are not used.
    #[must_use]
    pub fn new(region: &'static mut [u8], backend: &'static dyn DmaBackend) -> Self {
        let skip = region.as_ptr().align_offset(CACHE_LINE).min(region.len());
        let (_, usable) = region.split_at_mut(skip);
        let left = usable.len() / CACHE_LINE * CACHE_LINE;
        Self { next: NonNull::from(usable).cast(), left, backend }
    }

    /// Returns a zeroed buffer of at least `len` bytes, or `None` when the region is used up.
    pub fn take(&mut self, len: usize) -> Option<DmaBuffer> {
        let len = len.checked_next_multiple_of(CACHE_LINE)?;
        let left = self.left.checked_sub(len)?;
        let start = self.next;
        // SAFETY: `len` bytes are left from `next` on, so the sum stays in (or one past) the region.
        self.next = unsafe { start.add(len) };
        self.left = left;
        let mut buffer = DmaBuffer { start, len, backend: self.backend };
        buffer.bytes_mut().fill(0);
        Some(buffer)
    }

    /// Returns how many bytes are left.
    #[must_use]
    pub fn left_bytes(&self) -> usize {
        self.left
    }
}
