//! What the plane needs to know of a frame. Any bytes are a frame: what can't be read is left open, and matches nothing that
//! asks for it.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::ops::Range;

/// IP protocol numbers (IANA).
pub(crate) mod protocol {
    pub(crate) const HOP_BY_HOP: u8 = 0;
    pub(crate) const ICMP: u8 = 1;
    pub(crate) const IGMP: u8 = 2;
    pub(crate) const TCP: u8 = 6;
    pub(crate) const UDP: u8 = 17;
    pub(crate) const ROUTING: u8 = 43;
    pub(crate) const ICMPV6: u8 = 58;
    pub(crate) const DESTINATION_OPTIONS: u8 = 60;
}

/// Bytes of an Ethernet header.
pub(crate) const ETHERNET: usize = 14;
const ARP: u16 = 0x0806;
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86DD;
/// Extension headers of IPv6 that are looked behind: nobody sends more.
const EXTENSIONS_MAX: usize = 4;

/// A frame, as far as it can be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Packet {
    pub(crate) is_arp: bool,
    /// Sender's and receiver's address; of ARP, the protocol addresses in it.
    pub(crate) source: Option<IpAddr>,
    pub(crate) destination: Option<IpAddr>,
    /// What IP carries.
    pub(crate) protocol: Option<u8>,
    /// Source and destination port.
    pub(crate) ports: Option<(u16, u16)>,
    /// Where the transport's header and data are in the frame; without IP, everything behind the Ethernet header.
    pub(crate) transport: Range<usize>,
}

impl Packet {
    /// Reads a frame, from the destination address on, without FCS.
    pub(crate) fn read(frame: &[u8]) -> Self {
        let mut packet = Self { transport: ETHERNET.min(frame.len())..frame.len(), ..Self::default() };
        // What is missing stays open.
        let _ = match be16(frame, 12) {
            Some(ARP) => packet.read_arp(frame),
            Some(IPV4) => packet.read_ipv4(frame),
            Some(IPV6) => packet.read_ipv6(frame),
            _ => None,
        };
        packet
    }

    /// RFC 826: sender's and target's protocol addresses, of IPv4 over Ethernet.
    fn read_arp(&mut self, frame: &[u8]) -> Option<()> {
        self.is_arp = true;
        self.source = ipv4(frame, ETHERNET + 14);
        self.destination = ipv4(frame, ETHERNET + 24);
        Some(())
    }

    /// RFC 791, section 3.1.
    fn read_ipv4(&mut self, frame: &[u8]) -> Option<()> {
        let header = frame.get(ETHERNET..)?;
        let first = *header.first()?;
        let header_len = usize::from(first & 0xF) * 4;
        if first >> 4 != 4 || header_len < 20 {
            return None;
        }
        self.source = ipv4(header, 12);
        self.destination = ipv4(header, 16);
        self.protocol = header.get(9).copied();
        let start = ETHERNET + header_len;
        let end = (ETHERNET + usize::from(be16(header, 2)?)).min(frame.len());
        if start > end {
            return None;
        }
        self.transport = start..end;
        // Only the first fragment has ports.
        if be16(header, 6)? & 0x1FFF == 0 { self.read_ports(frame) } else { None }
    }

    /// RFC 8200, section 3 and 4.
    fn read_ipv6(&mut self, frame: &[u8]) -> Option<()> {
        let header = frame.get(ETHERNET..)?;
        if header.first()? >> 4 != 6 {
            return None;
        }
        self.source = ipv6(header, 8);
        self.destination = ipv6(header, 24);
        let mut next = *header.get(6)?;
        let mut start = ETHERNET + 40;
        let end = (start + usize::from(be16(header, 4)?)).min(frame.len());
        for _ in 0..EXTENSIONS_MAX {
            let is_extension = [protocol::HOP_BY_HOP, protocol::ROUTING, protocol::DESTINATION_OPTIONS].contains(&next);
            if !is_extension {
                break;
            }
            next = *frame.get(start)?;
            start += usize::from(*frame.get(start + 1)?) * 8 + 8;
        }
        self.protocol = Some(next);
        if start > end {
            return None;
        }
        self.transport = start..end;
        self.read_ports(frame)
    }

