//! The frame exchange as smoltcp sees it: frames are read where the controller put them, and written where it fetches them.

use core::cell::Cell;

use nic::MacAddress;
use nic::exchange::{FRAME_LEN_MAX, FrameExchange, RxFrame};
use smoltcp::phy::{self, Checksum, DeviceCapabilities, Medium};
use smoltcp::time::Instant;

use crate::backlog::{Kept, Syn};
use crate::counters::{Counters, Event};
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
        self.local.has_frame() || self.exchange.has_rx()
    }

    fn take_local(&'static self) -> Option<RxToken> {
        self.local.take().map(RxToken::Local)
    }

    /// Takes the next good frame from the controller.
    fn take_foreign(&'static self) -> Option<RxToken> {
        loop {
            let frame = self.exchange.take_rx()?;
            let Some(seen) = filter::check(frame.bytes(), self.mac.get(), &self.counters) else { continue };
            self.watch.see(&seen, self);
            // RFC 1122, section 3.2.1.3: answered, it would go round in this node, for ever if an echo answers an echo.
            if self.watch.is_from_ourselves(frame.bytes()) {
                self.counters.count(Event::OwnSource);
                continue;
            }
            let syn = if let Seen::Syn(syn) = seen { Some(syn) } else { None };
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
    /// One that had to wait.
    Kept(Kept),
    /// From ourselves: a copy, so that there is room for an answer.
    Local(LocalFrame<'static>),
}

impl RxToken {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Received(frame, _) => frame.bytes(),
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
        buffer.send_if(len, |frame| {
            let result = f(frame);
            let way = local::way(frame, self.0.mac.get());
            if way != Way::Out {
                self.0.local.put(frame, &self.0.counters);
            }
            if way != Way::Back {
                filter::count_sent(frame, &self.0.counters);
                self.0.watch.see_sent(frame);
            }
            (result, way != Way::Back)
        })
    }
}
