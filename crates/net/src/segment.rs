//! TCP segments of a handshake, read from and written to frames.

use core::net::SocketAddr;

use nic::MacAddress;
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, EthernetAddress, EthernetFrame, EthernetProtocol, EthernetRepr, Icmpv6Packet,
    Icmpv6Repr, IpAddress, IpEndpoint, IpProtocol, IpRepr, Ipv4Packet, Ipv6Packet, NdiscNeighborFlags, NdiscRepr,
    TcpPacket, TcpRepr,
};

use crate::cookie::{Request, Wish};

const ETHERNET_HEADER_LEN: usize = 14;
/// Longest frame that is made here: Ethernet, IPv6, and a SYN with all options, or a neighbour's advertisement.
pub(crate) const MADE_LEN_MAX: usize = ETHERNET_HEADER_LEN + 40 + 40;
/// Hop limit of what we send (RFC 1700), and of what no router may have forwarded (RFC 4861, section 3.1).
const HOP_LIMIT: u8 = 64;
const ON_LINK_HOP_LIMIT: u8 = 255;

/// A segment that has come in a good frame.
pub(crate) struct Segment<'f> {
    /// The station that has sent the frame: the client, or a router.
    pub(crate) station: EthernetAddress,
    pub(crate) from: IpEndpoint,
    pub(crate) to: IpEndpoint,
    pub(crate) tcp: TcpRepr<'f>,
}

impl<'f> Segment<'f> {
    /// Reads the segment in a frame that was found to be good; `None` if there is none, or nothing that smoltcp understands.
    pub(crate) fn parse(frame: &'f [u8]) -> Option<Self> {
        let frame = EthernetFrame::new_checked(frame).ok()?;
        let (source, destination, packet) = match frame.ethertype() {
            EthernetProtocol::Ipv4 => {
                let packet = Ipv4Packet::new_checked(frame.payload()).ok()?;
                let addresses = (packet.src_addr().into(), packet.dst_addr().into());
                (packet.next_header() == IpProtocol::Tcp).then_some((addresses.0, addresses.1, packet.payload()))?
            }
            EthernetProtocol::Ipv6 => {
                let packet = Ipv6Packet::new_checked(frame.payload()).ok()?;
                let addresses: (IpAddress, IpAddress) = (packet.src_addr().into(), packet.dst_addr().into());
                (packet.next_header() == IpProtocol::Tcp).then_some((addresses.0, addresses.1, packet.payload()))?
            }
            _ => return None,
        };
        // The filter has verified the checksum.
        let packet = TcpPacket::new_checked(packet).ok()?;
        let tcp = TcpRepr::parse(&packet, &source, &destination, &ChecksumCapabilities::ignored()).ok()?;
        Some(Self {
            station: frame.src_addr(),
            from: IpEndpoint::new(source, tcp.src_port),
            to: IpEndpoint::new(destination, tcp.dst_port),
            tcp,
        })
    }

    /// Returns the request that a SYN is.
    pub(crate) fn request(&self) -> Request {
        self.request_with(self.tcp.seq_number.0)
    }

    /// Returns the request whose answer the segment confirms, and the number of that answer.
    pub(crate) fn confirmed(&self) -> Option<(Request, u32)> {
        let number = self.tcp.ack_number?.0.wrapping_sub(1).cast_unsigned();
        Some((self.request_with(self.tcp.seq_number.0.wrapping_sub(1)), number))
    }

    /// Returns what the client asks for by its SYN.
    pub(crate) fn wish(&self) -> Wish {
        Wish::new(self.tcp.max_seg_size, self.tcp.window_scale, self.tcp.sack_permitted)
    }

    fn request_with(&self, number: i32) -> Request {
        let [from, to] = [self.from, self.to].map(SocketAddr::from);
        Request { from, to, number: number.cast_unsigned() }
    }
}

/// A frame that was made here, on its way to smoltcp.
pub(crate) struct Made {
    len: usize,
    bytes: [u8; MADE_LEN_MAX],
}

impl Made {
    pub(crate) fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    /// Makes a frame for ourselves with a segment.
    pub(crate) fn segment(own: MacAddress, from: IpEndpoint, to: IpEndpoint, tcp: &TcpRepr<'_>) -> Option<Self> {
        let mut made = Self { len: len(from, tcp)?, bytes: [0; MADE_LEN_MAX] };
        let own = EthernetAddress(own.0);
        // smoltcp does not verify checksums.
        emit(made.bytes.get_mut(..made.len)?, own, own, from, to, tcp, &ChecksumCapabilities::ignored());
        Some(made)
    }

