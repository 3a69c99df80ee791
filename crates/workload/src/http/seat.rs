//! Seats for clients, and a watchman who sees to deadlines.
//!
//! A timer for each wait of each request would cost more than the request. So whoever waits notes until when, and a
//! watchman looks at all seats ten times a second. When no seat is free, it also takes one away from the client that has
//! let us wait the longest for a request: a client that does not get on has a seat only as long as nobody wants it.

use alloc::boxed::Box;
use core::future::poll_fn;
use core::pin::pin;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use core::task::Poll;

use embassy_time::{Duration, Instant};
use futures_util::task::AtomicWaker;

/// How often the watchman looks.
pub(crate) const ROUND: Duration = Duration::from_millis(100);
/// How long a client may let us wait for a request, or the rest of one, though others want its seat. Clients at work take
/// far less.
const GRACE_US: u64 = 250_000;

/// No deadline.
const NEVER: u64 = u64::MAX;

/// The seats of a core. All numbers are changed and read on that core alone, so `Relaxed` is enough.
pub(crate) struct Seats {
    seats: Box<[Seat]>,
    free: AtomicUsize,
}

/// A seat.
pub(crate) struct Seat {
    /// Until when whatever is waited for has to come, in µs since boot.
    deadline_us: AtomicU64,
    /// Since when the client lets us wait for a request.
    idle_since_us: AtomicU64,
    /// Why its client has to go.
    notice: AtomicU64,
    waker: AtomicWaker,
}

/// Why something did not come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The connection was lost.
    Lost,
    /// It did not come in time.
    Late,
    /// Somebody else needs the seat.
    Unseated,
}

const LATE: u64 = 1;
const UNSEATED: u64 = 2;

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// The client, for a request: it may be unseated.
    Idle,
    /// Something that is under way.
    Work,
}

impl Seats {
    pub(crate) fn new(count: usize) -> Self {
        Self { seats: (0..count).map(|_| Seat::new()).collect(), free: AtomicUsize::new(0) }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Seat> {
        self.seats.iter()
    }

    /// Waits for a client by `accept`, during which the seat is free.
    pub(crate) async fn offer<T>(&self, accept: impl Future<Output = T>) -> T {
        self.free.fetch_add(1, Ordering::Relaxed);
        let _taken = Taken(&self.free);
        accept.await
    }

    /// Does the watchman's round.
    pub(crate) fn look(&self, now: Instant) {
        let now_us = now.as_micros();
        for seat in &self.seats {
            if seat.deadline_us.load(Ordering::Relaxed) <= now_us {
                seat.give_notice(LATE);
            }
        }
        if self.free.load(Ordering::Relaxed) > 0 {
            return;
        }
        let idle = self.seats.iter().map(|seat| (seat.idle_since_us.load(Ordering::Relaxed), seat));
        if let Some((since_us, seat)) = idle.min_by_key(|(since_us, _)| *since_us)
            && since_us.saturating_add(GRACE_US) <= now_us
        {
            seat.give_notice(UNSEATED);
        }
    }
}

/// A free seat, until this is dropped.
struct Taken<'a>(&'a AtomicUsize);

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Seat {
    fn new() -> Self {
        Self {
            deadline_us: AtomicU64::new(NEVER),
            idle_since_us: AtomicU64::new(NEVER),
            notice: AtomicU64::new(0),
            waker: AtomicWaker::new(),
        }
    }

    /// Waits for what `work` brings, until the deadline. What is there at once costs nothing.
    ///
    /// # Errors
    ///
    /// Says why it did not come.
    pub(crate) async fn wait<T, E>(
        &self,
        deadline: Instant,
        wait: Wait,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, End> {
        let mut work = pin!(work);
        let mut noted = None;
        poll_fn(|cx| {
            if let Poll::Ready(result) = work.as_mut().poll(cx) {
                return Poll::Ready(result.map_err(|_| End::Lost));
            }
            noted.get_or_insert_with(|| self.note(deadline, wait));
            self.waker.register(cx.waker());
            match self.notice.load(Ordering::Relaxed) {
                0 => Poll::Pending,
                LATE => Poll::Ready(Err(End::Late)),
                _ => Poll::Ready(Err(End::Unseated)),
            }
        })
        .await
    }

    fn note(&self, deadline: Instant, wait: Wait) -> Noted<'_> {
        self.deadline_us.store(deadline.as_micros(), Ordering::Relaxed);
        if wait == Wait::Idle {
            self.idle_since_us.store(Instant::now().as_micros(), Ordering::Relaxed);
        }
        Noted(self)
    }

    fn give_notice(&self, why: u64) {
        self.notice.store(why, Ordering::Relaxed);
        self.waker.wake();
    }
}

/// A wait that the watchman knows of, until this is dropped.
struct Noted<'a>(&'a Seat);

impl Drop for Noted<'_> {
    fn drop(&mut self) {
        self.0.deadline_us.store(NEVER, Ordering::Relaxed);
        self.0.idle_since_us.store(NEVER, Ordering::Relaxed);
        self.0.notice.store(0, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use core::future::{pending, ready};
    use core::task::{Context, Waker};

    use super::*;

    const NOW: Instant = Instant::from_secs(100);

    fn poll<F: Future>(future: core::pin::Pin<&mut F>) -> Poll<F::Output> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn what_is_late_is_given_up() {
        let seats = Seats::new(1);
        let seat = seats.iter().next().unwrap();
        let mut wait = pin!(seat.wait(NOW, Wait::Work, pending::<Result<(), ()>>()));
        assert!(poll(wait.as_mut()).is_pending());
        seats.look(NOW - Duration::from_micros(1));
        assert!(poll(wait.as_mut()).is_pending());
        seats.look(NOW);
        assert_eq!(poll(wait.as_mut()), Poll::Ready(Err(End::Late)));
        // The notice was for that wait alone.
        let mut next = pin!(seat.wait(NOW, Wait::Work, pending::<Result<(), ()>>()));
        assert!(poll(next.as_mut()).is_pending());
        assert_eq!(poll(pin!(seat.wait(NOW, Wait::Work, ready(Err::<(), ()>(()))))), Poll::Ready(Err(End::Lost)));
        assert_eq!(poll(pin!(seat.wait(NOW, Wait::Work, ready(Ok::<i32, ()>(7))))), Poll::Ready(Ok(7)));
    }

    #[test]
    fn only_who_idles_is_unseated_and_only_when_no_seat_is_free() {
        let seats = Seats::new(3);
        let later = Instant::from_secs(1_000_000);
        let mut offer = Box::pin(seats.offer(pending::<()>()));
        assert!(poll(offer.as_mut()).is_pending());
        let mut all: Vec<_> = seats.iter().collect();
        let (working, idle) = (all.remove(0), all.remove(0));
        let mut work = pin!(working.wait(later, Wait::Work, pending::<Result<(), ()>>()));
        let mut rest = pin!(idle.wait(later, Wait::Idle, pending::<Result<(), ()>>()));
        assert!(poll(work.as_mut()).is_pending() && poll(rest.as_mut()).is_pending());
        let after = Instant::now() + Duration::from_secs(1);
        seats.look(after);
        assert!(poll(rest.as_mut()).is_pending(), "a seat is free");
        drop(offer);
        seats.look(Instant::now());
        assert!(poll(rest.as_mut()).is_pending(), "there is a grace");
        seats.look(after);
        assert_eq!(poll(rest.as_mut()), Poll::Ready(Err(End::Unseated)));
        assert!(poll(work.as_mut()).is_pending());
    }
}
