//! The worker: fetches messages, takes its time over each, and passes them on. What it has not passed on when a connection
//! breaks it forgets: the queue has it still.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec;
use alloc::vec::Vec;

use embassy_futures::select::{Either, select};
use embassy_time::{Duration, Timer};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;

use super::figures::Figure;
use super::link::{Caller, Incoming, LinkError, Lock, News, Outgoing, split};
use super::wire::{Frame, Message, Stage, Verdict, Want};
use super::{Common, QUEUE_PORT, SINK_PORT};
use crate::Failure;
use crate::random::Random;

/// How often figures are set.
const TICK: Duration = Duration::from_millis(100);

/// A message that is here.
struct Place {
    message: Message,
    payload: Box<[u8]>,
}

struct State {
    free: Vec<Place>,
    /// Messages to be worked at, in order.
    inbox: VecDeque<Place>,
    /// Messages that were passed on, and of which nothing was heard yet.
    passed: Vec<(u64, u64)>,
    /// What the queue is to be told.
    verdicts: VecDeque<(u64, u64, Verdict)>,
    /// Places that are free and of which the queue does not know yet.
    owed: u32,
    /// Messages that the next stage takes.
    credit: u32,
    /// Counts connections to the queue.
    pulls: u32,
}

/// One message at a time, with connections of its own.
struct Lane<'a> {
    common: &'a Common<'a>,
    state: Lock<State>,
    /// For who tells the queue, and for who works.
    to_queue: News,
    to_work: News,
    random: Lock<Random>,
    link: u64,
}

/// Runs until it is stopped.
pub(super) async fn run(common: &Common<'_>) -> Result<(), Failure> {
    let settings = common.settings;
    let lanes: Vec<_> = (0..settings.connections).map(|index| Lane::new(common, index)).collect();
    let mut working: FuturesUnordered<_> = lanes.iter().map(Lane::run).collect();
    let keep_time = async {
        loop {
            let in_hand = |lane: &Lane<'_>| lane.state.get().map_or(0, |state| state.places_used());
            common.set(Figure::InFlight, lanes.iter().map(in_hand).sum());
            common.context.progress();
            Timer::after(TICK).await;
        }
    };
    match select(working.next(), keep_time).await {
        Either::First(Some(failure)) => Err(failure),
        Either::First(None) => Ok(()),
        Either::Second(never) => never,
    }
}

impl State {
    fn places_used(&self) -> usize {
        self.inbox.len() + self.passed.len()
    }
}

impl<'a> Lane<'a> {
    fn new(common: &'a Common<'a>, index: usize) -> Self {
        let settings = common.settings;
        let place = || Place { message: Message::default(), payload: vec![0; settings.size].into_boxed_slice() };
        let state = State {
            free: (0..=settings.prefetch).map(|_| place()).collect(),
            inbox: VecDeque::new(),
            passed: Vec::new(),
            verdicts: VecDeque::new(),
            owed: 0,
            credit: 0,
            pulls: 0,
        };
        Self {
            common,
            state: Lock::new(state),
            to_queue: News::new(),
            to_work: News::new(),
            random: Lock::new(Random::new(settings.seed.wrapping_add(index as u64))),
            link: common.context.env().seed(),
        }
    }

    /// Works; returns why it can't.
    async fn run(&self) -> Failure {
        match select(self.keep_pulling(), self.keep_pushing()).await {
            Either::First(failure) | Either::Second(failure) => failure,
        }
    }

    // ---- The queue ----

