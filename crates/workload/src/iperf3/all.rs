//! Many futures at once, and how long the core is busy with them.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::future::poll_fn;
use core::pin::Pin;
use core::sync::atomic::{AtomicU64, Ordering};
use core::task::Poll;

use embassy_time::Instant;

/// A future of a stream; made once per test.
pub(super) type Part<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Runs all futures to their ends and returns what they gave, in their order. Adds the time that this took the core to
/// `busy_us`.
///
/// All are polled when one is woken: they are few.
pub(super) async fn all<T>(parts: impl Iterator<Item = Part<'_, T>>, busy_us: &AtomicU64) -> Vec<T> {
    enum Slot<'a, T> {
        Running(Part<'a, T>),
        Done(T),
    }
    let mut slots: Vec<_> = parts.map(Slot::Running).collect();
    poll_fn(|cx| {
        let start = Instant::now();
        let mut is_running = false;
        for slot in &mut slots {
            if let Slot::Running(part) = slot {
                match part.as_mut().poll(cx) {
                    Poll::Ready(result) => *slot = Slot::Done(result),
                    Poll::Pending => is_running = true,
                }
            }
        }
        busy_us.fetch_add(start.elapsed().as_micros(), Ordering::Relaxed);
        if is_running { Poll::Pending } else { Poll::Ready(()) }
    })
    .await;
    let done = |slot| match slot {
        Slot::Done(result) => Some(result),
        Slot::Running(_) => None,
    };
    slots.into_iter().filter_map(done).collect()
}
