//! The node's IPv6 addresses: a link-local one, and one for each prefix that a router advertises.
//!
//! Each is made from the MAC address, and used only after nobody on the link objected (RFC 4862, section 5.4).

use core::future::poll_fn;
use core::net::Ipv6Addr;
use core::task::Poll;

use embassy_futures::select::{Either, Either3, select, select3};
use embassy_time::{Duration, Instant, Timer};
use heapless::Vec;
use nic::MacAddress;
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    EthernetAddress, EthernetFrame, EthernetProtocol, EthernetRepr, Icmpv6Packet, Icmpv6Repr, IpCidr, IpProtocol,
    Ipv6Cidr, Ipv6Packet, Ipv6Repr, NdiscNeighborFlags, NdiscRepr,
};

use crate::address::ipv4::wait_link;
use crate::address::slaac::Slaac;
use crate::handshake;
use crate::stack::{Inner, Stack, now};
use crate::status::IPV6_ADDRESSES;

// The constants of RFC 4861, section 10, and RFC 4862, section 5.1.
const MAX_RTR_SOLICITATIONS: u32 = 3;
const RTR_SOLICITATION_INTERVAL: Duration = Duration::from_secs(4);
const RETRANS_TIMER: Duration = Duration::from_secs(1);

const PREFIX_LEN: u8 = 64;
const LINK_LOCAL_PREFIX: Ipv6Addr = Ipv6Addr::new(0xFE80, 0, 0, 0, 0, 0, 0, 0);
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xFF02, 0, 0, 0, 0, 0, 0, 1);
const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xFF02, 0, 0, 0, 0, 0, 0, 2);

/// Keeps the node's IPv6 addresses, for ever. Run it as a task of its own.
pub async fn run(stack: &'static Stack) -> ! {
    let mut link = None;
    loop {
        link = Some(wait_link(stack, link).await);
        // Ends when the link has come up once more, which the next round starts with.
        select(keep(stack), wait_link(stack, link)).await;
    }
}

/// Keeps the addresses on one link, for ever.
async fn keep(stack: &'static Stack) -> ! {
    stack.set_ipv6(&[], None);
    let mac = stack.shared.mac.get();
    let link_local = from_prefix(LINK_LOCAL_PREFIX, mac);
    if has_duplicate(stack, link_local).await {
        // RFC 4862, section 5.4.5: two stations with the same MAC address; there is no point in trying others.
        core::future::pending::<()>().await;
    }
    let mut slaac = Slaac::default();
    // Addresses that nobody objected to; and those for which somebody did.
    let mut verified: Vec<Ipv6Addr, IPV6_ADDRESSES> = [link_local].into_iter().collect();
    let mut refused: Vec<Ipv6Addr, IPV6_ADDRESSES> = Vec::new();
    let mut solicitations = 0;
    let mut solicit = Instant::now();
    loop {
        let now = Instant::now();
        let end = slaac.expire(now);
        let is_advertised =
            |address: &Ipv6Addr| slaac.prefixes.iter().any(|prefix| from_prefix(prefix.prefix, mac) == *address);
        verified.retain(|address| *address == link_local || is_advertised(address));
        refused.retain(is_advertised);
        stack.set_ipv6(&verified, slaac.router.map(|(router, _)| router));
        let mut addresses = slaac.prefixes.iter().map(|prefix| from_prefix(prefix.prefix, mac));
        let new = addresses.find(|address| !verified.contains(address) && !refused.contains(address));
        // There is room for as many as there are prefixes. If there were not, asking could go on for ever.
        if let Some(address) = new.filter(|_| !verified.is_full() && !refused.is_full()) {
            let list = if has_duplicate(stack, address).await { &mut refused } else { &mut verified };
            // See above.
            let _ = list.push(address);
            continue;
        }
        if now >= solicit {
            solicitations += 1;
            let is_last = solicitations == MAX_RTR_SOLICITATIONS;
            solicit = if is_last { Instant::MAX } else { now + RTR_SOLICITATION_INTERVAL };
            let lladdr = Some(EthernetAddress(mac.0).into());
            stack.send_ndisc(link_local, ALL_ROUTERS, &NdiscRepr::RouterSolicit { lladdr });
        }
        match select3(advertisement(stack, &mut slaac), challenge(stack), Timer::at(end.min(solicit))).await {
            Either3::First(()) => solicit = Instant::MAX,
            Either3::Second(target) => {
                let lladdr = Some(EthernetAddress(mac.0).into());
                let advert =
                    NdiscRepr::NeighborAdvert { flags: NdiscNeighborFlags::OVERRIDE, target_addr: target, lladdr };
                stack.send_ndisc(target, ALL_NODES, &advert);
            }
            Either3::Third(()) => {}
        }
    }
}

/// Asks whether somebody has `address`, or wants it too.
async fn has_duplicate(stack: &Stack, address: Ipv6Addr) -> bool {
    let watch = &stack.shared.watch;
    watch.has_ipv6_conflict.set(false);
    watch.tentative.set(Some(address));
    // Who wants the address too asks the group of it.
    stack.change_groups();
    let solicit = NdiscRepr::NeighborSolicit { target_addr: address, lladdr: None };
    stack.send_ndisc(Ipv6Addr::UNSPECIFIED, solicited_node(address), &solicit);
    let conflict = poll_fn(|cx| {
        if watch.has_ipv6_conflict.replace(false) {
            return Poll::Ready(());
        }
        watch.ipv6_waker.borrow_mut().register(cx.waker());
        Poll::Pending
    });
    let result = select(conflict, Timer::after(RETRANS_TIMER)).await;
    watch.tentative.set(None);
    matches!(result, Either::First(()))
}

