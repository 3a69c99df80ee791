//! IPv6 addresses: duplicate detection and routers.

use std::cell::Cell;
use std::net::{IpAddr, Ipv6Addr};
use std::rc::Rc;

use embassy_time::{Duration, Timer};
use net::Event;
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    EthernetAddress, EthernetFrame, EthernetProtocol, EthernetRepr, Icmpv6Packet, Icmpv6Repr, IpProtocol, Ipv6Packet,
    Ipv6Repr, NdiscNeighborFlags, NdiscPrefixInfoFlags, NdiscPrefixInformation, NdiscRepr, NdiscRouterFlags,
};

use crate::lab::{self, Node, fixed, settings, wait_until};

const SECOND: Duration = Duration::from_secs(1);
const ROUTER: Ipv6Addr = Ipv6Addr::new(0xFE80, 0, 0, 0, 0, 0, 0, 1);
const ROUTER_MAC: EthernetAddress = EthernetAddress([2, 0, 0, 0, 0, 1]);
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xFF02, 0, 0, 0, 0, 0, 0, 1);
const LINK_LOCAL: Ipv6Addr = Ipv6Addr::new(0xFE80, 0, 0, 0, 0x5054, 0xFF, 0xFE12, 0x3401);
const GLOBAL: Ipv6Addr = Ipv6Addr::new(0x2001, 0xDB8, 0, 1, 0x5054, 0xFF, 0xFE12, 0x3401);

fn emit(from: Ipv6Addr, to: Ipv6Addr, message: NdiscRepr<'_>) -> Vec<u8> {
    let message = Icmpv6Repr::Ndisc(message);
    let ip = Ipv6Repr {
        src_addr: from,
        dst_addr: to,
        next_header: IpProtocol::Icmpv6,
        payload_len: message.buffer_len(),
        hop_limit: 255,
    };
    let dst_addr = EthernetAddress([0x33, 0x33, 0, 0, 0, 1]);
    let ethernet = EthernetRepr { src_addr: ROUTER_MAC, dst_addr, ethertype: EthernetProtocol::Ipv6 };
    let mut frame = vec![0; 14 + 40 + ip.payload_len];
    ethernet.emit(&mut EthernetFrame::new_unchecked(&mut frame));
    ip.emit(&mut Ipv6Packet::new_unchecked(&mut frame[14..]));
    let mut packet = Icmpv6Packet::new_unchecked(&mut frame[54..]);
    message.emit(&from, &to, &mut packet, &ChecksumCapabilities::default());
    frame
}

pub(crate) fn advertisement(router_s: u64, prefix_s: u64) -> Vec<u8> {
    advertisement_of(1, router_s, prefix_s)
}

/// As above, for another subnet.
fn advertisement_of(subnet: u16, router_s: u64, prefix_s: u64) -> Vec<u8> {
    let advert = NdiscRepr::RouterAdvert {
        hop_limit: 64,
        flags: NdiscRouterFlags::empty(),
        router_lifetime: smoltcp::time::Duration::from_secs(router_s),
        reachable_time: smoltcp::time::Duration::ZERO,
        retrans_time: smoltcp::time::Duration::ZERO,
        lladdr: Some(ROUTER_MAC.into()),
        mtu: None,
        prefix_info: Some(NdiscPrefixInformation {
            prefix_len: 64,
            flags: NdiscPrefixInfoFlags::ADDRCONF | NdiscPrefixInfoFlags::ON_LINK,
            valid_lifetime: smoltcp::time::Duration::from_secs(prefix_s),
            preferred_lifetime: smoltcp::time::Duration::from_secs(prefix_s),
            prefix: Ipv6Addr::new(0x2001, 0xDB8, 0, subnet, 0, 0, 0, 0),
        }),
    };
    emit(ROUTER, ALL_NODES, advert)
}

