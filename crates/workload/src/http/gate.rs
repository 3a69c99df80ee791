//! Lets so many requests in at a time, and has so many wait for their turn.

use core::cell::RefCell;
use core::future::poll_fn;
use core::sync::atomic::{AtomicUsize, Ordering};
use core::task::{Poll, Waker};

use embassy_sync::blocking_mutex::Mutex;
use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;
use heapless::Deque;

/// Requests that can wait; as many as there can be clients.
pub(crate) const WAITING_MAX: usize = 96;

/// The gate. Whoever came first goes first.
pub(crate) struct Gate {
    /// How many may be inside; 0 for any number. Apart, so that a gate that is open costs nothing.
    limit: AtomicUsize,
    state: Mutex<CriticalSectionRawMutex, RefCell<State>>,
}

struct State {
    /// How many may wait.
    room: usize,
    inside: usize,
    next_number: u64,
    waiting: Deque<(u64, Waker), WAITING_MAX>,
}

/// There is no room to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full;

/// Leave to be inside, until dropped.
pub(crate) struct Pass<'a>(Option<&'a Gate>);

impl Gate {
    pub(crate) fn new(limit: usize, room: usize) -> Self {
        let state = State { room, inside: 0, next_number: 0, waiting: Deque::new() };
        Self { limit: AtomicUsize::new(limit), state: Mutex::new(RefCell::new(state)) }
    }

    /// Changes how many may be inside (0 for any number), and how many may wait.
    pub(crate) fn set(&self, limit: usize, room: usize) {
        // Relaxed, here and below: it is only changed and read on one core.
        self.limit.store(limit, Ordering::Relaxed);
        self.with(|state| {
            state.room = room;
            // Each one that gets in wakes the next.
            state.wake_first();
        });
    }

    /// Returns whether there is a limit.
    pub(crate) fn is_limited(&self) -> bool {
        self.limit.load(Ordering::Relaxed) > 0
    }

    /// Waits for leave to go in.
    ///
    /// # Errors
    ///
    /// [`Full`] if too many wait already.
    pub(crate) async fn enter(&self) -> Result<Pass<'_>, Full> {
        if !self.is_limited() {
            return Ok(Pass(None));
        }
        let mut turn = Turn { gate: self, number: None };
        poll_fn(|cx| {
            self.with(|state| {
                let limit = self.limit.load(Ordering::Relaxed);
                let has_room = limit == 0 || state.inside < limit;
                let is_first = match turn.number {
                    None => state.waiting.is_empty(),
                    Some(number) => state.waiting.front().is_some_and(|(first, _)| *first == number),
                };
                if has_room && is_first {
                    if turn.number.take().is_some() {
                        state.waiting.pop_front();
                    }
                    state.inside += 1;
                    state.wake_first();
                    return Poll::Ready(Ok(Pass(Some(self))));
                }
                if let Some(number) = turn.number {
                    if let Some((_, waker)) = state.waiting.iter_mut().find(|(n, _)| *n == number) {
                        waker.clone_from(cx.waker());
                    }
                    return Poll::Pending;
                }
                let number = state.next_number;
                if state.waiting.len() >= state.room || state.waiting.push_back((number, cx.waker().clone())).is_err() {
                    return Poll::Ready(Err(Full));
                }
                // Only has to differ from those that wait.
                state.next_number = number.wrapping_add(1);
                turn.number = Some(number);
                Poll::Pending
            })
        })
        .await
    }

    fn with<R>(&self, change: impl FnOnce(&mut State) -> R) -> R {
        self.state.lock(|state| change(&mut state.borrow_mut()))
    }
}

impl State {
    fn wake_first(&self) {
        if let Some((_, waker)) = self.waiting.front() {
            waker.wake_by_ref();
        }
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        if let Some(gate) = self.0 {
            gate.with(|state| {
                state.inside = state.inside.saturating_sub(1);
                state.wake_first();
            });
        }
    }
}

/// A place in the queue, given up when dropped.
struct Turn<'a> {
    gate: &'a Gate,
    number: Option<u64>,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            self.gate.with(|state| {
                // Keeps the order: all are taken out, and all but this are put back.
                for _ in 0..state.waiting.len() {
                    if let Some(one) = state.waiting.pop_front()
                        && one.0 != number
                    {
                        let _ = state.waiting.push_back(one);
                    }
                }
                state.wake_first();
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use core::pin::pin;
    use core::task::Context;

    use super::*;

    fn poll<F: Future>(future: core::pin::Pin<&mut F>) -> Poll<F::Output> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn first_come_first_served_up_to_the_limit() {
        let gate = Gate::new(1, 2);
        let mut one = pin!(gate.enter());
        let mut two = pin!(gate.enter());
        let mut three = pin!(gate.enter());
        let mut four = pin!(gate.enter());
        let Poll::Ready(Ok(pass)) = poll(one.as_mut()) else { panic!() };
        assert!(poll(two.as_mut()).is_pending() && poll(three.as_mut()).is_pending());
        assert!(matches!(poll(four.as_mut()), Poll::Ready(Err(Full))));
        drop(pass);
        assert!(poll(three.as_mut()).is_pending(), "two was first");
        let Poll::Ready(Ok(pass)) = poll(two.as_mut()) else { panic!() };
        assert!(poll(three.as_mut()).is_pending());
        drop(pass);
        assert!(matches!(poll(three.as_mut()), Poll::Ready(Ok(_))));
    }

    #[test]
    fn who_gives_up_leaves_the_queue_in_order() {
        let gate = Gate::new(1, 9);
        let mut one = pin!(gate.enter());
        let Poll::Ready(Ok(pass)) = poll(one.as_mut()) else { panic!() };
        let mut two = Box::pin(gate.enter());
        let mut three = pin!(gate.enter());
        let mut four = pin!(gate.enter());
        assert!(poll(two.as_mut()).is_pending());
        assert!(poll(three.as_mut()).is_pending() && poll(four.as_mut()).is_pending());
        drop(two);
        drop(pass);
        assert!(poll(four.as_mut()).is_pending());
        assert!(matches!(poll(three.as_mut()), Poll::Ready(Ok(_))));
    }

    #[test]
    fn a_gate_without_a_limit_is_open_and_limits_can_change() {
        let gate = Gate::new(0, 0);
        let mut passes: Vec<_> = Vec::new();
        for _ in 0..200 {
            let Poll::Ready(Ok(pass)) = poll(pin!(gate.enter())) else { panic!() };
            passes.push(pass);
        }
        gate.set(1, 1);
        let mut one = pin!(gate.enter());
        let Poll::Ready(Ok(_pass)) = poll(one.as_mut()) else { panic!("those before the limit do not count") };
        let mut two = pin!(gate.enter());
        assert!(poll(two.as_mut()).is_pending());
        gate.set(0, 0);
        assert!(matches!(poll(two.as_mut()), Poll::Ready(Ok(_))));
    }
}
