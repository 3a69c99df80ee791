//! Sockets for programs on other cores, over the stack: against plain sockets on another node.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;

use embassy_futures::join::join;
use embassy_time::{Duration, Timer, with_timeout};
use embedded_io_async::{Read, Write};
use net::{Event, Ipv4Settings, TcpSocket, UdpSocket, portal, services};
use sockets::network::PLACES;
use sockets::{Network, SocketError};

use crate::lab::{self, Lab, Node, fixed, settings, wait_until};

const SECOND: Duration = Duration::from_secs(1);
const PORT: u16 = 5201;

struct Rack {
    network: &'static Network,
    /// Has the portal.
    node: Node,
    peer: Node,
    sockets: usize,
}

async fn rack(lab: &Lab) -> Rack {
    rack_with(lab, [fixed(1), fixed(2)]).await
}

async fn rack_with(lab: &Lab, [node, peer]: [Ipv4Settings; 2]) -> Rack {
    let node = lab.node(1, settings(node));
    let peer = lab.node(2, settings(peer));
    let network: &'static Network = Box::leak(Box::new(Network::new()));
    for place in 0..PLACES {
        lab.tasks.spawn(portal::serve(node.stack, network, place));
    }
    lab.tasks.spawn(portal::answer_questions(node.stack, network, 0));
    lab.tasks.spawn(net::mdns::run(node.stack));
    lab.tasks.spawn(net::mdns::run(peer.stack));
    wait_until(SECOND * 5, "names", || [&node, &peer].iter().all(|node| !node.stack.status().mdns_name.is_empty()))
        .await;
    Rack { network, sockets: node.stack.status().sockets, node, peer }
}

impl Rack {
    fn address(&self) -> SocketAddr {
        (self.node.stack.ipv4_address().unwrap(), PORT).into()
    }

    fn peer_address(&self) -> SocketAddr {
        (self.peer.stack.ipv4_address().unwrap(), PORT).into()
    }

    async fn open(&self, len: usize) -> sockets::TcpSocket {
        sockets::TcpSocket::open(self.network, len, len).await.unwrap()
    }

    /// Asserts that everything that was taken is given back.
    async fn assert_no_leak(&self) {
        wait_until(SECOND * 15, "sockets given back", || {
            self.network.counts().open == 0 && self.node.stack.status().sockets == self.sockets
        })
        .await;
    }
}

/// Connects a client on the peer with a program's socket.
async fn meet(rack: &Rack, server: &mut sockets::TcpSocket, client: &mut TcpSocket) {
    let connect = async {
        Timer::after_millis(1).await;
        client.connect(rack.address()).await.unwrap();
    };
    join(async { server.accept(PORT).await.unwrap() }, connect).await;
}

fn byte(at: usize) -> u8 {
    (at ^ (at >> 8) ^ (at >> 16)) as u8
}

async fn send_all(socket: &mut impl Write, len: usize) {
    let data: Vec<u8> = (0..len).map(byte).collect();
    socket.write_all(&data).await.unwrap();
}

async fn receive_all(socket: &mut impl Read, len: usize) {
    let mut buffer = [0; 3000];
    let mut at = 0;
    while at < len {
        let got = socket.read(&mut buffer).await.unwrap();
        assert!(got > 0, "the connection ended after {at} bytes");
        for got in &buffer[..got] {
            assert_eq!(*got, byte(at), "byte {at}");
            at += 1;
        }
    }
}

#[test]
fn many_programs_serve_and_ask_at_once() {
    lab::run(|lab| async move {
        let rack = rack(&lab).await;
        let done = Rc::new(Cell::new(0));
        for number in 0..8 {
            let len = 1000 + 7777 * number;
            let mut socket = rack.open(1 << (9 + number)).await;
            let (stack, address, done) = (rack.peer.stack, rack.address(), done.clone());
            lab.tasks.spawn(async move {
                // Echo: what comes goes back, until the peer shuts down.
                socket.accept(PORT).await.unwrap();
                let mut buffer = [0; 1000];
                loop {
                    let len = socket.read(&mut buffer).await.unwrap();
                    if len == 0 {
                        break socket.close().await;
                    }
                    socket.write_all(&buffer[..len]).await.unwrap();
                }
            });
            lab.tasks.spawn(async move {
                let mut socket = TcpSocket::new(stack, 8192, 8192);
                socket.connect(address).await.unwrap();
                let (mut reader, mut writer) = socket.split();
                join(send_all(&mut writer, len), receive_all(&mut reader, len)).await;
                socket.shutdown();
                assert_eq!(socket.read(&mut [0; 9]).await, Ok(0));
                done.set(done.get() + 1);
            });
        }
        wait_until(SECOND * 60, "all answers", || done.get() == 8).await;
        rack.assert_no_leak().await;
    });
}

