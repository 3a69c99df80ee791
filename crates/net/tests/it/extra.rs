//! An extra address: taken, announced, answered for, given back, and against others.

use std::net::Ipv4Addr;

use embassy_time::{Duration, Instant, Timer, with_timeout};
use embedded_io_async::{Read, Write};
use net::{Event, TcpSocket};
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{Icmpv4Packet, Icmpv4Repr, IpProtocol, Ipv4Packet, Ipv4Repr};
use sockets::address::{AddressLoss, AddressState, Station};
use sockets::{AddressClaim, Network};

use crate::dhcp::Server;
use crate::lab::{self, Lab, Node, Tap, fixed, settings, wait_until};

const EXTRA: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 250);
const STRANGER: [u8; 6] = [2, 0, 0, 0, 0, 9];
const SECOND: Duration = Duration::from_secs(1);

/// A node whose programs may claim an address.
fn host(lab: &Lab, last: u8) -> (Node, &'static Network) {
    let node = lab.node(last, settings(fixed(last)));
    let network: &'static Network = Box::leak(Box::new(Network::new()));
    lab.tasks.spawn(net::address::run_extra(node.stack, network));
    (node, network)
}

fn claim(network: &'static Network, lasts: Duration) -> AddressClaim {
    network.claim_address(EXTRA, Instant::now() + lasts).unwrap()
}

async fn state(claim: &AddressClaim) -> AddressState {
    with_timeout(SECOND, claim.wait_state(AddressState::Asked)).await.expect("nothing became of the claim")
}

/// An ARP request: who has `target`? From `mac` with `sender`.
fn arp(mac: [u8; 6], sender: Ipv4Addr, target: Ipv4Addr) -> Vec<u8> {
    let head: [&[u8]; 4] = [&[0xFF; 6], &mac, &[8, 6], &[0, 1, 8, 0, 6, 4, 0, 1]];
    let body: [&[u8]; 4] = [&mac, &sender.octets(), &[0; 6], &target.octets()];
    head.concat().into_iter().chain(body.concat()).collect()
}

/// Returns sender's Ethernet address, sender's address and target of an ARP packet.
fn read_arp(frame: &[u8]) -> Option<([u8; 6], Ipv4Addr, Ipv4Addr)> {
    let ip = |at: usize| Some(Ipv4Addr::from(*frame.get(at..)?.first_chunk::<4>()?));
    (frame.get(12..14)? == [8, 6]).then_some(())?;
    Some((*frame.get(22..)?.first_chunk()?, ip(28)?, ip(38)?))
}

/// Returns who says that it has the extra address, when asked by somebody.
async fn who_has(tap: &Tap) -> Option<[u8; 6]> {
    tap.clear();
    tap.send(&arp(STRANGER, [10, 0, 0, 9].into(), EXTRA)).await;
    let is_answer = |frame: &[u8]| read_arp(frame).filter(|(_, sender, _)| *sender == EXTRA).map(|(mac, ..)| mac);
    tap.find(Duration::from_millis(200), is_answer).await
}

#[test]
fn an_address_is_looked_for_announced_and_answered_for_while_it_is_held() {
    lab::run(|lab| async move {
        let tap = lab.tap();
        let (node, network) = host(&lab, 1);
        Timer::after(SECOND).await;
        assert_eq!(who_has(&tap).await, None);
        tap.clear();
        let asked = Instant::now();
        let held = claim(network, SECOND * 60);
        assert_eq!(state(&held).await, AddressState::Held);
        assert!((70..200).contains(&asked.elapsed().as_millis()), "{} ms", asked.elapsed().as_millis());
        let probe = tap.find(SECOND, read_arp).await.unwrap();
        assert_eq!(probe, (node.mac.0, Ipv4Addr::UNSPECIFIED, EXTRA));
        // Four times, so that a lost frame or two don't matter (RFC 5227, section 2.3: sender and target are the same).
        for _ in 0..4 {
            let is_announcement = |frame: &[u8]| read_arp(frame).filter(|(_, sender, target)| sender == target);
            let announcement = tap.find(SECOND * 3, is_announcement).await.unwrap();
            assert_eq!(announcement, (node.mac.0, EXTRA, EXTRA));
        }
        assert_eq!(node.stack.extra_ipv4_address(), Some(EXTRA));
        assert_eq!(who_has(&tap).await, Some(node.mac.0));
        // Who probes it, and who probes the node's own, is told.
        for address in [EXTRA, [10, 0, 0, 1].into()] {
            tap.clear();
            tap.send(&arp(STRANGER, Ipv4Addr::UNSPECIFIED, address)).await;
            let is_defence = |frame: &[u8]| read_arp(frame).filter(|(_, sender, _)| *sender == address);
            assert!(tap.find(SECOND, is_defence).await.is_some(), "{address} is not defended");
        }
        assert_eq!(node.stack.counters().get(Event::ExtraTaken), 1);
        // A program that is stopped drops what it has.
        drop(held);
        Timer::after_millis(10).await;
        assert_eq!((who_has(&tap).await, node.stack.extra_ipv4_address()), (None, None));
        assert_eq!(node.stack.ipv4_address(), Some([10, 0, 0, 1].into()));
        assert_eq!(node.stack.counters().get(Event::ExtraExpired), 0);
    });
}

