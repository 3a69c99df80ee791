//! What differs between boards with the same SoC.
//!
//! Sources of the LEDs: each board's device tree, in Linux (arch/arm64/boot/dts/broadcom/bcm2837-rpi-*.dts and bcm2711-rpi-*.dts)
//! and in Raspberry Pi's own Linux (bcm2710-rpi-*.dts and bcm2711-rpi-*.dts): node `led-act`, or `led-pwr` where there is none.
//! They agree, but for the Pi 3B: there Raspberry Pi's own goes the VideoCore's way (`virtgpio`) to the same LED, of which the
//! expander's line is called STATUS_LED.

/// A board that the image is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Board {
    /// Its name.
    pub name: &'static str,
    /// The Ethernet controller on it. Others may come by USB; a module's carrier board often has one on USB too.
    pub ethernet: Option<Ethernet>,
    /// The LED that can be used to find the board among others.
    pub led: Option<Led>,
}

/// An Ethernet controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ethernet {
    /// LAN9514: hub and 100 Mbit/s Ethernet, on USB.
    Lan9514,
    /// LAN7515: hub and gigabit Ethernet (a LAN7800), on USB.
    Lan7515,
    /// GENET in the SoC.
    Genet,
}

/// An LED, and what lights it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Led {
    /// What it is connected to.
    pub line: LedLine,
    /// Whether it lights when the line is low.
    pub is_active_low: bool,
}

/// What an LED is connected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LedLine {
    /// A GPIO pin of the SoC.
    Gpio(u8),
    /// A line of the GPIO expander, which the firmware drives: its number in the firmware's count, where the first is 128
    /// (Linux drivers/gpio/gpio-raspberrypi-exp.c, RPI_EXP_GPIO_BASE).
    Firmware(u32),
}

/// The expander's line STATUS_LED of the Pi 3B.
const EXPANDER_STATUS_LED: LedLine = LedLine::Firmware(128 + 2);

const fn gpio(pin: u8) -> Option<Led> {
    Some(Led { line: LedLine::Gpio(pin), is_active_low: false })
}

pub(crate) static PI_3B: Board = Board {
    name: "Raspberry Pi 3 Model B",
    ethernet: Some(Ethernet::Lan9514),
    led: Some(Led { line: EXPANDER_STATUS_LED, is_active_low: false }),
};

pub(crate) static PI_3B_PLUS: Board =
    Board { name: "Raspberry Pi 3 Model B+", ethernet: Some(Ethernet::Lan7515), led: gpio(29) };

pub(crate) static PI_3A_PLUS: Board = Board { name: "Raspberry Pi 3 Model A+", ethernet: None, led: gpio(29) };

/// Its LED is on the carrier board and only the VideoCore can reach it.
pub(crate) static CM3: Board = Board { name: "Raspberry Pi Compute Module 3", ethernet: None, led: None };

/// See [`CM3`].
pub(crate) static CM3_PLUS: Board = Board { name: "Raspberry Pi Compute Module 3+", ethernet: None, led: None };

pub(crate) static ZERO_2_W: Board = Board {
    name: "Raspberry Pi Zero 2 W",
    ethernet: None,
    led: Some(Led { line: LedLine::Gpio(29), is_active_low: true }),
};

pub(crate) static PI_4B: Board =
    Board { name: "Raspberry Pi 4 Model B", ethernet: Some(Ethernet::Genet), led: gpio(42) };

/// Has only a power LED.
pub(crate) static PI_400: Board = Board { name: "Raspberry Pi 400", ethernet: Some(Ethernet::Genet), led: gpio(42) };

pub(crate) static CM4: Board =
    Board { name: "Raspberry Pi Compute Module 4", ethernet: Some(Ethernet::Genet), led: gpio(42) };

/// Has the connector of a CM3: neither GENET nor the LED are on it.
pub(crate) static CM4S: Board = Board { name: "Raspberry Pi Compute Module 4S", ethernet: None, led: None };
