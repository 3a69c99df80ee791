//! The stack: one smoltcp interface with its sockets, driven by whatever happens first.
//!
//! [`Stack::run`] is a task that does one round each time it is woken: take in what was received, send what sockets have
//! ready, and set the timer for what is due next. It is woken by the exchange (frames, free buffers, the cable), by a
//! socket that was used, and by its timer. A round handles a bounded number of frames, so that a flood of them does not
//! keep the other tasks of the core from running.

use core::cell::{Cell, OnceCell, RefCell};
use core::future::poll_fn;
use core::net::{IpAddr, Ipv4Addr};
use core::sync::atomic::{AtomicU32, Ordering};
use core::task::{Context, Poll};

use alloc::boxed::Box;
use alloc::vec::Vec;
use embassy_sync::waitqueue::{MultiWakerRegistration, WakerRegistration};
use embassy_time::{Duration, Instant};
use nic::MacAddress;
use nic::exchange::{FrameExchange, NicCounters};
use smoltcp::iface::{Config, Interface, PollIngressSingleResult, PollResult, SocketHandle, SocketSet};
use smoltcp::socket::{Socket, tcp};
use smoltcp::wire::{EthernetAddress, HardwareAddress, IpAddress, IpCidr};

use crate::address::ipv4::Bound;
use crate::backlog::{Backlog, Confirmation, LOOK_INTERVAL_US, Spare, Verdict};
use crate::counters::{Counters, Event};
use crate::device::{Device, Shared};
use crate::faults::Faults;
use crate::handshake;
use crate::local::Local;
use crate::ping::Pinger;
use crate::portal::names::Cache;
use crate::segment::Segment;
use crate::settings::{NodeName, Settings, node_name};
use crate::status::{Ipv4Source, NetStatus};
use crate::time::Clock;
use crate::watch::Watch;

/// Most frames taken in per round.
const ROUND_FRAMES: usize = 32;
/// The longest the stack sleeps: its progress shows that the network is alive.
const ROUND_INTERVAL_US: u64 = 1_000_000;
/// The shortest the stack sleeps when it has nothing it can do now.
const ROUND_PAUSE_US: u64 = 1_000;
/// UDP sockets are looked after this often, and emptied when they could not send this many times. Discovery of a neighbour
/// takes up to two seconds, because smoltcp asks for one neighbour a second.
const SWEEP_INTERVAL: Duration = Duration::from_millis(1000);
const SWEEPS_STUCK: u32 = 2;
/// Tasks that can wait for a change of status at once; more are woken early, which is harmless.
const STATUS_WAITERS: usize = 24;
/// The controller's address before there is one. From the documentation range of RFC 7042.
const NO_MAC: MacAddress = MacAddress([0, 0, 0x5E, 0, 0x53, 0]);

pub(crate) struct Inner {
    pub(crate) iface: Interface,
    pub(crate) sockets: SocketSet<'static>,
    pub(crate) device: Device,
    pub(crate) pinger: Pinger,
    pub(crate) backlog: Backlog,
    stuck: Vec<Stuck>,
    /// TCP sockets of programs on other cores.
    guests: Vec<SocketHandle>,
}

/// A UDP socket whose queue does not get shorter.
struct Stuck {
    handle: SocketHandle,
    queued: usize,
    sweeps: u32,
}

/// The network stack of a node. It lives on one core, like everything that uses it.
pub struct Stack {
    pub(crate) shared: &'static Shared,
    pub(crate) settings: Settings,
    pub(crate) inner: RefCell<Inner>,
    pub(crate) ipv4: RefCell<Option<Bound>>,
    pub(crate) clock: Clock,
    waker: RefCell<WakerRegistration>,
    name: OnceCell<NodeName>,
    mdns_name: RefCell<NodeName>,
    /// Changes with the cable, the controller and the addresses.
    epoch: Cell<u32>,
    /// Changes each time the cable comes up.
    pub(crate) link_epoch: Cell<u32>,
    /// Groups that sockets listen to.
    pub(crate) joined: RefCell<Vec<IpAddr>>,
    /// Whether the controller should be told of the groups anew.
    pub(crate) groups_changed: Cell<bool>,
    is_up: Cell<bool>,
    link_ups: Cell<u64>,
    has_nic: Cell<bool>,
    status_wakers: RefCell<MultiWakerRegistration<STATUS_WAITERS>>,
    progress: AtomicU32,
    sweep: Cell<Instant>,
    /// What is known of other nodes' names.
    pub(crate) names: RefCell<Cache>,
    next_port: Cell<u16>,
}

