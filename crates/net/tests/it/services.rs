//! The classic services, as a client sees them.

use std::cell::Cell;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

use embassy_time::{Duration, Instant, Timer, with_timeout};
use embedded_io_async::{Read, Write};
use net::{Event, PingError, TcpError, TcpSocket, UdpSocket, services};

use crate::lab::{self, Lab, Node, fixed, settings, wait_until};

const SECOND: Duration = Duration::from_secs(1);

/// smoltcp asks for one neighbour a second.
const DISCOVERY: Duration = Duration::from_secs(2);

async fn pair(lab: &Lab) -> (Node, Node) {
    let server = lab.node(1, settings(fixed(1)));
    let client = lab.node(2, settings(fixed(2)));
    wait_until(SECOND * 5, "addresses", || {
        server.stack.status().addresses().count() == 2 && client.stack.status().addresses().count() == 2
    })
    .await;
    (server, client)
}

fn at(node: &Node, port: u16) -> SocketAddr {
    (node.stack.ipv4_address().unwrap(), port).into()
}

fn byte(client: usize, at: usize) -> u8 {
    (at.wrapping_mul(2_654_435_761) >> 16) as u8 ^ client as u8
}

#[test]
fn ping_is_answered_over_ipv4_and_ipv6() {
    lab::run(|lab| async move {
        let (server, client) = pair(&lab).await;
        for peer in server.stack.status().addresses() {
            for len in [0, 1, 56, 1400] {
                let time = client.stack.ping(peer, len, DISCOVERY + SECOND).await.unwrap();
                assert!(time < DISCOVERY);
            }
        }
        let nobody = IpAddr::from([10, 0, 0, 99]);
        assert_eq!(client.stack.ping(nobody, 56, SECOND).await, Err(PingError::Timeout));
        let live = at(&server, 0).ip();
        // The request that could not be sent does not stand in the way of others.
        assert!(client.stack.ping(live, 56, SECOND).await.is_ok());
        assert_eq!(client.stack.ping(live, 1500, SECOND).await, Err(PingError::TooLong));
        client.assert_no_leak();
    });
}

#[test]
fn a_node_that_gets_another_address_keeps_its_neighbours() {
    lab::run(|lab| async move {
        let (server, client) = pair(&lab).await;
        let peers: Vec<_> = server.stack.status().addresses().collect();
        assert!(peers.iter().any(IpAddr::is_ipv4) && peers.iter().any(IpAddr::is_ipv6), "{peers:?}");
        for peer in &peers {
            client.stack.ping(*peer, 56, DISCOVERY + SECOND).await.unwrap();
        }
        lab.tap().send(&crate::ipv6::advertisement(1800, 3600)).await;
        let count = server.stack.status().addresses().count();
        for number in 0..100 {
            for peer in &peers {
                let answer = client.stack.ping(*peer, 56, SECOND).await;
                assert!(answer.is_ok_and(|time| time < Duration::from_millis(50)), "{number}: {peer} {answer:?}");
            }
            Timer::after(Duration::from_millis(50)).await;
        }
        assert!(server.stack.status().addresses().count() > count, "there was another address");
    });
}

/// Has `clients` send `len` bytes each to the echo service, and compares every byte that comes back.
async fn echo_all(lab: &Lab, server: &Node, client: &Node, clients: usize, len: usize, disturb: impl AsyncFnOnce()) {
    for _ in 0..clients {
        lab.tasks.spawn(services::tcp_echo(server.stack));
    }
    let done = Rc::new(Cell::new(0));
    for number in 0..clients {
        let (done, peer, stack) = (done.clone(), at(server, services::ECHO_PORT), client.stack);
        lab.tasks.spawn(async move {
            let mut socket = TcpSocket::new(stack, 16 * 1024, 16 * 1024);
            socket.connect(peer).await.unwrap();
            let (mut reader, mut writer) = socket.split();
            let write = async {
                let data: Vec<u8> = (0..len).map(|at| byte(number, at)).collect();
                writer.write_all(&data).await.unwrap();
            };
            let read = async {
                let mut buffer = [0; 4096];
                let mut at = 0;
                while at < len {
                    let got = reader.read(&mut buffer).await.unwrap();
                    assert!(got > 0, "the connection ended after {at} bytes");
                    for byte_got in &buffer[..got] {
                        assert_eq!(*byte_got, byte(number, at), "client {number}, byte {at}");
                        at += 1;
                    }
                }
            };
            embassy_futures::join::join(read, write).await;
            socket.close().await;
            done.set(done.get() + 1);
        });
    }
    disturb().await;
    wait_until(SECOND * 600, "all clients have all bytes", || done.get() == clients).await;
    wait_until(SECOND * 60, "all connections are closed", || server.stack.status().tcp_connections == 0).await;
}

