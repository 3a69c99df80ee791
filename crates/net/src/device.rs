//! The frame exchange as smoltcp sees it: frames are read where the controller put them, and written where it fetches them.

use core::cell::Cell;
use core::net::Ipv4Addr;

use fault::{Direction, Fate};
use nic::exchange::{FRAME_LEN_MAX, FrameExchange, RxFrame};
use nic::{Link, MacAddress};
use smoltcp::phy::{self, Checksum, DeviceCapabilities, Medium};
use smoltcp::time::Instant;

use crate::copies::FrameCopy;
use crate::counters::{Counters, Event};
use crate::faults::{Faults, HeldFrame};
use crate::filter::{self, Arp, Seen};
use crate::local::{self, Local, Way};
use crate::segment::Made;
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

    /// Notes a frame that is ready to be sent, and decides whether it goes out now.
    pub(crate) fn goes_out(&self, frame: &[u8]) -> bool {
        filter::count_sent(frame, &self.counters);
        self.watch.see_sent(frame);
        !self.faults.is_busy() || self.faults.decide(Direction::Out, frame) == Fate::Pass
    }

    /// Asks who has `target_ip`, as who has `sender_ip`: a probe without one, an announcement when they are the same. Without a buffer
    /// it is not sent.
    pub(crate) fn send_arp(&self, sender_ip: Ipv4Addr, target_ip: Ipv4Addr) {
        let Some(buffer) = self.exchange.take_tx() else { return };
        let own = self.mac.get();
        let arp = Arp { is_request: true, sender_mac: own, sender_ip, target_mac: MacAddress([0; 6]), target_ip };
        buffer.send_if(14 + Arp::LEN, |frame| {
            let Some((header, packet)) = frame.split_at_mut_checked(14) else { return ((), false) };
            let parts = [0xFF; 6].into_iter().chain(own.0).chain([0x08, 0x06]);
            for (to, from) in header.iter_mut().zip(parts) {
                *to = from;
            }
            arp.emit(packet);
            ((), self.goes_out(frame))
        });
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

    /// Checks a frame on its way to smoltcp; returns whether it asks for a connection, or `None` if it goes no further.
    fn admit(&self, frame: &[u8]) -> Option<bool> {
        let seen = filter::check(frame, self.mac.get(), &self.counters)?;
        self.watch.see(&seen, self);
        // RFC 1122, section 3.2.1.3: answered, it would go round in this node, for ever if an echo answers an echo.
        if self.watch.is_from_ourselves(frame) {
            self.counters.count(Event::OwnSource);
            return None;
        }
        Some(seen == Seen::Syn)
    }

    fn take_local(&'static self) -> Option<RxToken> {
        self.local.take().map(RxToken::Copy)
    }

    /// Takes the next good frame from the controller.
    fn take_foreign(&'static self) -> Option<RxToken> {
        loop {
            // Those that had to wait came first.
            if let Some(held) = self.faults.take_due(Direction::In) {
                let Some(is_syn) = self.admit(held.bytes()) else { continue };
                return Some(RxToken::Held(held, is_syn));
            }
            let frame = self.exchange.take_rx()?;
            if !self.comes_in(frame.bytes()) {
                continue;
            }
            let Some(is_syn) = self.admit(frame.bytes()) else { continue };
            return Some(RxToken::Received(frame, is_syn));
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

    /// Sees to it that smoltcp gets a frame next; returns it, if there is one, and whether it came to ask for a connection.
    pub(crate) fn fetch(&mut self) -> Option<(&[u8], bool)> {
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
            RxToken::Received(frame, is_syn) => (frame.bytes(), *is_syn),
            RxToken::Held(frame, is_syn) => (frame.bytes(), *is_syn),
            other => (other.bytes(), false),
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

    /// Takes the frame that smoltcp would get next.
    pub(crate) fn take_next(&mut self) -> Option<RxToken> {
        self.next.take()
    }

    /// Has smoltcp get next what it would have got before.
    pub(crate) fn put_back(&mut self, next: Option<RxToken>) {
        self.next = next;
    }

    /// Has smoltcp get this frame next, which has come earlier.
    pub(crate) fn put(&mut self, copy: FrameCopy<'static>) {
        self.next = Some(RxToken::Copy(copy));
    }

    /// Has smoltcp get this frame next, which has not come from outside, and say nothing to it.
    pub(crate) fn put_made(&mut self, made: Made) {
        self.next = Some(RxToken::Made(made));
    }
}

impl phy::Device for Device {
    type RxToken<'a> = RxToken;
    type TxToken<'a> = TxToken;

    fn receive(&mut self, _: Instant) -> Option<(RxToken, TxToken)> {
        let is_mute = matches!(self.next, Some(RxToken::Made(_)));
        if !is_mute && !self.shared.exchange.has_tx() {
            return None;
        }
        self.next.take().map(|frame| (frame, TxToken { shared: self.shared, is_mute }))
    }

    fn transmit(&mut self, _: Instant) -> Option<TxToken> {
        self.shared.has_tx().then_some(TxToken { shared: self.shared, is_mute: false })
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
    /// Where the controller put it, and whether it asks for a connection.
    Received(RxFrame<'static>, bool),
    /// A copy of one that a fault has held, and whether it asks for a connection.
    Held(HeldFrame<'static>, bool),
    /// One that had to wait, or from ourselves: a copy, so that there is room for an answer.
    Copy(FrameCopy<'static>),
    /// One that never was on a wire.
    Made(Made),
}

impl RxToken {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Received(frame, _) => frame.bytes(),
            Self::Held(frame, _) => frame.bytes(),
            Self::Copy(frame) => frame.bytes(),
            Self::Made(frame) => frame.bytes(),
        }
    }
}

impl phy::RxToken for RxToken {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(self.bytes())
    }
}

/// The right to send one frame. The buffer is taken when the frame is written: most rights are not used.
pub(crate) struct TxToken {
    shared: &'static Shared,
    /// What is sent goes nowhere.
    is_mute: bool,
}

impl phy::TxToken for TxToken {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let Self { shared, is_mute } = self;
        let Some(buffer) = (!is_mute).then(|| shared.exchange.take_tx()).flatten() else {
            // Else not reached: a buffer was free when the token was made, and nothing on this core ran since.
            let mut nowhere = [0; FRAME_LEN_MAX];
            return f(nowhere.get_mut(..len).unwrap_or_default());
        };
        let result = buffer.send_if(len, |frame| {
            let result = f(frame);
            let way = local::way(frame, shared.mac.get(), |address| shared.watch.in_use().any(|own| own == address));
            if way != Way::Out {
                shared.local.put(frame, &shared.counters);
            }
            if way == Way::Back {
                return (result, false);
            }
            (result, shared.goes_out(frame))
        });
        shared.send_due();
        result
    }
}