impl Stack {
    /// Makes the stack over `exchange`. It lives as long as the node.
    #[must_use]
    pub fn new(exchange: &'static FrameExchange, settings: Settings) -> &'static Self {
        let shared: &'static Shared = Box::leak(Box::new(Shared {
            exchange,
            counters: Counters::new(),
            mac: Cell::new(NO_MAC),
            watch: Watch::new(),
            local: Local::new(),
            faults: Faults::new(),
            is_turn_of_nic: Cell::new(false),
        }));
        let mut device = Device::new(shared);
        let mut config = Config::new(HardwareAddress::Ethernet(EthernetAddress(NO_MAC.0)));
        config.random_seed = settings.seed;
        let iface = Interface::new(config, &mut device, now());
        let sockets = SocketSet::new(Vec::new());
        let pinger = Pinger::new(settings.seed);
        let backlog = Backlog::new(&settings.secret);
        let name = OnceCell::new();
        if let Some(given) = &settings.name {
            // Not set before.
            let _ = name.set(node_name(Some(given), NO_MAC));
        }
        let stack = Self {
            next_port: Cell::new(EPHEMERAL.start + (settings.seed >> 32) as u16 % EPHEMERAL_COUNT),
            shared,
            settings,
            inner: RefCell::new(Inner {
                iface,
                sockets,
                device,
                pinger,
                backlog,
                stuck: Vec::new(),
                guests: Vec::new(),
            }),
            sweep: Cell::new(Instant::MIN),
            names: RefCell::new(Cache::new()),
            ipv4: RefCell::new(None),
            clock: Clock::new(),
            waker: RefCell::new(WakerRegistration::new()),
            name,
            mdns_name: RefCell::new(NodeName::new()),
            epoch: Cell::new(0),
            link_epoch: Cell::new(0),
            joined: RefCell::new(Vec::new()),
            groups_changed: Cell::new(true),
            is_up: Cell::new(false),
            link_ups: Cell::new(0),
            has_nic: Cell::new(false),
            status_wakers: RefCell::new(MultiWakerRegistration::new()),
            progress: AtomicU32::new(0),
        };
        Box::leak(Box::new(stack))
    }

    /// Moves packets, for ever. Run it as a task of its own.
    pub async fn run(&self) -> ! {
        let mut armed = u64::MAX;
        poll_fn(|cx| {
            self.shared.exchange.register_stack(cx);
            self.waker.borrow_mut().register(cx.waker());
            match self.round() {
                None => cx.waker().wake_by_ref(),
                Some(delay_us) => arm(&mut armed, delay_us, cx),
            }
            Poll::Pending
        })
        .await
    }

    /// Returns a number that changes at least once a second while the stack runs.
    #[must_use]
    pub fn progress(&self) -> u32 {
        self.progress.load(Ordering::Relaxed)
    }

    /// Returns the node's name; empty before the first controller is there, unless the settings give it.
    #[must_use]
    pub fn name(&self) -> &str {
        self.name.get().map_or("", NodeName::as_str)
    }

    /// Sets the name that the link knows the node by.
    pub(crate) fn set_mdns_name(&self, name: &NodeName) {
        self.mdns_name.borrow_mut().clone_from(name);
    }

    /// Returns what happened on the network, counted by kind.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.shared.counters
    }

    /// Returns what happened to the controller, counted by kind.
    pub fn nic_events(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.shared.exchange.events()
    }

    /// Returns the state of the network.
    #[must_use]
    pub fn status(&self) -> NetStatus {
        let inner = self.inner.borrow();
        let nic = self.shared.exchange.nic();
        let mut ipv6: heapless::Vec<_, _> = heapless::Vec::new();
        for cidr in inner.iface.ip_addrs() {
            if let IpCidr::Ipv6(cidr) = cidr {
                // More than fit are not shown.
                let _ = ipv6.push((cidr.address(), cidr.prefix_len()));
            }
        }
        let mut sockets = 0;
        let mut tcp_connections = 0;
        for (_, socket) in inner.sockets.iter() {
            sockets += 1;
            if let Socket::Tcp(socket) = socket {
                tcp_connections += usize::from(socket.is_active());
            }
        }
        NetStatus {
            name: self.name.get().cloned().unwrap_or_default(),
            mdns_name: self.mdns_name.borrow().clone(),
            driver: nic.map(|nic| nic.driver),
            link: self.shared.link(),
            mac: nic.map(|nic| nic.mac),
            ipv4: self.ipv4.borrow().as_ref().map(|bound| bound.status(Instant::now())),
            ipv6,
            ipv6_router: inner.iface.routes().get_default_ipv6_route().and_then(|route| {
                match IpAddr::from(route.via_router) {
                    IpAddr::V6(router) => Some(router),
                    IpAddr::V4(_) => None,
                }
            }),
            frames: self.nic_counters(),
            sockets,
            tcp_connections,
        }
    }

    /// Returns the IPv4 address, if there is one.
    #[must_use]
    pub fn ipv4_address(&self) -> Option<Ipv4Addr> {
        self.ipv4.borrow().as_ref().map(|bound| bound.address)
    }

    /// Returns whether `peer` is on the same link as this node: no router in between.
    #[must_use]
    pub fn is_on_link(&self, peer: IpAddr) -> bool {
        let peer = peer.into();
        self.inner.borrow().iface.ip_addrs().iter().any(|cidr| cidr.contains_addr(&peer))
    }

    /// Returns whether `address` is one of this node's own: not a group's, and not everybody's.
    #[must_use]
    pub fn has_address(&self, address: IpAddr) -> bool {
        self.inner.borrow().iface.has_ip_addr(address)
    }

    /// Returns where `peer` is reached: the loopback addresses (127.0.0.0/8 and ::1) mean this node, under an address that
    /// it has. `None` if it has none.
    pub(crate) fn to_reachable(&self, peer: IpAddr) -> Option<IpAddr> {
        match peer {
            IpAddr::V4(address) if address.is_loopback() => self.ipv4_address().map(IpAddr::V4),
            IpAddr::V6(address) if address.is_loopback() => {
                let inner = self.inner.borrow();
                inner.iface.ip_addrs().iter().map(|cidr| IpAddr::from(cidr.address())).find(IpAddr::is_ipv6)
            }
            _ => Some(peer),
        }
    }

    /// Returns a number that changes with the cable, the controller and the addresses.
    #[must_use]
    pub fn epoch(&self) -> u32 {
        self.epoch.get()
    }

    /// Waits until the epoch is another than `last`, and returns it.
    pub async fn wait_epoch(&self, last: u32) -> u32 {
        poll_fn(|cx| {
            if self.epoch.get() != last {
                return Poll::Ready(self.epoch.get());
            }
            self.status_wakers.borrow_mut().register(cx.waker());
            Poll::Pending
        })
        .await
    }

    /// Waits until the node has an IPv4 address that is not of its own choice.
    pub async fn wait_configured(&self) {
        let is_configured = || {
            self.ipv4
                .borrow()
                .as_ref()
                .is_some_and(|bound| bound.status(Instant::now()).source != Ipv4Source::LinkLocal)
        };
        while !is_configured() {
            self.wait_epoch(self.epoch.get()).await;
        }
    }

    /// Has the stack do a round soon: a socket has something to send.
    pub(crate) fn kick(&self) {
        self.waker.borrow_mut().wake();
    }

    /// Tells everybody who waits for it that the status has changed.
    pub(crate) fn announce_change(&self) {
        self.epoch.set(self.epoch.get().wrapping_add(1));
        self.status_wakers.borrow_mut().wake();
    }

    pub(crate) fn has_link(&self) -> bool {
        self.is_up.get()
    }

    /// Returns a local port that was not used recently.
    pub(crate) fn take_port(&self) -> u16 {
        let port = self.next_port.get();
        self.next_port.set(if port + 1 == EPHEMERAL.end { EPHEMERAL.start } else { port + 1 });
        port
    }

    /// Notes that a TCP socket belongs to a program on another core.
    pub(crate) fn add_guest(&self, handle: SocketHandle) {
        self.inner.borrow_mut().guests.push(handle);
    }

    /// Forgets that.
    pub(crate) fn remove_guest(&self, handle: SocketHandle) {
        self.inner.borrow_mut().guests.retain(|guest| *guest != handle);
    }

    /// Returns whether one of the node's own services listens on this port.
    pub(crate) fn is_taken_tcp(&self, port: u16) -> bool {
        let inner = self.inner.borrow();
        let is_taken = |(handle, socket): (SocketHandle, &Socket<'_>)| {
            matches!(socket, Socket::Tcp(socket) if socket.listen_endpoint().port == port)
                && !inner.guests.contains(&handle)
        };
        port != 0 && inner.sockets.iter().any(is_taken)
    }

    /// Returns whether there is a UDP socket on this port.
    pub(crate) fn is_taken_udp(&self, port: u16) -> bool {
        let is_taken = |socket: &Socket<'_>| matches!(socket, Socket::Udp(socket) if socket.endpoint().port == port);
        port != 0 && self.inner.borrow().sockets.iter().any(|(_, socket)| is_taken(socket))
    }

    /// Does one round. Returns after how many microseconds the next is due; `None` if more waits to be done at once.
    fn round(&self) -> Option<u64> {
        self.progress.fetch_add(1, Ordering::Relaxed);
        self.shared.faults.tick();
        self.follow_link();
        self.tell_groups();
        let exchange = self.shared.exchange;
        if !self.shared.link().is_up() {
            // What arrived before the cable was pulled is stale.
            while exchange.take_rx().is_some() {}
            while self.shared.local.take().is_some() {}
            self.shared.faults.lose_held();
            return Some(self.shared.faults.sooner(ROUND_INTERVAL_US, false));
        }
        self.shared.send_due();
        let mut inner = self.inner.borrow_mut();
        if self.sweep.get().elapsed() >= SWEEP_INTERVAL {
            self.sweep.set(Instant::now());
            inner.free_stuck_sockets();
        }
        let now = now();
        inner.iface.poll_maintenance(now);
        inner.backlog.begin_round(Instant::now());
        inner.admit_waiting(now);
        for _ in 0..ROUND_FRAMES {
            if !inner.take_in(now) {
                break;
            }
        }
        let has_waiting = inner.backlog.has_waiting();
        let Inner { iface, sockets, device, pinger, backlog, .. } = &mut *inner;
        pinger.collect(sockets);
        while iface.poll_egress(now, device, sockets) == PollResult::SocketStateChanged {}
        if self.shared.has_rx() && exchange.has_tx() {
            return None;
        }
        let delay_us = iface.poll_delay(now, sockets).map_or(ROUND_INTERVAL_US, |delay| delay.total_micros());
        let longest_us = if has_waiting { LOOK_INTERVAL_US } else { ROUND_INTERVAL_US };
        // A socket that wants to send and can't waits for a transmit buffer or for its neighbour: both wake the stack.
        let delay_us = delay_us.clamp(ROUND_PAUSE_US, longest_us);
        let delay_us = self.shared.faults.sooner(delay_us, exchange.has_tx());
        backlog.end_round(Duration::from_micros(delay_us));
        Some(delay_us)
    }

    /// Returns what the controller has counted; a fault that is over has brought the link up, too.
    fn nic_counters(&self) -> NicCounters {
        let counters = self.shared.exchange.counters();
        NicCounters { link_ups: counters.link_ups + self.shared.faults.link_ups(), ..counters }
    }

    /// Notices a changed cable or controller.
    fn follow_link(&self) {
        let exchange = self.shared.exchange;
        let nic = exchange.nic();
        let is_up = self.shared.link().is_up();
        // A cable that was pulled and put back between two rounds is another cable.
        let link_ups = self.nic_counters().link_ups;
        if is_up == self.is_up.get() && nic.is_some() == self.has_nic.get() && link_ups == self.link_ups.get() {
            return;
        }
        if let Some(nic) = nic.filter(|nic| nic.mac.is_station()) {
            self.shared.mac.set(nic.mac);
            self.name.get_or_init(|| node_name(None, nic.mac));
            let address = HardwareAddress::Ethernet(EthernetAddress(nic.mac.0));
            self.inner.borrow_mut().iface.set_hardware_addr(address);
        }
        if link_ups != self.link_ups.replace(link_ups) {
            self.link_epoch.set(self.link_epoch.get().wrapping_add(1));
            self.shared.watch.forget_stations();
        }
        self.is_up.set(is_up);
        self.has_nic.set(nic.is_some());
        self.announce_change();
    }
}

