//! A hundred thousand frames that are wrong in every way, and a node that takes no notice.
//!
//! The frames are real ones, of every protocol that a node speaks, recorded on the hub, then cut short, changed at random, or
//! both; half of them get good checksums again, so that they come past the first check. The seed is fixed.

use std::cell::RefCell;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;

use embassy_time::{Duration, Timer, with_timeout};
use embedded_io_async::{Read, Write};
use net::http::{Found, HTTP_PORT, Pages, Parts, Wanted, serve};
use net::{Event, Ipv4Settings, TcpSocket, UdpSocket, services};

use crate::dhcp::Server;
use crate::lab::{self, Lab, Node, Tap, fixed, settings, wait_until};

const SECOND: Duration = Duration::from_secs(1);
const FRAMES: usize = 100_000;

struct Site;

impl Pages for Site {
    type Parts = Echo;

    fn find(&self, wanted: &Wanted<'_>, out: &mut String) -> Found<Echo> {
        out.push_str(wanted.path);
        if wanted.query.is_empty() {
            return Found::Whole("text/plain");
        }
        Found::Parts("text/plain", Echo(std::mem::take(out)))
    }
}

/// A page of one part.
struct Echo(String);

impl Parts for Echo {
    async fn next(&mut self, out: &mut String) {
        out.push_str(&std::mem::take(&mut self.0));
    }
}

/// Knuth's MMIX generator.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % end.max(1)
    }

    fn byte(&mut self) -> u8 {
        self.below(256) as u8
    }
}

fn start_services(lab: &Lab, node: &Node) {
    for _ in 0..4 {
        lab.tasks.spawn(services::tcp_echo(node.stack));
        lab.tasks.spawn(services::tcp_discard(node.stack));
        lab.tasks.spawn(services::tcp_chargen(node.stack));
        lab.tasks.spawn(serve(node.stack, HTTP_PORT, &Site));
    }
    lab.tasks.spawn(services::udp_echo(node.stack));
    lab.tasks.spawn(services::udp_discard(node.stack));
    lab.tasks.spawn(services::udp_chargen(node.stack));
    lab.tasks.spawn(net::mdns::run(node.stack));
    lab.tasks.spawn(net::time::run(node.stack));
}

/// Uses everything that the node offers; each must answer.
async fn use_everything(node: &Node, client: &Node) {
    for address in node.stack.status().addresses() {
        client.stack.ping(address, 100, SECOND * 5).await.unwrap_or_else(|error| panic!("ping {address}: {error}"));
    }
    let address = IpAddr::V4(node.stack.ipv4_address().unwrap());
    let at = |port| SocketAddr::new(address, port);
    let mut socket = TcpSocket::new(client.stack, 4096, 4096);
    let mut buffer = [0; 2000];
    socket.connect(at(services::ECHO_PORT)).await.unwrap();
    socket.write_all(b"hello").await.unwrap();
    socket.read_exact(&mut buffer[..5]).await.unwrap();
    assert_eq!(&buffer[..5], b"hello");
    socket.close().await;
    socket.connect(at(HTTP_PORT)).await.unwrap();
    socket.write_all(b"GET /page HTTP/1.1\r\nHost: pi\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut answer = vec![];
    while let Ok(len @ 1..) = socket.read(&mut buffer).await {
        answer.extend_from_slice(&buffer[..len]);
    }
    assert!(answer.ends_with(b"\r\n\r\n/page"), "{}", String::from_utf8_lossy(&answer));
    socket.close().await;
    socket.connect(at(services::CHARGEN_PORT)).await.unwrap();
    socket.read_exact(&mut buffer[..100]).await.unwrap();
    socket.abort();
    let mut socket = UdpSocket::bind(client.stack, 0, 4, 4096).unwrap();
    socket.send_to(b"datagram", at(services::ECHO_PORT)).await.unwrap();
    let got = with_timeout(SECOND, socket.recv_from(&mut buffer)).await.expect("a UDP echo");
    assert_eq!(&buffer[..got.len], b"datagram");
    let mut mdns = UdpSocket::bind(client.stack, 0, 4, 4096).unwrap();
    let query = b"\0\x01\0\0\0\x01\0\0\0\0\0\0\x09pi-123401\x05local\0\0\x01\0\x01";
    mdns.send_to(query, (Ipv4Addr::new(224, 0, 0, 251), 5353).into()).await.unwrap();
    let got = with_timeout(SECOND * 3, mdns.recv_from(&mut buffer)).await.expect("an mDNS answer");
    assert!(buffer[..got.len].ends_with(&node.stack.ipv4_address().unwrap().octets()));
}

fn mutate(frame: &[u8], random: &mut Random) -> Vec<u8> {
    let mut frame = frame.to_vec();
    // The address of the node stays, mostly: what is for others is dropped at the door.
    let first = if random.below(20) == 0 { 0 } else { 12 };
    match random.below(4) {
        0 => frame.truncate(random.below(frame.len())),
        1 => (0..random.below(200)).for_each(|_| frame.push(random.byte())),
        _ => {}
    }
    for _ in 0..random.below(8) {
        if frame.len() > first {
            let reach = if random.below(2) == 0 { 60 } else { frame.len() };
            let at = first + random.below(reach.min(frame.len() - first));
            frame[at] = match random.below(4) {
                0 => 0,
                1 => 0xFF,
                2 => frame[at] ^ 1 << random.below(8),
                _ => random.byte(),
            };
        }
    }
    frame.truncate(1514);
    if random.below(2) == 0 {
        mend(&mut frame);
    }
    frame
}

fn sum(data: &[u8]) -> u32 {
    data.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0))).sum()
}

