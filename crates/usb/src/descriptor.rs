//! Descriptors (USB 2.0, 9.6), parsed once into bounded types.
//!
//! They come from whatever was plugged in, so nothing in them is believed: lengths are checked, numbers are limited, and
//! what does not fit is refused with the reason. Tested with seeded random bytes and mutations of real descriptors.

use heapless::{String, Vec};
use thiserror::Error;

use crate::host::{Direction, Kind, Speed};

/// Descriptor types (USB 2.0, table 9-5, 11.23.2.1; CDC 1.2, table 12).
pub mod kind {
    /// DEVICE.
    pub const DEVICE: u8 = 1;
    /// CONFIGURATION.
    pub const CONFIGURATION: u8 = 2;
    /// STRING.
    pub const STRING: u8 = 3;
    /// INTERFACE.
    pub const INTERFACE: u8 = 4;
    /// ENDPOINT.
    pub const ENDPOINT: u8 = 5;
    /// CS_INTERFACE: belongs to the class of the interface before it.
    pub const CLASS_INTERFACE: u8 = 0x24;
    /// HUB.
    pub const HUB: u8 = 0x29;
}

/// Class codes (usb.org, "Defined Class Codes").
pub mod class {
    /// Communications (CDC control).
    pub const COMMUNICATIONS: u8 = 0x02;
    /// Hub.
    pub const HUB: u8 = 0x09;
    /// CDC data.
    pub const CDC_DATA: u8 = 0x0A;
    /// Wireless controller; RNDIS hides here, too.
    pub const WIRELESS: u8 = 0xE0;
    /// Miscellaneous.
    pub const MISCELLANEOUS: u8 = 0xEF;
    /// Vendor specific.
    pub const VENDOR: u8 = 0xFF;
}

/// Longest configuration that is read, in bytes.
pub const CONFIGURATION_LEN_MAX: usize = 512;
/// Most interfaces (with alternate settings) of one configuration that are kept.
pub const INTERFACES_MAX: usize = 8;
/// Most endpoints of one interface that are kept.
pub const ENDPOINTS_MAX: usize = 4;
/// Most bytes of class-specific descriptors of one interface that are kept.
pub const CLASS_BYTES_MAX: usize = 64;
/// Longest string that is kept, in bytes.
pub const STRING_MAX: usize = 64;

/// What is wrong with a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum DescriptorError {
    /// Shorter than its type needs.
    #[error("{len} bytes of a descriptor of type {kind} that needs {needs}")]
    Short {
        /// Type expected.
        kind: u8,
        /// Length found.
        len: usize,
        /// Length needed.
        needs: usize,
    },
    /// Another type than asked for.
    #[error("a descriptor of type {found} where {expected} is due")]
    Type {
        /// Type expected.
        expected: u8,
        /// Type found.
        found: u8,
    },
    /// A packet size that the specification does not allow.
    #[error("packet size {size} is not allowed")]
    PacketSize {
        /// The size.
        size: u16,
    },
    /// More than there is room for.
    #[error("too many descriptors of type {kind}")]
    TooMany {
        /// Type of which there are too many.
        kind: u8,
    },
    /// An endpoint or class descriptor before the first interface.
    #[error("a descriptor of type {kind} belongs to no interface")]
    Orphan {
        /// Its type.
        kind: u8,
    },
}

/// The device descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceDescriptor {
    /// Class, or 0 when the interfaces tell.
    pub class: u8,
    /// Subclass.
    pub subclass: u8,
    /// Protocol; of a high-speed hub, 2 means one translator per port.
    pub protocol: u8,
    /// Largest packet of endpoint 0: 8, 16, 32 or 64.
    pub max_packet_0: u8,
    /// Vendor ID.
    pub vendor: u16,
    /// Product ID.
    pub product: u16,
    /// Index of the product string, 0 for none.
    pub product_string: u8,
    /// Number of configurations.
    pub configurations: u8,
}

impl DeviceDescriptor {
    /// Length in bytes.
    pub const LEN: usize = 18;