#[test]
fn a_program_connects_sends_and_closes_and_the_peer_has_every_byte() {
    lab::run(|lab| async move {
        let rack = rack(&lab).await;
        let mut server = TcpSocket::new(rack.peer.stack, 4096, 4096);
        let mut client = rack.open(4096).await;
        assert_eq!(client.connect(rack.peer_address()).await, Err(SocketError::Refused));
        const LEN: usize = 100_000;
        for round in 0..3 {
            let serve = async {
                server.accept(PORT).await.unwrap();
                // The client writes much more than all buffers hold, and waits.
                Timer::after_secs(round).await;
                receive_all(&mut server, LEN).await;
                assert_eq!(server.read(&mut [0; 9]).await, Ok(0));
                server.close().await;
            };
            let ask = async {
                Timer::after_millis(10).await;
                client.connect(rack.peer_address()).await.unwrap();
                assert_eq!(client.peer(), Some(rack.peer_address()));
                assert_eq!(client.local().unwrap().ip(), rack.address().ip());
                send_all(&mut client, LEN).await;
                client.flush().await.unwrap();
                assert_eq!(client.unsent(), 0);
                client.close().await;
                assert!(client.is_closed());
            };
            join(serve, ask).await;
        }
        drop(client);
        rack.assert_no_leak().await;
    });
}

#[test]
fn the_end_of_a_connection_is_told_as_it_was() {
    lab::run(|lab| async move {
        let rack = rack(&lab).await;
        let mut server = rack.open(2048).await;
        let mut client = TcpSocket::new(rack.peer.stack, 4096, 4096);

        // Reset by the peer: what came before is still read, unless it came with the reset.
        meet(&rack, &mut server, &mut client).await;
        client.write_all(b"so much").await.unwrap();
        client.flush().await.unwrap();
        client.abort();
        let mut buffer = [0; 64];
        assert_eq!(server.read(&mut buffer).await, Ok(7));
        assert_eq!(server.read(&mut buffer).await, Err(SocketError::ConnectionReset));
        assert!(server.is_closed());

        // Reset by the program.
        meet(&rack, &mut server, &mut client).await;
        server.abort();
        assert!(client.read(&mut buffer).await.is_err());

        // Dropped in the middle of a transfer.
        meet(&rack, &mut server, &mut client).await;
        let flood = async { while client.write(&[0; 500]).await.is_ok() {} };
        let leave = async {
            server.read(&mut buffer).await.unwrap();
            drop(server);
        };
        with_timeout(SECOND * 5, join(flood, leave)).await.unwrap();

        // Dropped after shutting down: the last words arrive.
        let mut server = rack.open(2048).await;
        meet(&rack, &mut server, &mut client).await;
        server.write_all(b"last words").await.unwrap();
        server.shutdown();
        drop(server);
        assert_eq!(client.read(&mut buffer).await, Ok(10));
        assert_eq!(client.read(&mut buffer).await, Ok(0));
        client.close().await;
        rack.assert_no_leak().await;
    });
}

#[test]
fn a_program_that_does_not_read_stops_its_peer() {
    lab::run(|lab| async move {
        let rack = rack(&lab).await;
        let mut server = rack.open(4096).await;
        let mut client = TcpSocket::new(rack.peer.stack, 4096, 4096);
        meet(&rack, &mut server, &mut client).await;
        let sent = Cell::new(0);
        let flood = async {
            loop {
                sent.set(sent.get() + client.write(&[sent.get() as u8; 1]).await.unwrap());
            }
        };
        assert!(with_timeout(SECOND * 40, flood).await.is_err());
        // Its ring, smoltcp's buffer, and what the peer itself holds.
        assert!((8000..=3 * 4096).contains(&sent.get()), "{}", sent.get());
        for at in 0..sent.get() {
            let mut got = [0];
            server.read_exact(&mut got).await.unwrap();
            assert_eq!(got[0], at as u8);
        }
        drop(server);
        rack.assert_no_leak().await;
    });
}

