//! Ethernet controllers, each in a file of its own, behind one [`exchange::FrameExchange`].
//!
//! A driver and the network stack share an exchange: the driver brings received bursts and takes frames to send, both
//! without copying, and the stack never learns which controller it has.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

pub mod burst;
mod cdc;
pub mod cdc_ecm;
pub mod cdc_ncm;
pub mod events;
pub mod exchange;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod genet;
pub mod lan78xx;
pub mod lan95xx;
pub mod mii;
pub mod rndis;
pub mod usbnet;

/// An Ethernet hardware address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MacAddress(pub [u8; 6]);

impl MacAddress {
    /// Returns whether this can be the address of one station: not a group address and not zero.
    #[must_use]
    pub fn is_station(self) -> bool {
        self.0[0] & 1 == 0 && self.0 != [0; 6]
    }
}

impl core::fmt::Display for MacAddress {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// The state of the cable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// There is no controller.
    Absent,
    /// A controller without a link partner.
    Down,
    /// Frames flow.
    Up {
        /// Bit rate in Mbit/s; 0 when the controller does not tell.
        speed_mbps: u32,
        /// Whether both sides may send at once.
        is_full_duplex: bool,
    },
}

impl Link {
    /// Returns whether frames flow.
    #[must_use]
    pub fn is_up(self) -> bool {
        matches!(self, Self::Up { .. })
    }
}