    async fn keep_pulling(&self) -> Failure {
        let common = self.common;
        let hello = Stage::Worker.hello(common.settings, Want::Pull, self.link);
        let mut caller = Caller::new(common, common.settings.from, QUEUE_PORT, hello);
        let mut socket = match caller.open().await {
            Ok(socket) => socket,
            Err(failure) => return failure,
        };
        loop {
            let credit = self.state.get().map_or(0, |mut state| {
                state.owed = 0;
                u32::try_from(state.free.len()).unwrap_or(0)
            });
            let peer = match caller.connect(&mut socket, credit).await {
                Ok(peer) => peer,
                Err(failure) => return failure,
            };
            common.connected();
            let (incoming, outgoing) = split(&mut socket, common.settings, &peer);
            let ended = select(self.fetch(incoming), self.tell(outgoing)).await;
            socket.abort();
            common.ended(match ended {
                Either::First(error) | Either::Second(error) => error,
            });
            if let Some(mut state) = self.state.get() {
                state.pulls += 1;
                let State { free, inbox, .. } = &mut *state;
                free.extend(inbox.drain(..));
            }
        }
    }

    async fn fetch(&self, mut incoming: Incoming<'_>) -> LinkError {
        loop {
            let result = match incoming.frame().await {
                Ok(Frame::Message(message)) => self.fetch_one(message, &mut incoming).await,
                Ok(Frame::Ping) => Ok(()),
                Ok(_) => Err(LinkError::Unexpected),
                Err(error) => Err(error),
            };
            if let Err(error) = result {
                return error;
            }
        }
    }

    async fn fetch_one(&self, message: Message, incoming: &mut Incoming<'_>) -> Result<(), LinkError> {
        let place = self.state.get().and_then(|mut state| state.free.pop());
        // More than it was told that there is room for.
        let mut held = Held { lane: self, place: Some(place.ok_or(LinkError::Unexpected)?), verdict: None, owes: false };
        let Some(place) = &mut held.place else { return Err(LinkError::Unexpected) };
        place.message = message;
        let checksum = if message.len <= place.payload.len() {
            let payload = incoming.payload(message.len, |at, piece| {
                if let Some(room) = place.payload.get_mut(at..at + piece.len()) {
                    room.copy_from_slice(piece);
                }
            });
            payload.await
        } else {
            Err(LinkError::Unexpected)
        };
        if checksum? == message.checksum {
            self.common.count(Figure::Received, 1);
            if let (Some(place), Some(mut state)) = (held.place.take(), self.state.get()) {
                state.inbox.push_back(place);
            }
            self.to_work.signal(());
            return Ok(());
        }
        self.common.count(Figure::Corrupted, 1);
        self.common.context.add_errors(1);
        (held.verdict, held.owes) = (Some(Verdict::Corrupted), true);
        Ok(())
    }

    async fn tell(&self, mut outgoing: Outgoing<'_>) -> LinkError {
        loop {
            let frame = self.state.get().and_then(|mut state| match state.verdicts.pop_front() {
                Some((stream, number, verdict)) => Some(Frame::Verdict { stream, number, verdict }),
                None => Some(core::mem::take(&mut state.owed)).filter(|owed| *owed > 0).map(Frame::Credit),
            });
            let result = match frame {
                Some(frame) => outgoing.send(&frame, &[]).await,
                None => outgoing.rest(&self.to_queue, None).await,
            };
            if let Err(error) = result {
                return error;
            }
        }
    }

    // ---- The next stage ----

    async fn keep_pushing(&self) -> Failure {
        let common = self.common;
        let hello = Stage::Worker.hello(common.settings, Want::Push, self.link);
        let mut caller = Caller::new(common, common.settings.to, SINK_PORT, hello);
        let mut socket = match caller.open().await {
            Ok(socket) => socket,
            Err(failure) => return failure,
        };
        loop {
            let peer = match caller.connect(&mut socket, 0).await {
                Ok(peer) => peer,
                Err(failure) => return failure,
            };
            common.connected();
            if let Some(mut state) = self.state.get() {
                state.credit = peer.credit;
            }
            let (incoming, outgoing) = split(&mut socket, common.settings, &peer);
            let ended = select(self.hear(incoming), self.work(outgoing)).await;
            socket.abort();
            common.ended(match ended {
                Either::First(error) | Either::Second(error) => error,
            });
            // Nobody knows whether it has come: the queue decides what that means.
            if let Some(mut state) = self.state.get() {
                let State { passed, verdicts, .. } = &mut *state;
                verdicts.extend(passed.drain(..).map(|(stream, number)| (stream, number, Verdict::Connection)));
            }
            self.to_queue.signal(());
        }
    }

