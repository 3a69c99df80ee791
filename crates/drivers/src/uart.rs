//! The serial console: PL011 or mini UART behind one type, 115200 baud, eight data bits, no parity, one stop bit.
//!
//! Nothing here blocks: [`Console::write`] takes what fits into the FIFO, and the interrupts say when to go on. A panic
//! can't wait for interrupts, nor for whoever holds the console: it makes a second [`Console`] of the same registers and
//! writes through [`Emergency`].
//!
//! Tested on QEMU raspi3b (PL011, mini UART); register level against models on the host.

mod emergency;
mod mini;
mod pl011;

use embassy_time::Duration;
pub use emergency::Emergency;
pub use mini::MiniUart;
pub use pl011::Pl011;
use thiserror::Error;

use crate::wait::{Timeout, until};

/// Bits per second of the console.
pub const BAUD: u32 = 115_200;
/// Longest time that a full FIFO of 16 bytes and the shift register take at [`BAUD`] (10 bits each): 1.5 ms; and once as
/// long again, for a host that holds us up.
const DRAIN_TIMEOUT: Duration = Duration::from_millis(3);

/// Why a UART can't be set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum UartError {
    /// The clock can't be divided down to the baud rate.
    #[error("a UART clock of {clock_hz} Hz can't give {BAUD} baud")]
    Clock {
        /// The clock that was given.
        clock_hz: u32,
    },
}

/// Which interrupts of a UART are on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Interrupts {
    /// Bytes wait to be read.
    pub rx: bool,
    /// There is room to write again. Fires also at once when there is room already.
    pub tx: bool,
}

/// What went wrong on the line since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LineErrors {
    /// Bytes came faster than they were read.
    pub overruns: u32,
    /// A byte had no stop bit: wrong baud rate, or a disturbance.
    pub framing: u32,
    /// A byte had wrong parity.
    pub parity: u32,
    /// The line was held low: the other side is off, or sent a break.
    pub breaks: u32,
}

/// The console's UART.
pub enum Console<'a> {
    /// ARM's PL011.
    Pl011(Pl011<'a>),
    /// The mini UART of the AUX block.
    Mini(MiniUart<'a>),
}

impl Console<'_> {
    /// Puts as many of `bytes` into the FIFO as it takes, and returns how many.
    pub fn write(&mut self, bytes: &[u8]) -> usize {
        let mut written = 0;
        for &byte in bytes {
            if !self.has_space() {
                break;
            }
            match self {
                Self::Pl011(uart) => uart.write_byte(byte),
                Self::Mini(uart) => uart.write_byte(byte),
            }
            written += 1;
        }
        written
    }

    /// Takes a byte that was received. Bytes with errors are counted and left out.
    pub fn read_byte(&mut self) -> Option<u8> {
        match self {
            Self::Pl011(uart) => uart.read_byte(),
            Self::Mini(uart) => uart.read_byte(),
        }
    }

    /// Returns whether [`write`](Self::write) would take a byte.
    #[must_use]
    pub fn has_space(&mut self) -> bool {
        match self {
            Self::Pl011(uart) => uart.has_space(),
            Self::Mini(uart) => uart.has_space(),
        }
    }

    /// Turns interrupts on and off.
    ///
    /// The interrupt is a level: its handler turns off what it saw, and whoever is woken turns it on again when it wants
    /// more. `tx` is for after [`write`](Self::write) took less than all.
    pub fn set_interrupts(&mut self, interrupts: Interrupts) {
        match self {
            Self::Pl011(uart) => uart.set_interrupts(interrupts),
            Self::Mini(uart) => uart.set_interrupts(interrupts),
        }
    }

    /// Returns which interrupts are on *and* raised. For the mini UART these share their line with SPI1 and SPI2.
    #[must_use]
    pub fn pending(&mut self) -> Interrupts {
        match self {
            Self::Pl011(uart) => uart.pending(),
            Self::Mini(uart) => uart.pending(),
        }
    }

    /// Returns what went wrong on the line.
    #[must_use]
    pub fn errors(&self) -> LineErrors {
        match self {
            Self::Pl011(uart) => uart.errors(),
            Self::Mini(uart) => uart.errors(),
        }
    }

    /// Waits until the last bit is on the line.
    ///
    /// # Errors
    ///
    /// When that takes longer than a full FIFO can.
    pub fn flush(&mut self) -> Result<(), Timeout> {
        until(DRAIN_TIMEOUT, || match self {
            Self::Pl011(uart) => uart.is_idle(),
            Self::Mini(uart) => uart.is_idle(),
        })
    }
}

impl<'a> From<Pl011<'a>> for Console<'a> {
    fn from(uart: Pl011<'a>) -> Self {
        Self::Pl011(uart)
    }
}

impl<'a> From<MiniUart<'a>> for Console<'a> {
    fn from(uart: MiniUart<'a>) -> Self {
        Self::Mini(uart)
    }
}

#[cfg(test)]
mod tests;
