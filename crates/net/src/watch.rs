//! Watches the addresses that this node uses, or is about to use, for other stations that use them too.
//!
//! smoltcp neither probes an address before it uses it nor notices a conflict (RFC 3927 and RFC 5227 for IPv4, RFC 4862
//! for IPv6), so the frames are looked at on their way to it.

use core::cell::{Cell, RefCell};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use embassy_sync::waitqueue::WakerRegistration;
use embassy_time::{Duration, Instant};
use heapless::Vec;
use nic::MacAddress;
use smoltcp::phy::Medium;
use smoltcp::wire::{HardwareAddress, Icmpv6Packet, NdiscNeighborFlags, NdiscRepr};

use crate::counters::Event;
use crate::device::Shared;
use crate::filter::{self, Arp, Seen};
use crate::status::IPV6_ADDRESSES;

/// An IPv6 router's advertisement is kept until the owner of the addresses has looked at it: at most this many bytes.
pub(crate) const ADVERTISEMENT_LEN_MAX: usize = 512;
/// Stations on the link that are known: as many neighbours as smoltcp keeps (`SMOLTCP_IFACE_NEIGHBOR_CACHE_COUNT`).
const STATIONS: usize = 32;
/// A station is known for so long after it has said who it is, as in smoltcp.
const STATION_AGE: Duration = Duration::from_secs(60);

/// The addresses that are watched, and what was seen.
pub(crate) struct Watch {
    /// The IPv4 address that is being probed or used.
    pub(crate) ipv4: Cell<Option<Ipv4Addr>>,
    /// Whether it is in use: no longer probed.
    pub(crate) is_ipv4_in_use: Cell<bool>,
    /// Whether somebody else was seen using it.
    pub(crate) has_ipv4_conflict: Cell<bool>,
    /// The extra IPv4 address that is being probed or held.
    pub(crate) extra: Cell<Option<Ipv4Addr>>,
    /// Whether it is held: no longer probed.
    pub(crate) is_extra_held: Cell<bool>,
    /// Who else was seen using it.
    pub(crate) extra_rival: Cell<Option<MacAddress>>,
    /// Which stations have asked for our addresses or told us theirs: smoltcp's neighbours, the last ones at the end.
    stations: RefCell<Vec<Station, STATIONS>>,
    /// A station that has told everybody that it now has the address of one of these, when nobody has looked at that yet.
    pub(crate) announced: Cell<Option<(Ipv4Addr, MacAddress)>>,
    /// The number of the last transaction with a DHCP server that we began or went on with.
    dhcp_transaction: Cell<Option<u32>>,
    /// Whether a DHCP server has refused what we asked for.
    pub(crate) is_dhcp_refused: Cell<bool>,
    /// The IPv6 address that is being probed.
    pub(crate) tentative: Cell<Option<Ipv6Addr>>,
    /// Whether somebody else was seen using or probing it.
    pub(crate) has_ipv6_conflict: Cell<bool>,
    /// The IPv6 addresses in use.
    pub(crate) ipv6: RefCell<Vec<Ipv6Addr, IPV6_ADDRESSES>>,
    /// One of them, when somebody probes it.
    pub(crate) challenged: Cell<Option<Ipv6Addr>>,
    /// The last router advertisement that nobody has looked at yet.
    pub(crate) advertisement: Cell<Option<Advertisement>>,
    /// The task that keeps the IPv4 address.
    pub(crate) ipv4_waker: RefCell<WakerRegistration>,
    /// The task that keeps the extra address.
    pub(crate) extra_waker: RefCell<WakerRegistration>,
    /// The task that keeps the IPv6 addresses.
    pub(crate) ipv6_waker: RefCell<WakerRegistration>,
}

/// A station on the link.
#[derive(Clone, Copy)]
pub(crate) struct Station {
    pub(crate) address: IpAddr,
    pub(crate) mac: MacAddress,
    /// When it has said so.
    heard: Instant,
}

impl Station {
    /// Returns whether it has said so lately.
    pub(crate) fn is_fresh(&self) -> bool {
        self.heard.elapsed() < STATION_AGE
    }
}

/// A router advertisement as received (ICMPv6 type 134).
#[derive(Clone, Copy)]
pub(crate) struct Advertisement {
    pub(crate) router: Ipv6Addr,
    pub(crate) len: usize,
    pub(crate) message: [u8; ADVERTISEMENT_LEN_MAX],
}

/// ICMPv6 message types (RFC 4861, section 4).
const ROUTER_ADVERTISEMENT: u8 = 134;
const NEIGHBOR_SOLICITATION: u8 = 135;
const NEIGHBOR_ADVERTISEMENT: u8 = 136;
/// Hop limit of a neighbor discovery message that no router has forwarded (RFC 4861, section 3.1).
const ON_LINK_HOP_LIMIT: u8 = 255;

