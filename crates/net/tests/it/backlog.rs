//! Clients that come when nobody can take them, and those who have to make room.

use std::net::{Ipv4Addr, SocketAddr};

use embassy_futures::join::join_array;
use embassy_time::{Duration, Instant, Timer};
use embedded_io_async::{Read, Write};
use net::http::{Found, HTTP_PORT, Pages, Parts, Wanted, serve};
use net::services::{self, ECHO_PORT};
use net::{Event, TcpError, TcpSocket, portal};
use sockets::Network;

use crate::lab::{self, Lab, Node, Tap, fixed, settings, wait_until};

const SECOND: Duration = Duration::from_secs(1);
/// The longest that a client may have to wait for others to make room, with what its request takes.
const SOON: Duration = Duration::from_millis(50);
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";

struct Site;

impl Pages for Site {
    type Parts = Nothing;

    fn find(&self, _: &Wanted<'_>, out: &mut String) -> Found<Nothing> {
        out.push_str("home");
        Found::Whole("text/plain")
    }
}

struct Nothing;

impl Parts for Nothing {
    async fn next(&mut self, _: &mut String) {}
}

/// A server with `sockets` sockets, and a client.
async fn pair(lab: &Lab, sockets: usize) -> (Node, Node) {
    let server = lab.node(1, settings(fixed(1)));
    let client = lab.node(2, settings(fixed(2)));
    wait_until(SECOND * 5, "addresses", || [&server, &client].iter().all(|node| node.stack.ipv4_address().is_some()))
        .await;
    for _ in 0..sockets {
        lab.tasks.spawn(serve(server.stack, HTTP_PORT, &Site));
    }
    // So that both know each other.
    get(&server, &client, b"close").await.unwrap();
    Timer::after(SECOND).await;
    (server, client)
}

fn at(server: &Node) -> SocketAddr {
    (server.stack.ipv4_address().unwrap(), HTTP_PORT).into()
}

async fn connect(server: &Node, client: &Node) -> TcpSocket {
    let mut socket = TcpSocket::new(client.stack, 4096, 4096);
    socket.connect(at(server)).await.unwrap();
    socket
}

/// Gets the page on a connection of its own.
async fn get(server: &Node, client: &Node, connection: &[u8]) -> Result<Duration, TcpError> {
    let start = Instant::now();
    let mut socket = TcpSocket::new(client.stack, 4096, 4096);
    socket.connect(at(server)).await?;
    socket.write_all(&[b"GET / HTTP/1.1\r\nHost: a\r\nConnection: ", connection, b"\r\n\r\n"].concat()).await?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\nhome") {
        let mut buffer = [0; 512];
        let len = socket.read(&mut buffer).await?;
        assert!(len > 0, "{}", String::from_utf8_lossy(&answer));
        answer.extend_from_slice(&buffer[..len]);
    }
    let time = start.elapsed();
    socket.close().await;
    Ok(time)
}

/// Sends requests for connections in the name of stations that don't exist.
async fn forge(server: &Node, client: &Node, tap: &Tap, count: u16) {
    let to = server.stack.ipv4_address().unwrap();
    for number in 0..count {
        let from = Ipv4Addr::new(10, 0, 0, 100 + (number % 100) as u8);
        tap.send(&syn(server.mac.0, client.mac.0, from, 1000 + number, to)).await;
    }
}

/// A request for a connection, written out.
fn syn(to_mac: [u8; 6], from_mac: [u8; 6], from: Ipv4Addr, port: u16, to: Ipv4Addr) -> Vec<u8> {
    let sum = |parts: &[&[u8]]| {
        let words = parts.concat();
        let sum: u32 = words.chunks(2).map(|word| u32::from(word[0]) << 8 | u32::from(word[1])).sum();
        let sum = (sum & 0xFFFF) + (sum >> 16);
        (!((sum & 0xFFFF) + (sum >> 16)) as u16).to_be_bytes()
    };
    let mut ip = [0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, 6, 0, 0].to_vec();
    ip.extend([from.octets(), to.octets()].concat());
    let check = sum(&[&ip]);
    ip[10..12].copy_from_slice(&check);
    let mut tcp = [port.to_be_bytes(), HTTP_PORT.to_be_bytes()].concat();
    tcp.extend([0, 0, 1, 0, 0, 0, 0, 0, 0x50, 0x02, 0x10, 0, 0, 0, 0, 0]);
    let check = sum(&[&from.octets(), &to.octets(), &[0, 6, 0, 20], &tcp]);
    tcp[16..18].copy_from_slice(&check);
    [&to_mac[..], &from_mac, &[8, 0], &ip, &tcp].concat()
}

