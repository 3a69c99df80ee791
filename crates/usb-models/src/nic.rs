//! What the models of Ethernet controllers on USB have in common: the cable, what can go wrong, and what they saw.

mod checksum;
mod fifo;
mod mii;
mod phy;
mod transmit;

use std::collections::VecDeque;

pub(crate) use self::checksum::{
    checksum, fcs, hash, insert_ip_checksum, insert_transport_checksum, is_ip_checksum_wrong,
    is_transport_checksum_wrong,
};
pub(crate) use self::fifo::{BulkIn, RxFifo};
pub(crate) use self::mii::{Busy, Mii};
pub use self::phy::{LinkState, Partner};
pub(crate) use self::phy::{Phy, PhyKind};
pub(crate) use self::transmit::{Segments, SyncLost};
use crate::device::Function;

/// Speed of the USB port that a model is plugged into: it decides the packet sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UsbSpeed {
    /// 12 Mbit/s, packets of 64 bytes.
    Full,
    /// 480 Mbit/s, packets of 512 bytes.
    High,
}

impl UsbSpeed {
    /// Returns the size of bulk packets in bytes.
    #[must_use]
    pub fn bulk_packet(self) -> u16 {
        match self {
            Self::Full => 64,
            Self::High => 512,
        }
    }
}

/// Shortest frame on the wire, without FCS (IEEE 802.3, 3.2.7: 64 bytes with it).
pub(crate) const FRAME_LEN_MIN: usize = 60;

/// A model of an Ethernet controller.
///
/// Frames are Ethernet frames from the destination address to the end of the payload, without FCS.
pub trait NicModel: Function {
    /// A frame arrives on the cable. It is lost, as on a real wire, when the cable is out, the receiver is off, the filter
    /// refuses it, or there is no room.
    fn receive(&mut self, frame: &[u8]);
    /// Whether a link partner with flow control would send now.
    fn has_room(&self) -> bool;
    /// Returns what the models have in common.
    fn core(&mut self) -> &mut Core;
    /// Returns the next frame that left on the cable.
    fn take_sent(&mut self) -> Option<Vec<u8>> {
        self.core().sent.pop_front()
    }
}

/// Descriptors that a broken device may have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Descriptors {
    /// As they are in the chip.
    #[default]
    Right,
    /// The bulk IN endpoint is missing.
    WithoutBulkIn,
    /// The interrupt endpoint is missing.
    WithoutInterrupt,
    /// The configuration says that it is longer than it is.
    TooLong,
    /// A descriptor says that it has no bytes.
    EmptyDescriptor,
}

/// What goes wrong. All off at first; can be changed at any time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// How many of the next received frames are damaged on the wire: a bit is wrong, and so is the FCS.
    pub damaged_frames: u32,
    /// How many of the next bursts end in the middle of a frame; the rest is lost.
    pub truncated_bursts: u32,
    /// How many of the next received frames reach the driver with an error in their status, though they are good.
    pub bad_statuses: u32,
    /// How many of the next received frames have a status whose length is wrong.
    pub wrong_lengths: u32,
    /// Endpoint addresses that halt at their next transfer, in order; a cleared halt ends it.
    pub stalls: Vec<u8>,
    /// The MII stays busy for ever.
    pub is_mii_stuck: bool,
    /// There is no PHY: registers read as 0xFFFF.
    pub is_phy_missing: bool,
    /// A soft reset never ends.
    pub is_reset_stuck: bool,
    /// The transmitter hangs: frames are taken until the FIFO is full, and none goes out. The next soft reset heals it.
    pub is_transmitter_stuck: bool,
    /// Frames wait in the transmit FIFO while the link is down, and no more are taken when it is full.
    pub waits_for_link: bool,
    /// How many of the next reads of PHY registers nobody answers, as while the PHY starts.
    pub unanswered_phy_reads: u32,
    /// Bytes that the transmit FIFO counts too many.
    pub phantom_bytes: u32,
    /// GET_STATISTICS is not answered.
    pub has_no_statistics: bool,
    /// The receiver hangs: frames stay in the FIFO, and are lost and counted when it is full. The next soft reset heals it.
    pub is_receiver_stuck: bool,
    /// Nothing is answered any more, not even control requests.
    pub is_silent: bool,
    /// Descriptors that make no sense.
    pub descriptors: Descriptors,
}

/// Mistakes of the driver: what it did although the datasheet forbids it. A good driver makes none.
#[derive(Clone, Debug, Default)]
pub struct Mistakes {
    count: u64,
    first: Vec<String>,
}

/// So many mistakes are kept as text.
const MISTAKES_KEPT: usize = 32;

impl Mistakes {
    /// Returns how many there were.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Returns the first ones, as sentences.
    #[must_use]
    pub fn first(&self) -> &[String] {
        &self.first
    }

    pub(crate) fn add(&mut self, mistake: impl FnOnce() -> String) {
        self.count += 1;
        if self.first.len() < MISTAKES_KEPT {
            self.first.push(mistake());
        }
    }
}

