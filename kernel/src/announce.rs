//! Tells on the log when the node's link or addresses change: the first thing that somebody at the console looks for.

use embassy_time::{Duration, Instant, Timer};
use log::{info, warn};
use net::{Ipv4Source, NetStatus, Stack};

/// So many changes are told as they happen; after more, only what has become of them, at intervals. A link with a loose contact
/// must not drown everything else.
const AT_ONCE: u32 = 12;
/// The time after which a change no longer counts, and such an interval.
const FORGOTTEN: Duration = Duration::from_secs(10);

/// Watches for ever.
pub(crate) async fn run(stack: &Stack) -> ! {
    let mut epoch = stack.epoch();
    let mut told = stack.status();
    // The time until which all changes that count are paid for.
    let mut paid = Instant::now();
    loop {
        let now = stack.status();
        let ups = now.frames.link_ups - told.frames.link_ups;
        if ups > 1 {
            warn!("net: the link came up {ups} times meanwhile");
        }
        if tell(&told, &now) {
            paid = paid.max(Instant::now()) + FORGOTTEN;
        }
        told = now;
        epoch = stack.wait_epoch(epoch).await;
        if paid > Instant::now() + FORGOTTEN * AT_ONCE {
            Timer::after(FORGOTTEN).await;
        }
    }
}

/// Tells what has changed; returns whether there was anything.
fn tell(before: &NetStatus, now: &NetStatus) -> bool {
    let mut has_told = before.link != now.link;
    if before.link != now.link {
        match now.link {
            nic::Link::Up { .. } => info!("net: link up"),
            nic::Link::Down => warn!("net: link down"),
            nic::Link::Absent => warn!("net: no controller"),
        }
    }
    let address = |status: &NetStatus| status.ipv4.as_ref().map(|ipv4| (ipv4.address, ipv4.prefix_len));
    if address(before) != address(now) {
        has_told = true;
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
        has_told = true;
        info!("net: {} is at {address}/{prefix_len}", now.name);
    }
    has_told
}
