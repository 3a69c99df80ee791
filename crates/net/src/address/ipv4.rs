//! The node's IPv4 address: from the settings, from a DHCP server, or of its own choice while no server answers.

use core::future::poll_fn;
use core::net::Ipv4Addr;
use core::task::Poll;

use embassy_futures::select::{Either4, select4};
use embassy_time::{Duration, Instant, Timer};
use heapless::Vec;
use smoltcp::wire::{IpCidr, Ipv4Cidr};

use crate::address::dhcp::{self, Dhcp};
use crate::address::link_local::{self, LinkLocal, Step};
use crate::counters::Event;
use crate::handshake;
use crate::settings::Ipv4Settings;
use crate::stack::{Inner, Stack, now};
use crate::status::{Ipv4Source, Ipv4Status, SERVERS};

/// How long DHCP may take before the node chooses an address by itself. RFC 3927 leaves it open; DHCP servers that probe
/// an address before they offer it take up to three seconds.
const FALLBACK_AFTER: Duration = Duration::from_secs(10);
/// How long an address outlives a cable that was pulled and put back, so that connections outlive it too. By then a
/// server has confirmed the address, or another network has given a new one.
const GRACE: Duration = Duration::from_secs(4);
/// How long after a refusal the server is asked anew, unless the last time is long ago.
const REFUSAL_PAUSE: Duration = Duration::from_secs(5);
/// A new address is announced this often, a second apart, so that neighbours forget who had it before (RFC 5227,
/// section 2.3).
const ANNOUNCEMENTS: u32 = 2;

/// Where an address came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    Static,
    LinkLocal,
    Dhcp { server: Ipv4Addr, expires: Instant },
}

/// The address in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bound {
    pub(crate) address: Ipv4Addr,
    pub(crate) prefix_len: u8,
    pub(crate) origin: Origin,
    pub(crate) gateway: Option<Ipv4Addr>,
    pub(crate) dns: Vec<Ipv4Addr, SERVERS>,
    pub(crate) ntp: Vec<Ipv4Addr, SERVERS>,
}

impl Bound {
    pub(crate) fn status(&self, now: Instant) -> Ipv4Status {
        Ipv4Status {
            address: self.address,
            prefix_len: self.prefix_len,
            source: match self.origin {
                Origin::Static => Ipv4Source::Static,
                Origin::LinkLocal => Ipv4Source::LinkLocal,
                Origin::Dhcp { server, expires } => {
                    Ipv4Source::Dhcp { server, lease_left_s: expires.saturating_duration_since(now).as_secs() }
                }
            },
            gateway: self.gateway,
            dns: self.dns.clone(),
            ntp: self.ntp.clone(),
        }
    }

    fn new(address: Ipv4Addr, prefix_len: u8, origin: Origin, gateway: Option<Ipv4Addr>) -> Self {
        Self { address, prefix_len, origin, gateway, dns: Vec::new(), ntp: Vec::new() }
    }
}

/// Keeps the node's IPv4 address, for ever. Run it as a task of its own.
pub async fn run(stack: &'static Stack) -> ! {
    match stack.settings.ipv4 {
        Ipv4Settings::Static { address, prefix_len, gateway } => {
            run_static(stack, Bound::new(address, prefix_len.min(32), Origin::Static, gateway)).await
        }
        Ipv4Settings::Dhcp => run_dhcp(stack).await,
    }
}

async fn run_static(stack: &'static Stack, bound: Bound) -> ! {
    loop {
        let epoch = wait_link(stack, None).await;
        stack.bind_ipv4(Some(bound.clone()));
        for _ in 0..ANNOUNCEMENTS {
            stack.announce_ipv4(bound.address);
            Timer::after_secs(1).await;
        }
        wait_link(stack, Some(epoch)).await;
    }
}

async fn run_dhcp(stack: &'static Stack) -> ! {
    let mut link = wait_link(stack, None).await;
    let dhcp = Dhcp::new(stack);
    let mut choice = LinkLocal::new(stack.settings.seed);
    let mut fallback = Instant::now() + FALLBACK_AFTER;
    let mut grace = Instant::MAX;
    let mut announcement = (0, Instant::MAX);
    let mut restarted = Instant::MIN;
    let mut restart = Instant::MAX;
    loop {
        let now = Instant::now();
        if now >= restart {
            (restart, restarted) = (Instant::MAX, now);
            dhcp.restart();
        }
        if now >= grace {
            grace = Instant::MAX;
            stack.bind_ipv4(None);
        }
        if now >= fallback {
            fallback = Instant::MAX;
            dhcp.be_patient();
            choice.start(stack.shared.mac.get(), now);
            stack.shared.watch.set_ipv4(Some(choice.address()), false);
        }
        if now >= announcement.1
            && let Some(address) = stack.ipv4_address()
        {
            stack.announce_ipv4(address);
            announcement =
                (announcement.0 - 1, if announcement.0 > 1 { now + Duration::from_secs(1) } else { Instant::MAX });
        }
        let due = apply_choice(stack, &mut choice, None);
        let timer = Timer::at(due.min(fallback).min(grace).min(announcement.1).min(restart));
        match select4(dhcp.event(), wait_link(stack, Some(link)), wait_watch(stack), timer).await {
            Either4::First(dhcp::Event::Leased(bound)) => {
                stack.shared.counters.count(Event::DhcpLease);
                choice.stop();
                (fallback, grace) = (Instant::MAX, Instant::MAX);
                if stack.ipv4_address() != Some(bound.address) {
                    announcement = (ANNOUNCEMENTS, Instant::now());
                }
                stack.bind_ipv4(Some(bound));
            }
            Either4::First(dhcp::Event::Lost) => {
                if stack.is_leased() && grace == Instant::MAX {
                    stack.shared.counters.count(Event::DhcpLost);
                    stack.bind_ipv4(None);
                    fallback = Instant::now() + FALLBACK_AFTER;
                }
            }
            Either4::Second(epoch) => {
                link = epoch;
                let now = Instant::now();
                (fallback, grace) = (now + FALLBACK_AFTER, now + GRACE);
                if choice.is_on() {
                    choice.stop();
                    grace = now;
                }
                dhcp.restart();
            }
            Either4::Third(Seen::Refusal) => {
                let now = Instant::now();
                restart = restart.min(now.max(restarted.saturating_add(REFUSAL_PAUSE)));
                let is_leased = stack.is_leased();
                if is_leased {
                    stack.shared.counters.count(Event::DhcpLost);
                    stack.bind_ipv4(None);
                    (fallback, grace) = (now + FALLBACK_AFTER, Instant::MAX);
                }
            }
            Either4::Third(Seen::Conflict) => {
                let step = choice.conflict(Instant::now());
                apply_choice(stack, &mut choice, Some(step));
            }
            Either4::Fourth(()) => {}
        }
    }
}

