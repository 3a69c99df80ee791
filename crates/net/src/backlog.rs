//! Clients that come while nobody can take them, and who has to make room for them.
//!
//! smoltcp has no backlog: a SYN for which no socket listens at that moment is refused, even if the server is only between
//! two clients. So a SYN for a port that tasks serve is kept here, and given to smoltcp once a socket listens. The newest is
//! the first: its client is still there, while a flood's never were; who waits for long asks again, and is the newest then.
//!
//! Sockets that hold out against nobody can be taken away. Whoever has let the server wait for the longest has to go when
//! somebody waits, or when few sockets of a port are left to listen: connections that were never confirmed, whose client does
//! not say good-bye, or whose client does not say what it wants.

use core::net::SocketAddr;

use alloc::vec::Vec;
use embassy_time::{Duration, Instant};
use smoltcp::iface::{SocketHandle, SocketSet};
use smoltcp::socket::Socket;
use smoltcp::socket::tcp::{self, State};

/// Clients that wait at once.
const WAITING_MAX: usize = 64;
/// Longest frame with a SYN that is kept: Ethernet, and the longest headers of IPv4 and TCP.
const FRAME_LEN_MAX: usize = 14 + 60 + 60;
/// A client asks again after a second (RFC 6298, section 2), so one that has not is gone.
const PATIENCE: Duration = Duration::from_millis(1200);
/// As many sockets of a port are kept free, if it has four times as many.
const FREE_WANTED: usize = 3;
/// Shortest and longest grace for who does not go on. Clients on the same link take a millisecond or two, if they and the node
/// have nothing else to do.
const GRACE: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(250));
/// After more clients have come than can wait, a flood is reckoned with for so long.
const FLOOD: Duration = Duration::from_secs(10);
/// While clients wait, somebody may become dispensable this often.
pub(crate) const LOOK_INTERVAL_US: u64 = 5_000;

