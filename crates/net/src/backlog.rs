//! Clients that come while nobody can take them, and who has to make room for them.
//!
//! smoltcp has no backlog: a SYN for which no socket listens at that moment is refused, even if the server is only between
//! two clients, and one that is never confirmed keeps a socket for long. So a SYN for a port that tasks serve gets a socket
//! only while that costs nobody anything. Else it is answered without one ([`handshake`](crate::handshake)), and nothing is
//! remembered: the answer's number shows later that the client has got it ([`cookie`](crate::cookie)). Who confirms waits here
//! for a socket, with the first that it has said. The first is who comes from where the fewest others come from, and of these the
//! newest: most are served at once, whatever else has come. The last sockets of a port are not for those whose others let the server
//! wait.
//!
//! Sockets that hold out against nobody can be taken away. A connection that is not confirmed can begin again at any time: its
//! number is such a one, too. Of the others, whoever has let the server wait for the longest has to go when somebody waits, or
//! when few sockets of a port are left to listen: connections whose client does not say good-bye, or what it wants.

use core::cmp::Reverse;
use core::net::Ipv6Addr;
use core::ops::RangeInclusive;

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;
use embassy_time::{Duration, Instant};
use smoltcp::iface::{SocketHandle, SocketSet};
use smoltcp::socket::Socket;
use smoltcp::socket::tcp::{self, State};
use smoltcp::wire::{EthernetAddress, IpAddress, IpEndpoint, TcpControl};

use crate::cookie::{Cookies, LIFETIME, Request, Wish};
use crate::copies::{Copies, FrameCopy};
use crate::segment::Segment;

/// Clients that wait at once.
const WAITING_MAX: usize = 64;
/// Who waits for longer is told that the node is too busy. Linux keeps a client for as long that has been accepted by nobody.
const PATIENCE: Duration = Duration::from_secs(60);
/// As many sockets of a port are kept free, if it has four times as many; and no more wait for clients to confirm.
const FREE_WANTED: usize = 3;
/// Shortest and longest grace for who does not go on. Clients on the same link take a millisecond or two, if they and the node
/// have nothing else to do.
const GRACE: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(250));
/// Grace for who has been served, when others from the same place have more sockets than the asker: they work without a pause, or can
/// come again.
const GRACE_IN_CROWD: Duration = Duration::from_millis(2);
/// A client that waits has sent this many bytes at most when it resets its connection.
const RESET_WINDOW: u32 = 0x1_0000;
/// While clients wait, somebody may become dispensable this often.
pub(crate) const LOOK_INTERVAL_US: u64 = 5_000;

/// Why a connection can be spared. The first has to go first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Spare {
    /// The client has not confirmed that it wants it.
    HalfOpen,
    /// All is said, but the client has not said good-bye.
    Closing,
    /// The client does not say what it wants.
    Stalled,
    /// The client does not take what it has asked for.
    Slow,
    /// The client has been served and may, or may not, want more.
    Idle,
}

impl Spare {
    /// A connection keeps its socket for at least so long. `pace` is what clients take who do go on.
    fn grace(self, pace: Duration) -> Duration {
        match self {
            // It does not lose anything.
            Self::HalfOpen => Duration::MIN,
            Self::Closing | Self::Stalled => (pace * 4).clamp(GRACE.0, GRACE.1),
            // Longer than a way around the world: a client at work takes something in that time.
            Self::Slow => Duration::from_millis(300),
            Self::Idle => Duration::from_secs(1),
        }
    }
}

/// What becomes of a SYN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// smoltcp gets it.
    Pass,
    /// Its client has the connection already, or waits for it: smoltcp does not get it.
    Known,
    /// smoltcp gets it, and is to answer with this number.
    Open(u32),
    /// It is answered without smoltcp, with this number, for a socket that can take so many bytes.
    Answer { number: u32, room: usize },
}

/// What becomes of another segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Confirmation {
    /// It confirms nothing: smoltcp gets it.
    None,
    /// It is from a client that waits already.
    Known,
    /// Too many wait already.
    Forgotten,
    /// Its client waits from now on. Whether another was forgotten for it.
    New { has_forgotten: bool },
}

