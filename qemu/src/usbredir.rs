//! The usbredir protocol, as the side that has the device ("usb-host"); QEMU's `-device usb-redir` is the "usb-guest".
//!
//! Facts: "USB Network Redirection protocol description", version 0.7 (usb-redirection-protocol.txt of the usbredir project)
//! with its usbredirproto.h, and how QEMU uses it (hw/usb/redirect.c). Isochronous and interrupt OUT endpoints, bulk streams
//! and buffered bulk input are refused. The one crate there is (`usbredirparser`) wraps a C library that would have to be
//! installed.

pub(crate) mod device;
#[cfg(test)]
mod tests;

/// Longest message that makes sense: a bulk transfer of QEMU's DWC2 (19 bits of length), or a hello.
const MESSAGE_LEN_MAX: u32 = 0x8_0000 + 256;
/// Length of a hello without capabilities.
const VERSION_LEN: usize = 64;
/// Bytes of type and length in front of each message; the id follows.
const HEADER_LEN: usize = 8;

/// Capabilities, as bits of the hello's first word.
mod capability {
    pub(super) const CONNECT_DEVICE_VERSION: u32 = 1 << 1;
    pub(super) const DEVICE_DISCONNECT_ACK: u32 = 1 << 3;
    pub(super) const EP_INFO_MAX_PACKET_SIZE: u32 = 1 << 4;
    pub(super) const IDS_64BITS: u32 = 1 << 5;
    pub(super) const BULK_LENGTH_32BITS: u32 = 1 << 6;
}

/// What this side can.
const OURS: u32 = capability::CONNECT_DEVICE_VERSION
    | capability::DEVICE_DISCONNECT_ACK
    | capability::EP_INFO_MAX_PACKET_SIZE
    | capability::IDS_64BITS
    | capability::BULK_LENGTH_32BITS;

/// Types of messages.
mod kind {
    pub(super) const HELLO: u32 = 0;
    pub(super) const DEVICE_CONNECT: u32 = 1;
    pub(super) const DEVICE_DISCONNECT: u32 = 2;
    pub(super) const RESET: u32 = 3;
    pub(super) const INTERFACE_INFO: u32 = 4;
    pub(super) const EP_INFO: u32 = 5;
    pub(super) const SET_CONFIGURATION: u32 = 6;
    pub(super) const GET_CONFIGURATION: u32 = 7;
    pub(super) const CONFIGURATION_STATUS: u32 = 8;
    pub(super) const SET_ALT_SETTING: u32 = 9;
    pub(super) const GET_ALT_SETTING: u32 = 10;
    pub(super) const ALT_SETTING_STATUS: u32 = 11;
    pub(super) const START_INTERRUPT: u32 = 15;
    pub(super) const STOP_INTERRUPT: u32 = 16;
    pub(super) const INTERRUPT_STATUS: u32 = 17;
    pub(super) const CANCEL_DATA_PACKET: u32 = 21;
    pub(super) const FILTER_REJECT: u32 = 22;
    pub(super) const FILTER_FILTER: u32 = 23;
    pub(super) const DEVICE_DISCONNECT_ACK: u32 = 24;
    pub(super) const CONTROL_PACKET: u32 = 100;
    pub(super) const BULK_PACKET: u32 = 101;
    pub(super) const INTERRUPT_PACKET: u32 = 103;
}

/// How something ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Status {
    Success = 0,
    Cancelled = 1,
    Invalid = 2,
    Failed = 3,
    Stall = 4,
}

/// A message of the guest that makes no sense: the connection is of no use any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ProtocolError {
    /// Longer than any message.
    #[error("a usbredir message of {len} bytes")]
    TooLong {
        /// The length that it says it has.
        len: u32,
    },
    /// Too short for its type.
    #[error("a usbredir message of type {kind} with only {len} bytes")]
    TooShort {
        /// Its type.
        kind: u32,
        /// Bytes behind its header.
        len: usize,
    },
    /// A transfer says another length than it has.
    #[error("a usbredir transfer that says {says} bytes and has {has}")]
    Length {
        /// What it says.
        says: usize,
        /// What there is.
        has: usize,
    },
    /// Something came before the hello.
    #[error("usbredir message {kind} in front of the hello")]
    NoHello {
        /// Its type.
        kind: u32,
    },
}

/// A message of the guest. `id` goes back with the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Message {
    Hello,
    Reset,
    SetConfiguration {
        id: u64,
        value: u8,
    },
    GetConfiguration {
        id: u64,
    },
    SetAltSetting {
        id: u64,
        interface: u8,
        alt: u8,
    },
    GetAltSetting {
        id: u64,
        interface: u8,
    },
    StartInterrupt {
        id: u64,
        endpoint: u8,
    },
    StopInterrupt {
        id: u64,
        endpoint: u8,
    },
    Cancel {
        id: u64,
    },
    DisconnectAck,
    Rejected,
    Control {
        id: u64,
        endpoint: u8,
        setup: [u8; 8],
        data: Vec<u8>,
    },
    Bulk {
        id: u64,
        endpoint: u8,
        len: u32,
        data: Vec<u8>,
    },
    /// Something that this side does not do.
    Other {
        kind: u32,
    },
}

/// Takes the stream of bytes apart.
#[derive(Debug, Default)]
pub(crate) struct Parser {
    bytes: Vec<u8>,
    capabilities: Option<u32>,
}

impl Parser {
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Returns what both sides can, once the guest has said hello.
    pub(crate) fn capabilities(&self) -> Option<Capabilities> {
        self.capabilities.map(Capabilities)
    }

