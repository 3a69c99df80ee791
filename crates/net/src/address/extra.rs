//! An extra IPv4 address, which a program has claimed for a while: looked for, taken, announced, and given back.
//!
//! Who may have it is for the program to know, by a lease for instance. Here it is seen to that the node does not have it a moment
//! longer than the program has said, and never against another station. RFC 5227 probes for four to seven seconds before an address
//! is used; an address that moves because its holder is gone can't wait so long. One probe finds a station that has it for good; who
//! comes later is noticed by what it sends.

use core::future::poll_fn;
use core::net::Ipv4Addr;
use core::task::Poll;

use embassy_futures::select::select4;
use embassy_time::{Duration, Instant, Timer};
use smoltcp::iface::PollResult;
use smoltcp::socket::{Socket, tcp};
use smoltcp::wire::{IpAddress, IpCidr, Ipv4Cidr};
use sockets::Network;
use sockets::address::{AddressLoss, AddressOrder, AddressState, Station};

use super::ipv4::is_usable;
use crate::counters::Event;
use crate::handshake;
use crate::stack::{Inner, Stack, now};

/// How long others may take to answer the probe: a station on the same link needs a millisecond or two, a loaded one some more.
const PROBE_WAIT: Duration = Duration::from_millis(80);
/// The address is announced when it is taken, and after these times, because a frame may be lost. Those who hear it put the new station
/// in the place of the old one (RFC 5227, sections 2.3 and 3).
const ANNOUNCEMENTS: [Duration; 3] = [Duration::from_millis(100), Duration::from_millis(900), Duration::from_secs(2)];

#[derive(Clone, Copy)]
enum Phase {
    Nothing,
    /// It is being looked whether somebody has it, until then.
    Probing(AddressOrder, Instant),
    /// The node has it, and has announced it so often since the cable came up for the n-th time; it announces it again then.
    Held {
        order: AddressOrder,
        announced: usize,
        again: Instant,
        link: u32,
    },
}

/// Keeps the extra address that a program of `network` claims, for ever. Run it as a task of its own.
pub async fn run(stack: &'static Stack, network: &'static Network) -> ! {
    let mut phase = Phase::Nothing;
    loop {
        let epoch = stack.epoch();
        let order = network.address_order(Instant::now());
        phase = stack.follow(network, phase, order);
        let due = match phase {
            Phase::Nothing => Instant::MAX,
            Phase::Probing(_, until) => until,
            Phase::Held { again, .. } => again,
        };
        let end = order.map_or(Instant::MAX, |order| order.until);
        select4(network.wait_address_order(order), Timer::at(due.min(end)), wait_rival(stack), stack.wait_epoch(epoch))
            .await;
    }
}

/// Waits until somebody else was seen with the address.
async fn wait_rival(stack: &Stack) {
    let watch = &stack.shared.watch;
    poll_fn(|cx| {
        if watch.extra_rival.get().is_some() {
            return Poll::Ready(());
        }
        watch.extra_waker.borrow_mut().register(cx.waker());
        Poll::Pending
    })
    .await;
}

impl Stack {
    /// Returns the extra IPv4 address that the node has at the moment.
    #[must_use]
    pub fn extra_ipv4_address(&self) -> Option<Ipv4Addr> {
        let watch = &self.shared.watch;
        watch.extra.get().filter(|_| watch.is_extra_held.get())
    }

    /// Does what is due, and returns the phase after it.
    fn follow(&self, network: &Network, phase: Phase, order: Option<AddressOrder>) -> Phase {
        let number = match phase {
            Phase::Nothing => None,
            Phase::Probing(order, _) | Phase::Held { order, .. } => Some(order.number),
        };
        let now = Instant::now();
        let watch = &self.shared.watch;
        if number.is_some() && order.map(|order| order.number) != number {
            // The program has dropped it, or its time is over.
            if let Phase::Held { order, .. } = phase
                && now >= order.until
            {
                self.shared.counters.count(Event::ExtraExpired);
            }
            self.drop_extra();
            return self.follow(network, Phase::Nothing, order);
        }
        let Some(order) = order else { return Phase::Nothing };
        let lose = |loss| {
            self.drop_extra();
            network.report_address(order.number, AddressState::Lost(loss));
            Phase::Nothing
        };
        if let Some(loss) = self.objection(order.address) {
            return lose(loss);
        }
        if let Some(rival) = watch.extra_rival.get() {
            return lose(AddressLoss::Conflict(Station(rival.0)));
        }
        match phase {
            Phase::Nothing => {
                watch.set_extra(Some(order.address), false);
                self.shared.send_arp(Ipv4Addr::UNSPECIFIED, order.address);
                Phase::Probing(order, now + PROBE_WAIT)
            }
            Phase::Probing(_, until) if now < until => Phase::Probing(order, until),
            Phase::Probing(..) => {
                if !self.take_extra(order.address) {
                    return lose(AddressLoss::NoNetwork);
                }
                self.shared.counters.count(Event::ExtraTaken);
                network.report_address(order.number, AddressState::Held);
                self.announce(order, 0, now)
            }
            Phase::Held { link, .. } if !self.has_extra(order.address) || !self.has_link() => {
                // The node's own address has been another one meanwhile, or the cable is out: others know by now, or will.
                if self.has_link() {
                    lose(AddressLoss::NoNetwork)
                } else {
                    Phase::Held { order, announced: 0, again: Instant::MAX, link }
                }
            }
            Phase::Held { link, .. } if link != self.link_epoch.get() => self.announce(order, 0, now),
            Phase::Held { announced, again, .. } if now >= again => self.announce(order, announced, now),
            Phase::Held { announced, again, link, .. } => Phase::Held { order, announced, again, link },
        }
    }

