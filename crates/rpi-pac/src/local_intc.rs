//! The per-core interrupt controller of BCM2836 and BCM2837 ("ARM local peripherals").
//!
//! Source: QA7, chapter 4. Also in BCM2711, at another address, beside the GIC (BCM2711 Peripherals, section 6.5.2).

use bitflags::bitflags;
use safe_mmio::fields::{ReadPure, ReadPureWrite, WriteOnly};
use safe_mmio::{UniqueMmioPointer, field, field_shared};

use crate::shared::Shared;

/// Cores that the block serves.
pub const CORES: usize = 4;
/// Mailboxes of each core.
pub const MAILBOXES: usize = 4;

/// `control` value: the core timer counts the crystal, by one (QA7, section 4.2; Linux irq-bcm2836.c,
/// bcm2835_init_local_timer_frequency).
const CONTROL_CRYSTAL: u32 = 0;
/// `prescaler` value: the core timer runs at the crystal's frequency (QA7, section 3.1.1: 2^31 is one to one).
const PRESCALER_ONE: u32 = 0x8000_0000;

/// The register block.
#[repr(C, align(4))]
pub struct Registers {
    /// 0x00: source of the core timer.
    pub control: ReadPureWrite<u32>,
    reserved_04: u32,
    /// 0x08: divider of the core timer.
    pub prescaler: ReadPureWrite<u32>,
    /// 0x0c: which core gets the peripherals' IRQ (bits 1:0) and FIQ (bits 3:2).
    pub gpu_route: ReadPureWrite<u32>,
    /// 0x10: write 1 to send a core's performance counter to its IRQ (bits 0–3) or FIQ (4–7).
    pub pmu_route_set: WriteOnly<u32>,
    /// 0x14: write 1 to stop it.
    pub pmu_route_clear: WriteOnly<u32>,
    reserved_18: [u32; 3],
    /// 0x24: which core gets the local timer.
    pub local_timer_route: ReadPureWrite<u32>,
    reserved_28: [u32; 3],
    /// 0x34: local timer control.
    pub local_timer_control: ReadPureWrite<u32>,
    reserved_38: [u32; 2],
    /// 0x40: per core: core timer interrupts that raise its IRQ (bits 0–3) or FIQ (4–7).
    pub timer_control: [ReadPureWrite<u32>; CORES],
    /// 0x50: per core: mailboxes that raise its IRQ (bits 0–3) or FIQ (4–7).
    pub mailbox_control: [ReadPureWrite<u32>; CORES],
    /// 0x60: per core: why its IRQ line is raised.
    pub irq_source: [ReadPure<u32>; CORES],
    /// 0x70: per core: why its FIQ line is raised.
    pub fiq_source: [ReadPure<u32>; CORES],
    /// 0x80: mailbox m of core c is register 4 c + m: write 1 to set bits.
    pub mailbox_set: [WriteOnly<u32>; CORES * MAILBOXES],
    /// 0xc0: the same: read, and write 1 to clear bits.
    pub mailbox_clear: [ReadPureWrite<u32>; CORES * MAILBOXES],
}

const _: () = assert!(size_of::<Registers>() == 0x100);

bitflags! {
    /// Why a core's interrupt line is raised.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Source: u32 {
        /// Secure physical timer.
        const CNTPS = 1 << 0;
        /// Non-secure physical timer.
        const CNTPNS = 1 << 1;
        /// Hypervisor timer.
        const CNTHP = 1 << 2;
        /// Virtual timer.
        const CNTV = 1 << 3;
        /// Mailbox 0.
        const MAILBOX0 = 1 << 4;
        /// Mailbox 1.
        const MAILBOX1 = 1 << 5;
        /// Mailbox 2.
        const MAILBOX2 = 1 << 6;
        /// Mailbox 3.
        const MAILBOX3 = 1 << 7;
        /// A peripheral: ask ARMCTRL which.
        const GPU = 1 << 8;
        /// Performance counter.
        const PMU = 1 << 9;
        /// AXI bus idle.
        const AXI = 1 << 10;
        /// Local timer.
        const LOCAL_TIMER = 1 << 11;
    }
}

/// The controller, usable from every core and from interrupt handlers without a lock.
///
/// A core or mailbox that does not exist is ignored, and reads as 0.
pub struct LocalIntc<'a>(Shared<'a, Registers>);

impl<'a> LocalIntc<'a> {
    /// Takes the block over with every interrupt off, the core timers at the crystal's frequency, and the peripherals'
    /// interrupts going to core 0.
    #[must_use]
    pub fn new(mut registers: UniqueMmioPointer<'a, Registers>) -> Self {
        field!(registers, control).write(CONTROL_CRYSTAL);
        field!(registers, prescaler).write(PRESCALER_ONE);
        field!(registers, gpu_route).write(0);
        field!(registers, pmu_route_clear).write(u32::MAX);
        field!(registers, local_timer_control).write(0);
        let this = Self(Shared::new(registers));
        for core in 0..CORES {
            this.write_timer_control(core, 0);
            this.write_mailbox_control(core, 0);
        }
        this
    }

    /// Sets which core timers raise a core's IRQ (bits 0–3, as in [`Source`]) and FIQ (4–7). Writes the whole register.
    pub fn write_timer_control(&self, core: usize, bits: u32) {
        if let Some(register) = self.0.part(|block| field_shared!(block, timer_control)).get(core) {
            register.write(bits);
        }
    }

    /// Sets which mailboxes raise a core's IRQ (bits 0–3) and FIQ (4–7). Writes the whole register.
    pub fn write_mailbox_control(&self, core: usize, bits: u32) {
        if let Some(register) = self.0.part(|block| field_shared!(block, mailbox_control)).get(core) {
            register.write(bits);
        }
    }

    /// Returns why a core's IRQ line is raised.
    #[must_use]
    pub fn read_irq_source(&self, core: usize) -> Source {
        let register = self.0.part(|block| field_shared!(block, irq_source)).get(core);
        Source::from_bits_retain(register.map_or(0, |register| register.read()))
    }

    /// Sets bits in a core's mailbox.
    pub fn write_mailbox_set(&self, core: usize, mailbox: usize, bits: u32) {
        let registers = self.0.part(|block| field_shared!(block, mailbox_set));
        if let Some(register) = mailbox_index(core, mailbox).and_then(|index| registers.get(index)) {
            register.write(bits);
        }
    }

    /// Clears bits in a core's mailbox.
    pub fn write_mailbox_clear(&self, core: usize, mailbox: usize, bits: u32) {
        let registers = self.0.part(|block| field_shared!(block, mailbox_clear));
        if let Some(register) = mailbox_index(core, mailbox).and_then(|index| registers.get(index)) {
            register.write(bits);
        }
    }

    /// Returns which bits are set in a core's mailbox.
    #[must_use]
    pub fn read_mailbox(&self, core: usize, mailbox: usize) -> u32 {
        let registers = self.0.part(|block| field_shared!(block, mailbox_clear));
        mailbox_index(core, mailbox).and_then(|index| registers.get(index)).map_or(0, |register| register.read())
    }
}

fn mailbox_index(core: usize, mailbox: usize) -> Option<usize> {
    if core < CORES && mailbox < MAILBOXES { Some(core * MAILBOXES + mailbox) } else { None }
}
