//! The SoCs, and where each has its blocks.

use core::fmt;
use core::ops::Range;

use rpi_pac::{bcm2711, bcm2837, gic400};

/// A SoC that the image runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Soc {
    /// BCM2837, BCM2837B0 or BCM2710A1: four Cortex-A53.
    Bcm2837,
    /// BCM2711: four Cortex-A72.
    Bcm2711,
}

/// What differs from SoC to SoC. Addresses are as the ARM cores see them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The SoC's name.
    pub name: &'static str,
    /// Its cores' name.
    pub core_name: &'static str,
    /// How many cores it has.
    pub cores: usize,
    /// Where the firmware's spin table has the entry address of cores 1, 2 and 3: a core that finds something other than
    /// 0 there after an event jumps to it (raspberrypi/tools, armstubs/armstub8.S: spin_cpu1 to spin_cpu3).
    pub spin_table: [u64; 3],
    /// All device memory, in ascending order. What is not in here is RAM or nothing.
    pub device_memory: &'static [Range<u64>],
    /// An address in what boot maps as device memory at which nothing answers.
    pub nothing: u64,
    /// Added to a RAM address to give the bus address for DMA.
    pub dma_offset: u64,
    /// RAM that all bus masters reach ends here.
    pub dma_limit: u64,
    /// The PL011 of the console.
    pub uart0: u64,
    /// The AUX block with the mini UART.
    pub aux: u64,
    /// GPIO.
    pub gpio: u64,
    /// Mailbox.
    pub mailbox: u64,
    /// Watchdog and reset.
    pub pm: u64,
    /// Random number generator.
    pub rng: RandomNumbers,
    /// DWC2 USB controller.
    pub usb: u64,
    /// GENET Ethernet controller, where there is one.
    pub genet: Option<u64>,
    /// The interrupt controller.
    pub interrupt_controller: InterruptController,
    /// Interrupt numbers.
    pub irqs: Irqs,
}

/// Which interrupt controller, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InterruptController {
    /// ARMCTRL for the peripherals, behind the per-core controller of BCM2836.
    Bcm2836 {
        /// The per-core controller.
        local: u64,
        /// ARMCTRL.
        armctrl: u64,
    },
    /// GIC-400.
    Gic400 {
        /// Distributor.
        distributor: u64,
        /// CPU interface.
        cpu_interface: u64,
    },
}

/// Which random number generator, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RandomNumbers {
    /// That of BCM2835.
    Bcm2835(u64),
    /// RNG200. QEMU has none: there the address is an external abort.
    Rng200(u64),
}

/// A peripheral's interrupt, by the number that the SoC's controller has for it: on BCM2837 ARMCTRL's (0–63 as in the
/// datasheet's table, 64–71 the basic ones), on BCM2711 the GIC's INTID (from 32 on).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Irq(u16);

impl Irq {
    /// Returns the interrupt with this number. A controller ignores what it does not have.
    #[must_use]
    pub const fn new(number: u16) -> Self {
        Self(number)
    }

    /// Returns the number.
    #[must_use]
    pub const fn number(self) -> u16 {
        self.0
    }

    /// Returns the GIC's shared peripheral interrupt of this number.
    const fn spi(number: u16) -> Self {
        Self(gic400::FIRST_SPI + number)
    }
}

/// Interrupts of the peripherals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Irqs {
    /// PL011.
    pub uart0: Irq,
    /// Mini UART.
    pub aux: Irq,
    /// Mailbox.
    pub mailbox: Irq,
    /// DWC2 USB controller.
    pub usb: Irq,
    /// Both lines of GENET, where there is one.
    pub genet: Option<[Irq; 2]>,
}

/// GPIO pins of the console on the header: transmit and receive. PL011 is their alternate function 0, the mini UART 5
/// (ARM Peripherals, section 6.2; BCM2711 Peripherals, section 5.3).
pub const CONSOLE_PINS: [u8; 2] = [14, 15];
/// GPIO pins over which boards with Bluetooth connect its chip to the PL011, as alternate function 3.
pub const BLUETOOTH_PINS: [u8; 2] = [32, 33];

/// `MIDR_EL1` bits that name the designer and the part (Arm ARM, MIDR_EL1: implementer 31:24, part number 15:4).
const MIDR_PART_MASK: u64 = 0xff00_fff0;
/// Arm, Cortex-A53 (Cortex-A53 TRM, section 4.3.1).
const MIDR_CORTEX_A53: u64 = 0x4100_d030;
/// Arm, Cortex-A72 (Cortex-A72 TRM, section 4.3.1).
const MIDR_CORTEX_A72: u64 = 0x4100_d080;
/// See [`Facts::spin_table`].
const SPIN_TABLE: [u64; 3] = [0xe0, 0xe8, 0xf0];

impl Soc {
    /// Returns the SoC whose cores identify themselves by this value of MIDR_EL1, if it is a known one.
    #[must_use]
    pub const fn from_midr(midr: u64) -> Option<Self> {
        match midr & MIDR_PART_MASK {
            MIDR_CORTEX_A53 => Some(Self::Bcm2837),
            MIDR_CORTEX_A72 => Some(Self::Bcm2711),
            _ => None,
        }
    }

    /// Returns what is known about the SoC.
    #[must_use]
    pub const fn facts(self) -> &'static Facts {
        match self {
            Self::Bcm2837 => &BCM2837,
            Self::Bcm2711 => &BCM2711,
        }
    }
}

impl fmt::Display for Soc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.facts().name)
    }
}