    /// Parses the 18 bytes.
    ///
    /// # Errors
    ///
    /// When they are not a device descriptor.
    pub fn parse(bytes: &[u8]) -> Result<Self, DescriptorError> {
        let short = DescriptorError::Short { kind: kind::DEVICE, len: bytes.len(), needs: Self::LEN };
        let b: &[u8; Self::LEN] = bytes.first_chunk().ok_or(short)?;
        if b[1] != kind::DEVICE {
            return Err(DescriptorError::Type { expected: kind::DEVICE, found: b[1] });
        }
        if usize::from(b[0]) < Self::LEN {
            return Err(short);
        }
        Ok(Self {
            class: b[4],
            subclass: b[5],
            protocol: b[6],
            max_packet_0: parse_max_packet_0(b[7])?,
            vendor: u16::from_le_bytes([b[8], b[9]]),
            product: u16::from_le_bytes([b[10], b[11]]),
            product_string: b[15],
            configurations: b[17],
        })
    }
}

/// Checks `bMaxPacketSize0`, the eighth byte of the device descriptor, which is read before the rest.
///
/// # Errors
///
/// When it is none of the sizes that USB 2.0, 5.5.3 allows.
pub fn parse_max_packet_0(size: u8) -> Result<u8, DescriptorError> {
    match size {
        8 | 16 | 32 | 64 => Ok(size),
        _ => Err(DescriptorError::PacketSize { size: u16::from(size) }),
    }
}

/// An endpoint of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndpointDescriptor {
    /// Endpoint number, 1 to 15.
    pub number: u8,
    /// Direction.
    pub direction: Direction,
    /// What it is for.
    pub kind: Kind,
    /// Largest packet in bytes, 1 to 1,024.
    pub max_packet: u16,
    /// `bInterval`, as it is.
    pub interval: u8,
}

impl EndpointDescriptor {
    /// Parses one.
    fn parse(bytes: &[u8]) -> Result<Self, DescriptorError> {
        let &[_, _, address, attributes, size0, size1, interval, ..] = bytes else {
            return Err(DescriptorError::Short { kind: kind::ENDPOINT, len: bytes.len(), needs: 7 });
        };
        let size = u16::from_le_bytes([size0, size1]);
        let max_packet = size & 0x7FF;
        if max_packet == 0 || max_packet > 1024 {
            return Err(DescriptorError::PacketSize { size });
        }
        Ok(Self {
            number: address & 15,
            direction: if address & 0x80 == 0 { Direction::Out } else { Direction::In },
            kind: match attributes & 3 {
                0 => Kind::Control,
                1 => Kind::Isochronous,
                2 => Kind::Bulk,
                _ => Kind::Interrupt,
            },
            max_packet,
            interval,
        })
    }

    /// Returns `bEndpointAddress`.
    #[must_use]
    pub fn address(&self) -> u8 {
        self.number | if self.direction == Direction::In { 0x80 } else { 0 }
    }

    /// Returns the time between two polls of an interrupt endpoint in microseconds (USB 2.0, table 9-13).
    #[must_use]
    pub fn interval_us(&self, speed: Speed) -> u32 {
        match speed {
            Speed::Low | Speed::Full => u32::from(self.interval.max(1)) * 1000,
            Speed::High => 125 << u32::from(self.interval.clamp(1, 16) - 1),
        }
    }
}

/// An interface in one of its alternate settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Interface number.
    pub number: u8,
    /// Alternate setting.
    pub alternate: u8,
    /// Class.
    pub class: u8,
    /// Subclass.
    pub subclass: u8,
    /// Protocol.
    pub protocol: u8,
    /// Endpoints other than 0.
    pub endpoints: Vec<EndpointDescriptor, ENDPOINTS_MAX>,
    /// The class-specific descriptors, one behind the other.
    pub class_bytes: Vec<u8, CLASS_BYTES_MAX>,
}

impl Interface {
    /// Returns the first endpoint of this kind and direction.
    #[must_use]
    pub fn endpoint(&self, kind: Kind, direction: Direction) -> Option<EndpointDescriptor> {
        self.endpoints.iter().find(|e| e.kind == kind && e.direction == direction).copied()
    }

