//! BCM2711 (Pi 4B, 400, CM4): addresses and interrupts, in the low peripheral mode that the firmware selects by default.
//!
//! Source: BCM2711 Peripherals, section 1.2 (address map) and 6.3 (GIC interrupts: VideoCore interrupt n is SPI 96 + n);
//! Linux bcm2711.dtsi and bcm283x.dtsi for the blocks' offsets (GENET: `scb`, the others: `soc`).

/// Where the ARM cores see the peripherals.
pub const PERIPHERALS: u64 = 0xfe00_0000;
/// Bytes that the peripherals take.
pub const PERIPHERALS_LEN: u64 = 0x0180_0000;
/// Where the bus masters see them.
pub const PERIPHERALS_BUS: u64 = 0x7e00_0000;
/// Added to a RAM address for the bus masters that see only the low GiB (Linux bcm2711.dtsi, `soc`: `dma-ranges =
/// <0xc0000000 0x0 0x00000000 0x40000000>`).
pub const DMA_OFFSET: u64 = 0xc000_0000;
/// RAM that those bus masters reach: the first GiB.
pub const DMA_LIMIT: u64 = 0x4000_0000;

/// System timer, 1 MHz.
pub const SYSTEM_TIMER: u64 = PERIPHERALS + 0x3000;
/// Mailbox.
pub const MAILBOX: u64 = PERIPHERALS + 0xb880;
/// Watchdog and reset.
pub const PM: u64 = PERIPHERALS + 0x10_0000;
/// Random number generator: another block than BCM2837's (RNG200).
pub const RNG200: u64 = PERIPHERALS + 0x10_4000;
/// GPIO.
pub const GPIO: u64 = PERIPHERALS + 0x20_0000;
/// First PL011.
pub const UART0: u64 = PERIPHERALS + 0x20_1000;
/// AUX block with the mini UART.
pub const AUX: u64 = PERIPHERALS + 0x21_5000;
/// DWC2 USB controller (the USB-C connector).
pub const USB: u64 = PERIPHERALS + 0x98_0000;
/// GENET Ethernet controller.
pub const GENET: u64 = 0xfd58_0000;
/// Per-core block.
pub const LOCAL: u64 = 0xff80_0000;
/// Bytes that it takes, with the GIC behind it.
pub const LOCAL_LEN: u64 = 0x5_0000;
/// GIC-400 distributor.
pub const GICD: u64 = 0xff84_1000;
/// GIC-400 CPU interface.
pub const GICC: u64 = 0xff84_2000;

/// What the generic timers of each core are connected to at the GIC (Linux bcm2711.dtsi, `timer`: private interrupts 14 and
/// 11, which are INTID 16 more; Arm BSA, table of private interrupts).
pub mod ppi {
    /// Non-secure physical timer (CNTP).
    pub const PHYSICAL_TIMER: u16 = 30;
    /// Virtual timer (CNTV).
    pub const VIRTUAL_TIMER: u16 = 27;
}

/// Shared peripheral interrupts of the GIC (INTID is 32 more). All are levels (Linux bcm2711.dtsi: `IRQ_TYPE_LEVEL_HIGH`).
pub mod spi {
    /// Mailbox (Linux bcm2711.dtsi).
    pub const MAILBOX: u16 = 33;
    /// DWC2 USB controller.
    pub const USB: u16 = 73;
    /// AUX: mini UART, SPI1, SPI2.
    pub const AUX: u16 = 93;
    /// The PL011s, or-ed.
    pub const UART: u16 = 121;
    /// GENET, first line.
    pub const GENET_A: u16 = 157;
    /// GENET, second line.
    pub const GENET_B: u16 = 158;
}
