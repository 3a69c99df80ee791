//! How deep the stacks have ever been: they are painted at the start, and what is still paint was never used.

use core::arch::asm;
use core::sync::atomic::{AtomicUsize, Ordering};

use crate::cpu::CORES;

/// What an unused word of a stack holds.
const PAINT: u64 = 0x5A5A_5A5A_5A5A_5A5A;
/// Left alone below the stack pointer: the painter's own frame.
const MARGIN: usize = 512;
const WORD: usize = size_of::<u64>();
/// Bytes of paint behind which nothing is looked for.
const WINDOW: usize = 8 * 1024;

/// The lowest address of each main stack that is known to have been used; 0 before the first look.
static LOWEST: [AtomicUsize; CORES] = [const { AtomicUsize::new(0) }; CORES];

/// Paints the main stack of `core` below the stack pointer. Called by that core, at its start.
pub(crate) fn paint(core: usize) {
    let sp: usize;
    // SAFETY: reads a register.
    unsafe { asm!("mov {}, sp", out(reg) sp, options(nomem, nostack, preserves_flags)) };
    let stack = boot::main_stack(core);
    if !stack.contains(&sp) {
        return;
    }
    for address in (stack.start..sp - MARGIN).step_by(WORD) {
        let word: *mut u64 = core::ptr::with_exposed_provenance_mut(address);
        // SAFETY: 1. aligned, and inside this core's stack; 2. below the stack pointer and out of the reach of this leaf
        // function's frame, so no Rust object lives there.
        unsafe { word.write_volatile(PAINT) };
    }
}

/// Returns the size of the main stack of `core` and how much of it was ever in use, in bytes.
///
/// Looks only below what was known to be used, and no further than [`WINDOW`] of paint: a function that skips more than
/// that without writing to it is found when something it calls does.
pub(crate) fn usage(core: usize) -> (usize, usize) {
    let (stack, Some(lowest)) = (boot::main_stack(core), LOWEST.get(core)) else { return (0, 0) };
    // Only the sampler asks, so nobody else writes it.
    let mut used = match lowest.load(Ordering::Relaxed) {
        0 => stack.end,
        address => address,
    };
    let mut address = used;
    while address > stack.start && used - address < WINDOW {
        address -= WORD;
        let word: *const u64 = core::ptr::with_exposed_provenance(address);
        // SAFETY: aligned, mapped, and any value is a u64. Its owner may be writing it: a torn or old value only shifts
        // the result by a word.
        if unsafe { word.read_volatile() } != PAINT {
            used = address;
        }
    }
    lowest.store(used, Ordering::Relaxed);
    (stack.len(), stack.end - used)
}
