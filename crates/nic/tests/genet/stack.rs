//! The unchanged driver under the node's network stack, with another stack at the other end of the cable.

use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::Poll;

use embassy_time::{Duration, Instant, Timer};
use embedded_io_async::{Read, Write};
use net::{Identity, Ipv4Settings, Settings, Stack, TcpSocket, services};
use nic::exchange::{FrameExchange, NicInfo};
use nic::{Link, MacAddress};
use testkit::dma::FakeDma;
use testkit::genet::Partner;

use crate::board::{Board, on_board, wait};

const PEER: MacAddress = MacAddress([0x52, 0x54, 0, 0x12, 0x34, 0x56]);

fn settings(ipv4: Ipv4Settings) -> Settings {
    let identity = Identity { version: "1.2.3".into(), board: "Pi 4B".into(), serial: "00ab".into() };
    Settings { name: None, ipv4, ntp: None, identity, seed: 42, secret: [7; 16] }
}

fn fixed(last: u8) -> Settings {
    settings(Ipv4Settings::Static { address: [10, 0, 0, last].into(), prefix_len: 24, gateway: None })
}

/// Runs tasks beside `main` until that has ended.
async fn beside<T>(mut tasks: Vec<Pin<Box<dyn Future<Output = ()> + '_>>>, main: impl Future<Output = T>) -> T {
    let mut main = Box::pin(main);
    poll_fn(|cx| {
        if let Poll::Ready(result) = main.as_mut().poll(cx) {
            return Poll::Ready(result);
        }
        tasks.retain_mut(|task| task.as_mut().poll(cx).is_pending());
        Poll::Pending
    })
    .await
}

fn task<'a, T>(task: impl Future<Output = T> + 'a) -> Pin<Box<dyn Future<Output = ()> + 'a>> {
    Box::pin(async {
        task.await;
    })
}

/// The other end's controller, which loses nothing.
fn peer() -> &'static FrameExchange {
    let (_, mut pool) = FakeDma::new(128 * 2048 + 64);
    let mut take = || (0..64).map(|_| pool.take(2048).unwrap()).collect::<Vec<_>>();
    let exchange: &'static FrameExchange = Box::leak(Box::new(FrameExchange::new(take(), take())));
    exchange.attach(NicInfo { driver: "peer", mac: PEER, tx_headroom: 0 });
    exchange.set_link(Link::Up { speed_mbps: 1000, is_full_duplex: true });
    exchange
}

/// The cable: frames of the node to the peer.
async fn to_peer(board: &Board, peer: &FrameExchange) {
    loop {
        let sent = board.model.lock().sent.pop_front();
        let Some(frame) = sent else {
            Timer::after_micros(20).await;
            continue;
        };
        let mut buffer = peer.take_rx_buffer().await;
        buffer.bytes_mut()[..frame.len()].copy_from_slice(&frame);
        peer.deliver(buffer, 0..frame.len());
    }
}

/// The cable: frames of the peer to the node, each after the time that it takes at 1 Gbit/s.
async fn to_node(board: &Board, peer: &FrameExchange) {
    loop {
        let frame = peer.take_tx_frame().await;
        let mut bytes = frame.buffer.bytes()[frame.frame.clone()].to_vec();
        let len = bytes.len();
        bytes.resize(len.max(60), 0);
        Timer::after_micros(bytes.len() as u64 / 125 + 1).await;
        board.model.lock().receive(&bytes);
        peer.return_tx_buffer(frame.buffer, len, true);
    }
}

fn tasks<'a>(
    board: &'a Board,
    node: &'static Stack,
    other: &'static Stack,
    exchange: &'static FrameExchange,
) -> Vec<Pin<Box<dyn Future<Output = ()> + 'a>>> {
    vec![
        task(to_peer(board, exchange)),
        task(to_node(board, exchange)),
        task(node.run()),
        task(other.run()),
        task(net::address::run_ipv4(node)),
        task(net::address::run_ipv6(node)),
        task(net::address::run_ipv4(other)),
        task(net::address::run_ipv6(other)),
        task(services::tcp_echo(node)),
        task(net::mdns::run(node)),
    ]
}

/// Has the other end send `len` bytes to the echo service and compares what comes back.
async fn echo(other: &'static Stack, len: usize) {
    let byte = |at: usize| (at.wrapping_mul(2_654_435_761) >> 16) as u8;
    let mut socket = TcpSocket::new(other, 32 * 1024, 32 * 1024);
    socket.connect(SocketAddr::from(([10, 0, 0, 1], services::ECHO_PORT))).await.unwrap();
    let (mut reader, mut writer) = socket.split();
    let write = async {
        let data: Vec<u8> = (0..len).map(byte).collect();
        writer.write_all(&data).await.unwrap();
    };
    let read = async {
        let mut buffer = vec![0; 8192];
        let mut at = 0;
        while at < len {
            let got = reader.read(&mut buffer).await.unwrap();
            assert!(got > 0, "the connection ended after {at} bytes");
            for got in &buffer[..got] {
                assert_eq!(*got, byte(at), "byte {at}");
                at += 1;
            }
        }
    };
    embassy_futures::join::join(write, read).await;
}