#[test]
fn an_address_is_taken_away_when_its_time_is_over_whatever_the_program_does() {
    lab::run(|lab| async move {
        let tap = lab.tap();
        let (node, network) = host(&lab, 1);
        Timer::after(SECOND).await;
        let began = Instant::now();
        let held = claim(network, SECOND);
        assert_eq!(state(&held).await, AddressState::Held);
        Timer::at(began + SECOND / 2).await;
        held.renew(began + SECOND * 2);
        Timer::at(began + Duration::from_millis(1900)).await;
        assert_eq!(who_has(&tap).await, Some(node.mac.0), "renewed, it lasts");
        // The program stands still from here on.
        Timer::at(began + Duration::from_millis(2001)).await;
        assert_eq!((who_has(&tap).await, node.stack.extra_ipv4_address()), (None, None));
        held.renew(began + SECOND * 90);
        assert_eq!(held.state(), AddressState::Lost(AddressLoss::Expired), "too late");
        assert_eq!(who_has(&tap).await, None);
        assert_eq!(node.stack.counters().get(Event::ExtraExpired), 1);
        // An end that comes sooner than it was to is obeyed at once.
        drop(held);
        let held = claim(network, SECOND * 60);
        assert_eq!(state(&held).await, AddressState::Held);
        held.renew(Instant::now() + Duration::from_millis(50));
        Timer::after_millis(51).await;
        assert_eq!(who_has(&tap).await, None);
    });
}

#[test]
fn an_address_that_somebody_has_is_not_taken_and_given_up_when_somebody_comes() {
    lab::run(|lab| async move {
        let (tap, stranger) = (lab.tap(), lab.tap_of_nodes());
        let (node, network) = host(&lab, 1);
        Timer::after(SECOND).await;
        // Somebody answers the probe.
        let refused = claim(network, SECOND * 60);
        stranger.find(SECOND, |frame| read_arp(frame).filter(|(_, _, target)| *target == EXTRA)).await.unwrap();
        stranger.send(&arp(STRANGER, EXTRA, EXTRA)).await;
        let conflict = AddressState::Lost(AddressLoss::Conflict(Station(STRANGER)));
        assert_eq!(state(&refused).await, conflict);
        assert_eq!(who_has(&tap).await, None);
        drop(refused);
        // Somebody comes later.
        let held = claim(network, SECOND * 60);
        assert_eq!(state(&held).await, AddressState::Held);
        stranger.send(&arp(STRANGER, EXTRA, [10, 0, 0, 1].into())).await;
        assert_eq!(with_timeout(SECOND, held.wait_state(AddressState::Held)).await.unwrap(), conflict);
        assert_eq!((who_has(&tap).await, node.stack.extra_ipv4_address()), (None, None));
        assert_eq!(node.stack.counters().get(Event::ExtraConflict), 2);
        assert_eq!(node.stack.counters().get(Event::Ipv4Conflict), 0);
        node.assert_no_leak();
    });
}

#[test]
fn only_addresses_of_the_subnet_that_nobody_is_known_to_have_can_be_claimed() {
    lab::run(|lab| async move {
        let gateway = net::Ipv4Settings::Static {
            address: [10, 0, 0, 1].into(),
            prefix_len: 24,
            gateway: Some([10, 0, 0, 254].into()),
        };
        let node = lab.node(1, settings(gateway));
        let network: &'static Network = Box::leak(Box::new(Network::new()));
        lab.tasks.spawn(net::address::run_extra(node.stack, network));
        wait_until(SECOND, "an address", || node.stack.ipv4_address().is_some()).await;
        for (address, loss) in [
            ([10, 0, 1, 250], AddressLoss::Elsewhere),
            ([10, 0, 0, 1], AddressLoss::Own),
            ([10, 0, 0, 254], AddressLoss::Router),
            ([10, 0, 0, 255], AddressLoss::NoStation),
            ([10, 0, 0, 0], AddressLoss::NoStation),
            ([255, 255, 255, 255], AddressLoss::NoStation),
            ([224, 0, 0, 1], AddressLoss::NoStation),
            ([127, 0, 0, 1], AddressLoss::NoStation),
            ([0, 0, 0, 0], AddressLoss::NoStation),
        ] {
            let claim = network.claim_address(address.into(), Instant::now() + SECOND).unwrap();
            assert_eq!(state(&claim).await, AddressState::Lost(loss), "{address:?}");
        }
        assert_eq!(node.stack.counters().get(Event::ExtraTaken), 0);
        // One that waits for a DHCP server has no network yet.
        let node = lab.node(2, settings(net::Ipv4Settings::Dhcp));
        let network: &'static Network = Box::leak(Box::new(Network::new()));
        lab.tasks.spawn(net::address::run_extra(node.stack, network));
        let claim = claim(network, SECOND * 9);
        assert_eq!(state(&claim).await, AddressState::Lost(AddressLoss::NoNetwork));
    });
}

