//! Builds the few kinds of packets that the tests send by hand.

use std::net::{Ipv4Addr, Ipv6Addr};

/// An Ethernet address.
pub type Mac = [u8; 6];

/// Everybody on the network.
pub const BROADCAST: Mac = [0xff; 6];
/// EtherType of IPv4 (RFC 894).
pub const IPV4: u16 = 0x0800;
/// EtherType of ARP (RFC 826).
pub const ARP: u16 = 0x0806;
/// EtherType of IPv6 (RFC 2464).
pub const IPV6: u16 = 0x86dd;
/// IP protocol numbers (IANA).
pub const ICMP: u8 = 1;
/// TCP's IP protocol number.
pub const TCP: u8 = 6;
/// UDP's IP protocol number.
pub const UDP: u8 = 17;
/// ICMPv6's IP protocol number.
pub const ICMPV6: u8 = 58;

/// Returns an Ethernet frame.
#[must_use]
pub fn ethernet(to: Mac, from: Mac, ether_type: u16, payload: &[u8]) -> Vec<u8> {
    [&to[..], &from, &ether_type.to_be_bytes(), payload].concat()
}

/// Returns an ARP request (RFC 826) of `from` for `wanted`.
#[must_use]
pub fn arp_request(from_mac: Mac, from: Ipv4Addr, wanted: Ipv4Addr) -> Vec<u8> {
    let header = [0, 1, 8, 0, 6, 4, 0, 1];
    [&header[..], &from_mac, &from.octets(), &[0; 6], &wanted.octets()].concat()
}

/// Returns an IPv4 packet (RFC 791) with a right checksum.
#[must_use]
pub fn ipv4(from: Ipv4Addr, to: Ipv4Addr, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let len = u16::try_from(20 + payload.len()).unwrap_or(u16::MAX).to_be_bytes();
    let mut header = vec![0x45, 0, len[0], len[1], 0, 1, 0x40, 0, 64, protocol, 0, 0];
    header.extend(from.octets());
    header.extend(to.octets());
    let sum = checksum(&[&header]).to_be_bytes();
    header[10..12].copy_from_slice(&sum);
    [&header[..], payload].concat()
}

/// Returns an IPv6 packet (RFC 8200).
#[must_use]
pub fn ipv6(from: Ipv6Addr, to: Ipv6Addr, next_header: u8, hop_limit: u8, payload: &[u8]) -> Vec<u8> {
    let len = u16::try_from(payload.len()).unwrap_or(u16::MAX).to_be_bytes();
    let header = [0x60, 0, 0, 0, len[0], len[1], next_header, hop_limit];
    [&header[..], &from.octets(), &to.octets(), payload].concat()
}

/// Returns an ICMP echo request (RFC 792).
#[must_use]
pub fn icmp_echo_request(id: u16, sequence: u16, data: &[u8]) -> Vec<u8> {
    let mut message = [&[8, 0, 0, 0][..], &id.to_be_bytes(), &sequence.to_be_bytes(), data].concat();
    let sum = checksum(&[&message]).to_be_bytes();
    message[2..4].copy_from_slice(&sum);
    message
}

/// Returns an ICMPv6 message (RFC 4443) whose checksum field is filled in.
#[must_use]
pub fn icmpv6(from: Ipv6Addr, to: Ipv6Addr, mut message: Vec<u8>) -> Vec<u8> {
    let len = u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes();
    message[2..4].fill(0);
    let sum = checksum(&[&from.octets(), &to.octets(), &len, &[0, 0, 0, ICMPV6], &message]).to_be_bytes();
    message[2..4].copy_from_slice(&sum);
    message
}

/// Returns a UDP datagram (RFC 768) with a right checksum.
#[must_use]
pub fn udp(from: (Ipv4Addr, u16), to: (Ipv4Addr, u16), data: &[u8]) -> Vec<u8> {
    let len = u16::try_from(8 + data.len()).unwrap_or(u16::MAX).to_be_bytes();
    let mut datagram = [&from.1.to_be_bytes()[..], &to.1.to_be_bytes(), &len, &[0, 0], data].concat();
    let sum = transport_checksum(from.0, to.0, UDP, &datagram).to_be_bytes();
    datagram[6..8].copy_from_slice(&sum);
    datagram
}

/// Returns a TCP segment (RFC 9293) with a right checksum. `options` is padded to a multiple of four.
#[must_use]
pub fn tcp(from: (Ipv4Addr, u16), to: (Ipv4Addr, u16), numbers: (u32, u32), flags: u8, options: &[u8]) -> Vec<u8> {
    let mut options = options.to_vec();
    options.resize(options.len().next_multiple_of(4).min(40), 0);
    let words = u8::try_from(5 + options.len() / 4).unwrap_or(15);
    let mut segment = [
        &from.1.to_be_bytes()[..],
        &to.1.to_be_bytes(),
        &numbers.0.to_be_bytes(),
        &numbers.1.to_be_bytes(),
        &[words << 4, flags, 0x40, 0, 0, 0, 0, 0],
        &options,
    ]
    .concat();
    let sum = transport_checksum(from.0, to.0, TCP, &segment).to_be_bytes();
    segment[16..18].copy_from_slice(&sum);
    segment
}

/// Returns the checksum over a TCP segment or UDP datagram whose checksum field is zero, with IPv4's pseudo header.
#[must_use]
pub fn transport_checksum(from: Ipv4Addr, to: Ipv4Addr, protocol: u8, data: &[u8]) -> u16 {
    let len = u16::try_from(data.len()).unwrap_or(u16::MAX).to_be_bytes();
    checksum(&[&from.octets(), &to.octets(), &[0, protocol], &len, data])
}

/// Returns the Internet checksum (RFC 1071). Only the last part may have an odd length.
#[must_use]
pub fn checksum(parts: &[&[u8]]) -> u16 {
    let mut sum: u32 = 0;
    for part in parts {
        for pair in part.chunks(2) {
            sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
        }
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksum_agrees_with_the_example_of_rfc_1071() {
        // Section 3: the words 0001 f203 f4f5 f6f7 add up to ddf2.
        assert_eq!(checksum(&[&[0x00, 0x01, 0xf2, 0x03], &[0xf4, 0xf5, 0xf6, 0xf7]]), !0xddf2);
    }

    #[test]
    fn a_packet_with_its_checksum_sums_to_zero() {
        let packet = ipv4(Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2), UDP, &[1, 2, 3]);
        assert_eq!(checksum(&[&packet[..20]]), 0);
        assert_eq!(packet.len(), 23);
    }
}
