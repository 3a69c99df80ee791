//! Tells the link the node's name and services: mDNS (RFC 6762) and DNS-SD (RFC 6763).
//!
//! `edge-mdns` supplies the records and, through `domain`, the messages. Its responder is not used: it answers every type
//! for a name, lacks the cache-flush bit and known-answer suppression, and neither probes nor notices a conflict.

pub(crate) mod message;
pub(crate) mod records;

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use embassy_futures::select::{Either3, select3};
use embassy_time::{Duration, Instant, Timer};

use crate::counters::Event;
use crate::mdns::message::Reaction;
use crate::mdns::records::Zone;
use crate::random::Random;
use crate::settings::{NAME_LEN_MAX, NodeName};
use crate::socket::udp::{Datagram, UdpSocket};
use crate::stack::Stack;

/// Port and groups of mDNS (RFC 6762, section 3).
pub(crate) const PORT: u16 = 5353;
pub(crate) const GROUP_V4: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 251);
pub(crate) const GROUP_V6: Ipv6Addr = Ipv6Addr::new(0xFF02, 0, 0, 0, 0, 0, 0, 0xFB);
/// Section 11: so that a receiver can tell that no router was in between.
pub(crate) const HOP_LIMIT: u8 = 255;

const PACKETS: usize = 8;
const MESSAGE_LEN: usize = 1452;

// Section 8.1 and 8.3.
const PROBES: u32 = 3;
const PROBE_INTERVAL: Duration = Duration::from_millis(250);
const ANNOUNCEMENTS: u32 = 2;
const ANNOUNCE_INTERVAL: Duration = Duration::from_secs(1);
/// After losing to a rival's probe (section 8.2), and between two names.
const YIELD_PAUSE: Duration = Duration::from_secs(1);
/// Delay of an answer that others may give too, in milliseconds (section 6).
const SHARED_DELAY_MS: core::ops::Range<u64> = 20..120;

/// Where the node is on the way to its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// There is no link or no address.
    Off,
    Probing {
        sent: u32,
    },
    Owned {
        announced: u32,
    },
}

/// Answers for the node's name and services, for ever. Run it as a task of its own.
pub async fn run(stack: &'static Stack) -> ! {
    let mut socket = loop {
        match UdpSocket::bind(stack, PORT, PACKETS, PACKETS * MESSAGE_LEN) {
            Ok(socket) => break socket,
            // Not reached: the port is not 0.
            Err(_) => Timer::after_secs(1).await,
        }
    };
    socket.set_hop_limit(HOP_LIMIT);
    for group in [IpAddr::V4(GROUP_V4), IpAddr::V6(GROUP_V6)] {
        // There is room for two groups.
        let _ = socket.join(group);
    }
    let identity = &stack.settings.identity;
    let txt = [
        ("version", identity.version.as_str()),
        ("board", identity.board.as_str()),
        ("serial", identity.serial.as_str()),
    ];
    let mut responder = Responder {
        stack,
        zone: Zone { name: NodeName::new(), addresses: heapless::Vec::new(), txt: &txt },
        link: None,
        phase: Phase::Off,
        due: Instant::MAX,
        number: 1,
        delays: Random::new(stack.settings.seed ^ u64::from(PORT)),
    };
    let mut input = [0; MESSAGE_LEN];
    let mut output = [0; MESSAGE_LEN];
    loop {
        let epoch = stack.epoch();
        responder.follow_status();
        let wait = select3(socket.recv_from(&mut input), stack.wait_epoch(epoch), Timer::at(responder.due)).await;
        match wait {
            Either3::First(datagram) => {
                let message = input.get(..datagram.len).unwrap_or_default();
                responder.receive(&mut socket, message, datagram, &mut output).await;
            }
            Either3::Second(_) => {}
            Either3::Third(()) => responder.tick(&mut socket, &mut output).await,
        }
    }
}

struct Responder<'a> {
    stack: &'static Stack,
    zone: Zone<'a>,
    /// Which time the link was up when we probed.
    link: Option<u32>,
    phase: Phase,
    due: Instant,
    /// 1 for the node's own name, 2 for `name-2`, …
    number: u32,
    delays: Random,
}

