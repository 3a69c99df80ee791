//! What the Ethernet functions of the Communications Device Class (CDC 1.2) have in common: how their interfaces hang
//! together, where the address is, and how they tell that the cable was plugged in.

use core::convert::Infallible;

use usb::descriptor::{Configuration, Interface, class, kind, parse_string};
use usb::device::Device;
use usb::host::{Direction, Kind, TransferError};
use usb::setup::{CLASS_INTERFACE_OUT, Setup};

use crate::exchange::FrameExchange;
use crate::usbnet::UsbNicError;
use crate::{Link, MacAddress};

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

/// The interfaces of an Ethernet function.
pub(crate) struct Function<'c> {
    /// The control interface.
    pub(crate) control: &'c Interface,
    /// The alternate setting of the data interface that has endpoints.
    pub(crate) data: &'c Interface,
}

impl<'c> Function<'c> {
    /// Finds the function whose control interface has this subclass (CDC 1.2, table 4).
    pub(crate) fn find(configuration: &'c Configuration, subclass: u8) -> Result<Self, UsbNicError> {
        let control =
            control_interface(configuration, subclass).ok_or(UsbNicError::Missing { what: "a control interface" })?;
        let data_number = data_interface_number(control).ok_or(UsbNicError::Missing { what: "a union descriptor" })?;
        let data = configuration
            .interfaces
            .iter()
            .find(|i| i.number == data_number && i.endpoint(Kind::Bulk, Direction::In).is_some())
            .ok_or(UsbNicError::Missing { what: "a data interface" })?;
        Ok(Self { control, data })
    }

    /// Has the function forward what the stack wants. Optional: who does not know the request forwards everything.
    pub(crate) async fn set_packet_filter(&self, device: &Device<'_>) -> Result<(), UsbNicError> {
        let filter = Setup {
            request_type: CLASS_INTERFACE_OUT,
            request: SET_PACKET_FILTER,
            value: PACKET_FILTER,
            index: u16::from(self.control.number),
        };
        match device.control_out(filter, &[]).await {
            Ok(()) | Err(TransferError::Stall) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Turns the network on: alternate setting 0 of the data interface has no endpoints (ECM 1.2, 3.3; NCM 1.0, 5.3).
    pub(crate) async fn select_data(&self, device: &Device<'_>) -> Result<(), UsbNicError> {
        Ok(device.control_out(Setup::set_interface(self.data.number, self.data.alternate), &[]).await?)
    }

    /// Reads the address, which a string descriptor has as twelve digits.
    pub(crate) async fn read_mac(&self, device: &Device<'_>) -> Result<MacAddress, UsbNicError> {
        let index = self.control.class_descriptors().find_map(|descriptor| match descriptor {
            &[_, _, ETHERNET, index, ..] => Some(index),
            _ => None,
        });
        let index = index.ok_or(UsbNicError::Missing { what: "an Ethernet descriptor" })?;
        let mut bytes = [0; 32];
        // Hexadecimal digits are the same in every language; US English is what every device has.
        let len = device.control_in(Setup::get_descriptor(kind::STRING, index, 0x0409), &mut bytes).await?;
        let text = parse_string(bytes.get(..len).unwrap_or_default());
        parse_mac(&text).filter(|mac| mac.is_station()).ok_or(UsbNicError::NoAddress)
    }

    /// Follows the notifications of the control interface.
    pub(crate) async fn watch_link(
        &self,
        device: &Device<'_>,
        exchange: &FrameExchange,
    ) -> Result<Infallible, UsbNicError> {
        let bus = device.bus();
        let (Some(pipe), Some(buffer)) = (device.report_pipe(self.control), bus.take_small_buffer()) else {
            device.gone().await;
            return Err(TransferError::Gone.into());
        };
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
}

/// Returns the control interface with this subclass.
pub(crate) fn control_interface(configuration: &Configuration, subclass: u8) -> Option<&Interface> {
    configuration.interfaces.iter().find(|i| i.class == class::COMMUNICATIONS && i.subclass == subclass)
}

/// The first subordinate interface of the union descriptor.
fn data_interface_number(control: &Interface) -> Option<u8> {
    control.class_descriptors().find_map(|descriptor| match descriptor {
        &[_, _, UNION, _, data, ..] => Some(data),
        _ => None,
    })
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

/// For the fuzz target: reads `data` as a notification and as the text of an address.
#[cfg(any(test, fuzzing))]
pub(crate) fn read_anything(data: &[u8]) {
    let _ = parse_notification(data);
    if let Some(mac) = str::from_utf8(data).ok().and_then(parse_mac) {
        assert!(data.len() == 12 && mac.0 != [0; 6] || data == b"000000000000", "{mac}");
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
}
