//! The random number generator of BCM2835 to BCM2837.
//!
//! Source: Linux drivers/char/hw_random/bcm2835-rng.c. Offsets from the peripheral base + 0x104000.

use safe_mmio::fields::{ReadOnly, ReadPureWrite};

/// `ctrl` bit: generate.
pub const CTRL_RBGEN: u32 = 1;
/// Numbers that the generator discards before the first one it gives out, as written to `status` before it is enabled:
/// the first ones are "less random" (Linux, RNG_WARMUP_COUNT).
pub const WARMUP_COUNT: u32 = 0x4_0000;
/// How far `status` is shifted right to give the number of words that wait.
pub const STATUS_WORDS_SHIFT: u32 = 24;

/// The register block.
#[repr(C, align(4))]
pub struct Registers {
    /// 0x00: control.
    pub ctrl: ReadPureWrite<u32>,
    /// 0x04: words that wait (bits 31:24), numbers left to discard (bits 19:0).
    pub status: ReadPureWrite<u32>,
    /// 0x08: takes a word.
    pub data: ReadOnly<u32>,
    /// 0x0c: threshold of the interrupt.
    pub ff_threshold: ReadPureWrite<u32>,
    /// 0x10: interrupt mask: bit 0 set = off.
    pub int_mask: ReadPureWrite<u32>,
}

const _: () = assert!(size_of::<Registers>() == 0x14);
