//! DHCP and what the node does without it, against a server made of smoltcp's packet types.

use std::cell::{Cell, RefCell};
use std::net::Ipv4Addr;
use std::rc::Rc;

use embassy_time::{Duration, Instant, Timer};
use net::{Event, Ipv4Settings, Ipv4Source};
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    DhcpMessageType, DhcpOption, DhcpPacket, DhcpRepr, EthernetAddress, EthernetFrame, EthernetProtocol, EthernetRepr,
    IpAddress, IpProtocol, Ipv4Packet, Ipv4Repr, UdpPacket, UdpRepr,
};

use crate::lab::{self, Lab, Node, Tap, settings, wait_until};

const SERVER_MAC: EthernetAddress = EthernetAddress([2, 0, 0, 0, 0, 1]);
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 254);
const SECOND: Duration = Duration::from_secs(1);

/// What a client asked for, and when.
#[derive(Clone, Debug)]
struct Asked {
    at: Instant,
    kind: DhcpMessageType,
    client_ip: Ipv4Addr,
    is_broadcast: bool,
    host_name: String,
    wants_ntp: bool,
}

/// A DHCP server whose manners a test can change.
pub(crate) struct Server {
    is_silent: Cell<bool>,
    refuses: Cell<bool>,
    /// Refuses under another transaction's number than the client's.
    is_confused: Cell<bool>,
    pub(crate) address: Cell<Ipv4Addr>,
    lease_s: Cell<u32>,
    asked: RefCell<Vec<Asked>>,
}

impl Server {
    pub(crate) fn start(lab: &Lab) -> Rc<Self> {
        let server = Rc::new(Self {
            is_silent: Cell::new(false),
            refuses: Cell::new(false),
            is_confused: Cell::new(false),
            address: Cell::new([10, 0, 0, 77].into()),
            lease_s: Cell::new(60),
            asked: RefCell::default(),
        });
        lab.tasks.spawn(server.clone().serve(lab.tap_of_nodes()));
        server
    }

    async fn serve(self: Rc<Self>, tap: Tap) {
        loop {
            let frame = tap.recv().await;
            if let Some(answer) = self.answer(&frame) {
                tap.send(&answer).await;
            }
        }
    }

    fn answer(&self, frame: &[u8]) -> Option<Vec<u8>> {
        let ethernet = EthernetFrame::new_checked(frame).ok()?;
        if ethernet.ethertype() == EthernetProtocol::Arp {
            return answer_arp(frame);
        }
        let ip = Ipv4Packet::new_checked(ethernet.payload()).ok()?;
        let udp = UdpPacket::new_checked(ip.payload()).ok().filter(|udp| udp.dst_port() == 67)?;
        let packet = DhcpPacket::new_checked(udp.payload()).ok()?;
        let asked = DhcpRepr::parse(&packet).ok()?;
        let option = |kind| packet.options().find(|option| option.kind == kind).map(|option| option.data.to_vec());
        assert_eq!(option(61).unwrap()[1..], ethernet.src_addr().0, "client identifier");
        self.asked.borrow_mut().push(Asked {
            at: Instant::now(),
            kind: asked.message_type,
            client_ip: asked.client_ip,
            is_broadcast: ip.dst_addr().is_broadcast(),
            host_name: String::from_utf8(option(12).unwrap()).unwrap(),
            wants_ntp: option(55).unwrap().contains(&42),
        });
        if self.is_silent.get() {
            return None;
        }
        let kind = match asked.message_type {
            DhcpMessageType::Discover => DhcpMessageType::Offer,
            DhcpMessageType::Request if self.refuses.get() => DhcpMessageType::Nak,
            DhcpMessageType::Request => DhcpMessageType::Ack,
            other => panic!("the client sent {other:?}"),
        };
        let ntp = [10, 0, 0, 253, 10, 0, 0, 252];
        let answer = DhcpRepr {
            message_type: kind,
            transaction_id: asked.transaction_id ^ u32::from(self.is_confused.get()),
            secs: 0,
            client_hardware_address: asked.client_hardware_address,
            client_ip: asked.client_ip,
            your_ip: self.address.get(),
            server_ip: SERVER,
            router: Some(SERVER),
            subnet_mask: Some([255, 255, 255, 0].into()),
            relay_agent_ip: Ipv4Addr::UNSPECIFIED,
            broadcast: false,
            requested_ip: None,
            client_identifier: None,
            server_identifier: Some(SERVER),
            parameter_request_list: None,
            dns_servers: Some([Ipv4Addr::new(9, 9, 9, 9)].into_iter().collect()),
            max_size: None,
            lease_duration: Some(self.lease_s.get()),
            renew_duration: None,
            rebind_duration: None,
            additional_options: &[DhcpOption { kind: 42, data: &ntp }],
        };
        Some(emit(&answer, asked.client_hardware_address))
    }