    fn read_ports(&mut self, frame: &[u8]) -> Option<()> {
        if matches!(self.protocol, Some(protocol::TCP | protocol::UDP)) {
            let transport = frame.get(self.transport.clone())?;
            self.ports = Some((be16(transport, 0)?, be16(transport, 2)?));
        }
        Some(())
    }

    /// Returns where the data behind the transport's header is; `None` if that can't be told.
    pub(crate) fn data(&self, frame: &[u8]) -> Option<Range<usize>> {
        self.ports?;
        let header_len = match self.protocol? {
            protocol::TCP => usize::from(*frame.get(self.transport.start + 12)? >> 4) * 4,
            _ => 8,
        };
        let start = self.transport.start + header_len;
        (start <= self.transport.end && header_len >= 8).then_some(start..self.transport.end)
    }

    /// Returns the type of an ICMPv6 message.
    pub(crate) fn icmpv6_type(&self, frame: &[u8]) -> Option<u8> {
        (self.protocol == Some(protocol::ICMPV6)).then(|| frame.get(self.transport.start).copied()).flatten()
    }
}

pub(crate) fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().copied().map(u16::from_be_bytes)
}

fn ipv4(bytes: &[u8], at: usize) -> Option<IpAddr> {
    bytes.get(at..)?.first_chunk::<4>().copied().map(|octets| Ipv4Addr::from(octets).into())
}