fn checksum(mut sum: u32) -> [u8; 2] {
    while sum > 0xFFFF {
        sum = (sum & 0xFFFF) + (sum >> 16);
    }
    (!(sum as u16)).to_be_bytes()
}

/// Makes lengths and checksums of IP and what it carries right.
fn mend(frame: &mut [u8]) -> Option<()> {
    let payload_len = frame.len().checked_sub(14)?;
    let (addresses, number, start) = match frame.get(12..14)? {
        [8, 0] if payload_len > 20 => {
            let header_len = usize::from(frame[14] & 15).clamp(5, payload_len / 4) * 4;
            frame[14] = 0x40 | (header_len / 4) as u8;
            frame[16..18].copy_from_slice(&(payload_len as u16).to_be_bytes());
            frame[24..26].fill(0);
            let header = checksum(sum(&frame[14..14 + header_len]));
            frame[24..26].copy_from_slice(&header);
            (26..34, frame[23], 14 + header_len)
        }
        [0x86, 0xDD] if payload_len > 40 => {
            frame[14] = 0x60 | frame[14] & 15;
            frame[18..20].copy_from_slice(&(payload_len as u16 - 40).to_be_bytes());
            (22..54, frame[20], 54)
        }
        _ => return None,
    };
    let at = start
        + match number {
            1 | 58 => 2,
            6 => 16,
            17 => 6,
            _ => return None,
        };
    if number == 17 {
        let len = (frame.len() - start) as u16;
        frame.get_mut(start + 4..start + 6)?.copy_from_slice(&len.to_be_bytes());
    }
    frame.get_mut(at..at + 2)?.fill(0);
    let pseudo =
        if number == 1 { 0 } else { sum(&frame[addresses]) + u32::from(number) + (frame.len() - start) as u32 };
    let right = checksum(pseudo + sum(&frame[start..]));
    frame[at..at + 2].copy_from_slice(&right);
    Some(())
}

/// A request with a few bytes changed, over a good connection. The server answers something, or hangs up.
async fn speak_bad_http(node: &Node, client: &Node, random: &mut Random) {
    let Some(address) = node.stack.ipv4_address() else { return };
    let mut request = b"GET /page HTTP/1.1\r\nHost: pi\r\nAccept: text/html\r\nConnection: close\r\n\r\n".to_vec();
    for _ in 0..1 + random.below(4) {
        let at = random.below(request.len());
        request[at] = random.byte();
    }
    let mut socket = TcpSocket::new(client.stack, 4096, 4096);
    // In the flood, the connection itself may fail.
    let _ = with_timeout(SECOND * 20, async {
        socket.connect((address, HTTP_PORT).into()).await?;
        socket.write_all(&request).await?;
        while socket.read(&mut [0; 512]).await? > 0 {}
        Ok::<_, net::TcpError>(())
    })
    .await;
    socket.close().await;
}

async fn record(tap: Tap, corpus: Rc<RefCell<Vec<Vec<u8>>>>) {
    loop {
        let frame = tap.recv().await;
        corpus.borrow_mut().push(frame);
    }
}