    fn asked(&self) -> Vec<Asked> {
        self.asked.borrow().clone()
    }
}

fn answer_arp(frame: &[u8]) -> Option<Vec<u8>> {
    if frame[14 + 24..14 + 28] != SERVER.octets() || frame[21] != 1 {
        return None;
    }
    let mut answer = frame[..42].to_vec();
    answer[..6].copy_from_slice(&frame[6..12]);
    answer[6..12].copy_from_slice(&SERVER_MAC.0);
    answer[21] = 2;
    answer[32..42].copy_from_slice(&frame[22..32]);
    answer[22..28].copy_from_slice(&SERVER_MAC.0);
    answer[28..32].copy_from_slice(&SERVER.octets());
    Some(answer)
}

fn emit(dhcp: &DhcpRepr<'_>, to: EthernetAddress) -> Vec<u8> {
    let checksums = ChecksumCapabilities::default();
    let udp = UdpRepr { src_port: 67, dst_port: 68 };
    let ip = Ipv4Repr {
        src_addr: SERVER,
        dst_addr: Ipv4Addr::BROADCAST,
        next_header: IpProtocol::Udp,
        payload_len: udp.header_len() + dhcp.buffer_len(),
        hop_limit: 64,
    };
    let ethernet = EthernetRepr { src_addr: SERVER_MAC, dst_addr: to, ethertype: EthernetProtocol::Ipv4 };
    let mut frame = vec![0; 14 + 20 + ip.payload_len];
    ethernet.emit(&mut EthernetFrame::new_unchecked(&mut frame));
    ip.emit(&mut Ipv4Packet::new_unchecked(&mut frame[14..]), &checksums);
    udp.emit(
        &mut UdpPacket::new_unchecked(&mut frame[34..]),
        &IpAddress::Ipv4(ip.src_addr),
        &IpAddress::Ipv4(ip.dst_addr),
        dhcp.buffer_len(),
        |payload| dhcp.emit(&mut DhcpPacket::new_unchecked(payload)).unwrap(),
        &checksums,
    );
    frame
}

fn address(node: &Node) -> Option<Ipv4Addr> {
    node.stack.ipv4_address()
}

async fn wait_address(node: &Node, timeout: Duration, address: Ipv4Addr) {
    wait_until(timeout, &format!("address {address}"), || node.stack.ipv4_address() == Some(address)).await;
}

fn is_link_local(node: &Node) -> bool {
    node.stack.status().ipv4.is_some_and(|ipv4| ipv4.source == Ipv4Source::LinkLocal)
}

#[test]
fn a_lease_brings_everything_and_is_announced() {
    lab::run(|lab| async move {
        let server = Server::start(&lab);
        let tap = lab.tap();
        let node = lab.node(1, settings(Ipv4Settings::Dhcp));
        wait_address(&node, SECOND / 10, server.address.get()).await;
        let status = node.stack.status();
        let ipv4 = status.ipv4.unwrap();
        assert_eq!(ipv4.prefix_len, 24);
        assert_eq!(ipv4.gateway, Some(SERVER));
        assert_eq!(ipv4.dns[..], [Ipv4Addr::new(9, 9, 9, 9)]);
        assert_eq!(ipv4.ntp[..], [Ipv4Addr::new(10, 0, 0, 253), Ipv4Addr::new(10, 0, 0, 252)]);
        assert_eq!(ipv4.source, Ipv4Source::Dhcp { server: SERVER, lease_left_s: 59 });
        let asked = server.asked();
        assert_eq!(asked.len(), 2);
        assert!(asked.iter().all(|asked| asked.host_name == "pi-123401" && asked.wants_ntp));
        // Twice, a second apart: an ARP request for the address from the address itself.
        for _ in 0..2 {
            let sender = tap
                .find(SECOND * 2, |frame| {
                    (frame[12..14] == [8, 6] && frame[28..32] == frame[38..42]).then(|| frame[28..32].to_vec())
                })
                .await;
            assert_eq!(sender.unwrap(), server.address.get().octets());
        }
    });
}

