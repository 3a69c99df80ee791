//! Seats for clients, and a watchman who sees to deadlines.
//!
//! A timer for each wait of each request would cost more than the request. So whoever waits notes until when, and a
//! watchman looks at all seats ten times a second, and more often when few are free. Then it also takes seats away from those
//! who have let us wait the longest: a client that does not say what it wants has a seat only as long as nobody needs it.

use alloc::boxed::Box;
use core::convert::Infallible;
use core::future::poll_fn;
use core::pin::pin;
use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use core::task::Poll;

use embassy_futures::select::select;
use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;
use embassy_sync::signal::Signal;
use embassy_time::{Duration, Instant, Timer};
use futures_util::task::AtomicWaker;

/// How often the watchman looks.
const ROUND: Duration = Duration::from_millis(100);
/// How often it does when few seats are free.
const SHORT_ROUND: Duration = Duration::from_millis(10);
/// How long a client may let us wait for its next request, though no seat is free. Clients at work take far less.
const IDLE_GRACE_US: u64 = 250_000;
/// How long for its first one, or for the rest of one, though few are. On the same link it comes in a millisecond or two.
const STALLED_GRACE_US: u64 = 20_000;
/// How long to take a part of what it has asked for, though few are free: longer than a way around the world.
const SLOW_GRACE_US: u64 = 300_000;
/// How long something may take that a client sends or takes, besides a second for every so many bytes.
pub(crate) const TRANSFER: Duration = Duration::from_secs(10);
const SLOWEST_BYTES_PER_S: u64 = 10_000;
/// Who is as fast as this does not let us wait. Who is slower does, ever longer, and not only since its last byte.
const FAIR_BYTES_PER_S: u64 = 100_000;
/// How much longer, if seats are being left that will do: a good-bye takes a round trip. No seat counts as free for it, because
/// a peer may as well not answer it.
const LEAVE_GRACE_US: u64 = 300_000;
/// As many seats are kept free from stalled clients, if there are four times as many.
const FREE_WANTED: usize = 3;

/// No deadline.
const NEVER: u64 = u64::MAX;

/// The seats of a core. All numbers are changed and read on that core alone, so `Relaxed` is enough.
pub(crate) struct Seats {
    seats: Box<[Seat]>,
    free: AtomicUsize,
    shortage: Signal<CriticalSectionRawMutex, ()>,
}

/// A seat.
pub(crate) struct Seat {
    /// Until when whatever is waited for has to come, in µs since boot.
    deadline_us: AtomicU64,
    /// From when on the client lets us wait for too long if others want the seat, and whether it owes us something.
    spare_from_us: AtomicU64,
    is_stalled: AtomicBool,
    /// The client is being said good-bye to.
    is_left: AtomicBool,
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
    /// The client, since then, for its next request: it may be unseated.
    Idle(Instant),
    /// The client, since then, for its first request or the rest of one: it may soon be unseated.
    Stalled(Instant),
    /// The client, since then, to take what it has asked for, or to say who it is, which may take a while: like the one before,
    /// but not as soon.
    Slow(Instant),
    /// Something that is under way.
    Work,
}

impl Wait {
    /// Returns from when on it is for too long, if others want the seat.
    fn spare_from_us(self) -> u64 {
        let (since, grace_us) = match self {
            Self::Idle(since) => (since, IDLE_GRACE_US),
            Self::Stalled(since) => (since, STALLED_GRACE_US),
            Self::Slow(since) => (since, SLOW_GRACE_US),
            Self::Work => return NEVER,
        };
        since.as_micros().saturating_add(grace_us)
    }
}

/// Returns the time that so many bytes may take at the slowest.
pub(crate) fn slowest(len: u64) -> Duration {
    Duration::from_micros(len.saturating_mul(1_000_000) / SLOWEST_BYTES_PER_S)
}

/// How a client gets on with a request or a reply, of which nobody needs to know how long it is.
///
/// Each byte gives it time, but only so much: a byte now and then does not keep a seat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pace {
    /// Since when it lets us wait.
    pub(crate) since: Instant,
    /// When it has had all the time that there is.
    pub(crate) deadline: Instant,
}

impl Pace {
    pub(crate) fn new(now: Instant) -> Self {
        Self { since: now, deadline: now + TRANSFER }
    }