/// Does what the rules for a self-chosen address want now, and returns when they want more.
fn apply_choice(stack: &Stack, choice: &mut LinkLocal, first: Option<Step>) -> Instant {
    let mut step = first.unwrap_or_else(|| choice.poll(Instant::now()));
    loop {
        match step {
            Step::Probe(address) => stack.shared.send_arp(Ipv4Addr::UNSPECIFIED, address),
            Step::Claim(address) => {
                stack.bind_ipv4(Some(Bound::new(address, link_local::PREFIX_LEN, Origin::LinkLocal, None)));
                stack.announce_ipv4(address);
            }
            Step::Announce(address) => stack.announce_ipv4(address),
            Step::Release => {
                stack.bind_ipv4(None);
                stack.shared.watch.set_ipv4(Some(choice.address()), false);
            }
            Step::Wait(until) => return until,
        }
        step = choice.poll(Instant::now());
    }
}

/// Waits until the link is up, and, if `last` is given, has come up once more since then. Returns which time it was.
pub(crate) async fn wait_link(stack: &Stack, last: Option<u32>) -> u32 {
    loop {
        let epoch = stack.epoch();
        if stack.has_link() && last != Some(stack.link_epoch.get()) {
            return stack.link_epoch.get();
        }
        stack.wait_epoch(epoch).await;
    }
}

/// What others said about our address.
enum Seen {
    /// The DHCP server refuses it.
    Refusal,
    /// Somebody else uses it.
    Conflict,
}

async fn wait_watch(stack: &Stack) -> Seen {
    let watch = &stack.shared.watch;
    poll_fn(|cx| {
        if watch.is_dhcp_refused.replace(false) {
            return Poll::Ready(Seen::Refusal);
        }
        if watch.has_ipv4_conflict.replace(false) {
            return Poll::Ready(Seen::Conflict);
        }
        watch.ipv4_waker.borrow_mut().register(cx.waker());
        Poll::Pending
    })
    .await
}

impl Stack {
    /// Puts another IPv4 address, or none, in the place of the present one.
    pub(crate) fn bind_ipv4(&self, bound: Option<Bound>) {
        let old = self.ipv4.borrow().as_ref().map(|bound| (bound.address, bound.prefix_len));
        let new = bound.as_ref().map(|bound| (bound.address, bound.prefix_len));
        let mut inner = self.inner.borrow_mut();
        let Inner { iface, sockets, device, .. } = &mut *inner;
        if old != new {
            handshake::change_addresses(device, iface, sockets, now(), |addresses| {
                addresses.retain(|cidr| matches!(cidr, IpCidr::Ipv6(_)));
                if let Some((address, prefix_len)) = new.filter(|(address, _)| is_usable(*address)) {
                    // There is room: IPv6 leaves a place free.
                    let _ = addresses.push(IpCidr::Ipv4(Ipv4Cidr::new(address, prefix_len)));
                }
            });
        }
        let routes = iface.routes_mut();
        match bound.as_ref().and_then(|bound| bound.gateway).filter(|gateway| is_usable(*gateway)) {
            Some(gateway) => {
                // There is room: one IPv4 and one IPv6 router.
                let _ = routes.add_default_ipv4_route(gateway);
            }
            None => {
                routes.remove_default_ipv4_route();
            }
        }
        drop(inner);
        if old != new || self.shared.watch.ipv4.get() != new.map(|(address, _)| address) {
            self.shared.watch.set_ipv4(new.map(|(address, _)| address), new.is_some());
        }
        let old = self.ipv4.replace(bound);
        // A renewal that changes nothing but the end of the lease is no news.
        let is_news = match (&old, &*self.ipv4.borrow()) {
            (Some(old), Some(new)) => Bound { origin: new.origin, ..old.clone() } != *new,
            (old, new) => old != new,
        };
        if is_news {
            self.announce_change();
        }
        self.kick();
    }

    fn is_leased(&self) -> bool {
        self.ipv4.borrow().as_ref().is_some_and(|bound| matches!(bound.origin, Origin::Dhcp { .. }))
    }

    /// Tells everybody on the link which station has the address (RFC 5227, section 2.3).
    pub(super) fn announce_ipv4(&self, address: Ipv4Addr) {
        self.shared.send_arp(address, address);
    }
}

/// smoltcp panics on an address that no station can have.
pub(super) fn is_usable(address: Ipv4Addr) -> bool {
    !address.is_unspecified() && !address.is_multicast() && !address.is_broadcast()
}