/// A client that has confirmed its connection.
pub(crate) struct Client {
    pub(crate) from: IpEndpoint,
    pub(crate) to: IpEndpoint,
    pub(crate) station: EthernetAddress,
    /// The client's first number, and ours.
    pub(crate) numbers: (u32, u32),
    pub(crate) wish: Wish,
    /// The client's window, before it is scaled.
    pub(crate) window: u16,
    /// The first that it has said.
    pub(crate) frame: FrameCopy<'static>,
    since: Instant,
}

impl Client {
    fn has_sent(&self, segment: &Segment<'_>) -> bool {
        self.from == segment.from && self.to == segment.to
    }
}

/// The sockets that take clients of a port, one after the other.
struct Served {
    port: u16,
    handles: Vec<SocketHandle>,
}

struct Entry {
    handle: SocketHandle,
    spare: Spare,
    since: Instant,
    /// The number with which a connection was begun that is not confirmed.
    number: Option<u32>,
}

/// Whom room is made for.
#[derive(Clone, Copy, Debug)]
struct Asker {
    /// Connections from the same origin to the same port.
    count: usize,
    /// See [`Backlog::is_sated`].
    is_sated: bool,
}

/// Who waits, and who can be spared.
pub(crate) struct Backlog {
    served: Vec<Served>,
    /// The newest is the last.
    waiting: Vec<Client>,
    copies: &'static Copies,
    cookies: Cookies,
    /// Until when clients may confirm what nobody remembers.
    answers_end: Instant,
    entries: Vec<Entry>,
    /// What clients have taken lately for what is expected of them: the longest time, which fades.
    pace: Duration,
    /// Time by which patience is measured: it stands still while the stack is kept from looking at what has come.
    now: Instant,
    /// When the stack was to look, and when it has.
    due: Instant,
    seen: Instant,
}

impl Backlog {
    /// Takes the memory for all who may wait, for good.
    pub(crate) fn new(secret: &[u8; 16]) -> Self {
        let begin = Instant::from_ticks(0);
        Self {
            served: Vec::new(),
            waiting: Vec::with_capacity(WAITING_MAX),
            // One more: of the client that is being taken out.
            copies: Box::leak(Box::new(Copies::new(WAITING_MAX + 1))),
            cookies: Cookies::new(secret),
            answers_end: begin,
            entries: Vec::new(),
            pace: Duration::MIN,
            now: begin,
            due: begin,
            seen: begin,
        }
    }

    /// Begins a round of the stack.
    pub(crate) fn begin_round(&mut self, now: Instant) {
        // A machine that is busy elsewhere has kept us, and the frames of those who did answer, waiting.
        let end = now.min(self.due.max(self.seen) + Duration::from_micros(LOOK_INTERVAL_US));
        self.now += end - self.seen.min(end);
        self.seen = now;
        self.due = now;
    }

    /// Ends a round; the next one is due in `delay`, or earlier.
    pub(crate) fn end_round(&mut self, delay: Duration) {
        self.due = self.seen + delay;
    }

    /// Notes that a socket takes clients of `port` from now on.
    pub(crate) fn serve(&mut self, port: u16, handle: SocketHandle) {
        match self.served.iter_mut().find(|served| served.port == port) {
            Some(served) => served.handles.push(handle),
            None => self.served.push(Served { port, handles: vec![handle] }),
        }
    }

    /// Notes that it does no longer. Who waits for the last one is refused.
    pub(crate) fn unserve(&mut self, handle: SocketHandle) {
        for served in &mut self.served {
            served.handles.retain(|served| *served != handle);
        }
        self.served.retain(|served| !served.handles.is_empty());
    }

    /// Notes why a socket's connection can be spared from now on; `None`: it can't.
    pub(crate) fn set_spare(&mut self, handle: SocketHandle, spare: Option<Spare>) {
        let now = self.now;
        let at = self.entries.iter().position(|entry| entry.handle == handle);
        match (spare, at.and_then(|at| self.entries.get_mut(at))) {
            (None, _) => {
                at.map(|at| self.entries.swap_remove(at));
            }
            (Some(spare), Some(entry)) => *entry = Entry { handle, spare, since: now, number: None },
            (Some(spare), None) => self.entries.push(Entry { handle, spare, since: now, number: None }),
        }
    }

