//! Tells on the log when the node's link or addresses change: the first thing that somebody at the console looks for.

use log::{info, warn};
use net::{Ipv4Source, NetStatus, Stack};

/// Watches for ever.
pub(crate) async fn run(stack: &Stack) -> ! {
    let mut epoch = stack.epoch();
    let mut told = stack.status();
    loop {
        let now = stack.status();
        tell(&told, &now);
        told = now;
        epoch = stack.wait_epoch(epoch).await;
    }
}

fn tell(before: &NetStatus, now: &NetStatus) {
    if before.link != now.link {
        match now.link {
            nic::Link::Up { .. } => info!("net: link up"),
            nic::Link::Down => warn!("net: link down"),
            nic::Link::Absent => warn!("net: no controller"),
        }
    }
    let address = |status: &NetStatus| status.ipv4.as_ref().map(|ipv4| (ipv4.address, ipv4.prefix_len));
    if address(before) != address(now) {
        match &now.ipv4 {
            Some(ipv4) => match ipv4.source {
                Ipv4Source::Dhcp { server, .. } => {
                    info!("net: {} is at {}/{}, leased by {server}", now.name, ipv4.address, ipv4.prefix_len);
                }
                Ipv4Source::Static => {
                    info!("net: {} is at {}/{}, as told at boot", now.name, ipv4.address, ipv4.prefix_len);
                }
                Ipv4Source::LinkLocal => {
                    warn!("net: {} is at {}/{}, link-local: no DHCP server", now.name, ipv4.address, ipv4.prefix_len);
                }
            },
            None => warn!("net: no IPv4 address"),
        }
    }
    for (address, prefix_len) in now.ipv6.iter().filter(|own| !before.ipv6.contains(own)) {
        info!("net: {} is at {address}/{prefix_len}", now.name);
    }
}
