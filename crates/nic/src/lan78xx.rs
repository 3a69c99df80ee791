//! The Ethernet function of Microchip's LAN7515, which the Raspberry Pi 3B+ has behind the hub in the same chip, and of the
//! LAN7800 and the LAN7850, which are the same without a hub.
//!
//! Facts: LAN7800 data sheet (Microchip DS00001992); compared with Linux drivers/net/usb/lan78xx.c and
//! drivers/net/phy/microchip.c, and NetBSD sys/dev/usb/if_mue.c. What the LEDs show is from the board's device tree
//! (bcm283x-rpi-lan7515.dtsi, `microchip,led-modes`).
//!
//! Decided here:
//!
//! - Frames to every multicast group are taken, and the stack sorts them out, as with the LAN9514.
//! - Checksum offload is off: the stack looks at every checksum anyway.
//! - Energy-efficient Ethernet is off: its wake-up times only cost latency here, and links that fail with it are known.
//! - A burst waits 34 µs for more frames, the chip's default (Linux: DEFAULT_BULK_IN_DELAY), in which three full frames
//!   arrive at 1,000 Mbit/s.
//! - What Linux writes into the PHY's signal processor for long cables (`lan88xx_config_TR_regs`) is left as it is, as in
//!   U-Boot, NetBSD and FreeBSD.
//!
//! Tested over a model of the chip written independently from the data sheet. Never on a board yet.

mod chip;
mod framing;
mod registers;

use core::convert::Infallible;

use usb::descriptor::{Configuration, DeviceDescriptor};
use usb::device::Device;

use self::chip::Lan78xx;
use crate::exchange::FrameExchange;
use crate::usbnet::{BoardInfo, UsbNicError, run_chip};

/// Name of the driver.
pub const NAME: &str = "lan78xx";

/// Vendor SMSC.
const VENDOR: u16 = 0x0424;
/// Products with a PHY inside: LAN7800 and LAN7515, LAN7850 (Linux lan78xx.c, `products`).
const PRODUCTS: [u16; 2] = [0x7800, 0x7850];

/// For the fuzz target.
#[cfg(any(test, fuzzing))]
pub(crate) const WALK: crate::burst::Walk = framing::walk;

/// Says whether this driver can drive the device.
pub(crate) fn rate(device: &DeviceDescriptor, _configuration: &Configuration) -> bool {
    device.vendor == VENDOR && PRODUCTS.contains(&device.product)
}

/// Drives a device until it is gone or fails.
pub(crate) async fn run(
    device: &Device<'_>,
    exchange: &FrameExchange,
    board: &BoardInfo,
) -> Result<Infallible, UsbNicError> {
    run_chip(Lan78xx::new(device), device, exchange, board).await
}