    /// Returns the class-specific descriptors, each with its two header bytes.
    pub fn class_descriptors(&self) -> impl Iterator<Item = &[u8]> {
        Descriptors { rest: &self.class_bytes }
    }
}

/// A configuration with its interfaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Configuration {
    /// The number to select it by.
    pub value: u8,
    /// Interfaces in the order of the descriptors.
    pub interfaces: Vec<Interface, INTERFACES_MAX>,
}

impl Configuration {
    /// Length in bytes of the configuration descriptor itself.
    pub const HEADER_LEN: usize = 9;

    /// Reads how long the whole configuration is, at most [`CONFIGURATION_LEN_MAX`].
    ///
    /// # Errors
    ///
    /// When these are not the first 9 bytes of a configuration.
    pub fn parse_total_len(bytes: &[u8]) -> Result<usize, DescriptorError> {
        let &[len, found, total0, total1, _, _, _, _, _, ..] = bytes else {
            return Err(Self::short(bytes.len()));
        };
        if found != kind::CONFIGURATION {
            return Err(DescriptorError::Type { expected: kind::CONFIGURATION, found });
        }
        let total = usize::from(u16::from_le_bytes([total0, total1]));
        if usize::from(len) < Self::HEADER_LEN || total < usize::from(len) {
            return Err(Self::short(usize::from(len)));
        }
        Ok(total.min(CONFIGURATION_LEN_MAX))
    }

    /// Parses a configuration and the descriptors behind it.
    ///
    /// Interfaces and endpoints for which there is no room are an error; a descriptor that is cut off at the end is not
    /// (there are devices whose total is longer than what they send), it just ends the list.
    ///
    /// # Errors
    ///
    /// See [`DescriptorError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, DescriptorError> {
        let total = Self::parse_total_len(bytes)?;
        let bytes = bytes.get(..total).unwrap_or(bytes);
        let mut configuration = Self { value: bytes.get(5).copied().unwrap_or(0), interfaces: Vec::new() };
        for descriptor in (Descriptors { rest: bytes }) {
            let Some(&found) = descriptor.get(1) else { break };
            let orphan = DescriptorError::Orphan { kind: found };
            match found {
                kind::INTERFACE => configuration.push_interface(descriptor)?,
                kind::ENDPOINT => {
                    let endpoint = EndpointDescriptor::parse(descriptor)?;
                    let interface = configuration.interfaces.last_mut().ok_or(orphan)?;
                    let full = DescriptorError::TooMany { kind: kind::ENDPOINT };
                    interface.endpoints.push(endpoint).map_err(|_| full)?;
                }
                kind::CLASS_INTERFACE => {
                    let interface = configuration.interfaces.last_mut().ok_or(orphan)?;
                    // One that does not fit is left out whole: its driver will miss it and say so.
                    let _ = interface.class_bytes.extend_from_slice(descriptor);
                }
                _ => {}
            }
        }
        Ok(configuration)
    }

    /// Returns the interface with this number in this alternate setting.
    #[must_use]
    pub fn interface(&self, number: u8, alternate: u8) -> Option<&Interface> {
        self.interfaces.iter().find(|i| i.number == number && i.alternate == alternate)
    }

    fn push_interface(&mut self, bytes: &[u8]) -> Result<(), DescriptorError> {
        let &[_, _, number, alternate, _, class, subclass, protocol, _, ..] = bytes else {
            return Err(DescriptorError::Short { kind: kind::INTERFACE, len: bytes.len(), needs: 9 });
        };
        let interface =
            Interface { number, alternate, class, subclass, protocol, endpoints: Vec::new(), class_bytes: Vec::new() };
        self.interfaces.push(interface).map_err(|_| DescriptorError::TooMany { kind: kind::INTERFACE })
    }

    fn short(len: usize) -> DescriptorError {
        DescriptorError::Short { kind: kind::CONFIGURATION, len, needs: Self::HEADER_LEN }
    }
}

