//! What faults do.

use alloc::boxed::Box;
use core::fmt;
use core::ops::Range;

use chance::Random;
use heapless::String;

use crate::Direction;
use crate::packet::Packet;

/// Longest name of a workload.
pub const NAME_MAX: usize = 64;

/// What a fault does.
pub(crate) enum Effect {
    /// Something to frames that pass.
    Frames(Box<dyn Alter>),
    /// Something to the node, which is done by whoever asks for [`crate::Plane::next_event`].
    Node(NodeFault),
}

impl fmt::Debug for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Frames(_) => f.write_str("Frames"),
            Self::Node(fault) => fault.fmt(f),
        }
    }
}

/// A fault of the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeFault {
    /// The stack sees the link down. The plane itself knows: see [`crate::Plane::is_off`].
    NicOff,
    /// A workload stands still.
    Pause(String<NAME_MAX>),
    /// A workload is stopped in the middle of its work, and started anew when the fault ends.
    Kill(String<NAME_MAX>),
    /// A core does nothing else.
    Stall(u8),
    /// So many bytes of the heap are taken.
    Memory(u64),
    /// The wall clock is wrong by so many µs.
    Clock(i64),
    /// A core crashes.
    Crash(u8),
    /// The node restarts without a word.
    Reset,
}

/// How much a kind of fault needs of the memory for held frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Holds {
    /// It holds no frames.
    None,
    /// Frames that go on at once, but in another form.
    Few,
    /// Frames that wait.
    Many,
}

/// What a fault does to frames that it matches.
pub(crate) trait Alter: Send {
    /// Decides about a frame, with random numbers that are the same for the same frame.
    fn alter(&mut self, frame: &mut Passing<'_>, random: &mut Random);

    /// Returns whether a frame must not overtake those that this fault holds.
    fn keeps_order(&self) -> bool {
        false
    }

    /// Returns how much it holds.
    fn holds(&self) -> Holds;
}

/// A frame on its way through the faults.
pub(crate) struct Passing<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) packet: &'a Packet,
    pub(crate) direction: Direction,
    /// When it leaves the last fault that it has passed, in µs.
    pub(crate) at_us: u64,
    pub(crate) is_lost: bool,
    /// Whether it goes on twice.
    pub(crate) is_doubled: bool,
    pub(crate) damage: Option<Damage>,
    /// Whether the fault that was asked last has done anything.
    pub(crate) is_hit: bool,
}

/// Bits of a frame to be turned over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Damage {
    /// Which byte.
    pub(crate) at: usize,
    /// Which bits of it.
    pub(crate) bits: u8,
    /// A checksum to be made right again: where it is, and where what it is about begins.
    pub(crate) checksum: Option<(Range<usize>, usize)>,
}

impl Damage {
    /// Does it.
    pub(crate) fn apply(&self, frame: &mut [u8]) {
        let Some(byte) = frame.get_mut(self.at) else { return };
        let old = *byte;
        *byte ^= self.bits;
        let new = *byte;
        let Some((place, start)) = self.checksum.clone() else { return };
        let Some(checksum) = frame.get_mut(place).and_then(|bytes| bytes.first_chunk_mut::<2>()) else { return };
        // RFC 1624, equation 3: HC' = ~(~HC + ~m + m'), of the 16-bit word with this byte.
        let shift = if (self.at - start).is_multiple_of(2) { 8 } else { 0 };
        let [m, m_new] = [old, new].map(|byte| u32::from(byte) << shift);
        let sum = u32::from(!u16::from_be_bytes(*checksum)) + (0xFFFF - m) + m_new;
        let sum = (sum & 0xFFFF) + (sum >> 16);
        let sum = !((sum & 0xFFFF) + (sum >> 16)) as u16;
        // 0 would mean that there is none (RFC 768), and is the same number as this for the others.
        *checksum = if sum == 0 { 0xFFFF } else { sum }.to_be_bytes();
    }
}
