//! Remote NDIS over USB (RNDIS 1.0; public as [MS-RNDIS]): messages with a length in front, and a control channel for
//! questions to the device.
//!
//! Tested with a fake device over a fake controller, and with QEMU's usb-net. Never with a real adapter.

mod control;
mod message;

use core::convert::Infallible;
use core::ops::Range;

use usb::descriptor::{Configuration, DeviceDescriptor, Interface, class};
use usb::device::Device;
use usb::host::{Direction, Kind};

use self::control::{ControlChannel, oid};
use crate::burst::Walk;
use crate::exchange::{FrameExchange, NicInfo};
use crate::usbnet::{BoardInfo, Ending, Framing, Pipes, UsbNicError, move_frames};
use crate::{Link, MacAddress};

/// Name of the driver.
pub const NAME: &str = "rndis";

/// Frames that the device shall forward (NDIS packet filter): directed, multicast, all multicast, broadcast.
const PACKET_FILTER: u32 = 0x0F;

/// For the fuzz target.
#[cfg(any(test, fuzzing))]
pub(crate) const WALK: Walk = message::walk;

/// Says whether this driver can drive the configuration.
pub(crate) fn rate(_device: &DeviceDescriptor, configuration: &Configuration) -> bool {
    control_interface(configuration).is_some()
}

/// Drives a device until it is gone or fails.
pub(crate) async fn run(
    device: &Device<'_>,
    exchange: &FrameExchange,
    _board: &BoardInfo,
) -> Result<Infallible, UsbNicError> {
    let configuration = device.configuration();
    let interface = control_interface(configuration).ok_or(UsbNicError::Missing { what: "an RNDIS interface" })?;
    let data = configuration
        .interfaces
        .iter()
        .find(|i| i.number != interface.number && i.endpoint(Kind::Bulk, Direction::In).is_some())
        .ok_or(UsbNicError::Missing { what: "a data interface" })?;
    let pipes = Pipes::open(device, data)?;
    let mut control = ControlChannel::new(device, interface.number);
    control.initialize().await?;
    let mac = read_mac(&mut control).await?;
    // In units of 100 bit/s; not every device answers.
    let speed_mbps = control.query_u32(oid::LINK_SPEED).await.map_or(0, |hundreds| hundreds / 10_000);
    let up = Link::Up { speed_mbps, is_full_duplex: true };
    control.set_u32(oid::PACKET_FILTER, PACKET_FILTER).await?;
    exchange.attach(NicInfo { driver: NAME, mac, tx_headroom: message::PACKET_HEADER_LEN });
    // 0 is "connected". Who does not answer is.
    if control.query_u32(oid::MEDIA_CONNECT_STATUS).await.unwrap_or(0) == 0 {
        exchange.set_link(up);
    }
    log::info!("nic: {NAME} {mac}");
    let watch = control.watch(device.report_pipe(interface), |is_connected| {
        exchange.set_link(if is_connected { up } else { Link::Down });
    });
    move_frames(&RndisFraming, device, &pipes, exchange, watch).await
}

/// The three triples that RNDIS devices use: CDC ACM with vendor protocol, wireless controller, miscellaneous
/// (Linux drivers/net/usb/rndis_host.c, `products`).
fn control_interface(configuration: &Configuration) -> Option<&Interface> {
    configuration.interfaces.iter().find(|i| {
        matches!(
            (i.class, i.subclass, i.protocol),
            (class::COMMUNICATIONS, 2, 0xFF) | (class::WIRELESS, 1, 3) | (class::MISCELLANEOUS, 4, 1)
        )
    })
}

async fn read_mac(control: &mut ControlChannel<'_, '_>) -> Result<MacAddress, UsbNicError> {
    for oid in [oid::CURRENT_ADDRESS, oid::PERMANENT_ADDRESS] {
        let mut bytes = [0; 6];
        match control.query(oid, &mut bytes).await {
            Ok(6) if MacAddress(bytes).is_station() => return Ok(MacAddress(bytes)),
            Ok(_) | Err(UsbNicError::Refused { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Err(UsbNicError::NoAddress)
}

struct RndisFraming;

impl Framing for RndisFraming {
    const ENDING: Ending = Ending::Nothing;
    const WALK: Walk = message::walk;

    fn receive_len(&self) -> usize {
        message::TRANSFER_LEN
    }

    fn wrap(&self, buffer: &mut [u8], frame: Range<usize>, max_packet: usize) -> usize {
        // A message must not end with a full packet, or the device waits for more ([MS-RNDIS] 3.1.1.1). Padding counts
        // as part of the message: QEMU would take a lone byte behind it for the start of the next one.
        let len = if frame.end.is_multiple_of(max_packet) { frame.end + 4 } else { frame.end };
        message::write_packet_header(buffer, frame, len);
        len
    }
}

/// For the fuzz target: reads `data` as an answer, in which everything is inside it.
#[cfg(any(test, fuzzing))]
pub(crate) fn read_anything(data: &[u8]) {
    if let Some(message::Answer::Completion { information, .. }) = message::parse_answer(data) {
        assert!(information.len() <= data.len());
    }
}
