//! The fault plane between the controller and the stack: faults on purpose, for frames from and to others.
//!
//! What faults are and decide is in the crate `fault`. Here they get the time, and those who wait for something are woken.

use core::cell::{Cell, RefCell};
use core::future::poll_fn;
use core::task::Poll;

use alloc::vec::Vec;
use embassy_sync::waitqueue::WakerRegistration;
use embassy_time::Instant;
use fault::control::Port;
use fault::{AddError, Direction, Event, Fate, Plane, Spec, Totals, View};

use crate::stack::Stack;

/// See the module.
pub(crate) struct Faults {
    plane: RefCell<Plane>,
    /// Whether frames must be shown to the plane: all that a frame costs when there is no fault.
    is_busy: Cell<bool>,
    /// Whether the link is to be seen down.
    is_off: Cell<bool>,
    /// Times that it came back.
    link_ups: Cell<u64>,
    /// When the next fault begins or ends, in µs.
    next_change_us: Cell<u64>,
    /// The task that is told of beginnings and ends.
    waker: RefCell<WakerRegistration>,
}

impl Faults {
    pub(crate) fn new() -> Self {
        Self {
            plane: RefCell::new(Plane::new()),
            is_busy: Cell::new(false),
            is_off: Cell::new(false),
            link_ups: Cell::new(0),
            next_change_us: Cell::new(u64::MAX),
            waker: RefCell::new(WakerRegistration::new()),
        }
    }

    pub(crate) fn is_busy(&self) -> bool {
        self.is_busy.get()
    }

    pub(crate) fn is_off(&self) -> bool {
        self.is_off.get()
    }

    pub(crate) fn link_ups(&self) -> u64 {
        self.link_ups.get()
    }

    /// Has faults begin and end whose time has come.
    pub(crate) fn tick(&self) {
        if !self.is_busy.get() && self.next_change_us.get() == u64::MAX {
            return;
        }
        let now_us = now_us();
        let is_change = self.next_change_us.get() <= now_us;
        self.refresh(now_us);
        if is_change {
            self.waker.borrow_mut().wake();
        }
    }

    fn refresh(&self, now_us: u64) {
        let mut plane = self.plane.borrow_mut();
        plane.tick(now_us);
        self.is_busy.set(plane.is_busy(now_us));
        self.next_change_us.set(plane.next_change_us(now_us).unwrap_or(u64::MAX));
        let is_off = plane.is_off(now_us);
        if self.is_off.replace(is_off) && !is_off {
            self.link_ups.set(self.link_ups.get() + 1);
        }
    }

    /// Shows a frame to the plane. Only worth it when that [is busy](Self::is_busy).
    pub(crate) fn decide(&self, direction: Direction, frame: &[u8]) -> Fate {
        self.plane.borrow_mut().decide(direction, frame, now_us())
    }

    /// Returns whether a frame that had to wait goes on now.
    pub(crate) fn has_due(&self, direction: Direction) -> bool {
        self.is_busy.get() && self.plane.borrow().next_due_us(direction).is_some_and(|due_us| due_us <= now_us())
    }

    /// Takes the next frame that goes on now.
    pub(crate) fn take_due(&self, direction: Direction) -> Option<HeldFrame<'_>> {
        if !self.is_busy.get() {
            return None;
        }
        let frame = self.plane.borrow_mut().take_due(direction, now_us())?;
        Some(HeldFrame { faults: self, frame })
    }

    /// Loses the frames that wait.
    pub(crate) fn lose_held(&self) {
        if self.is_busy.get() {
            self.plane.borrow_mut().lose_held();
        }
    }

    /// Returns after how many µs there is something to do: `delay_us`, or earlier. Frames that wait have to go on waiting while
    /// there is no room (`has_room`).
    pub(crate) fn sooner(&self, delay_us: u64, has_room: bool) -> u64 {
        let mut due_us = self.next_change_us.get();
        if self.is_busy.get() && has_room {
            let plane = self.plane.borrow();
            let next = [Direction::In, Direction::Out].into_iter().filter_map(|direction| plane.next_due_us(direction));
            due_us = next.fold(due_us, u64::min);
        }
        if due_us == u64::MAX { delay_us } else { delay_us.min(due_us.saturating_sub(now_us()).max(1)) }
    }
}

/// A frame that had to wait; its memory goes back when this is dropped.
pub(crate) struct HeldFrame<'a> {
    faults: &'a Faults,
    frame: Vec<u8>,
}

impl HeldFrame<'_> {
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.frame
    }
}

impl Drop for HeldFrame<'_> {
    fn drop(&mut self) {
        self.faults.plane.borrow_mut().give_back(core::mem::take(&mut self.frame));
    }
}

impl Stack {
    /// Adds a fault and returns its number. It begins and ends by itself.
    ///
    /// # Errors
    ///
    /// When there is no room for another.
    pub fn add_fault(&self, spec: Spec) -> Result<u32, AddError> {
        let added = self.shared.faults.plane.borrow_mut().add(spec, now_us());
        self.changed_faults();
        added
    }

    /// Ends a fault, or all; returns how many.
    pub fn clear_faults(&self, id: Option<u32>) -> usize {
        let cleared = self.shared.faults.plane.borrow_mut().clear(id, now_us());
        self.changed_faults();
        cleared
    }

    fn changed_faults(&self) {
        self.shared.faults.refresh(now_us());
        self.shared.faults.waker.borrow_mut().wake();
        self.kick();
    }

    /// Has no fault touch a port, over TCP and UDP, unless it is asked to.
    pub fn exempt_from_faults(&self, port: Port) {
        // There is room for all that a node can be told.
        self.shared.faults.plane.borrow_mut().exempt(port);
    }

    /// Shows every fault: those that wait, those that are, and those that are just over.
    pub fn each_fault(&self, show: &mut dyn FnMut(View)) {
        self.shared.faults.plane.borrow().views(now_us()).for_each(show);
    }

    /// Returns what faults have done to frames since boot.
    #[must_use]
    pub fn fault_totals(&self) -> Totals {
        self.shared.faults.plane.borrow().totals()
    }

    /// Waits until a fault begins or ends. One task should ask all the time: faults that are over are kept until they are told.
    pub async fn next_fault_event(&self) -> Event {
        poll_fn(|cx| {
            let faults = &self.shared.faults;
            faults.waker.borrow_mut().register(cx.waker());
            let event = faults.plane.borrow_mut().next_event(now_us());
            event.map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }
}

fn now_us() -> u64 {
    Instant::now().as_micros()
}
