//! BCM2837, BCM2837B0 and BCM2710A1 (Pi 3B, 3B+, 3A+, CM3, CM3+, Zero 2 W): addresses and interrupts.
//!
//! Source of the map: ARM Peripherals, section 1.2.3, with the ARM physical base 0x3F000000 that BCM2836 and BCM2837
//! have instead of BCM2835's 0x20000000 (Linux bcm2837.dtsi, `ranges`). Offsets: Linux bcm283x.dtsi and
//! bcm2835-common.dtsi, each node's `reg`.

/// Where the ARM cores see the peripherals.
pub const PERIPHERALS: u64 = 0x3f00_0000;
/// Bytes that the peripherals take.
pub const PERIPHERALS_LEN: u64 = 0x0100_0000;
/// Where the bus masters see them (ARM Peripherals, section 1.2.3).
pub const PERIPHERALS_BUS: u64 = 0x7e00_0000;
/// Added to a RAM address for bus masters: the alias that bypasses the VideoCore's L2 cache (ARM Peripherals, section
/// 1.2.3: 0xC0000000 "direct uncached"; Linux bcm2837.dtsi: `dma-ranges = <0xc0000000 0x00000000 0x3f000000>`).
pub const DMA_OFFSET: u64 = 0xc000_0000;

/// System timer, 1 MHz.
pub const SYSTEM_TIMER: u64 = PERIPHERALS + 0x3000;
/// ARMCTRL interrupt controller.
pub const ARMCTRL: u64 = PERIPHERALS + 0xb200;
/// Mailbox.
pub const MAILBOX: u64 = PERIPHERALS + 0xb880;
/// Watchdog and reset.
pub const PM: u64 = PERIPHERALS + 0x10_0000;
/// Random number generator.
pub const RNG: u64 = PERIPHERALS + 0x10_4000;
/// GPIO.
pub const GPIO: u64 = PERIPHERALS + 0x20_0000;
/// PL011.
pub const UART0: u64 = PERIPHERALS + 0x20_1000;
/// AUX block with the mini UART.
pub const AUX: u64 = PERIPHERALS + 0x21_5000;
/// DWC2 USB controller.
pub const USB: u64 = PERIPHERALS + 0x98_0000;
/// Per-core interrupt controller (QA7, chapter 4).
pub const LOCAL: u64 = 0x4000_0000;
/// Bytes that it takes.
pub const LOCAL_LEN: u64 = 0x4_0000;

/// Interrupts of ARMCTRL (ARM Peripherals, section 7.5, table of peripheral interrupts; Linux bcm283x.dtsi). 0–63 are
/// those of the peripherals, 64–71 the basic ones.
pub mod irq {
    /// DWC2 USB controller (bank 1, bit 9).
    pub const USB: u16 = 9;
    /// AUX: mini UART, SPI1, SPI2 (bank 1, bit 29).
    pub const AUX: u16 = 29;
    /// PL011 (bank 2, bit 25).
    pub const UART0: u16 = 57;
    /// Mailbox (basic, bit 1).
    pub const MAILBOX: u16 = 65;
}
