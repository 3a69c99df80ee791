//! ARMCTRL, the interrupt controller for the peripherals of BCM2835 to BCM2837.
//!
//! Source: ARM Peripherals, section 7.5. Offsets from the peripheral base + 0xB200.

use safe_mmio::fields::{ReadPure, ReadPureWrite, WriteOnly};
use safe_mmio::{UniqueMmioPointer, field, field_shared};

use crate::shared::Shared;

/// How many interrupts there are: 64 of the peripherals, then 8 of the ARM block ("basic").
pub const IRQ_COUNT: u8 = 72;
/// `fiq_control` value that routes no interrupt to the FIQ line (bit 7 is the enable).
pub const FIQ_OFF: u32 = 0;
/// Bits of `pending_basic` that are the eight basic interrupts.
const PENDING_BASIC_IRQS: u32 = 0xff;

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
    pub enable: [WriteOnly<u32>; 2],
    /// 0x18: write 1 to enable basic interrupts.
    pub enable_basic: WriteOnly<u32>,
    /// 0x1c, 0x20: write 1 to disable interrupts 0–31 and 32–63.
    pub disable: [WriteOnly<u32>; 2],
    /// 0x24: write 1 to disable basic interrupts.
    pub disable_basic: WriteOnly<u32>,
}

const _: () = assert!(size_of::<Registers>() == 0x28);

/// The controller, usable from every core and from interrupt handlers without a lock.
pub struct ArmCtrl<'a>(Shared<'a, Registers>);

impl<'a> ArmCtrl<'a> {
    /// Takes the block over with every interrupt off.
    #[must_use]
    pub fn new(mut registers: UniqueMmioPointer<'a, Registers>) -> Self {
        field!(registers, fiq_control).write(FIQ_OFF);
        let this = Self(Shared::new(registers));
        for irq in (0..IRQ_COUNT).step_by(32) {
            this.write_disable(irq, u32::MAX);
        }
        this
    }

    /// Returns which of the enabled interrupts 0–31 (`bank` 0), 32–63 (1) or 64–71 (2) are raised.
    #[must_use]
    pub fn read_pending(&self, bank: usize) -> u32 {
        match self.0.part(|block| field_shared!(block, pending)).get(bank) {
            Some(register) => register.read(),
            None => self.0.part(|block| field_shared!(block, pending_basic)).read() & PENDING_BASIC_IRQS,
        }
    }

    /// Enables the interrupts that are 1 in `bits`, counted from the bank that `irq` is in.
    pub fn write_enable(&self, irq: u8, bits: u32) {
        match self.0.part(|block| field_shared!(block, enable)).get(usize::from(irq / 32)) {
            Some(register) => register.write(bits),
            None => self.0.part(|block| field_shared!(block, enable_basic)).write(bits),
        }
    }

    /// Disables the interrupts that are 1 in `bits`, counted from the bank that `irq` is in.
    pub fn write_disable(&self, irq: u8, bits: u32) {
        match self.0.part(|block| field_shared!(block, disable)).get(usize::from(irq / 32)) {
            Some(register) => register.write(bits),
            None => self.0.part(|block| field_shared!(block, disable_basic)).write(bits),
        }
    }
}
