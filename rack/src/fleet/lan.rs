//! Nodes of this machine's network, by mDNS (RFC 6762) and DNS-SD (RFC 6763): each announces `_minipirack._tcp` with its version and
//! board (`net/src/mdns.rs`). What comes from the network is shown on a terminal, so it is made plain first.

use std::collections::BTreeMap;
use std::mem;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV6};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use mdns_sd::{ResolvedService, ScopedIp, ServiceDaemon, ServiceEvent};

use super::node::{Node, Origin};
use super::ssh::Access;

/// The service that every node announces.
const SERVICE: &str = "_minipirack._tcp.local.";
/// When nothing new has come for so long, and something has, all are there: nodes answer after 20 to 120 ms (RFC 6762, section 6),
/// and a lost query is sent again after a second.
const QUIET: Duration = Duration::from_millis(1200);
/// Nodes at most: somebody could announce any number.
pub(super) const NODES_MAX: usize = 1000;

/// Listens for `patience`, or until `is_enough` or nothing new comes, and returns the nodes by name.
///
/// # Errors
/// When there is no network to listen at.
pub(super) fn browse(
    patience: Duration,
    access: &Arc<Access>,
    is_enough: impl Fn(&[Node]) -> bool,
) -> Result<Vec<Node>> {
    let daemon = ServiceDaemon::new().context("mDNS can't be used on this machine")?;
    let events = daemon.browse(SERVICE).context("mDNS can't be used on this machine")?;
    let end = Instant::now() + patience;
    let mut found: BTreeMap<String, Vec<Node>> = BTreeMap::new();
    let mut last_news = Instant::now();
    loop {
        let until = if found.is_empty() { end } else { end.min(last_news + QUIET) };
        let Ok(event) = events.recv_deadline(until) else { break };
        let (key, nodes) = match event {
            ServiceEvent::ServiceResolved(service) => (service.fullname.clone(), resolved(&service, access)),
            // Known by its instance; the rest may come.
            ServiceEvent::ServiceFound(_, instance) if !found.contains_key(&instance) => {
                let nodes = vec![nameless(&instance, access)];
                (instance, nodes)
            }
            ServiceEvent::ServiceRemoved(_, instance) => {
                found.remove(&instance);
                continue;
            }
            _ => continue,
        };
        if found.len() < NODES_MAX || found.contains_key(&key) {
            found.insert(key, nodes);
            last_news = Instant::now();
        }
        // Who is only known to be there can't be reached yet.
        let nodes: Vec<Node> = found.values().flatten().filter(|node| node.trouble.is_none()).cloned().collect();
        if is_enough(&nodes) {
            break;
        }
    }
    // It ends with this process, too.
    let _ = daemon.shutdown();
    let mut nodes: Vec<Node> = found.into_values().flatten().take(NODES_MAX).collect();
    nodes.sort_by(|a, b| (&a.name, a.address).cmp(&(&b.name, b.address)));
    Ok(nodes)
}

/// Returns who announces this: one node, or as many as have the same name.
fn resolved(service: &ResolvedService, access: &Arc<Access>) -> Vec<Node> {
    let text = |key: &str| service.txt_properties.get_property_val_str(key).map(plain);
    let name = host_name(service.host.trim_end_matches('.').trim_end_matches(".local"));
    let addresses = each(service.addresses.iter().filter_map(|ip| address(ip, service.port)).collect());
    let node = |address: Option<SocketAddr>| Node {
        name: name.clone(),
        trouble: address.is_none().then(|| "it announces itself without an address".into()),
        address: address.unwrap_or_else(|| (Ipv4Addr::UNSPECIFIED, service.port).into()),
        board: text("board").unwrap_or_default(),
        version: text("version"),
        number: None,
        origin: Origin::Lan,
        access: access.clone(),
    };
    if addresses.is_empty() {
        vec![node(None)]
    } else {
        addresses.into_iter().map(|address| node(Some(address))).collect()
    }
}

/// Returns one address for each node that has one of these: the best, but all of IPv4 that everybody reaches, of which a node has
/// no more than one.
fn each(mut addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    addresses.sort_by_key(rank);
    let best = addresses.first().map(rank);
    addresses.retain({
        let mut is_first = true;
        move |address| mem::take(&mut is_first) || (rank(address).0 == 0 && best.is_some_and(|best| best.0 == 0))
    });
    addresses
}

fn nameless(instance: &str, access: &Arc<Access>) -> Node {
    Node {
        name: host_name(instance.trim_end_matches(SERVICE).trim_end_matches('.')),
        trouble: Some("it announces itself, but does not tell its address".into()),
        address: (Ipv4Addr::UNSPECIFIED, 0).into(),
        board: String::new(),
        version: None,
        number: None,
        origin: Origin::Lan,
        access: access.clone(),
    }
}

fn address(ip: &ScopedIp, port: u16) -> Option<SocketAddr> {
    match ip {
        ScopedIp::V4(v4) => Some((*v4.addr(), port).into()),
        ScopedIp::V6(v6) => Some(SocketAddrV6::new(*v6.addr(), port, 0, v6.scope_id().index).into()),
        _ => None,
    }
}

/// Returns how good an address is; the smallest is best. Link-local ones of IPv6 are last: OpenSSH needs to be told their interface.
fn rank(address: &SocketAddr) -> (u8, SocketAddr) {
    let rank = match address.ip() {
        IpAddr::V4(ip) if !ip.is_link_local() => 0,
        IpAddr::V6(ip) if !ip.is_unicast_link_local() => 1,
        IpAddr::V4(_) => 2,
        IpAddr::V6(_) => 3,
    };
    (rank, *address)
}

/// Returns a name from the network as nodes have them (RFC 952, and what people add): it goes into options and files of OpenSSH,
/// where blanks, quotes and asterisks would mean something.
fn host_name(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' }).collect()
}

/// Returns a text from the network without what a terminal would obey.
pub(crate) fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_everybody_reaches_come_first() {
        let mut addresses: Vec<SocketAddr> =
            ["[fe80::1]:80", "169.254.3.3:80", "[2001:db8::1]:80", "10.0.0.2:80", "10.0.0.1:80"]
                .iter()
                .filter_map(|text| text.parse().ok())
                .collect();
        addresses.sort_by_key(rank);
        let texts: Vec<String> = addresses.iter().map(|address| address.ip().to_string()).collect();
        assert_eq!(texts, ["10.0.0.1", "10.0.0.2", "2001:db8::1", "169.254.3.3", "fe80::1"]);
    }

    #[test]
    fn two_nodes_of_one_name_are_two() {
        let each = |texts: &[&str]| {
            let addresses = each(texts.iter().filter_map(|text| text.parse().ok()).collect());
            addresses.iter().map(|address| address.ip().to_string()).collect::<Vec<_>>()
        };
        assert_eq!(each(&["[fe80::1]:80", "10.0.0.2:80", "10.0.0.1:80", "[2001:db8::1]:80"]), ["10.0.0.1", "10.0.0.2"]);
        assert_eq!(each(&["[fe80::1]:80", "[fe80::2]:80", "169.254.3.3:80"]), ["169.254.3.3"]);
        assert!(each(&[]).is_empty());
    }

    #[test]
    fn a_terminal_obeys_nothing_that_the_network_says() {
        assert_eq!(plain("a\u{1b}[2Jb\n"), "a\u{fffd}[2Jb\u{fffd}");
        assert_eq!(host_name("pi-12.a_b"), "pi-12.a_b");
        assert_eq!(host_name("*\" ssh-ed25519 AAAA\u{1b}"), "___ssh-ed25519_AAAA_");
    }
}
