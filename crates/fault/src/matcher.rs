//! Which frames a fault is about.

use core::net::IpAddr;

use crate::Direction;
use crate::packet::{Packet, protocol};

/// Which frames a fault is about: those for which everything holds that is given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Matcher {
    /// The way of the frame; both if not given.
    pub(crate) direction: Option<Direction>,
    /// The other station, or those with the same beginning of so many bits.
    pub(crate) peer: Option<(IpAddr, u8)>,
    pub(crate) protocol: Option<Protocol>,
    /// On either side.
    pub(crate) port: Option<u16>,
    pub(crate) own_port: Option<u16>,
    pub(crate) peer_port: Option<u16>,
    /// Whether the control channel is meant, too.
    pub(crate) has_control: bool,
}

/// A protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Arp,
    /// ICMP and ICMPv6.
    Icmp,
    /// What IP carries, by number.
    Ip(u8),
}

impl Protocol {
    /// Reads a protocol's name or number.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "arp" => Self::Arp,
            "icmp" => Self::Icmp,
            "tcp" => Self::Ip(protocol::TCP),
            "udp" => Self::Ip(protocol::UDP),
            number => Self::Ip(number.parse().ok()?),
        })
    }
}

/// Reads an address, or a prefix such as `10.0.0.0/8`.
pub(crate) fn parse_peer(text: &str) -> Option<(IpAddr, u8)> {
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) => (address, Some(bits.parse::<u8>().ok()?)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().ok()?;
    let longest = if address.is_ipv4() { 32 } else { 128 };
    let bits = bits.unwrap_or(longest);
    (bits <= longest).then_some((address, bits))
}

impl Matcher {
    /// Returns whether a frame is meant; `is_control` if it belongs to the control channel.
    pub(crate) fn matches(&self, packet: &Packet, direction: Direction, is_control: bool) -> bool {
        let (peer, ports) = match direction {
            Direction::In => (packet.source, packet.ports),
            Direction::Out => (packet.destination, packet.ports.map(|(source, destination)| (destination, source))),
        };
        (!is_control || self.has_control)
            && self.direction.is_none_or(|wanted| wanted == direction)
            && self.peer.is_none_or(|prefix| peer.is_some_and(|peer| is_in(peer, prefix)))
            && self.protocol.is_none_or(|wanted| match wanted {
                Protocol::Arp => packet.is_arp,
                Protocol::Icmp => matches!(packet.protocol, Some(protocol::ICMP | protocol::ICMPV6)),
                Protocol::Ip(number) => packet.protocol == Some(number),
            })
            && self.port.is_none_or(|port| ports.is_some_and(|(peer, own)| peer == port || own == port))
            && self.peer_port.is_none_or(|port| ports.is_some_and(|(peer, _)| peer == port))
            && self.own_port.is_none_or(|port| ports.is_some_and(|(_, own)| own == port))
    }
}

