//! Memory: the heap, and the DMA pool with the cache maintenance of a machine whose devices do not snoop.

use core::arch::asm;
use core::ptr::NonNull;
use core::slice;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use hal::dma::{BusAddr, CACHE_LINE, Direction, DmaBackend, DmaPool, PhysAddr};

pub(crate) mod handover;
pub(crate) mod heap;
pub(crate) mod scratch;
pub(crate) mod stacks;

/// Added to a physical address it gives what a bus master sees. Set once at boot, from the board's facts.
static BUS_OFFSET: AtomicU64 = AtomicU64::new(0);

/// The caches of the running machine.
struct Caches;

/// Sets up the heap and returns the DMA pool.
///
/// `bus_offset` is what bus masters add to the addresses of RAM.
///
/// # Panics
///
/// When called a second time: the memory has owners.
pub(crate) fn init(bus_offset: u64) -> DmaPool {
    static IS_TAKEN: AtomicBool = AtomicBool::new(false);
    assert!(!IS_TAKEN.swap(true, Ordering::Relaxed), "heap and DMA memory are taken already");
    // Relaxed: only core 0 drives devices.
    BUS_OFFSET.store(bus_offset, Ordering::Relaxed);
    // SAFETY: the linker gives the heap this memory for itself, and this runs once (checked above).
    unsafe { heap::init(boot::heap()) };
    // SAFETY: as for the heap: nobody else uses this memory, which boot maps read-write.
    let region = unsafe { region(boot::dma()) };
    DmaPool::new(region, &Caches)
}

/// # Safety
///
/// The range is mapped read-write and belongs to nobody else, for ever.
unsafe fn region(range: core::ops::Range<usize>) -> &'static mut [u8] {
    let start: *mut u8 = core::ptr::with_exposed_provenance_mut(range.start);
    // SAFETY: the caller's promise; RAM holds some value in each byte, and any value is a u8.
    unsafe { slice::from_raw_parts_mut(start, range.len()) }
}

// SAFETY: maintenance by address to the point of coherency, line by line inside the range (buffers start and end on a
// line), with barriers around it, is what makes memory agree with devices that do not snoop (Arm ARM D7.5.9).
unsafe impl DmaBackend for Caches {
    fn to_device(&self, start: NonNull<u8>, len: usize, _direction: Direction) {
        // Clean and invalidate in every direction: after it no dirty line can overwrite what the device writes, and the
        // device sees what the CPU wrote.
        for_each_line(start, len, |line| {
            // SAFETY: changes no memory contents as the CPU sees them.
            unsafe { asm!("dc civac, {}", in(reg) line, options(nostack, preserves_flags)) };
        });
        barrier();
    }

    fn to_cpu(&self, start: NonNull<u8>, len: usize, direction: Direction) {
        barrier();
        if direction != Direction::ToDevice {
            // Speculation may have fetched lines while the device owned them: forget them.
            for_each_line(start, len, |line| {
                // SAFETY: the lines are clean since `to_device`, so only stale copies are dropped.
                unsafe { asm!("dc ivac, {}", in(reg) line, options(nostack, preserves_flags)) };
            });
            barrier();
        }
    }

    fn bus_addr(&self, start: NonNull<u8>) -> BusAddr {
        BusAddr(start.addr().get() as u64 + BUS_OFFSET.load(Ordering::Relaxed))
    }

    fn phys_addr(&self, start: NonNull<u8>) -> PhysAddr {
        // Memory is mapped one to one (linker/kernel.ld).
        PhysAddr(start.addr().get() as u64)
    }
}

/// Writes `len` bytes at `start` back to RAM, for who reads them after a reset.
pub(crate) fn clean(start: NonNull<u8>, len: usize) {
    for_each_line(start, len, |line| {
        // SAFETY: changes no memory contents as the CPU sees them.
        unsafe { asm!("dc civac, {}", in(reg) line, options(nostack, preserves_flags)) };
    });
    barrier();
}

/// Writes `bytes` back to RAM, for who reads them after a reset.
pub(crate) fn clean_bytes(bytes: &[u8]) {
    clean(NonNull::from(bytes).cast(), bytes.len());
}

fn for_each_line(start: NonNull<u8>, len: usize, mut maintain: impl FnMut(usize)) {
    let start = start.addr().get();
    let mut line = start & !(CACHE_LINE - 1);
    while line < start + len {
        maintain(line);
        line += CACHE_LINE;
    }
}

fn barrier() {
    aarch64_cpu::asm::barrier::dsb(aarch64_cpu::asm::barrier::SY);
}

/// Takes the black box's memory at boot; the second time there is nothing to take.
pub(crate) fn black_box() -> Option<&'static mut crash::Memory> {
    static IS_TAKEN: AtomicBool = AtomicBool::new(false);
    const { assert!(size_of::<crash::Memory>() <= 0x4000 && align_of::<crash::Memory>() <= 64) };
    let memory: *mut crash::Memory = core::ptr::with_exposed_provenance_mut(boot::black_box().start);
    // SAFETY: 1. the linker keeps this memory for it, mapped read-write, large enough and aligned (checked above); 2. any
    // bytes are a valid `Memory`; 3. this happens once, at boot (checked here), and who has it is parked or done when a crash
    // report takes its part of it.
    (!IS_TAKEN.swap(true, Ordering::Relaxed)).then(|| unsafe { &mut *memory })
}

/// Returns the part of the black box that keeps crash reports.
///
/// # Safety
///
/// In a crash report, when nothing else runs any more.
pub(crate) unsafe fn black_box_for_report() -> &'static mut crash::Reports {
    let memory: *mut crash::Memory = core::ptr::with_exposed_provenance_mut(boot::black_box().start);
    // SAFETY: as in `black_box`; nobody else refers to it any more (caller's promise).
    unsafe { &mut (*memory).reports }
}

/// Writes the black box back to RAM, where the reset does not reach it.
pub(crate) fn clean_black_box() {
    let range = boot::black_box();
    if let Some(start) = NonNull::new(core::ptr::with_exposed_provenance_mut(range.start)) {
        clean(start, range.len());
    }
}

/// Returns this function's caller's frame pointer.
#[inline(always)]
pub(crate) fn frame_pointer() -> u64 {
    let fp: u64;
    // SAFETY: reads a register.
    unsafe { asm!("mov {}, x29", out(reg) fp, options(nomem, nostack, preserves_flags)) };
    fp
}

/// Reads a word of a stack, for a backtrace. `None` outside of the stacks and in their guard pages.
pub(crate) fn read_stack(address: u64) -> Option<u64> {
    let address = usize::try_from(address).ok()?;
    if !boot::stacks().contains(&address) || !address.is_multiple_of(8) || boot::guard_page(address).is_some() {
        return None;
    }
    let word: *const u64 = core::ptr::with_exposed_provenance(address);
    // SAFETY: aligned, mapped (in the stacks, in no guard page), and any value is a u64.
    Some(unsafe { word.read_volatile() })
}