#[test]
fn a_lease_is_renewed_in_time_for_ever() {
    lab::run(|lab| async move {
        let server = Server::start(&lab);
        let node = lab.node(1, settings(Ipv4Settings::Dhcp));
        wait_address(&node, SECOND, server.address.get()).await;
        for _ in 0..600 {
            Timer::after(SECOND).await;
            assert_eq!(address(&node), Some(server.address.get()));
        }
        let renewals: Vec<_> = server.asked().split_off(2);
        // Half of 60 s, again and again, to the server alone.
        assert!((18..=21).contains(&renewals.len()), "{} renewals", renewals.len());
        for pair in renewals.windows(2) {
            let gap = (pair[1].at - pair[0].at).as_secs();
            assert!((29..=31).contains(&gap), "{gap} s");
        }
        assert!(renewals.iter().all(|asked| !asked.is_broadcast && asked.client_ip == server.address.get()));
        assert_eq!(node.stack.counters().get(Event::DhcpLost), 0);
    });
}

#[test]
fn a_server_that_goes_away_and_comes_back() {
    lab::run(|lab| async move {
        let server = Server::start(&lab);
        let node = lab.node(1, settings(Ipv4Settings::Dhcp));
        wait_address(&node, SECOND, server.address.get()).await;
        server.is_silent.set(true);
        server.asked.borrow_mut().clear();
        Timer::after(SECOND * 55).await;
        assert_eq!(address(&node), Some(server.address.get()), "the lease is still good");
        wait_until(SECOND * 6, "lease lost", || address(&node).is_none()).await;
        let asked = server.asked();
        assert!(asked.iter().any(|asked| !asked.is_broadcast), "asked its own server");
        assert!(asked.iter().any(|asked| asked.is_broadcast && asked.client_ip == server.address.get()), "then any");
        assert_eq!(node.stack.counters().get(Event::DhcpLost), 1);
        wait_until(SECOND * 30, "an address of its own", || is_link_local(&node)).await;
        server.is_silent.set(false);
        wait_address(&node, SECOND * 12, server.address.get()).await;
        assert_eq!(node.stack.status().addresses().filter(|address| address.is_ipv4()).count(), 1);
    });
}

#[test]
fn a_refused_renewal_starts_anew() {
    lab::run(|lab| async move {
        let server = Server::start(&lab);
        let node = lab.node(1, settings(Ipv4Settings::Dhcp));
        wait_address(&node, SECOND, server.address.get()).await;
        server.refuses.set(true);
        wait_until(SECOND * 40, "the address is given up", || address(&node).is_none()).await;
        server.refuses.set(false);
        server.address.set([10, 0, 0, 78].into());
        wait_address(&node, SECOND * 12, [10, 0, 0, 78].into()).await;
    });
}

#[test]
fn a_refusal_of_somebody_else_s_request_is_ignored() {
    lab::run(|lab| async move {
        let server = Server::start(&lab);
        let node = lab.node(1, settings(Ipv4Settings::Dhcp));
        wait_address(&node, SECOND, server.address.get()).await;
        server.refuses.set(true);
        server.is_confused.set(true);
        // The lease of 60 s is renewed after 30.
        Timer::after(SECOND * 40).await;
        assert!(server.asked().len() > 2, "no renewal was refused");
        assert_eq!(address(&node), Some(server.address.get()));
        assert_eq!(node.stack.counters().get(Event::DhcpLost), 0);
        assert!(node.stack.counters().get(Event::DhcpMalformed) > 0);
    });
}

