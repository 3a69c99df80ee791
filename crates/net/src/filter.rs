//! Checks each received frame once, at the edge, and counts what is wrong with it.
//!
//! smoltcp drops malformed packets without a word. Here lengths, header fields and checksums are verified before smoltcp
//! sees the frame (which is then told not to verify checksums again), so that every drop has a reason and a counter.

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;

use core::net::{Ipv4Addr, Ipv6Addr};

use nic::MacAddress;
use smoltcp::wire::{DhcpMessageType, DhcpPacket, DhcpRepr};

use crate::checksum;
use crate::counters::{Counters, Event};

const DHCP_CLIENT_PORT: u16 = 68;
const DHCP_SERVER_PORT: u16 = 67;
const ETHERNET_HEADER_LEN: usize = 14;
const IPV4_HEADER_LEN: usize = 20;
const IPV6_HEADER_LEN: usize = 40;

/// IP protocol numbers (IANA).
mod protocol {
    pub(super) const HOP_BY_HOP: u8 = 0;
    pub(super) const ICMP: u8 = 1;
    pub(super) const TCP: u8 = 6;
    pub(super) const UDP: u8 = 17;
    pub(super) const ICMPV6: u8 = 58;
}

/// An ARP packet for IPv4 over Ethernet (RFC 826).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Arp {
    pub(crate) is_request: bool,
    pub(crate) sender_mac: MacAddress,
    pub(crate) sender_ip: Ipv4Addr,
    pub(crate) target_mac: MacAddress,
    pub(crate) target_ip: Ipv4Addr,
}

impl Arp {
    /// Length in bytes.
    pub(crate) const LEN: usize = 28;

    fn parse(packet: &[u8]) -> Option<Self> {
        let packet: &[u8; Self::LEN] = packet.first_chunk()?;
        // Hardware type Ethernet, protocol IPv4, lengths 6 and 4.
        if packet.get(..6)? != [0, 1, 8, 0, 6, 4] {
            return None;
        }
        let operation = be16(packet, 6)?;
        if operation != 1 && operation != 2 {
            return None;
        }
        Some(Self {
            is_request: operation == 1,
            sender_mac: mac(packet, 8)?,
            sender_ip: ipv4(packet, 14)?,
            target_mac: mac(packet, 18)?,
            target_ip: ipv4(packet, 24)?,
        })
    }

    /// Writes the packet into the first [`Self::LEN`] bytes of `out`.
    pub(crate) fn emit(&self, out: &mut [u8]) {
        let Some(out) = out.first_chunk_mut::<{ Self::LEN }>() else { return };
        let mut packet = [0; Self::LEN];
        let parts: [&[u8]; 6] = [
            &[0, 1, 8, 0, 6, 4, 0, if self.is_request { 1 } else { 2 }],
            &self.sender_mac.0,
            &self.sender_ip.octets(),
            &self.target_mac.0,
            &self.target_ip.octets(),
            &[],
        ];
        for (to, from) in packet.iter_mut().zip(parts.into_iter().flatten()) {
            *to = *from;
        }
        *out = packet;
    }
}

/// What a good frame is, as far as the watchers of this crate need to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seen<'f> {
    /// An ARP packet.
    Arp(Arp),
    /// An ICMPv6 message.
    Icmpv6 { source: Ipv6Addr, hop_limit: u8, message: &'f [u8] },
    /// A DHCP server's message that refuses what this node asked for in the transaction of this number.
    DhcpNak(u32),
    /// A request for a TCP connection.
    Syn,
    /// Anything else.
    Other,
}

/// Checks a received frame, counts it, and says what it is; `None` if it is to be dropped.
pub(crate) fn check<'f>(frame: &'f [u8], own: MacAddress, counters: &Counters) -> Option<Seen<'f>> {
    match parse(frame, own, counters) {
        Ok(seen) => Some(seen),
        Err(event) => {
            counters.count(event);
            None
        }
    }
}

fn parse<'f>(frame: &'f [u8], own: MacAddress, counters: &Counters) -> Result<Seen<'f>, Event> {
    let Some((header, payload)) = frame.split_at_checked(ETHERNET_HEADER_LEN) else {
        return Err(Event::EthernetMalformed);
    };
    let (Some(to), Some(from), Some(ethertype)) = (mac(header, 0), mac(header, 6), be16(header, 12)) else {
        return Err(Event::EthernetMalformed);
    };
    if !from.is_station() {
        return Err(Event::EthernetMalformed);
    }
    if from == own {
        return Err(Event::EthernetLooped);
    }
    if to != own && to.0[0] & 1 == 0 {
        return Err(Event::EthernetForeign);
    }
    match ethertype {
        0x0806 => {
            let arp = Arp::parse(payload).ok_or(Event::ArpMalformed)?;
            counters.count(if arp.is_request { Event::ArpRequest } else { Event::ArpReply });
            Ok(Seen::Arp(arp))
        }
        0x0800 => parse_ipv4(payload, own, counters),
        0x86DD => parse_ipv6(payload, counters),
        _ => Err(Event::EthernetForeign),
    }
}

