//! The mini UART. Its clock is the core clock, so its baud rate is right only while that stays what it was at
//! [`MiniUart::init`]; `enable_uart=1` in config.txt makes the firmware keep it.

use rpi_pac::aux_mini_uart::{
    CNTL_RX_TX, Enables, IIR_CLEAR_FIFOS, InterruptEnable, LCR_EIGHT_BITS, LineStatus, OVERSAMPLING, Registers, Status,
};
use safe_mmio::{UniqueMmioPointer, field, field_shared};

use super::{BAUD, DRAIN_TIMEOUT, Interrupts, LineErrors, UartError};
use crate::wait::until;

/// Largest value of the divisor register (ARM Peripherals, section 2.2.2, AUX_MU_BAUD: 16 bits).
const MAX_DIVISOR: u32 = 0xffff;

/// A mini UART.
pub struct MiniUart<'a> {
    registers: UniqueMmioPointer<'a, Registers>,
    errors: LineErrors,
}

impl<'a> MiniUart<'a> {
    /// Uses a mini UART as it is set up.
    #[must_use]
    pub const fn new(registers: UniqueMmioPointer<'a, Registers>) -> Self {
        let errors = LineErrors { overruns: 0, framing: 0, parity: 0, breaks: 0 };
        Self { registers, errors }
    }

    /// Sets a mini UART up for the console, with all interrupts off. What its last user wrote still goes out.
    ///
    /// # Errors
    ///
    /// When the baud rate can't be made of `clock_hz`, the frequency of the core clock.
    pub fn init(registers: UniqueMmioPointer<'a, Registers>, clock_hz: u32) -> Result<Self, UartError> {
        // Rounded to the nearest: baud = clock / (8 (divisor + 1)) (ARM Peripherals, section 2.2.1).
        let divisor = (clock_hz / (OVERSAMPLING / 2) / BAUD).div_ceil(2).checked_sub(1);
        let divisor = divisor.filter(|&divisor| divisor <= MAX_DIVISOR).ok_or(UartError::Clock { clock_hz })?;
        let mut this = Self::new(registers);
        if field_shared!(this.registers, enables).read().contains(Enables::MINI_UART) {
            // A UART that does not drain is set up all the same: that may be what makes it drain.
            let _ = until(DRAIN_TIMEOUT, || this.is_idle());
        }
        // The SPI masters of the block are not used: they stay off.
        field!(this.registers, enables).write(Enables::MINI_UART);
        field!(this.registers, ier).write(InterruptEnable::empty());
        field!(this.registers, cntl).write(0);
        field!(this.registers, lcr).write(LCR_EIGHT_BITS);
        field!(this.registers, mcr).write(0);
        field!(this.registers, iir).write(IIR_CLEAR_FIFOS);
        field!(this.registers, baud).write(divisor);
        field!(this.registers, cntl).write(CNTL_RX_TX);
        Ok(this)
    }

    pub(super) fn has_space(&self) -> bool {
        self.status().contains(Status::TX_SPACE)
    }

    pub(super) fn is_idle(&self) -> bool {
        self.status().contains(Status::TX_DONE)
    }

    pub(super) fn write_byte(&mut self, byte: u8) {
        field!(self.registers, io).write(byte.into());
    }

    pub(super) fn read_byte(&mut self) -> Option<u8> {
        let line = field!(self.registers, lsr).read();
        if line.contains(LineStatus::OVERRUN) {
            self.errors.overruns = self.errors.overruns.saturating_add(1);
        }
        // The data register's upper bits are reserved.
        line.contains(LineStatus::DATA_READY).then(|| field!(self.registers, io).read() as u8)
    }

    pub(super) fn set_interrupts(&mut self, interrupts: Interrupts) {
        let mut enable = InterruptEnable::empty();
        enable.set(InterruptEnable::RX, interrupts.rx);
        enable.set(InterruptEnable::TX, interrupts.tx);
        enable.set(InterruptEnable::REQUIRED, interrupts.rx || interrupts.tx);
        field!(self.registers, ier).write(enable);
    }

    /// What is raised follows from the FIFOs' state: the identification register names only one cause at a time.
    pub(super) fn pending(&self) -> Interrupts {
        let enabled = field_shared!(self.registers, ier).read();
        let status = self.status();
        Interrupts {
            rx: enabled.contains(InterruptEnable::RX) && status.contains(Status::RX_READY),
            tx: enabled.contains(InterruptEnable::TX) && status.contains(Status::TX_SPACE),
        }
    }

    pub(super) fn errors(&self) -> LineErrors {
        self.errors
    }

    fn status(&self) -> Status {
        field_shared!(self.registers, stat).read()
    }
}