/// The hub descriptor (USB 2.0, table 11-13), without the port masks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HubDescriptor {
    /// Number of ports.
    pub ports: u8,
    /// Time from power on to power good on a port, in milliseconds.
    pub power_good_ms: u16,
}

impl HubDescriptor {
    /// Length in bytes of the part that is read.
    pub const LEN: usize = 7;

    /// Parses one.
    ///
    /// # Errors
    ///
    /// When the bytes are not a hub descriptor.
    pub fn parse(bytes: &[u8]) -> Result<Self, DescriptorError> {
        let &[_, found, ports, _, _, power_good, _, ..] = bytes else {
            return Err(DescriptorError::Short { kind: kind::HUB, len: bytes.len(), needs: Self::LEN });
        };
        if found != kind::HUB {
            return Err(DescriptorError::Type { expected: kind::HUB, found });
        }
        Ok(Self { ports, power_good_ms: u16::from(power_good) * 2 })
    }
}

/// Reads a string descriptor as text; characters outside ASCII become `?`, what is too long is cut off.
#[must_use]
pub fn parse_string(bytes: &[u8]) -> String<STRING_MAX> {
    let mut text = String::new();
    let &[len, kind::STRING, ..] = bytes else { return text };
    let bytes = bytes.get(2..usize::from(len).min(bytes.len())).unwrap_or_default();
    for unit in bytes.as_chunks::<2>().0 {
        let c = match u8::try_from(u16::from_le_bytes(*unit)) {
            Ok(c @ b' '..=b'~') => char::from(c),
            _ => '?',
        };
        if text.push(c).is_err() {
            break;
        }
    }
    text
}

/// Walks descriptors that lie one behind the other; stops at one that is cut off or has no length.
struct Descriptors<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Descriptors<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<Self::Item> {
        let len = usize::from(*self.rest.first()?);
        if len < 2 {
            return None;
        }
        let (descriptor, rest) = self.rest.split_at_checked(len)?;
        self.rest = rest;
        Some(descriptor)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test, as it should")]

    use super::*;

    /// The CDC configuration of QEMU's usb-net (hw/usb/dev-network.c, `desc_iface_cdc`).
    const CDC: [u8; 80] = [
        9, 2, 80, 0, 2, 1, 7, 0xC0, 0x32, 9, 4, 0, 0, 1, 2, 6, 0, 5, 5, 0x24, 0, 0x10, 1, 5, 0x24, 6, 0, 1, 13, 0x24,
        15, 3, 0, 0, 0, 0, 0xEA, 5, 0, 0, 0, 7, 5, 0x81, 3, 16, 0, 32, 9, 4, 1, 0, 0, 10, 0, 0, 0, 9, 4, 1, 1, 2, 10,
        0, 0, 4, 7, 5, 0x82, 2, 64, 0, 0, 7, 5, 2, 2, 64, 0, 0,
    ];

    #[test]
    fn a_cdc_configuration_is_read() {
        let configuration = Configuration::parse(&CDC).unwrap();
        assert_eq!(configuration.value, 1);
        assert_eq!(configuration.interfaces.len(), 3);
        let control = configuration.interface(0, 0).unwrap();
        assert_eq!((control.class, control.subclass), (2, 6));
        assert_eq!(control.class_descriptors().count(), 3);
        assert_eq!(control.endpoint(Kind::Interrupt, Direction::In).unwrap().interval_us(Speed::Full), 32_000);
        let data = configuration.interface(1, 1).unwrap();
        assert_eq!(data.endpoint(Kind::Bulk, Direction::In).unwrap().address(), 0x82);
        assert_eq!(data.endpoint(Kind::Bulk, Direction::Out).unwrap().max_packet, 64);
        assert_eq!(configuration.interface(1, 0).unwrap().endpoints.len(), 0);
    }

    #[test]
    fn a_configuration_that_is_cut_off_gives_what_is_whole() {
        let configuration = Configuration::parse(&CDC[..70]).unwrap();
        assert_eq!(configuration.interface(1, 1).unwrap().endpoints.len(), 0);
    }

