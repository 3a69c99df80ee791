//! Reading the values.

use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use core::ops::RangeInclusive;

use base64ct::{Base64, Encoding};
use heapless::String;

use crate::{
    HOST_LEN, Host, Ip, Level, NAME_LEN, Peer, RackSecret, Reason, SHORT_LEN, SshKey, Syslog, Transport, UsbNet,
    WORKLOAD_LEN,
};

/// Port of syslog over UDP (RFC 5426, section 3.3), and by custom over TCP without TLS (RFC 6587, section 3.2).
const SYSLOG_PORT: u16 = 514;
/// Port of MQTT without TLS (IANA, "mqtt").
pub(crate) const MQTT_PORT: u16 = 1883;
/// Longest time between telemetry lines: an hour.
const MAX_REPORT_S: u16 = 3600;
/// How long an SSH session may be idle: time enough to think, and a day.
const SSH_IDLE_S: RangeInclusive<u32> = 10..=86_400;
/// Longest prefix that leaves room for a node and a gateway beside network and broadcast address.
const MAX_PREFIX_LEN: u8 = 30;

pub(crate) fn name(text: &str) -> Result<String<NAME_LEN>, Reason> {
    if !is_label(text) {
        return Err(Reason::Name);
    }
    String::try_from(text).map_err(|_| Reason::Name)
}

pub(crate) fn ip(text: &str) -> Result<Ip, Reason> {
    if text == "dhcp" {
        return Ok(Ip::Dhcp);
    }
    let (network, gateway) = match text.split_once(',') {
        Some((network, gateway)) => (network, Some(gateway)),
        None => (text, None),
    };
    let (address, prefix_len) = network.split_once('/').ok_or(Reason::Prefix)?;
    let address: Ipv4Addr = address.parse().map_err(|_| Reason::Address)?;
    let prefix_len: u8 = prefix_len.parse().map_err(|_| Reason::Prefix)?;
    if !(1..=MAX_PREFIX_LEN).contains(&prefix_len) {
        return Err(Reason::Prefix);
    }
    let host_mask = u32::MAX >> prefix_len;
    if !is_host(address, host_mask) {
        return Err(Reason::Address);
    }
    let gateway = gateway.map(|gateway| {
        let gateway: Ipv4Addr = gateway.parse().map_err(|_| Reason::Gateway)?;
        let is_near = gateway.to_bits() & !host_mask == address.to_bits() & !host_mask;
        if is_near && gateway != address && is_host(gateway, host_mask) { Ok(gateway) } else { Err(Reason::Gateway) }
    });
    Ok(Ip::Static { address, prefix_len, gateway: gateway.transpose()? })
}

/// Returns whether an address can be a single machine's.
fn is_host(address: Ipv4Addr, host_mask: u32) -> bool {
    let host = address.to_bits() & host_mask;
    let is_special = address.is_multicast() || address.is_loopback() || address.octets()[0] == 0;
    host != 0 && host != host_mask && !is_special
}

pub(crate) fn syslog(text: &str) -> Result<Syslog, Reason> {
    let (transport, text) = match text.split_once(':') {
        Some(("udp", rest)) => (Transport::Udp, rest),
        Some(("tcp", rest)) => (Transport::Tcp, rest),
        _ => (Transport::Udp, text),
    };
    let server = match text.parse::<IpAddr>() {
        Ok(address) => SocketAddr::new(address, SYSLOG_PORT),
        Err(_) => text.parse().map_err(|_| Reason::Address)?,
    };
    if server.port() == 0 {
        return Err(Reason::Port);
    }
    if is_no_peer(server.ip()) { Err(Reason::Address) } else { Ok(Syslog { transport, server }) }
}

pub(crate) fn peer(text: &str, default_port: u16) -> Result<Peer, Reason> {
    // An IPv6 address has colons of its own; with a port it is in brackets.
    if let Ok(address) = text.parse::<IpAddr>() {
        return host_address(address, default_port);
    }
    if let Ok(socket) = text.parse::<SocketAddr>() {
        return host_address(socket.ip(), socket.port());
    }
    let (name, port) = match text.rsplit_once(':') {
        Some((name, port)) => (name, port.parse().map_err(|_| Reason::Port)?),
        None => (text, default_port),
    };
    // What is all digits and dots is an address with a mistake.
    let looks_like_address = name.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    if looks_like_address || !name.split('.').all(is_label) {
        return Err(Reason::Peer);
    }
    let name: String<HOST_LEN> = String::try_from(name).map_err(|_| Reason::Peer)?;
    if port == 0 { Err(Reason::Port) } else { Ok(Peer { host: Host::Name(name), port }) }
}

fn host_address(address: IpAddr, port: u16) -> Result<Peer, Reason> {
    if is_no_peer(address) {
        return Err(Reason::Address);
    }
    if port == 0 { Err(Reason::Port) } else { Ok(Peer { host: Host::Address(address), port }) }
}

