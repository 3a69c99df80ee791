//! Wakes a task on another core, and only when it waits: a wake across cores is an interrupt there.

use core::future::poll_fn;
use core::sync::atomic::{AtomicBool, Ordering, fence};
use core::task::{Context, Poll};

use embassy_sync::waitqueue::AtomicWaker;

/// Something that one task waits for and another brings about.
///
/// The waiting side calls [`listen`](Self::listen), looks once more whether there is still nothing, and only then sleeps.
/// The other side makes its change and calls [`ring`](Self::ring). The fences on both sides see to it that either the
/// look finds the change, or the ringing finds the listener.
pub(crate) struct Bell {
    is_awaited: AtomicBool,
    waker: AtomicWaker,
}

impl Bell {
    pub(crate) const fn new() -> Self {
        Self { is_awaited: AtomicBool::new(false), waker: AtomicWaker::new() }
    }

    pub(crate) fn listen(&self, cx: &Context<'_>) {
        self.waker.register(cx.waker());
        self.is_awaited.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    pub(crate) fn ring(&self) {
        self.ring_if(|| true);
    }

    /// Rings if somebody waits and `is_worth_it`.
    pub(crate) fn ring_if(&self, is_worth_it: impl FnOnce() -> bool) {
        fence(Ordering::SeqCst);
        // Acquire: so that the waker that was registered before is the one that is called.
        if self.is_awaited.load(Ordering::Acquire) && is_worth_it() && self.is_awaited.swap(false, Ordering::AcqRel) {
            self.waker.wake();
        }
    }
}

/// Looks, listens, and looks again: something may have come in between.
pub(crate) async fn watch<T>(mut look: impl FnMut() -> Option<T>, mut listen: impl FnMut(&Context<'_>)) -> T {
    poll_fn(|cx| {
        if let Some(found) = look() {
            return Poll::Ready(found);
        }
        listen(cx);
        look().map_or(Poll::Pending, Poll::Ready)
    })
    .await
}
