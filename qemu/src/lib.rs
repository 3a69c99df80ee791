//! Virtual boards: finds or installs QEMU, builds the image, runs nodes.
//!
//! ```no_run
//! # fn main() -> anyhow::Result<()> {
//! use std::time::Duration;
//! use qemu::{Network, Node, NodeConfig, Qemu};
//!
//! let qemu = Qemu::find_or_install(&mut |line| eprintln!("{line}"))?;
//! let built = qemu::build::kernel(&mut |_| ())?;
//! let mut config = NodeConfig::new(built.image);
//! config.network = Network::user().forward_tcp(80).forward_udp(7);
//! let node = Node::start(&qemu, config)?;
//! node.console().wait_for("dhcp", Duration::from_secs(10))?;
//! println!("curl http://localhost:{}/metrics", node.tcp_port(80)?);
//! # Ok(()) }
//! ```
//!
//! | module | what |
//! |---|---|
//! | [`find`] | QEMU on this machine and its version |
//! | [`bridge`] | a bridge, taps and dnsmasq of Linux, for root |
//! | [`namespace`] | a network that only some threads and programs see |
//! | [`gateway`] | TCP ports of the host that lead to nodes at a switch |
//! | [`install`] | QEMU from the system's package manager |
//! | [`apt`] | where this machine gets its packages from |
//! | [`build`] | the image: compiled, flattened, measured |
//! | [`elf`] | an ELF file as the flat image that the firmware loads |
//! | [`config`] | a virtual board as QEMU's command line |
//! | [`firmware`] | what enters the image at another exception level, or leaves another UART on the pins |
//! | [`node`] | a running QEMU, which never outlives its owner |
//! | [`console`] | a node's serial line: what it said, waiting for what it will say |
//! | [`terminal_line`] | what a line with cursor movements looks like in the end |
//! | [`qmp`] | QEMU's machine protocol |
//! | [`peer`] | the far end of a node's cable, in the test itself |
//! | [`switch`] | an Ethernet switch between nodes |
//! | [`usb_nic`] | models of real NICs on the node's USB bus |
#![forbid(unsafe_code)]

pub mod apt;
pub mod bridge;
pub mod build;
pub mod config;
pub mod console;
pub mod elf;
pub mod find;
pub mod firmware;
pub mod gateway;
pub mod install;
pub mod namespace;
pub mod node;
pub mod peer;
mod process;
pub mod qmp;
pub mod switch;
pub mod terminal_line;
pub mod usb_nic;
mod usbredir;

pub use bridge::Bridge;
pub use config::{Forward, Machine, Network, NicKind, NodeConfig, Protocol, Serial, UsbNet};
pub use console::{Console, Pattern, WaitError};
pub use find::{Qemu, Version};
pub use gateway::{Gateway, Target};
pub use namespace::Namespace;
pub use node::Node;
pub use peer::Peer;
pub use qmp::Qmp;
pub use switch::Switch;
pub use usb_models::nic::{Descriptors, Faults, Mistakes, Partner, Seen};
pub use usb_nic::UsbNic;
