//! What the stack tells about itself.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use heapless::Vec;
use nic::exchange::NicCounters;
use nic::{Link, MacAddress};

use crate::settings::NodeName;

/// Most IPv6 addresses that a node has at once.
pub const IPV6_ADDRESSES: usize = 4;
/// Most DNS or NTP servers that are kept.
pub const SERVERS: usize = 3;

/// How the node came by its IPv4 address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ipv4Source {
    /// From the settings.
    Static,
    /// Chosen by the node itself, because no DHCP server answers.
    LinkLocal,
    /// From a DHCP server.
    Dhcp {
        /// The server.
        server: Ipv4Addr,
        /// Seconds until the lease ends.
        lease_left_s: u64,
    },
}

/// The node's IPv4 address and what came with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ipv4Status {
    /// The address.
    pub address: Ipv4Addr,
    /// Length of the network's prefix in bits.
    pub prefix_len: u8,
    /// Where it came from.
    pub source: Ipv4Source,
    /// The default router.
    pub gateway: Option<Ipv4Addr>,
    /// DNS servers.
    pub dns: Vec<Ipv4Addr, SERVERS>,
    /// NTP servers.
    pub ntp: Vec<Ipv4Addr, SERVERS>,
}

/// The state of the network.
#[derive(Clone, Debug)]
pub struct NetStatus {
    /// The node's name; empty before the first controller is there, unless the settings give it.
    pub name: NodeName,
    /// The name that the link knows the node by, without `.local`: the same, or numbered if another node has it. Empty
    /// before it is verified.
    pub mdns_name: NodeName,
    /// Name of the controller's driver, if there is a controller.
    pub driver: Option<&'static str>,
    /// The state of the cable.
    pub link: Link,
    /// The controller's address, if there is a controller.
    pub mac: Option<MacAddress>,
    /// The IPv4 address.
    pub ipv4: Option<Ipv4Status>,
    /// IPv6 addresses with the length of their prefix; the link-local one comes first.
    pub ipv6: Vec<(Ipv6Addr, u8), IPV6_ADDRESSES>,
    /// The IPv6 default router.
    pub ipv6_router: Option<Ipv6Addr>,
    /// Frames and bytes as the controller counts them.
    pub frames: NicCounters,
    /// Sockets that exist.
    pub sockets: usize,
    /// TCP connections that are open.
    pub tcp_connections: usize,
}

impl NetStatus {
    /// Returns the addresses of the node.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> + '_ {
        let ipv4 = self.ipv4.iter().map(|ipv4| IpAddr::V4(ipv4.address));
        ipv4.chain(self.ipv6.iter().map(|&(address, _)| IpAddr::V6(address)))
    }
}
