//! The per-core interrupt controller of BCM2836 and BCM2837 ("ARM local peripherals").
//!
//! Source: QA7, chapter 4. Also in BCM2711, at another address, beside the GIC (BCM2711 Peripherals, section 6.5.2).

use bitflags::bitflags;
use safe_mmio::fields::{ReadPure, ReadPureWrite};

use crate::shared::{SetBits, WriteOneToClear};

/// Cores that the block serves.
pub const CORES: usize = 4;
/// Mailboxes of each core.
pub const MAILBOXES: usize = 4;

/// `control` value: the core timer counts the crystal, by one (QA7, section 4.2; Linux irq-bcm2836.c,
/// bcm2835_init_local_timer_frequency).
pub const CONTROL_CRYSTAL: u32 = 0;
/// `prescaler` value: the core timer runs at the crystal's frequency (QA7, section 3.1.1: 2^31 is one to one).
pub const PRESCALER_ONE: u32 = 0x8000_0000;

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
    pub pmu_route_set: SetBits,
    /// 0x14: write 1 to stop it.
    pub pmu_route_clear: SetBits,
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
    pub mailbox_set: [SetBits; CORES * MAILBOXES],
    /// 0xc0: the same: read, and write 1 to clear bits.
    pub mailbox_clear: [WriteOneToClear; CORES * MAILBOXES],
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
