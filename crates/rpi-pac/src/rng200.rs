//! RNG200, the random number generator of BCM2711.
//!
//! Sources: Linux drivers/char/hw_random/iproc-rng200.c, in Raspberry Pi's own Linux with `bcm2711_rng200_init` and
//! `bcm2711_rng200_read`; Circle include/circle/bcm2711.h and lib/bcmrandom200.cpp. "Both" below are these functions and
//! Circle: Linux proper just sets bit 0 of `control`. Offsets from the peripheral base + 0x104000.

use safe_mmio::fields::{ReadOnly, ReadPure, ReadPureWrite};

/// `control` bits that turn the generator on, all together (both sources: RNG_CTRL_RNG_RBGEN_MASK).
pub const CONTROL_GENERATE: u32 = 0x1fff;
/// `control`: a bit is sampled each microsecond (both sources: divider 3).
pub const CONTROL_1_MHZ: u32 = 3 << 13;
/// `soft_reset` and `generator_reset`: held in reset.
pub const RESET: u32 = 1;
/// `bit_count_threshold`: bits that are thrown away after the start, as they are "less random" (both sources).
pub const WARMUP_BITS: u32 = 0x4_0000;
/// `bit_count` is above this when the generator runs (both sources).
pub const RUNNING_BITS: u32 = 16;
/// `fifo_count` bits 7:0: words that wait.
pub const FIFO_COUNT_MASK: u32 = 0xff;
/// `fifo_count`: two words make it full for its interrupt, which we don't use (both sources).
pub const FIFO_THRESHOLD: u32 = 2 << 8;
/// `status`: what comes out has failed the continuous test of NIST SP 800-90B.
pub const STATUS_NIST_FAIL: u32 = 1 << 5;
/// `status`: the noise source has failed for good; only a reset helps.
pub const STATUS_LOCKOUT: u32 = 1 << 31;

/// The register block.
#[repr(C, align(4))]
pub struct Registers {
    /// 0x00: control.
    pub control: ReadPureWrite<u32>,
    /// 0x04: reset of the FIFO and the interface.
    pub soft_reset: ReadPureWrite<u32>,
    /// 0x08: reset of the generator.
    pub generator_reset: ReadPureWrite<u32>,
    /// 0x0c: bits made since the start.
    pub bit_count: ReadPure<u32>,
    /// 0x10: bits that are thrown away first.
    pub bit_count_threshold: ReadPureWrite<u32>,
    reserved_14: u32,
    /// 0x18: what has happened; write 1 to clear.
    pub status: ReadPureWrite<u32>,
    /// 0x1c: which of these interrupt.
    pub interrupt_enable: ReadPureWrite<u32>,
    /// 0x20: takes a word.
    pub data: ReadOnly<u32>,
    /// 0x24: words that wait, and the threshold of the interrupt.
    pub fifo_count: ReadPureWrite<u32>,
}

const _: () = assert!(size_of::<Registers>() == 0x28);
