//! Whom to talk to: `10.0.0.7`, `pi-2`, `pi-2.local:8080` or `[fe80::1]:8080`.

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Longest name of a host (RFC 1035, section 2.3.4).
const NAME_LEN_MAX: usize = 253;

/// An address or a name, perhaps with a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer<'a> {
    /// Who.
    pub host: Host<'a>,
    /// The port, if one is given.
    pub port: Option<u16>,
}

/// Who.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Host<'a> {
    /// An address.
    Address(IpAddr),
    /// A node's name, or a name that ends in `.local`.
    Name(&'a str),
}

impl<'a> Peer<'a> {
    /// Reads a peer; `None` if `text` is none.
    #[must_use]
    pub fn parse(text: &'a str) -> Option<Self> {
        if let Ok(address) = text.parse::<Ipv6Addr>() {
            return Some(Self { host: Host::Address(address.into()), port: None });
        }
        if let Some(rest) = text.strip_prefix('[') {
            let (address, rest) = rest.split_once(']')?;
            let port = if rest.is_empty() { None } else { Some(port(rest.strip_prefix(':')?)?) };
            return Some(Self { host: Host::Address(address.parse::<Ipv6Addr>().ok()?.into()), port });
        }
        let (host, port) = match text.split_once(':') {
            Some((host, digits)) => (host, Some(port(digits)?)),
            None => (text, None),
        };
        if let Ok(address) = host.parse::<Ipv4Addr>() {
            return Some(Self { host: Host::Address(address.into()), port });
        }
        is_name(host).then_some(Self { host: Host::Name(host), port })
    }
}

fn port(digits: &str) -> Option<u16> {
    // `parse` would take a sign.
    let is_number = digits.bytes().all(|b| b.is_ascii_digit());
    digits.parse().ok().filter(|port| is_number && *port > 0)
}

/// Returns whether `text` is a host's name: words of letters, digits and hyphens with dots between (RFC 1123, section 2.1).
/// What ends in a number is an address that was mistyped.
fn is_name(text: &str) -> bool {
    let is_word = |word: &str| {
        (1..=63).contains(&word.len())
            && word.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !word.starts_with('-')
            && !word.ends_with('-')
    };
    let ends_in_number = text.rsplit('.').next().is_some_and(|word| word.bytes().all(|b| b.is_ascii_digit()));
    text.len() <= NAME_LEN_MAX && text.split('.').all(is_word) && !ends_in_number
}

impl fmt::Display for Host<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => write!(f, "{address}"),
            Self::Name(name) => f.write_str(name),
        }
    }
}

impl fmt::Display for Peer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.host, self.port) {
            (host, None) => write!(f, "{host}"),
            (Host::Address(IpAddr::V6(address)), Some(port)) => write!(f, "[{address}]:{port}"),
            (host, Some(port)) => write!(f, "{host}:{port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_are_read_and_shown_alike() {
        for text in [
            "10.0.2.2",
            "10.0.2.2:80",
            "fe80::1",
            "[fe80::1]:8080",
            "pi-2",
            "pi-2:8080",
            "pi-2.local",
            "pi-123456.local:1",
        ] {
            assert_eq!(Peer::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(Peer::parse("[fe80::1]").unwrap().to_string(), "fe80::1");
        assert_eq!(Peer::parse("pi-2:8080"), Some(Peer { host: Host::Name("pi-2"), port: Some(8080) }));
    }

    #[test]
    fn what_is_no_peer_is_refused() {
        for text in [
            "",
            ":",
            ":80",
            "10.0.2",
            "10.0.2.256",
            "10.0.2.2:",
            "10.0.2.2:0",
            "10.0.2.2:65536",
            "10.0.2.2:+1",
            "pi-2:x",
            "[fe80::1",
            "[fe80::1]x",
            "[fe80::1]:",
            "[pi-2]:80",
            "fe80::1%1",
            "-pi",
            "pi-",
            "pi..local",
            ".pi",
            "pi.",
            "p i",
            "pi_2",
            "p\u{e9}",
        ] {
            assert_eq!(Peer::parse(text), None, "{text}");
        }
        assert_eq!(Peer::parse(&"x".repeat(64)), None);
        assert_eq!(Peer::parse(&"xx.".repeat(85)), None);
    }
}
