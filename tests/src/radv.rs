//! A router that advertises a prefix, so that nodes make themselves an address in it (SLAAC, RFC 4862).

use std::net::Ipv6Addr;

use crate::lab::HOST_MAC;
use crate::packet::{self, ICMPV6, IPV6};

/// Where routers advertise to: all nodes (RFC 4861, section 4.2), and its Ethernet address (RFC 2464, section 7).
const ALL_NODES: (Ipv6Addr, packet::Mac) = (Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1), [0x33, 0x33, 0, 0, 0, 1]);

/// Returns a frame that advertises `prefix` (64 bits) for autonomous configuration.
#[must_use]
pub fn advertisement(router: Ipv6Addr, prefix: Ipv6Addr, lifetime_s: u32) -> Vec<u8> {
    // RFC 4861, section 4.2: hop limit 64, no flags, router lifetime 1,800 s, timers unspecified.
    let mut message = vec![134, 0, 0, 0, 64, 0, 0x07, 0x08, 0, 0, 0, 0, 0, 0, 0, 0];
    // Section 4.6.1: the router's Ethernet address.
    message.extend([1, 1]);
    message.extend(HOST_MAC);
    // Section 4.6.2: 64 bits of prefix, on this link and for autonomous configuration.
    message.extend([3, 4, 64, 0xc0]);
    message.extend(lifetime_s.to_be_bytes());
    message.extend(lifetime_s.to_be_bytes());
    message.extend([0; 4]);
    message.extend(prefix.octets());
    let message = packet::icmpv6(router, ALL_NODES.0, message);
    let packet = packet::ipv6(router, ALL_NODES.0, ICMPV6, 255, &message);
    packet::ethernet(ALL_NODES.1, HOST_MAC, IPV6, &packet)
}

/// Returns the address that a station with this Ethernet address makes itself in a network (RFC 4291, appendix A).
#[must_use]
pub fn eui64(prefix: Ipv6Addr, mac: packet::Mac) -> Ipv6Addr {
    let mut octets = prefix.octets();
    let [a, b, c, d, e, f] = mac;
    octets[8..].copy_from_slice(&[a ^ 2, b, c, 0xff, 0xfe, d, e, f]);
    Ipv6Addr::from(octets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_identifier_is_made_as_in_rfc_4291() {
        // Appendix A: 34-56-78-9A-BC-DE gives 3656:78ff:fe9a:bcde.
        let address = eui64(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), [0x34, 0x56, 0x78, 0x9a, 0xbc, 0xde]);
        assert_eq!(address, Ipv6Addr::new(0xfe80, 0, 0, 0, 0x3656, 0x78ff, 0xfe9a, 0xbcde));
    }
}
