//! The clock of host tests: virtual time that jumps to the next timer when nothing else can run.
//!
//! [`run`] polls a future on the current thread. When it is pending and nobody woke it, time jumps to the next timer, so a
//! test of a ten-second lease takes microseconds and always gives the same result. Time is per process; tests that use it
//! run one after the other (a lock inside [`run`] sees to that).

use core::cell::RefCell;
use core::future::Future;
use core::pin::pin;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use core::task::{Context, Poll, Waker};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Wake;

use critical_section::Mutex as CsMutex;
use embassy_time_driver::Driver;
use embassy_time_queue_utils::Queue;

struct VirtualTime {
    now: AtomicU64,
    queue: CsMutex<RefCell<Queue>>,
}

impl Driver for VirtualTime {
    fn now(&self) -> u64 {
        self.now.load(Ordering::SeqCst)
    }

    fn schedule_wake(&self, at: u64, waker: &Waker) {
        critical_section::with(|cs| self.queue.borrow(cs).borrow_mut().schedule_wake(at, waker));
    }
}

embassy_time_driver::time_driver_impl!(static TIME: VirtualTime = VirtualTime {
    now: AtomicU64::new(0),
    queue: CsMutex::new(RefCell::new(Queue::new())),
});

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Runs `future` to its end in virtual time.
///
/// # Panics
///
/// When the future waits for something that neither a timer nor a waker will bring: it would hang for ever.
pub fn run<F: Future>(future: F) -> F::Output {
    let _only = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    // Timers of an earlier test wait in vain; enough of them would fill the queue.
    critical_section::with(|cs| *TIME.queue.borrow(cs).borrow_mut() = Queue::new());
    let flag = Arc::new(Flag(AtomicBool::new(true)));
    let waker = Waker::from(Arc::clone(&flag));
    let mut cx = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        if flag.0.swap(false, Ordering::SeqCst) {
            if let Poll::Ready(out) = future.as_mut().poll(&mut cx) {
                return out;
            }
            continue;
        }
        let next = critical_section::with(|cs| {
            TIME.queue.borrow(cs).borrow_mut().next_expiration(TIME.now.load(Ordering::SeqCst))
        });
        if flag.0.load(Ordering::SeqCst) {
            continue;
        }
        assert!(next != u64::MAX, "the future waits for ever: no timer is set and nobody woke it");
        TIME.now.store(next, Ordering::SeqCst);
        critical_section::with(|cs| TIME.queue.borrow(cs).borrow_mut().next_expiration(next));
    }
}

/// Moves virtual time forward without polling anything, as code that is busy for that long would.
pub fn spend(duration: embassy_time::Duration) {
    TIME.now.fetch_add(duration.as_ticks(), Ordering::SeqCst);
}
