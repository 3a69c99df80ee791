//! The setup packet of a control request (USB 2.0, 9.3) and the requests that every device knows (9.4, 11.24).

use crate::host::Direction;

/// A control request without its data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setup {
    /// `bmRequestType`.
    pub request_type: u8,
    /// `bRequest`.
    pub request: u8,
    /// `wValue`.
    pub value: u16,
    /// `wIndex`.
    pub index: u16,
}

/// `bmRequestType` of a class request to the device, OUT.
pub const CLASS_DEVICE_OUT: u8 = 0x20;
/// `bmRequestType` of a class request to the device, IN.
pub const CLASS_DEVICE_IN: u8 = 0xA0;
/// `bmRequestType` of a class request to an interface, OUT.
pub const CLASS_INTERFACE_OUT: u8 = 0x21;
/// `bmRequestType` of a class request to an interface, IN.
pub const CLASS_INTERFACE_IN: u8 = 0xA1;
/// `bmRequestType` of a class request to a hub's port, OUT.
pub const CLASS_PORT_OUT: u8 = 0x23;
/// `bmRequestType` of a class request to a hub's port, IN.
pub const CLASS_PORT_IN: u8 = 0xA3;

/// Standard request codes (USB 2.0, table 9-4).
pub mod code {
    /// GET_STATUS.
    pub const GET_STATUS: u8 = 0;
    /// CLEAR_FEATURE.
    pub const CLEAR_FEATURE: u8 = 1;
    /// SET_FEATURE.
    pub const SET_FEATURE: u8 = 3;
    /// SET_ADDRESS.
    pub const SET_ADDRESS: u8 = 5;
    /// GET_DESCRIPTOR.
    pub const GET_DESCRIPTOR: u8 = 6;
    /// SET_CONFIGURATION.
    pub const SET_CONFIGURATION: u8 = 9;
    /// SET_INTERFACE.
    pub const SET_INTERFACE: u8 = 11;
}

impl Setup {
    /// Asks for descriptor number `index` of type `kind`; `language` for strings, else 0.
    #[must_use]
    pub fn get_descriptor(kind: u8, index: u8, language: u16) -> Self {
        Self {
            request_type: 0x80,
            request: code::GET_DESCRIPTOR,
            value: u16::from_be_bytes([kind, index]),
            index: language,
        }
    }

    /// Gives the device its address.
    #[must_use]
    pub fn set_address(address: u8) -> Self {
        Self { request_type: 0, request: code::SET_ADDRESS, value: u16::from(address), index: 0 }
    }

    /// Selects a configuration.
    #[must_use]
    pub fn set_configuration(value: u8) -> Self {
        Self { request_type: 0, request: code::SET_CONFIGURATION, value: u16::from(value), index: 0 }
    }

    /// Selects an alternate setting of an interface.
    #[must_use]
    pub fn set_interface(interface: u8, alternate: u8) -> Self {
        Self { request_type: 1, request: code::SET_INTERFACE, value: u16::from(alternate), index: u16::from(interface) }
    }

    /// Ends the halt of an endpoint (feature ENDPOINT_HALT, 0); `endpoint` is `bEndpointAddress`.
    #[must_use]
    pub fn clear_halt(endpoint: u8) -> Self {
        Self { request_type: 2, request: code::CLEAR_FEATURE, value: 0, index: u16::from(endpoint) }
    }

    /// Returns which way the data stage goes.
    #[must_use]
    pub fn direction(&self) -> Direction {
        if self.request_type & 0x80 == 0 { Direction::Out } else { Direction::In }
    }

    /// Returns the packet for a data stage of `len` bytes.
    #[must_use]
    pub fn to_bytes(self, len: u16) -> [u8; 8] {
        let [v0, v1] = self.value.to_le_bytes();
        let [i0, i1] = self.index.to_le_bytes();
        let [l0, l1] = len.to_le_bytes();
        [self.request_type, self.request, v0, v1, i0, i1, l0, l1]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_descriptor_request_looks_as_in_table_9_2() {
        let bytes = Setup::get_descriptor(3, 2, 0x0409).to_bytes(255);
        assert_eq!(bytes, [0x80, 6, 2, 3, 0x09, 0x04, 255, 0]);
    }

    #[test]
    fn the_top_bit_of_the_type_is_the_direction() {
        assert_eq!(Setup::set_address(5).direction(), Direction::Out);
        assert_eq!(Setup::get_descriptor(1, 0, 0).direction(), Direction::In);
    }
}
