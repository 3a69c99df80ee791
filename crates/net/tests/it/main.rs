//! Nodes on a cable, in virtual time: what the other side received is what counts.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that can't go on must stop")]

mod backlog;
mod dhcp;
mod extra;
mod faults;
mod handshake;
mod http;
mod ipv6;
mod lab;
mod loss;
mod malformed;
mod mdns;
mod mqtt;
mod portal;
mod services;
mod syslog;
mod time;
