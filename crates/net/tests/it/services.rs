//! The classic services, as a client sees them.

use std::cell::Cell;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

use embassy_time::{Duration, Timer, with_timeout};
use embedded_io_async::{Read, Write};
use net::{PingError, TcpError, TcpSocket, UdpSocket, services};

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
fn sixteen_clients_get_their_mebibyte_back() {
    lab::run(|lab| async move {
        let (server, client) = pair(&lab).await;
        for _ in 0..16 {
            lab.tasks.spawn(services::tcp_echo(server.stack));
        }
        let done = Rc::new(Cell::new(0));
        for number in 0..16 {
            let (done, peer) = (done.clone(), at(&server, services::ECHO_PORT));
            let stack = client.stack;
            lab.tasks.spawn(async move {
                let mut socket = TcpSocket::new(stack, 16 * 1024, 16 * 1024);
                socket.connect(peer).await.unwrap();
                let (mut reader, mut writer) = socket.split();
                const LEN: usize = 1 << 20;
                let write = async {
                    let data: Vec<u8> = (0..LEN).map(|at| byte(number, at)).collect();
                    writer.write_all(&data).await.unwrap();
                };
                let read = async {
                    let mut buffer = [0; 4096];
                    let mut at = 0;
                    while at < LEN {
                        let len = reader.read(&mut buffer).await.unwrap();
                        assert!(len > 0, "the connection ended after {at} bytes");
                        for got in &buffer[..len] {
                            assert_eq!(*got, byte(number, at), "client {number}, byte {at}");
                            at += 1;
                        }
                    }
                };
                embassy_futures::join::join(read, write).await;
                socket.close().await;
                done.set(done.get() + 1);
            });
        }
        wait_until(SECOND * 60, "all clients have all bytes", || done.get() == 16).await;
        wait_until(SECOND * 10, "all connections are closed", || server.stack.status().tcp_connections == 0).await;
        server.assert_no_leak();
        client.assert_no_leak();
    });
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
fn a_port_without_a_server_refuses() {
    lab::run(|lab| async move {
        let (server, client) = pair(&lab).await;
        let mut socket = TcpSocket::new(client.stack, 1024, 1024);
        assert_eq!(socket.connect(at(&server, 4711)).await, Err(TcpError::Refused));
        assert_eq!(server.stack.counters().get(net::Event::TcpResetSent), 1);
        let mut udp = UdpSocket::bind(client.stack, 0, 1, 64).unwrap();
        udp.send_to(b"hello", at(&server, 4711)).await.unwrap();
        wait_until(SECOND, "the refusal", || {
            client.stack.counters().get(net::Event::IcmpUnreachableReceived) == 1
                && server.stack.counters().get(net::Event::IcmpUnreachableSent) == 1
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