impl Inner {
    /// Has smoltcp take in the next frame; returns whether there was one, and room for an answer.
    fn take_in(&mut self, now: smoltcp::time::Instant) -> bool {
        let Self { iface, sockets, device, backlog, .. } = self;
        let shared = device.shared;
        if device.fetch().is_none() {
            return false;
        }
        if let Some((address, station)) = shared.watch.announced.take() {
            handshake::learn_announced(device, iface, sockets, address, station, now);
            return true;
        }
        let Some((frame, is_syn)) = device.fetch() else { return false };
        if is_syn && let Some(syn) = Segment::parse(frame).filter(|syn| is_between_stations(syn, iface)) {
            let (from, to) = (syn.from, syn.to);
            match backlog.look_at(&syn, sockets, Instant::now()) {
                Verdict::Pass => {}
                Verdict::Known => {
                    device.skip();
                    return true;
                }
                Verdict::Open(number) => {
                    handshake::open(device, sockets, to.addr, number, now);
                    backlog.opened(from, to, number, sockets);
                    count_dropped(&shared.counters, backlog.keep_reserve(to.port, sockets));
                    return true;
                }
                Verdict::Answer { number, room } => {
                    handshake::answer(shared, &syn, number, room);
                    shared.counters.count(Event::TcpAnswered);
                    device.skip();
                    return true;
                }
            }
        } else {
            let time = Instant::now();
            let confirmation =
                if backlog.is_expecting(time) { backlog.confirm(frame, sockets, time) } else { Confirmation::None };
            if confirmation != Confirmation::None {
                device.skip();
            }
            match confirmation {
                Confirmation::None => {}
                Confirmation::Known => return true,
                Confirmation::Forgotten => {
                    shared.counters.count(Event::TcpForgotten);
                    return true;
                }
                Confirmation::New { has_forgotten } => {
                    self.admit_waiting(now);
                    shared.counters.count(Event::TcpConfirmed);
                    self.backlog.has_waiting_since(time).then(|| shared.counters.count(Event::TcpWaited));
                    has_forgotten.then(|| shared.counters.count(Event::TcpForgotten));
                    return true;
                }
            }
        }
        iface.poll_ingress_single(now, device, sockets) != PollIngressSingleResult::None
    }

