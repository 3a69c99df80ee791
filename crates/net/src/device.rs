//! The frame exchange as smoltcp sees it: frames are read where the controller put them, and written where it fetches them.

use core::cell::Cell;

use nic::MacAddress;
use nic::exchange::{FRAME_LEN_MAX, FrameExchange, RxFrame};
use smoltcp::phy::{self, Checksum, DeviceCapabilities, Medium};
use smoltcp::time::Instant;

use crate::counters::Counters;
use crate::filter;
use crate::watch::Watch;

/// What the device and the rest of the stack both look at.
pub(crate) struct Shared {
    pub(crate) exchange: &'static FrameExchange,
    pub(crate) counters: Counters,
    /// The controller's address; meaningless before the first controller is there.
    pub(crate) mac: Cell<MacAddress>,
    pub(crate) watch: Watch,
}

pub(crate) struct Device {
    pub(crate) shared: &'static Shared,
}

impl phy::Device for Device {
    type RxToken<'a> = RxToken;
    type TxToken<'a> = TxToken;

    fn receive(&mut self, _: Instant) -> Option<(RxToken, TxToken)> {
        let shared = self.shared;
        // Without room for an answer the frame waits: the exchange wakes the stack when a buffer comes back.
        while shared.exchange.has_tx() {
            let frame = shared.exchange.take_rx()?;
            if let Some(seen) = filter::check(frame.bytes(), shared.mac.get(), &shared.counters) {
                shared.watch.see(&seen, shared);
                return Some((RxToken(frame), TxToken(shared)));
            }
        }
        None
    }

    fn transmit(&mut self, _: Instant) -> Option<TxToken> {
        self.shared.exchange.has_tx().then_some(TxToken(self.shared))
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

pub(crate) struct RxToken(RxFrame<'static>);

impl phy::RxToken for RxToken {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(self.0.bytes())
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
        buffer.send(len, |frame| {
            let result = f(frame);
            filter::count_sent(frame, &self.0.counters);
            self.0.watch.see_sent(frame);
            result
        })
    }
}
