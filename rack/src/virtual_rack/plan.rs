//! What a rack is made of: as `up` was told, and as the supervisor reads it.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use anyhow::Result;
use qemu::config::DEFAULT_MAC;
use qemu::switch::dhcp::Subnet;
use serde::{Deserialize, Serialize};

/// Nodes at most: what the last byte of an Ethernet address leaves room for, see [`Plan::mac`].
pub(crate) const NODES_MAX: u8 = 100;
/// The gateway's address on every rack's network. Racks do not see each other, so all can have the same.
pub(crate) const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
const DHCP_SERVER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
pub(crate) const PREFIX_LEN: u8 = 24;
/// Node 1 has the address behind this.
const BEFORE_FIRST: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 10);

/// See the module. Boards and NICs are by name; paths are absolute.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Plan {
    /// How many nodes, up to [`NODES_MAX`].
    pub(crate) count: u8,
    /// QEMU's name of the board.
    pub(crate) board: String,
    /// The name of the NIC.
    pub(crate) nic: String,
    /// What each node's name begins with, if nodes are not named by their Ethernet addresses.
    pub(crate) prefix: Option<String>,
    /// The command line of every node, without its name.
    pub(crate) command_line: String,
    /// TCP ports of each node that a port of 127.0.0.1 leads to.
    pub(crate) forward: Vec<u16>,
    /// TCP ports of 127.0.0.1 that nodes reach at the gateway's address.
    pub(crate) expose: Vec<u16>,
    /// Where the traffic is recorded.
    pub(crate) pcap: Option<PathBuf>,
    /// Whether the nodes are at a bridge of Linux.
    pub(crate) is_bridged: bool,
    /// Whether idle nodes keep exact time, at the cost of this machine's.
    pub(crate) is_precise: bool,
    /// The image.
    pub(crate) image: PathBuf,
    /// The archive for every node's memory.
    pub(crate) archive: Option<PathBuf>,
}

impl Plan {
    /// Returns the numbers of its nodes.
    pub(crate) fn numbers(&self) -> impl Iterator<Item = u8> {
        1..=self.count
    }

    /// Returns a node's Ethernet address. They follow each other from QEMU's own first one on, because that is what QEMU gives to
    /// the boards that our models of NICs sit on.
    pub(crate) fn mac(number: u8) -> [u8; 6] {
        let mut mac = DEFAULT_MAC;
        mac[5] += number - 1;
        mac
    }

    /// Returns a node's address.
    pub(crate) fn address(number: u8) -> Ipv4Addr {
        Ipv4Addr::from_bits(BEFORE_FIRST.to_bits() + u32::from(number))
    }

    /// Returns a node's name.
    pub(crate) fn name(&self, number: u8) -> String {
        let [_, _, _, a, b, c] = Self::mac(number);
        match &self.prefix {
            Some(prefix) => format!("{prefix}-{number}"),
            // As a node names itself (`net/src/settings.rs`).
            None => format!("pi-{a:02x}{b:02x}{c:02x}"),
        }
    }

    /// Returns a node's command line. It always has the name, which tells the host keys of emulated boards apart.
    pub(crate) fn node_command_line(&self, number: u8) -> String {
        format!("name={} {}", self.name(number), self.command_line).trim_end().to_owned()
    }

    /// Returns the network.
    pub(crate) fn subnet() -> Subnet {
        let (first, count) = (Self::address(1), u32::from(NODES_MAX));
        Subnet { server: DHCP_SERVER, first, count, prefix_len: PREFIX_LEN, gateway: Some(GATEWAY), dns: None }
    }

    /// Reads it.
    ///
    /// # Errors
    /// When it is none.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self> {
        Ok(serde_json::from_slice(bytes)?)
    }
}

/// Returns an Ethernet address as text.
pub(crate) fn mac_text(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn plan() -> Plan {
        Plan {
            count: 3,
            board: "raspi3b".into(),
            nic: "usb-net".into(),
            prefix: None,
            command_line: "log=debug".into(),
            forward: vec![80],
            expose: Vec::new(),
            pcap: None,
            is_bridged: false,
            is_precise: false,
            image: "/i".into(),
            archive: None,
        }
    }

    #[test]
    fn every_node_has_its_own_name_and_addresses() {
        let mut plan = plan();
        plan.count = NODES_MAX;
        let mut names: Vec<_> = plan.numbers().map(|number| (plan.name(number), Plan::mac(number))).collect();
        assert_eq!((names[0].0.as_str(), names[1].0.as_str()), ("pi-123456", "pi-123457"));
        names.dedup();
        assert_eq!(names.len(), usize::from(NODES_MAX));
        assert_eq!(Plan::address(1), Ipv4Addr::new(10, 77, 0, 11));
        assert_eq!(Plan::address(NODES_MAX), Ipv4Addr::new(10, 77, 0, 110));
        assert_eq!(plan.node_command_line(2), "name=pi-123457 log=debug");
        plan.prefix = Some("web".into());
        assert_eq!((plan.name(2), plan.node_command_line(2)), ("web-2".into(), "name=web-2 log=debug".into()));
    }
}