/// Has the bits of each kind of frame, to see that the corpus covers them.
fn kind(frame: &[u8]) -> (u16, u8, u16) {
    let ethertype = u16::from_be_bytes([frame[12], frame[13]]);
    let (number, transport) = match ethertype {
        0x0800 => (frame[23], 34),
        0x86DD => (frame[20], 54),
        _ => return (ethertype, 0, 0),
    };
    let port = |at: usize| u16::from_be_bytes([frame[transport + at], frame[transport + at + 1]]);
    (ethertype, number, if matches!(number, 6 | 17) { port(0).min(port(2)) } else { u16::from(frame[transport]) })
}

#[test]
fn a_node_survives_a_flood_of_nonsense() {
    lab::run(|lab| async move {
        let dhcp = Server::start(&lab);
        let node = lab.node(1, settings(Ipv4Settings::Dhcp));
        let client = lab.node(2, settings(fixed(2)));
        let corpus = Rc::new(RefCell::new(vec![]));
        lab.tasks.spawn(record(lab.tap(), corpus.clone()));
        let tap = lab.tap();
        start_services(&lab, &node);
        tap.send(&crate::ipv6::advertisement(1800, 3600)).await;
        wait_until(SECOND * 10, "a name", || node.stack.status().mdns_name == "pi-123401").await;
        wait_until(SECOND * 10, "three addresses", || node.stack.status().addresses().count() == 3).await;
        use_everything(&node, &client).await;
        Timer::after(SECOND * 60).await;
        let mut corpus = std::mem::take(&mut *corpus.borrow_mut());
        corpus.push(crate::ipv6::advertisement(1800, 3600));
        // Requests as the node gets them, answers as if the node had asked.
        for frame in &mut corpus {
            if frame[0] & 1 == 0 {
                frame[..6].copy_from_slice(&node.mac.0);
            }
            // What it has said itself would be no more than a loop.
            if frame[6..12] == node.mac.0 {
                frame[6..12].copy_from_slice(&client.mac.0);
            }
        }
        let kinds: std::collections::BTreeSet<_> = corpus.iter().map(|frame| kind(frame)).collect();
        for wanted in [
            (0x0806, 0, 0),
            (0x0800, 1, 0),
            (0x0800, 1, 8),
            (0x0800, 6, 7),
            (0x0800, 6, 80),
            (0x0800, 17, 7),
            (0x0800, 17, 67),
            (0x0800, 17, 5353),
            (0x86DD, 58, 128),
            (0x86DD, 58, 134),
            (0x86DD, 58, 135),
            (0x86DD, 17, 5353),
        ] {
            assert!(kinds.contains(&wanted), "the corpus lacks {wanted:x?}: {kinds:x?}");
        }
        let sockets = node.stack.status().sockets;
        let mut random = Random(0x1234_5678_9ABC_DEF0);
        for number in 0..FRAMES {
            let frame = match random.below(50) {
                0 => (0..random.below(1514)).map(|_| random.byte()).collect(),
                _ => mutate(&corpus[random.below(corpus.len())], &mut random),
            };
            tap.send(&frame).await;
            if number % 1000 == 0 {
                // The client hears the flood too; time goes on, and the node lives.
                let before = node.stack.progress();
                Timer::after_millis(1200).await;
                assert_ne!(node.stack.progress(), before, "after {number} frames");
                speak_bad_http(&node, &client, &mut random).await;
            }
        }
        // Forged messages may have moved addresses; the real servers set that right.
        node.plug(false);
        node.plug(true);
        Timer::after(SECOND * 120).await;
        wait_until(SECOND * 60, "the lease", || node.stack.ipv4_address() == Some(dhcp.address.get())).await;
        wait_until(SECOND * 60, "the name", || node.stack.status().mdns_name == "pi-123401").await;
        use_everything(&node, &client).await;
        Timer::after(SECOND * 60).await;
        let counters = node.stack.counters();
        for event in [
            Event::EthernetMalformed,
            Event::EthernetForeign,
            Event::ArpMalformed,
            Event::Ipv4Malformed,
            Event::Ipv4Fragment,
            Event::Ipv6Malformed,
            Event::IcmpMalformed,
            Event::UdpMalformed,
            Event::TcpMalformed,
            Event::DhcpMalformed,
            Event::MdnsMalformed,
            Event::HttpMalformed,
        ] {
            assert!(counters.get(event) > 0, "{event:?} was not counted");
        }
        assert!(counters.malformed() > 40_000, "{} malformed", counters.malformed());
        assert_eq!(node.stack.status().sockets, sockets, "sockets");
        assert_eq!(node.stack.status().tcp_connections, 0, "connections");
        node.assert_no_leak();
    });
}