    /// Notes that `len` bytes more have come, or were taken.
    pub(crate) fn add(&mut self, len: usize, now: Instant) {
        self.since = (self.since + Duration::from_micros(len as u64 * 1_000_000 / FAIR_BYTES_PER_S)).min(now);
        self.deadline += slowest(len as u64);
    }
}

impl Seats {
    pub(crate) fn new(count: usize) -> Self {
        Self { seats: (0..count).map(|_| Seat::new()).collect(), free: AtomicUsize::new(0), shortage: Signal::new() }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Seat> {
        self.seats.iter()
    }

    /// Waits for a client by `accept`, during which the seat is free.
    pub(crate) async fn offer<T>(&self, accept: impl Future<Output = T>) -> T {
        self.free.fetch_add(1, Ordering::Relaxed);
        let _taken = Taken(self);
        accept.await
    }

    /// Watches for ever.
    pub(crate) async fn watch(&self) -> Infallible {
        loop {
            self.next_round().await;
            // If this core has stood still, what came meanwhile is looked at first: nobody is to go for our own delay.
            embassy_futures::yield_now().await;
            self.look(Instant::now());
        }
    }

    /// Waits for the watchman's next round.
    async fn next_round(&self) {
        let round = if self.free.load(Ordering::Relaxed) < self.free_wanted() { SHORT_ROUND } else { ROUND };
        select(Timer::after(round), self.shortage.wait()).await;
    }

    fn free_wanted(&self) -> usize {
        (self.seats.len() / 4).clamp(1, FREE_WANTED)
    }

    /// Does the watchman's round.
    fn look(&self, now: Instant) {
        let now_us = now.as_micros();
        for seat in &self.seats {
            if seat.deadline_us.load(Ordering::Relaxed) <= now_us {
                seat.give_notice(LATE);
            }
        }
        let free = self.free.load(Ordering::Relaxed);
        let left = self.seats.iter().filter(|seat| seat.is_left.load(Ordering::Relaxed)).count();
        let patience_us = |is_urgent: bool| if is_urgent { 0 } else { LEAVE_GRACE_US };
        for coming in free..self.free_wanted() {
            if !self.unseat(true, now_us.saturating_sub(patience_us(coming + left < self.free_wanted()))) {
                if free == 0 {
                    self.unseat(false, now_us.saturating_sub(patience_us(left == 0)));
                }
                return;
            }
        }
    }

    /// Takes a seat away from the client that has let us wait for too long the longest; returns whether there is one.
    fn unseat(&self, is_stalled: bool, now_us: u64) -> bool {
        let waits = self.seats.iter().filter(|seat| {
            seat.is_stalled.load(Ordering::Relaxed) == is_stalled
                && seat.spare_from_us.load(Ordering::Relaxed) <= now_us
                && seat.notice.load(Ordering::Relaxed) == 0
        });
        let longest = waits.min_by_key(|seat| seat.spare_from_us.load(Ordering::Relaxed));
        longest.inspect(|seat| seat.give_notice(UNSEATED)).is_some()
    }
}

/// A free seat, until this is dropped.
struct Taken<'a>(&'a Seats);

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        let free = self.0.free.fetch_sub(1, Ordering::Relaxed) - 1;
        if free + 1 == self.0.free_wanted() {
            self.0.shortage.signal(());
        }
    }
}