#[test]
fn sixteen_clients_get_their_mebibyte_back() {
    lab::run(|lab| async move {
        let (server, client) = pair(&lab).await;
        echo_all(&lab, &server, &client, 16, 1 << 20, async || {}).await;
        server.assert_no_leak();
        client.assert_no_leak();
    });
}

#[test]
fn lost_frames_cost_time_and_nothing_else() {
    lab::run(|lab| async move {
        let (server, client) = pair(&lab).await;
        client.stack.ping(at(&server, 0).ip(), 10, DISCOVERY).await.unwrap();
        lab.lose(20);
        echo_all(&lab, &server, &client, 8, 1 << 18, async || {}).await;
    });
}

#[test]
fn a_connection_outlives_a_pulled_cable() {
    lab::run(|lab| async move {
        let (server, client) = pair(&lab).await;
        let disturb = async || {
            for _ in 0..3 {
                Timer::after_millis(5).await;
                server.plug(false);
                Timer::after(SECOND * 2).await;
                server.plug(true);
            }
        };
        echo_all(&lab, &server, &client, 4, 1 << 20, disturb).await;
        assert!(server.exchange.counters().link_ups == 4);
    });
}

#[test]
fn half_open_connections_do_not_hold_a_server() {
    lab::run(|lab| async move {
        let (server, client) = pair(&lab).await;
        for _ in 0..4 {
            lab.tasks.spawn(services::tcp_echo(server.stack));
        }
        let tap = lab.tap();
        let mut socket = TcpSocket::new(client.stack, 1024, 1024);
        socket.connect(at(&server, services::ECHO_PORT)).await.unwrap();
        let is_syn =
            |frame: &[u8]| (frame[12..14] == [8, 0] && frame[23] == 6 && frame[47] == 2).then(|| frame.to_vec());
        let syn = tap.find(DISCOVERY, is_syn).await.expect("the request");
        socket.close().await;
        Timer::after(SECOND).await;
        // From other ports of the client, which knows nothing of them; its resets are lost.
        lab.lose(1);
        for port in 1..=4u16 {
            let mut forged = syn.clone();
            let old = u16::from_be_bytes([forged[34], forged[35]]);
            let sum = u16::from_be_bytes([forged[50], forged[51]]);
            forged[34..36].copy_from_slice(&port.to_be_bytes());
            // RFC 1624: the new sum is ~(~sum + ~old + new).
            let mut new = u32::from(!sum) + u32::from(!old) + u32::from(port);
            new = (new & 0xFFFF) + (new >> 16);
            forged[50..52].copy_from_slice(&(!(new as u16)).to_be_bytes());
            tap.send(&forged).await;
        }
        Timer::after(SECOND).await;
        assert_eq!(server.stack.counters().malformed(), 0);
        assert_eq!(server.stack.status().tcp_connections, 1, "one has a socket");
        assert_eq!(server.stack.counters().get(Event::TcpAnswered), 3);
        Timer::after(SECOND * 5).await;
        lab.lose(0);
        assert_eq!(server.stack.status().tcp_connections, 0);
        socket.connect(at(&server, services::ECHO_PORT)).await.unwrap();
    });
}

/// Keeps a connection barely busy, with a step every 40 s, and returns how long it lived; five minutes are enough.
async fn drip(mut socket: TcpSocket, is_reader: bool) -> Duration {
    let start = Instant::now();
    while start.elapsed() < SECOND * 300 {
        Timer::after(SECOND * 40).await;
        let step = async {
            if is_reader {
                socket.read_with(|bytes| (bytes.len(), ())).await.map(|_| ())
            } else {
                socket.write_all(b"x").await
            }
        };
        if step.await.is_err() {
            break;
        }
    }
    start.elapsed()
}