    /// Notes that a client has gone on: it has confirmed its connection, or asked for something.
    pub(crate) fn went_on(&mut self, handle: SocketHandle) {
        if let Some(at) = self.entries.iter().position(|entry| entry.handle == handle) {
            let entry = self.entries.swap_remove(at);
            if matches!(entry.spare, Spare::HalfOpen | Spare::Stalled) {
                let faded = self.pace - self.pace / 8;
                self.pace = faded.max((self.now - entry.since.min(self.now)).min(GRACE.1));
            }
        }
    }

    /// Returns whether anybody waits.
    pub(crate) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Returns whether the newest client waits, and has come at this time.
    pub(crate) fn has_waiting_since(&self, time: Instant) -> bool {
        self.waiting.last().is_some_and(|client| client.since == time)
    }

    /// Returns whether segments may confirm a connection, or come from somebody who has, and waits.
    pub(crate) fn is_expecting(&self, now: Instant) -> bool {
        now < self.answers_end || self.has_waiting()
    }

    /// Decides about a SYN.
    pub(crate) fn look_at(&mut self, syn: &Segment<'_>, sockets: &SocketSet<'_>, now: Instant) -> Verdict {
        let port = syn.to.port;
        // All of them have the same room as a rule. If not, a client that is told too little sends less at once.
        let Some(room) = self.sockets_of(port, sockets).map(tcp::Socket::recv_capacity).min() else {
            return Verdict::Pass;
        };
        if let Some(handle) = self.known(syn, sockets) {
            // smoltcp says again by itself what it has answered. If it got this, another socket might begin the same connection again,
            // with another number, and the client would be lost by one of the two.
            let state = sockets.get::<tcp::Socket<'_>>(handle).state();
            return if matches!(state, State::Closed | State::TimeWait) { Verdict::Pass } else { Verdict::Known };
        }
        if self.waiting.iter().any(|client| client.has_sent(syn) && client.numbers.0 == syn.request().number) {
            return Verdict::Known;
        }
        // Whoever waited there is gone.
        self.waiting.retain(|client| !client.has_sent(syn));
        let number = self.cookies.make(&syn.request(), syn.wish(), now);
        if self.may_open(port, sockets) && !self.is_sated(syn.from.addr, port, sockets) {
            return Verdict::Open(number);
        }
        self.answers_end = now + LIFETIME;
        Verdict::Answer { number, room }
    }

    /// Looks whether a segment confirms a connection. If so, its client waits from now on.
    pub(crate) fn confirm(&mut self, frame: &[u8], sockets: &mut SocketSet<'_>, now: Instant) -> Confirmation {
        let Some(segment) = Segment::parse(frame) else { return Confirmation::None };
        if let Some(at) = self.waiting.iter().position(|client| client.has_sent(&segment)) {
            // What it has said first, again or more of it: in its name nobody else knows the numbers.
            let is_first = |client: &Client| {
                let confirmed = segment.confirmed();
                confirmed.is_some_and(|(request, number)| (request.number, number) == client.numbers)
            };
            let seq = segment.tcp.seq_number.0.cast_unsigned();
            let is_in_window = |client: &Client| seq.wrapping_sub(client.numbers.0) <= RESET_WINDOW;
            if segment.tcp.control == TcpControl::Rst {
                self.waiting.get(at).is_some_and(is_in_window).then(|| self.waiting.remove(at));
            } else if segment.tcp.segment_len() > 0
                && let Some(client) = self.waiting.get_mut(at).filter(|client| is_first(client))
            {
                client.frame.replace(frame);
            }
            return Confirmation::Known;
        }
        if !self.is_served(segment.to.port) || matches!(segment.tcp.control, TcpControl::Rst | TcpControl::Syn) {
            return Confirmation::None;
        }
        let Some((Request { number: theirs, .. }, ours, wish)) = segment
            .confirmed()
            .and_then(|(request, number)| Some((request, number, self.cookies.check(&request, number, now)?)))
        else {
            return Confirmation::None;
        };
        if let Some(handle) = self.known(&segment, sockets) {
            let begun = self.entries.iter().find(|entry| entry.handle == handle).and_then(|entry| entry.number);
            let is_half_open = sockets.get::<tcp::Socket<'_>>(handle).state() == State::SynReceived;
            if !is_half_open || begun.is_none_or(|number| number == ours) {
                return Confirmation::None;
            }
            // It was answered twice, with two numbers, and this is the one that counts.
            self.set_spare(handle, None);
            listen_again(sockets, handle);
        }
        let has_forgotten = self.waiting.len() >= WAITING_MAX;
        if has_forgotten {
            // Who finds no room says what it has to say again; only a minority is given somebody else's.
            let whom = origin(segment.from.addr);
            let is_like = |client: &&Client| client.to.port == segment.to.port && origin(client.from.addr) == whom;
            if self.waiting.iter().filter(is_like).count() >= WAITING_MAX / 2 {
                return Confirmation::Forgotten;
            }
            self.forget_one();
        }
        // There is one: as many as may wait, and one.
        let Some(frame) = self.copies.copy(frame) else { return Confirmation::Known };
        let Segment { station, from, to, tcp } = segment;
        let numbers = (theirs, ours);
        self.waiting.push(Client { from, to, station, numbers, wish, window: tcp.window_len, frame, since: now });
        Confirmation::New { has_forgotten }
    }

