//! Watches that the node makes progress, and restarts it when it does not.
//!
//! A timer interrupt of its own looks twice a second at a counter of each watched part: the executor of core 0, the
//! network, telemetry. While all advance it feeds the hardware watchdog. When one stands still for [`STALL_LIMIT`] it
//! reports what core 0 was doing, and restarts the node; the hardware watchdog catches what even this does not.
//!
//! Workloads are watched by their manager, which starts them anew. Only a core that does not let go of one is beyond it:
//! [`expose`] has that core report what it does, and restarts the node.

use core::cell::RefCell;
use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use aarch64_cpu::asm::wfi;
use critical_section::Mutex;
use drivers::watchdog::Watchdog;
use embassy_time::{Duration, Instant};
use heapless::Vec;

use crate::cpu::{current_core, executor, fault, interrupt};
use crate::past;

/// How often [`check`] is called.
pub(crate) const CHECKS_PER_SECOND: u64 = 2;
/// How long a part may stand still. Each of them moves at least once a second when all is well.
const STALL_LIMIT: Duration = Duration::from_secs(5);
/// What the hardware watchdog waits for: longer than we do, so that there is a report, and below its 16 s.
const WATCHDOG_TIMEOUT: Duration = Duration::from_secs(12);

/// The parts besides the executor.
const PARTS: usize = 4;

/// The core that is to report what it does; 0 for none.
static EXPOSED: AtomicUsize = AtomicUsize::new(0);

static WATCHED: Mutex<RefCell<Watched>> =
    Mutex::new(RefCell::new(Watched { parts: Vec::new(), watchdog: None, executor: Seen::NEW }));

struct Watched {
    parts: Vec<Part, PARTS>,
    watchdog: Option<Watchdog<'static>>,
    executor: Seen,
}

struct Part {
    name: &'static str,
    progress: &'static AtomicU32,
    seen: Seen,
}

/// A counter's value, and since when it has it.
struct Seen {
    value: u64,
    since: Option<Instant>,
}

impl Seen {
    const NEW: Self = Self { value: 0, since: None };

    /// Notes the counter's value and returns whether it has been the same for too long.
    fn is_stalled(&mut self, value: u64, now: Instant) -> bool {
        match self.since {
            Some(since) if self.value == value => now - since > STALL_LIMIT,
            _ => {
                *self = Self { value, since: Some(now) };
                false
            }
        }
    }
}

/// Puts the hardware watchdog under this module's care; it runs from now on if `is_armed`.
pub(crate) fn init(mut watchdog: Watchdog<'static>, is_armed: bool) {
    if is_armed {
        // The timeout is within its limits: a constant.
        let _ = watchdog.arm(WATCHDOG_TIMEOUT);
    }
    critical_section::with(|cs| WATCHED.borrow(cs).borrow_mut().watchdog = Some(watchdog));
}

/// Adds a part whose counter must go on.
pub(crate) fn watch(name: &'static str, progress: &'static AtomicU32) {
    critical_section::with(|cs| {
        let full = WATCHED.borrow(cs).borrow_mut().parts.push(Part { name, progress, seen: Seen::NEW });
        debug_assert!(full.is_ok(), "raise PARTS");
    });
}

/// Looks at every part. Called by the timer interrupt, with the frame record of what it interrupted.
pub(crate) fn check(interrupted: &[u64; 2]) {
    let now = Instant::now();
    let stalled = critical_section::with(|cs| {
        let mut watched = WATCHED.borrow(cs).borrow_mut();
        let mut stalled = watched.executor.is_stalled(executor::polls(0), now).then_some("executor of core 0");
        for part in &mut watched.parts {
            // Relaxed: a counter that only has to change.
            let value = part.progress.load(Ordering::Relaxed);
            if part.seen.is_stalled(u64::from(value), now) {
                stalled = stalled.or(Some(part.name));
            }
        }
        if stalled.is_none()
            && let Some(watchdog) = &mut watched.watchdog
        {
            watchdog.feed();
        }
        stalled
    });
    if let Some(name) = stalled {
        fault::stalled(name, interrupted);
    }
}

/// Restarts the node at once and on purpose: not a crash.
pub(crate) fn restart() -> ! {
    log::warn!("{}", past::FAREWELL);
    critical_section::with(|cs| {
        fault::settle();
        if let Some(watchdog) = &mut WATCHED.borrow(cs).borrow_mut().watchdog {
            watchdog.restart();
        }
    });
    loop {
        wfi();
    }
}

/// Has `core` report what it does and restart the node: it runs a workload that does not let go of it.
pub(crate) fn expose(core: usize) {
    // Relaxed: the interrupt that is sent next comes behind it.
    EXPOSED.store(core, Ordering::Relaxed);
    interrupt::send_ipi(core);
}

/// Parks this core when another one is reporting a crash, and reports one when this core is to. Called by the interrupt
/// between cores, with the frame record of what it interrupted.
pub(crate) fn obey(interrupted: &[u64; 2]) {
    if fault::is_reporting_elsewhere() {
        fault::park();
    }
    // Core 0 runs no workloads, and 0 is nobody.
    if current_core() != 0 && EXPOSED.load(Ordering::Relaxed) == current_core() {
        fault::stalled("a workload that does not let go of its core", interrupted);
    }
}
