//! What the integration tests and the benches share: a private network with real clients, the servers that a node
//! talks to, and readers for what it answers.
//!
//! - [`lab`]: the network that a test lives in; where the machine allows it a network namespace with a tap device
//! - [`node`]: a booted node and what can be asked of it
//! - [`shell`], [`traffic`]: typing commands; load from a thread
//! - [`python`]: programs from PyPI
//! - [`slots`]: at most two nodes at a time on this machine
//! - [`dhcp`], [`ntp`], [`mdns`], [`radv`]: the other side of the node's protocols, written from the RFCs
//! - [`program`], [`syslog`], [`mqtt`]: servers of others, started and stopped
//! - [`tool`]: the host tool, with racks of a test's own, and on a terminal
//! - [`openssh`], [`defmt`]: clients of others; [`events`]: one of ours, for live events
//! - [`http`], [`metrics`], [`scrape`]: a keep-alive client, a reader of Prometheus' text format, and what that costs
//! - [`crowd`]: slow and hostile clients, and clients that behave among them
//! - [`instructions`]: what a core executes, counted
//! - [`frames`], [`packet`], [`ping`], [`malformed`]: raw Ethernet, pings of our own, and frames that no sane peer sends
#![forbid(unsafe_code)]

pub mod browser;
pub mod crowd;
pub mod defmt;
pub mod dhcp;
pub mod events;
pub mod frames;
pub mod http;
pub mod instructions;
pub mod lab;
pub mod malformed;
pub mod mdns;
pub mod metrics;
pub mod mqtt;
pub mod node;
pub mod ntp;
pub mod openssh;
pub mod packet;
pub mod ping;
pub mod program;
pub mod python;
pub mod radv;
pub mod scrape;
pub mod shell;
pub mod slots;
pub mod syslog;
pub mod tool;
pub mod traffic;
pub mod wait;
