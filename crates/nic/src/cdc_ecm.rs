//! USB CDC Ethernet Control Model (CDC ECM 1.2): one frame per transfer, without a header.
//!
//! Tested with a fake device over a fake controller, and with QEMU's usb-net. Never with a real adapter.

use core::convert::Infallible;
use core::ops::Range;

use usb::descriptor::{Configuration, Interface, class, kind, parse_string};
use usb::device::Device;
use usb::host::{Direction, Kind, TransferError};
use usb::setup::{CLASS_INTERFACE_OUT, Setup};

use crate::exchange::{FRAME_LEN_MAX, FrameExchange, NicInfo, Span, Spans};
use crate::usbnet::{Framing, Pipes, UsbNicError, move_frames};
use crate::{Link, MacAddress};

/// Name of the driver.
pub const NAME: &str = "cdc-ecm";

/// Subclass "Ethernet Networking Control Model" (CDC 1.2, table 4).
const SUBCLASS: u8 = 6;
/// Subtypes of functional descriptors (CDC 1.2, table 13).
const UNION: u8 = 6;
const ETHERNET: u8 = 15;
/// SET_ETHERNET_PACKET_FILTER (ECM 1.2, table 6) and its bits (table 8): directed, broadcast, all multicast. The stack
/// sorts the multicast out; its groups change.
const SET_PACKET_FILTER: u8 = 0x43;
const PACKET_FILTER: u16 = 1 << 1 | 1 << 2 | 1 << 3;
/// Notifications (ECM 1.2, 6.3; CDC 1.2, table 20).
const NETWORK_CONNECTION: u8 = 0x00;
const CONNECTION_SPEED_CHANGE: u8 = 0x2A;
/// Shortest Ethernet frame that makes sense: the header.
const FRAME_LEN_MIN: usize = 14;
/// Longest: a VLAN tag more than usual.
const TAGGED_LEN_MAX: usize = FRAME_LEN_MAX + 4;

/// Says whether this driver can drive the configuration.
pub(crate) fn rate(configuration: &Configuration) -> bool {
    control_interface(configuration).is_some()
}

/// Drives a device until it is gone or fails.
pub(crate) async fn run(device: &Device<'_>, exchange: &FrameExchange) -> Result<Infallible, UsbNicError> {
    let configuration = device.configuration();
    let control = control_interface(configuration).ok_or(UsbNicError::Missing { what: "an ECM interface" })?;
    let data_number = data_interface_number(control).ok_or(UsbNicError::Missing { what: "a union descriptor" })?;
    let data = configuration
        .interfaces
        .iter()
        .find(|i| i.number == data_number && i.endpoint(Kind::Bulk, Direction::In).is_some())
        .ok_or(UsbNicError::Missing { what: "a data interface" })?;
    let pipes = Pipes::open(device, data)?;
    let mac = read_mac(device, control).await?;
    // Alternate setting 0 has no endpoints: the network is off in it (ECM 1.2, 3.3).
    device.control_out(Setup::set_interface(data.number, data.alternate), &[]).await?;
    let filter = Setup {
        request_type: CLASS_INTERFACE_OUT,
        request: SET_PACKET_FILTER,
        value: PACKET_FILTER,
        index: u16::from(control.number),
    };
    match device.control_out(filter, &[]).await {
        // Optional: who does not know it forwards everything.
        Ok(()) | Err(TransferError::Stall) => {}
        Err(error) => return Err(error.into()),
    }
    exchange.attach(NicInfo { driver: NAME, mac, tx_headroom: EcmFraming::HEADROOM });
    // A device that never notifies, as QEMU's, is connected.
    exchange.set_link(Link::Up { speed_mbps: 0, is_full_duplex: true });
    log::info!("nic: {NAME} {mac}");
    move_frames::<EcmFraming>(device, &pipes, exchange, watch_link(device, control, exchange)).await
}

fn control_interface(configuration: &Configuration) -> Option<&Interface> {
    configuration.interfaces.iter().find(|i| i.class == class::COMMUNICATIONS && i.subclass == SUBCLASS)
}

/// The first subordinate interface of the union descriptor.
fn data_interface_number(control: &Interface) -> Option<u8> {
    control.class_descriptors().find_map(|descriptor| match descriptor {
        &[_, _, UNION, _, data, ..] => Some(data),
        _ => None,
    })
}

async fn read_mac(device: &Device<'_>, control: &Interface) -> Result<MacAddress, UsbNicError> {
    let index = control.class_descriptors().find_map(|descriptor| match descriptor {
        &[_, _, ETHERNET, index, ..] => Some(index),
        _ => None,
    });
    let index = index.ok_or(UsbNicError::Missing { what: "an Ethernet descriptor" })?;
    let mut bytes = [0; 32];
    // Twelve hexadecimal digits are the same in every language; US English is what every device has.
    let len = device.control_in(Setup::get_descriptor(kind::STRING, index, 0x0409), &mut bytes).await?;
    let text = parse_string(bytes.get(..len).unwrap_or_default());
    parse_mac(&text).filter(|mac| mac.is_station()).ok_or(UsbNicError::NoAddress)
}

