//! The frame exchange as smoltcp sees it: frames are read where the controller put them, and written where it fetches them.

use core::cell::Cell;

use fault::{Direction, Fate};
use nic::exchange::{FRAME_LEN_MAX, FrameExchange, RxFrame};
use nic::{Link, MacAddress};
use smoltcp::phy::{self, Checksum, DeviceCapabilities, Medium};
use smoltcp::time::Instant;

use crate::backlog::{Kept, Syn};
use crate::counters::{Counters, Event};
use crate::faults::{Faults, HeldFrame};
use crate::filter::{self, Seen};
use crate::local::{self, Local, LocalFrame, Way};
use crate::watch::Watch;

/// What the device and the rest of the stack both look at.
pub(crate) struct Shared {
    pub(crate) exchange: &'static FrameExchange,
    pub(crate) counters: Counters,
    /// The controller's address; meaningless before the first controller is there.
    pub(crate) mac: Cell<MacAddress>,
    pub(crate) watch: Watch,
    /// Frames to ourselves.
    pub(crate) local: Local,
    /// What happens on purpose to frames from and to others.
    pub(crate) faults: Faults,
    /// Whose turn it is when there are frames from both: theirs, or ours.
    pub(crate) is_turn_of_nic: Cell<bool>,
}

impl Shared {
    /// Returns whether a frame can be sent, wherever to: that is not known before it is written.
    pub(crate) fn has_tx(&self) -> bool {
        self.exchange.has_tx() && self.local.has_room()
    }

    /// Returns whether there are received frames.
    pub(crate) fn has_rx(&self) -> bool {
        self.local.has_frame() || self.exchange.has_rx() || self.faults.has_due(Direction::In)
    }

    /// Returns the state of the link, as the stack is to see it.
    pub(crate) fn link(&self) -> Link {
        match self.exchange.link() {
            Link::Up { .. } if self.faults.is_off() => Link::Down,
            link => link,
        }
    }

    /// Decides whether a frame that has come from the network goes on now.
    fn comes_in(&self, frame: &[u8]) -> bool {
        // What is for other stations is none of our business, and must not count as a packet that a fault has seen.
        let is_for_us = || frame.first_chunk::<6>().is_some_and(|to| *to == self.mac.get().0 || to[0] & 1 == 1);
        !self.faults.is_busy() || !is_for_us() || self.faults.decide(Direction::In, frame) == Fate::Pass
    }

    /// Decides whether a frame that is ready to be sent goes out now.
    pub(crate) fn goes_out(&self, frame: &[u8]) -> bool {
        !self.faults.is_busy() || self.faults.decide(Direction::Out, frame) == Fate::Pass
    }

    /// Sends the frames that had to wait until now, as far as there are buffers: the stack is woken when one comes back.
    pub(crate) fn send_due(&self) {
        while self.faults.has_due(Direction::Out) {
            let Some(buffer) = self.exchange.take_tx() else { return };
            let Some(held) = self.faults.take_due(Direction::Out) else { return };
            buffer.send(held.bytes().len(), |frame| {
                if frame.len() == held.bytes().len() {
                    frame.copy_from_slice(held.bytes());
                }
            });
        }
    }

    /// Checks a frame on its way to smoltcp; returns the request for a connection in it, or `None` if it goes no further.
    fn admit(&self, frame: &[u8]) -> Option<Option<Syn>> {
        let seen = filter::check(frame, self.mac.get(), &self.counters)?;
        self.watch.see(&seen, self);
        // RFC 1122, section 3.2.1.3: answered, it would go round in this node, for ever if an echo answers an echo.
        if self.watch.is_from_ourselves(frame) {
            self.counters.count(Event::OwnSource);
            return None;
        }
        Some(if let Seen::Syn(syn) = seen { Some(syn) } else { None })
    }

    fn take_local(&'static self) -> Option<RxToken> {
        self.local.take().map(RxToken::Local)
    }

    /// Takes the next good frame from the controller.
    fn take_foreign(&'static self) -> Option<RxToken> {
        loop {
            // Those that had to wait came first.
            if let Some(held) = self.faults.take_due(Direction::In) {
                let Some(syn) = self.admit(held.bytes()) else { continue };
                return Some(RxToken::Held(held, syn));
            }
            let frame = self.exchange.take_rx()?;
            if !self.comes_in(frame.bytes()) {
                continue;
            }
            let Some(syn) = self.admit(frame.bytes()) else { continue };
            return Some(RxToken::Received(frame, syn));
        }
    }
}

