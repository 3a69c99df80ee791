//! Where boot.s hands over to Rust, and how cores 1-3 get there.

use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use boards::soc::Soc;
use embassy_time::{Duration, Instant};

use super::{CORES, time};
use crate::mem::stacks;

/// How long cores 1-3 get to leave the spin table: microseconds on a board, more for a virtual one on a busy host.
const START_TIME: Duration = Duration::from_secs(1);

/// Cores that have arrived in `kernel_secondary`.
static ARRIVED: AtomicUsize = AtomicUsize::new(0);

/// The first Rust line on core 0. `device_tree` is what the firmware left in x0, `entry_ticks` the counter at `_start`.
#[unsafe(no_mangle)]
extern "C" fn kernel_main(device_tree: usize, entry_ticks: u64) -> ! {
    time::init(entry_ticks);
    stacks::paint(0);
    crate::boot(device_tree, entry_ticks)
}

/// The first Rust line on cores 1-3.
#[unsafe(no_mangle)]
extern "C" fn kernel_secondary(core: usize) -> ! {
    stacks::paint(core);
    // Release pairs with the acquire in `start_cores`.
    ARRIVED.fetch_add(1, Ordering::Release);
    crate::run_core(core)
}

/// Releases cores 1-3 of this SoC and waits until they have left the firmware's spin table. Works once.
///
/// # Errors
///
/// When not all of them arrive: how many did.
pub(crate) fn start_cores(soc: Soc) -> Result<(), usize> {
    static IS_STARTED: AtomicBool = AtomicBool::new(false);
    if IS_STARTED.swap(true, Ordering::Relaxed) {
        return Ok(());
    }
    let slots = soc.facts().spin_table.map(|slot| slot as usize);
    // SAFETY: 1. once (see above), on core 0, the only one that runs yet; 2. the slots are those of the SoC, which
    // `board::claim` read from the core itself.
    unsafe { boot::start_secondaries(slots) };
    let deadline = Instant::now() + START_TIME;
    // Acquire pairs with the release in `kernel_secondary`.
    while ARRIVED.load(Ordering::Acquire) < CORES - 1 && Instant::now() < deadline {
        core::hint::spin_loop();
    }
    let arrived = ARRIVED.load(Ordering::Acquire);
    if arrived < CORES - 1 {
        return Err(arrived);
    }
    // SAFETY: all cores have left page 0, and nothing else is there.
    unsafe { boot::unmap_null_page() };
    Ok(())
}