impl Watch {
    pub(crate) fn new() -> Self {
        Self {
            ipv4: Cell::new(None),
            is_ipv4_in_use: Cell::new(false),
            has_ipv4_conflict: Cell::new(false),
            extra: Cell::new(None),
            is_extra_held: Cell::new(false),
            extra_rival: Cell::new(None),
            stations: RefCell::new(Vec::new()),
            announced: Cell::new(None),
            dhcp_transaction: Cell::new(None),
            is_dhcp_refused: Cell::new(false),
            tentative: Cell::new(None),
            has_ipv6_conflict: Cell::new(false),
            ipv6: RefCell::new(Vec::new()),
            challenged: Cell::new(None),
            advertisement: Cell::new(None),
            ipv4_waker: RefCell::new(WakerRegistration::new()),
            extra_waker: RefCell::new(WakerRegistration::new()),
            ipv6_waker: RefCell::new(WakerRegistration::new()),
        }
    }

    /// Watches another IPv4 address, or none.
    pub(crate) fn set_ipv4(&self, address: Option<Ipv4Addr>, is_in_use: bool) {
        self.forget_own(address.filter(|_| is_in_use));
        self.ipv4.set(address);
        self.is_ipv4_in_use.set(is_in_use);
        self.has_ipv4_conflict.set(false);
    }

    /// Watches another extra address, or none.
    pub(crate) fn set_extra(&self, address: Option<Ipv4Addr>, is_held: bool) {
        self.forget_own(address.filter(|_| is_held));
        self.extra.set(address);
        self.is_extra_held.set(is_held);
        self.extra_rival.set(None);
    }

    /// Returns the IPv4 addresses in use by this node.
    pub(crate) fn in_use(&self) -> impl Iterator<Item = Ipv4Addr> {
        let own = self.ipv4.get().filter(|_| self.is_ipv4_in_use.get());
        own.into_iter().chain(self.extra.get().filter(|_| self.is_extra_held.get()))
    }

    /// Returns the n-th of the stations that are known.
    pub(crate) fn station(&self, n: usize) -> Option<Station> {
        self.stations.borrow().get(n).copied()
    }

    /// Forgets who has had an address that is ours now.
    fn forget_own(&self, own: Option<Ipv4Addr>) {
        if let Some(own) = own {
            self.stations.borrow_mut().retain(|station| station.address != own);
        }
    }

    /// Forgets them: behind another cable are others.
    pub(crate) fn forget_stations(&self) {
        self.stations.borrow_mut().clear();
    }

    /// Returns whether a frame claims to come from an address that is in use by this node.
    pub(crate) fn is_from_ourselves(&self, frame: &[u8]) -> bool {
        match frame.get(12..14) {
            Some([0x08, 0x00]) => self.in_use().any(|own| frame.get(26..30) == Some(&own.octets())),
            Some([0x86, 0xdd]) => self.ipv6.borrow().iter().any(|own| frame.get(22..38) == Some(&own.octets())),
            _ => false,
        }
    }

    /// Looks at a frame that is being sent.
    pub(crate) fn see_sent(&self, frame: &[u8]) {
        if let Some(transaction) = filter::sent_dhcp_transaction(frame) {
            self.dhcp_transaction.set(Some(transaction));
        }
    }

    /// Looks at a received frame.
    pub(crate) fn see(&self, seen: &Seen<'_>, shared: &Shared) {
        match *seen {
            Seen::Syn | Seen::Other => {}
            // Only an answer to us: else any stray message would take the node's address away.
            Seen::DhcpNak(transaction) if self.dhcp_transaction.get() != Some(transaction) => {
                shared.counters.count(Event::DhcpMalformed);
            }
            Seen::DhcpNak(_) => {
                self.is_dhcp_refused.set(true);
                self.ipv4_waker.borrow_mut().wake();
            }
            Seen::Arp(arp) if arp.sender_mac != shared.mac.get() => self.see_arp(&arp, shared),
            Seen::Arp(_) => {}
            Seen::Icmpv6 { source, hop_limit: ON_LINK_HOP_LIMIT, message } => {
                let kind = message.first().copied();
                match kind {
                    Some(ROUTER_ADVERTISEMENT) => self.keep(source, message),
                    Some(NEIGHBOR_SOLICITATION | NEIGHBOR_ADVERTISEMENT) => {
                        self.note_ipv6_station(source, message);
                        let target = message.get(8..).and_then(|m| m.first_chunk::<16>()).copied().map(Ipv6Addr::from);
                        let is_probe = kind == Some(NEIGHBOR_SOLICITATION) && source.is_unspecified();
                        let is_rival = kind == Some(NEIGHBOR_ADVERTISEMENT) || is_probe;
                        let Some(target) = target.filter(|_| is_rival) else { return };
                        if Some(target) == self.tentative.get() {
                            self.has_ipv6_conflict.set(true);
                            self.ipv6_waker.borrow_mut().wake();
                            shared.counters.count(Event::Ipv6Conflict);
                        } else if is_probe && self.ipv6.borrow().contains(&target) {
                            self.challenged.set(Some(target));
                            self.ipv6_waker.borrow_mut().wake();
                        }
                    }
                    _ => {}
                }
            }
            Seen::Icmpv6 { .. } => {}
        }
    }

