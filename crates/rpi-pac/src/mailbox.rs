//! The mailbox between the ARM cores and the VideoCore firmware.
//!
//! Source: github.com/raspberrypi/firmware/wiki/Mailboxes and "Accessing mailboxes". Offsets from the peripheral
//! base + 0xB880. Mailbox 0 is read by the ARM, mailbox 1 written.

use bitflags::bitflags;
use safe_mmio::fields::{ReadOnly, ReadPure, ReadPureWrite, WriteOnly};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Bits of a message that are the channel; the others are the address (so it is a multiple of 16).
pub const CHANNEL_MASK: u32 = 0xf;
/// Channel for property tags, ARM to VideoCore.
pub const CHANNEL_PROPERTY: u32 = 8;

/// The register block.
#[repr(C, align(4))]
pub struct Registers {
    /// 0x00: mailbox 0: takes a message.
    pub read: ReadOnly<u32>,
    reserved_04: [u32; 3],
    /// 0x10: mailbox 0: the next message, left in place.
    pub peek: ReadPure<u32>,
    /// 0x14: mailbox 0: sender.
    pub sender: ReadPure<u32>,
    /// 0x18: mailbox 0: status.
    pub read_status: ReadPure<Status>,
    /// 0x1c: mailbox 0: bit 0 enables the interrupt "has data".
    pub config: ReadPureWrite<u32>,
    /// 0x20: mailbox 1: gives a message.
    pub write: WriteOnly<u32>,
    reserved_24: [u32; 5],
    /// 0x38: mailbox 1: status.
    pub write_status: ReadPure<Status>,
}

const _: () = assert!(size_of::<Registers>() == 0x3c);

/// State of one mailbox.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Status(u32);

bitflags! {
    impl Status: u32 {
        /// Nothing to read.
        const EMPTY = 1 << 30;
        /// No room to write.
        const FULL = 1 << 31;
    }
}
