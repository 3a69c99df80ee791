//! One embassy executor per core. A core with nothing to do sleeps in WFI, and how long it slept is counted.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use aarch64_cpu::asm::{barrier, wfi};
use aarch64_cpu::registers::{DAIF, Readable, Writeable};
use embassy_executor::{Spawner, raw};
use static_cell::StaticCell;

use super::{CORES, current_core, interrupt, time};

/// DAIF: IRQ masked.
const IRQ_MASKED: u64 = 0b0010 << 6;

static EXECUTORS: [StaticCell<raw::Executor>; CORES] = [const { StaticCell::new() }; CORES];
/// Something was woken since the executor last looked.
static WOKEN: [AtomicBool; CORES] = [const { AtomicBool::new(false) }; CORES];
/// How long each core has slept, as one word so that a reader on another core always sees a state that was: in bits 63:1
/// the ticks slept, minus, while bit 0 says that the core is asleep, the time when it fell asleep.
static SLEPT: [AtomicU64; CORES] = [const { AtomicU64::new(0) }; CORES];
static POLLS: [AtomicU64; CORES] = [const { AtomicU64::new(0) }; CORES];

/// Called by embassy when a task of the executor with this context became ready.
#[unsafe(export_name = "__pender")]
fn pend(context: *mut ()) {
    let core = context.addr();
    let Some(woken) = WOKEN.get(core) else { return };
    // Release pairs with the acquire in `run`: the woken core sees what the waker wrote.
    if !woken.swap(true, Ordering::Release) && core != current_core() {
        interrupt::send_ipi(core);
    }
}

/// Runs this core's executor for ever. `init` spawns its first tasks. Call it once per core.
pub(crate) fn run(init: impl FnOnce(Spawner)) -> ! {
    let core = current_core();
    let Some(cell) = EXECUTORS.get(core) else {
        loop {
            wfi()
        }
    };
    let executor = cell.init(raw::Executor::new(core::ptr::without_provenance_mut(core)));
    init(executor.spawner());
    // From here on interrupts may come: everything they touch is set up.
    DAIF.set(DAIF.get() & !IRQ_MASKED);
    loop {
        // SAFETY: `run` is called once per core (the cell would panic otherwise) and never from inside a task.
        unsafe { executor.poll() };
        count(&POLLS, core, 1);
        // With interrupts masked nothing can slip in between the look at WOKEN and WFI, and WFI still wakes up for a
        // pending interrupt (Arm ARM D1.6.2); it is taken when the mask goes.
        let daif = DAIF.get();
        DAIF.set(daif | IRQ_MASKED);
        let is_woken = WOKEN.get(core).is_some_and(|woken| woken.swap(false, Ordering::Acquire));
        if !is_woken {
            sleep(core);
        }
        DAIF.set(daif);
    }
}

/// Sleeps until an interrupt is pending, and counts for how long.
fn sleep(core: usize) {
    let Some(slept) = SLEPT.get(core) else { return };
    // Only this core writes it. The top bit that the shift loses would be set after thousands of years.
    let before = slept.load(Ordering::Relaxed) >> 1;
    let start = time::ticks();
    slept.store(before.wrapping_sub(start) << 1 | 1, Ordering::Relaxed);
    barrier::dsb(barrier::SY);
    wfi();
    slept.store((before + time::ticks() - start) << 1, Ordering::Relaxed);
}

/// Returns how many counter ticks `core` has slept since boot, the sleep that it is in included.
pub(crate) fn idle_ticks(core: usize) -> u64 {
    let slept = SLEPT.get(core).map_or(0, |slept| slept.load(Ordering::Relaxed));
    let is_asleep = slept & 1 == 1;
    let ticks = if is_asleep { (slept >> 1).wrapping_add(time::ticks()) } else { slept >> 1 };
    ticks & (u64::MAX >> 1)
}

/// Returns how often the executor of `core` has gone round since boot.
pub(crate) fn polls(core: usize) -> u64 {
    POLLS.get(core).map_or(0, |polls| polls.load(Ordering::Relaxed))
}

fn count(counters: &[AtomicU64; CORES], core: usize, by: u64) {
    if let Some(counter) = counters.get(core) {
        counter.fetch_add(by, Ordering::Relaxed);
    }
}