    async fn hear(&self, mut incoming: Incoming<'_>) -> LinkError {
        loop {
            let frame = match incoming.frame().await {
                Ok(frame) => frame,
                Err(error) => return error,
            };
            let Some(mut state) = self.state.get() else { return LinkError::Unexpected };
            match frame {
                Frame::Ping => {}
                Frame::Credit(more) => {
                    state.credit = state.credit.saturating_add(more);
                    self.to_work.signal(());
                }
                Frame::Verdict { stream, number, verdict } => {
                    if let Some(place) = state.passed.iter().position(|passed| *passed == (stream, number)) {
                        state.passed.swap_remove(place);
                        state.verdicts.push_back((stream, number, verdict));
                        if verdict == Verdict::Delivered {
                            self.common.count(Figure::Delivered, 1);
                        }
                        self.to_queue.signal(());
                    }
                }
                Frame::Message(_) => return LinkError::Unexpected,
            }
        }
    }

    /// Takes one message after the other, works at it, and passes it on.
    async fn work(&self, mut outgoing: Outgoing<'_>) -> LinkError {
        loop {
            let taken = self.state.get().and_then(|mut state| {
                if state.credit == 0 {
                    return None;
                }
                let place = state.inbox.pop_front()?;
                Some((place, state.pulls))
            });
            let Some((place, pulls)) = taken else {
                match outgoing.rest(&self.to_work, None).await {
                    Ok(()) => continue,
                    Err(error) => return error,
                }
            };
            // Gives the message back if this ends in the middle of it.
            let mut at_work =
                Held { lane: self, place: Some(place), verdict: Some(Verdict::Connection), owes: true };
            if let Err(error) = self.work_at(&mut at_work, pulls, &mut outgoing).await {
                return error;
            }
        }
    }

    async fn work_at(&self, at_work: &mut Held<'_, 'a>, pulls: u32, outgoing: &mut Outgoing<'_>) -> Result<(), LinkError> {
        let Some(place) = &at_work.place else { return Ok(()) };
        let message = place.message;
        let begin = self.common.context.now();
        if !message.is_question {
            let us = self.random.get().map_or(0, |mut random| self.common.settings.time.draw(&mut random));
            let end = begin + Duration::from_micros(us);
            while self.common.context.now() < end {
                outgoing.rest(&News::new(), Some(end)).await?;
            }
        }
        {
            let mut state = self.state.get().ok_or(LinkError::Unexpected)?;
            if state.pulls != pulls {
                // The queue has given it to somebody else by now.
                at_work.verdict = None;
                return Ok(());
            }
            state.credit = state.credit.saturating_sub(1);
            state.passed.push((message.stream, message.number));
            at_work.verdict = None;
        }
        self.common.count(if message.is_again { Figure::Again } else { Figure::Sent }, 1);
        self.common.context.add_bytes(message.len as u64);
        let payload = place.payload.get(..message.len).unwrap_or_default();
        outgoing.send(&Frame::Message(message), payload).await?;
        self.common.context.add_operation(self.common.context.now() - begin);
        Ok(())
    }
}

/// A message that is being fetched, or worked at. When this is dropped its place is free.
struct Held<'l, 'a> {
    lane: &'l Lane<'a>,
    place: Option<Place>,
    /// What the queue is to be told then.
    verdict: Option<Verdict>,
    /// The queue does not know yet that the place is free.
    owes: bool,
}

impl Drop for Held<'_, '_> {
    fn drop(&mut self) {
        let (Some(place), Some(mut state)) = (self.place.take(), self.lane.state.get()) else { return };
        if let Some(verdict) = self.verdict {
            state.verdicts.push_back((place.message.stream, place.message.number, verdict));
        }
        state.free.push(place);
        state.owed += u32::from(self.owes);
        self.lane.to_queue.signal(());
    }
}