#[test]
fn datagrams_go_both_ways_and_those_that_cannot_go_are_counted() {
    lab::run(|lab| async move {
        let rack = rack(&lab).await;
        let mut server = sockets::UdpSocket::bind(rack.network, PORT, 8, 8).await.unwrap();
        let mut client = UdpSocket::bind(rack.peer.stack, 0, 64, 64 * 1472).unwrap();
        let mut buffer = [0; 1500];
        for len in [0, 1, 1000, 1472] {
            let data: Vec<u8> = (0..len).map(byte).collect();
            client.send_to(&data, rack.address()).await.unwrap();
            let datagram = with_timeout(SECOND * 3, server.recv_from(&mut buffer)).await.unwrap();
            assert_eq!(&buffer[..datagram.len], data.as_slice());
            assert_eq!(datagram.local, Some(rack.address().ip()));
            server.send_to(&data, datagram.peer).await.unwrap();
            assert_eq!(with_timeout(SECOND * 3, client.recv_from(&mut buffer)).await.unwrap().len, len);
        }
        for number in 0..40u8 {
            client.send_to(&[number; 100], rack.address()).await.unwrap();
        }
        Timer::after_millis(100).await;
        let mut taken = 0u64;
        while server.try_recv_with(|_, _, _| ()).is_some() {
            taken += 1;
        }
        assert!(taken >= 8, "{taken}");
        assert_eq!(taken + server.dropped(), 40);
        // The node has no such interface.
        server.send_to(b"x", "[::1]:9".parse().unwrap()).await.unwrap();
        wait_until(SECOND, "the count", || rack.network.counts().unsendable_datagrams == 1).await;
        // The last datagram of a socket that goes away leaves first.
        let to = (rack.peer.stack.ipv4_address().unwrap(), 7).into();
        lab.tasks.spawn(services::udp_echo(rack.peer.stack));
        let mut other = UdpSocket::bind(rack.peer.stack, 6000, 4, 4000).unwrap();
        server.send_to(b"bye", (rack.peer.stack.ipv4_address().unwrap(), 6000).into()).await.unwrap();
        drop(server);
        assert_eq!(with_timeout(SECOND * 3, other.recv_from(&mut buffer)).await.unwrap().len, 3);
        let mut asker = sockets::UdpSocket::bind(rack.network, 0, 4, 4).await.unwrap();
        assert_ne!(asker.port(), 0);
        asker.send_to(b"?", to).await.unwrap();
        assert_eq!(with_timeout(SECOND * 3, asker.recv_from(&mut buffer)).await.unwrap().peer, to);
        drop(asker);
        rack.assert_no_leak().await;
    });
}

#[test]
fn the_node_keeps_its_own_ports() {
    lab::run(|lab| async move {
        let rack = rack(&lab).await;
        lab.tasks.spawn(services::tcp_echo(rack.node.stack));
        Timer::after_millis(1).await;
        let mut socket = rack.open(512).await;
        assert_eq!(socket.accept(services::ECHO_PORT).await, Err(SocketError::PortInUse));
        assert_eq!(socket.accept(0).await, Err(SocketError::NoRoute));
        let bound = sockets::UdpSocket::bind(rack.network, 5353, 1, 1).await;
        assert_eq!(bound.err(), Some(SocketError::PortInUse));
    });
}

#[test]
fn names_of_nodes_lead_to_their_addresses() {
    lab::run(|lab| async move {
        let rack = rack(&lab).await;
        let name = rack.peer.stack.status().mdns_name.to_string();
        let address = rack.peer_address().ip();
        assert_eq!(rack.network.resolve(&name).await, Ok(address));
        assert_eq!(rack.network.resolve(&format!("{}.LOCAL", name.to_uppercase())).await, Ok(address));
        let own = rack.node.stack.status().mdns_name.to_string();
        assert_eq!(rack.network.resolve(&own).await, Ok(rack.address().ip()));
        // What was learned is not asked again, for some seconds.
        let answers = || rack.peer.stack.counters().get(Event::MdnsAnswer);
        let before = answers();
        assert_eq!(rack.network.resolve(&name).await, Ok(address));
        assert_eq!(answers(), before);
        Timer::after_secs(11).await;
        assert_eq!(rack.network.resolve(&name).await, Ok(address));
        assert!(answers() > before);
        assert_eq!(rack.network.resolve("nobody").await, Err(SocketError::UnknownName));
    });
}

