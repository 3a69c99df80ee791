//! USB CDC Ethernet Control Model (CDC ECM 1.2): one frame per transfer, without a header.
//!
//! Tested with a fake device over a fake controller, and with QEMU's usb-net. Never with a real adapter.

use core::convert::Infallible;
use core::ops::Range;

use usb::descriptor::{Configuration, DeviceDescriptor};
use usb::device::Device;

use crate::Link;
use crate::burst::{END, Piece, Walk};
use crate::cdc::{self, Function};
use crate::events::NicEvent;
use crate::exchange::{FRAME_LEN_MAX, FrameExchange, NicInfo};
use crate::usbnet::{BoardInfo, Ending, Framing, Pipes, UsbNicError, move_frames};

/// Name of the driver.
pub const NAME: &str = "cdc-ecm";

/// Subclass "Ethernet Networking Control Model" (CDC 1.2, table 4).
const SUBCLASS: u8 = 6;
/// Shortest Ethernet frame that makes sense: the header.
const FRAME_LEN_MIN: usize = 14;
/// Longest: a VLAN tag more than usual.
const TAGGED_LEN_MAX: usize = FRAME_LEN_MAX + 4;

/// Says whether this driver can drive the configuration.
pub(crate) fn rate(_device: &DeviceDescriptor, configuration: &Configuration) -> bool {
    cdc::control_interface(configuration, SUBCLASS).is_some()
}

/// Drives a device until it is gone or fails.
pub(crate) async fn run(
    device: &Device<'_>,
    exchange: &FrameExchange,
    _board: &BoardInfo,
) -> Result<Infallible, UsbNicError> {
    let function = Function::find(device.configuration(), SUBCLASS)?;
    let pipes = Pipes::open(device, function.data)?;
    let mac = function.read_mac(device).await?;
    function.select_data(device).await?;
    function.set_packet_filter(device).await?;
    exchange.attach(NicInfo { driver: NAME, mac, tx_headroom: 0 });
    // A device that never notifies, as QEMU's, is connected.
    exchange.set_link(Link::Up { speed_mbps: 0, is_full_duplex: true });
    log::info!("nic: {NAME} {mac}");
    move_frames(&EcmFraming, device, &pipes, exchange, function.watch_link(device, exchange)).await
}

struct EcmFraming;

impl Framing for EcmFraming {
    const ENDING: Ending = Ending::EmptyPacket;
    const WALK: Walk = walk;

    fn receive_len(&self) -> usize {
        // A frame, in whole packets of any size.
        2048
    }

    fn wrap(&self, _buffer: &mut [u8], frame: Range<usize>, _max_packet: usize) -> usize {
        frame.end
    }
}

pub(crate) fn walk(bytes: &[u8], _place: usize) -> Piece {
    match bytes.len() {
        // The empty packet behind a frame whose last packet was full.
        0 => Piece::End,
        FRAME_LEN_MIN..=TAGGED_LEN_MAX => Piece::Frame { frame: 0..bytes.len(), next: END },
        _ => Piece::Damaged { why: NicEvent::RxLength, next: END },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::burst::frames_of;

    #[test]
    fn a_transfer_is_a_frame_unless_it_is_empty_or_has_no_such_length() {
        for (len, found, damaged) in [(0, 0, 0), (13, 0, 1), (14, 1, 0), (1514, 1, 0), (1518, 1, 0), (1519, 0, 1)] {
            let (frames, errors) = frames_of(&vec![0; len], walk);
            assert_eq!((frames.len(), errors), (found, damaged), "{len}");
        }
    }
}