    /// Returns the next whole message.
    pub(crate) fn next(&mut self) -> Result<Option<Message>, ProtocolError> {
        let has_long_ids = self.capabilities().is_some_and(|both| both.has(capability::IDS_64BITS));
        let id_len = if has_long_ids { 8 } else { 4 };
        let Some((kind, len)) = u32_at(&self.bytes, 0).zip(u32_at(&self.bytes, 4)) else { return Ok(None) };
        if len > MESSAGE_LEN_MAX {
            return Err(ProtocolError::TooLong { len });
        }
        let start = HEADER_LEN + id_len;
        let end = start + len as usize;
        if self.bytes.len() < end {
            return Ok(None);
        }
        let rest = self.bytes.split_off(end);
        let message = std::mem::replace(&mut self.bytes, rest);
        let (header, body) = message.split_at(start);
        let mut id = [0; 8];
        id[..id_len].copy_from_slice(&header[HEADER_LEN..]);
        self.read(kind, u64::from_le_bytes(id), body).map(Some)
    }

    fn read(&mut self, kind: u32, id: u64, body: &[u8]) -> Result<Message, ProtocolError> {
        let Some(both) = self.capabilities() else {
            if kind != kind::HELLO {
                return Err(ProtocolError::NoHello { kind });
            }
            if body.len() < VERSION_LEN {
                return Err(ProtocolError::TooShort { kind, len: body.len() });
            }
            self.capabilities = Some(u32_at(body, VERSION_LEN).unwrap_or(0) & OURS);
            return Ok(Message::Hello);
        };
        let fields = Fields { kind, body };
        Ok(match kind {
            kind::RESET => Message::Reset,
            kind::SET_CONFIGURATION => Message::SetConfiguration { id, value: fields.byte(0)? },
            kind::GET_CONFIGURATION => Message::GetConfiguration { id },
            kind::SET_ALT_SETTING => Message::SetAltSetting { id, interface: fields.byte(0)?, alt: fields.byte(1)? },
            kind::GET_ALT_SETTING => Message::GetAltSetting { id, interface: fields.byte(0)? },
            kind::START_INTERRUPT => Message::StartInterrupt { id, endpoint: fields.byte(0)? },
            kind::STOP_INTERRUPT => Message::StopInterrupt { id, endpoint: fields.byte(0)? },
            kind::CANCEL_DATA_PACKET => Message::Cancel { id },
            kind::DEVICE_DISCONNECT_ACK => Message::DisconnectAck,
            kind::FILTER_REJECT => Message::Rejected,
            kind::CONTROL_PACKET => fields.control(id)?,
            kind::BULK_PACKET => fields.bulk(id, both)?,
            kind::FILTER_FILTER => Message::Other { kind },
            _ => Message::Other { kind },
        })
    }
}

struct Fields<'a> {
    kind: u32,
    body: &'a [u8],
}

impl Fields<'_> {
    fn too_short(&self) -> ProtocolError {
        ProtocolError::TooShort { kind: self.kind, len: self.body.len() }
    }

    fn byte(&self, at: usize) -> Result<u8, ProtocolError> {
        self.body.get(at).copied().ok_or(self.too_short())
    }

    /// endpoint, request, request type, status, value, index, length.
    fn control(&self, id: u64) -> Result<Message, ProtocolError> {
        let Some((header, data)) = self.body.split_first_chunk::<10>() else { return Err(self.too_short()) };
        let [endpoint, request, kind, _status, v0, v1, i0, i1, l0, l1] = *header;
        let says = usize::from(u16::from_le_bytes([l0, l1]));
        let expected = if endpoint & 0x80 == 0 { says } else { 0 };
        if data.len() != expected {
            return Err(ProtocolError::Length { says: expected, has: data.len() });
        }
        let setup = [kind, request, v0, v1, i0, i1, l0, l1];
        Ok(Message::Control { id, endpoint, setup, data: data.to_vec() })
    }

    /// endpoint, status, length, stream, upper half of the length.
    fn bulk(&self, id: u64, both: Capabilities) -> Result<Message, ProtocolError> {
        let Some((header, data)) = self.body.split_at_checked(both.bulk_header_len()) else {
            return Err(self.too_short());
        };
        let high = header.get(8..10).map_or([0, 0], |bytes| [bytes[0], bytes[1]]);
        let len = u32::from_le_bytes([header[2], header[3], high[0], high[1]]);
        let endpoint = header[0];
        let expected = if endpoint & 0x80 == 0 { len as usize } else { 0 };
        if data.len() != expected {
            return Err(ProtocolError::Length { says: expected, has: data.len() });
        }
        Ok(Message::Bulk { id, endpoint, len, data: data.to_vec() })
    }
}

/// What both sides can.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Capabilities(u32);

impl Capabilities {
    fn has(self, bit: u32) -> bool {
        self.0 & bit != 0
    }

    fn bulk_header_len(self) -> usize {
        if self.has(capability::BULK_LENGTH_32BITS) { 10 } else { 8 }
    }

    /// Appends a message.
    fn write(self, out: &mut Vec<u8>, kind: u32, id: u64, parts: &[&[u8]]) {
        let len = parts.iter().map(|part| part.len()).sum::<usize>();
        out.extend(kind.to_le_bytes());
        out.extend((len as u32).to_le_bytes());
        let id_len = if self.has(capability::IDS_64BITS) { 8 } else { 4 };
        out.extend(&id.to_le_bytes()[..id_len]);
        parts.iter().for_each(|part| out.extend_from_slice(part));
    }
}

/// Appends this side's hello, which comes first.
fn write_hello(out: &mut Vec<u8>) {
    let mut body = b"minipirack".to_vec();
    body.resize(VERSION_LEN, 0);
    body.extend(OURS.to_le_bytes());
    // A hello always has a short id.
    Capabilities(0).write(out, kind::HELLO, 0, &[&body]);
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|bytes| u32::from_le_bytes(*bytes))
}
