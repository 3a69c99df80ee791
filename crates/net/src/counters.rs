//! What the network did, counted by kind.
//!
//! Nothing that comes from the network is fatal: a frame that can't be right is dropped and shows up here.

use core::cell::Cell;

/// Something that happened on the network. One counter each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Event {
    /// A frame too short for an Ethernet header, or with a group address as its source.
    EthernetMalformed,
    /// A frame for another station, or of a protocol that nobody here speaks.
    EthernetForeign,
    /// A frame that came back although this node has sent it: a switch loops, or another station has its MAC address.
    EthernetLooped,
    /// An ARP packet with wrong lengths or types.
    ArpMalformed,
    /// An ARP request was received.
    ArpRequest,
    /// An ARP reply was received.
    ArpReply,
    /// Another station used our IPv4 address.
    Ipv4Conflict,
    /// The node has taken an extra IPv4 address.
    ExtraTaken,
    /// An extra IPv4 address was taken away because its time was over.
    ExtraExpired,
    /// Another station used an extra IPv4 address that the node was about to take, or had.
    ExtraConflict,
    /// An IPv4 packet with a wrong header or header checksum.
    Ipv4Malformed,
    /// A packet from the wire that claims to come from an address of our own.
    OwnSource,
    /// A frame that the node sent to itself.
    LocalFrame,
    /// A frame to ourselves that found no room.
    LocalDropped,
    /// A fragment of an IPv4 packet: these are not put together again.
    Ipv4Fragment,
    /// An IPv6 packet with a wrong header.
    Ipv6Malformed,
    /// Another station used our IPv6 address.
    Ipv6Conflict,
    /// An ICMP or ICMPv6 message that is too short or has a wrong checksum.
    IcmpMalformed,
    /// An ICMP or ICMPv6 echo request was received.
    IcmpEchoRequest,
    /// A peer told that it, or its port, can't be reached.
    IcmpUnreachableReceived,
    /// We told a peer that nobody listens on a UDP port here.
    IcmpUnreachableSent,
    /// A UDP datagram with a wrong length or checksum.
    UdpMalformed,
    /// A UDP datagram was received.
    UdpReceived,
    /// A TCP segment with a wrong header or checksum.
    TcpMalformed,
    /// A TCP segment was received.
    TcpReceived,
    /// A TCP segment with the reset flag was received.
    TcpResetReceived,
    /// We reset a TCP connection, or refused one.
    TcpResetSent,
    /// A request for a connection was answered without a socket.
    TcpAnswered,
    /// A client has confirmed such an answer.
    TcpConfirmed,
    /// A client that has confirmed its connection had to wait until a socket was free for it.
    TcpWaited,
    /// Too many clients waited; one was forgotten.
    TcpForgotten,
    /// A connection that its client has not confirmed made room for another client.
    TcpHalfOpenDropped,
    /// A connection that its client did not get on with made room for another client.
    TcpStalledDropped,
    /// A client of echo, discard or chargen was silent for too long and was dropped.
    TcpIdle,
    /// A DHCP message that can't be parsed.
    DhcpMalformed,
    /// A DHCP lease was obtained or renewed.
    DhcpLease,
    /// A DHCP lease was lost.
    DhcpLost,
    /// An mDNS message that can't be parsed.
    MdnsMalformed,
    /// An mDNS query was answered.
    MdnsAnswer,
    /// Another station had our mDNS name; we took the next one.
    MdnsConflict,
    /// An SNTP reply that can't be right.
    SntpMalformed,
    /// The time was set from an SNTP reply.
    SntpSync,
    /// An SNTP server did not answer in time.
    SntpTimeout,
    /// An HTTP request was answered.
    HttpRequest,
    /// An HTTP request that can't be parsed.
    HttpMalformed,
    /// An HTTP client was too slow and was dropped.
    HttpTimeout,
    /// Somebody has logged in by SSH.
    SshLogin,
    /// An attempt to log in by SSH has failed.
    SshDenied,
    /// An SSH client that had not logged in made room for another one, or there were too many sessions.
    SshDropped,
    /// What no SSH client sends.
    SshMalformed,
    /// An SSH client was too slow to log in, or idle for too long.
    SshTimeout,
    /// An MQTT broker has accepted the node.
    MqttConnected,
    /// An MQTT broker could not be reached, or refused the node.
    MqttFailed,
    /// An MQTT broker refused a message.
    MqttRefused,
}

