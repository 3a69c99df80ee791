//! Frames that no sane peer sends, the same ones for the same seed.
//!
//! Each starts as a sensible packet of one protocol and is then cut, overwritten, given absurd lengths, or made of noise
//! altogether. Half of them get their checksums put right afterwards, so that the damage reaches the parser behind.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::lab::{HOST, HOST_MAC, NODE};
use crate::mdns;
use crate::packet::{self, ARP, BROADCAST, ICMP, ICMPV6, IPV4, IPV6, Mac, TCP, UDP};

/// Longest frame without FCS.
const FRAME_LEN_MAX: usize = 1514;
/// Shortest frame that a packet socket takes: the Ethernet header.
const FRAME_LEN_MIN: usize = 14;
/// Bytes of an IPv4 header without options, and of the Ethernet header in front of it.
const HEADERS: usize = 34;

/// A stream of pseudo-random numbers (xorshift64*; Vigna 2016).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// Starts the stream that belongs to a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// Returns the next number.
    pub fn number(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Returns a number below `end`, which is not 0.
    pub fn below(&mut self, end: usize) -> usize {
        (self.number() >> 11) as usize % end
    }

    /// Returns one of `choices`, which are not empty.
    pub fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    /// Returns noise.
    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.number() as u8).collect()
    }
}

/// The protocol that a malformed frame started as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Noise behind an Ethernet header.
    Ethernet,
    /// ARP.
    Arp,
    /// IPv4 with options, fragments, or an unknown protocol.
    Ipv4,
    /// ICMP.
    Icmp,
    /// UDP to the node's services.
    Udp,
    /// TCP to the node's services.
    Tcp,
    /// DHCP replies.
    Dhcp,
    /// Multicast DNS.
    Mdns,
    /// IPv6 with extension headers.
    Ipv6,
    /// ICMPv6: neighbour discovery, router advertisements, echo.
    Icmpv6,
}

impl Protocol {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Ethernet,
        Self::Arp,
        Self::Ipv4,
        Self::Icmp,
        Self::Udp,
        Self::Tcp,
        Self::Dhcp,
        Self::Mdns,
        Self::Ipv6,
        Self::Icmpv6,
    ];
}

/// Makes malformed frames for one node.
#[derive(Clone, Debug)]
pub struct Malformer {
    random: Random,
    node: Mac,
    node_v6: Ipv6Addr,
}

impl Malformer {
    /// Starts the sequence that belongs to a seed.
    #[must_use]
    pub fn new(seed: u64, node: Mac, node_v6: Ipv6Addr) -> Self {
        Self { random: Random::new(seed), node, node_v6 }
    }

    /// Returns the next frame of a protocol.
    pub fn frame(&mut self, protocol: Protocol) -> Vec<u8> {
        let mut frame = self.sensible(protocol);
        for _ in 0..=self.random.below(3) {
            self.damage(&mut frame);
        }
        frame.resize(frame.len().clamp(FRAME_LEN_MIN, FRAME_LEN_MAX), 0);
        if self.random.below(2) == 0 {
            put_checksums_right(&mut frame);
        }
        frame
    }