    /// Has smoltcp take in clients that wait, as far as sockets listen for them, and makes room for others.
    fn admit_waiting(&mut self, now: smoltcp::time::Instant) {
        let Self { iface, sockets, device, backlog, .. } = self;
        let counters = &device.shared.counters;
        // A frame that could not be answered is still there.
        if !backlog.has_waiting() || device.has_next() {
            return;
        }
        let mut is_room_made = false;
        // What a client has said may be answered at once.
        while device.shared.has_tx() {
            if let Some(client) = backlog.take_ready(sockets, Instant::now()) {
                let port = client.to.port;
                handshake::learn(device, iface, sockets, &client, now);
                // Without a socket it is refused.
                handshake::reopen(device, sockets, &client, now);
                device.put(client.frame);
                iface.poll_ingress_single(now, device, sockets);
                count_dropped(counters, backlog.keep_reserve(port, sockets));
            } else if core::mem::replace(&mut is_room_made, true) {
                return;
            } else {
                count_dropped(counters, backlog.make_room_for_waiting(sockets));
            }
        }
    }

    /// Empties UDP sockets that have not been able to send for a while.
    ///
    /// A datagram for a neighbour that does not answer stays at the head of its socket's queue for ever, and a single
    /// forged request for an answer would silence a service. Both queues are lost, as datagrams may be.
    fn free_stuck_sockets(&mut self) {
        let Self { sockets, stuck, .. } = self;
        for (handle, socket) in sockets.iter_mut() {
            let Socket::Udp(socket) = socket else { continue };
            let queued = socket.send_queue();
            let known = stuck.iter_mut().position(|stuck| stuck.handle == handle);
            match known.and_then(|known| stuck.get_mut(known)) {
                _ if queued == 0 => {
                    stuck.retain(|stuck| stuck.handle != handle);
                }
                None => stuck.push(Stuck { handle, queued, sweeps: 1 }),
                Some(known) if queued < known.queued => (known.queued, known.sweeps) = (queued, 1),
                Some(known) if known.sweeps < SWEEPS_STUCK => known.sweeps += 1,
                Some(_) => {
                    let endpoint = socket.endpoint();
                    socket.close();
                    // Can't fail: it was bound to this before.
                    let _ = socket.bind(endpoint);
                    stuck.retain(|stuck| stuck.handle != handle);
                }
            }
        }
    }
}

