//! The firmware's property interface: board facts, clocks, temperature, power.
//!
//! A message is one property in a DMA buffer that the firmware answers in place. Each [`Property`] is a type; what it asks
//! for and how the answer is read is in `mailbox/property.rs`. The answer is believed only as far as the firmware filled
//! it in: QEMU acknowledges every property, also those that it does not know, with a length of 0.
//!
//! Source: github.com/raspberrypi/firmware/wiki/Mailbox-property-interface. Tested on QEMU raspi3b; on the host against a
//! model of the firmware.

mod property;

use embassy_time::{Duration, Instant, Timer};
use hal::dma::{BusAddr, DeviceBuffer, Direction, DmaBuffer};
pub use property::*;
use rpi_pac::mailbox::{CHANNEL_MASK, CHANNEL_PROPERTY, Registers, Status};
use safe_mmio::{UniqueMmioPointer, field, field_shared};
use thiserror::Error;

use crate::wait::{Timeout, until};

/// Bytes that the buffer of a [`Mailbox`] must have: the longest answer, the command line, and what frames it.
pub const BUFFER_LEN: usize = (COMMAND_LINE_LEN + FRAME_LEN).next_multiple_of(hal::dma::CACHE_LINE);
/// How long the firmware may take. Most answers take some 10 us; setting power or a clock takes milliseconds, and Linux
/// (drivers/firmware/raspberrypi.c, rpi_firmware_transaction) gives it a second.
const TIMEOUT: Duration = Duration::from_secs(1);
/// How often the async form looks for the answer.
const POLL_INTERVAL: Duration = Duration::from_micros(50);

/// Message header (length, code), property header (tag, buffer length, code) and end tag.
const FRAME_LEN: usize = (2 + 3 + 1) * WORD;
/// Where the property's value starts.
const VALUE_AT: usize = (2 + 3) * WORD;
/// Where the message's code is.
const CODE_AT: usize = WORD;
/// Where the property's code is.
const PROPERTY_CODE_AT: usize = 4 * WORD;
const WORD: usize = 4;
const CODE_SUCCESS: u32 = 0x8000_0000;
/// Bit of the property's code that says that this is an answer; the others are its length.
const PROPERTY_CODE_ANSWER: u32 = 1 << 31;

/// Why a property could not be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Error {
    /// The firmware does not answer.
    #[error("the firmware does not answer: {0}")]
    Timeout(#[from] Timeout),
    /// The firmware could not parse the message.
    #[error("the firmware rejects property {tag:#x} with code {code:#010x}")]
    Rejected {
        /// The property.
        tag: u32,
        /// The message's code in the answer.
        code: u32,
    },
    /// The firmware does not know the property, or has no value for it.
    #[error("the firmware has no value for property {tag:#x} (it answered with {len} bytes)")]
    NoValue {
        /// The property.
        tag: u32,
        /// Length of the answer in bytes.
        len: u32,
    },
    /// The value is longer than the buffer.
    #[error("the firmware's value of property {tag:#x} has {len} bytes: too long")]
    TooLong {
        /// The property.
        tag: u32,
        /// Length of the value in bytes.
        len: u32,
    },
    /// The buffer is not where the firmware could reach it, or too short.
    #[error("the mailbox's buffer of {len} bytes at {addr:?} is not usable")]
    Buffer {
        /// Where it is.
        addr: BusAddr,
        /// Its length in bytes.
        len: usize,
    },
}

/// Who has the buffer.
enum Buffer {
    /// Nobody waits for an answer.
    Ours(DmaBuffer),
    /// The firmware was asked, and has not answered yet.
    Firmwares(DeviceBuffer),
    /// Only within a function of this file.
    Moving,
}

/// The mailbox, used for the property channel alone.
pub struct Mailbox<'a> {
    registers: UniqueMmioPointer<'a, Registers>,
    buffer: Buffer,
}

impl<'a> Mailbox<'a> {
    /// Takes the mailbox over. `buffer` must have [`BUFFER_LEN`] bytes.
    #[must_use]
    pub const fn new(registers: UniqueMmioPointer<'a, Registers>, buffer: DmaBuffer) -> Self {
        Self { registers, buffer: Buffer::Ours(buffer) }
    }

    /// Asks the firmware for a property, or to do what it says, and polls for the answer.
    ///
    /// # Errors
    ///
    /// When the firmware does not answer in time, or not with a value.
    pub fn get<P: Property>(&mut self, property: &P) -> Result<P::Output, Error> {
        until(TIMEOUT, || self.is_settled())?;
        until(TIMEOUT, || self.has_space())?;
        self.send(property)?;
        until(TIMEOUT, || self.is_settled())?;
        self.receive(property)
    }

    /// The same as [`get`](Self::get), sleeping between looks.
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn get_async<P: Property>(&mut self, property: &P) -> Result<P::Output, Error> {
        self.until_async(Self::is_settled).await?;
        self.until_async(|mailbox| mailbox.has_space()).await?;
        self.send(property)?;
        self.until_async(Self::is_settled).await?;
        self.receive(property)
    }

