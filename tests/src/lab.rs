//! The network that a test and its node live in.
//!
//! Where the machine allows it (root and `/dev/net/tun`), the calling thread moves into a network namespace of its own
//! with a tap device, so that the test's ordinary sockets, the threads and the programs that it starts (`ping`, `curl`,
//! QEMU) all share one wire with the node and with nothing else. The namespace has no name and lives as long as
//! something is in it: a test that is killed leaves nothing behind, and two tests never see each other.
//!
//! [`Lab::switched`] has a switch in place of the tap device, for several nodes on one network.
//!
//! Elsewhere the node gets QEMU's user networking, where only TCP and UDP pass, through forwarded ports.

use std::io::Write as _;
use std::marker::PhantomData;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, Result, bail};
use qemu::namespace::{self, Namespace, ip};

use crate::packet::Mac;

/// The tap device's name inside the namespace.
pub const DEVICE: &str = "rack0";
/// The host's Ethernet address on the wire.
pub const HOST_MAC: Mac = [0x02, 0x52, 0x41, 0x43, 0x4b, 0x01];
/// The host's address on the wire, in a network of 24 bits.
pub const HOST: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
/// The address that the tests' DHCP server gives to the node.
pub const NODE: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 50);
/// The host's IPv6 address beside the link-local one, in a network of 64 bits.
pub const HOST_V6: Ipv6Addr = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 1);

/// Where QEMU attaches the node's NIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    /// A tap device in a namespace of this thread.
    Tap,
    /// QEMU's user networking; why the machine allows no better is printed once.
    User,
}

/// A private network around the calling thread, which returns to its former network on drop.
#[derive(Debug)]
pub struct Lab {
    wire: Wire,
    former: Option<Namespace>,
    /// A lab belongs to the thread that made it.
    not_send: PhantomData<*const ()>,
}

impl Lab {
    /// Makes the best network that the machine allows, and says once per run which it is.
    ///
    /// # Errors
    /// When a step fails that the machine should allow.
    pub fn new() -> Result<Self> {
        Self::with(&format!("tuntap add dev {DEVICE} mode tap"))
    }

    /// Makes a private network for `nodes` nodes, all on one switch with the host, or returns `None` as
    /// [`private`](Self::private) does. The tap device of each is [`port`].
    ///
    /// # Errors
    /// Like [`Lab::new`].
    pub fn switched(nodes: usize, what: &str) -> Result<Option<Self>> {
        let lab = Self::with(&format!("link add {DEVICE} type bridge"))?;
        if lab.wire == Wire::User {
            say(&format!("NOT TESTED (needs a private network): {what}"));
            return Ok(None);
        }
        for index in 0..nodes {
            let port = port(index);
            ip(&format!("tuntap add dev {port} mode tap"))?;
            ip(&format!("link set {port} master {DEVICE} up"))?;
        }
        Ok(Some(lab))
    }

    /// Makes a network whose wire comes about by this command.
    fn with(make_wire: &str) -> Result<Self> {
        // Downloads nothing any more once we are cut off.
        crate::node::kit()?;
        let obstacle = obstacle();
        announce(obstacle);
        if obstacle.is_some() {
            return Ok(Self { wire: Wire::User, former: None, not_send: PhantomData });
        }
        let former = Namespace::leave_for_new()?;
        let lab = Self { wire: Wire::Tap, former: Some(former), not_send: PhantomData };
        // No duplicate address detection on our side: the host's addresses work at once.
        std::fs::write("/proc/sys/net/ipv6/conf/default/accept_dad", "0").context("switching off DAD")?;
        let mac = HOST_MAC.map(|byte| format!("{byte:02x}")).join(":");
        for arguments in [
            "link set lo up".to_owned(),
            make_wire.to_owned(),
            format!("link set {DEVICE} address {mac}"),
            format!("address add {HOST}/24 dev {DEVICE}"),
            format!("address add {HOST_V6}/64 dev {DEVICE} nodad"),
            format!("link set {DEVICE} up"),
            // For broadcasts, and for nodes that gave themselves an address.
            format!("route add default dev {DEVICE}"),
        ] {
            ip(&arguments)?;
        }
        Ok(lab)
    }

    /// Makes a private network, or returns `None` where the machine allows none; the caller's test then does not run,
    /// and `what` it would have shown is printed.
    ///
    /// # Errors
    /// Like [`Lab::new`].
    pub fn private(what: &str) -> Result<Option<Self>> {
        let lab = Self::new()?;
        if lab.wire == Wire::Tap {
            return Ok(Some(lab));
        }
        say(&format!("NOT TESTED (needs a private network): {what}"));
        Ok(None)
    }

    /// Returns how the node is attached.
    #[must_use]
    pub fn wire(&self) -> Wire {
        self.wire
    }

    /// Gives the host one more address, like `169.254.77.1/16`.
    ///
    /// # Errors
    /// When `ip` refuses.
    pub fn add_address(&self, address: &str) -> Result<()> {
        ip(&format!("address add {address} dev {DEVICE}"))
    }

    /// Adds a wire beside the first one: a tap device `device`, on which the host has `address`, in a network of 24 bits.
    ///
    /// # Errors
    /// When `ip` refuses, as it does where the lab has no wire.
    pub fn add_wire(&self, device: &str, address: Ipv4Addr) -> Result<()> {
        ip(&format!("tuntap add dev {device} mode tap"))?;
        ip(&format!("address add {address}/24 dev {device}"))?;
        ip(&format!("link set {device} up"))
    }

    /// Forgets whom the host has met, so that the next packet needs a fresh ARP or neighbour reply.
    ///
    /// # Errors
    /// When `ip` refuses.
    pub fn forget_neighbours(&self) -> Result<()> {
        ip(&format!("neigh flush dev {DEVICE}"))
    }

    /// Returns the Ethernet address that answered the host's ARP request or neighbour solicitation for `address`.
    ///
    /// # Errors
    /// When `ip` fails or the host has no answer.
    pub fn neighbour(&self, address: &str) -> Result<String> {
        let output =
            Command::new("ip").args(["neigh", "show", address, "dev", DEVICE]).output().context("running ip")?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let mut words = text.split_whitespace().skip_while(|word| *word != "lladdr");
        match words.nth(1) {
            Some(mac) => Ok(mac.to_owned()),
            None => bail!("nobody answered for {address}: {text:?}"),
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if let Some(former) = &self.former
            && let Err(error) = former.enter()
        {
            say(&format!("can't return to the former network namespace: {error}"));
        }
    }
}

/// Returns the name of the tap device of a node on a switch.
#[must_use]
pub fn port(index: usize) -> String {
    format!("port{index}")
}

/// Prints a line that the test runner shows even when the test passes.
pub fn say(line: &str) {
    // Nobody can be told if standard error is gone.
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Returns what stands in the way of a private network, if anything.
fn obstacle() -> Option<&'static str> {
    let is_unwanted = std::env::var_os("MINIPIRACK_USER_NETWORK").is_some();
    if is_unwanted { Some("MINIPIRACK_USER_NETWORK is set") } else { namespace::obstacle() }
}

fn announce(obstacle: Option<&str>) {
    static ONCE: OnceLock<()> = OnceLock::new();
    ONCE.get_or_init(|| match obstacle {
        None => say("network: a namespace with a tap device for each test, real clients"),
        Some(why) => say(&format!("network: QEMU's user networking ({why}); tests that need a wire do not run")),
    });
}