    fn sensible(&mut self, protocol: Protocol) -> Vec<u8> {
        let to = self.random.pick(&[self.node, self.node, self.node, BROADCAST]);
        let size = self.random.below(200);
        let noise = self.random.bytes(size);
        match protocol {
            Protocol::Ethernet => {
                let kind = self.random.number() as u16;
                packet::ethernet(to, HOST_MAC, kind, &noise)
            }
            Protocol::Arp => {
                let stranger = self.stranger();
                packet::ethernet(to, HOST_MAC, ARP, &packet::arp_request(HOST_MAC, stranger, NODE))
            }
            Protocol::Ipv4 => {
                let protocol = self.random.number() as u8;
                self.ipv4(to, protocol, &noise)
            }
            Protocol::Icmp => {
                let mut message = packet::icmp_echo_request(7, 7, &noise);
                message[0] = self.random.pick(&[0, 3, 4, 5, 8, 8, 8, 11, 12, 13, 17]);
                self.ipv4(to, ICMP, &message)
            }
            Protocol::Udp => {
                let port = self.random.pick(&[7, 9, 19, 53, 67, 68, 123, 514, 5353, 12345]);
                let datagram = packet::udp((HOST, 1024), (NODE, port), &noise);
                self.ipv4(to, UDP, &datagram)
            }
            Protocol::Tcp => {
                let port = self.random.pick(&[7, 9, 19, 22, 80, 443]);
                let flags = self.random.number() as u8;
                let numbers = (self.random.number() as u32, self.random.number() as u32);
                let from = 1024 + self.random.below(60_000) as u16;
                let options = &noise[..noise.len().min(40)];
                let mut segment = packet::tcp((HOST, from), (NODE, port), numbers, flags, options);
                segment.extend(&noise);
                self.ipv4(to, TCP, &segment)
            }
            Protocol::Dhcp => {
                let mut reply = vec![2, 1, 6, 0];
                reply.extend(self.random.bytes(24));
                reply.extend(self.node);
                reply.resize(236, 0);
                reply.extend([99, 130, 83, 99, 53, 1, self.random.pick(&[2, 5, 6])]);
                reply.extend(noise);
                let datagram = packet::udp((HOST, 67), (NODE, 68), &reply);
                self.ipv4(to, UDP, &datagram)
            }
            Protocol::Mdns => {
                let mut message = mdns::query("_minipirack._tcp.local", mdns::PTR);
                message[2] = self.random.pick(&[0, 0, 0x84, 0xff]);
                message[5] = self.random.pick(&[0, 1, 1, 2, 200]);
                message[7] = self.random.pick(&[0, 0, 1, 255]);
                message.extend(noise);
                let (group, port) = mdns::GROUP;
                let datagram = packet::udp((HOST, port), (group, port), &message);
                let packet = packet::ipv4(HOST, group, UDP, &datagram);
                packet::ethernet([1, 0, 0x5e, 0, 0, 0xfb], HOST_MAC, IPV4, &packet)
            }
            Protocol::Ipv6 => {
                let header = self.random.pick(&[0, 6, 17, 43, 44, 50, 51, 58, 59, 60, 135]);
                self.ipv6(to, header, &noise)
            }
            Protocol::Icmpv6 => {
                let kind = self.random.pick(&[1, 2, 3, 4, 128, 129, 130, 131, 132, 134, 135, 136, 137, 143]);
                let message = [&[kind, 0, 0, 0][..], &noise].concat();
                let message = packet::icmpv6(self.stranger_v6(), self.node_v6, message);
                self.ipv6(to, ICMPV6, &message)
            }
        }
    }

    fn ipv4(&mut self, to: Mac, protocol: u8, payload: &[u8]) -> Vec<u8> {
        packet::ethernet(to, HOST_MAC, IPV4, &packet::ipv4(HOST, NODE, protocol, payload))
    }

    fn ipv6(&mut self, to: Mac, next_header: u8, payload: &[u8]) -> Vec<u8> {
        let hops = self.random.pick(&[0, 1, 64, 255]);
        packet::ethernet(
            to,
            HOST_MAC,
            IPV6,
            &packet::ipv6(self.stranger_v6(), self.node_v6, next_header, hops, payload),
        )
    }

    /// Returns an address of the lab's network that nobody has.
    fn stranger(&mut self) -> Ipv4Addr {
        Ipv4Addr::new(10, 77, 0, 100 + self.random.below(100) as u8)
    }

    fn stranger_v6(&mut self) -> Ipv6Addr {
        Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0x77, self.random.below(100) as u16)
    }

    fn damage(&mut self, frame: &mut Vec<u8>) {
        match self.random.below(6) {
            0 => {
                let len = self.random.below(frame.len() + 1);
                frame.truncate(len);
            }
            1 => {
                let len = self.random.below(FRAME_LEN_MAX - frame.len().min(FRAME_LEN_MAX) + 1);
                frame.extend(self.random.bytes(len));
            }
            2 | 3 => {
                // A few bytes anywhere behind the Ethernet addresses.
                for _ in 0..=self.random.below(8) {
                    if frame.len() > 12 {
                        let at = 12 + self.random.below(frame.len() - 12);
                        frame[at] = self.random.number() as u8;
                    }
                }
            }
            4 => {
                // Lengths, offsets and types sit in the headers; give one an edge value.
                if frame.len() > FRAME_LEN_MIN {
                    let at = FRAME_LEN_MIN + self.random.below((frame.len() - FRAME_LEN_MIN).min(60));
                    frame[at] = self.random.pick(&[0, 1, 0x7f, 0x80, 0xff, 0x4f, 0x40, 0x60]);
                }
            }
            _ => {
                // Noise from here on.
                let at = self.random.below(frame.len() + 1);
                let noise = self.random.bytes(frame.len() - at);
                frame.truncate(at);
                frame.extend(noise);
            }
        }
    }
}