    async fn until_async(&mut self, mut done: impl FnMut(&mut Self) -> bool) -> Result<(), Error> {
        let deadline = Instant::now() + TIMEOUT;
        while !done(self) {
            if Instant::now() >= deadline {
                return Err(Timeout(TIMEOUT).into());
            }
            Timer::after(POLL_INTERVAL).await;
        }
        Ok(())
    }

    /// Takes the answer that is due, if it is there, and returns whether the buffer is ours.
    ///
    /// That may also be the answer to an earlier request that was given up, or whose future was dropped.
    fn is_settled(&mut self) -> bool {
        while let Buffer::Firmwares(buffer) = &self.buffer {
            if field_shared!(self.registers, read_status).read().contains(Status::EMPTY) {
                return false;
            }
            let message = field!(self.registers, read).read();
            if message != Self::message(buffer.bus_addr()) {
                // Not ours: what the boot loader asked for before us.
                continue;
            }
            if let Buffer::Firmwares(buffer) = core::mem::replace(&mut self.buffer, Buffer::Moving) {
                self.buffer = Buffer::Ours(buffer.unshare());
            }
        }
        true
    }

    fn has_space(&self) -> bool {
        !field_shared!(self.registers, write_status).read().contains(Status::FULL)
    }

    /// Writes the message and hands it over. The buffer must be ours.
    fn send(&mut self, property: &impl Property) -> Result<(), Error> {
        let Buffer::Ours(mut buffer) = core::mem::replace(&mut self.buffer, Buffer::Moving) else {
            return Err(Timeout(TIMEOUT).into());
        };
        let len = buffer.len();
        let is_written = write_message(buffer.bytes_mut(), property).is_some();
        let buffer = buffer.share(Direction::Both);
        let addr = buffer.bus_addr();
        let is_reachable = u32::try_from(addr.0).is_ok_and(|addr| addr & CHANNEL_MASK == 0);
        if !is_written || !is_reachable {
            self.buffer = Buffer::Ours(buffer.unshare());
            return Err(Error::Buffer { addr, len });
        }
        self.buffer = Buffer::Firmwares(buffer);
        field!(self.registers, write).write(Self::message(addr));
        Ok(())
    }

    fn receive<P: Property>(&self, property: &P) -> Result<P::Output, Error> {
        match &self.buffer {
            Buffer::Ours(buffer) => read_answer(buffer.bytes(), property),
            _ => Err(Timeout(TIMEOUT).into()),
        }
    }

    /// The message for a buffer: its address, with the channel in the low bits. `send` checks that it fits.
    const fn message(addr: BusAddr) -> u32 {
        addr.0 as u32 | CHANNEL_PROPERTY
    }
}

/// Writes a message with one property, or returns nothing if it does not fit.
fn write_message<P: Property>(buffer: &mut [u8], property: &P) -> Option<()> {
    let value_len = P::VALUE_LEN.next_multiple_of(WORD);
    let message = buffer.get_mut(..FRAME_LEN + value_len)?;
    let message_len = u32::try_from(message.len()).ok()?;
    message.fill(0);
    let request = property.request();
    let header = [message_len, 0, P::TAG, u32::try_from(value_len).ok()?, 0];
    // The value is at least as long as the request; the rest, and the end tag, stay 0.
    for (place, word) in message.chunks_exact_mut(WORD).zip(header.iter().chain(&request)) {
        place.copy_from_slice(&word.to_le_bytes());
    }
    Some(())
}

fn read_answer<P: Property>(buffer: &[u8], property: &P) -> Result<P::Output, Error> {
    let tag = P::TAG;
    let code = read_word(buffer, CODE_AT);
    if code != CODE_SUCCESS {
        return Err(Error::Rejected { tag, code });
    }
    let property_code = read_word(buffer, PROPERTY_CODE_AT);
    let len = property_code & !PROPERTY_CODE_ANSWER;
    if property_code & PROPERTY_CODE_ANSWER == 0 {
        return Err(Error::NoValue { tag, len: 0 });
    }
    let len_bytes = usize::try_from(len).unwrap_or(usize::MAX);
    // Rounded up, as some firmware rounds the length of its answers.
    if len_bytes > P::VALUE_LEN.next_multiple_of(WORD) {
        return Err(Error::TooLong { tag, len });
    }
    let value = buffer.get(VALUE_AT..).and_then(|rest| rest.get(..len_bytes)).unwrap_or_default();
    property.parse(value).ok_or(Error::NoValue { tag, len })
}

/// Returns the word at an offset; 0, which is no valid code, where the buffer has none.
fn read_word(buffer: &[u8], at: usize) -> u32 {
    buffer.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |word| u32::from_le_bytes(*word))
}

#[cfg(test)]
pub(crate) mod tests;