/// What a model saw since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Registers read.
    pub register_reads: u64,
    /// Registers written.
    pub register_writes: u64,
    /// Soft resets.
    pub resets: u64,
    /// Frames that came in and were kept.
    pub received: u64,
    /// Frames that the filter refused.
    pub filtered: u64,
    /// Frames for which there was no room, or no receiver.
    pub dropped: u64,
    /// Frames that left on the cable.
    pub sent: u64,
    /// Frames that were lost because the cable was out.
    pub carrier_errors: u64,
    /// Bulk IN transfers with data.
    pub bursts: u64,
    /// Most frames in one of them.
    pub burst_frames_max: u64,
    /// Most bytes in one of them.
    pub burst_len_max: u64,
    /// Most frames in one bulk OUT transfer.
    pub batch_frames_max: u64,
    /// Packets that were answered with "no room".
    pub refused_packets: u64,
    /// Interrupt packets sent.
    pub interrupts: u64,
}

/// What all models have: the cable with the PHY, faults, and what was seen.
#[derive(Debug)]
pub struct Core {
    /// What goes wrong.
    pub faults: Faults,
    pub(crate) mistakes: Mistakes,
    pub(crate) seen: Seen,
    pub(crate) phy: Phy,
    pub(crate) now_us: u64,
    pub(crate) speed: UsbSpeed,
    pub(crate) sent: VecDeque<Vec<u8>>,
    halted: Vec<u8>,
}

impl Core {
    pub(crate) fn new(speed: UsbSpeed, phy: PhyKind) -> Self {
        Self {
            faults: Faults::default(),
            mistakes: Mistakes::default(),
            seen: Seen::default(),
            phy: Phy::new(phy),
            now_us: 0,
            speed,
            sent: VecDeque::new(),
            halted: Vec::new(),
        }
    }

    /// Returns the mistakes of the driver.
    #[must_use]
    pub fn mistakes(&self) -> &Mistakes {
        &self.mistakes
    }

    /// Returns what was seen.
    #[must_use]
    pub fn seen(&self) -> Seen {
        self.seen
    }

    /// Plugs the cable into a partner, or pulls it out.
    pub fn set_partner(&mut self, partner: Option<Partner>) {
        self.phy.set_partner(partner);
    }

    /// Sets how long autonegotiation takes, in microseconds. About two seconds on real wires, which is the default.
    pub fn set_negotiation_time(&mut self, time_us: u64) {
        self.phy.set_negotiation_time(time_us);
    }

    /// Returns the state of the link as the PHY has it now.
    #[must_use]
    pub fn link(&self) -> Option<LinkState> {
        self.phy.link()
    }

    /// Says whether an endpoint is halted, which a fault may just have done.
    pub(crate) fn is_halted(&mut self, endpoint: u8) -> bool {
        if let Some(at) = self.faults.stalls.iter().position(|stall| *stall == endpoint) {
            self.faults.stalls.remove(at);
            self.halt(endpoint);
        }
        self.halted.contains(&endpoint)
    }

    pub(crate) fn halt(&mut self, endpoint: u8) {
        if !self.halted.contains(&endpoint) {
            self.halted.push(endpoint);
        }
    }

    /// The host cleared the halt of an endpoint.
    pub(crate) fn clear_halt(&mut self, endpoint: u8) {
        self.halted.retain(|halted| *halted != endpoint);
    }

    pub(crate) fn clear_halts(&mut self) {
        self.halted.clear();
    }

    /// Whether frames do not leave.
    pub(crate) fn holds_frames(&self) -> bool {
        self.faults.is_transmitter_stuck || self.faults.waits_for_link && self.phy.link().is_none()
    }

    /// A frame leaves: padded on the wire, and lost when the cable is out. Returns whether it arrived.
    pub(crate) fn send(&mut self, mut frame: Vec<u8>, is_padded: bool) -> bool {
        if is_padded && frame.len() < FRAME_LEN_MIN {
            frame.resize(FRAME_LEN_MIN, 0);
        }
        let is_up = self.phy.link().is_some();
        if is_up {
            self.seen.sent += 1;
            self.sent.push_back(frame);
        } else {
            self.seen.carrier_errors += 1;
        }
        is_up
    }

    /// Applies what the faults do to a descriptor of a configuration.
    pub(crate) fn configuration(&self, mut bytes: Vec<u8>) -> Vec<u8> {
        match self.faults.descriptors {
            Descriptors::Right => {}
            Descriptors::WithoutBulkIn => remove_endpoint(&mut bytes, 0x81),
            Descriptors::WithoutInterrupt => remove_endpoint(&mut bytes, 0x83),
            Descriptors::TooLong => bytes[2] = bytes[2].wrapping_add(200),
            Descriptors::EmptyDescriptor => bytes[9] = 0,
        }
        bytes
    }
}

/// Takes an endpoint out of a configuration with one interface and keeps the lengths right.
fn remove_endpoint(bytes: &mut Vec<u8>, address: u8) {
    let Some(at) = bytes.windows(3).position(|found| found == [7, 5, address]) else { return };
    bytes.drain(at..at + 7);
    bytes[2] -= 7;
    bytes[9 + 4] -= 1;
}

/// Reads a little-endian word; 0 where there are not enough bytes.
pub(crate) fn word(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |bytes| u32::from_le_bytes(*bytes))
}