fn parse_ipv4<'f>(packet: &'f [u8], own: MacAddress, counters: &Counters) -> Result<Seen<'f>, Event> {
    const BAD: Event = Event::Ipv4Malformed;
    let first = *packet.first().ok_or(BAD)?;
    let header_len = usize::from(first & 0xF) * 4;
    let total_len = usize::from(be16(packet, 2).ok_or(BAD)?);
    if first >> 4 != 4 || header_len < IPV4_HEADER_LEN || total_len < header_len {
        return Err(BAD);
    }
    let (header, payload) = packet.get(..total_len).and_then(|p| p.split_at_checked(header_len)).ok_or(BAD)?;
    if checksum::fold(checksum::add(0, header)) != 0xFFFF {
        return Err(BAD);
    }
    let addresses = header.get(12..20).ok_or(BAD)?;
    let source = ipv4(header, 12).ok_or(BAD)?;
    if source.is_multicast() || source.is_broadcast() {
        return Err(BAD);
    }
    // More fragments, or an offset.
    if be16(header, 6).ok_or(BAD)? & 0x3FFF != 0 {
        return Err(Event::Ipv4Fragment);
    }
    let number = *header.get(9).ok_or(BAD)?;
    match number {
        protocol::ICMP => {
            if payload.len() < 8 || checksum::fold(checksum::add(0, payload)) != 0xFFFF {
                return Err(Event::IcmpMalformed);
            }
            match payload.first() {
                Some(8) => counters.count(Event::IcmpEchoRequest),
                Some(3) => counters.count(Event::IcmpUnreachableReceived),
                _ => {}
            }
        }
        _ => parse_transport(number, addresses, payload, true, counters)?,
    }
    if number == protocol::TCP {
        return Ok(find_syn(payload));
    }
    if number == protocol::UDP && be16(payload, 2) == Some(DHCP_CLIENT_PORT) {
        return parse_dhcp(payload.get(8..).unwrap_or_default(), own);
    }
    Ok(Seen::Other)
}

fn parse_dhcp<'f>(message: &[u8], own: MacAddress) -> Result<Seen<'f>, Event> {
    let packet = DhcpPacket::new_checked(message).map_err(|_| Event::DhcpMalformed)?;
    let message = DhcpRepr::parse(&packet).map_err(|_| Event::DhcpMalformed)?;
    let is_ours = message.client_hardware_address.0 == own.0;
    Ok(if is_ours && message.message_type == DhcpMessageType::Nak {
        Seen::DhcpNak(message.transaction_id)
    } else {
        Seen::Other
    })
}

fn parse_ipv6<'f>(packet: &'f [u8], counters: &Counters) -> Result<Seen<'f>, Event> {
    const BAD: Event = Event::Ipv6Malformed;
    let (header, rest) = packet.split_at_checked(IPV6_HEADER_LEN).ok_or(BAD)?;
    if header.first().ok_or(BAD)? >> 4 != 6 {
        return Err(BAD);
    }
    let mut payload = rest.get(..usize::from(be16(header, 4).ok_or(BAD)?)).ok_or(BAD)?;
    let addresses = header.get(8..40).ok_or(BAD)?;
    let source = ipv6(header, 8).ok_or(BAD)?;
    if source.is_multicast() {
        return Err(BAD);
    }
    let mut number = *header.get(6).ok_or(BAD)?;
    if number == protocol::HOP_BY_HOP {
        number = *payload.first().ok_or(BAD)?;
        let len = usize::from(*payload.get(1).ok_or(BAD)?) * 8 + 8;
        payload = payload.get(len..).ok_or(BAD)?;
    }
    if number != protocol::ICMPV6 {
        parse_transport(number, addresses, payload, false, counters)?;
        return Ok(if number == protocol::TCP { find_syn(payload) } else { Seen::Other });
    }
    if payload.len() < 4 || transport_sum(number, addresses, payload) != 0xFFFF {
        return Err(Event::IcmpMalformed);
    }
    match payload.first() {
        Some(128) => counters.count(Event::IcmpEchoRequest),
        Some(1) => counters.count(Event::IcmpUnreachableReceived),
        _ => {}
    }
    Ok(Seen::Icmpv6 { source, hop_limit: *header.get(7).ok_or(BAD)?, message: payload })
}