#[test]
fn silent_clients_do_not_hold_the_tcp_services() {
    for port in [services::ECHO_PORT, services::DISCARD_PORT, services::CHARGEN_PORT] {
        lab::run(|lab| async move {
            let (server, client) = pair(&lab).await;
            for _ in 0..3 {
                match port {
                    services::ECHO_PORT => lab.tasks.spawn(services::tcp_echo(server.stack)),
                    services::DISCARD_PORT => lab.tasks.spawn(services::tcp_discard(server.stack)),
                    _ => lab.tasks.spawn(services::tcp_chargen(server.stack)),
                }
            }
            let peer = at(&server, port);
            let connect = async || {
                let mut socket = TcpSocket::new(client.stack, 4096, 4096);
                socket.connect(peer).await.map(|()| socket)
            };
            let silent = [connect().await.unwrap(), connect().await.unwrap()];
            let busy = connect().await.unwrap();
            let busy_for = Rc::new(Cell::new(Duration::MIN));
            let for_task = busy_for.clone();
            lab.tasks.spawn(async move { for_task.set(drip(busy, port == services::CHARGEN_PORT).await) });
            Timer::after(SECOND * 55).await;
            // All sockets are taken: who comes now has that of a silent one. The other is sent away later.
            let newcomer = connect().await.unwrap();
            Timer::after_millis(10).await;
            assert_eq!(server.stack.counters().get(Event::TcpStalledDropped), 1, "port {port}");
            assert_eq!(server.stack.status().tcp_connections, 3, "port {port}");
            drop(newcomer);
            assert_eq!(server.stack.counters().get(Event::TcpIdle), 0, "port {port}");
            Timer::after(SECOND * 10).await;
            assert_eq!(server.stack.counters().get(Event::TcpIdle), 1, "port {port}");
            assert_eq!(server.stack.status().tcp_connections, 1, "port {port}: the busy one is left");
            connect().await.unwrap();
            wait_until(SECOND * 400, "the busy client ends", || busy_for.get() > Duration::MIN).await;
            assert!(busy_for.get() >= SECOND * 300, "port {port}: {}", busy_for.get());
            drop(silent);
        });
    }
}

#[test]
fn discard_takes_everything_and_says_nothing() {
    lab::run(|lab| async move {
        let (server, client) = pair(&lab).await;
        lab.tasks.spawn(services::tcp_discard(server.stack));
        let mut socket = TcpSocket::new(client.stack, 1024, 64 * 1024);
        socket.connect(at(&server, services::DISCARD_PORT)).await.unwrap();
        socket.write_all(&vec![0x55; 1 << 20]).await.unwrap();
        socket.flush().await.unwrap();
        socket.shutdown();
        assert_eq!(socket.read(&mut [0; 16]).await, Ok(0));
    });
}

#[test]
fn chargen_sends_the_lines_of_rfc_864() {
    lab::run(|lab| async move {
        let (server, client) = pair(&lab).await;
        lab.tasks.spawn(services::tcp_chargen(server.stack));
        lab.tasks.spawn(services::tcp_chargen(server.stack));
        let mut socket = TcpSocket::new(client.stack, 64 * 1024, 1024);
        socket.connect(at(&server, services::CHARGEN_PORT)).await.unwrap();
        let mut text = vec![0; 74 * 200];
        let mut len = 0;
        while len < text.len() {
            len += socket.read(&mut text[len..]).await.unwrap();
        }
        for (number, line) in text.chunks(74).enumerate() {
            let expected: Vec<u8> = (0..72).map(|at| b' ' + ((number + at) % 95) as u8).chain(*b"\r\n").collect();
            assert_eq!(line, expected, "line {number}");
        }
        // The client goes away in the middle; the worker serves the next one.
        socket.abort();
        socket.connect(at(&server, services::CHARGEN_PORT)).await.unwrap();
        assert!(socket.read(&mut text).await.unwrap() > 0);
    });
}

#[test]
fn udp_services_answer() {
    lab::run(|lab| async move {
        let (server, client) = pair(&lab).await;
        lab.tasks.spawn(services::udp_echo(server.stack));
        lab.tasks.spawn(services::udp_discard(server.stack));
        lab.tasks.spawn(services::udp_chargen(server.stack));
        let mut socket = UdpSocket::bind(client.stack, 0, 8, 16 * 1024).unwrap();
        let mut buffer = [0; 2000];
        for address in server.stack.status().addresses() {
            for len in [0, 1, 512, 1452] {
                let data: Vec<u8> = (0..len).map(|at| byte(0, at)).collect();
                socket.send_to(&data, (address, services::ECHO_PORT).into()).await.unwrap();
                let answer = with_timeout(DISCOVERY, socket.recv_from(&mut buffer)).await.unwrap();
                assert_eq!((answer.len, answer.peer.ip()), (len, address));
                assert_eq!(buffer[..len], data);
            }
            socket.send_to(b"?", (address, services::CHARGEN_PORT).into()).await.unwrap();
            let answer = with_timeout(DISCOVERY, socket.recv_from(&mut buffer)).await.unwrap();
            assert_eq!(answer.len, 512);
            assert!(buffer[..512].iter().all(|c| matches!(c, b' '..=b'~' | b'\r' | b'\n')));
            socket.send_to(b"?", (address, services::DISCARD_PORT).into()).await.unwrap();
        }
        assert!(with_timeout(DISCOVERY, socket.recv_from(&mut buffer)).await.is_err());
    });
}