#[test]
fn more_clients_than_sockets_are_all_served() {
    lab::run(|lab| async move {
        let (server, client) = pair(&lab, 2).await;
        for connection in [b"close".as_slice(), b"keep-alive"] {
            let times = join_array([(); 16].map(|()| get(&server, &client, connection))).await;
            for time in times {
                assert!(time.unwrap() < SECOND, "{time:?}");
            }
        }
        assert!(server.stack.counters().get(Event::TcpWaited) >= 14);
    });
}

#[test]
fn who_waits_is_forgotten_with_the_server() {
    lab::run(|lab| async move {
        let (server, client) = pair(&lab, 1).await;
        let mut only = TcpSocket::new(server.stack, 1024, 1024);
        let to = SocketAddr::new(at(&server).ip(), 4711);
        let serve = async {
            only.accept(4711).await.unwrap();
            Timer::after(SECOND).await;
            drop(only);
        };
        let mut first = TcpSocket::new(client.stack, 1024, 1024);
        let mut second = TcpSocket::new(client.stack, 1024, 1024);
        let ask = async {
            first.connect(to).await.unwrap();
            second.connect(to).await.unwrap();
            assert_eq!(second.read(&mut [0]).await, Err(TcpError::ConnectionReset));
        };
        embassy_futures::join::join(serve, ask).await;
    });
}

#[test]
fn forged_requests_keep_nobody_out() {
    lab::run(|lab| async move {
        let (server, client) = pair(&lab, 12).await;
        let tap = lab.tap_of_nodes();
        for _ in 0..5 {
            forge(&server, &client, &tap, 100).await;
            let time = get(&server, &client, b"close").await.unwrap();
            assert!(time < SOON, "{time}");
        }
        assert!(server.stack.counters().get(Event::TcpAnswered) > 450);
        assert_eq!(server.stack.counters().malformed(), 0);
        Timer::after(SECOND * 8).await;
        assert_eq!(server.stack.status().tcp_connections, 0);
        server.assert_no_leak();
    });
}

#[test]
fn a_flood_that_goes_on_keeps_nobody_out() {
    lab::run(|lab| async move {
        let (server, client) = pair(&lab, 12).await;
        let tap = lab.tap_of_nodes();
        let flood = async {
            forge(&server, &client, &tap, 500).await;
            for _ in 0..20 {
                for _ in 0..25 {
                    forge(&server, &client, &tap, 1).await;
                    forge(&server, &client, &tap, 3).await;
                    Timer::after_millis(10).await;
                }
            }
        };
        let ask = async {
            Timer::after_millis(500).await;
            for _ in 0..20 {
                let time = get(&server, &client, b"close").await.unwrap();
                assert!(time < SOON, "{time}");
                Timer::after_millis(200).await;
            }
        };
        embassy_futures::join::join(flood, ask).await;
    });
}

#[test]
fn clients_that_ask_for_nothing_make_room() {
    lab::run(|lab| async move {
        let (server, client) = pair(&lab, 12).await;
        let mut silent = Vec::new();
        for number in 0..40 {
            let mut socket = connect(&server, &client).await;
            if number % 2 == 0 {
                socket.write_all(b"GET / HT").await.unwrap();
            }
            silent.push(socket);
            if number % 10 == 9 {
                Timer::after_millis(21).await;
                let time = get(&server, &client, b"close").await.unwrap();
                assert!(time < Duration::from_millis(5), "some sockets are kept free: {time}");
            }
        }
        assert!(server.stack.counters().get(Event::TcpStalledDropped) >= 28);
    });
}