fn parse_mac(text: &str) -> Option<MacAddress> {
    if text.len() != 12 || !text.bytes().all(|c| c.is_ascii_hexdigit()) {
        return None;
    }
    let mut mac = [0; 6];
    for (byte, at) in mac.iter_mut().zip((0..).step_by(2)) {
        *byte = u8::from_str_radix(text.get(at..at + 2)?, 16).ok()?;
    }
    Some(MacAddress(mac))
}

/// Follows the notifications of the control interface.
async fn watch_link(
    device: &Device<'_>,
    control: &Interface,
    exchange: &FrameExchange,
) -> Result<Infallible, UsbNicError> {
    let bus = device.bus();
    let (Some(endpoint), Some(buffer)) = (control.endpoint(Kind::Interrupt, Direction::In), bus.take_small_buffer())
    else {
        device.gone().await;
        return Err(TransferError::Gone.into());
    };
    let pipe = device.pipe(endpoint);
    let mut buffer = Some(buffer);
    let mut speed_mbps = 0;
    let error = loop {
        let len = match pipe.interrupt(&mut buffer, None).await {
            Ok(len) => len,
            Err(TransferError::Stall) => match pipe.clear_halt(device).await {
                Ok(()) => continue,
                Err(error) => break error,
            },
            Err(error) => break error,
        };
        let bytes = buffer.as_ref().and_then(|buffer| buffer.bytes().get(..len)).unwrap_or_default();
        match parse_notification(bytes) {
            Some(Notification::Connection(true)) => {
                exchange.set_link(Link::Up { speed_mbps, is_full_duplex: true });
            }
            Some(Notification::Connection(false)) => exchange.set_link(Link::Down),
            Some(Notification::Speed { mbps }) => {
                speed_mbps = mbps;
                if exchange.link().is_up() {
                    exchange.set_link(Link::Up { speed_mbps, is_full_duplex: true });
                }
            }
            None => {}
        }
    };
    bus.return_small_buffer(buffer);
    Err(error.into())
}

#[derive(Debug, PartialEq, Eq)]
enum Notification {
    Connection(bool),
    Speed { mbps: u32 },
}

/// Reads a notification (CDC 1.2, 6.3): the header of a control request, and data.
fn parse_notification(bytes: &[u8]) -> Option<Notification> {
    match *bytes {
        [0xA1, NETWORK_CONNECTION, value, ..] if bytes.len() >= 8 => Some(Notification::Connection(value != 0)),
        [0xA1, CONNECTION_SPEED_CHANGE, _, _, _, _, _, _, d0, d1, d2, d3, ..] => {
            // Downstream bit rate; the upstream rate follows.
            Some(Notification::Speed { mbps: u32::from_le_bytes([d0, d1, d2, d3]) / 1_000_000 })
        }
        _ => None,
    }
}

struct EcmFraming;

impl Framing for EcmFraming {
    const HEADROOM: usize = 0;
    const HAS_LENGTH: bool = false;

    fn wrap(_buffer: &mut [u8], frame: Range<usize>, _max_packet: usize) -> usize {
        frame.end
    }

    fn unwrap(bytes: &[u8], frames: &mut Spans) -> u64 {
        match bytes.len() {
            // The empty packet behind a frame whose last packet was full.
            0 => 0,
            FRAME_LEN_MIN..=TAGGED_LEN_MAX => match Span::new(0..bytes.len()) {
                Some(frame) if frames.push(frame).is_ok() => 0,
                _ => 1,
            },
            _ => 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mac_is_twelve_digits() {
        assert_eq!(parse_mac("40540012345A"), Some(MacAddress([0x40, 0x54, 0, 0x12, 0x34, 0x5A])));
        for bad in ["", "40540012345", "40540012345G", "4054001234567", "+05400123 5A", "405400é1234"] {
            assert_eq!(parse_mac(bad), None, "{bad}");
        }
    }

    #[test]
    fn notifications_tell_link_and_speed() {
        let up = [0xA1, 0, 1, 0, 0, 0, 0, 0];
        assert_eq!(parse_notification(&up), Some(Notification::Connection(true)));
        let speed = [0xA1, 0x2A, 0, 0, 0, 0, 8, 0, 0, 0xE1, 0xF5, 0x05, 0, 0xE1, 0xF5, 0x05];
        assert_eq!(parse_notification(&speed), Some(Notification::Speed { mbps: 100 }));
        for len in 0..8 {
            assert_eq!(parse_notification(&up[..len]), None);
            assert_eq!(parse_notification(&speed[..len + 4]), None);
        }
    }

    #[test]
    fn a_transfer_is_a_frame_unless_it_is_empty_or_has_no_such_length() {
        for (len, found, damaged) in [(0, 0, 0), (13, 0, 1), (14, 1, 0), (1514, 1, 0), (1518, 1, 0), (1519, 0, 1)] {
            let mut frames = Spans::new();
            assert_eq!(EcmFraming::unwrap(&vec![0; len], &mut frames), damaged, "{len}");
            assert_eq!(frames.len(), found, "{len}");
        }
    }
}