#[test]
fn a_megabyte_is_echoed_over_tcp() {
    on_board(
        |_| {},
        async |board| {
            let exchange = peer();
            let (node, other) = (Stack::new(board.exchange, fixed(1)), Stack::new(exchange, fixed(2)));
            beside(tasks(board, node, other, exchange), async {
                node.wait_configured().await;
                echo(other, 1 << 20).await;
                let counters = board.exchange.counters();
                assert_eq!((counters.rx_errors, counters.rx_dropped, counters.tx_errors), (0, 0, 0));
                assert!(counters.rx_frames > 700 && counters.tx_frames > 700);
                assert_eq!(counters.restarts, 0);
            })
            .await;
        },
    );
}

/// One after the other, not on one connection: smoltcp 0.14 does not accept an acknowledgement of what it sent before a
/// retransmission began, so a connection whose both ends lose several segments at once may end.
#[test]
fn tcp_works_after_each_fault() {
    on_board(
        |genet| genet.phy.negotiation = Duration::from_millis(200),
        async |board| {
            let exchange = peer();
            let (node, other) = (Stack::new(board.exchange, fixed(1)), Stack::new(exchange, fixed(2)));
            beside(tasks(board, node, other, exchange), async {
                node.wait_configured().await;
                for fault in 0..10 {
                    {
                        let mut model = board.model.lock();
                        match fault % 5 {
                            0 => model.faults.rx_set.extend([2, 1, 4, 8, 16]),
                            1 => model.faults.is_tx_stalled = true,
                            2 => model.phy.plug(Partner::GIGABIT),
                            3 => model.faults.tx_index_jump = 1000,
                            _ => model.faults.rx_clear.extend([0x2000, 0, 0x4000]),
                        }
                    }
                    // What the fault needs to show: something to send and to receive.
                    let node_address = node.ipv4_address().unwrap().into();
                    let _ = other.ping(node_address, 56, Duration::from_secs(1)).await;
                    Timer::after_secs(4).await;
                    board.link_up().await;
                    echo(other, 50_000).await;
                }
                let counters = board.exchange.counters();
                assert!(counters.restarts >= 3 && counters.rx_errors >= 10 && counters.link_ups > 4, "{counters:?}");
            })
            .await;
        },
    );
}

#[test]
fn ping_works_over_both_protocols_through_the_address_filter() {
    on_board(
        |_| {},
        async |board| {
            let exchange = peer();
            let (node, other) = (Stack::new(board.exchange, fixed(1)), Stack::new(exchange, fixed(2)));
            beside(tasks(board, node, other, exchange), async {
                wait("both have IPv6 addresses", || {
                    node.status().addresses().count() == 2 && other.status().addresses().count() == 2
                })
                .await;
                // The filter knows the groups: it is not promiscuous any more.
                assert_eq!(board.model.lock().command() & 0x10, 0);
                for address in node.status().addresses() {
                    assert!(other.ping(address, 1000, Duration::from_secs(3)).await.is_ok(), "{address}");
                }
                let mut foreign = vec![0; 60];
                foreign[..6].copy_from_slice(&[0x01, 0, 0x5e, 0x7f, 0xff, 0xfa]);
                let before = board.exchange.counters().rx_frames;
                board.model.lock().receive(&foreign);
                foreign[..6].copy_from_slice(&[0x01, 0, 0x5e, 0, 0, 0xfb]);
                board.model.lock().receive(&foreign);
                wait("mDNS passes", || board.exchange.counters().rx_frames > before).await;
                Timer::after_millis(1).await;
                assert_eq!(board.exchange.counters().rx_frames, before + 1, "another group's frame does not");
            })
            .await;
        },
    );
}

#[test]
fn the_first_dhcp_packet_follows_the_link_within_100_ms() {
    on_board(
        |genet| genet.phy.unplug(),
        async |board| {
            let node = Stack::new(board.exchange, settings(Ipv4Settings::Dhcp));
            let tasks = vec![task(node.run()), task(net::address::run_ipv4(node))];
            beside(tasks, async {
                for round in 0..5 {
                    Timer::after_secs(3).await;
                    board.model.lock().sent.clear();
                    board.model.lock().phy.plug(Partner::GIGABIT);
                    wait("the PHY has a link", || board.model.lock().phy.link().is_some()).await;
                    let start = Instant::now();
                    wait("DHCP starts", || {
                        let model = board.model.lock();
                        // UDP to port 67.
                        model.sent.iter().any(|frame| frame[23] == 17 && frame[36..38] == [0, 67])
                    })
                    .await;
                    let took = start.elapsed();
                    assert!(took < Duration::from_millis(100), "round {round}: {took:?}");
                    board.model.lock().phy.unplug();
                    board.link_down().await;
                }
            })
            .await;
        },
    );
}
