//! Power management: the watchdog and the reset register.
//!
//! Source: elinux.org/BCM2835_registers#PM, and Linux drivers/watchdog/bcm2835_wdt.c for the values. Offsets from the
//! peripheral base + 0x100000.

use safe_mmio::fields::ReadPureWrite;

/// Upper byte of every write; a write without it is ignored.
pub const PASSWORD: u32 = 0x5a00_0000;
/// Bits of `wdog` that are the time left.
pub const WDOG_TIME_MASK: u32 = 0x000f_ffff;
/// Ticks of `wdog` in a second.
pub const WDOG_HZ: u32 = 1 << 16;
/// Bits of `rstc` that say what happens when the watchdog runs out.
pub const RSTC_WRCFG_MASK: u32 = 0x30;
/// `rstc`: the watchdog resets everything.
pub const RSTC_WRCFG_FULL_RESET: u32 = 0x20;

/// The register block.
#[repr(C, align(4))]
pub struct Registers {
    reserved_00: [u32; 7],
    /// 0x1c: reset control.
    pub rstc: ReadPureWrite<u32>,
    /// 0x20: reset status, and the boot partition for the firmware.
    pub rsts: ReadPureWrite<u32>,
    /// 0x24: watchdog: ticks left; counts down as soon as it is written.
    pub wdog: ReadPureWrite<u32>,
}

const _: () = assert!(size_of::<Registers>() == 0x28);

/// Why the SoC was reset last, as `rsts` has it (names of elinux.org/BCM2835_registers#PM_RSTS).
pub mod rsts {
    /// Power-on reset.
    pub const HADPOR: u32 = 1 << 12;
    /// Hard reset by the software.
    pub const HADSRH: u32 = 1 << 10;
    /// Full reset by the software.
    pub const HADSRF: u32 = 1 << 9;
    /// Quick reset by the software.
    pub const HADSRQ: u32 = 1 << 8;
    /// Hard reset by the watchdog.
    pub const HADWRH: u32 = 1 << 6;
    /// Full reset by the watchdog.
    pub const HADWRF: u32 = 1 << 5;
    /// Quick reset by the watchdog.
    pub const HADWRQ: u32 = 1 << 4;
    /// Hard reset by the debugger.
    pub const HADDRH: u32 = 1 << 2;
    /// Full reset by the debugger.
    pub const HADDRF: u32 = 1 << 1;
    /// Quick reset by the debugger.
    pub const HADDRQ: u32 = 1 << 0;
}
