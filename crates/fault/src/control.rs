//! What no fault touches unless it asks to (`control=yes`): without it a node under a fault could neither be reached nor
//! healed nor watched.

use heapless::Vec;

use crate::Direction;
use crate::packet::{Packet, protocol};

/// Most ports beside those of [`ALWAYS`].
pub const PORTS_MAX: usize = 8;

/// A port of the control channel, over TCP or UDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    /// One where this node serves.
    Own(u16),
    /// One where a server of this node's log or samples listens.
    Peer(u16),
    /// Either.
    Both(u16),
}

/// Ports by convention (IANA, Service Name and Transport Protocol Port Number Registry).
pub const ALWAYS: [Port; 10] = [
    Port::Own(22),
    Port::Own(80),
    // DHCP for IPv4 and IPv6: client and server.
    Port::Both(67),
    Port::Both(68),
    Port::Both(546),
    Port::Both(547),
    // NTP, as a client: all nodes' measurements are read by one clock, and a wrong clock is a fault of its own (`clock`).
    Port::Peer(123),
    Port::Both(5353),
    Port::Peer(514),
    Port::Peer(1883),
];

/// ICMPv6 messages that keep addresses and groups: multicast listeners (RFC 2710), neighbours and routers (RFC 4861),
/// and listeners again (RFC 3810).
const ICMPV6_HOUSEKEEPING: [u8; 9] = [130, 131, 132, 133, 134, 135, 136, 137, 143];

/// The control channel of a node.
#[derive(Debug, Default)]
pub(crate) struct Control {
    more: Vec<Port, PORTS_MAX>,
}

impl Control {
    /// Adds a port; one too many is not added.
    pub(crate) fn add(&mut self, port: Port) -> bool {
        self.more.push(port).is_ok()
    }

    /// Returns whether a frame belongs to it.
    pub(crate) fn has(&self, packet: &Packet, frame: &[u8], direction: Direction) -> bool {
        if packet.is_arp || packet.protocol == Some(protocol::IGMP) {
            return true;
        }
        if packet.icmpv6_type(frame).is_some_and(|kind| ICMPV6_HOUSEKEEPING.contains(&kind)) {
            return true;
        }
        let Some(ports) = packet.ports else { return false };
        let (peer, own) = match direction {
            Direction::In => ports,
            Direction::Out => (ports.1, ports.0),
        };
        ALWAYS.iter().chain(&self.more).any(|port| match *port {
            Port::Own(port) => port == own,
            Port::Peer(port) => port == peer,
            Port::Both(port) => port == own || port == peer,
        })
    }
}
