//! The bus to the PHY's registers, through one register of the MAC.

use embassy_time::{Duration, Instant, Timer};
use rpi_pac::genet::{
    MDIO_CLOCK_DIVIDER, MDIO_PHY_SHIFT, MDIO_READ, MDIO_READ_FAIL, MDIO_REGISTER_SHIFT, MDIO_START_BUSY, MDIO_WRITE,
    Mdio,
};
use safe_mmio::{UniqueMmioPointer, field};
use thiserror::Error;

/// How long a transfer may take (Linux bcmgenet_mii_wait: HZ / 100; OpenBSD: 1,000 times 10 µs). It takes 64 bits at
/// 1.6 MHz.
const TIMEOUT: Duration = Duration::from_millis(10);
/// Rest between two looks: about what a transfer takes, so that the core does something else meanwhile.
const PAUSE: Duration = Duration::from_micros(40);

/// Why a PHY's register could not be read or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum MdioError {
    /// Nobody answered at this address.
    #[error("no PHY answers at MDIO address {phy}")]
    Silent {
        /// The PHY's address.
        phy: u8,
    },
    /// The bus did not end the transfer.
    #[error("the MDIO bus is busy for longer than {} ms ({cmd:#010x})", TIMEOUT.as_millis())]
    Busy {
        /// The command register.
        cmd: u32,
    },
}

/// The bus.
pub(crate) struct MdioBus<'a> {
    registers: UniqueMmioPointer<'a, Mdio>,
}

impl<'a> MdioBus<'a> {
    pub(crate) fn new(registers: UniqueMmioPointer<'a, Mdio>) -> Self {
        Self { registers }
    }

    /// Sets the clock to the slowest, 1.6 to 2 MHz: a Pi 400's bus is specified for 1.95 MHz (bcm2711-rpi-400.dts,
    /// clock-frequency), and what a boot loader leaves is several times that (measured on a 4B: 0x91).
    pub(crate) fn set_clock(&mut self) {
        let cfg = field!(self.registers, cfg).read();
        field!(self.registers, cfg).write(cfg | MDIO_CLOCK_DIVIDER);
    }

    /// Reads a register of a PHY.
    pub(crate) async fn read(&mut self, phy: u8, register: u8) -> Result<u16, MdioError> {
        let answer = self.transfer(MDIO_READ, phy, register, 0).await?;
        let value = answer as u16;
        // Nobody pulls the line down: the pull-up is all that was read.
        if answer & MDIO_READ_FAIL != 0 || value == u16::MAX {
            return Err(MdioError::Silent { phy });
        }
        Ok(value)
    }

    /// Writes a register of a PHY.
    pub(crate) async fn write(&mut self, phy: u8, register: u8, value: u16) -> Result<(), MdioError> {
        self.transfer(MDIO_WRITE, phy, register, value).await?;
        Ok(())
    }

    async fn transfer(&mut self, kind: u32, phy: u8, register: u8, value: u16) -> Result<u32, MdioError> {
        let deadline = Instant::now() + TIMEOUT;
        // A transfer that was given up may still be under way.
        self.idle(deadline).await?;
        let address = u32::from(phy & 0x1f) << MDIO_PHY_SHIFT | u32::from(register & 0x1f) << MDIO_REGISTER_SHIFT;
        field!(self.registers, cmd).write(MDIO_START_BUSY | kind | address | u32::from(value));
        Timer::after(PAUSE).await;
        self.idle(deadline).await
    }

    /// Waits until nothing is under way; returns the command register.
    async fn idle(&mut self, deadline: Instant) -> Result<u32, MdioError> {
        loop {
            let is_late = Instant::now() >= deadline;
            let cmd = field!(self.registers, cmd).read();
            if cmd & MDIO_START_BUSY == 0 {
                return Ok(cmd);
            }
            if is_late {
                return Err(MdioError::Busy { cmd });
            }
            Timer::after(PAUSE).await;
        }
    }
}
