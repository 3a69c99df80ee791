//! ARM's PL011. Source: PrimeCell UART (PL011) TRM, revision r1p5.

use arm_pl011_uart::{
    DataBits, Error, FifoLevel, Interrupts as Irq, LineConfig, PL011Registers, Parity, StopBits, Uart,
};
use safe_mmio::UniqueMmioPointer;

use super::{BAUD, DRAIN_TIMEOUT, Interrupts, LineErrors, UartError};
use crate::wait::until;

const LINE: LineConfig = LineConfig { data_bits: DataBits::Bits8, parity: Parity::None, stop_bits: StopBits::One };
/// Receive interrupts: FIFO filled to its level, or not read for 32 bit times (TRM, section 2.8.2 and 2.8.4).
const RX: Irq = Irq::RXI.union(Irq::RTI);

/// A PL011.
pub struct Pl011<'a> {
    uart: Uart<'a>,
    errors: LineErrors,
}

impl<'a> Pl011<'a> {
    /// Uses a PL011 as it is set up.
    #[must_use]
    pub const fn new(registers: UniqueMmioPointer<'a, PL011Registers>) -> Self {
        let errors = LineErrors { overruns: 0, framing: 0, parity: 0, breaks: 0 };
        Self { uart: Uart::new(registers), errors }
    }

    /// Sets a PL011 up for the console, with all interrupts off. What its last user wrote still goes out.
    ///
    /// # Errors
    ///
    /// When the baud rate can't be made of `clock_hz`, the frequency of the firmware's UART clock.
    pub fn init(registers: UniqueMmioPointer<'a, PL011Registers>, clock_hz: u32) -> Result<Self, UartError> {
        let mut this = Self::new(registers);
        // A UART that does not drain is set up all the same: that may be what makes it drain.
        let _ = until(DRAIN_TIMEOUT, || this.is_idle());
        this.uart.set_interrupt_masks(Irq::empty());
        this.uart.enable(LINE, BAUD, clock_hz).map_err(|_| UartError::Clock { clock_hz })?;
        // Receive from 4 of 32 or 2 of 16 bytes on, transmit again when the FIFO is down to as much.
        this.uart.set_interrupt_fifo_levels(FifoLevel::Bytes4, FifoLevel::Bytes4);
        this.uart.clear_interrupts(Irq::all());
        Ok(this)
    }

    pub(super) fn has_space(&self) -> bool {
        !self.uart.is_tx_fifo_full()
    }

    pub(super) fn is_idle(&self) -> bool {
        !self.uart.is_busy()
    }

    pub(super) fn write_byte(&mut self, byte: u8) {
        self.uart.write_word(byte);
    }

    pub(super) fn read_byte(&mut self) -> Option<u8> {
        loop {
            let count = match self.uart.read_word() {
                Ok(byte) => return byte,
                Err(Error::Overrun) => &mut self.errors.overruns,
                Err(Error::Break) => &mut self.errors.breaks,
                Err(Error::Parity) => &mut self.errors.parity,
                // The fifth variant is about parameters, which reading has none of.
                Err(Error::Framing | Error::InvalidParameter) => &mut self.errors.framing,
            };
            *count = count.saturating_add(1);
        }
    }

    pub(super) fn set_interrupts(&mut self, interrupts: Interrupts) {
        let mut masks = Irq::empty();
        masks.set(RX, interrupts.rx);
        masks.set(Irq::TXI, interrupts.tx);
        self.uart.set_interrupt_masks(masks);
    }

    pub(super) fn pending(&self) -> Interrupts {
        let status = self.uart.masked_interrupt_status();
        Interrupts { rx: status.intersects(RX), tx: status.contains(Irq::TXI) }
    }

    pub(super) fn errors(&self) -> LineErrors {
        self.errors
    }
}
