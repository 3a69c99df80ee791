//! State of the network as plain data, so that showing it needs no network stack.

use core::fmt;
use core::net::{Ipv4Addr, Ipv6Addr};

use heapless::Vec;

/// Most IPv6 addresses that are shown.
pub const IPV6_MAX: usize = 6;
/// Most name servers that are shown.
pub const DNS_MAX: usize = 3;

/// The one network interface of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetInfo {
    /// Name of the interface, as in the metrics' `device` label.
    pub device: &'static str,
    /// Driver of the controller, if there is a controller.
    pub driver: Option<&'static str>,
    /// Ethernet address; all zero without a controller.
    pub mac: [u8; 6],
    /// State of the link.
    pub link: Link,
    /// Largest IP packet in bytes.
    pub mtu: u16,
    /// The IPv4 address, once there is one.
    pub ipv4: Option<Ipv4>,
    /// The DHCP lease, if the address came from one.
    pub lease: Option<Lease>,
    /// Name servers.
    pub dns: Vec<Ipv4Addr, DNS_MAX>,
    /// IPv6 addresses with the length of their prefix.
    pub ipv6: Vec<(Ipv6Addr, u8), IPV6_MAX>,
    /// TCP connections that are established now.
    pub tcp_connections: u32,
}

impl NetInfo {
    /// A node without a controller.
    pub const EMPTY: Self = Self {
        device: "eth0",
        driver: None,
        mac: [0; 6],
        link: Link::Absent,
        mtu: 1500,
        ipv4: None,
        lease: None,
        dns: Vec::new(),
        ipv6: Vec::new(),
        tcp_connections: 0,
    };

    /// Returns the Ethernet address in the usual notation.
    #[must_use]
    pub fn mac(&self) -> Mac {
        Mac(self.mac)
    }
}

impl Default for NetInfo {
    fn default() -> Self {
        Self::EMPTY
    }
}

/// State of the link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// There is no controller.
    Absent,
    /// No cable, or no partner at its other end.
    Down,
    /// Frames can pass.
    Up {
        /// Speed in Mbit/s, if the controller knows it.
        speed_mbps: Option<u32>,
        /// Whether both sides may send at once, if the controller knows it.
        is_full_duplex: Option<bool>,
    },
}

impl Link {
    /// Returns whether frames can pass.
    #[must_use]
    pub fn is_up(self) -> bool {
        matches!(self, Self::Up { .. })
    }
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => f.write_str("no controller"),
            Self::Down => f.write_str("down"),
            Self::Up { speed_mbps, is_full_duplex } => {
                f.write_str("up")?;
                if let Some(speed) = speed_mbps {
                    write!(f, " {speed} Mbit/s")?;
                }
                match is_full_duplex {
                    Some(true) => f.write_str(" full duplex"),
                    Some(false) => f.write_str(" half duplex"),
                    None => Ok(()),
                }
            }
        }
    }
}

/// An IPv4 address and where it came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipv4 {
    /// The address.
    pub address: Ipv4Addr,
    /// Length of its prefix in bits.
    pub prefix_len: u8,
    /// The default router.
    pub gateway: Option<Ipv4Addr>,
    /// Who gave it.
    pub source: Ipv4Source,
}

/// Who gave an IPv4 address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ipv4Source {
    /// A DHCP server.
    Dhcp,
    /// The command line.
    Static,
    /// The node itself, since no server answered (RFC 3927).
    LinkLocal,
}

impl fmt::Display for Ipv4Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Dhcp => "dhcp",
            Self::Static => "static",
            Self::LinkLocal => "link-local",
        })
    }
}

/// A DHCP lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The server.
    pub server: Ipv4Addr,
    /// When it was bound or last renewed, in µs since boot.
    pub obtained_us: u64,
    /// How long it is good for, in seconds.
    pub duration_s: u32,
}

impl Lease {
    /// Returns the seconds that are left at `now_us`.
    #[must_use]
    pub fn left_s(&self, now_us: u64) -> u64 {
        u64::from(self.duration_s).saturating_sub(now_us.saturating_sub(self.obtained_us) / 1_000_000)
    }
}

/// An Ethernet address, shown as `b8:27:eb:12:34:56`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mac(pub [u8; 6]);

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}
