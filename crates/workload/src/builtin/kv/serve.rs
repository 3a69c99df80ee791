//! The store on the network: its memory, its clients, its clock, and the store it follows.
//!
//! Everything runs on one core, so the lock around the store is never waited for: it is there because a workload's future
//! may be handed to that core by another. Each client has a future and a socket of its own, and only its own bytes wait
//! when it is slow.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::future::pending;

use embassy_futures::select::{Either3, select, select3};
use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;
use embassy_sync::mutex::{Mutex, MutexGuard};
use embassy_sync::signal::Signal;
use embassy_sync::waitqueue::MultiWakerRegistration;
use embassy_time::{Duration, Instant, Timer, with_timeout};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use sockets::{SocketError, TcpSocket};

use super::copy::Progress;
use super::feed::{Link, LinkId, REPLICAS_MAX, RING_LEN};
use super::out::NEAR_LEN;
use super::session::{Facts, Fate, REQUEST_LEN_MAX, ReplicaFacts, Server, Session};
use super::store::Store;
use super::turn::Turn;
use super::{CLIENTS_MAX, Settings, figures};
use crate::parameter::Values;
use crate::seat::{End, Pace, Seat, Seats, Wait};
use crate::{Context, Failure};

/// Bytes of the sockets' rings.
const RX_LEN: usize = 4 << 10;
const TX_LEN: usize = 8 << 10;
/// What a client takes of the heap: its socket, on both cores, and its session.
const CLIENT_LEN: usize = 2 * (RX_LEN + TX_LEN) + NEAR_LEN + REQUEST_LEN_MAX + 4096;
/// Seats that are kept for newcomers: who has the others may be idle as long as nobody comes.
const SPARE_SEATS: usize = 1;
/// A replica that takes none of what it is told for so long, or confirms none of it, is cut off.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);
/// How often the store looks for keys that have ended, and in how many buckets: a store of 16 MiB in 13 s.
const SWEEP_INTERVAL: Duration = Duration::from_millis(100);
const SWEEP_BUCKETS: usize = 1024;
/// How often a replica is told where its source is when nothing changes, and how often it says where it is itself when it
/// has moved.
const TELL_INTERVAL: Duration = Duration::from_millis(500);
const CONFIRM_INTERVAL: Duration = Duration::from_millis(50);
/// A replica that hears nothing for so long connects anew.
const SILENCE_MAX: Duration = Duration::from_secs(5);
/// How long a replica waits before it tries again: at first, and at most.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// A lock that nobody waits for.
type Lock<T> = Mutex<CriticalSectionRawMutex, T>;

pub(super) struct Shared<'a> {
    server: Lock<Server>,
    seats: Seats,
    /// There is something for the replica of this number.
    news: [Signal<CriticalSectionRawMutex, ()>; REPLICAS_MAX],
    /// A replica has confirmed, or there is another one, or none is waited for any more.
    pub(super) confirmed: Lock<MultiWakerRegistration<{ CLIENTS_MAX + SPARE_SEATS }>>,
    /// The store that this one follows wants to know how far it is.
    asked: Signal<CriticalSectionRawMutex, ()>,
    context: Context<'a>,
    settings: &'a Settings,
}

/// Serves until the workload is stopped.
///
/// # Errors
///
/// When there is too little memory, or the port is taken.
pub(super) async fn run(settings: &Settings, values: &Values, context: Context<'_>) -> Result<(), Failure> {
    let store = make_store(settings, &context).await?;
    let facts = Facts {
        started_ms: context.now().as_millis(),
        clients_max: settings.clients,
        port: settings.port,
        replica: super::source(values).map(|_| ReplicaFacts::default()),
        acks: super::acks(values),
        ..Facts::default()
    };
    let shared = Shared {
        server: Mutex::new(Server::new(store, facts)),
        seats: Seats::new(settings.clients + SPARE_SEATS),
        news: [const { Signal::new() }; REPLICAS_MAX],
        confirmed: Mutex::new(MultiWakerRegistration::new()),
        asked: Signal::new(),
        context,
        settings,
    };
    let clients: FuturesUnordered<_> = shared.seats.iter().map(|seat| shared.serve(seat)).collect();
    let first_end = async {
        let mut clients = clients;
        clients.next().await
    };
    let keep_house = select(shared.keep_time(), shared.seats.watch());
    match select3(first_end, keep_house, shared.follow()).await {
        Either3::First(Some(Err(error))) => Err(Failure::because(error)),
        Either3::First(_) => Ok(()),
    }
}