pub(crate) fn port_or_off(text: &str) -> Result<Option<u16>, Reason> {
    match text {
        "off" | "false" => Ok(None),
        _ => text.parse().ok().filter(|&port| port != 0).map(Some).ok_or(Reason::Port),
    }
}

pub(crate) fn short(text: &str) -> Result<String<SHORT_LEN>, Reason> {
    if text.is_empty() {
        return Err(Reason::Length);
    }
    String::try_from(text).map_err(|_| Reason::Length)
}

pub(crate) fn topic(text: &str) -> Result<String<SHORT_LEN>, Reason> {
    // MQTT 5.0, section 4.7.1: wildcards are for subscribers.
    if text.contains(['+', '#']) {
        return Err(Reason::Topic);
    }
    short(text.trim_end_matches('/'))
}

pub(crate) fn rack_secret(text: &str) -> Result<RackSecret, Reason> {
    let mut secret = [0; 32];
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return Err(Reason::Secret) };
    if pairs.len() != secret.len() {
        return Err(Reason::Secret);
    }
    for (byte, &[high, low]) in secret.iter_mut().zip(pairs) {
        let digit = |digit: u8| char::from(digit).to_digit(16).ok_or(Reason::Secret);
        *byte = u8::try_from(digit(high)? << 4 | digit(low)?).unwrap_or_default();
    }
    Ok(RackSecret(secret))
}

/// Refuses what would garble a terminal or a protocol.
pub(crate) fn no_controls(text: &str) -> Result<(), Reason> {
    if text.chars().any(char::is_control) { Err(Reason::Control) } else { Ok(()) }
}

pub(crate) fn address(text: &str) -> Result<IpAddr, Reason> {
    text.parse().ok().filter(|&address| !is_no_peer(address)).ok_or(Reason::Address)
}

fn is_no_peer(address: IpAddr) -> bool {
    address.is_unspecified() || address == IpAddr::V4(Ipv4Addr::BROADCAST)
}

pub(crate) fn report(text: &str) -> Result<u16, Reason> {
    text.parse().ok().filter(|&seconds| seconds <= MAX_REPORT_S).ok_or(Reason::Number)
}

pub(crate) fn ssh_idle(text: &str) -> Result<u32, Reason> {
    text.parse().ok().filter(|seconds| SSH_IDLE_S.contains(seconds)).ok_or(Reason::Number)
}

pub(crate) fn level(text: &str) -> Result<Level, Reason> {
    match text {
        "error" => Ok(Level::Error),
        "warn" => Ok(Level::Warn),
        "info" => Ok(Level::Info),
        "debug" => Ok(Level::Debug),
        "trace" => Ok(Level::Trace),
        _ => Err(Reason::Choice),
    }
}

pub(crate) fn usbnet(text: &str) -> Result<UsbNet, Reason> {
    match text {
        "ecm" => Ok(UsbNet::Ecm),
        "ncm" => Ok(UsbNet::Ncm),
        "rndis" => Ok(UsbNet::Rndis),
        _ => Err(Reason::Choice),
    }
}

pub(crate) fn switch(text: &str) -> Result<bool, Reason> {
    match text {
        "on" | "true" => Ok(true),
        "off" | "false" => Ok(false),
        _ => Err(Reason::Choice),
    }
}

pub(crate) fn workload(text: &str) -> Result<String<WORKLOAD_LEN>, Reason> {
    if text.is_empty() {
        return Err(Reason::Workload);
    }
    String::try_from(text).map_err(|_| Reason::Workload)
}

/// What stands before the 32 bytes of an Ed25519 key: its type and its length, as strings of RFC 4251, section 5, have them
/// (RFC 8709, section 4).
const ED25519_PREFIX: &[u8; 19] = b"\0\0\0\x0bssh-ed25519\0\0\0\x20";

/// Reads a key as authorized_keys has it (sshd(8): type, base64, comment), or only the base64.
pub(crate) fn ssh_key(text: &str) -> Result<SshKey, Reason> {
    let mut words = text.split_ascii_whitespace();
    let text = match (words.next(), words.next()) {
        (Some("ssh-ed25519"), Some(key)) => key,
        (Some(key), None) => key,
        // Options restrict what a key may do (sshd(8)), and a node would not obey them.
        _ => return Err(Reason::SshKey),
    };
    let mut blob = [0; ED25519_PREFIX.len() + 32];
    let blob = Base64::decode(text, &mut blob).map_err(|_| Reason::SshKey)?;
    let key = blob.strip_prefix(ED25519_PREFIX).ok_or(Reason::SshKey)?;
    key.try_into().map(SshKey).map_err(|_| Reason::SshKey)
}

/// Returns whether a text is a label of a host name: letters, digits and inner hyphens (RFC 1123, section 2.1).
fn is_label(text: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    let is_hyphenated = text.starts_with('-') || text.ends_with('-');
    (1..=NAME_LEN).contains(&text.len()) && text.bytes().all(is_allowed) && !is_hyphenated
}
