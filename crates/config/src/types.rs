//! What the keys stand for.

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, SocketAddr};

use heapless::String;

/// Longest name of another machine: a domain name (RFC 1035, section 2.3.4) that fits our memory; `NAME.local` does.
pub const HOST_LEN: usize = 96;
/// Longest user name, password or topic prefix.
pub const SHORT_LEN: usize = 64;

/// Where the IPv4 address comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ip {
    /// A DHCP server.
    #[default]
    Dhcp,
    /// The configuration.
    Static {
        /// The node's address.
        address: Ipv4Addr,
        /// Length of the network's prefix: 1 to 30.
        prefix_len: u8,
        /// The way out of the network.
        gateway: Option<Ipv4Addr>,
    },
}

/// A public Ed25519 key (RFC 8032, section 5.1.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SshKey(pub [u8; 32]);

/// What the nodes of a rack know and nobody else. Its `Debug` does not show it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct RackSecret(pub [u8; 32]);

impl fmt::Debug for RackSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RackSecret(..)")
    }
}

/// How important a log line is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Something does not work.
    Error,
    /// Something is wrong, but works.
    Warn,
    /// What a user wants to know.
    #[default]
    Info,
    /// What a developer wants to know.
    Debug,
    /// Everything.
    Trace,
}

/// A protocol of USB network interfaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UsbNet {
    /// CDC-ECM.
    Ecm,
    /// CDC-NCM.
    Ncm,
    /// RNDIS.
    Rndis,
}

/// A syslog server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Syslog {
    /// How lines get there.
    pub transport: Transport,
    /// Where it is.
    pub server: SocketAddr,
}

/// A transport protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Datagrams.
    Udp,
    /// A stream.
    Tcp,
}

/// A port of another machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The machine.
    pub host: Host,
    /// The port; never 0.
    pub port: u16,
}

/// Another machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// By address: that of a single machine.
    Address(IpAddr),
    /// By name: labels of letters, digits and hyphens with dots between them.
    Name(String<HOST_LEN>),
}

/// An MQTT broker and how to talk to it.
#[derive(Clone, PartialEq, Eq)]
pub struct Mqtt {
    /// Where it is. Without it there is no MQTT.
    pub broker: Option<Peer>,
    /// The user name.
    pub user: Option<String<SHORT_LEN>>,
    /// The password.
    pub password: Option<String<SHORT_LEN>>,
    /// What topics start with, without a `/` at its end.
    pub topic: String<SHORT_LEN>,
}

impl Default for Mqtt {
    fn default() -> Self {
        // "minipirack" fits.
        let topic = String::try_from("minipirack").unwrap_or_default();
        Self { broker: None, user: None, password: None, topic }
    }
}

impl fmt::Debug for Mqtt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let password = self.password.as_ref().map(|_| "..");
        let mut shown = f.debug_struct("Mqtt");
        shown.field("broker", &self.broker).field("user", &self.user).field("password", &password);
        shown.field("topic", &self.topic).finish()
    }
}