/// Returns the neighbour discovery message in a frame, with its source.
fn ndisc(frame: &[u8]) -> Option<(Ipv6Addr, NdiscRepr<'_>)> {
    let frame = EthernetFrame::new_checked(frame).ok().filter(|f| f.ethertype() == EthernetProtocol::Ipv6)?;
    let ip = Ipv6Packet::new_checked(frame.payload()).ok()?;
    let (source, target) = (ip.src_addr(), ip.dst_addr());
    let packet = Icmpv6Packet::new_checked(ip.payload()).ok()?;
    match Icmpv6Repr::parse(&source, &target, &packet, &ChecksumCapabilities::default()).ok()? {
        Icmpv6Repr::Ndisc(message) => Some((source, message)),
        _ => None,
    }
}

fn has(node: &Node, address: Ipv6Addr) -> bool {
    node.stack.status().addresses().any(|own| own == IpAddr::V6(address))
}

#[test]
fn a_router_gives_a_prefix_and_takes_it_away() {
    lab::run(|lab| async move {
        let tap = lab.tap();
        let node = lab.node(1, settings(fixed(1)));
        let solicits = |frame: &[u8]| matches!(ndisc(frame)?.1, NdiscRepr::RouterSolicit { .. }).then_some(());
        tap.find(SECOND * 2, solicits).await.expect("a solicitation");
        assert!(has(&node, LINK_LOCAL));
        tap.send(&advertisement(1800, 60)).await;
        let probes = |frame: &[u8]| match ndisc(frame)? {
            (from, NdiscRepr::NeighborSolicit { target_addr, .. }) if from.is_unspecified() => Some(target_addr),
            _ => None,
        };
        assert_eq!(tap.find(SECOND, probes).await, Some(GLOBAL), "asks before it uses");
        assert!(!has(&node, GLOBAL));
        wait_until(SECOND * 2, "the address", || has(&node, GLOBAL)).await;
        assert_eq!(node.stack.status().ipv6_router, Some(ROUTER));
        assert!(tap.find(SECOND * 20, solicits).await.is_none(), "it asks no more");
        // Renewed, then not.
        tap.send(&advertisement(1800, 60)).await;
        Timer::after(SECOND * 50).await;
        assert!(has(&node, GLOBAL));
        wait_until(SECOND * 11, "the address is gone", || !has(&node, GLOBAL)).await;
        assert!(has(&node, LINK_LOCAL));
        Timer::after(SECOND * 1800).await;
        assert_eq!(node.stack.status().ipv6_router, None);
    });
}

#[test]
fn without_a_router_the_node_asks_three_times_and_rests() {
    lab::run(|lab| async move {
        let tap = lab.tap();
        let node = lab.node(1, settings(fixed(1)));
        let mut solicitations = 0;
        tap.find(SECOND * 60, |frame| {
            solicitations += u32::from(matches!(ndisc(frame)?.1, NdiscRepr::RouterSolicit { .. }));
            None::<()>
        })
        .await;
        assert_eq!(solicitations, 3);
        let before = node.stack.progress();
        Timer::after(SECOND * 60).await;
        assert!((60..=70).contains(&(node.stack.progress() - before)), "it should mostly sleep");
        // A new cable may have a router.
        node.plug(false);
        node.plug(true);
        let solicits = |frame: &[u8]| matches!(ndisc(frame)?.1, NdiscRepr::RouterSolicit { .. }).then_some(());
        tap.find(SECOND * 3, solicits).await.expect("a solicitation");
    });
}

#[test]
fn an_address_that_somebody_has_is_not_used() {
    lab::run(|lab| async move {
        let tap = lab.tap();
        let rival = lab.tap();
        let node = lab.node(1, settings(fixed(1)));
        tap.find(SECOND, |frame| matches!(ndisc(frame)?.1, NdiscRepr::NeighborSolicit { .. }).then_some(()))
            .await
            .unwrap();
        let flags = NdiscNeighborFlags::OVERRIDE;
        let advert = NdiscRepr::NeighborAdvert { flags, target_addr: LINK_LOCAL, lladdr: Some(ROUTER_MAC.into()) };
        rival.send(&emit(LINK_LOCAL, ALL_NODES, advert)).await;
        Timer::after(SECOND * 10).await;
        assert!(!has(&node, LINK_LOCAL));
        assert_eq!(node.stack.counters().get(Event::Ipv6Conflict), 1);
        // IPv4 works all the same.
        assert!(node.stack.ipv4_address().is_some());
    });
}