impl Event {
    /// Every event with its name, in the order of the counters.
    pub const ALL: [(Self, &'static str); 54] = [
        (Self::EthernetMalformed, "ethernet_malformed"),
        (Self::EthernetForeign, "ethernet_foreign"),
        (Self::EthernetLooped, "ethernet_looped"),
        (Self::ArpMalformed, "arp_malformed"),
        (Self::ArpRequest, "arp_request"),
        (Self::ArpReply, "arp_reply"),
        (Self::Ipv4Conflict, "ipv4_conflict"),
        (Self::ExtraTaken, "extra_address_taken"),
        (Self::ExtraExpired, "extra_address_expired"),
        (Self::ExtraConflict, "extra_address_conflict"),
        (Self::Ipv4Malformed, "ipv4_malformed"),
        (Self::OwnSource, "own_source"),
        (Self::LocalFrame, "local_frame"),
        (Self::LocalDropped, "local_dropped"),
        (Self::Ipv4Fragment, "ipv4_fragment"),
        (Self::Ipv6Malformed, "ipv6_malformed"),
        (Self::Ipv6Conflict, "ipv6_conflict"),
        (Self::IcmpMalformed, "icmp_malformed"),
        (Self::IcmpEchoRequest, "icmp_echo_request"),
        (Self::IcmpUnreachableReceived, "icmp_unreachable_received"),
        (Self::IcmpUnreachableSent, "icmp_unreachable_sent"),
        (Self::UdpMalformed, "udp_malformed"),
        (Self::UdpReceived, "udp_received"),
        (Self::TcpMalformed, "tcp_malformed"),
        (Self::TcpReceived, "tcp_received"),
        (Self::TcpResetReceived, "tcp_reset_received"),
        (Self::TcpResetSent, "tcp_reset_sent"),
        (Self::TcpAnswered, "tcp_answered"),
        (Self::TcpConfirmed, "tcp_confirmed"),
        (Self::TcpWaited, "tcp_waited"),
        (Self::TcpForgotten, "tcp_forgotten"),
        (Self::TcpHalfOpenDropped, "tcp_half_open_dropped"),
        (Self::TcpStalledDropped, "tcp_stalled_dropped"),
        (Self::TcpIdle, "tcp_idle"),
        (Self::DhcpMalformed, "dhcp_malformed"),
        (Self::DhcpLease, "dhcp_lease"),
        (Self::DhcpLost, "dhcp_lost"),
        (Self::MdnsMalformed, "mdns_malformed"),
        (Self::MdnsAnswer, "mdns_answer"),
        (Self::MdnsConflict, "mdns_conflict"),
        (Self::SntpMalformed, "sntp_malformed"),
        (Self::SntpSync, "sntp_sync"),
        (Self::SntpTimeout, "sntp_timeout"),
        (Self::HttpRequest, "http_request"),
        (Self::HttpMalformed, "http_malformed"),
        (Self::HttpTimeout, "http_timeout"),
        (Self::SshLogin, "ssh_login"),
        (Self::SshDenied, "ssh_denied"),
        (Self::SshDropped, "ssh_dropped"),
        (Self::SshMalformed, "ssh_malformed"),
        (Self::SshTimeout, "ssh_timeout"),
        (Self::MqttConnected, "mqtt_connected"),
        (Self::MqttFailed, "mqtt_failed"),
        (Self::MqttRefused, "mqtt_refused"),
    ];
}

/// One counter per [`Event`], since boot.
pub struct Counters {
    counts: [Cell<u64>; Event::ALL.len()],
}

impl Counters {
    pub(crate) fn new() -> Self {
        Self { counts: [const { Cell::new(0) }; Event::ALL.len()] }
    }

    /// Counts one event.
    pub fn count(&self, event: Event) {
        if let Some(count) = self.counts.get(event as usize) {
            count.set(count.get() + 1);
        }
    }

    /// Returns how often an event happened.
    #[must_use]
    pub fn get(&self, event: Event) -> u64 {
        self.counts.get(event as usize).map_or(0, Cell::get)
    }

    /// Returns every counter with its name.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        Event::ALL.iter().map(|&(event, name)| (name, self.get(event)))
    }

    /// Returns how many frames or messages were malformed, of all protocols.
    #[must_use]
    pub fn malformed(&self) -> u64 {
        self.iter().filter(|(name, _)| name.ends_with("_malformed")).map(|(_, count)| count).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_the_order_of_the_enum() {
        for (at, (event, name)) in Event::ALL.iter().enumerate() {
            assert_eq!(*event as usize, at, "{name}");
        }
    }
}