impl Seat {
    fn new() -> Self {
        Self {
            deadline_us: AtomicU64::new(NEVER),
            spare_from_us: AtomicU64::new(NEVER),
            is_stalled: AtomicBool::new(false),
            is_left: AtomicBool::new(false),
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

    /// Says good-bye to the client by `close`, during which others need not go as soon for want of this seat.
    pub(crate) async fn leave<T>(&self, close: impl Future<Output = T>) -> T {
        self.is_left.store(true, Ordering::Relaxed);
        let _leaving = Leaving(self);
        close.await
    }

    fn note(&self, deadline: Instant, wait: Wait) -> Noted<'_> {
        self.deadline_us.store(deadline.as_micros(), Ordering::Relaxed);
        self.is_stalled.store(!matches!(wait, Wait::Idle(_)), Ordering::Relaxed);
        self.spare_from_us.store(wait.spare_from_us(), Ordering::Relaxed);
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
        self.0.spare_from_us.store(NEVER, Ordering::Relaxed);
        self.0.notice.store(0, Ordering::Relaxed);
    }
}

/// A seat that is being left, until this is dropped.
struct Leaving<'a>(&'a Seat);

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        self.0.is_left.store(false, Ordering::Relaxed);
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
        let mut rest = pin!(idle.wait(later, Wait::Idle(Instant::now()), pending::<Result<(), ()>>()));
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

    #[test]
    fn who_takes_no_reply_goes_before_who_rests_though_it_came_later() {
        let seats = Seats::new(2);
        let later = Instant::from_secs(1_000_000);
        let mut all: Vec<_> = seats.iter().collect();
        let (idle, slow) = (all.remove(0), all.remove(0));
        let begun = Instant::now() + Duration::from_secs(10);
        let mut rest = pin!(idle.wait(later, Wait::Idle(begun - Duration::from_secs(9)), pending::<Result<(), ()>>()));
        let mut slow = pin!(slow.wait(later, Wait::Slow(begun), pending::<Result<(), ()>>()));
        assert!(poll(rest.as_mut()).is_pending() && poll(slow.as_mut()).is_pending());
        seats.look(begun + Duration::from_millis(300));
        assert_eq!(poll(slow.as_mut()), Poll::Ready(Err(End::Unseated)));
        assert!(poll(rest.as_mut()).is_pending());
    }

    #[test]
    fn who_asks_for_nothing_goes_before_the_last_seat_is_taken() {
        let seats = Seats::new(12);
        let later = Instant::from_secs(1_000_000);
        let mut offers: Vec<_> = (0..3).map(|_| Box::pin(seats.offer(pending::<()>()))).collect();
        offers.iter_mut().for_each(|offer| assert!(poll(offer.as_mut()).is_pending()));
        let mut all: Vec<_> = seats.iter().collect();
        let (idle, old, new) = (all.remove(0), all.remove(0), all.remove(0));
        let begun = Instant::now();
        let mut rest = pin!(idle.wait(later, Wait::Idle(Instant::now()), pending::<Result<(), ()>>()));
        let mut old = pin!(old.wait(later, Wait::Stalled(begun), pending::<Result<(), ()>>()));
        let younger = begun + Duration::from_micros(1);
        let mut new = pin!(new.wait(later, Wait::Stalled(younger), pending::<Result<(), ()>>()));
        assert!(poll(rest.as_mut()).is_pending() && poll(old.as_mut()).is_pending() && poll(new.as_mut()).is_pending());
        let after = begun + Duration::from_millis(20);
        seats.look(after);
        assert!(poll(old.as_mut()).is_pending(), "three seats are free");
        drop(offers.pop());
        assert!(seats.shortage.signaled(), "the watchman is told");
        seats.look(after);
        assert_eq!(poll(old.as_mut()), Poll::Ready(Err(End::Unseated)));
        assert!(poll(new.as_mut()).is_pending(), "one was enough");
        offers.clear();
        seats.look(after + Duration::from_secs(10));
        assert_eq!(poll(new.as_mut()), Poll::Ready(Err(End::Unseated)));
        assert_eq!(poll(rest.as_mut()), Poll::Ready(Err(End::Unseated)), "no seat is free");
    }
    #[test]
    fn while_others_leave_there_is_more_time() {
        let seats = Seats::new(5);
        let mut all: Vec<_> = seats.iter().collect();
        let (new, leaving) = (all.remove(0), all.remove(0));
        let begun = Instant::now();
        let later = Instant::from_secs(1_000_000);
        let mut good_bye = Box::pin(leaving.leave(pending::<()>()));
        let stalled = || Box::pin(new.wait(later, Wait::Stalled(begun), pending::<Result<(), ()>>()));
        let mut first = stalled();
        assert!(poll(first.as_mut()).is_pending() && poll(good_bye.as_mut()).is_pending());
        seats.look(begun + Duration::from_millis(300));
        assert!(poll(first.as_mut()).is_pending(), "a seat will soon be free");
        seats.look(begun + Duration::from_millis(320));
        assert_eq!(poll(first.as_mut()), Poll::Ready(Err(End::Unseated)), "who leaves does not come to an end");
        drop((first, good_bye));
        let mut second = stalled();
        assert!(poll(second.as_mut()).is_pending());
        seats.look(begun + Duration::from_millis(20));
        assert_eq!(poll(second.as_mut()), Poll::Ready(Err(End::Unseated)), "nobody leaves");
    }
}
