//! From the reset vector to the first Rust line, on every core, and the little that only boot code may do afterwards:
//! release the waiting cores and change the mapping.
//!
//! The kernel supplies `kernel_main(device_tree, entry_ticks)`, `kernel_secondary(core)`, `kernel_interrupt(frame_record)` and
//! `kernel_fault(kind, frame)`, all `extern "C"`.
#![no_std]

use core::arch::{asm, global_asm};
use core::ops::Range;
use core::ptr;

/// Bytes of a guard page.
const GUARD: usize = 0x1000;

global_asm!(include_str!("boot.s"));
global_asm!(include_str!("vectors.s"));

/// All registers at a fault, as vectors.s stores them.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct FaultFrame {
    /// x0 to x30.
    pub x: [u64; 31],
    /// The stack pointer.
    pub sp: u64,
    /// ELR_EL1: the faulting or next instruction.
    pub elr: u64,
    /// SPSR_EL1: the interrupted state.
    pub spsr: u64,
    /// ESR_EL1: the cause.
    pub esr: u64,
    /// FAR_EL1: the address of an abort.
    pub far: u64,
}

const _: () = assert!(size_of::<FaultFrame>() == 36 * 8, "vectors.s stores 36 registers");

/// What a vector was for: four per row, rows in the order of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// A synchronous exception.
    Synchronous,
    /// An interrupt where none is expected.
    Irq,
    /// A fast interrupt; none is configured.
    Fiq,
    /// A system error: an access failed after the fact.
    SystemError,
}

impl FaultKind {
    /// Decodes the number that vectors.s passes.
    #[must_use]
    pub fn from_vector(vector: u64) -> Self {
        match vector & 3 {
            0 => Self::Synchronous,
            1 => Self::Irq,
            2 => Self::Fiq,
            _ => Self::SystemError,
        }
    }
}