    fn announce(&self, order: AddressOrder, announced: usize, now: Instant) -> Phase {
        self.announce_ipv4(order.address);
        let again = ANNOUNCEMENTS.get(announced).map_or(Instant::MAX, |wait| now + *wait);
        Phase::Held { order, announced: announced + 1, again, link: self.link_epoch.get() }
    }

    /// Returns why the node can't have this address beside its own.
    fn objection(&self, address: Ipv4Addr) -> Option<AddressLoss> {
        let ipv4 = self.ipv4.borrow();
        let Some(bound) = ipv4.as_ref() else { return Some(AddressLoss::NoNetwork) };
        let own = Ipv4Cidr::new(bound.address, bound.prefix_len);
        let is_end = |end: Ipv4Addr| bound.prefix_len < 31 && address == end;
        let host_bits = u32::MAX.checked_shr(bound.prefix_len.into()).unwrap_or(0);
        if !is_usable(address) || address.is_loopback() {
            Some(AddressLoss::NoStation)
        } else if address == bound.address {
            Some(AddressLoss::Own)
        } else if !own.contains_addr(&address) {
            Some(AddressLoss::Elsewhere)
        } else if is_end(own.network().address()) || is_end(Ipv4Addr::from(u32::from(bound.address) | host_bits)) {
            Some(AddressLoss::NoStation)
        } else if bound.gateway == Some(address) {
            Some(AddressLoss::Router)
        } else {
            None
        }
    }

    fn has_extra(&self, address: Ipv4Addr) -> bool {
        self.inner.borrow().iface.has_ip_addr(IpAddress::Ipv4(address))
    }

    /// Puts the address beside the node's own; returns whether there was room.
    fn take_extra(&self, address: Ipv4Addr) -> bool {
        let prefix_len = self.ipv4.borrow().as_ref().map_or(32, |bound| bound.prefix_len);
        let mut is_taken = false;
        // Behind the node's own, which stays the one that it speaks from by itself.
        let mut inner = self.inner.borrow_mut();
        let Inner { iface, sockets, device, .. } = &mut *inner;
        handshake::change_addresses(device, iface, sockets, now(), |addresses| {
            is_taken = addresses.push(IpCidr::Ipv4(Ipv4Cidr::new(address, prefix_len))).is_ok();
        });
        drop(inner);
        self.shared.watch.set_extra(Some(address), is_taken);
        is_taken
    }

    /// Takes the address away, if there is one, and ends the connections that others have with it.
    fn drop_extra(&self) {
        let address = self.shared.watch.extra.get();
        let was_held = self.shared.watch.is_extra_held.get();
        self.shared.watch.set_extra(None, false);
        let Some(address) = address.filter(|_| was_held) else { return };
        let mut inner = self.inner.borrow_mut();
        // Who is told now need not wait for an answer that the next holder of the address can't give.
        for (_, socket) in inner.sockets.iter_mut() {
            if let Socket::Tcp(socket) = socket
                && socket.state() != tcp::State::Closed
                && socket.local_endpoint().is_some_and(|local| local.addr == IpAddress::Ipv4(address))
            {
                socket.abort();
            }
        }
        // Before their owners hear of it, who would use the sockets for something else, and before the neighbours are forgotten.
        let Inner { iface, sockets, device, .. } = &mut *inner;
        while iface.poll_egress(now(), device, sockets) == PollResult::SocketStateChanged {}
        if self.ipv4_address() != Some(address) {
            handshake::change_addresses(device, iface, sockets, now(), |addresses| {
                addresses.retain(|cidr| cidr.address() != IpAddress::Ipv4(address));
            });
        }
        drop(inner);
        self.kick();
    }
}
