//! The sink: counts what comes, and has the last word on every message.

use alloc::boxed::Box;
use alloc::collections::VecDeque;

use embassy_futures::select::{Either, Either3, select, select3};
use embassy_time::{Duration, Timer};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;

use super::clock::Clock;
use super::figures::Figure;
use super::link::{Incoming, LinkError, Lock, News, Outgoing, open, split, welcome};
use super::record::{Arrival, Record};
use super::wire::{Frame, Hello, Message, Refusal, Stage, Verdict, Want};
use super::{CLIENTS_MAX, Common};
use crate::Failure;
use crate::random::Random;
use crate::seat::{Seat, Seats};

/// Messages that may be sent on a connection before the first is answered.
const CREDIT: u32 = 64;
/// How often figures are set.
const TICK: Duration = Duration::from_millis(100);

/// What a connection is to be told.
#[derive(Default)]
struct Answers {
    verdicts: VecDeque<(u64, u64, Verdict)>,
    credit: u32,
}

struct Sink<'a> {
    common: &'a Common<'a>,
    seats: Seats,
    record: Lock<Record>,
    answers: Box<[Lock<Answers>]>,
    news: [News; CLIENTS_MAX],
    clock: Clock,
    random: Lock<Random>,
    link: u64,
}

/// Runs until it is stopped.
pub(super) async fn run(common: &Common<'_>) -> Result<(), Failure> {
    let settings = common.settings;
    let sink = Sink {
        common,
        seats: Seats::new(settings.clients),
        record: Lock::new(Record::new()),
        answers: (0..settings.clients).map(|_| Lock::new(Answers::default())).collect(),
        news: [const { News::new() }; CLIENTS_MAX],
        clock: Clock::new(&common.context),
        random: Lock::new(Random::new(settings.seed)),
        link: common.context.env().seed(),
    };
    let mut clients: FuturesUnordered<_> =
        sink.seats.iter().enumerate().map(|(index, seat)| sink.serve(index, seat)).collect();
    let keep_time = async {
        loop {
            if let Some(record) = sink.record.get() {
                common.context.set(Figure::Missing as usize, record.missing());
            }
            common.context.progress();
            Timer::after(TICK).await;
        }
    };
    let keep_house = select(keep_time, sink.seats.watch());
    match select3(clients.next(), keep_house, sink.clock.keep(&common.context)).await {
        Either3::First(Some(failure)) => Err(failure),
        Either3::First(None) => Ok(()),
        Either3::Second(Either::First(never)) => never,
        Either3::Second(Either::Second(never)) => match never {},
        Either3::Third(never) => match never {},
    }
}

impl Sink<'_> {
    /// Serves one connection after the other; returns why it can't.
    async fn serve(&self, index: usize, seat: &Seat) -> Failure {
        let common = self.common;
        let settings = common.settings;
        let mut socket = match open(common).await {
            Ok(socket) => socket,
            Err(failure) => return failure,
        };
        let refuse = |hello: &Hello| match hello.want {
            Want::Pull => Some(Refusal::Direction),
            Want::Push => (hello.len_max as usize > settings.size).then_some(Refusal::TooLong),
        };
        loop {
            match self.seats.offer(socket.accept(settings.port)).await {
                Ok(()) => {}
                Err(error @ (sockets::SocketError::PortInUse | sockets::SocketError::NoRoute)) => {
                    return Failure::because(error);
                }
                Err(_) => continue,
            }
            let hello = Hello { credit: CREDIT, ..Stage::Sink.hello(settings, Want::Pull, self.link) };
            let Some(peer) = welcome(seat, &mut socket, settings, hello, refuse).await else {
                common.count(Figure::Refused, 1);
                continue;
            };
            common.count(Figure::Connects, 1);
            common.connected();
            if let Some(mut answers) = self.answers.get(index).and_then(Lock::get) {
                *answers = Answers::default();
            }
            let (incoming, outgoing) = split(&mut socket, settings, &peer);
            let ended = select(self.take(index, incoming), self.tell(index, outgoing)).await;
            socket.abort();
            common.ended(match ended {
                Either::First(error) | Either::Second(error) => error,
            });
        }
    }

    async fn take(&self, index: usize, mut incoming: Incoming<'_>) -> LinkError {
        // One more may be under way than was answered: the peer never has more.
        loop {
            let message = match incoming.frame().await {
                Ok(Frame::Message(message)) => message,
                Ok(Frame::Ping) => continue,
                Ok(_) => return LinkError::Unexpected,
                Err(error) => return error,
            };
            if message.len > self.common.settings.size {
                return LinkError::Unexpected;
            }
            let is_whole = match incoming.payload(message.len, |_, _| ()).await {
                Ok(checksum) => checksum == message.checksum,
                Err(error) => return error,
            };
            if !message.is_question && !self.common.settings.time.is_zero() {
                let us = self.random.get().map_or(0, |mut random| self.common.settings.time.draw(&mut random));
                self.common.context.attend(Timer::after_micros(us)).await;
            }
            let verdict = if is_whole { self.record(&message) } else { Some(self.corrupted()) };
            let Some(verdict) = verdict else { return LinkError::Unexpected };
            if let Some(mut answers) = self.answers.get(index).and_then(Lock::get) {
                answers.verdicts.push_back((message.stream, message.number, verdict));
                answers.credit += 1;
                // Who does not read its answers gets no more to read.
                if answers.verdicts.len() > 2 * CREDIT as usize {
                    return LinkError::Unexpected;
                }
            }
            if let Some(news) = self.news.get(index) {
                news.signal(());
            }
        }
    }

    fn corrupted(&self) -> Verdict {
        self.common.count(Figure::Corrupted, 1);
        self.common.context.add_errors(1);
        Verdict::Corrupted
    }

    /// Counts a message and judges it; `None` if it is impossible.
    fn record(&self, message: &Message) -> Option<Verdict> {
        let arrival = self.record.get()?.record(message);
        let common = self.common;
        if !message.is_question {
            common.count(Figure::Received, 1);
            common.context.add_bytes(message.len as u64);
        }
        match arrival {
            Arrival::New { is_reordered } => {
                common.count(Figure::Delivered, 1);
                common.count(Figure::Reordered, u64::from(is_reordered));
                match self.clock.latency(message, common.context.now()) {
                    Some(latency) => {
                        common.context.add_operation(Duration::from_micros(latency.us));
                        common.context.set(Figure::Uncertainty as usize, latency.uncertainty_us);
                    }
                    None => common.count(Figure::Untimed, 1),
                }
            }
            Arrival::Duplicate => common.count(Figure::Duplicates, 1),
            Arrival::Late => common.count(Figure::Late, 1),
            Arrival::GivenUp => {
                common.count(Figure::Lost, 1);
                common.context.add_errors(1);
            }
            Arrival::Known | Arrival::Gone | Arrival::Impossible => {}
        }
        arrival.verdict()
    }

    async fn tell(&self, index: usize, mut outgoing: Outgoing<'_>) -> LinkError {
        let (Some(news), Some(answers)) = (self.news.get(index), self.answers.get(index)) else { return LinkError::Lost };
        loop {
            let frame = answers.get().and_then(|mut answers| match answers.verdicts.pop_front() {
                Some((stream, number, verdict)) => Some(Frame::Verdict { stream, number, verdict }),
                None => Some(core::mem::take(&mut answers.credit)).filter(|credit| *credit > 0).map(Frame::Credit),
            });
            let result = match frame {
                Some(frame) => outgoing.send(&frame, &[]).await,
                None => outgoing.rest(news, None).await,
            };
            if let Err(error) = result {
                return error;
            }
        }
    }
}