/// Rewrites the checksums of an IPv4 header and of the TCP segment or UDP datagram in it, where they have a place.
fn put_checksums_right(frame: &mut [u8]) {
    if frame.len() < HEADERS || frame[12..14] != IPV4.to_be_bytes() {
        return;
    }
    let header_len = usize::from(frame[14] & 15) * 4;
    let end = FRAME_LEN_MIN + header_len;
    if header_len < 20 || end > frame.len() {
        return;
    }
    frame[24..26].fill(0);
    let sum = packet::checksum(&[&frame[FRAME_LEN_MIN..end]]).to_be_bytes();
    frame[24..26].copy_from_slice(&sum);
    let protocol = frame[23];
    let field = match protocol {
        TCP => end + 16,
        UDP => end + 6,
        ICMP => end + 2,
        _ => return,
    };
    let total = FRAME_LEN_MIN + usize::from(u16::from_be_bytes([frame[16], frame[17]]));
    if total < field + 2 || total > frame.len() {
        return;
    }
    frame[field..field + 2].fill(0);
    let address = |at: usize, frame: &[u8]| Ipv4Addr::new(frame[at], frame[at + 1], frame[at + 2], frame[at + 3]);
    let sum = match protocol {
        ICMP => packet::checksum(&[&frame[end..total]]),
        _ => packet::transport_checksum(address(26, frame), address(30, frame), protocol, &frame[end..total]),
    };
    frame[field..field + 2].copy_from_slice(&sum.to_be_bytes());
}

/// Returns something that looks like an HTTP request until one looks closer.
pub fn http_request(random: &mut Random) -> Vec<u8> {
    let mut request = random
        .pick(&[
            &b"GET / HTTP/1.1\r\nHost: node\r\n\r\n"[..],
            b"GET /metrics HTTP/1.1\r\nHost: node\r\nContent-Length: 18446744073709551616\r\n\r\n",
            b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n",
            b"GET /%00%ff%zz?%=&&& HTTP/9.9\r\n\r\n",
            b"\r\n\r\n\r\n GET",
            b"HEAD http://[::1 HTTP/1.1\r\n: \r\n\r\n",
            b"GET /metrics HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
        ])
        .to_vec();
    match random.below(5) {
        0 => request.truncate(random.below(request.len())),
        1 => {
            let at = random.below(request.len());
            request[at] = random.number() as u8;
        }
        2 => {
            let len = random.below(4000);
            request.splice(4..4, random.bytes(len));
        }
        3 => {
            let len = random.below(6000);
            request.splice(0..0, std::iter::repeat_n(b'A', len));
        }
        _ => {}
    }
    request
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_frames_of_lengths_that_fit_the_wire() {
        let node = [2, 0, 0, 0, 0, 9];
        let [mut a, mut b, mut c] = [1, 1, 2].map(|seed| Malformer::new(seed, node, Ipv6Addr::LOCALHOST));
        let mut differences = 0;
        for index in 0..5000 {
            let protocol = Protocol::ALL[index % Protocol::ALL.len()];
            let frame = a.frame(protocol);
            assert!((FRAME_LEN_MIN..=FRAME_LEN_MAX).contains(&frame.len()), "{} bytes", frame.len());
            assert_eq!(frame, b.frame(protocol));
            differences += usize::from(frame != c.frame(protocol));
        }
        assert!(differences > 4900, "{differences}");
    }

    #[test]
    fn checksums_put_right_are_right() {
        let datagram = packet::udp((HOST, 1), (NODE, 2), b"abc");
        let mut frame = packet::ethernet(BROADCAST, HOST_MAC, IPV4, &packet::ipv4(HOST, NODE, UDP, &datagram));
        let right = frame.clone();
        frame[24..26].fill(0x55);
        frame[40..42].fill(0x55);
        put_checksums_right(&mut frame);
        assert_eq!(frame, right);
    }
}
