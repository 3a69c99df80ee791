//! ARMCTRL, the interrupt controller for the peripherals of BCM2835 to BCM2837.
//!
//! Source: ARM Peripherals, section 7.5. Offsets from the peripheral base + 0xB200.

use safe_mmio::fields::{ReadPure, ReadPureWrite};

use crate::shared::SetBits;

/// How many interrupts there are: 64 of the peripherals, then 8 of the ARM block ("basic").
pub const IRQ_COUNT: u8 = 72;
/// `fiq_control` value that routes no interrupt to the FIQ line (bit 7 is the enable).
pub const FIQ_OFF: u32 = 0;
/// Bits of `pending_basic` that are the eight basic interrupts.
pub const PENDING_BASIC_IRQS: u32 = 0xff;

/// The register block.
///
/// Pending bits are of enabled interrupts only. In the enable and disable registers a 1 acts on its interrupt and a 0
/// leaves it alone, so no read-modify-write is needed.
#[repr(C, align(4))]
pub struct Registers {
    /// 0x00: basic interrupts in bits 0–7; summary bits of the other two in 8–20 (not used here: an interrupt with a
    /// shortcut bit 10–20 does not set its bank's bit 8 or 9).
    pub pending_basic: ReadPure<u32>,
    /// 0x04, 0x08: interrupts 0–31 and 32–63.
    pub pending: [ReadPure<u32>; 2],
    /// 0x0c: interrupt routed to FIQ.
    pub fiq_control: ReadPureWrite<u32>,
    /// 0x10, 0x14: write 1 to enable interrupts 0–31 and 32–63.
    pub enable: [SetBits; 2],
    /// 0x18: write 1 to enable basic interrupts.
    pub enable_basic: SetBits,
    /// 0x1c, 0x20: write 1 to disable interrupts 0–31 and 32–63.
    pub disable: [SetBits; 2],
    /// 0x24: write 1 to disable basic interrupts.
    pub disable_basic: SetBits,
}

const _: () = assert!(size_of::<Registers>() == 0x28);