/// Takes all memory that the store and its clients will need.
async fn make_store(settings: &Settings, context: &Context<'_>) -> Result<Store, Failure> {
    let too_little = |_| Failure::because("the node's heap has too little room: give less memory, or fewer clients");
    let mut store = Store::new(settings.seed);
    for _ in 0..Store::blocks(settings.memory) {
        store.cells.add_block().map_err(too_little)?;
        // A block takes some tens of microseconds to clear.
        context.pause().await;
    }
    store.open(settings.memory).map_err(too_little)?;
    // What the clients, and two replicas, take is asked for here, where it can be refused; it is given back, and taken again at once.
    let mut probe = Vec::<u8>::new();
    let len = (settings.clients + SPARE_SEATS) * CLIENT_LEN + REPLICAS_MAX * RING_LEN;
    probe.try_reserve_exact(len).map_err(|_| too_little(super::cells::Full))?;
    Ok(store)
}

impl Shared<'_> {
    /// Returns the server with its clock set; `None` never, because nobody keeps it while others run.
    pub(super) fn lock(&self) -> Option<MutexGuard<'_, CriticalSectionRawMutex, Server>> {
        let mut server = self.server.try_lock().ok()?;
        server.store.set_now(self.context.now().as_millis());
        Some(server)
    }

    /// Serves one client after the other on a seat, with a socket of its own.
    async fn serve(&self, seat: &Seat) -> Result<(), SocketError> {
        let mut socket = TcpSocket::open(self.context.env().network(), RX_LEN, TX_LEN).await?;
        let mut session = Box::new(Session::new(false));
        loop {
            match self.seats.offer(socket.accept(self.settings.port)).await {
                Ok(()) => {}
                Err(error @ (SocketError::PortInUse | SocketError::NoRoute)) => return Err(error),
                Err(_) => continue,
            }
            if let Some(mut server) = self.lock() {
                server.facts.clients += 1;
                server.facts.connections += 1;
            }
            let is_well = self.converse(seat, &mut socket, &mut session).await;
            let fate = session.fate;
            if let Some(mut server) = self.lock() {
                server.facts.clients -= 1;
                session.reset(&mut server.store.cells);
                if let Fate::Replica(id) = fate {
                    server.store.feed.close(id);
                }
            }
            if is_well && fate != Fate::Open {
                seat.leave(socket.close()).await;
            } else {
                socket.abort();
            }
        }
    }

    /// Talks to a client until one of the two has had enough; returns whether that was in good order.
    ///
    /// A replica, once it is one, keeps its seat.
    async fn converse(&self, seat: &Seat, socket: &mut TcpSocket, session: &mut Session) -> bool {
        let mut turn = Turn::new(Instant::now());
        loop {
            if session.out.is_broken {
                self.count_cut_off();
                return false;
            }
            if !session.out.is_empty() {
                if !self.confirm(session).await || !self.send(seat, socket, session).await {
                    return false;
                }
                turn.answered(session.is_begun(), Instant::now());
            }
            match session.fate {
                Fate::Open => {}
                Fate::Closing => return true,
                Fate::Replica(id) => return self.supply(socket, id).await,
            }
            let read = socket.read_with(|bytes| {
                let len = self.feed(session, bytes);
                (len, len)
            });
            let (deadline, wait) = turn.wait(self.settings.idle);
            match seat.wait(deadline, wait, read).await {
                Ok(Some(len)) => {
                    if session.out.is_empty() {
                        turn.heard(len, session.is_begun(), Instant::now());
                    }
                }
                Ok(None) => {
                    session.fate = Fate::Closing;
                    return true;
                }
                // It may be silent, but not in the middle of a request.
                Err(End::Late) if !turn.is_begun() => return false,
                Err(end) => return self.count_end(end),
            }
        }
    }

    /// Sends all replies; returns whether the client took them.
    async fn send(&self, seat: &Seat, socket: &mut TcpSocket, session: &mut Session) -> bool {
        let mut pace = Pace::new(Instant::now());
        while !session.out.is_empty() {
            let put = socket.write_with(|room| {
                let len = self.lock().map_or(0, |mut server| session.out.drain(&mut server.store.cells, room));
                (len, len)
            });
            match seat.wait(pace.deadline, Wait::Slow(pace.since), put).await {
                Ok(len) => pace.add(len, Instant::now()),
                Err(end) => return self.count_end(end),
            }
        }
        true
    }

    /// Counts why a client has to go, if it has to; returns false.
    fn count_end(&self, end: End) -> bool {
        if let Some(mut server) = self.lock() {
            match end {
                End::Lost => {}
                End::Late => server.facts.cut_off += 1,
                End::Unseated => server.facts.unseated += 1,
            }
        }
        false
    }

    fn count_cut_off(&self) {
        if let Some(mut server) = self.lock() {
            server.facts.cut_off += 1;
        }
    }

    /// Answers requests and counts them.
    fn feed(&self, session: &mut Session, bytes: &[u8]) -> usize {
        let Some(mut server) = self.lock() else { return 0 };
        let server = &mut *server;
        let start = self.context.now();
        let before = (server.facts.commands, server.facts.refusals + server.facts.protocol_errors);
        let key_commands = server.facts.key_commands;
        let used = session.feed(server, bytes);
        session.is_unconfirmed |= server.facts.acks > 0 && server.facts.key_commands != key_commands;
        let count = server.facts.commands - before.0;
        self.context.add_operations(count, self.context.now() - start);
        self.context.add_bytes(used as u64);
        self.context.add_errors(server.facts.refusals + server.facts.protocol_errors - before.1);
        if server.store.feed.has_readers() {
            self.wake_links();
        }
        used
    }

    /// Tells that there is something for replicas.
    pub(super) fn wake_links(&self) {
        self.news.iter().for_each(|news| news.signal(()));
    }

    /// Tells a replica what it needs to be one.
    async fn supply(&self, socket: &mut TcpSocket, id: LinkId) -> bool {
        let Some(news) = self.news.get(id.number) else { return false };
        let (mut reader, mut writer) = socket.split();
        // Each word of the replica is the number of bytes it has applied, 8 bytes long, the most significant first.
        let listen = async {
            let mut word = [0; 8];
            loop {
                if embedded_io_async::Read::read_exact(&mut reader, &mut word).await.is_err() {
                    return;
                }
                let applied = u64::from_be_bytes(word);
                let is_possible = self.lock().is_none_or(|mut server| {
                    let now_ms = server.store.now_ms();
                    server.store.feed.link(id).is_some_and(|link| link.confirm(applied, now_ms))
                });
                if !is_possible {
                    return self.count_cut_off();
                }
                self.wake_waiting();
            }
        };
        let tell = async {
            let mut tell_at = Instant::now() + TELL_INTERVAL;
            loop {
                let Some(state) = self.lock().map(|mut server| {
                    let (progress, now_ms) = (server.store.copy(id), server.store.now_ms());
                    let link = server.store.feed.link(id);
                    let is_silent = |link: &Link| link.is_silent(now_ms, SEND_TIMEOUT.as_millis());
                    link.map(|link| (progress, link.is_empty(), link.is_broken || is_silent(link)))
                }) else {
                    return;
                };
                match state {
                    None | Some((_, _, true)) => return self.count_cut_off(),
                    Some((_, false, _)) => {
                        let put = writer.write_with(|room| {
                            let len = self.lock().and_then(|mut server| Some(server.store.feed.link(id)?.drain(room)));
                            (len.unwrap_or(0), ())
                        });
                        if !matches!(with_timeout(SEND_TIMEOUT, put).await, Ok(Ok(()))) {
                            return self.count_cut_off();
                        }
                    }
                    Some((Progress::More, true, _)) => embassy_futures::yield_now().await,
                    // However often there is news that is none for it: a replica that hears nothing takes us for lost.
                    Some((Progress::Done, true, _)) if tell_at <= Instant::now() => {
                        self.tell_offset(id);
                        tell_at = Instant::now() + TELL_INTERVAL;
                    }
                    Some((Progress::Done, true, _)) => {
                        select(news.wait(), Timer::at(tell_at)).await;
                    }
                }
            }
        };
        select(listen, tell).await;
        false
    }

    fn tell_offset(&self, id: LinkId) {
        if let Some(mut server) = self.lock()
            && let Some(link) = server.store.feed.link(id)
        {
            link.ask();
        }
    }

    /// Lets keys end, and shows the figures.
    async fn keep_time(&self) -> core::convert::Infallible {
        loop {
            if let Some(mut server) = self.lock() {
                server.store.sweep(SWEEP_BUCKETS);
                figures::show(&self.context, &server);
            }
            self.context.sleep_until(self.context.now() + SWEEP_INTERVAL).await;
        }
    }

    /// Follows another store as long as it is told to.
    async fn follow(&self) -> core::convert::Infallible {
        let mut session = Box::new(Session::new(true));
        loop {
            let values = self.context.values();
            self.reign(&values);
            let follow = async {
                match super::source(&values) {
                    Some(source) => self.keep_following(source, &mut session).await,
                    None => pending().await,
                }
            };
            select(follow, self.context.changed()).await;
            self.part(&mut session);
        }
    }

    /// Begins or ends to be a store that follows another.
    fn reign(&self, values: &Values) {
        if let Some(mut server) = self.lock() {
            server.facts.acks = super::acks(values);
            let is_following = super::source(values).is_some();
            if is_following != server.facts.replica.is_some() {
                server.facts.reign = server.facts.reign.wrapping_add(1);
                server.facts.replica = is_following.then(ReplicaFacts::default);
            }
        }
        self.wake_waiting();
    }

    async fn keep_following(&self, source: &str, session: &mut Session) -> core::convert::Infallible {
        let mut wait = BACKOFF.0;
        loop {
            if self.follow_once(source, session).await {
                wait = BACKOFF.0;
            }
            self.part(session);
            Timer::after(wait).await;
            wait = (wait * 2).min(BACKOFF.1);
        }
    }

    /// Notes that the connection to the store that this one follows is over.
    fn part(&self, session: &mut Session) {
        if let Some(mut server) = self.lock() {
            session.reset(&mut server.store.cells);
            if let Some(replica) = &mut server.facts.replica {
                replica.is_up = false;
            }
        }
    }

    /// Follows another store for one connection; returns whether it had something to tell.
    async fn follow_once(&self, source: &str, session: &mut Session) -> bool {
        let network = self.context.env().network();
        let Ok(peer) = network.resolve_peer(source, super::DEFAULT_PORT).await else { return false };
        let Ok(mut socket) = TcpSocket::open(network, TX_LEN, RX_LEN).await else { return false };
        if !matches!(with_timeout(SILENCE_MAX, socket.connect(peer)).await, Ok(Ok(()))) {
            return false;
        }
        self.change_replica(|replica| {
            *replica = ReplicaFacts { is_up: true, copies: replica.copies + 1, ..ReplicaFacts::default() };
        });
        let (mut reader, mut writer) = socket.split();
        if embedded_io_async::Write::write_all(&mut writer, b"REPLICATE 1\r\n").await.is_err() {
            return false;
        }
        let apply = async {
            loop {
                let read = reader.read_with(|bytes| self.apply(session, bytes));
                if !matches!(with_timeout(SILENCE_MAX, read).await, Ok(Ok(Some(true)))) {
                    return;
                }
            }
        };
        let acknowledge = async {
            let mut confirmed = 0;
            loop {
                select(self.asked.wait(), Timer::after(CONFIRM_INTERVAL)).await;
                let offset = self.lock().and_then(|server| server.facts.replica).map_or(0, |replica| replica.offset);
                if core::mem::replace(&mut confirmed, offset) == offset {
                    continue;
                }
                if embedded_io_async::Write::write_all(&mut writer, &offset.to_be_bytes()).await.is_err() {
                    return;
                }
            }
        };
        select(apply, acknowledge).await;
        socket.abort();
        self.lock().and_then(|server| server.facts.replica).is_some_and(|replica| replica.is_copied)
    }

    /// Applies what the source tells; returns whether all of it was possible.
    fn apply(&self, session: &mut Session, bytes: &[u8]) -> (usize, bool) {
        let Some(mut server) = self.lock() else { return (0, true) };
        let server = &mut *server;
        let before = server.facts.refusals + server.facts.protocol_errors;
        let used = session.feed(server, bytes);
        // Nobody wants the replies.
        session.out.clear(&mut server.store.cells);
        if let Some(replica) = &mut server.facts.replica {
            replica.offset += used as u64;
            if core::mem::take(&mut replica.is_asked) {
                self.asked.signal(());
            }
        }
        (used, server.facts.refusals + server.facts.protocol_errors == before && session.fate == Fate::Open)
    }

    fn change_replica(&self, change: impl FnOnce(&mut ReplicaFacts)) {
        if let Some(mut server) = self.lock()
            && let Some(replica) = &mut server.facts.replica
        {
            change(replica);
        }
    }
}