#[test]
fn clients_at_work_and_clients_at_rest_are_left_alone() {
    lab::run(|lab| async move {
        let (server, client) = pair(&lab, 4).await;
        let mut kept = Vec::new();
        for _ in 0..3 {
            kept.push(connect(&server, &client).await);
        }
        let mut late = connect(&server, &client).await;
        let ask = async |socket: &mut TcpSocket| {
            socket.write_all(REQUEST).await.unwrap();
            let mut buffer = [0; 512];
            assert!(socket.read(&mut buffer).await.unwrap() > 0, "the connection was cut");
        };
        // Nobody waits: an hour of requests now and then.
        for _ in 0..300 {
            for socket in kept.iter_mut().chain([&mut late]) {
                ask(socket).await;
            }
            Timer::after(SECOND * 12).await;
        }
        assert_eq!(server.stack.counters().get(Event::TcpStalledDropped), 0);
        // One waits: three who ask all the time keep their sockets, the fourth goes after a second.
        let busy = async {
            for _ in 0..100 {
                for socket in &mut kept {
                    ask(socket).await;
                }
                Timer::after_millis(100).await;
            }
        };
        let wait = async {
            Timer::after_millis(500).await;
            get(&server, &client, b"close").await.unwrap()
        };
        ask(&mut late).await;
        let ((), time) = embassy_futures::join::join(busy, wait).await;
        assert!((400..1500).contains(&time.as_millis()), "{time}");
        assert_eq!(server.stack.counters().get(Event::TcpStalledDropped), 1);
    });
}

#[test]
fn programs_are_reached_while_their_clients_come_and_go() {
    lab::run(|lab| async move {
        const SOCKETS: usize = 4;
        let (server, client) = pair(&lab, 1).await;
        let network: &'static Network = Box::leak(Box::new(Network::new()));
        for place in 0..SOCKETS {
            lab.tasks.spawn(portal::serve(server.stack, network, place));
            lab.tasks.spawn(async move {
                let mut socket = sockets::TcpSocket::open(network, 1024, 1024).await.unwrap();
                loop {
                    socket.accept(6379).await.unwrap();
                    let mut byte = [0];
                    while socket.read(&mut byte).await == Ok(1) {
                        socket.write_all(&byte).await.unwrap();
                    }
                    // A program on another core takes its time.
                    Timer::after_millis(2).await;
                    socket.close().await;
                }
            });
        }
        let to = SocketAddr::new(at(&server).ip(), 6379);
        let talk = async || {
            for _ in 0..50 {
                let mut socket = TcpSocket::new(client.stack, 1024, 1024);
                socket.connect(to).await.unwrap();
                socket.write_all(b"x").await.unwrap();
                assert_eq!(socket.read(&mut [0]).await, Ok(1));
                socket.abort();
            }
        };
        // Until the programs listen.
        Timer::after_millis(10).await;
        let start = Instant::now();
        join_array([(); SOCKETS + 1].map(|()| talk())).await;
        assert!(start.elapsed() < SECOND * 10, "{}", start.elapsed());
        assert!(server.stack.counters().get(Event::TcpWaited) > 0);
    });
}

#[test]
fn a_crowd_from_one_address_makes_room_for_others() {
    lab::run(|lab| async move {
        let [server, crowd, client] = [1, 2, 3].map(|number| lab.node(number, settings(fixed(number))));
        wait_until(SECOND * 5, "addresses", || client.stack.ipv4_address().is_some()).await;
        for _ in 0..4 {
            lab.tasks.spawn(services::tcp_echo(server.stack));
        }
        let to = SocketAddr::new(at(&server).ip(), ECHO_PORT);
        Timer::after(SECOND).await;
        // Each does something twice a second, and comes again when it was sent away.
        for _ in 0..12 {
            let stack = crowd.stack;
            lab.tasks.spawn(async move {
                loop {
                    let mut socket = TcpSocket::new(stack, 1024, 1024);
                    let mut is_there = socket.connect(to).await.is_ok();
                    while is_there {
                        is_there = socket.write_all(b"x").await.is_ok();
                        Timer::after_millis(500).await;
                    }
                }
            });
        }
        Timer::after(SECOND * 3).await;
        for _ in 0..20 {
            let start = Instant::now();
            let mut socket = TcpSocket::new(client.stack, 1024, 1024);
            socket.connect(to).await.unwrap();
            // It takes its time, and is not sent away for one of the crowd.
            Timer::after_millis(200).await;
            socket.write_all(b"y").await.unwrap();
            assert_eq!(socket.read(&mut [0]).await, Ok(1));
            let time = start.elapsed() - Duration::from_millis(200);
            assert!(time < SOON, "{time}");
            Timer::after_millis(200).await;
        }
        assert!(server.stack.counters().get(Event::TcpStalledDropped) >= 20);
    });
}