fn ipv6(bytes: &[u8], at: usize) -> Option<IpAddr> {
    bytes.get(at..)?.first_chunk::<16>().copied().map(|octets| Ipv6Addr::from(octets).into())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Makes a UDP datagram over IPv4, with right checksums.
    pub(crate) fn udp(from: ([u8; 4], u16), to: ([u8; 4], u16), data: &[u8]) -> Vec<u8> {
        let mut segment = vec![];
        segment.extend(from.1.to_be_bytes());
        segment.extend(to.1.to_be_bytes());
        segment.extend((8 + data.len() as u16).to_be_bytes());
        segment.extend([0, 0]);
        segment.extend(data);
        let sum = checksum(&[&from.0, &to.0, &[0, 17], &(segment.len() as u16).to_be_bytes(), &segment]);
        segment[6..8].copy_from_slice(&(!sum).to_be_bytes());
        ipv4_frame(from.0, to.0, 17, &segment)
    }

    pub(crate) fn tcp(from: ([u8; 4], u16), to: ([u8; 4], u16), data: &[u8]) -> Vec<u8> {
        let mut segment = vec![];
        segment.extend(from.1.to_be_bytes());
        segment.extend(to.1.to_be_bytes());
        segment.extend([0, 0, 0, 1, 0, 0, 0, 2, 0x50, 0x10, 1, 0, 0, 0, 0, 0]);
        segment.extend(data);
        let sum = checksum(&[&from.0, &to.0, &[0, 6], &(segment.len() as u16).to_be_bytes(), &segment]);
        segment[16..18].copy_from_slice(&(!sum).to_be_bytes());
        ipv4_frame(from.0, to.0, 6, &segment)
    }

    pub(crate) fn ipv4_frame(from: [u8; 4], to: [u8; 4], protocol: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];
        frame.extend([0x45, 0]);
        frame.extend((20 + payload.len() as u16).to_be_bytes());
        frame.extend([0, 1, 0x40, 0, 64, protocol, 0, 0]);
        frame.extend(from);
        frame.extend(to);
        let sum = !checksum(&[&frame[14..34]]);
        frame[24..26].copy_from_slice(&sum.to_be_bytes());
        frame.extend(payload);
        frame
    }

    /// Makes a UDP datagram over IPv6 behind hop-by-hop options.
    fn udp_v6(ports: (u16, u16)) -> Vec<u8> {
        let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x86, 0xdd, 0x60, 0, 0, 0, 0, 16 + 4, 0, 64];
        frame.extend([0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        frame.extend([0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
        frame.extend([17, 0, 1, 4, 0, 0, 0, 0]);
        frame.extend(ports.0.to_be_bytes());
        frame.extend(ports.1.to_be_bytes());
        frame.extend([0, 12, 0, 0, 1, 2, 3, 4]);
        frame
    }

    /// The Internet checksum's sum (RFC 1071), not inverted.
    pub(crate) fn checksum(parts: &[&[u8]]) -> u16 {
        let mut sum = 0u32;
        for part in parts {
            for pair in part.chunks(2) {
                sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
            }
        }
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        sum as u16
    }

    /// Returns whether the checksum of TCP, UDP or ICMP in an IPv4 frame is right.
    pub(crate) fn is_good(frame: &[u8]) -> bool {
        let segment = &frame[34..];
        let len = (segment.len() as u16).to_be_bytes();
        match frame[23] {
            1 => checksum(&[segment]) == 0xffff,
            number => checksum(&[&frame[26..34], &[0, number], &len, segment]) == 0xffff,
        }
    }

    #[test]
    fn headers_are_read() {
        let (a, b) = ([10, 0, 0, 1], [10, 0, 0, 2]);
        let frame = udp((a, 1000), (b, 53), b"hello");
        assert!(is_good(&frame) && is_good(&tcp((a, 1), (b, 2), b"odd")));
        let packet = Packet::read(&frame);
        assert_eq!((packet.source, packet.destination), (Some(a.into()), Some(b.into())));
        assert_eq!((packet.protocol, packet.ports), (Some(17), Some((1000, 53))));
        assert_eq!((packet.transport.clone(), packet.data(&frame)), (34..47, Some(42..47)));
        let frame = tcp((a, 1), (b, 80), b"data");
        let packet = Packet::read(&frame);
        assert_eq!((packet.ports, packet.data(&frame)), (Some((1, 80)), Some(54..58)));
        let frame = udp_v6((5, 6));
        let packet = Packet::read(&frame);
        assert_eq!((packet.protocol, packet.ports, packet.data(&frame)), (Some(17), Some((5, 6)), Some(70..74)));
        assert_eq!(packet.source, Some("fe80::1".parse().unwrap()));
    }

    #[test]
    fn padding_is_no_data_and_a_later_fragment_has_no_ports() {
        let mut frame = udp(([10, 0, 0, 1], 1), ([10, 0, 0, 2], 2), b"x");
        frame.resize(60, 0);
        assert_eq!(Packet::read(&frame).data(&frame), Some(42..43));
        frame[21] = 4;
        let packet = Packet::read(&frame);
        assert_eq!((packet.ports, packet.protocol, packet.data(&frame)), (None, Some(17), None));
    }

    #[test]
    fn arp_has_addresses() {
        let mut frame = vec![0xff; 6];
        frame.extend([
            2, 0, 0, 0, 0, 2, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 2, 10, 0, 0, 2, 0, 0, 0, 0, 0, 0, 10, 0, 0,
            1,
        ]);
        let packet = Packet::read(&frame);
        assert!(packet.is_arp);
        assert_eq!(packet.source, Some([10, 0, 0, 2].into()));
        assert_eq!(packet.destination, Some([10, 0, 0, 1].into()));
    }

    #[test]
    fn whatever_is_cut_is_left_open() {
        for frame in [udp(([1; 4], 1), ([2; 4], 2), b"abc"), tcp(([1; 4], 1), ([2; 4], 2), b"abc"), udp_v6((1, 2))] {
            for len in 0..frame.len() {
                let cut = &frame[..len];
                let packet = Packet::read(cut);
                assert!(packet.transport.end <= len && packet.transport.start <= packet.transport.end);
                assert!(packet.data(cut).is_none_or(|data| data.end <= len && data.start <= data.end), "{len}");
                assert!(packet.ports.is_none() || len >= 38);
            }
        }
    }
}
