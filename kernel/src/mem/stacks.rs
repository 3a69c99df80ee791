//! How deep the stacks have ever been: they are painted at the start, and what is still paint was never used.

use core::arch::asm;
use core::ops::Range;

/// What an unused word of a stack holds.
const PAINT: u64 = 0x5A5A_5A5A_5A5A_5A5A;
/// Left alone below the stack pointer: the painter's own frame.
const MARGIN: usize = 512;
const WORD: usize = size_of::<u64>();

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
pub(crate) fn usage(core: usize) -> (usize, usize) {
    let stack = boot::main_stack(core);
    (stack.len(), stack.end - first_used(stack))
}

fn first_used(stack: Range<usize>) -> usize {
    let mut address = stack.start;
    while address < stack.end {
        let word: *const u64 = core::ptr::with_exposed_provenance(address);
        // SAFETY: aligned, mapped, and any value is a u64. Its owner may be writing it: a torn or old value only shifts
        // the result by a word.
        if unsafe { word.read_volatile() } != PAINT {
            break;
        }
        address += WORD;
    }
    address
}
