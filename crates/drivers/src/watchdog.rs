//! The watchdog, which also restarts the node.
//!
//! Source: Linux drivers/watchdog/bcm2835_wdt.c; elinux.org/BCM2835_registers#PM.
//!
//! QEMU resets *at once* when a full reset is configured, however much time is left, and does not count the time down
//! (hw/misc/bcm2835_powermgt.c). So [`Watchdog::restart`] does there what it says, [`Watchdog::arm`] is for boards only
//! (`mailbox::QEMU_FIRMWARE` tells them apart), and the reset reason is always "power on".

use core::fmt;

use embassy_time::Duration;
use rpi_pac::pm::{PASSWORD, RSTC_WRCFG_FULL_RESET, RSTC_WRCFG_MASK, Registers, WDOG_HZ, WDOG_TIME_MASK, rsts};
use safe_mmio::{UniqueMmioPointer, field, field_shared};
use thiserror::Error;

/// Longest time the watchdog can be set to: its counter has 20 bits.
pub const MAX_TIMEOUT: Duration = Duration::from_secs(15);
/// Ticks until a restart on purpose, some 150 us, as Linux has it (`__bcm2835_restart`).
const RESTART_TICKS: u32 = 10;

/// The timeout can't be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a watchdog timeout of {} ms is not between 1 ms and {} s", .0.as_millis(), MAX_TIMEOUT.as_secs())]
pub struct BadTimeout(pub Duration);

/// Why the SoC was reset last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResetReason {
    /// Power was switched on. QEMU says so always.
    PowerOn,
    /// The watchdog ran out: a hang, or a restart on purpose, which uses it too.
    Watchdog,
    /// The software wrote to the reset register.
    Software,
    /// A debugger reset it.
    Debugger,
    /// The register has none of the known bits. Carries its value.
    Unknown(u32),
}

/// The watchdog.
#[derive(Debug)]
pub struct Watchdog<'a> {
    registers: UniqueMmioPointer<'a, Registers>,
    /// What it was armed with.
    ticks: Option<u32>,
}

impl<'a> Watchdog<'a> {
    /// Takes the block over as it is: a boot loader may have armed the watchdog.
    #[must_use]
    pub const fn new(registers: UniqueMmioPointer<'a, Registers>) -> Self {
        Self { registers, ticks: None }
    }

    /// Arms the watchdog: it resets the SoC unless it is fed at least every `timeout`.
    ///
    /// # Errors
    ///
    /// When the timeout is 0 or longer than [`MAX_TIMEOUT`].
    pub fn arm(&mut self, timeout: Duration) -> Result<(), BadTimeout> {
        if timeout < Duration::from_millis(1) || timeout > MAX_TIMEOUT {
            return Err(BadTimeout(timeout));
        }
        // At most 15 s × 65,536 Hz, which has 20 bits.
        self.ticks = Some((timeout.as_millis() * u64::from(WDOG_HZ) / 1000) as u32);
        self.feed();
        Ok(())
    }

    /// Gives the watchdog its whole timeout again; nothing happens while it is not armed.
    pub fn feed(&mut self) {
        if let Some(ticks) = self.ticks {
            self.start(ticks);
        }
    }

    /// Resets the SoC, within some 150 us. Takes effect while the caller goes on.
    pub fn restart(&mut self) {
        self.start(RESTART_TICKS);
    }

    /// Returns why the SoC was reset last.
    #[must_use]
    pub fn reset_reason(&self) -> ResetReason {
        ResetReason::from_rsts(field_shared!(self.registers, rsts).read())
    }

    /// Lets the SoC be reset after so many ticks from now. Both registers each time, the time first, as Linux does it also
    /// to feed (bcm2835_wdt_start): no document says that one is enough.
    fn start(&mut self, ticks: u32) {
        field!(self.registers, wdog).write(PASSWORD | ticks & WDOG_TIME_MASK);
        field!(self.registers, rstc)
            .modify(|control| PASSWORD | control & !(PASSWORD_MASK | RSTC_WRCFG_MASK) | RSTC_WRCFG_FULL_RESET);
    }
}

/// Bits of a register that the password is in.
const PASSWORD_MASK: u32 = 0xff00_0000;

impl ResetReason {
    /// Only the bits for full resets count: those for quick and hard resets double as boot partition.
    const fn from_rsts(status: u32) -> Self {
        if status & rsts::HADWRF != 0 {
            Self::Watchdog
        } else if status & rsts::HADSRF != 0 {
            Self::Software
        } else if status & rsts::HADDRF != 0 {
            Self::Debugger
        } else if status & rsts::HADPOR != 0 {
            // Stays set through other resets, so it comes last.
            Self::PowerOn
        } else {
            Self::Unknown(status)
        }
    }
}