/// Returns whether an address begins like a prefix.
fn is_in(address: IpAddr, (prefix, bits): (IpAddr, u8)) -> bool {
    let bits = u32::from(bits);
    match (address, prefix) {
        // A shift by all bits leaves nothing to compare.
        (IpAddr::V4(a), IpAddr::V4(b)) => (a.to_bits() ^ b.to_bits()).checked_shr(32 - bits).unwrap_or(0) == 0,
        (IpAddr::V6(a), IpAddr::V6(b)) => (a.to_bits() ^ b.to_bits()).checked_shr(128 - bits).unwrap_or(0) == 0,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::{Control, Port};
    use crate::packet::tests::{ipv4_frame, tcp, udp};
    use crate::spec::Spec;

    const ME: [u8; 4] = [10, 0, 0, 1];
    const YOU: [u8; 4] = [10, 0, 0, 2];

    fn is_meant(words: &str, frame: &[u8], direction: Direction) -> bool {
        let spec = Spec::parse(&mut format!("drop {words}").split_ascii_whitespace()).unwrap();
        let packet = Packet::read(frame);
        let is_control = Control::default().has(&packet, frame, direction);
        spec.matcher.matches(&packet, direction, is_control)
    }

    #[test]
    fn frames_are_told_apart() {
        use Direction::{In, Out};
        let out = udp((ME, 5000), (YOU, 9), b"x");
        let back = udp((YOU, 9), (ME, 5000), b"x");
        let echo = ipv4_frame(YOU, ME, 1, &[8, 0, 0, 0, 0, 0, 0, 0]);
        let mut arp = vec![0xff; 42];
        arp[12..14].copy_from_slice(&[8, 6]);
        let cases: [(&str, &[u8], Direction, bool); 28] = [
            ("", &out, Out, true),
            ("", &back, In, true),
            ("", &[], In, true),
            ("dir=in", &out, Out, false),
            ("dir=in", &back, In, true),
            ("dir=both", &out, Out, true),
            ("peer=10.0.0.2", &out, Out, true),
            ("peer=10.0.0.2", &back, In, true),
            ("peer=10.0.0.1", &out, Out, false),
            ("peer=10.0.0.0/30", &out, Out, true),
            ("peer=10.0.1.0/24", &out, Out, false),
            ("peer=0.0.0.0/0", &out, Out, true),
            ("peer=::/0", &out, Out, false),
            ("peer=10.0.0.2", &[0; 60], In, false),
            ("proto=udp", &out, Out, true),
            ("proto=tcp", &out, Out, false),
            ("proto=17", &out, Out, true),
            ("proto=icmp", &echo, In, true),
            ("proto=icmp", &back, In, false),
            ("port=9", &out, Out, true),
            ("port=5000", &out, Out, true),
            ("port=10", &out, Out, false),
            ("port=9", &echo, In, false),
            ("peer-port=9 own-port=5000", &back, In, true),
            ("peer-port=5000", &back, In, false),
            ("own-port=9", &out, Out, false),
            ("proto=arp", &arp, In, false),
            ("proto=arp control=yes", &arp, In, true),
        ];
        for (words, frame, direction, expected) in cases {
            assert_eq!(is_meant(words, frame, direction), expected, "{words} {direction:?}");
        }
    }

    #[test]
    fn the_control_channel_is_exempt_unless_asked_for() {
        use Direction::{In, Out};
        let mut solicitation = vec![0; 54 + 24];
        solicitation[12..14].copy_from_slice(&[0x86, 0xdd]);
        solicitation[14] = 0x60;
        solicitation[19] = 24;
        solicitation[20] = 58;
        solicitation[54] = 135;
        let mut ping = solicitation.clone();
        ping[54] = 128;
        let cases = [
            ("SSH, a client's", tcp((YOU, 40000), (ME, 22), b""), In, true),
            ("SSH, the answer", tcp((ME, 22), (YOU, 40000), b""), Out, true),
            ("somebody else's SSH", tcp((ME, 40000), (YOU, 22), b""), Out, false),
            ("a scrape", tcp((YOU, 40000), (ME, 80), b""), In, true),
            ("a request to another's HTTP", tcp((ME, 40000), (YOU, 80), b""), Out, false),
            ("syslog", udp((ME, 40000), (YOU, 514), b""), Out, true),
            ("MQTT", tcp((ME, 40000), (YOU, 1883), b""), Out, true),
            ("MQTT, an acknowledgement", tcp((YOU, 1883), (ME, 40000), b""), In, true),
            ("the time", udp((ME, 40000), (YOU, 123), b""), Out, true),
            ("the time, the answer", udp((YOU, 123), (ME, 40000), b""), In, true),
            ("somebody who asks for the time here", udp((YOU, 40000), (ME, 123), b""), In, false),
            ("mDNS", udp((YOU, 5353), ([224, 0, 0, 251], 5353), b""), In, true),
            ("DHCP", udp(([0; 4], 68), ([255; 4], 67), b""), Out, true),
            ("echo", udp((YOU, 40000), (ME, 7), b""), In, false),
            ("IGMP", ipv4_frame(ME, [224, 0, 0, 22], 2, &[0x22; 8]), Out, true),
            ("a ping", ipv4_frame(YOU, ME, 1, &[8; 8]), In, false),
            ("a neighbour", solicitation, In, true),
            ("a ping over IPv6", ping, In, false),
        ];
        for (what, frame, direction, is_control) in cases {
            assert_eq!(is_meant("", &frame, direction), !is_control, "{what}");
            assert!(is_meant("control=yes", &frame, direction), "{what}");
        }
        let mut control = Control::default();
        let frame = tcp((ME, 40000), (YOU, 8883), b"");
        let packet = Packet::read(&frame);
        assert!(!control.has(&packet, &frame, Out));
        assert!(control.add(Port::Peer(8883)));
        assert!(control.has(&packet, &frame, Out));
    }
}