#[test]
fn an_address_that_a_node_without_a_lease_can_t_have_is_its_own_with_one() {
    lab::run(|lab| async move {
        let node = lab.node(1, settings(net::Ipv4Settings::Dhcp));
        let network: &'static Network = Box::leak(Box::new(Network::new()));
        lab.tasks.spawn(net::address::run_extra(node.stack, network));
        wait_until(SECOND * 20, "a link-local address", || {
            node.stack.ipv4_address().is_some_and(|own| own.is_link_local())
        })
        .await;
        let refused = claim(network, SECOND * 60);
        let AddressState::Lost(loss) = state(&refused).await else { panic!("it is not in the node's network") };
        assert!(loss == AddressLoss::Elsewhere && !loss.is_for_good(), "{loss}");
        drop(refused);
        let server = Server::start(&lab);
        wait_until(SECOND * 90, "a lease", || node.stack.ipv4_address() == Some(server.address.get())).await;
        let held = claim(network, SECOND * 60);
        assert_eq!(state(&held).await, AddressState::Held);
        assert_eq!(node.stack.extra_ipv4_address(), Some(EXTRA));
    });
}

#[test]
fn clients_on_the_link_reach_the_next_holder_at_once_and_the_old_one_tells_its_own() {
    lab::run(|lab| async move {
        let (one, first) = host(&lab, 1);
        let (two, second) = host(&lab, 2);
        let client = lab.node(3, settings(fixed(3)));
        for node in [&one, &two] {
            lab.tasks.spawn(net::services::tcp_echo(node.stack));
            lab.tasks.spawn(net::services::tcp_echo(node.stack));
        }
        Timer::after(SECOND).await;
        let held = claim(first, SECOND * 60);
        assert_eq!(state(&held).await, AddressState::Held);
        let mut socket = connect(&client).await;
        echo(&mut socket).await;
        // Given back: who is connected is told at once.
        drop(held);
        let mut byte = [0];
        let end = with_timeout(SECOND / 10, socket.read(&mut byte)).await.expect("the client was not told");
        assert!(end.is_err(), "{end:?}");
        // Taken by another: new connections go there, though the client had the first one's Ethernet address.
        let held = claim(second, SECOND * 60);
        assert_eq!(state(&held).await, AddressState::Held);
        let began = Instant::now();
        let mut socket = connect(&client).await;
        echo(&mut socket).await;
        assert!(began.elapsed() < SECOND / 10, "{} ms", began.elapsed().as_millis());
        // Its holder falls silent, and the first takes over: what the client sends reaches that, which knows nothing of the connection.
        two.plug(false);
        let again = claim(first, SECOND * 60);
        assert_eq!(state(&again).await, AddressState::Held);
        // TCP sends it three times, a second and two apart: first to the former holder, as it has not heard the announcement yet; then
        // to the new one, which asks who the client is, since smoltcp forgets its neighbours with each change of addresses.
        let _ = socket.write_all(b"x").await;
        let end = with_timeout(SECOND * 8, socket.read(&mut byte)).await.expect("the client was not told");
        assert!(end.is_err(), "{end:?}");
        let mut socket = connect(&client).await;
        echo(&mut socket).await;
        // The other comes back and still means to have it: it is told by what it hears, or tells, and one of them gives up.
        two.plug(true);
        wait_until(SECOND * 2, "one holder", || {
            let both = [&one, &two].map(|node| node.stack.extra_ipv4_address().is_some());
            both != [true, true]
        })
        .await;
        drop(held);
    });
}

#[test]
fn the_nodes_own_conversations_go_on_while_an_address_comes_and_goes() {
    lab::run(|lab| async move {
        let (node, network) = host(&lab, 1);
        let mut sockets = Vec::new();
        for last in 3..6 {
            lab.tasks.spawn(net::services::tcp_echo(node.stack));
            let client = lab.node(last, settings(fixed(last)));
            Timer::after(SECOND).await;
            let mut socket = TcpSocket::new(client.stack, 1024, 1024);
            with_timeout(SECOND * 3, socket.connect(([10, 0, 0, 1], 7).into())).await.expect("no answer").unwrap();
            sockets.push((client, socket));
        }
        // Who hears of the other all the time does not ask who it is for longer than a station is known.
        for _ in 0..7 {
            Timer::after(SECOND * 10).await;
            for (_, socket) in &mut sockets {
                echo(socket).await;
            }
        }
        // smoltcp would have to ask for each of them again, for one a second.
        let began = Instant::now();
        let held = claim(network, SECOND * 60);
        assert_eq!(state(&held).await, AddressState::Held);
        for (_, socket) in &mut sockets {
            echo(socket).await;
        }
        drop(held);
        Timer::after_millis(10).await;
        for (_, socket) in &mut sockets {
            echo(socket).await;
        }
        assert!(began.elapsed() < SECOND / 4, "{} ms", began.elapsed().as_millis());
        node.assert_no_leak();
    });
}