    /// Looks at an ARP packet of another station.
    fn see_arp(&self, arp: &Arp, shared: &Shared) {
        let is_probe = arp.is_request && arp.sender_ip.is_unspecified();
        // A probe (from no address) for ours is a conflict only while we probe ourselves; once the address is ours, we defend it (RFC
        // 5227, sections 2.1.1 and 2.4). smoltcp does not answer to nobody.
        let is_rival =
            |own: Ipv4Addr, is_held: bool| arp.sender_ip == own || !is_held && is_probe && arp.target_ip == own;
        if is_probe && self.in_use().any(|own| arp.target_ip == own) {
            shared.send_arp(arp.target_ip, arp.target_ip);
        }
        if self.ipv4.get().is_some_and(|own| is_rival(own, self.is_ipv4_in_use.get())) {
            self.has_ipv4_conflict.set(true);
            self.ipv4_waker.borrow_mut().wake();
            shared.counters.count(Event::Ipv4Conflict);
        } else if self.extra.get().is_some_and(|own| is_rival(own, self.is_extra_held.get())) {
            self.extra_rival.set(Some(arp.sender_mac));
            self.extra_waker.borrow_mut().wake();
            shared.counters.count(Event::ExtraConflict);
        } else if !arp.sender_ip.is_unspecified() {
            self.note_station(arp);
        }
    }

    /// An announcement changes what is known of a station, but makes none known (RFC 826): we would send to a station that does not know us,
    /// and while it asks who we are, the answer that it has for us is lost (smoltcp keeps one only if a socket sends it again).
    fn note_station(&self, arp: &Arp) {
        if self.in_use().any(|own| arp.target_ip == own) {
            self.keep_station(arp.sender_ip.into(), arp.sender_mac);
        } else if arp.sender_ip == arp.target_ip {
            let mut stations = self.stations.borrow_mut();
            let is_moved = |known: &&mut Station| known.address == arp.sender_ip && known.mac != arp.sender_mac;
            if let Some(station) = stations.iter_mut().find(is_moved) {
                *station = Station { mac: arp.sender_mac, heard: Instant::now(), ..*station };
                self.announced.set(Some((arp.sender_ip, arp.sender_mac)));
            }
        }
    }

    /// Keeps who asks for one of our addresses, and who answers what we have asked.
    fn note_ipv6_station(&self, source: Ipv6Addr, message: &[u8]) {
        let Some(found) = Icmpv6Packet::new_checked(message).ok().and_then(|packet| NdiscRepr::parse(&packet).ok())
        else {
            return;
        };
        let station = match found {
            NdiscRepr::NeighborSolicit { target_addr, lladdr } if self.ipv6.borrow().contains(&target_addr) => lladdr,
            NdiscRepr::NeighborAdvert { flags, target_addr, lladdr } => {
                lladdr.filter(|_| target_addr == source && flags.contains(NdiscNeighborFlags::SOLICITED))
            }
            _ => None,
        };
        let station = station.and_then(|raw| raw.parse(Medium::Ethernet).ok());
        if let Some(HardwareAddress::Ethernet(station)) = station.filter(|_| !source.is_unspecified()) {
            self.keep_station(source.into(), MacAddress(station.0));
        }
    }

    /// Puts a station behind all others; the one that was kept longest makes room.
    fn keep_station(&self, address: IpAddr, mac: MacAddress) {
        let mut stations = self.stations.borrow_mut();
        stations.retain(|known| known.address != address);
        if stations.is_full() {
            stations.remove(0);
        }
        // There is room now.
        let _ = stations.push(Station { address, mac, heard: Instant::now() });
    }

    fn keep(&self, router: Ipv6Addr, advertisement: &[u8]) {
        let mut message = [0; ADVERTISEMENT_LEN_MAX];
        let Some(to) = message.get_mut(..advertisement.len()) else { return };
        to.copy_from_slice(advertisement);
        self.ipv6_waker.borrow_mut().wake();
        self.advertisement.set(Some(Advertisement { router, len: advertisement.len(), message }));
    }
}