    /// Takes out a client for whom a socket listens, or one that need not wait any longer.
    pub(crate) fn take_ready(&mut self, sockets: &SocketSet<'_>, now: Instant) -> Option<Client> {
        let is_over = |client: &Client| !self.is_served(client.to.port) || client.since + PATIENCE <= now;
        let at = self.waiting.iter().position(is_over).or_else(|| {
            let ports = self.ports_wanted().into_iter().filter(|port| self.has_listener(*port, sockets));
            ports.filter_map(|port| self.first(port, sockets)).find(|at| {
                let client = self.waiting.get(*at);
                client.is_some_and(|client| !self.is_sated(client.from.addr, client.to.port, sockets))
            })
        })?;
        Some(self.waiting.remove(at))
    }

    /// Returns the ports that somebody waits at, those of the newest first. More than fit have their turn later.
    fn ports_wanted(&self) -> heapless::Vec<u16, 8> {
        let mut ports = heapless::Vec::new();
        for port in self.waiting.iter().rev().map(|client| client.to.port) {
            if !ports.contains(&port) && ports.push(port).is_err() {
                break;
            }
        }
        ports
    }

    /// Returns who of those who wait at a port is the first: of those whose origin has the fewest connections, the newest.
    fn first(&self, port: u16, sockets: &SocketSet<'_>) -> Option<usize> {
        let candidates = self.waiting.iter().enumerate().filter(|(_, client)| client.to.port == port);
        let count = |client: &Client| self.count_of(origin(client.from.addr), port, sockets);
        candidates.max_by_key(|(at, client)| (Reverse(count(client)), *at)).map(|(at, _)| at)
    }

