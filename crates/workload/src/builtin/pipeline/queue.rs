//! The queue: takes messages from who pushes, gives them to who pulls, and passes back what is said of them.
//!
//! It never has more messages than places: who pushes may send as many as it was given credit for, and each credit is a place
//! that is kept free. Who pulls gives credit in the same way.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec;

use embassy_futures::select::{Either, Either3, select, select3};
use embassy_time::{Duration, Timer};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;

use super::figures::Figure;
use super::link::{Incoming, LinkError, Lock, News, Outgoing, open, split, welcome};
use super::store::{Fate, Store};
use super::wire::{Frame, Hello, Message, Refusal, Stage, Verdict, Want};
use super::{CLIENTS_MAX, Common};
use crate::Failure;
use crate::seat::{Seat, Seats};

/// Credit that one connection has at most: enough for a round trip, and not all of the queue.
const CREDIT_MAX: usize = 256;
/// How often who waits for a place looks for one that another has given up.
const TICK: Duration = Duration::from_millis(100);

/// A connection.
struct Peer {
    /// Another number each time.
    serial: u32,
    /// Who pushes; `None` for who pulls, and without a connection.
    link: Option<u64>,
    /// Who pushes: messages that it may send. Who pulls: messages that may be sent to it.
    credit: usize,
    /// What it is to be told.
    verdicts: VecDeque<(u64, u64, Verdict)>,
    is_pulling: bool,
}

struct State {
    store: Store,
    peers: Box<[Peer]>,
    serial: u32,
    /// Places that who pushes may use.
    promised: usize,
}

struct Queue<'a> {
    common: &'a Common<'a>,
    seats: Seats,
    state: Lock<State>,
    news: [News; CLIENTS_MAX],
    link: u64,
}

/// Runs until it is stopped.
pub(super) async fn run(common: &Common<'_>) -> Result<(), Failure> {
    let settings = common.settings;
    let store = Store::new(settings.capacity, settings.size).map_err(|_| Failure::Memory {
        needed: (usize::from(settings.capacity) * settings.size) as u64,
        available: 0,
    })?;
    let peer = || Peer { serial: 0, link: None, credit: 0, verdicts: VecDeque::new(), is_pulling: false };
    let peers = (0..settings.clients).map(|_| peer()).collect();
    let queue = Queue {
        common,
        seats: Seats::new(settings.clients),
        state: Lock::new(State { store, peers, serial: 0, promised: 0 }),
        news: [const { News::new() }; CLIENTS_MAX],
        link: common.context.env().seed(),
    };
    let mut clients: FuturesUnordered<_> =
        queue.seats.iter().enumerate().map(|(index, seat)| queue.serve(index, seat)).collect();
    let keep_time = async {
        loop {
            queue.show();
            common.context.progress();
            Timer::after(TICK).await;
        }
    };
    match select3(clients.next(), keep_time, queue.seats.watch()).await {
        Either3::First(Some(failure)) => Err(failure),
        Either3::First(None) => Ok(()),
        Either3::Second(never) => never,
        Either3::Third(never) => match never {},
    }
}

impl State {
    fn peer(&mut self, index: usize) -> Option<&mut Peer> {
        self.peers.get_mut(index)
    }

    /// Returns whom to tell what concerns the connection with this serial number, of a source that may have others, or have
    /// come back.
    fn find(&self, serial: u32, link: u64) -> Option<usize> {
        let is_it = |peer: &&Peer| peer.link.is_some() && peer.serial == serial;
        let place = |peer: &Peer| self.peers.iter().position(|other| core::ptr::eq(other, peer));
        let exact = self.peers.iter().find(is_it);
        exact.or_else(|| self.peers.iter().find(|peer| peer.link == Some(link))).and_then(place)
    }
}

