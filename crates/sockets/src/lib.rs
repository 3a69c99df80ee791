//! Sockets for programs on other cores than the network stack.
//!
//! ```text
//! cores 1-3: TcpSocket, UdpSocket, resolve  <- rings of bytes, orders, reports ->  core 0: portal (in `net`, or `loopback`)
//! ```
//!
//! The stack lives on one core. A program on another opens a socket by taking one of the [`Network`]'s places, in which
//! core 0 finds it, and from then on both share a [`tcp`] or [`udp`] object: a ring of bytes for each direction, the newest
//! order, and what became of it. Received bytes are copied once more than on core 0, from the stack's socket into the ring;
//! the program works in the ring's memory. A side that waits is woken by an interrupt on its core; a side that does not
//! wait is left alone.
//!
//! Nothing here knows the stack. [`portal`] is the other side of the sockets, for who provides the network.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]
#![cfg_attr(
    test,
    allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that can't go on must stop")
)]

extern crate alloc;

// Brings the clock that embassy-time is linked with in tests.
#[cfg(test)]
use testkit as _;

pub mod address;
mod bell;
#[cfg(any(test, feature = "loopback"))]
pub mod loopback;
pub mod name;
pub mod network;
pub mod portal;
mod ring;
pub mod tcp;
pub mod udp;

pub use address::{AddressClaim, AddressLoss, AddressState, AddressTaken};
pub use network::{Counts, Network};
pub use tcp::{TcpReader, TcpSocket, TcpWriter};
pub use udp::{Datagram, UdpSocket};

use embedded_io_async::ErrorKind;

/// Why an operation on a socket failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SocketError {
    /// All places are taken.
    #[error("all {} sockets for workloads are in use: stop a workload, or give it fewer connections", network::PLACES)]
    NoPlace,
    /// The connection was reset, the peer was silent for too long, or there is none.
    #[error("the connection is gone")]
    ConnectionReset,
    /// The peer refused the connection, or there was no answer.
    #[error("the peer refused, or did not answer")]
    Refused,
    /// No address of the node reaches the peer, or the address or port can't be used.
    #[error("no address of this node reaches the peer")]
    NoRoute,
    /// Something else on the node has this port.
    #[error("another service of this node has this port")]
    PortInUse,
    /// The datagram does not fit into one frame.
    #[error("a datagram carries at most {} bytes", udp::DATAGRAM_LEN_MAX)]
    TooLong,
    /// This is no name, or one that is too long.
    #[error("this is neither an address nor a name of at most {} characters", name::NAME_LEN_MAX)]
    BadName,
    /// Nobody answers to the name.
    #[error("nobody answers to this name")]
    UnknownName,
}

impl embedded_io_async::Error for SocketError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::NoPlace => ErrorKind::OutOfMemory,
            Self::ConnectionReset => ErrorKind::ConnectionReset,
            Self::Refused => ErrorKind::ConnectionRefused,
            Self::NoRoute => ErrorKind::AddrNotAvailable,
            Self::PortInUse => ErrorKind::AddrInUse,
            Self::TooLong | Self::BadName => ErrorKind::InvalidInput,
            Self::UnknownName => ErrorKind::NotFound,
        }
    }
}