    /// Makes the frame from which smoltcp learns that a station has an address: what that station would answer.
    pub(crate) fn neighbour(
        own: MacAddress,
        own_address: IpAddress,
        station: EthernetAddress,
        its: IpAddress,
    ) -> Option<Self> {
        let mut made = Self { len: 0, bytes: [0; MADE_LEN_MAX] };
        let mut frame = EthernetFrame::new_unchecked(&mut made.bytes[..]);
        let own = EthernetAddress(own.0);
        let ethernet = |ethertype| EthernetRepr { src_addr: station, dst_addr: own, ethertype };
        let len = match (own_address, its) {
            (IpAddress::Ipv4(own_address), IpAddress::Ipv4(its)) => {
                ethernet(EthernetProtocol::Arp).emit(&mut frame);
                let arp = ArpRepr::EthernetIpv4 {
                    operation: ArpOperation::Reply,
                    source_hardware_addr: station,
                    source_protocol_addr: its,
                    target_hardware_addr: own,
                    target_protocol_addr: own_address,
                };
                arp.emit(&mut ArpPacket::new_unchecked(frame.payload_mut()));
                arp.buffer_len()
            }
            (IpAddress::Ipv6(own_address), IpAddress::Ipv6(its)) => {
                ethernet(EthernetProtocol::Ipv6).emit(&mut frame);
                let advertisement = Icmpv6Repr::Ndisc(NdiscRepr::NeighborAdvert {
                    flags: NdiscNeighborFlags::SOLICITED | NdiscNeighborFlags::OVERRIDE,
                    target_addr: its,
                    lladdr: Some(station.into()),
                });
                let checksums = ChecksumCapabilities::ignored();
                let (from, to) = (its.into(), own_address.into());
                let ip = IpRepr::new(from, to, IpProtocol::Icmpv6, advertisement.buffer_len(), ON_LINK_HOP_LIMIT);
                ip.emit(frame.payload_mut(), &checksums);
                let message = frame.payload_mut().get_mut(ip.header_len()..ip.buffer_len())?;
                advertisement.emit(&its, &own_address, &mut Icmpv6Packet::new_unchecked(message), &checksums);
                ip.buffer_len()
            }
            _ => return None,
        };
        made.len = ETHERNET_HEADER_LEN + len;
        Some(made)
    }
}

/// Returns the length of the frame for a segment; `None` for one that is too long to be made here.
pub(crate) fn len(end: IpEndpoint, tcp: &TcpRepr<'_>) -> Option<usize> {
    let ip = if matches!(end.addr, IpAddress::Ipv4(_)) { 20 } else { 40 };
    Some(ETHERNET_HEADER_LEN + ip + tcp.buffer_len()).filter(|len| *len <= MADE_LEN_MAX)
}

/// Writes a frame with a segment. `out` is as long as [`len`] says; both ends are of the same version of IP.
pub(crate) fn emit(
    out: &mut [u8],
    src_addr: EthernetAddress,
    dst_addr: EthernetAddress,
    from: IpEndpoint,
    to: IpEndpoint,
    tcp: &TcpRepr<'_>,
    checksums: &ChecksumCapabilities,
) {
    if from.addr.version() != to.addr.version() || len(from, tcp) != Some(out.len()) {
        return;
    }
    let ethertype = match from.addr {
        IpAddress::Ipv4(_) => EthernetProtocol::Ipv4,
        IpAddress::Ipv6(_) => EthernetProtocol::Ipv6,
    };
    let mut frame = EthernetFrame::new_unchecked(out);
    EthernetRepr { src_addr, dst_addr, ethertype }.emit(&mut frame);
    let ip = IpRepr::new(from.addr, to.addr, IpProtocol::Tcp, tcp.buffer_len(), HOP_LIMIT);
    ip.emit(frame.payload_mut(), checksums);
    if let Some(segment) = frame.payload_mut().get_mut(ip.header_len()..) {
        tcp.emit(&mut TcpPacket::new_unchecked(segment), &from.addr, &to.addr, checksums);
    }
}