fn parse_transport(
    number: u8,
    addresses: &[u8],
    payload: &[u8],
    is_ipv4: bool,
    counters: &Counters,
) -> Result<(), Event> {
    match number {
        protocol::TCP => {
            const BAD: Event = Event::TcpMalformed;
            let header_len = usize::from(*payload.get(12).ok_or(BAD)? >> 4) * 4;
            if header_len < 20 || header_len > payload.len() || has_port_zero(payload) {
                return Err(BAD);
            }
            if transport_sum(number, addresses, payload) != 0xFFFF {
                return Err(BAD);
            }
            counters.count(Event::TcpReceived);
            if payload.get(13).is_some_and(|flags| flags & 0x04 != 0) {
                counters.count(Event::TcpResetReceived);
            }
        }
        protocol::UDP => {
            const BAD: Event = Event::UdpMalformed;
            let len = usize::from(be16(payload, 4).ok_or(BAD)?);
            // A source port of zero means "no answer wanted" (RFC 768), and is allowed.
            if len < 8 || be16(payload, 2) == Some(0) {
                return Err(BAD);
            }
            let datagram = payload.get(..len).ok_or(BAD)?;
            let has_checksum = be16(datagram, 6).ok_or(BAD)? != 0;
            if (has_checksum || !is_ipv4) && transport_sum(number, addresses, datagram) != 0xFFFF {
                return Err(BAD);
            }
            counters.count(Event::UdpReceived);
        }
        _ => {}
    }
    Ok(())
}

/// Looks whether a good TCP segment asks for a connection: SYN, but not ACK, RST or FIN (RFC 9293, section 3.1).
fn find_syn<'f>(segment: &[u8]) -> Seen<'f> {
    if segment.get(13).is_some_and(|flags| flags & 0x17 == 0x02) { Seen::Syn } else { Seen::Other }
}

/// The sum over the pseudo-header (RFC 768, RFC 8200 section 8.1) and the message.
fn transport_sum(number: u8, addresses: &[u8], message: &[u8]) -> u16 {
    checksum::fold(checksum::add(checksum::add(u64::from(number) + message.len() as u64, addresses), message))
}

fn has_port_zero(payload: &[u8]) -> bool {
    be16(payload, 0) == Some(0) || be16(payload, 2) == Some(0)
}

/// Counts what smoltcp answers by itself: refusals, which it reports nowhere.
pub(crate) fn count_sent(frame: &[u8], counters: &Counters) {
    let (number, transport) = match be16(frame, 12) {
        Some(0x0800) => (frame.get(23), ETHERNET_HEADER_LEN + IPV4_HEADER_LEN),
        Some(0x86DD) => (frame.get(20), ETHERNET_HEADER_LEN + IPV6_HEADER_LEN),
        _ => return,
    };
    match (number.copied(), frame.get(transport).copied()) {
        (Some(protocol::ICMP), Some(3)) | (Some(protocol::ICMPV6), Some(1)) => {
            counters.count(Event::IcmpUnreachableSent);
        }
        (Some(protocol::TCP), _) if frame.get(transport + 13).is_some_and(|flags| flags & 0x04 != 0) => {
            counters.count(Event::TcpResetSent);
        }
        _ => {}
    }
}

/// Returns the transaction number of a DHCP message to a server that is being sent (RFC 2131, section 2: `xid`).
pub(crate) fn sent_dhcp_transaction(frame: &[u8]) -> Option<u32> {
    const TRANSPORT: usize = ETHERNET_HEADER_LEN + IPV4_HEADER_LEN;
    let is_udp = be16(frame, 12) == Some(0x0800) && frame.get(23) == Some(&protocol::UDP);
    if !is_udp || be16(frame, TRANSPORT + 2) != Some(DHCP_SERVER_PORT) {
        return None;
    }
    frame.get(TRANSPORT + 8 + 4..)?.first_chunk().copied().map(u32::from_be_bytes)
}

fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().copied().map(u16::from_be_bytes)
}

fn mac(bytes: &[u8], at: usize) -> Option<MacAddress> {
    bytes.get(at..)?.first_chunk().copied().map(MacAddress)
}

fn ipv4(bytes: &[u8], at: usize) -> Option<Ipv4Addr> {
    bytes.get(at..)?.first_chunk::<4>().copied().map(Ipv4Addr::from)
}

fn ipv6(bytes: &[u8], at: usize) -> Option<Ipv6Addr> {
    bytes.get(at..)?.first_chunk::<16>().copied().map(Ipv6Addr::from)
}
