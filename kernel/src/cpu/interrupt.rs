//! Interrupts: find out who it was, acknowledge, wake. Nothing else happens here.
//!
//! A peripheral's interrupt is a level that its driver's task takes away. So the handler masks it at the controller and
//! wakes the task, which calls [`wait`] again, and that unmasks it. The USB controller is the exception: its handler is
//! part of its driver, because a transfer's end must not wait for a task.

use core::future::poll_fn;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use core::task::Poll;

use aarch64_cpu::asm::barrier;
use aarch64_cpu::registers::{CNTP_CTL_EL0, CNTP_TVAL_EL0, Writeable};
use drivers::interrupts::{Cause, Controller, Irq, Local};
use embassy_sync::once_lock::OnceLock;
use embassy_sync::waitqueue::AtomicWaker;

use super::{current_core, fault, time};
use crate::supervisor;

/// Peripheral interrupts that may be waited for at the same time.
const WAITERS: usize = 4;

static CONTROLLER: OnceLock<Controller<'static>> = OnceLock::new();
static DIRECT: OnceLock<(Irq, &'static (dyn Fn() + Sync))> = OnceLock::new();
static WAITER: [Waiter; WAITERS] = [const { Waiter::new() }; WAITERS];

/// Interrupts that were handled, on all cores.
static HANDLED: AtomicU64 = AtomicU64::new(0);

/// Returns how many interrupts were handled since boot.
pub(crate) fn handled() -> u64 {
    HANDLED.load(Ordering::Relaxed)
}

/// A task that waits for a peripheral.
struct Waiter {
    irq: OnceLock<Irq>,
    is_raised: AtomicBool,
    waker: AtomicWaker,
}

impl Waiter {
    const fn new() -> Self {
        Self { irq: OnceLock::new(), is_raised: AtomicBool::new(false), waker: AtomicWaker::new() }
    }
}

/// Keeps the controller. Called once, on core 0.
pub(crate) fn init(controller: Controller<'static>) {
    // A second call would be our bug; the first controller stays.
    let _ = CONTROLLER.init(controller);
}

/// Lets this core be interrupted by its timer and by other cores; core 0 also by the supervisor's timer.
pub(crate) fn init_core() {
    let Some(controller) = CONTROLLER.try_get() else { return };
    let core = current_core();
    controller.init_core(core, Local { physical_timer: core == 0, virtual_timer: true, ipi: true });
    if core == 0 {
        arm_supervisor();
    }
}

/// Interrupts `core`, so that its executor looks for work.
pub(crate) fn send_ipi(core: usize) {
    if let Some(controller) = CONTROLLER.try_get() {
        // What the other core is to see is in memory before the device gets the word: nothing else orders the two.
        barrier::dsb(barrier::ISHST);
        controller.send_ipi(core);
    }
}

/// Sends the interrupt of the USB controller straight to its driver.
pub(crate) fn connect(irq: Irq, handler: &'static (dyn Fn() + Sync)) {
    if DIRECT.init((irq, handler)).is_ok()
        && let Some(interrupts) = CONTROLLER.try_get()
    {
        interrupts.enable(irq);
    }
}

/// Waits until the peripheral asks for attention. The caller then takes the reason away and waits again.
pub(crate) async fn wait(irq: Irq) {
    let Some(controller) = CONTROLLER.try_get() else { return core::future::pending().await };
    let Some(waiter) = WAITER.iter().find(|waiter| *waiter.irq.get_or_init(|| irq) == irq) else {
        // More kinds of waiters than places: our bug, and quiet would be worse than slow.
        return embassy_time::Timer::after_millis(10).await;
    };
    controller.enable(irq);
    poll_fn(|cx| {
        waiter.waker.register(cx.waker());
        // Acquire pairs with the handler's release.
        if waiter.is_raised.swap(false, Ordering::Acquire) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

/// Called by vectors.s on the interrupt stack with the frame record of the interrupted code.
#[unsafe(no_mangle)]
extern "C" fn kernel_interrupt(interrupted: &[u64; 2]) {
    let Some(controller) = CONTROLLER.try_get() else { return };
    let core = current_core();
    controller.handle(core, |cause| {
        HANDLED.fetch_add(1, Ordering::Relaxed);
        match cause {
            Cause::VirtualTimer => time::on_interrupt(),
            Cause::Ipi => {
                // What the other core wrote before it sent this is read after this was acknowledged.
                barrier::dmb(barrier::SY);
                supervisor::obey(interrupted);
            }
            Cause::PhysicalTimer => {
                arm_supervisor();
                supervisor::check(interrupted);
            }
            Cause::Peripheral(irq) => on_peripheral(controller, irq),
            Cause::Unexpected(source) => fault::unexpected_interrupt(source, interrupted),
        }
    });
}

fn on_peripheral(controller: &Controller<'_>, irq: Irq) {
    if let Some((direct, handler)) = DIRECT.try_get()
        && *direct == irq
    {
        handler();
        return;
    }
    controller.disable(irq);
    if let Some(waiter) = WAITER.iter().find(|waiter| waiter.irq.try_get() == Some(&irq)) {
        waiter.is_raised.store(true, Ordering::Release);
        waiter.waker.wake();
    }
}

/// Sets core 0's physical timer, which no task uses, to the supervisor's next look.
fn arm_supervisor() {
    // At least some milliseconds, even if the firmware has left no frequency.
    CNTP_TVAL_EL0.set((time::frequency_hz() / supervisor::CHECKS_PER_SECOND).max(1_000_000));
    CNTP_CTL_EL0.write(CNTP_CTL_EL0::ENABLE::SET + CNTP_CTL_EL0::IMASK::CLEAR);
}