impl fmt::Display for ResetReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PowerOn => f.write_str("power on"),
            Self::Watchdog => f.write_str("watchdog or restart"),
            Self::Software => f.write_str("software"),
            Self::Debugger => f.write_str("debugger"),
            Self::Unknown(status) => write!(f, "unknown (reset status {status:#010x})"),
        }
    }
}

#[cfg(test)]
mod tests {
    use testkit::mmio::{Block, Model, claim};

    use super::*;

    const RSTC: usize = 0x1c;
    const RSTS: usize = 0x20;
    const WDOG: usize = 0x24;

    /// The block as it is after power-on (elinux.org/BCM2835_registers#PM).
    struct Pm {
        rstc: u32,
        rsts: u32,
        wdog: u32,
        writes: Vec<usize>,
    }

    impl Block for Pm {
        fn read(&mut self, offset: usize) -> u32 {
            match offset {
                RSTC => self.rstc,
                RSTS => self.rsts,
                _ => self.wdog,
            }
        }

        fn write(&mut self, offset: usize, value: u32) {
            assert_eq!(value >> 24, 0x5a, "a write to {offset:#x} without the password is ignored");
            self.writes.push(offset);
            match offset {
                RSTC => self.rstc = value & 0xff_ffff,
                RSTS => self.rsts = value & 0xff_ffff,
                _ => self.wdog = value & 0xff_ffff,
            }
        }
    }

    fn watchdog() -> (Watchdog<'static>, Model<Pm>) {
        let (registers, model) = claim(Pm { rstc: 0x102, rsts: 0x1000, wdog: 0, writes: vec![] });
        (Watchdog::new(registers), model)
    }

    #[test]
    fn arming_sets_the_time_before_the_action() {
        let (mut watchdog, model) = watchdog();
        assert_eq!(watchdog.arm(MAX_TIMEOUT), Ok(()));
        let pm = model.lock();
        assert_eq!((pm.wdog, pm.rstc), (15 << 16, 0x122), "15 s at 65,536 Hz; full reset");
        assert_eq!(pm.writes, [WDOG, RSTC]);
    }

    #[test]
    fn feeding_gives_the_whole_time_again() {
        let (mut watchdog, model) = watchdog();
        assert_eq!(watchdog.arm(Duration::from_millis(1500)), Ok(()));
        model.lock().wdog = 7;
        watchdog.feed();
        let pm = model.lock();
        assert_eq!((pm.wdog, pm.rstc, pm.rsts), (98_304, 0x122, 0x1000));
    }

    #[test]
    fn a_watchdog_that_is_not_armed_is_not_started_by_feeding() {
        let (mut watchdog, model) = watchdog();
        watchdog.feed();
        assert!(model.lock().writes.is_empty());
    }

    #[test]
    fn times_that_do_not_fit_the_counter_are_refused() {
        let (mut watchdog, model) = watchdog();
        for timeout in [Duration::from_ticks(0), Duration::from_millis(15_001), Duration::MAX] {
            assert_eq!(watchdog.arm(timeout), Err(BadTimeout(timeout)));
        }
        assert!(model.lock().writes.is_empty());
    }

    #[test]
    fn a_restart_comes_at_once_from_the_same_partition() {
        let (mut watchdog, model) = watchdog();
        watchdog.restart();
        let pm = model.lock();
        assert_eq!((pm.wdog, pm.rstc, pm.rsts), (10, 0x122, 0x1000));
    }

    #[test]
    fn the_reset_reason_ignores_the_boot_partition() {
        for (rsts, reason, text) in [
            (0x1000, ResetReason::PowerOn, "power on"),
            (0x1020, ResetReason::Watchdog, "watchdog or restart"),
            (0x0575, ResetReason::Watchdog, "watchdog or restart"),
            (0x0200, ResetReason::Software, "software"),
            (0x0002, ResetReason::Debugger, "debugger"),
            (0x0555, ResetReason::Unknown(0x555), "unknown (reset status 0x00000555)"),
        ] {
            let (watchdog, model) = watchdog();
            model.lock().rsts = rsts;
            assert_eq!((watchdog.reset_reason(), watchdog.reset_reason().to_string().as_str()), (reason, text));
        }
    }
}