#[test]
fn a_new_cable_asks_for_a_new_lease_and_keeps_connections() {
    lab::run(|lab| async move {
        let server = Server::start(&lab);
        server.lease_s.set(3600);
        let node = lab.node(1, settings(Ipv4Settings::Dhcp));
        wait_address(&node, SECOND, server.address.get()).await;
        Timer::after(SECOND * 5).await;
        server.asked.borrow_mut().clear();
        node.plug(false);
        Timer::after(SECOND * 2).await;
        node.plug(true);
        Timer::after(SECOND).await;
        assert_eq!(server.asked().first().unwrap().kind, DhcpMessageType::Discover);
        assert_eq!(address(&node), Some(server.address.get()), "the same address is kept without a gap");
        assert_eq!(node.stack.counters().get(Event::DhcpLost), 0);
        // Another network, where nobody knows the old address.
        node.plug(false);
        server.address.set([10, 0, 0, 99].into());
        node.plug(true);
        wait_address(&node, SECOND * 3, [10, 0, 0, 99].into()).await;
        // And one without a server: the old address does not stay.
        server.is_silent.set(true);
        node.plug(false);
        node.plug(true);
        wait_until(SECOND * 5, "the old address is gone", || address(&node).is_none()).await;
    });
}

#[test]
fn without_a_server_the_node_helps_itself() {
    lab::run(|lab| async move {
        let tap = lab.tap();
        let node = lab.node(1, settings(Ipv4Settings::Dhcp));
        wait_until(SECOND * 20, "an address of its own", || is_link_local(&node)).await;
        let own = address(&node).unwrap();
        let mut probes = 0;
        let mut announcements = 0;
        tap.find(SECOND * 5, |frame| {
            if frame[12..14] == [8, 6] && frame[38..42] == own.octets() {
                probes += u32::from(frame[28..32] == [0; 4]);
                announcements += u32::from(frame[28..32] == own.octets());
            }
            (announcements == 2).then_some(())
        })
        .await
        .unwrap();
        assert_eq!(probes, 3);
        // Two nodes without a server reach each other.
        let other = lab.node(2, settings(Ipv4Settings::Dhcp));
        wait_until(SECOND * 20, "an address of its own", || is_link_local(&other)).await;
        other.stack.ping(own.into(), 56, SECOND * 3).await.unwrap();
    });
}

fn arp(mac: [u8; 6], sender: Ipv4Addr, target: Ipv4Addr) -> Vec<u8> {
    let mut frame = [&[0xFF; 6], &mac[..], &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1], &mac, &sender.octets()].concat();
    frame.extend([0; 6]);
    frame.extend(target.octets());
    frame
}

#[test]
fn an_address_that_somebody_has_is_not_taken() {
    lab::run(|lab| async move {
        let tap = lab.tap();
        let rival = lab.tap();
        let node = lab.node(1, settings(Ipv4Settings::Dhcp));
        let target = |frame: &[u8]| {
            (frame[12..14] == [8, 6] && frame[28..32] == [0; 4])
                .then(|| Ipv4Addr::from(<[u8; 4]>::try_from(&frame[38..42]).unwrap()))
        };
        let first = tap.find(SECOND * 15, target).await.unwrap();
        rival.send(&arp([2, 0, 0, 0, 0, 9], first, first)).await;
        wait_until(SECOND * 20, "an address of its own", || is_link_local(&node)).await;
        let second = address(&node).unwrap();
        assert_ne!(second, first);
        assert!(node.stack.counters().get(Event::Ipv4Conflict) >= 1);
        // Once it has an address, it defends it, and gives it up when the rival insists.
        Timer::after(SECOND * 5).await;
        tap.clear();
        rival.send(&arp([2, 0, 0, 0, 0, 9], second, second)).await;
        let defence = |frame: &[u8]| (frame[28..32] == second.octets() && frame[6..12] == node.mac.0).then_some(());
        tap.find(SECOND, defence).await.expect("an announcement");
        assert_eq!(address(&node), Some(second));
        rival.send(&arp([2, 0, 0, 0, 0, 9], second, second)).await;
        wait_until(SECOND, "the address is given up", || address(&node).is_none()).await;
        wait_until(SECOND * 20, "another address", || address(&node).is_some_and(|third| third != second)).await;
    });
}

#[test]
fn the_stack_makes_progress_without_a_network() {
    lab::run(|lab| async move {
        let node = lab.node(1, settings(Ipv4Settings::Dhcp));
        node.plug(false);
        Timer::after(SECOND * 2).await;
        for _ in 0..10 {
            let before = node.stack.progress();
            Timer::after_millis(1100).await;
            assert_ne!(node.stack.progress(), before);
            assert!(node.stack.progress() - before < 20, "it should mostly sleep");
        }
    });
}
