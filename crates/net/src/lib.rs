//! The network stack over smoltcp: addresses, sockets, services.
//!
//! ```text
//! exchange → device (faults, filter, watch) → smoltcp → socket::{tcp, udp}, ping → services, http, mdns, time, syslog
//! ```
//!
//! [`Stack`] moves packets; everything else is a task that uses its sockets. All of it runs on one core. The parts are
//! separate `async fn`s, to be spawned as tasks of their own, so that a frame for one of them wakes only that one.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]
#![cfg_attr(
    test,
    allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that can't go on must stop")
)]

extern crate alloc;

pub mod address;
mod backlog;
pub mod backoff;
mod checksum;
mod cookie;
mod copies;
pub mod counters;
mod device;
mod faults;
mod filter;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod groups;
mod handshake;
pub mod http;
mod local;
pub mod mdns;
pub mod mqtt;
pub mod ping;
pub mod portal;
mod random;
mod segment;
pub mod services;
pub mod settings;
pub mod socket;
pub mod stack;
pub mod status;
pub mod syslog;
pub mod time;
mod watch;

// Brings the clock that embassy-time is linked with in tests.
#[cfg(test)]
use testkit as _;

pub use counters::{Counters, Event};
pub use ping::PingError;
pub use settings::{Identity, Ipv4Settings, Settings};
pub use socket::tcp::{TcpError, TcpSocket};
pub use socket::udp::{UdpError, UdpSocket};
pub use stack::Stack;
pub use status::{Ipv4Source, Ipv4Status, NetStatus};
pub use time::UnixTime;