#[test]
fn udp_services_do_not_answer_what_went_to_everybody() {
    lab::run(|lab| async move {
        let (server, client) = pair(&lab).await;
        lab.tasks.spawn(services::udp_echo(server.stack));
        lab.tasks.spawn(services::udp_chargen(server.stack));
        let mut socket = UdpSocket::bind(client.stack, 0, 8, 16 * 1024).unwrap();
        let mut buffer = [0; 2000];
        let everybody: [IpAddr; 4] = [
            [10, 0, 0, 255].into(),
            [255, 255, 255, 255].into(),
            [224, 0, 0, 1].into(),
            [0xFF02, 0, 0, 0, 0, 0, 0, 1].into(),
        ];
        for port in [services::ECHO_PORT, services::CHARGEN_PORT] {
            for address in everybody {
                let before = server.stack.counters().get(Event::UdpReceived);
                socket.send_to(b"?", (address, port).into()).await.unwrap();
                let answer = with_timeout(DISCOVERY, socket.recv_from(&mut buffer)).await;
                assert_eq!(answer.ok(), None, "{address} port {port}");
                assert_eq!(server.stack.counters().get(Event::UdpReceived), before + 1, "{address} port {port}");
            }
            socket.send_to(b"?", at(&server, port)).await.unwrap();
            assert!(with_timeout(DISCOVERY, socket.recv_from(&mut buffer)).await.is_ok());
        }
    });
}

#[test]
fn a_port_without_a_server_refuses() {
    lab::run(|lab| async move {
        let (server, client) = pair(&lab).await;
        let mut socket = TcpSocket::new(client.stack, 1024, 1024);
        assert_eq!(socket.connect(at(&server, 4711)).await, Err(TcpError::Refused));
        assert_eq!(server.stack.counters().get(Event::TcpResetSent), 1);
        let mut udp = UdpSocket::bind(client.stack, 0, 1, 64).unwrap();
        udp.send_to(b"hello", at(&server, 4711)).await.unwrap();
        wait_until(SECOND, "the refusal", || {
            client.stack.counters().get(Event::IcmpUnreachableReceived) == 1
                && server.stack.counters().get(Event::IcmpUnreachableSent) == 1
        })
        .await;
    });
}

#[test]
fn an_answer_that_cannot_be_delivered_does_not_silence_a_service() {
    lab::run(|lab| async move {
        let (server, client) = pair(&lab).await;
        lab.tasks.spawn(services::udp_echo(server.stack));
        let tap = lab.tap();
        let mut socket = UdpSocket::bind(client.stack, 0, 8, 16 * 1024).unwrap();
        let echo = at(&server, services::ECHO_PORT);
        socket.send_to(b"?", echo).await.unwrap();
        let is_udp = |frame: &[u8]| (frame[12..14] == [8, 0] && frame[23] == 17).then(|| frame.to_vec());
        let mut forged = tap.find(DISCOVERY, is_udp).await.expect("the request");
        // From 10.0.0.99, whom nobody has ever seen; without a UDP checksum, and with a header checksum that fits.
        let sum = u16::from_be_bytes([forged[24], forged[25]]) - (99 - u16::from(forged[29]));
        forged[24..26].copy_from_slice(&sum.to_be_bytes());
        forged[29] = 99;
        forged[40..42].fill(0);
        assert_eq!(server.stack.counters().malformed(), 0);
        for _ in 0..100 {
            tap.send(&forged).await;
        }
        Timer::after(SECOND * 4).await;
        let mut buffer = [0; 10];
        while with_timeout(SECOND / 10, socket.recv_from(&mut buffer)).await.is_ok() {}
        assert_eq!(server.stack.counters().malformed(), 0);
        socket.send_to(b"still here?", echo).await.unwrap();
        let answer = with_timeout(SECOND, socket.recv_from(&mut [0; 20])).await.expect("an answer");
        assert_eq!(answer.len, 11);
    });
}