pub(crate) struct Device {
    pub(crate) shared: &'static Shared,
    /// What smoltcp gets next.
    next: Option<RxToken>,
}

impl Device {
    pub(crate) fn new(shared: &'static Shared) -> Self {
        Self { shared, next: None }
    }

    /// Sees to it that smoltcp gets a frame next; returns whether there is one, and the request for a connection in it.
    pub(crate) fn fetch(&mut self) -> Option<(&[u8], Option<Syn>)> {
        let shared = self.shared;
        // Without room for an answer the frame waits: the exchange wakes the stack when a buffer comes back.
        if self.next.is_none() && shared.exchange.has_tx() {
            // In turn. A frame of ours that is taken makes room for its answer; one of the controller's needs it first.
            let is_turn_of_nic = shared.is_turn_of_nic.replace(!shared.is_turn_of_nic.get()) && shared.local.has_room();
            self.next = if is_turn_of_nic {
                shared.take_foreign().or_else(|| shared.take_local())
            } else {
                shared.take_local().or_else(|| shared.take_foreign())
            };
        }
        self.next.as_ref().map(|next| match next {
            RxToken::Received(frame, syn) => (frame.bytes(), *syn),
            RxToken::Held(frame, syn) => (frame.bytes(), *syn),
            other => (other.bytes(), None),
        })
    }

    /// Returns whether a frame was fetched that smoltcp has not taken.
    pub(crate) fn has_next(&self) -> bool {
        self.next.is_some()
    }

    /// Forgets the frame that smoltcp would get next.
    pub(crate) fn skip(&mut self) {
        self.next = None;
    }

    /// Has smoltcp get this frame next.
    pub(crate) fn put(&mut self, kept: Kept) {
        self.next = Some(RxToken::Kept(kept));
    }
}

impl phy::Device for Device {
    type RxToken<'a> = RxToken;
    type TxToken<'a> = TxToken;

    fn receive(&mut self, _: Instant) -> Option<(RxToken, TxToken)> {
        if !self.shared.exchange.has_tx() {
            return None;
        }
        self.next.take().map(|frame| (frame, TxToken(self.shared)))
    }

    fn transmit(&mut self, _: Instant) -> Option<TxToken> {
        self.shared.has_tx().then_some(TxToken(self.shared))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = FRAME_LEN_MAX;
        // `filter` has verified what is received.
        capabilities.checksum.ipv4 = Checksum::Tx;
        capabilities.checksum.udp = Checksum::Tx;
        capabilities.checksum.tcp = Checksum::Tx;
        capabilities.checksum.icmpv4 = Checksum::Tx;
        capabilities.checksum.icmpv6 = Checksum::Tx;
        capabilities
    }
}

/// A frame for smoltcp.
pub(crate) enum RxToken {
    /// Where the controller put it, and the request for a connection in it.
    Received(RxFrame<'static>, Option<Syn>),
    /// A copy of one that a fault has held, and the request in it.
    Held(HeldFrame<'static>, Option<Syn>),
    /// One that had to wait.
    Kept(Kept),
    /// From ourselves: a copy, so that there is room for an answer.
    Local(LocalFrame<'static>),
}

impl RxToken {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Received(frame, _) => frame.bytes(),
            Self::Held(frame, _) => frame.bytes(),
            Self::Kept(kept) => kept.bytes(),
            Self::Local(frame) => frame.bytes(),
        }
    }
}

impl phy::RxToken for RxToken {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(self.bytes())
    }
}

/// The right to send one frame. The buffer is taken when the frame is written: most rights are not used.
pub(crate) struct TxToken(&'static Shared);

impl phy::TxToken for TxToken {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let Some(buffer) = self.0.exchange.take_tx() else {
            // Not reached: a buffer was free when the token was made, and nothing on this core ran since.
            let mut nowhere = [0; FRAME_LEN_MAX];
            return f(nowhere.get_mut(..len).unwrap_or_default());
        };
        let result = buffer.send_if(len, |frame| {
            let result = f(frame);
            let way = local::way(frame, self.0.mac.get());
            if way != Way::Out {
                self.0.local.put(frame, &self.0.counters);
            }
            if way == Way::Back {
                return (result, false);
            }
            filter::count_sent(frame, &self.0.counters);
            self.0.watch.see_sent(frame);
            (result, self.0.goes_out(frame))
        });
        self.0.send_due();
        result
    }
}