impl Responder<'_> {
    /// Starts anew when the link or an address has changed.
    fn follow_status(&mut self) {
        let status = self.stack.status();
        let addresses: heapless::Vec<_, _> = status.addresses().take(self.zone.addresses.capacity()).collect();
        if addresses.is_empty() || !self.stack.has_link() || status.name.is_empty() {
            self.phase = Phase::Off;
            self.due = Instant::MAX;
            self.zone.addresses.clear();
            return;
        }
        let link = Some(self.stack.link_epoch.get());
        let is_new_link = link != self.link;
        if !is_new_link && addresses == self.zone.addresses && self.phase != Phase::Off {
            return;
        }
        self.zone.addresses = addresses;
        if is_new_link || !matches!(self.phase, Phase::Owned { .. }) {
            if is_new_link {
                (self.link, self.number) = (link, 1);
            }
            let pause = Duration::from_millis(self.delays.below(PROBE_INTERVAL.as_millis()));
            self.probe_after(pause);
        } else {
            (self.phase, self.due) = (Phase::Owned { announced: 0 }, Instant::now());
        }
    }

    fn probe_after(&mut self, pause: Duration) {
        self.zone.name = numbered(self.stack.name(), self.number);
        (self.phase, self.due) = (Phase::Probing { sent: 0 }, Instant::now() + pause);
    }

    /// Takes the next step towards the name.
    async fn tick(&mut self, socket: &mut UdpSocket, output: &mut [u8]) {
        let now = Instant::now();
        if now < self.due {
            return;
        }
        let message = match &mut self.phase {
            Phase::Probing { sent } if *sent < PROBES => {
                *sent += 1;
                self.due = now + PROBE_INTERVAL;
                message::probe(&self.zone, output)
            }
            Phase::Probing { .. } | Phase::Owned { announced: 0 } => {
                self.phase = Phase::Owned { announced: 1 };
                self.due = now + ANNOUNCE_INTERVAL;
                self.stack.set_mdns_name(&self.zone.name);
                message::announce(&self.zone, output)
            }
            Phase::Owned { announced } => {
                *announced += 1;
                self.due = if *announced < ANNOUNCEMENTS { now + ANNOUNCE_INTERVAL } else { Instant::MAX };
                message::announce(&self.zone, output)
            }
            Phase::Off => {
                self.due = Instant::MAX;
                return;
            }
        };
        // Fits: a node's records take some five hundred bytes.
        if let Ok(len) = message {
            let message = output.get(..len).unwrap_or_default();
            multicast(socket, message, true).await;
            multicast(socket, message, false).await;
        }
    }

    async fn receive(&mut self, socket: &mut UdpSocket, message: &[u8], datagram: Datagram, output: &mut [u8]) {
        // Section 11: nobody beyond a router is to be answered.
        if !self.stack.is_on_link(datagram.peer.ip()) || self.phase == Phase::Off {
            return;
        }
        let is_legacy = datagram.peer.port() != PORT;
        let is_probing = matches!(self.phase, Phase::Probing { .. });
        let counters = self.stack.counters();
        match message::react(&self.zone, message, is_legacy, is_probing, output) {
            Err(_) => counters.count(Event::MdnsMalformed),
            Ok(Reaction::None) => {}
            Ok(Reaction::Answer { len, is_unicast, is_shared }) => {
                counters.count(Event::MdnsAnswer);
                let answer = output.get(..len).unwrap_or_default();
                if is_shared && !is_unicast {
                    let delay = self.delays.below(SHARED_DELAY_MS.end - SHARED_DELAY_MS.start);
                    Timer::after_millis(SHARED_DELAY_MS.start + delay).await;
                }
                if is_unicast {
                    let local = datagram.local.filter(|local| !local.is_multicast());
                    // An asker that can't be reached gets no answer.
                    let _ = socket.send_from(answer, datagram.peer, local).await;
                } else {
                    multicast(socket, answer, datagram.peer.is_ipv4()).await;
                }
            }
            // While we probe, it means that the name is taken. Later, that two have it: ask again who does (section 9).
            Ok(Reaction::Conflict) if is_probing => {
                counters.count(Event::MdnsConflict);
                self.number += 1;
                self.probe_after(YIELD_PAUSE);
            }
            Ok(Reaction::Conflict | Reaction::Yield) => self.probe_after(YIELD_PAUSE),
        }
    }
}

async fn multicast(socket: &mut UdpSocket, message: &[u8], is_ipv4: bool) {
    let group = if is_ipv4 { IpAddr::V4(GROUP_V4) } else { IpAddr::V6(GROUP_V6) };
    // Without an address of that family there is nobody to tell.
    let _ = socket.send_to(message, SocketAddr::new(group, PORT)).await;
}

/// Returns `name`, or `name-2` and so on, cut so that the number fits.
fn numbered(name: &str, number: u32) -> NodeName {
    let mut suffix: heapless::String<11> = heapless::String::new();
    if number > 1 {
        // Fits: ten digits at most.
        let _ = core::fmt::Write::write_fmt(&mut suffix, format_args!("-{number}"));
    }
    let mut numbered = NodeName::new();
    for c in name.chars().take(NAME_LEN_MAX - suffix.len()) {
        // Fits, as do the digits.
        let _ = numbered.push(c);
    }
    let _ = numbered.push_str(&suffix);
    numbered
}
