//! The source: makes messages when they are due, and keeps the book.

use alloc::vec;

use embassy_futures::select::{Either, Either3, select, select3};
use embassy_time::{Duration, Instant};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;

use super::clock::Clock;
use super::figures::Figure;
use super::ledger::{End, Ledger};
use super::link::{Caller, Incoming, LinkError, Lock, News, Outgoing, split};
use super::wire::{self, Frame, Message, Stage, Verdict, Want};
use super::{CONNECTIONS_MAX, Common, QUEUE_PORT};
use crate::Failure;
use crate::builtin::load::schedule::Schedule;

/// How often figures are set.
const TICK: Duration = Duration::from_millis(100);

struct State<'a> {
    ledger: Ledger,
    schedule: &'a mut Schedule,
    /// When the next message is due; `None` when there will be no more.
    due: Option<Instant>,
    begin: Instant,
    /// Messages that may be sent on each connection.
    credit: [u32; CONNECTIONS_MAX],
}

struct Source<'a> {
    common: &'a Common<'a>,
    state: Lock<State<'a>>,
    news: [News; CONNECTIONS_MAX],
    clock: Clock,
    stream: u64,
}

/// What a connection is to do.
enum Next {
    Send(Message),
    /// Nothing, until then if nothing comes in between.
    Rest(Option<Instant>),
}

/// Runs until every message that was asked for has come to its end.
pub(super) async fn run(common: &Common<'_>, schedule: &mut Schedule) -> Result<(), Failure> {
    let settings = common.settings;
    let begin = common.context.now();
    // At most once, a message that is only slow gets the time to come before it is asked about.
    let patience_us = if settings.is_at_least_once { 0 } else { settings.timeout.as_micros() };
    let mut state = State {
        ledger: Ledger::new(settings.window, patience_us),
        schedule,
        due: None,
        begin,
        credit: [0; CONNECTIONS_MAX],
    };
    state.plan_next(common);
    let source = Source {
        common,
        state: Lock::new(state),
        news: [const { News::new() }; CONNECTIONS_MAX],
        clock: Clock::new(&common.context),
        // Never the same again, so that a source that has been started anew is another one.
        stream: common.context.env().seed(),
    };
    let mut connections: FuturesUnordered<_> = (0..settings.connections).map(|index| source.keep(index)).collect();
    let result = match select3(connections.next(), source.watch(), source.clock.keep(&common.context)).await {
        Either3::First(Some(failure)) => Err(failure),
        _ => Ok(()),
    };
    source.show();
    result
}

impl State<'_> {
    fn plan_next(&mut self, common: &Common<'_>) {
        let settings = common.settings;
        let is_over = settings.count.is_some_and(|count| self.ledger.issued() >= count);
        self.due = (!is_over)
            .then(|| self.schedule.next_us())
            .flatten()
            .filter(|us| settings.duration.is_none_or(|duration| *us <= duration.as_micros()))
            .map(|us| self.begin + Duration::from_micros(us));
    }
}