    #[test]
    fn an_endpoint_before_the_first_interface_is_refused() {
        let bytes = [9, 2, 16, 0, 1, 1, 0, 0xC0, 0, 7, 5, 0x81, 2, 64, 0, 0];
        assert_eq!(Configuration::parse(&bytes), Err(DescriptorError::Orphan { kind: kind::ENDPOINT }));
    }

    #[test]
    fn a_packet_size_of_zero_is_refused() {
        let mut bytes = CDC;
        bytes[70] = 0;
        assert_eq!(Configuration::parse(&bytes), Err(DescriptorError::PacketSize { size: 0 }));
    }

    #[test]
    fn endpoint_zero_has_one_of_four_packet_sizes() {
        for size in 0..=255 {
            assert_eq!(parse_max_packet_0(size).is_ok(), [8, 16, 32, 64].contains(&size));
        }
    }

    #[test]
    fn strings_become_ascii() {
        assert_eq!(parse_string(&[8, 3, b'U', 0, 0xB5, 3, b'B', 0]).as_str(), "U?B");
        assert_eq!(parse_string(&[8, 3, b'U']).as_str(), "");
        assert_eq!(parse_string(&[1]).as_str(), "");
    }

    #[test]
    fn high_speed_intervals_are_powers_of_two_microframes() {
        let mut endpoint = EndpointDescriptor {
            number: 1,
            direction: Direction::In,
            kind: Kind::Interrupt,
            max_packet: 1,
            interval: 12,
        };
        assert_eq!(endpoint.interval_us(Speed::High), 256_000);
        endpoint.interval = 0;
        assert_eq!(endpoint.interval_us(Speed::High), 125);
        endpoint.interval = 255;
        assert_eq!(endpoint.interval_us(Speed::High), 4_096_000);
    }

    /// xorshift64: the same bytes in every run.
    struct Random(u64);

    impl Random {
        fn next(&mut self) -> u64 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            self.0
        }
    }

    #[test]
    fn random_and_damaged_descriptors_never_panic_and_stay_within_limits() {
        let mut random = Random(0x5EED_0005);
        let mut accepted = 0;
        for round in 0..200_000_u32 {
            let mut bytes = [0_u8; 600];
            let len = if round % 2 == 0 {
                // A real one with up to four damaged bytes, cut off anywhere.
                bytes[..CDC.len()].copy_from_slice(&CDC);
                for _ in 0..random.next() % 5 {
                    bytes[(random.next() % CDC.len() as u64) as usize] = random.next() as u8;
                }
                (random.next() % (CDC.len() as u64 + 1)) as usize
            } else {
                // Noise with plausible lengths and types, so that it is not refused at the first byte.
                let len = (random.next() % 600) as usize;
                let mut at = 0;
                while at < len {
                    bytes[at] = (random.next() % 16) as u8;
                    if at + 1 < len {
                        bytes[at + 1] = [2, 4, 5, 0x24, random.next() as u8][(random.next() % 5) as usize];
                    }
                    for byte in bytes.iter_mut().take(len).skip(at + 2).take(14) {
                        *byte = random.next() as u8;
                    }
                    at += usize::from(bytes[at]).max(1);
                }
                if !random.next().is_multiple_of(4) {
                    bytes[..6].copy_from_slice(&[9, 2, len as u8, (len >> 8) as u8, 1, 1]);
                }
                len
            };
            let bytes = &bytes[..len];
            let _ = DeviceDescriptor::parse(bytes);
            let _ = HubDescriptor::parse(bytes);
            let _ = parse_string(bytes);
            if let Ok(configuration) = Configuration::parse(bytes) {
                accepted += 1;
                for interface in &configuration.interfaces {
                    assert!(interface.class_descriptors().all(|d| d.len() >= 2));
                    assert!(interface.endpoints.iter().all(|e| (1..=1024).contains(&e.max_packet) && e.number < 16));
                }
            }
        }
        assert!(accepted > 10_000, "only {accepted} were accepted: the test does not reach the inner code");
    }
}