macro_rules! linker_range {
    ($(#[$doc:meta])* $name:ident, $start:ident, $end:ident) => {
        $(#[$doc])*
        #[must_use]
        pub fn $name() -> Range<usize> {
            unsafe extern "C" {
                static $start: u8;
                static $end: u8;
            }
            (&raw const $start).addr()..(&raw const $end).addr()
        }
    };
}

linker_range!(
    /// Returns where the image is, with bss, page tables and stacks.
    image, __image_start, __image_end);
linker_range!(
    /// Returns where code is.
    text, __text_start, __text_end);
linker_range!(
    /// Returns where constants are.
    rodata, __text_end, __rodata_end);
linker_range!(
    /// Returns the memory for what the firmware hands over. It begins where the image's file ends.
    handover, __handover, __handover_end);
linker_range!(
    /// Returns where all stacks are, guard pages included.
    stacks, __stacks, __stacks_end);
linker_range!(
    /// Returns the memory that survives a reset.
    black_box, __black_box, __black_box_end);
linker_range!(
    /// Returns the memory of the heap.
    heap, __heap_start, __heap_end);
linker_range!(
    /// Returns the memory for buffers that devices see.
    dma, __dma_start, __dma_end);

/// Returns where the memory ends that boot maps.
#[must_use]
pub fn ram_end() -> usize {
    unsafe extern "C" {
        static __ram_end: u8;
    }
    (&raw const __ram_end).addr()
}

/// Returns where the main stack of `core` is, without its guard page.
#[must_use]
pub fn main_stack(core: usize) -> Range<usize> {
    let base = stacks().start;
    let [main, _, _] = strides();
    base + core * main + GUARD..base + (core + 1) * main
}

/// Returns the guard page that `address` lies in, as the core and the kind of the stack above it.
#[must_use]
pub fn guard_page(address: usize) -> Option<(usize, &'static str)> {
    let mut base = stacks().start;
    for (stride, name) in strides().into_iter().zip(["main", "interrupt", "fault"]) {
        let offset = address.wrapping_sub(base);
        if offset < 4 * stride {
            return (offset % stride < GUARD).then_some((offset / stride, name));
        }
        base += 4 * stride;
    }
    None
}

/// Returns the distances between the stacks of one kind, guard page included: main, interrupt, fault.
fn strides() -> [usize; 3] {
    unsafe extern "C" {
        static __stack_main_stride: u8;
        static __stack_irq_stride: u8;
        static __stack_fault_stride: u8;
    }
    [
        (&raw const __stack_main_stride).addr(),
        (&raw const __stack_irq_stride).addr(),
        (&raw const __stack_fault_stride).addr(),
    ]
}

/// Sends cores 1-3, which wait in the firmware's spin table, to `kernel_secondary`.
///
/// Afterwards page 0 is unmapped, so that a null pointer faults.
///
/// # Safety
///
/// Called once, on core 0; `slots` are the addresses of the spin table's entries for cores 1-3 on this board.
pub unsafe fn start_secondaries(slots: [usize; 3]) {
    unsafe extern "C" {
        fn entry_secondary();
    }
    for slot in slots {
        let slot: *mut u64 = ptr::with_exposed_provenance_mut(slot);
        // SAFETY: the slots are in page 0, which boot maps read-write and nobody else uses (caller's promise).
        unsafe { slot.write_volatile(entry_secondary as *const () as u64) };
        // SAFETY: cache maintenance by address changes no memory contents.
        unsafe { asm!("dc civac, {0}", in(reg) slot, options(nostack, preserves_flags)) };
    }
    // SAFETY: barrier and event: the waiting cores look at their slots (they sleep in WFE).
    unsafe { asm!("dsb sy", "sev", options(nostack, preserves_flags)) };
}

/// Unmaps page 0, so that a null pointer faults. Call it when all cores have left the spin table.
///
/// # Safety
///
/// No core reads or writes page 0 any more.
pub unsafe fn unmap_null_page() {
    let l3 = (page_tables() + 0x3000) as *mut u64;
    // SAFETY: the first entry of the first L3 table, made by boot.s for page 0; only this function writes it.
    unsafe { l3.write_volatile(0) };
    // SAFETY: makes every core forget the old entry.
    unsafe { asm!("dsb ishst", "tlbi vmalle1is", "dsb ish", "isb", options(nostack, preserves_flags)) };
}

/// Maps the 2 MiB blocks that cover `range` of the first GiB as read-only memory: for what the firmware left there.
///
/// Returns false, and maps nothing, when the range does not lie in `..limit`.
///
/// # Safety
///
/// `limit` is the end of RAM below the peripherals; no device writes to the range.
pub unsafe fn map_read_only(range: Range<usize>, limit: usize) -> bool {
    const BLOCK: usize = 0x20_0000;
    // Normal memory, inner shareable, accessed, read-only, never executed: see boot.s.
    const NORMAL_RO_BLOCK: u64 = 0x0060_0000_0000_0785;
    if range.start >= range.end || range.end > limit || limit > 0x4000_0000 {
        return false;
    }
    let l2 = (page_tables() + 0x1000) as *mut u64;
    for block in range.start / BLOCK..=(range.end - 1) / BLOCK {
        // SAFETY: `block` is below 512, so the entry is inside the L2 table of the first GiB.
        let entry = unsafe { l2.add(block) };
        // SAFETY: as above; only core 0 changes the mapping, at boot.
        if unsafe { entry.read_volatile() } == 0 {
            // SAFETY: as above; the block was not mapped, so nothing else refers to it.
            unsafe { entry.write_volatile((block * BLOCK) as u64 | NORMAL_RO_BLOCK) };
        }
    }
    // SAFETY: barriers only; invalid entries are never cached, so no TLB maintenance is needed.
    unsafe { asm!("dsb ishst", "isb", options(nostack, preserves_flags)) };
    true
}

/// Maps RAM as plain read-write memory and returns the part of `ram` that is mapped from its first whole block on.
///
/// Blocks have 2 MiB in the first GiB and in the fourth, and a whole GiB elsewhere: what is no whole block is left out.
///
/// # Safety
///
/// `ram` is RAM, not of the image, and nobody has it, on core 0 before the other cores have started.
pub unsafe fn map_memory(ram: Range<usize>) -> Range<usize> {
    const GIB: usize = 1 << 30;
    const BLOCK: usize = 0x20_0000;
    // What boot.s has a table for; entry 3 is one only where the peripherals are at the end of the fourth GiB.
    const TABLES: [(usize, usize); 2] = [(0, 0x1000), (3, 0x2000)];
    // Normal memory, inner shareable, accessed, read-write, never executed: see boot.s.
    const NORMAL_RW_BLOCK: u64 = 0x0060_0000_0000_0705;
    let write = |table: usize, index: usize, address: usize| {
        let entry: *mut u64 = ptr::with_exposed_provenance_mut(page_tables() + table + index * size_of::<u64>());
        // SAFETY: an entry of one of boot.s's tables: `index` is below 512 (see below); only core 0 changes the mapping, at boot.
        unsafe { entry.write_volatile(address as u64 | NORMAL_RW_BLOCK) };
    };
    let first = ram.start.next_multiple_of(BLOCK);
    let mut next = first;
    while next < ram.end {
        let gib = next / GIB;
        let len = match TABLES.into_iter().find(|(of, _)| *of == gib) {
            Some((_, table)) if next + BLOCK <= ram.end => {
                write(table, next % GIB / BLOCK, next);
                BLOCK
            }
            None if gib < 512 && next.is_multiple_of(GIB) && next + GIB <= ram.end => {
                write(0, gib, next);
                GIB
            }
            _ => break,
        };
        next += len;
    }
    // SAFETY: makes the core forget what it knows of blocks that were mapped read-only.
    unsafe { asm!("dsb ishst", "tlbi vmalle1is", "dsb ish", "isb", options(nostack, preserves_flags)) };
    first..next.max(first)
}

fn page_tables() -> usize {
    unsafe extern "C" {
        static __page_tables: u8;
    }
    (&raw const __page_tables).addr()
}
