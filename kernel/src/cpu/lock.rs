//! The critical section that the crates around us use: interrupts off on this core, and one core at a time.

use core::sync::atomic::{AtomicU32, Ordering};

use aarch64_cpu::registers::{DAIF, Readable, Writeable};
use critical_section::RawRestoreState;

use super::{current_core, fault};

/// DAIF: IRQ and FIQ masked.
const MASKED: u64 = 0b0011 << 6;
/// Marks the restore state of a nested section: bit 0 is not a DAIF bit.
const NESTED: u64 = 1;

/// 0, or one more than the number of the core inside.
static OWNER: AtomicU32 = AtomicU32::new(0);

struct CoreLock;
critical_section::set_impl!(CoreLock);

// SAFETY: 1. only the core in OWNER is inside, and its interrupts are masked, so nothing else of that core is either;
// 2. acquire/release on OWNER order the memory accesses of consecutive owners; 3. nested sections change nothing;
// 4. a core that reports a crash may pass a section that another holds: that one is parked, or will be before it goes on.
unsafe impl critical_section::Impl for CoreLock {
    unsafe fn acquire() -> RawRestoreState {
        let daif = DAIF.get();
        DAIF.set(daif | MASKED);
        let me = current_core() as u32 + 1;
        // Relaxed: only this core ever stores `me`, so seeing it means that this core is inside.
        if OWNER.load(Ordering::Relaxed) == me {
            return daif | NESTED;
        }
        // Acquire pairs with the release below. Sections are a few instructions long, so spinning has an end.
        while OWNER.compare_exchange_weak(0, me, Ordering::Acquire, Ordering::Relaxed).is_err() {
            // Unless the owner, or another core, has crashed: then the report goes first, and is the last.
            if fault::is_reporting_here() {
                return daif | NESTED;
            }
            if fault::is_reporting_elsewhere() {
                fault::park();
            }
            core::hint::spin_loop();
        }
        daif
    }

    unsafe fn release(state: RawRestoreState) {
        if state & NESTED == 0 {
            OWNER.store(0, Ordering::Release);
        }
        DAIF.set(state & !NESTED);
    }
}

/// Frees the section whoever holds it: only for a crash report, when no other core runs on.
pub(crate) fn break_open() {
    OWNER.store(0, Ordering::Release);
}
