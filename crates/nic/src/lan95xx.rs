//! The Ethernet function of SMSC's (now Microchip's) LAN9512 and LAN9514, which the Raspberry Pi 3B and its forerunners
//! have behind the hub in the same chip; and of the LAN9500 family, which is the same without a hub.
//!
//! Facts: LAN950x data sheet (Microchip DS00001875), LAN9514 data sheet (DS00002306); compared with Linux
//! drivers/net/usb/smsc95xx.c and FreeBSD sys/dev/usb/net/if_smsc.c.
//!
//! Decided here:
//!
//! - Frames to every multicast group are taken, and the stack sorts them out: a filter of 64 hash bits would have to
//!   follow the stack's groups by control requests, which cost more than the few multicast frames of a rack.
//! - Checksum offload is off both ways: the chip's is known to fail for short frames (Linux `smsc95xx_can_tx_checksum`), and
//!   the stack looks at every checksum anyway.
//! - A burst waits 136 µs for more frames (Linux and FreeBSD: BULK_IN_DLY 0x2000): one full frame at 100 Mbit/s takes 123 µs,
//!   so that what comes without a gap is received together, and a single frame is hardly delayed.
//!
//! Tested over a model of the chip written independently from the data sheet. Never on a board yet.

mod chip;
mod framing;
mod registers;

use core::convert::Infallible;

use usb::descriptor::{Configuration, DeviceDescriptor};
use usb::device::Device;

use self::chip::Lan95xx;
use crate::exchange::FrameExchange;
use crate::usbnet::{BoardInfo, UsbNicError, run_chip};

/// Name of the driver.
pub const NAME: &str = "lan95xx";

/// Vendor SMSC.
const VENDOR: u16 = 0x0424;
/// Products: LAN9512 and LAN9514, LAN9500, LAN9505, LAN9500A, LAN9505A (Linux smsc95xx.c, `products`).
const PRODUCTS: [u16; 5] = [0xEC00, 0x9500, 0x9505, 0x9E00, 0x9E01];

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
    run_chip(Lan95xx::new(device), device, exchange, board).await
}
