//! The mini UART in the AUX block: a reduced 16550 that runs from the core clock.
//!
//! Source: ARM Peripherals, sections 2.1 and 2.2, with its errata: the receive and transmit bits of `ier` are swapped in
//! the document (the block follows the 16550: Linux drives it with its 8250 core, 8250_bcm2835aux.c), and eight data
//! bits need *both* low bits of `lcr`. The same block is in BCM2711 (BCM2711 Peripherals, section 2.2).

use bitflags::bitflags;
use safe_mmio::fields::{ReadPure, ReadPureWrite, ReadWrite};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Bytes that each FIFO holds.
pub const FIFO_LEN: usize = 8;
/// The baud rate is the core clock divided by this and by `baud` + 1.
pub const OVERSAMPLING: u32 = 8;

/// The AUX block up to the end of the mini UART. The two SPI masters behind it are not used.
#[repr(C, align(4))]
pub struct Registers {
    /// 0x00: which of mini UART (bit 0), SPI1, SPI2 have an interrupt pending.
    pub irq: ReadPure<u32>,
    /// 0x04: bit 0 enables the mini UART: its registers do not answer before.
    pub enables: ReadPureWrite<Enables>,
    reserved_08: [u32; 14],
    /// 0x40: data.
    pub io: ReadWrite<u32>,
    /// 0x44: interrupt enables.
    pub ier: ReadPureWrite<InterruptEnable>,
    /// 0x48: on write, bits 1 and 2 empty the receive and transmit FIFOs.
    pub iir: ReadWrite<u32>,
    /// 0x4c: line control.
    pub lcr: ReadPureWrite<u32>,
    /// 0x50: modem control.
    pub mcr: ReadPureWrite<u32>,
    /// 0x54: line status. Reading clears the overrun bit.
    pub lsr: ReadWrite<LineStatus>,
    /// 0x58: modem status.
    pub msr: ReadPure<u32>,
    /// 0x5c: scratch.
    pub scratch: ReadPureWrite<u32>,
    /// 0x60: bits 0 and 1 enable the receiver and the transmitter.
    pub cntl: ReadPureWrite<u32>,
    /// 0x64: extra status.
    pub stat: ReadPure<Status>,
    /// 0x68: baud rate divisor.
    pub baud: ReadPureWrite<u32>,
}

const _: () = assert!(size_of::<Registers>() == 0x6c);

/// `iir` value that empties both FIFOs.
pub const IIR_CLEAR_FIFOS: u32 = 0b110;
/// `lcr` value for eight data bits.
pub const LCR_EIGHT_BITS: u32 = 0b11;
/// `cntl` value that enables the receiver and the transmitter.
pub const CNTL_RX_TX: u32 = 0b11;

/// Blocks of AUX that are on.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Enables(u32);

/// Interrupts of the mini UART that are on.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct InterruptEnable(u32);

/// Line status.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct LineStatus(u32);

/// Extra status.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Status(u32);

bitflags! {
    impl Enables: u32 {
        /// The mini UART.
        const MINI_UART = 1 << 0;
        /// SPI1.
        const SPI1 = 1 << 1;
        /// SPI2.
        const SPI2 = 1 << 2;
    }

    impl InterruptEnable: u32 {
        /// Receive FIFO holds at least a byte.
        const RX = 1 << 0;
        /// Transmit FIFO is empty.
        const TX = 1 << 1;
        /// Must be set for any interrupt to come (errata of the datasheet, page 12, on elinux.org; the bits of a 16550 for
        /// line and modem status, which Linux's 8250 driver sets the first of).
        const REQUIRED = 0b11 << 2;
    }

    impl LineStatus: u32 {
        /// The receive FIFO holds at least a byte.
        const DATA_READY = 1 << 0;
        /// A byte was lost since the last read.
        const OVERRUN = 1 << 1;
        /// The transmit FIFO can take at least a byte.
        const TX_SPACE = 1 << 5;
        /// The transmit FIFO is empty and the last bit is out.
        const TX_IDLE = 1 << 6;
    }

    impl Status: u32 {
        /// The receive FIFO holds at least a byte.
        const RX_READY = 1 << 0;
        /// The transmit FIFO can take at least a byte.
        const TX_SPACE = 1 << 1;
        /// The transmit FIFO is empty and the transmitter idle.
        const TX_DONE = 1 << 9;
    }
}
