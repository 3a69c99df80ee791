//! The multicast groups that the node listens to: told to the controller, which can then leave out all the others.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use nic::MacAddress;
use nic::exchange::Groups;
use smoltcp::wire::IpCidr;

use crate::address::ipv6::solicited_node;
use crate::stack::Stack;

/// Every host listens to these (RFC 1112, section 4; RFC 4291, section 2.7.1).
const ALL_SYSTEMS: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 1);
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

impl Stack {
    /// Says that groups, or addresses that belong to groups, have changed.
    pub(crate) fn change_groups(&self) {
        self.groups_changed.set(true);
        self.kick();
    }

    /// Keeps a group that a socket listens to. Sockets keep their groups for ever.
    pub(crate) fn listen_to(&self, group: IpAddr) {
        let mut joined = self.joined.borrow_mut();
        if !joined.contains(&group) {
            joined.push(group);
        }
        drop(joined);
        self.change_groups();
    }

    /// Tells the controller, if there is something new.
    pub(crate) fn tell_groups(&self) {
        if !self.groups_changed.take() {
            return;
        }
        let inner = self.inner.borrow();
        let own = inner.iface.ip_addrs().iter().filter_map(|cidr| match cidr {
            IpCidr::Ipv6(cidr) => Some(cidr.address()),
            IpCidr::Ipv4(_) => None,
        });
        let tentative = self.shared.watch.tentative.get();
        let of_addresses = own.chain(tentative).map(|address| IpAddr::V6(solicited_node(address)));
        let always = [ALL_SYSTEMS.into(), ALL_NODES.into()];
        let joined = self.joined.borrow();
        let groups = always.into_iter().chain(of_addresses).chain(joined.iter().copied());
        self.shared.exchange.set_groups(of(groups));
    }
}

/// Returns the groups as a controller knows them, each once.
fn of(groups: impl Iterator<Item = IpAddr>) -> Groups {
    let mut addresses = heapless::Vec::new();
    for address in groups.map(ethernet) {
        if !addresses.contains(&address) && addresses.push(address).is_err() {
            return Groups::All;
        }
    }
    Groups::Some(addresses)
}

/// Returns a group's Ethernet address (RFC 1112, section 6.4; RFC 2464, section 7).
fn ethernet(group: IpAddr) -> MacAddress {
    match group {
        IpAddr::V4(group) => {
            let [_, b, c, d] = group.octets();
            MacAddress([0x01, 0x00, 0x5e, b & 0x7f, c, d])
        }
        IpAddr::V6(group) => {
            let [.., a, b, c, d] = group.octets();
            MacAddress([0x33, 0x33, a, b, c, d])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_have_the_addresses_of_the_standards() {
        // RFC 1112, section 6.4: the low 23 bits.
        assert_eq!(ethernet([224, 0, 0, 251].into()), MacAddress([0x01, 0, 0x5e, 0, 0, 0xfb]));
        assert_eq!(ethernet([239, 255, 1, 2].into()), MacAddress([0x01, 0, 0x5e, 0x7f, 1, 2]));
        // RFC 4291, section 2.7.1: the solicited-node address of its example, 4037::01:800:200E:8C6C.
        let address = Ipv6Addr::new(0x4037, 0, 0, 0, 0x01, 0x0800, 0x200e, 0x8c6c);
        assert_eq!(ethernet(solicited_node(address).into()), MacAddress([0x33, 0x33, 0xff, 0x0e, 0x8c, 0x6c]));
    }

    #[test]
    fn a_group_is_told_once_and_too_many_are_all() {
        let group = |n: u8| IpAddr::from([224, 0, 0, n]);
        let twice = of([group(1), group(2), group(1)].into_iter());
        assert!(matches!(twice, Groups::Some(groups) if groups.len() == 2));
        assert_eq!(of((0..33).map(group)), Groups::All);
    }
}