/// Returns whether a segment is from one station to an address of ours, as far as can be told.
fn is_between_stations(segment: &Segment<'_>, iface: &Interface) -> bool {
    let (from, to) = (segment.from.addr, segment.to.addr);
    let is_broadcast =
        |cidr: &IpCidr| matches!(cidr, IpCidr::Ipv4(cidr) if cidr.broadcast().map(IpAddress::Ipv4) == Some(from));
    from.is_unicast()
        && iface.ip_addrs().iter().any(|cidr| cidr.address() == to)
        && !iface.ip_addrs().iter().any(is_broadcast)
}

fn count_dropped(counters: &Counters, dropped: Option<Spare>) {
    match dropped {
        None => {}
        Some(Spare::HalfOpen) => counters.count(Event::TcpHalfOpenDropped),
        Some(_) => counters.count(Event::TcpStalledDropped),
    }
}

/// Ports for outgoing connections (RFC 6335, section 6).
const EPHEMERAL: core::ops::Range<u16> = 49_152..65_535;
const EPHEMERAL_COUNT: u16 = EPHEMERAL.end - EPHEMERAL.start;

/// Sets the task's timer unless it is set to fire in time already: most rounds need no new timer.
fn arm(armed: &mut u64, delay_us: u64, cx: &Context<'_>) {
    let now = Instant::now().as_ticks();
    let due = now + Duration::from_micros(delay_us).as_ticks();
    if due < *armed || *armed <= now {
        *armed = due;
        embassy_time_driver::schedule_wake(due, cx.waker());
    }
}

/// Returns the time as smoltcp counts it.
pub(crate) fn now() -> smoltcp::time::Instant {
    smoltcp::time::Instant::from_micros(i64::try_from(Instant::now().as_micros()).unwrap_or(i64::MAX))
}

/// Returns whether a TCP socket has no connection and wants none.
pub(crate) fn is_closed(socket: &tcp::Socket<'_>) -> bool {
    socket.state() == tcp::State::Closed
}