/// Sends an echo request from a station at 10.0.0.1's network, and returns whether it is answered before it is asked who that is.
async fn is_known(tap: &Tap, mac: [u8; 6], node: &Node, from: Ipv4Addr) -> bool {
    let icmp = Icmpv4Repr::EchoRequest { ident: 1, seq_no: 1, data: b"who?" };
    let to = Ipv4Addr::new(10, 0, 0, 1);
    let ip = Ipv4Repr {
        src_addr: from,
        dst_addr: to,
        next_header: IpProtocol::Icmp,
        payload_len: icmp.buffer_len(),
        hop_limit: 64,
    };
    let mut frame = [&node.mac.0[..], &mac, &[8, 0]].concat();
    frame.resize(14 + ip.buffer_len() + icmp.buffer_len(), 0);
    ip.emit(&mut Ipv4Packet::new_unchecked(&mut frame[14..]), &ChecksumCapabilities::default());
    icmp.emit(&mut Icmpv4Packet::new_unchecked(&mut frame[34..]), &ChecksumCapabilities::default());
    tap.clear();
    tap.send(&frame).await;
    let is_reply = |frame: &[u8]| {
        let asks = read_arp(frame).is_some_and(|(_, _, target)| target == from);
        let answers = frame[12..14] == [8, 0] && frame[30..34] == from.octets() && frame[34] == 0;
        (asks || answers).then_some(answers)
    };
    tap.find(SECOND * 3, is_reply).await.expect("neither an answer nor a question")
}

#[test]
fn neighbours_are_known_again_after_a_change_of_addresses_unless_they_are_old() {
    lab::run(|lab| async move {
        let tap = lab.tap();
        let (node, network) = host(&lab, 1);
        Timer::after(SECOND).await;
        let (own, other) = ([10, 0, 0, 1].into(), [10, 0, 0, 9].into());
        tap.send(&arp(STRANGER, other, own)).await;
        let held = claim(network, SECOND * 600);
        assert_eq!(state(&held).await, AddressState::Held);
        assert!(is_known(&tap, STRANGER, &node, other).await, "it has just said who it is");
        Timer::after(SECOND * 61).await;
        drop(held);
        Timer::after_millis(10).await;
        assert!(!is_known(&tap, STRANGER, &node, other).await, "another may have the address by now");
    });
}

#[test]
fn who_holds_the_address_reaches_it_too() {
    lab::run(|lab| async move {
        let (node, network) = host(&lab, 1);
        lab.tasks.spawn(net::services::tcp_echo(node.stack));
        Timer::after(SECOND).await;
        let held = claim(network, SECOND * 60);
        assert_eq!(state(&held).await, AddressState::Held);
        let mut socket = with_timeout(SECOND, connect(&node)).await.expect("no connection");
        echo(&mut socket).await;
    });
}

#[test]
fn who_had_the_address_before_is_not_taken_for_its_holder_afterwards() {
    lab::run(|lab| async move {
        let tap = lab.tap();
        let (node, network) = host(&lab, 1);
        Timer::after(SECOND).await;
        tap.send(&arp(STRANGER, EXTRA, [10, 0, 0, 1].into())).await;
        Timer::after_millis(10).await;
        assert!(is_known(&tap, STRANGER, &node, EXTRA).await);
        let held = claim(network, SECOND * 600);
        assert_eq!(state(&held).await, AddressState::Held);
        drop(held);
        Timer::after_millis(10).await;
        assert!(!is_known(&tap, STRANGER, &node, EXTRA).await, "it is whoever has taken it since");
    });
}

async fn connect(client: &Node) -> TcpSocket {
    let mut socket = TcpSocket::new(client.stack, 1024, 1024);
    with_timeout(SECOND * 3, socket.connect((EXTRA, 7).into())).await.expect("no answer").unwrap();
    socket
}

async fn echo(socket: &mut TcpSocket) {
    socket.write_all(b"hello").await.unwrap();
    let mut back = [0; 5];
    with_timeout(SECOND, socket.read_exact(&mut back)).await.expect("no echo").unwrap();
    assert_eq!(&back, b"hello");
}