/// A request for a connection, by a good frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Syn {
    pub(crate) from: SocketAddr,
    pub(crate) to: SocketAddr,
}

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
    fn grace(self, pace: Duration, is_flood: bool) -> Duration {
        match self {
            // A machine that is busy elsewhere answers late; only a flood has no time for that.
            Self::HalfOpen if !is_flood => Duration::from_secs(1),
            Self::HalfOpen | Self::Closing | Self::Stalled => (pace * 4).clamp(GRACE.0, GRACE.1),
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
    Take,
    /// It waits; if there were too many, another is forgotten.
    Wait { has_forgotten: bool },
}

struct Waiting {
    since: Instant,
    kept: Kept,
}

struct Entry {
    handle: SocketHandle,
    spare: Spare,
    since: Instant,
}

/// Who waits, and who can be spared.
pub(crate) struct Backlog {
    /// The port of each socket that takes clients, one after the other.
    served: Vec<u16>,
    /// The newest is the last.
    waiting: Vec<Waiting>,
    entries: Vec<Entry>,
    /// What clients have taken lately for what is expected of them: the longest time, which fades.
    pace: Duration,
    /// Until when a flood is reckoned with.
    flood_end: Instant,
    /// Time by which patience is measured: it stands still while the stack is kept from looking at what has come.
    now: Instant,
    /// When the stack was to look, and when it has.
    due: Instant,
    seen: Instant,
}

impl Backlog {
    pub(crate) fn new() -> Self {
        let begin = Instant::from_ticks(0);
        Self {
            served: Vec::new(),
            waiting: Vec::new(),
            entries: Vec::new(),
            pace: Duration::MIN,
            flood_end: begin,
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
    pub(crate) fn serve(&mut self, port: u16) {
        self.served.push(port);
    }

    /// Notes that it does no longer. Who waits for the last one is refused when it asks again.
    pub(crate) fn unserve(&mut self, port: u16) {
        if let Some(at) = self.served.iter().position(|served| *served == port) {
            self.served.swap_remove(at);
        }
        if !self.served.contains(&port) {
            self.waiting.retain(|waiting| waiting.kept.syn.to.port() != port);
        }
    }

    /// Notes why a socket's connection can be spared from now on; `None`: it can't.
    pub(crate) fn set_spare(&mut self, handle: SocketHandle, spare: Option<Spare>) {
        let now = self.now;
        let at = self.entries.iter().position(|entry| entry.handle == handle);
        match (spare, at.and_then(|at| self.entries.get_mut(at))) {
            (None, _) => {
                at.map(|at| self.entries.swap_remove(at));
            }
            (Some(spare), Some(entry)) => (entry.spare, entry.since) = (spare, now),
            (Some(spare), None) => self.entries.push(Entry { handle, spare, since: now }),
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

    /// Decides about a SYN that has come in `frame`.
    pub(crate) fn look_at(&mut self, syn: &Syn, frame: &[u8], sockets: &SocketSet<'_>, now: Instant) -> Verdict {
        let is_known = |socket: &tcp::Socket<'_>| {
            socket.remote_endpoint().is_some_and(|remote| SocketAddr::from(remote) == syn.from)
                && socket.local_endpoint().is_some_and(|local| SocketAddr::from(local) == syn.to)
        };
        let is_served = self.served.contains(&syn.to.port());
        if !is_served
            || frame.len() > FRAME_LEN_MAX
            || tcp_sockets(sockets).any(|(_, socket)| is_listening(socket, syn.to.port()) || is_known(socket))
        {
            return Verdict::Take;
        }
        let mut kept = Kept { syn: *syn, len: frame.len(), frame: [0; FRAME_LEN_MAX] };
        for (to, from) in kept.frame.iter_mut().zip(frame) {
            *to = *from;
        }
        self.waiting.retain(|waiting| waiting.kept.syn != *syn);
        let is_full = self.waiting.len() >= WAITING_MAX;
        if is_full {
            self.flood_end = self.now + FLOOD;
            // A port that has most of the places gives one of its own.
            let port = syn.to.port();
            let of_port = |waiting: &Waiting| waiting.kept.syn.to.port() == port;
            let has_most = self.waiting.iter().filter(|waiting| of_port(waiting)).count() > WAITING_MAX / 2;
            let at = self.waiting.iter().position(|waiting| of_port(waiting) == has_most).unwrap_or(0);
            self.waiting.remove(at);
        }
        self.waiting.push(Waiting { since: now, kept });
        Verdict::Wait { has_forgotten: is_full }
    }

    /// Takes out the SYN of the newest client for whom a socket listens.
    pub(crate) fn take_ready(&mut self, sockets: &SocketSet<'_>, now: Instant) -> Option<Kept> {
        self.waiting.retain(|waiting| waiting.since + PATIENCE > now);
        let at = self.waiting.iter().rposition(|waiting| {
            tcp_sockets(sockets).any(|(_, socket)| is_listening(socket, waiting.kept.syn.to.port()))
        })?;
        Some(self.waiting.remove(at).kept)
    }

    /// Notes the connection that has come of a SYN, after smoltcp had it; and makes room if few sockets are left.
    ///
    /// Returns whose connection has to go, if any.
    pub(crate) fn begun(&mut self, syn: &Syn, sockets: &mut SocketSet<'_>) -> Option<Spare> {
        let begun = tcp_sockets(sockets).find(|(_, socket)| {
            socket.state() == State::SynReceived
                && socket.remote_endpoint().is_some_and(|remote| SocketAddr::from(remote) == syn.from)
                && socket.local_endpoint().is_some_and(|local| SocketAddr::from(local) == syn.to)
        });
        if let Some((handle, _)) = begun {
            self.set_spare(handle, Some(Spare::HalfOpen));
        }
        let port = syn.to.port();
        let wanted = (self.served.iter().filter(|served| **served == port).count() / 4).min(FREE_WANTED);
        let free = tcp_sockets(sockets).filter(|(_, socket)| is_listening(socket, port)).count();
        if free < wanted { self.make_room(port, sockets) } else { None }
    }

    /// Makes room for those who wait, as far as somebody can be spared. Returns whose connection has to go, if any.
    pub(crate) fn make_room_for_waiting(&mut self, sockets: &mut SocketSet<'_>) -> Option<Spare> {
        let mut ports: heapless::Vec<u16, 8> = heapless::Vec::new();
        for port in self.waiting.iter().rev().map(|waiting| waiting.kept.syn.to.port()) {
            if !ports.contains(&port) {
                // More ports than that have their turn later.
                let _ = ports.push(port);
            }
        }
        ports.iter().find_map(|port| self.make_room(*port, sockets))
    }

    /// Takes a socket of `port` away from the connection that can best be spared.
    fn make_room(&mut self, port: u16, sockets: &mut SocketSet<'_>) -> Option<Spare> {
        let is_flood = self.flood_end > self.now;
        let dispensable = self.entries.iter().filter_map(|entry| {
            let socket = sockets.get::<tcp::Socket<'_>>(entry.handle);
            let is_of_port = socket.is_open() && socket.local_endpoint().is_some_and(|local| local.port == port);
            let spare = match entry.spare {
                Spare::HalfOpen if socket.state() != State::SynReceived => return None,
                // It does not have everything yet.
                Spare::Closing if socket.state() != State::FinWait2 => Spare::Slow,
                spare => spare,
            };
            (is_of_port && entry.since + spare.grace(self.pace, is_flood) <= self.now).then_some((
                spare,
                entry.since,
                entry.handle,
            ))
        });
        let (spare, _, handle) = dispensable.min_by_key(|(spare, since, _)| (*spare, *since))?;
        self.set_spare(handle, None);
        let socket = sockets.get_mut::<tcp::Socket<'_>>(handle);
        let endpoint = socket.listen_endpoint();
        socket.abort();
        match spare {
            // Without a word: its task need not know. Can't fail: the socket has listened there before.
            Spare::HalfOpen => {
                let _ = socket.listen(endpoint);
                renew(sockets, handle);
            }
            // Without a word: the client has everything, and may be about to look for the end of it. Can't fail, as above.
            Spare::Closing => {
                let _ = socket.listen(endpoint);
                socket.close();
            }
            Spare::Stalled | Spare::Slow | Spare::Idle => {}
        }
        Some(spare)
    }
}

/// A SYN that was kept.
pub(crate) struct Kept {
    pub(crate) syn: Syn,
    len: usize,
    frame: [u8; FRAME_LEN_MAX],
}

impl Kept {
    /// Returns the frame.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.frame.get(..self.len).unwrap_or_default()
    }
}

/// Has smoltcp forget that it could not find the neighbour of a socket's last peer, and is not to send for a second.
///
/// It knows that of the place in the set, so the socket is taken out and put back. Places before it may have become free.
fn renew(sockets: &mut SocketSet<'_>, handle: SocketHandle) {
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

fn tcp_sockets<'s>(sockets: &'s SocketSet<'_>) -> impl Iterator<Item = (SocketHandle, &'s tcp::Socket<'s>)> {
    sockets.iter().filter_map(|(handle, socket)| match socket {
        Socket::Tcp(socket) => Some((handle, socket)),
        _ => None,
    })
}

fn is_listening(socket: &tcp::Socket<'_>, port: u16) -> bool {
    socket.state() == State::Listen && socket.listen_endpoint().port == port
}
