//! Numbers of messages and reasons, by the RFC that defines them.

// RFC 4253, section 12.
pub(crate) const DISCONNECT: u8 = 1;
pub(crate) const IGNORE: u8 = 2;
pub(crate) const UNIMPLEMENTED: u8 = 3;
pub(crate) const DEBUG: u8 = 4;
pub(crate) const SERVICE_REQUEST: u8 = 5;
pub(crate) const SERVICE_ACCEPT: u8 = 6;
/// RFC 8308, section 2.3.
pub(crate) const EXT_INFO: u8 = 7;
pub(crate) const KEXINIT: u8 = 20;
pub(crate) const NEWKEYS: u8 = 21;
/// RFC 8731, section 3.1, as in RFC 5656, section 7.1; draft-ietf-sshm-mlkem-hybrid-kex, section 2.1, has the same numbers.
pub(crate) const KEX_INIT: u8 = 30;
pub(crate) const KEX_REPLY: u8 = 31;
// RFC 4252, section 6, and section 7 for the last.
pub(crate) const USERAUTH_REQUEST: u8 = 50;
pub(crate) const USERAUTH_FAILURE: u8 = 51;
pub(crate) const USERAUTH_SUCCESS: u8 = 52;
pub(crate) const USERAUTH_BANNER: u8 = 53;
pub(crate) const USERAUTH_PK_OK: u8 = 60;
// RFC 4254, section 9.
pub(crate) const GLOBAL_REQUEST: u8 = 80;
pub(crate) const REQUEST_SUCCESS: u8 = 81;
pub(crate) const REQUEST_FAILURE: u8 = 82;
pub(crate) const CHANNEL_OPEN: u8 = 90;
pub(crate) const CHANNEL_OPEN_CONFIRMATION: u8 = 91;
pub(crate) const CHANNEL_OPEN_FAILURE: u8 = 92;
pub(crate) const CHANNEL_WINDOW_ADJUST: u8 = 93;
pub(crate) const CHANNEL_DATA: u8 = 94;
pub(crate) const CHANNEL_EXTENDED_DATA: u8 = 95;
pub(crate) const CHANNEL_EOF: u8 = 96;
pub(crate) const CHANNEL_CLOSE: u8 = 97;
pub(crate) const CHANNEL_REQUEST: u8 = 98;
pub(crate) const CHANNEL_SUCCESS: u8 = 99;
pub(crate) const CHANNEL_FAILURE: u8 = 100;

/// Why a connection is ended (RFC 4253, section 11.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Reason {
    /// The peer broke the protocol.
    ProtocolError = 2,
    /// No algorithm that both sides have.
    KeyExchangeFailed = 3,
    /// A packet that was changed on its way.
    MacError = 5,
    /// A service that is not offered.
    ServiceNotAvailable = 7,
    /// The end was asked for.
    ByApplication = 11,
    /// There are too many sessions.
    TooManyConnections = 12,
    /// Too many attempts to log in, or too slow ones.
    NoMoreAuthMethods = 14,
}

/// Why a channel is not opened (RFC 4254, section 5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum OpenFailure {
    Prohibited = 1,
    UnknownType = 3,
    Shortage = 4,
}

/// Kind of extended data (RFC 4254, section 5.2).
pub(crate) const EXTENDED_DATA_STDERR: u32 = 1;