impl Source<'_> {
    /// Waits for the end of everything.
    async fn watch(&self) {
        loop {
            let is_done = self.state.get().is_some_and(|state| state.due.is_none() && state.ledger.unsettled() == 0);
            // Without a count or a duration, no rate means to be there and send nothing.
            let has_end = self.common.settings.count.is_some() || self.common.settings.duration.is_some();
            if is_done && has_end {
                return;
            }
            self.show();
            self.common.context.sleep_until(self.common.context.now() + TICK).await;
        }
    }

    fn show(&self) {
        let Some(state) = self.state.get() else { return };
        self.common.set(Figure::InFlight, state.ledger.unsettled());
        // The schedule is the same again for whoever looks ahead.
        let mut ahead = state.schedule.clone();
        let now = self.common.context.now();
        let limit = self.common.settings.count.map_or(u64::MAX, |count| count - state.ledger.issued());
        let mut backlog = usize::from(state.due.is_some_and(|due| due <= now));
        // Counted to a thousand: more says no more, and costs time.
        while backlog > 0 && backlog < 1000 && (backlog as u64) < limit {
            match ahead.next_us() {
                Some(us) if state.begin + Duration::from_micros(us) <= now => backlog += 1,
                _ => break,
            }
        }
        self.common.set(Figure::Backlog, backlog);
    }

    /// Keeps a connection; returns why it can't.
    async fn keep(&self, index: usize) -> Failure {
        let common = self.common;
        let hello = Stage::Source.hello(common.settings, Want::Push, self.stream);
        let mut caller = Caller::new(common, common.settings.to, QUEUE_PORT, hello);
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
            self.add_credit(index, peer.credit);
            let error = self.converse(index, split(&mut socket, common.settings, &peer)).await;
            socket.abort();
            common.ended(error);
            if let Some(mut state) = self.state.get() {
                if let Some(credit) = state.credit.get_mut(index) {
                    *credit = 0;
                }
                state.ledger.lose_connection(index as u8, common.now_us());
            }
            // Others may have a connection.
            self.news.iter().for_each(|news| news.signal(()));
        }
    }

    fn add_credit(&self, index: usize, more: u32) {
        if let Some(mut state) = self.state.get()
            && let Some(credit) = state.credit.get_mut(index)
        {
            *credit = credit.saturating_add(more);
        }
    }

    async fn converse(&self, index: usize, (incoming, outgoing): (Incoming<'_>, Outgoing<'_>)) -> LinkError {
        let ended = match select(self.listen(index, incoming), self.talk(index, outgoing)).await {
            Either::First(ended) | Either::Second(ended) => ended,
        };
        ended.err().unwrap_or(LinkError::Lost)
    }

    async fn listen(&self, index: usize, mut incoming: Incoming<'_>) -> Result<(), LinkError> {
        loop {
            match incoming.frame().await? {
                Frame::Ping => continue,
                Frame::Credit(more) => self.add_credit(index, more),
                Frame::Verdict { stream, number, verdict } if stream == self.stream => self.settle(number, verdict),
                // Of a source that was here before.
                Frame::Verdict { .. } => continue,
                Frame::Message(_) => return Err(LinkError::Unexpected),
            }
            // Any of the connections may have waited for room in the window.
            self.news.iter().for_each(|news| news.signal(()));
        }
    }

    fn settle(&self, number: u64, verdict: Verdict) {
        let now = self.common.context.now();
        let end = self.state.get().and_then(|mut state| state.ledger.settle(number, verdict, now.as_micros()));
        match end {
            Some(End::Delivered { due_us }) => {
                self.common.count(Figure::Delivered, 1);
                self.common.context.add_operation(Duration::from_micros(now.as_micros().saturating_sub(due_us)));
            }
            Some(End::Lost(reason)) => {
                self.common.count(Figure::Lost, 1);
                self.common.count(
                    match reason {
                        Verdict::Worker => Figure::LostWorker,
                        Verdict::Corrupted => Figure::LostCorrupted,
                        _ => Figure::LostConnection,
                    },
                    1,
                );
                self.common.context.add_errors(1);
            }
            None => {}
        }
    }

    async fn talk(&self, index: usize, mut outgoing: Outgoing<'_>) -> Result<(), LinkError> {
        let Some(news) = self.news.get(index) else { return Ok(()) };
        let mut payload = vec![0; self.common.settings.size];
        loop {
            match self.next(index) {
                Next::Rest(until) => outgoing.rest(news, until).await?,
                Next::Send(mut message) => {
                    if message.is_question {
                        message.len = 0;
                    }
                    let payload = payload.get_mut(..message.len).unwrap_or_default();
                    fill(payload, message.number);
                    message.checksum = wire::checksum(payload);
                    outgoing.send(&Frame::Message(message), payload).await?;
                    self.common.context.add_bytes(payload.len() as u64);
                }
            }
        }
    }

    /// Decides what is to be sent: first what is in doubt, then what is due.
    fn next(&self, index: usize) -> Next {
        let Some(mut state) = self.state.get() else { return Next::Rest(None) };
        let state = &mut *state;
        let settings = self.common.settings;
        let now = self.common.context.now();
        let Some(credit) = state.credit.get_mut(index).filter(|credit| **credit > 0) else { return Next::Rest(None) };
        let connection = index as u8;
        let (number, due, is_again) = if let Some((number, due_us)) = state.ledger.take_doubt(connection, now.as_micros()) {
            (number, Instant::from_micros(due_us), true)
        } else {
            let doubt = state.ledger.next_doubt_us().map(Instant::from_micros);
            let Some(due) = state.due.filter(|_| state.ledger.has_room()) else { return Next::Rest(doubt) };
            if due > now {
                return Next::Rest(Some(doubt.map_or(due, |doubt| doubt.min(due))));
            }
            let Some(number) = state.ledger.issue(due.as_micros(), connection) else { return Next::Rest(doubt) };
            (number, due, false)
        };
        *credit -= 1;
        let mut message = Message {
            stream: self.stream,
            number,
            base: state.ledger.base(),
            len: settings.size,
            is_at_least_once: settings.is_at_least_once,
            is_again,
            is_question: is_again && !settings.is_at_least_once,
            ..Message::default()
        };
        self.clock.stamp(&mut message, due);
        let figure = match (is_again, message.is_question) {
            (false, _) => Figure::Sent,
            (true, false) => Figure::Again,
            (true, true) => Figure::Questions,
        };
        self.common.count(figure, 1);
        if !is_again {
            state.plan_next(self.common);
        }
        Next::Send(message)
    }
}

/// Fills a payload with what only the message of this number has: first the number itself.
fn fill(payload: &mut [u8], number: u64) {
    let tail = (number as u8).wrapping_mul(31);
    for (at, byte) in payload.iter_mut().enumerate() {
        *byte = number.to_be_bytes().get(at).copied().unwrap_or(tail.wrapping_add(at as u8));
    }
}