    /// Notes the connection that has come of a SYN.
    pub(crate) fn opened(&mut self, from: IpEndpoint, to: IpEndpoint, number: u32, sockets: &SocketSet<'_>) {
        let is_it = |socket: &tcp::Socket<'_>| {
            socket.state() == State::SynReceived
                && socket.remote_endpoint() == Some(from)
                && socket.local_endpoint() == Some(to)
        };
        let handles = self.handles_of(to.port).iter();
        let begun = handles.copied().find(|handle| is_it(sockets.get::<tcp::Socket<'_>>(*handle)));
        if let Some(handle) = begun {
            self.set_spare(handle, Some(Spare::HalfOpen));
            if let Some(entry) = self.entries.iter_mut().find(|entry| entry.handle == handle) {
                entry.number = Some(number);
            }
        }
    }

    /// Makes room if few sockets of a port are left. Returns whose connection has to go, if any.
    pub(crate) fn keep_reserve(&mut self, port: u16, sockets: &mut SocketSet<'_>) -> Option<Spare> {
        let wanted = self.reserve(port);
        let is_free = |socket: &&tcp::Socket<'_>| matches!(socket.state(), State::Listen | State::SynReceived);
        let free = self.sockets_of(port, sockets).filter(is_free).count();
        if free >= wanted {
            return None;
        }
        // Whoever it will be for: those who have most have to give.
        let ends = self.sockets_of(port, sockets).filter_map(tcp::Socket::remote_endpoint);
        let most = ends.map(|end| self.count_of(origin(end.addr), port, sockets)).max();
        let asker = Asker { count: most.unwrap_or(0), is_sated: false };
        self.make_room(port, sockets, Spare::Closing..=Spare::Stalled, asker)
    }

    /// Makes room for those who wait, as far as somebody can be spared. Returns whose connection has to go, if any.
    pub(crate) fn make_room_for_waiting(&mut self, sockets: &mut SocketSet<'_>) -> Option<Spare> {
        self.ports_wanted().into_iter().find_map(|port| {
            let whom = self.waiting.get(self.first(port, sockets)?)?.from.addr;
            let asker = Asker {
                count: self.count_of(origin(whom), port, sockets),
                is_sated: self.is_sated(whom, port, sockets),
            };
            self.make_room(port, sockets, Spare::HalfOpen..=Spare::Idle, asker)
        })
    }

    /// Returns whether a SYN may have a socket: one listens, and all who had one before it are about to confirm.
    fn may_open(&self, port: u16, sockets: &SocketSet<'_>) -> bool {
        let mut count = 0;
        for entry in self.entries.iter().filter(|entry| entry.spare == Spare::HalfOpen) {
            let socket = sockets.get::<tcp::Socket<'_>>(entry.handle);
            if socket.state() == State::SynReceived {
                if entry.since + GRACE.0 <= self.now {
                    return false;
                }
                count += usize::from(socket.listen_endpoint().port == port);
            }
        }
        self.has_listener(port, sockets) && count < self.reserve(port).max(1)
    }

    /// Returns whether clients from there get none of the last sockets of a port: all others are kept by clients from there who don't
    /// go on.
    fn is_sated(&self, whom: IpAddress, port: u16, sockets: &SocketSet<'_>) -> bool {
        let is_kept = |entry: &&Entry| {
            let socket = sockets.get::<tcp::Socket<'_>>(entry.handle);
            entry.spare != Spare::Idle
                && socket.local_endpoint().is_some_and(|local| local.port == port)
                && socket.remote_endpoint().is_some_and(|end| origin(end.addr) == origin(whom))
        };
        let reserve = self.reserve(port);
        reserve > 0 && self.entries.iter().filter(is_kept).count() + reserve >= self.handles_of(port).len()
    }

    /// Forgets one of those who wait: the oldest of the origin that has most of them at one port.
    fn forget_one(&mut self) {
        let key = |client: &Client| (client.to.port, origin(client.from.addr));
        let count = |of: &Client| self.waiting.iter().filter(|client| key(client) == key(of)).count();
        let worst = self.waiting.iter().enumerate().max_by_key(|(at, client)| (count(client), Reverse(*at)));
        if let Some((at, _)) = worst {
            self.waiting.remove(at);
        }
    }

    /// Returns how many connections a port has from there.
    fn count_of(&self, whom: IpAddress, port: u16, sockets: &SocketSet<'_>) -> usize {
        let is_whose = |socket: &&tcp::Socket<'_>| socket.remote_endpoint().is_some_and(|end| origin(end.addr) == whom);
        self.sockets_of(port, sockets).filter(is_whose).count()
    }

    /// Returns how many sockets of a port are to be kept free.
    fn reserve(&self, port: u16) -> usize {
        (self.handles_of(port).len() / 4).min(FREE_WANTED)
    }

    fn is_served(&self, port: u16) -> bool {
        !self.handles_of(port).is_empty()
    }

    fn handles_of(&self, port: u16) -> &[SocketHandle] {
        let served = self.served.iter().find(|served| served.port == port);
        served.map_or(&[], |served| &served.handles)
    }

    fn sockets_of<'s>(&self, port: u16, sockets: &'s SocketSet<'_>) -> impl Iterator<Item = &'s tcp::Socket<'s>> {
        self.handles_of(port).iter().map(|handle| sockets.get::<tcp::Socket<'_>>(*handle))
    }

    fn has_listener(&self, port: u16, sockets: &SocketSet<'_>) -> bool {
        self.sockets_of(port, sockets).any(|socket| socket.state() == State::Listen)
    }

    /// Returns the socket that has the connection already that a segment belongs to.
    fn known(&self, segment: &Segment<'_>, sockets: &SocketSet<'_>) -> Option<SocketHandle> {
        self.handles_of(segment.to.port).iter().copied().find(|handle| {
            let socket = sockets.get::<tcp::Socket<'_>>(*handle);
            socket.remote_endpoint() == Some(segment.from) && socket.local_endpoint() == Some(segment.to)
        })
    }

    /// Takes a socket of `port` away from the connection that can best be spared, for one of these reasons.
    ///
    /// Those who have more than the asker have to hurry, and those who have fewer have time: all, if the asker has enough.
    fn make_room(
        &mut self,
        port: u16,
        sockets: &mut SocketSet<'_>,
        of: RangeInclusive<Spare>,
        asker: Asker,
    ) -> Option<Spare> {
        let (shortest, longest) = (Spare::Stalled.grace(self.pace), Spare::Idle.grace(self.pace));
        let hurried = |spare| if spare == Spare::Idle { GRACE_IN_CROWD } else { shortest };
        let is_due = |since: Instant, grace: Duration| since + grace <= self.now;
        let dispensable = self.entries.iter().filter(|entry| of.contains(&entry.spare)).filter_map(|entry| {
            let socket = sockets.get::<tcp::Socket<'_>>(entry.handle);
            let is_of_port = socket.is_open() && socket.local_endpoint().is_some_and(|local| local.port == port);
            let spare = match entry.spare {
                _ if !is_of_port => return None,
                Spare::HalfOpen if socket.state() != State::SynReceived => return None,
                Spare::HalfOpen => return Some((Spare::HalfOpen, Reverse(0), entry.since, entry.handle)),
                // It does not have everything yet.
                Spare::Closing if socket.state() != State::FinWait2 => Spare::Slow,
                spare => spare,
            };
            if !is_due(entry.since, GRACE_IN_CROWD) {
                return None;
            }
            let count = socket.remote_endpoint().map_or(0, |end| self.count_of(origin(end.addr), port, sockets));
            let grace = match spare.grace(self.pace) {
                _ if asker.is_sated && count < asker.count => return None,
                _ if count > asker.count + 1 => hurried(spare),
                grace if count < asker.count => grace.max(longest),
                grace => grace,
            };
            is_due(entry.since, grace).then_some((spare, Reverse(count), entry.since, entry.handle))
        });
        let (spare, .., handle) = dispensable.min_by_key(|(spare, count, since, _)| (*spare, *count, *since))?;
        self.set_spare(handle, None);
        match spare {
            Spare::HalfOpen => {
                listen_again(sockets, handle);
                self.answers_end = self.answers_end.max(self.seen + LIFETIME);
            }
            // Without a word: the client has everything, and may be about to look for the end of it.
            Spare::Closing => {
                let socket = sockets.get_mut::<tcp::Socket<'_>>(handle);
                let endpoint = socket.listen_endpoint();
                socket.abort();
                // Can't fail: it has listened there before.
                let _ = socket.listen(endpoint);
                socket.close();
            }
            Spare::Stalled | Spare::Slow | Spare::Idle => sockets.get_mut::<tcp::Socket<'_>>(handle).abort(),
        }
        Some(spare)
    }
}

/// Has a socket forget a connection that is not confirmed, without a word: its task need not know, and the client can still confirm.
fn listen_again(sockets: &mut SocketSet<'_>, handle: SocketHandle) {
    let socket = sockets.get_mut::<tcp::Socket<'_>>(handle);
    let endpoint = socket.listen_endpoint();
    socket.abort();
    // Can't fail: it has listened there before.
    let _ = socket.listen(endpoint);
    renew(sockets, handle);
}

/// Has smoltcp forget that it could not find the neighbour of a socket's last peer, and is not to send for a second.
///
/// It knows that of the place in the set, so the socket is taken out and put back. Places before it may have become free.
pub(crate) fn renew(sockets: &mut SocketSet<'_>, handle: SocketHandle) {
    let mut holders = Vec::new();
    let mut out = sockets.remove(handle);
    while let Socket::Tcp(socket) = out {
        let place = sockets.add(socket);
        if place == handle {
            break;
        }
        out = sockets.remove(place);
        let buffer = || tcp::SocketBuffer::new(Vec::new());
        holders.push(sockets.add(tcp::Socket::new(buffer(), buffer())));
    }
    for holder in holders {
        sockets.remove(holder);
    }
}

/// Returns whom an address stands for: the owner of a network of IPv6 has all addresses in it, but not on our own link.
fn origin(address: IpAddress) -> IpAddress {
    match address {
        IpAddress::Ipv6(address) if !address.is_unicast_link_local() => {
            Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into()
        }
        address => address,
    }
}
