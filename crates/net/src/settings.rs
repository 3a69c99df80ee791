//! What the stack is told at boot.

use core::net::{IpAddr, Ipv4Addr};

use alloc::string::String;
use nic::MacAddress;

/// How the node gets its IPv4 address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ipv4Settings {
    /// By DHCP, and by itself (169.254/16) while there is no server.
    Dhcp,
    /// As given.
    Static {
        /// The address.
        address: Ipv4Addr,
        /// Length of the network's prefix in bits, at most 32.
        prefix_len: u8,
        /// The default router.
        gateway: Option<Ipv4Addr>,
    },
}

/// What the node tells about itself by mDNS.
#[derive(Clone, Debug, Default)]
pub struct Identity {
    /// Version of the image.
    pub version: String,
    /// The board's model.
    pub board: String,
    /// The board's serial number.
    pub serial: String,
}

/// What the stack is told at boot.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The node's name; `None` stands for `pi-` and the last six hexadecimal digits of the MAC address.
    ///
    /// Characters that a host name can't have are left out.
    pub name: Option<String>,
    /// How the node gets its IPv4 address.
    pub ipv4: Ipv4Settings,
    /// The NTP server; `None` stands for the one that the DHCP server names, if it does.
    pub ntp: Option<IpAddr>,
    /// What the node tells about itself.
    pub identity: Identity,
    /// A random number: sequence numbers, ports and delays are derived from it.
    pub seed: u64,
    /// A number that nobody else knows, and that the seed does not tell: clients prove by it that they have got an answer.
    pub secret: [u8; 16],
}

/// Longest label of a domain name in bytes (RFC 1035, section 2.3.4).
pub const NAME_LEN_MAX: usize = 63;
/// A node's name.
pub type NodeName = heapless::String<NAME_LEN_MAX>;

/// Returns the node's name: the one given, made fit for a host name (RFC 952), or one made from the MAC address.
#[must_use]
pub fn node_name(given: Option<&str>, mac: MacAddress) -> NodeName {
    let mut name = NodeName::new();
    for c in given.unwrap_or_default().chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-') {
        if !(name.is_empty() && c == '-') && name.push(c.to_ascii_lowercase()).is_err() {
            break;
        }
    }
    while name.ends_with('-') {
        name.pop();
    }
    if name.is_empty() {
        let [_, _, _, a, b, c] = mac.0;
        // Never full: nine bytes.
        let _ = core::fmt::Write::write_fmt(&mut name, format_args!("pi-{a:02x}{b:02x}{c:02x}"));
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: MacAddress = MacAddress([0x52, 0x54, 0, 0x12, 0x34, 0xAB]);

    #[test]
    fn name_comes_from_the_mac_unless_given() {
        assert_eq!(node_name(None, MAC), "pi-1234ab");
        assert_eq!(node_name(Some("Rack-7"), MAC), "rack-7");
        assert_eq!(node_name(Some("-a b.c_-"), MAC), "abc");
        assert_eq!(node_name(Some("--"), MAC), "pi-1234ab");
        assert_eq!(node_name(Some(&"x".repeat(100)), MAC).len(), NAME_LEN_MAX);
    }
}