#[test]
fn contested_prefixes_are_asked_for_once_and_forgotten_with_their_life() {
    lab::run(|lab| async move {
        let tap = lab.tap_of_nodes();
        let rival = lab.tap();
        let node = lab.node(1, settings(fixed(1)));
        wait_until(SECOND * 3, "the address", || has(&node, LINK_LOCAL)).await;
        tap.clear();
        // Somebody has every address but the link-local one.
        let is_contested = Rc::new(Cell::new(true));
        let probes = Rc::new(Cell::new(0));
        let (is_contested_now, count) = (is_contested.clone(), probes.clone());
        lab.tasks.spawn(async move {
            loop {
                let frame = tap.recv().await;
                let Some((from, NdiscRepr::NeighborSolicit { target_addr, .. })) = ndisc(&frame) else { continue };
                if from.is_unspecified() && is_contested_now.get() {
                    count.set(count.get() + 1);
                    Timer::after_millis(100).await;
                    let flags = NdiscNeighborFlags::OVERRIDE;
                    let advert = NdiscRepr::NeighborAdvert { flags, target_addr, lladdr: Some(ROUTER_MAC.into()) };
                    tap.send(&emit(target_addr, ALL_NODES, advert)).await;
                }
            }
        });
        // More than any list holds, one after the other.
        for subnet in 1..=6 {
            rival.send(&advertisement_of(subnet, 1800, 20)).await;
            Timer::after(SECOND * 25).await;
            assert_eq!(probes.get(), u32::from(subnet), "asked once each");
        }
        assert_eq!(node.stack.counters().get(Event::Ipv6Conflict), 6);
        // The rival is gone: the prefix gets another chance.
        is_contested.set(false);
        rival.send(&advertisement(1800, 60)).await;
        wait_until(SECOND * 3, "the address", || has(&node, GLOBAL)).await;
    });
}

#[test]
fn an_address_in_use_is_defended() {
    lab::run(|lab| async move {
        let tap = lab.tap();
        let node = lab.node(1, settings(fixed(1)));
        wait_until(SECOND * 3, "the address", || has(&node, LINK_LOCAL)).await;
        tap.clear();
        let solicit = NdiscRepr::NeighborSolicit { target_addr: LINK_LOCAL, lladdr: None };
        tap.send(&emit(Ipv6Addr::UNSPECIFIED, ALL_NODES, solicit)).await;
        let defends = |frame: &[u8]| match ndisc(frame)?.1 {
            NdiscRepr::NeighborAdvert { target_addr, flags, .. } => Some((target_addr, flags)),
            _ => None,
        };
        assert_eq!(tap.find(SECOND, defends).await, Some((LINK_LOCAL, NdiscNeighborFlags::OVERRIDE)));
    });
}

#[test]
fn a_switch_that_loops_takes_no_address_away() {
    lab::run(|lab| async move {
        let tap = lab.tap_of_nodes();
        let node = lab.node(1, settings(fixed(1)));
        // Every frame comes back once, and with it what asks whether somebody has the addresses (RFC 7527, section 1).
        lab.tasks.spawn(async move {
            loop {
                tap.send(&tap.recv().await).await;
            }
        });
        wait_until(SECOND * 10, "both addresses", || has(&node, LINK_LOCAL) && node.stack.ipv4_address().is_some())
            .await;
        Timer::after(SECOND * 30).await;
        let counters = node.stack.counters();
        assert!(counters.get(Event::EthernetLooped) > 3);
        assert_eq!((counters.get(Event::Ipv6Conflict), counters.get(Event::Ipv4Conflict)), (0, 0));
        assert!(has(&node, LINK_LOCAL) && node.stack.ipv4_address().is_some());
    });
}
