//! Has a workload stand still in the middle of what it does: a fault on purpose.

use core::future::poll_fn;
use core::pin::pin;
use core::sync::atomic::{AtomicBool, Ordering};
use core::task::Poll;

use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;
use embassy_sync::signal::Signal;

/// Whether the workload of a slot stands still.
pub(crate) struct Pause {
    is_on: AtomicBool,
    /// That it goes on.
    over: Signal<CriticalSectionRawMutex, ()>,
}

impl Pause {
    pub(crate) const fn new() -> Self {
        Self { is_on: AtomicBool::new(false), over: Signal::new() }
    }

    pub(crate) fn is_on(&self) -> bool {
        // Relaxed: whoever waits is woken by the signal, and looks again.
        self.is_on.load(Ordering::Relaxed)
    }

    pub(crate) fn set(&self, is_on: bool) {
        self.is_on.store(is_on, Ordering::Relaxed);
        if !is_on {
            self.over.signal(());
        }
    }

    /// Does some work, but for the time in which it is to stand still. What it waits for may happen meanwhile.
    pub(crate) async fn around<T>(&self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        poll_fn(|cx| {
            while self.is_on() {
                if pin!(self.over.wait()).poll(cx).is_pending() {
                    return Poll::Pending;
                }
            }
            work.as_mut().poll(cx)
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use embassy_futures::select::select;
    use embassy_time::{Duration, Instant, Timer};

    use super::*;

    #[test]
    fn work_stands_still_and_goes_on() {
        testkit::time::run(async {
            let pause = Pause::new();
            let (start, mut steps) = (Instant::now(), 0);
            let work = pause.around(async {
                loop {
                    Timer::after_millis(10).await;
                    steps += 1;
                }
            });
            let control = async {
                for is_on in [true, false, true, false] {
                    Timer::after_millis(105).await;
                    pause.set(is_on);
                }
            };
            select(work, control).await;
            assert_eq!(start.elapsed(), Duration::from_millis(420));
            // Ten before the first pause; what was due meanwhile comes when it ends, and then ten more.
            assert!((19..=21).contains(&steps), "{steps}");
        });
    }
}