impl Queue<'_> {
    fn show(&self) {
        if let Some(state) = self.state.get() {
            self.common.set(Figure::Depth, state.store.waiting());
            self.common.set(Figure::InFlight, state.store.given());
        }
    }

    /// Serves one connection after the other; returns why it can't.
    async fn serve(&self, index: usize, seat: &Seat) -> Failure {
        let common = self.common;
        let settings = common.settings;
        let mut socket = match open(common).await {
            Ok(socket) => socket,
            Err(failure) => return failure,
        };
        let refuse = |hello: &Hello| {
            let len_max = u32::try_from(settings.size).unwrap_or(u32::MAX);
            let is_too_long = match hello.want {
                Want::Push => hello.len_max > len_max,
                Want::Pull => hello.len_max < len_max,
            };
            is_too_long.then_some(Refusal::TooLong)
        };
        loop {
            match self.seats.offer(socket.accept(settings.port)).await {
                Ok(()) => {}
                Err(error @ (sockets::SocketError::PortInUse | sockets::SocketError::NoRoute)) => {
                    return Failure::because(error);
                }
                Err(_) => continue,
            }
            let hello = Stage::Queue.hello(settings, Want::Pull, self.link);
            let Some(peer) = welcome(seat, &mut socket, settings, hello, refuse).await else {
                common.count(Figure::Refused, 1);
                continue;
            };
            common.count(Figure::Connects, 1);
            common.connected();
            let (incoming, outgoing) = split(&mut socket, settings, &peer);
            let serial = self.begin(index, &peer);
            let ended = match peer.want {
                Want::Push => select(self.take(index, serial, incoming), self.tell(index, outgoing)).await,
                Want::Pull => select(self.listen(index, serial, incoming), self.give(index, serial, outgoing)).await,
            };
            self.end(index, serial);
            socket.abort();
            common.ended(match ended {
                Either::First(error) | Either::Second(error) => error,
            });
        }
    }

    fn begin(&self, index: usize, hello: &Hello) -> u32 {
        let Some(mut state) = self.state.get() else { return 0 };
        state.serial += 1;
        let serial = state.serial;
        if let Some(peer) = state.peer(index) {
            let is_pulling = hello.want == Want::Pull;
            *peer = Peer {
                serial,
                link: (!is_pulling).then_some(hello.link),
                credit: if is_pulling { hello.credit as usize } else { 0 },
                verdicts: VecDeque::new(),
                is_pulling,
            };
        }
        serial
    }

    fn end(&self, index: usize, serial: u32) {
        let Some(mut state) = self.state.get() else { return };
        let mut told = VecDeque::new();
        let again = state.store.lose(serial, |stream, number, fate| {
            if let Fate::Tell { to, verdict } = fate {
                told.push_back((to, stream, number, verdict));
            }
        });
        self.common.count(Figure::Again, again);
        if let Some(peer) = state.peer(index) {
            let credit = if peer.link.take().is_some() { peer.credit } else { 0 };
            peer.is_pulling = false;
            state.promised -= credit;
        }
        drop(state);
        for (to, stream, number, verdict) in told {
            self.pass_back(to, stream, number, verdict);
        }
        self.wake_pullers();
        self.wake_pushers();
    }

    /// Has a verdict told to who has sent the message, if it is there. If not, it asks when it comes back.
    fn pass_back(&self, to: u32, stream: u64, number: u64, verdict: Verdict) {
        let Some(mut state) = self.state.get() else { return };
        if verdict == Verdict::Delivered {
            self.common.count(Figure::Delivered, 1);
        }
        if let Some(index) = state.find(to, stream)
            && let Some(peer) = state.peer(index)
        {
            peer.verdicts.push_back((stream, number, verdict));
            if let Some(news) = self.news.get(index) {
                news.signal(());
            }
        }
    }

    fn wake_pullers(&self) {
        let Some(state) = self.state.get() else { return };
        for (peer, news) in state.peers.iter().zip(&self.news) {
            if peer.is_pulling && peer.credit > 0 {
                news.signal(());
            }
        }
    }

    fn wake_pushers(&self) {
        let Some(state) = self.state.get() else { return };
        for (peer, news) in state.peers.iter().zip(&self.news) {
            if peer.link.is_some() && peer.credit == 0 {
                news.signal(());
            }
        }
    }

    // ---- Who pushes ----

    async fn take(&self, index: usize, serial: u32, mut incoming: Incoming<'_>) -> LinkError {
        loop {
            let result = match incoming.frame().await {
                Ok(Frame::Message(message)) => self.take_one(index, serial, message, &mut incoming).await,
                Ok(Frame::Ping) => Ok(()),
                Ok(_) => Err(LinkError::Unexpected),
                Err(error) => Err(error),
            };
            if let Err(error) = result {
                return error;
            }
        }
    }

    async fn take_one(
        &self,
        index: usize,
        serial: u32,
        message: Message,
        incoming: &mut Incoming<'_>,
    ) -> Result<(), LinkError> {
        let place = {
            let mut state = self.state.get().ok_or(LinkError::Unexpected)?;
            let peer = state.peer(index).ok_or(LinkError::Unexpected)?;
            // More than it may.
            peer.credit = peer.credit.checked_sub(1).ok_or(LinkError::Unexpected)?;
            state.promised -= 1;
            state.store.begin(message, serial).ok_or(LinkError::Unexpected)?
        };
        let payload = incoming.payload(message.len, |at, piece| {
            if let Some(mut state) = self.state.get()
                && let Some(room) = state.store.payload(place).get_mut(at..at + piece.len())
            {
                room.copy_from_slice(piece);
            }
        });
        let checksum = payload.await;
        let mut state = self.state.get().ok_or(LinkError::Unexpected)?;
        if checksum != Ok(message.checksum) {
            state.store.free_place(place);
            drop(state);
            checksum?;
            self.common.count(Figure::Corrupted, 1);
            self.common.context.add_errors(1);
            self.pass_back(serial, message.stream, message.number, Verdict::Corrupted);
            return Ok(());
        }
        self.common.count(Figure::Received, 1);
        self.common.context.add_bytes(message.len as u64);
        if message.is_again && state.store.adopt(&message, serial) {
            state.store.free_place(place);
            if !message.is_question {
                self.common.count(Figure::Duplicates, 1);
            }
        } else {
            state.store.finish(place, self.common.now_us());
        }
        drop(state);
        self.wake_pullers();
        // There may be credit to give.
        if let Some(news) = self.news.get(index) {
            news.signal(());
        }
        Ok(())
    }

    /// Tells who pushes what became of its messages, and how many more it may send.
    async fn tell(&self, index: usize, mut outgoing: Outgoing<'_>) -> LinkError {
        let Some(news) = self.news.get(index) else { return LinkError::Lost };
        loop {
            let frame = self.state.get().and_then(|mut state| {
                let verdict = state.peer(index)?.verdicts.pop_front();
                if let Some((stream, number, verdict)) = verdict {
                    return Some(Frame::Verdict { stream, number, verdict });
                }
                self.credit(&mut state, index).map(Frame::Credit)
            });
            let result = match frame {
                Some(frame) => outgoing.send(&frame, &[]).await,
                None => outgoing.rest(news, Some(self.common.context.now() + TICK)).await,
            };
            if let Err(error) = result {
                return error;
            }
        }
    }

    /// Returns how many more messages a connection may send, once that is worth a frame.
    fn credit(&self, state: &mut State, index: usize) -> Option<u32> {
        let pushers = state.peers.iter().filter(|peer| peer.link.is_some()).count().max(1);
        let share = (usize::from(self.common.settings.capacity) / pushers).clamp(1, CREDIT_MAX);
        let unpromised = state.store.free().saturating_sub(state.promised);
        let peer = state.peer(index)?;
        let more = share.saturating_sub(peer.credit).min(unpromised);
        if more == 0 || peer.credit > share / 2 {
            return None;
        }
        peer.credit += more;
        state.promised += more;
        u32::try_from(more).ok()
    }

    // ---- Who pulls ----

    async fn listen(&self, index: usize, serial: u32, mut incoming: Incoming<'_>) -> LinkError {
        loop {
            match incoming.frame().await {
                Ok(Frame::Ping) => {}
                Ok(Frame::Credit(more)) => {
                    if let Some(mut state) = self.state.get()
                        && let Some(peer) = state.peer(index)
                    {
                        peer.credit = peer.credit.saturating_add(more as usize);
                    }
                    if let Some(news) = self.news.get(index) {
                        news.signal(());
                    }
                }
                Ok(Frame::Verdict { stream, number, verdict }) => self.settle(serial, stream, number, verdict),
                Ok(Frame::Message(_)) => return LinkError::Unexpected,
                Err(error) => return error,
            }
        }
    }

    fn settle(&self, serial: u32, stream: u64, number: u64, verdict: Verdict) {
        let Some(mut state) = self.state.get() else { return };
        let fate = state.store.settle(stream, number, verdict, serial);
        drop(state);
        match fate {
            Some(Fate::Tell { to, verdict }) => {
                self.pass_back(to, stream, number, verdict);
                self.wake_pushers();
            }
            Some(Fate::Waits) => {
                self.common.count(Figure::Again, 1);
                self.wake_pullers();
            }
            // From a life before: its source may be there, under its own name.
            None => self.pass_back(0, stream, number, verdict),
        }
    }

    /// Gives who pulls as many messages as it wants.
    async fn give(&self, index: usize, serial: u32, mut outgoing: Outgoing<'_>) -> LinkError {
        let Some(news) = self.news.get(index) else { return LinkError::Lost };
        let mut payload = vec![0; self.common.settings.size];
        loop {
            let given = self.state.get().and_then(|mut state| {
                let state = &mut *state;
                let peer = state.peers.get_mut(index).filter(|peer| peer.credit > 0)?;
                let (place, message, waited_us) = state.store.give(serial, self.common.now_us())?;
                peer.credit -= 1;
                let from = state.store.payload(place);
                if let Some(to) = payload.get_mut(..from.len()) {
                    to.copy_from_slice(from);
                }
                Some((message, waited_us))
            });
            let result = match given {
                Some((message, waited_us)) => {
                    if !message.is_again {
                        self.common.count(Figure::Sent, 1);
                    }
                    self.common.context.add_operation(Duration::from_micros(waited_us));
                    outgoing.send(&Frame::Message(message), payload.get(..message.len).unwrap_or_default()).await
                }
                None => outgoing.rest(news, None).await,
            };
            if let Err(error) = result {
                return error;
            }
        }
    }
}