#[test]
fn a_program_reaches_its_own_node_under_each_of_its_addresses_and_nothing_of_that_leaves() {
    lab::run(|lab| async move {
        let rack = rack(&lab).await;
        let own = rack.node.stack.ipv4_address().unwrap();
        wait_until(SECOND * 5, "an IPv6 address", || !rack.node.stack.status().ipv6.is_empty()).await;
        let own_v6 = rack.node.stack.status().ipv6[0].0;
        let name = rack.network.resolve(&rack.node.stack.status().mdns_name).await.unwrap();
        assert_eq!(name, own);
        let tap = lab.tap();
        for address in [own.into(), name, own_v6.into(), "127.0.0.1".parse().unwrap(), "::1".parse().unwrap()] {
            const LEN: usize = 300_000;
            let (mut server, mut client) = (rack.open(4096).await, rack.open(8192).await);
            let serve = async {
                server.accept(PORT).await.unwrap();
                receive_all(&mut server, LEN).await;
                send_all(&mut server, LEN).await;
                server.close().await;
            };
            let ask = async {
                Timer::after_millis(1).await;
                client.connect(SocketAddr::new(address, PORT)).await.unwrap();
                send_all(&mut client, LEN).await;
                receive_all(&mut client, LEN).await;
                client.close().await;
            };
            // Virtual time passes only where somebody waits for it: no segment was lost and sent again.
            with_timeout(SECOND * 3, join(serve, ask)).await.unwrap_or_else(|_| panic!("{address} takes too long"));
            assert_eq!(
                client.connect(SocketAddr::new(address, PORT + 1)).await,
                Err(SocketError::Refused),
                "{address}"
            );
            let mut echo = sockets::UdpSocket::bind(rack.network, 0, 4, 4).await.unwrap();
            let mut other = sockets::UdpSocket::bind(rack.network, 5000, 4, 4).await.unwrap();
            echo.send_to(b"hello", SocketAddr::new(address, 5000)).await.unwrap();
            let mut buffer = [0; 10];
            let datagram = with_timeout(SECOND * 2, other.recv_from(&mut buffer)).await.unwrap();
            assert_eq!((&buffer[..datagram.len], datagram.peer.port()), (b"hello".as_slice(), echo.port()));
            assert!(rack.node.stack.ping(address, 100, SECOND).await.is_ok(), "{address}");
        }
        let mac = rack.node.mac.0;
        let leak = tap.find(SECOND, |frame| (frame[..6] == mac && frame[6..12] == mac).then(|| frame.to_vec())).await;
        assert_eq!(leak, None);
        assert_eq!(rack.node.stack.counters().get(Event::LocalDropped), 0);
        // Pings keep a socket of their own.
        wait_until(SECOND * 15, "sockets given back", || rack.network.counts().open == 0).await;
    });
}

#[test]
fn who_pretends_to_be_the_node_itself_gets_no_answer() {
    lab::run(|lab| async move {
        let node = lab.node(1, settings(fixed(1)));
        wait_until(SECOND * 5, "an address", || node.stack.ipv4_address().is_some()).await;
        Timer::after(SECOND * 3).await;
        lab.tasks.spawn(services::udp_echo(node.stack));
        let tap = lab.tap();
        let own = node.stack.ipv4_address().unwrap().octets();
        // A datagram from the node's own echo service to its echo service: answered, it would go round for ever.
        let mut frame = node.mac.0.to_vec();
        frame.extend([2, 9, 9, 9, 9, 9, 8, 0]);
        let mut header = vec![0x45, 0, 0, 32, 0, 0, 0, 0, 64, 17, 0, 0];
        header.extend(own);
        header.extend(own);
        let sum: u32 = header.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum();
        let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
        header[10..12].copy_from_slice(&sum.to_be_bytes());
        frame.extend(header);
        frame.extend([0, 7, 0, 7, 0, 12, 0, 0, 1, 2, 3, 4]);
        tap.send(&frame).await;
        Timer::after(SECOND).await;
        let counters = node.stack.counters();
        assert_eq!(counters.get(Event::OwnSource), 1);
        assert!(counters.get(Event::LocalFrame) < 5);
    });
}

#[test]
fn a_node_without_ipv4_is_found_by_its_other_address() {
    // Until they choose one themselves, those whose DHCP server does not answer have none: the peer, or the one who asks.
    for settings in [[fixed(1), Ipv4Settings::Dhcp], [Ipv4Settings::Dhcp, fixed(2)]] {
        lab::run(|lab| async move {
            let rack = rack_with(&lab, settings).await;
            let name = rack.peer.stack.status().mdns_name.to_string();
            let ipv6 = rack.peer.stack.status().ipv6[0].0;
            assert_eq!(rack.network.resolve(&name).await, Ok(ipv6.into()));
            Timer::after_secs(30).await;
            let ipv4 = rack.peer.stack.ipv4_address().unwrap();
            assert_eq!(rack.network.resolve(&name).await, Ok(ipv4.into()));
        });
    }
}
