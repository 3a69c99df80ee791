//! The clock of host programs that are linked with crates of a node: the time since the first look at it.
//!
//! The host tool reads the parameters of workloads by the node's own table; behind that table are the workloads, and they wait
//! for times. embassy-time's own clock for hosts (its feature `std`) would be in all host tests too, which have a virtual one.
//!
//! A program brings it along with `use wallclock as _;`. A timer wakes its task when somebody next looks at the clock or sets
//! another timer: enough for a program that runs no executor, as the host tool.

use core::cell::RefCell;
use core::task::Waker;
use std::sync::OnceLock;
use std::time::Instant;

use critical_section::Mutex;
use embassy_time_driver::Driver;
use embassy_time_queue_utils::Queue;

struct WallClock {
    start: OnceLock<Instant>,
    queue: Mutex<RefCell<Queue>>,
}

impl WallClock {
    fn ticks(&self) -> u64 {
        let micros = self.start.get_or_init(Instant::now).elapsed().as_micros();
        u64::try_from(micros).unwrap_or(u64::MAX)
    }
}

impl Driver for WallClock {
    fn now(&self) -> u64 {
        let now = self.ticks();
        critical_section::with(|cs| self.queue.borrow(cs).borrow_mut().next_expiration(now));
        now
    }

    fn schedule_wake(&self, at: u64, waker: &Waker) {
        critical_section::with(|cs| {
            let mut queue = self.queue.borrow(cs).borrow_mut();
            queue.schedule_wake(at, waker);
            queue.next_expiration(self.ticks());
        });
    }
}

embassy_time_driver::time_driver_impl!(static CLOCK: WallClock = WallClock {
    start: OnceLock::new(),
    queue: Mutex::new(RefCell::new(Queue::new())),
});

#[cfg(test)]
mod tests {
    use core::sync::atomic::{AtomicU32, Ordering};
    use std::sync::Arc;
    use std::task::Wake;

    use super::*;

    struct Woken(AtomicU32);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn time_goes_on_and_timers_wake_when_their_time_has_come() {
        let woken = Arc::new(Woken(AtomicU32::new(0)));
        let start = CLOCK.now();
        CLOCK.schedule_wake(start + 2_000, &Waker::from(Arc::clone(&woken)));
        assert_eq!(woken.0.load(Ordering::Relaxed), 0);
        while CLOCK.now() < start + 2_000 {
            std::hint::spin_loop();
        }
        CLOCK.now();
        assert_eq!(woken.0.load(Ordering::Relaxed), 1);
    }
}