/// Waits for a router's advertisement and takes it in.
async fn advertisement(stack: &Stack, slaac: &mut Slaac) {
    let watch = &stack.shared.watch;
    poll_fn(|cx| {
        watch.ipv6_waker.borrow_mut().register(cx.waker());
        let Some(advertisement) = watch.advertisement.take() else { return Poll::Pending };
        let message = advertisement.message.get(..advertisement.len).unwrap_or_default();
        if slaac.advertise(advertisement.router, message, Instant::now()) {
            return Poll::Ready(());
        }
        stack.shared.counters.count(crate::counters::Event::IcmpMalformed);
        Poll::Pending
    })
    .await
}

/// Waits until another station asks whether somebody has one of our addresses, which smoltcp does not answer.
async fn challenge(stack: &Stack) -> Ipv6Addr {
    let watch = &stack.shared.watch;
    poll_fn(|cx| match watch.challenged.take() {
        Some(address) => Poll::Ready(address),
        None => {
            watch.ipv6_waker.borrow_mut().register(cx.waker());
            Poll::Pending
        }
    })
    .await
}

impl Stack {
    /// Puts other IPv6 addresses, and another default router, in the place of the present ones.
    fn set_ipv6(&self, new: &[Ipv6Addr], router: Option<Ipv6Addr>) {
        let mut inner = self.inner.borrow_mut();
        let old = inner.iface.ip_addrs().iter().filter_map(|cidr| match cidr {
            IpCidr::Ipv6(cidr) => Some(cidr.address()),
            IpCidr::Ipv4(_) => None,
        });
        let old_router = inner.iface.routes().get_default_ipv6_route().map(|route| route.via_router);
        let is_same = old.eq(new.iter().copied());
        if is_same && old_router == router.map(Into::into) {
            return;
        }
        if !is_same {
            let Inner { iface, sockets, device, .. } = &mut *inner;
            handshake::change_addresses(device, iface, sockets, now(), |addresses| {
                addresses.retain(|cidr| matches!(cidr, IpCidr::Ipv4(_)));
                for address in new {
                    // There is room: for all prefixes, the link-local address and an IPv4 address.
                    let _ = addresses.push(IpCidr::Ipv6(Ipv6Cidr::new(*address, PREFIX_LEN)));
                }
            });
        }
        match router {
            Some(router) => {
                // There is room: one IPv4 and one IPv6 router.
                let _ = inner.iface.routes_mut().add_default_ipv6_route(router);
            }
            None => {
                inner.iface.routes_mut().remove_default_ipv6_route();
            }
        }
        drop(inner);
        *self.shared.watch.ipv6.borrow_mut() = new.iter().copied().collect();
        self.announce_change();
        self.change_groups();
    }

    /// Sends a neighbour discovery message past smoltcp, which sends none for its user.
    fn send_ndisc(&self, from: Ipv6Addr, to: Ipv6Addr, message: &NdiscRepr<'_>) {
        let Some(buffer) = self.shared.exchange.take_tx() else { return };
        let message = Icmpv6Repr::Ndisc(*message);
        let ip = Ipv6Repr {
            src_addr: from,
            dst_addr: to,
            next_header: IpProtocol::Icmpv6,
            payload_len: message.buffer_len(),
            hop_limit: 255,
        };
        let [.., a, b, c, d] = to.octets();
        let ethernet = EthernetRepr {
            src_addr: EthernetAddress(self.shared.mac.get().0),
            dst_addr: EthernetAddress([0x33, 0x33, a, b, c, d]),
            ethertype: EthernetProtocol::Ipv6,
        };
        buffer.send_if(14 + ip.buffer_len() + ip.payload_len, |frame| {
            ethernet.emit(&mut EthernetFrame::new_unchecked(&mut *frame));
            let mut packet = Ipv6Packet::new_unchecked(frame.get_mut(14..).unwrap_or_default());
            ip.emit(&mut packet);
            let mut packet = Icmpv6Packet::new_unchecked(packet.payload_mut());
            message.emit(&from, &to, &mut packet, &ChecksumCapabilities::default());
            ((), self.shared.goes_out(frame))
        });
    }
}

/// Returns the address with the first half of `prefix` and the interface identifier of `mac` (RFC 4291, appendix A).
fn from_prefix(prefix: Ipv6Addr, mac: MacAddress) -> Ipv6Addr {
    let [a, b, c, d, e, f] = mac.0;
    let identifier = u64::from_be_bytes([a ^ 2, b, c, 0xFF, 0xFE, d, e, f]);
    Ipv6Addr::from(u128::from(prefix) & !u128::from(u64::MAX) | u128::from(identifier))
}

/// Returns the group of those whose address ends like `address` (RFC 4291, section 2.7.1).
pub(crate) fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    let [.., a, b] = address.segments();
    Ipv6Addr::new(0xFF02, 0, 0, 0, 0, 1, 0xFF00 | a & 0xFF, b)
}
