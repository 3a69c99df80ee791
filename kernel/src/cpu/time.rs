//! Time for `embassy_time`: microseconds since the kernel was entered, by the virtual counter, and one timer queue per core on its virtual timer.
//!
//! The frequency comes from CNTFRQ_EL0: 19.2 MHz on the BCM2837, 54 MHz on the BCM2711, 62.5 MHz in QEMU.

use core::cell::RefCell;
use core::sync::atomic::{AtomicU64, Ordering};
use core::task::Waker;

use aarch64_cpu::asm::barrier;
use aarch64_cpu::registers::{CNTFRQ_EL0, CNTV_CTL_EL0, CNTV_CVAL_EL0, CNTVCT_EL0, Readable, Writeable};
use critical_section::Mutex;
use embassy_time_driver::Driver;
use embassy_time_queue_utils::Queue;

use super::{CORES, current_core};

/// The counter when the kernel was entered: a reset need not set the counter back, and in QEMU it does not.
static START: AtomicU64 = AtomicU64::new(0);
/// Microseconds per counter tick as a 64-bit binary fraction. Written once, before any other core runs.
static MICROS_PER_TICK: AtomicU64 = AtomicU64::new(0);
/// Counter ticks per microsecond with 56 bits behind the point: a division less each time a timer is set.
static TICKS_PER_MICRO: AtomicU64 = AtomicU64::new(0);
const TICKS_PER_MICRO_POINT: u32 = 56;

struct VirtualTimer {
    queues: [Mutex<RefCell<Queue>>; CORES],
}

embassy_time_driver::time_driver_impl!(static TIMER: VirtualTimer = VirtualTimer {
    queues: [const { Mutex::new(RefCell::new(Queue::new())) }; CORES],
});

impl Driver for VirtualTimer {
    fn now(&self) -> u64 {
        now_us()
    }

    fn schedule_wake(&self, at: u64, waker: &Waker) {
        critical_section::with(|cs| {
            // A core's own queue: the timer that must be set is this core's too.
            let Some(queue) = self.queues.get(current_core()) else { return };
            let mut queue = queue.borrow(cs).borrow_mut();
            // What is due goes first. A waker that is there with a time that is past, whose interrupt is still on its way, would
            // not be entered again for `at`, and a task that takes that for done would sleep for ever once it was woken.
            queue.next_expiration(now_us());
            if queue.schedule_wake(at, waker) {
                set_alarm(&mut queue);
            }
        });
    }
}

/// Starts time on core 0, at 0 for the counter's value `start`. Call it before anything asks for the time.
pub(crate) fn init(start: u64) {
    START.store(start, Ordering::Relaxed);
    let hz = CNTFRQ_EL0.get().max(1);
    let micros_per_tick = (1_000_000_u128 << 64) / u128::from(hz);
    // Relaxed: the other cores start later, behind a barrier.
    MICROS_PER_TICK.store(u64::try_from(micros_per_tick).unwrap_or(u64::MAX), Ordering::Relaxed);
    let ticks_per_micro = (u128::from(hz) << TICKS_PER_MICRO_POINT) / 1_000_000;
    TICKS_PER_MICRO.store(u64::try_from(ticks_per_micro).unwrap_or(u64::MAX), Ordering::Relaxed);
}

/// Starts time if that has not happened yet: a report of what went wrong before needs it for its deadlines.
pub(crate) fn ensure_started() {
    if MICROS_PER_TICK.load(Ordering::Relaxed) == 0 {
        init(ticks());
    }
}

/// Returns the counter.
pub(crate) fn ticks() -> u64 {
    // The counter may be read early by speculation; an ISB keeps it in program order (Arm ARM D12.2.1).
    barrier::isb(barrier::SY);
    CNTVCT_EL0.get()
}

/// Returns the time since the kernel was entered, in microseconds.
fn now_us() -> u64 {
    ticks_to_micros(ticks().saturating_sub(START.load(Ordering::Relaxed)))
}

/// Returns the counter's frequency in Hz.
pub(crate) fn frequency_hz() -> u64 {
    CNTFRQ_EL0.get()
}

/// Converts counter ticks to microseconds.
pub(crate) fn ticks_to_micros(ticks: u64) -> u64 {
    ((u128::from(ticks) * u128::from(MICROS_PER_TICK.load(Ordering::Relaxed))) >> 64) as u64
}

/// Wakes what is due on this core. Called by its timer interrupt.
pub(crate) fn on_interrupt() {
    critical_section::with(|cs| {
        let Some(queue) = TIMER.queues.get(current_core()) else { return };
        set_alarm(&mut queue.borrow(cs).borrow_mut());
    });
}

/// Wakes what is due and sets this core's timer to what comes next, or off.
fn set_alarm(queue: &mut Queue) {
    let next = queue.next_expiration(now_us());
    if next == u64::MAX {
        CNTV_CTL_EL0.write(CNTV_CTL_EL0::ENABLE::CLEAR);
        return;
    }
    // Both factors and both conversions round down: two ticks more, and the wake-up never comes too early and repeats.
    let product = u128::from(next) * u128::from(TICKS_PER_MICRO.load(Ordering::Relaxed));
    let at = (product >> TICKS_PER_MICRO_POINT) + 2;
    let at = at.saturating_add(START.load(Ordering::Relaxed).into());
    CNTV_CVAL_EL0.set(u64::try_from(at).unwrap_or(u64::MAX));
    CNTV_CTL_EL0.write(CNTV_CTL_EL0::ENABLE::SET + CNTV_CTL_EL0::IMASK::CLEAR);
    // A time that is already past raises the interrupt at once: the timer compares, it does not wait for equality.
}
