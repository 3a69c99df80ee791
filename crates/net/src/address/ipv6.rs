//! The node's IPv6 addresses.

use core::net::Ipv6Addr;

use nic::MacAddress;
use smoltcp::wire::{IpCidr, Ipv6Cidr};

use crate::address::ipv4::wait_link;
use crate::stack::Stack;

/// Keeps the node's IPv6 addresses, for ever. Run it as a task of its own.
pub async fn run(stack: &'static Stack) -> ! {
    let mut link = None;
    loop {
        link = Some(wait_link(stack, link).await);
        let address = from_prefix(Ipv6Addr::new(0xFE80, 0, 0, 0, 0, 0, 0, 0), stack.shared.mac.get());
        stack.inner.borrow_mut().iface.update_ip_addrs(|addresses| {
            addresses.retain(|cidr| matches!(cidr, IpCidr::Ipv4(_)));
            // There is room: the others were removed.
            let _ = addresses.insert(0, IpCidr::Ipv6(Ipv6Cidr::new(address, 64)));
        });
        stack.announce_change();
        stack.kick();
    }
}

/// Returns the address with the first half of `prefix` and the interface identifier of `mac` (RFC 4291, appendix A).
fn from_prefix(prefix: Ipv6Addr, mac: MacAddress) -> Ipv6Addr {
    let [a, b, c, d, e, f] = mac.0;
    let identifier = u64::from_be_bytes([a ^ 2, b, c, 0xFF, 0xFE, d, e, f]);
    Ipv6Addr::from(u128::from(prefix) & !u128::from(u64::MAX) | u128::from(identifier))
}