static BCM2837: Facts = Facts {
    name: "BCM2837",
    core_name: "Cortex-A53",
    cores: 4,
    spin_table: SPIN_TABLE,
    device_memory: &[
        bcm2837::PERIPHERALS..bcm2837::PERIPHERALS + bcm2837::PERIPHERALS_LEN,
        bcm2837::LOCAL..bcm2837::LOCAL + bcm2837::LOCAL_LEN,
    ],
    // Behind the local block (QA7, chapter 4: to 0x4003_ffff).
    nothing: 0x4100_0000,
    dma_offset: bcm2837::DMA_OFFSET,
    dma_limit: bcm2837::PERIPHERALS,
    uart0: bcm2837::UART0,
    aux: bcm2837::AUX,
    gpio: bcm2837::GPIO,
    mailbox: bcm2837::MAILBOX,
    pm: bcm2837::PM,
    rng: RandomNumbers::Bcm2835(bcm2837::RNG),
    usb: bcm2837::USB,
    genet: None,
    interrupt_controller: InterruptController::Bcm2836 { local: bcm2837::LOCAL, armctrl: bcm2837::ARMCTRL },
    irqs: Irqs {
        uart0: Irq::new(bcm2837::irq::UART0),
        aux: Irq::new(bcm2837::irq::AUX),
        mailbox: Irq::new(bcm2837::irq::MAILBOX),
        usb: Irq::new(bcm2837::irq::USB),
        genet: None,
    },
};

static BCM2711: Facts = Facts {
    name: "BCM2711",
    core_name: "Cortex-A72",
    cores: 4,
    spin_table: SPIN_TABLE,
    device_memory: &[
        // GENET and PCIe lie below the low peripherals (Linux bcm2711.dtsi, `scb`).
        0xfd50_0000..bcm2711::PERIPHERALS,
        bcm2711::PERIPHERALS..bcm2711::PERIPHERALS + bcm2711::PERIPHERALS_LEN,
        bcm2711::LOCAL..bcm2711::LOCAL + bcm2711::LOCAL_LEN,
    ],
    // Behind the GIC (BCM2711 Peripherals, section 6.5.1: to 0xff84_7fff).
    nothing: 0xff90_0000,
    dma_offset: bcm2711::DMA_OFFSET,
    dma_limit: bcm2711::DMA_LIMIT,
    uart0: bcm2711::UART0,
    aux: bcm2711::AUX,
    gpio: bcm2711::GPIO,
    mailbox: bcm2711::MAILBOX,
    pm: bcm2711::PM,
    rng: RandomNumbers::Rng200(bcm2711::RNG200),
    usb: bcm2711::USB,
    genet: Some(bcm2711::GENET),
    interrupt_controller: InterruptController::Gic400 { distributor: bcm2711::GICD, cpu_interface: bcm2711::GICC },
    irqs: Irqs {
        uart0: Irq::spi(bcm2711::spi::UART),
        aux: Irq::spi(bcm2711::spi::AUX),
        mailbox: Irq::spi(bcm2711::spi::MAILBOX),
        usb: Irq::spi(bcm2711::spi::USB),
        genet: Some([Irq::spi(bcm2711::spi::GENET_A), Irq::spi(bcm2711::spi::GENET_B)]),
    },
};

#[cfg(test)]
mod tests {
    use super::*;

    const SOCS: [Soc; 2] = [Soc::Bcm2837, Soc::Bcm2711];

    #[test]
    fn the_soc_follows_from_its_cores() {
        // Values that the cores report: A53 r0p4 (Pi 3), A72 r0p3 (Pi 4), A76 r4p1 (Pi 5).
        assert_eq!(Soc::from_midr(0x410f_d034), Some(Soc::Bcm2837));
        assert_eq!(Soc::from_midr(0x410f_d083), Some(Soc::Bcm2711));
        assert_eq!(Soc::from_midr(0x414f_d0b1), None);
        assert_eq!(Soc::from_midr(0x510f_d034), None, "a core of another designer");
    }

    #[test]
    fn interrupts_have_the_numbers_of_the_soc_s_controller() {
        let old = Soc::Bcm2837.facts().irqs;
        assert_eq!([old.usb, old.aux, old.uart0, old.mailbox].map(Irq::number), [9, 29, 57, 65]);
        let new = Soc::Bcm2711.facts().irqs;
        // BCM2711 Peripherals, figure 4 in section 6.1: VideoCore interrupts 9, 29, 57 from INTID 128 on; the mailbox from 64 on.
        assert_eq!([new.usb, new.aux, new.uart0, new.mailbox].map(Irq::number), [105, 125, 153, 65]);
        assert_eq!(new.genet.map(|lines| lines.map(Irq::number)), Some([189, 190]));
    }

    #[test]
    fn every_block_is_in_device_memory() {
        for soc in SOCS {
            let facts = soc.facts();
            let controller = match facts.interrupt_controller {
                InterruptController::Bcm2836 { local, armctrl } => [local, armctrl],
                InterruptController::Gic400 { distributor, cpu_interface } => [distributor, cpu_interface],
            };
            let (RandomNumbers::Bcm2835(rng) | RandomNumbers::Rng200(rng)) = facts.rng;
            let blocks = [facts.uart0, facts.aux, facts.gpio, facts.mailbox, facts.pm, facts.usb, rng];
            for block in blocks.into_iter().chain(facts.genet).chain(controller) {
                assert!(facts.device_memory.iter().any(|range| range.contains(&block)), "{soc}: {block:#x}");
            }
        }
    }

    #[test]
    fn device_memory_is_in_order_and_above_what_dma_reaches() {
        for soc in SOCS {
            let facts = soc.facts();
            let mut end = facts.dma_limit;
            for range in facts.device_memory {
                assert!(end <= range.start && range.start < range.end, "{soc}: {range:#x?}");
                end = range.end;
            }
        }
    }
}
