//! Requests over TCP: echoes, or HTTP, over a pool of connections that each have one under way.

use alloc::boxed::Box;
use core::cell::Cell;
use core::net::SocketAddr;

use embassy_futures::join::join;
use embassy_futures::select::{Either, select};
use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;
use embassy_sync::mutex::{Mutex, MutexGuard};
use embassy_sync::signal::Signal;
use embassy_time::{Duration, Instant, Timer, with_deadline, with_timeout};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use sockets::{SocketError, TcpSocket};

use super::http::Reader;
use super::pool::{CONNECTIONS_MAX, Order, Pool};
use super::schedule::Schedule;
use super::tally::{Event, Tally};
use super::{Protocol, Settings};
use crate::{Context, Failure};

/// Bytes of the sockets' rings.
const RING_LEN: usize = 4 << 10;
/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// How long to wait before trying again: at first, and at most.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

struct Generator<'a> {
    pool: Mutex<CriticalSectionRawMutex, Pool>,
    /// What a connection is to send.
    orders: [Signal<CriticalSectionRawMutex, Order>; CONNECTIONS_MAX],
    /// A request is to be tried again.
    failed: Signal<CriticalSectionRawMutex, ()>,
    /// Connections that were tried once.
    tried: Mutex<CriticalSectionRawMutex, Cell<usize>>,
    settings: &'a Settings<'a>,
    context: Context<'a>,
}

/// Sends what the schedule says until its end, and waits for the answers.
///
/// # Errors
///
/// When there are too few sockets.
pub(super) async fn run(
    settings: &Settings<'_>,
    schedule: &mut Schedule,
    context: Context<'_>,
) -> Result<(), Failure> {
    let generator = Box::new(Generator {
        pool: Mutex::new(Pool::new(context.now(), settings.timeout, settings.policy.clone(), settings.breaker)),
        orders: [const { Signal::new() }; CONNECTIONS_MAX],
        failed: Signal::new(),
        tried: Mutex::new(Cell::new(0)),
        settings,
        context,
    });
    let mut result = Ok(());
    {
        let generator = &*generator;
        let mut connections: FuturesUnordered<_> =
            (0..settings.connections).map(|index| generator.keep_connection(index)).collect();
        let failed = async {
            if let Some(Err(error)) = connections.next().await {
                result = Err(Failure::because(error));
            }
        };
        select(select(generator.offer(schedule), failed), join(generator.keep_time(), generator.try_again())).await;
    }
    generator.show(context.now(), Tally::finish);
    result
}

impl Generator<'_> {
    /// Returns the pool; nobody keeps it while others run.
    fn lock(&self) -> Option<MutexGuard<'_, CriticalSectionRawMutex, Pool>> {
        self.pool.try_lock().ok()
    }

    fn count(&self, event: Event) {
        if let Some(mut pool) = self.lock() {
            pool.tally.count(event);
        }
    }

    /// Sends requests on their way when they are due.
    async fn offer(&self, schedule: &mut Schedule) {
        // Making connections is not part of the first requests' latency.
        let is_ready = || self.tried.try_lock().is_ok_and(|tried| tried.get() >= self.settings.connections);
        while !is_ready() {
            self.context.sleep_until(self.context.now() + Duration::from_millis(10)).await;
        }
        let start = self.context.now();
        let mut since_pause = 0;
        while let Some(us) = schedule.next_us() {
            if self.settings.duration.is_some_and(|duration| us > duration.as_micros()) {
                break;
            }
            let due = start + Duration::from_micros(us);
            since_pause += 1;
            if due > self.context.now() {
                self.context.sleep_until(due).await;
                since_pause = 0;
            } else if since_pause == 32 {
                // Late: what is due goes out at once, but answers must come in, too.
                self.context.pause().await;
                since_pause = 0;
            }
            let order = self.lock().and_then(|mut pool| pool.offer(due, self.context.now()));
            self.pass_on(order);
        }
        // What is under way is waited for, for as long as it may take.
        while self.lock().is_some_and(|pool| pool.under_way() > 0) {
            self.context.sleep_until(self.context.now() + Duration::from_millis(10)).await;
        }
        if self.settings.duration.is_none() {
            // A rate of zero for ever: there is nothing to do but to be there.
            core::future::pending::<()>().await;
        }
    }

    fn pass_on(&self, order: Option<(usize, Order)>) {
        if let Some((connection, order)) = order
            && let Some(connection) = self.orders.get(connection)
        {
            connection.signal(order);
        }
    }

    /// Sends what has failed again, when its pause is over.
    async fn try_again(&self) {
        loop {
            match self.lock().and_then(|pool| pool.pause_end()) {
                Some(at) => {
                    select(self.failed.wait(), Timer::at(at)).await;
                }
                None => self.failed.wait().await,
            }
            while let Some(order) = self.lock().and_then(|mut pool| pool.resume(self.context.now())) {
                self.pass_on(Some(order));
            }
        }
    }

    async fn keep_time(&self) {
        loop {
            let now = self.context.now();
            // Nobody keeps the pool while others run.
            let next = self.lock().map_or(now, |pool| pool.tally.next_look(now));
            Timer::at(next).await;
            self.show(self.context.now(), Tally::show);
        }
    }

    /// Has `show` set the figures.
    fn show(&self, now: Instant, show: fn(&mut Tally, &Context<'_>, Instant, u64, u64)) {
        if let Some(mut pool) = self.lock() {
            pool.expire(now);
            let under_way = pool.under_way() as u64;
            let breaker = pool.breaker_state(now);
            show(&mut pool.tally, &self.context, now, under_way, breaker);
            self.context.progress();
        }
    }

    /// Keeps a connection and sends what is ordered on it.
    async fn keep_connection(&self, index: usize) -> Result<(), SocketError> {
        let Some(orders) = self.orders.get(index) else { return Ok(()) };
        let mut socket = TcpSocket::open(self.context.env().network(), RING_LEN, RING_LEN).await?;
        let mut reader = Box::new(Reader::new());
        let mut number = (index as u64) << 48;
        let mut wait = BACKOFF.0;
        let mut was_tried = false;
        loop {
            let is_connected = self.connect(&mut socket).await;
            if !core::mem::replace(&mut was_tried, true)
                && let Ok(tried) = self.tried.try_lock()
            {
                tried.set(tried.get() + 1);
            }
            if !is_connected {
                Timer::after(wait).await;
                wait = (wait * 2).min(BACKOFF.1);
                continue;
            }
            wait = BACKOFF.0;
            *reader = Reader::new();
            while self.send_one(index, orders, &mut socket, &mut reader, &mut number).await {}
        }
    }

    async fn connect(&self, socket: &mut TcpSocket) -> bool {
        let Some(peer) = self.resolve().await else {
            self.count(Event::Unreachable);
            return false;
        };
        let event = match with_timeout(CONNECT_TIMEOUT, socket.connect(peer)).await {
            Ok(Ok(())) => Event::Connected,
            Ok(Err(SocketError::NoRoute)) => Event::Unreachable,
            Ok(Err(_)) | Err(_) => Event::Refused,
        };
        self.count(event);
        event == Event::Connected
    }

    async fn resolve(&self) -> Option<SocketAddr> {
        let Settings { peer, port, .. } = self.settings;
        self.context.env().network().resolve_peer(peer, *port).await.ok()
    }

    /// Waits for a request, sends it and waits for its answer; returns whether the connection can have another.
    async fn send_one(
        &self,
        index: usize,
        orders: &Signal<CriticalSectionRawMutex, Order>,
        socket: &mut TcpSocket,
        reader: &mut Reader,
        number: &mut u64,
    ) -> bool {
        let waiting = self.lock().and_then(|mut pool| pool.take(index, self.context.now()));
        let order = match waiting {
            Some(order) => order,
            // A peer that closes a connection that has nothing to do does no harm, unless its turn has just come.
            None => match select(orders.wait(), socket.read_with(|_| (0, ()))).await {
                Either::First(order) => order,
                Either::Second(_) if self.lock().is_some_and(|mut pool| pool.withdraw(index)) => return false,
                Either::Second(_) => orders.wait().await,
            },
        };
        let request = order.request;
        self.count(Event::Sent);
        if request.tries > 0 {
            self.count(Event::Retried);
        }
        *number += 1;
        let exchange = async {
            match self.settings.protocol {
                Protocol::Http => get(socket, self.settings.request.as_bytes(), reader).await,
                _ => {
                    let result = echo(socket, self.settings.size, *number).await;
                    (result, result.is_ok())
                }
            }
        };
        let late = (Err(Event::TimedOut), false);
        let deadline = self.lock().map_or(request.due, |pool| pool.deadline(request, self.context.now()));
        let (result, is_open) = with_deadline(deadline, exchange).await.unwrap_or(late);
        let now = self.context.now();
        if let Some(mut pool) = self.lock() {
            pool.finish(order, now, result);
        }
        if result.is_ok() {
            self.context.add_operation(now.checked_duration_since(request.due).unwrap_or(Duration::MIN));
            self.context.add_bytes(self.settings.size as u64);
        } else {
            self.failed.signal(());
        }
        if !is_open {
            socket.abort();
        }
        is_open
    }
}

/// Sends `size` bytes that only this request has, and checks that they come back.
async fn echo(socket: &mut TcpSocket, size: usize, number: u64) -> Result<(), Event> {
    let (mut reader, mut writer) = socket.split();
    let send = async {
        let mut sent = 0;
        while sent < size {
            let put = writer.write_with(|room| {
                let len = room.len().min(size - sent);
                (0..len).zip(room).for_each(|(i, byte)| *byte = pattern(number, sent + i));
                (len, len)
            });
            sent += put.await.map_err(|_| Event::Lost)?;
        }
        Ok(())
    };
    let receive = async {
        let mut received = 0;
        while received < size {
            let took = reader.read_with(|bytes| {
                let len = bytes.len().min(size - received);
                let is_same = (0..len).zip(&*bytes).all(|(i, byte)| *byte == pattern(number, received + i));
                (len, is_same.then_some(len))
            });
            match took.await {
                Ok(Some(Some(len))) => received += len,
                Ok(Some(None)) => return Err(Event::BadAnswer),
                Ok(None) | Err(_) => return Err(Event::Lost),
            }
        }
        Ok(())
    };
    match join(send, receive).await {
        (Ok(()), Ok(())) => Ok(()),
        (_, Err(event)) | (Err(event), _) => Err(event),
    }
}

/// Returns the byte at `offset` of the request with this number: first the number itself.
pub(super) fn pattern(number: u64, offset: usize) -> u8 {
    match number.to_be_bytes().get(offset) {
        Some(byte) => *byte,
        None => (number as u8).wrapping_mul(31).wrapping_add(offset as u8),
    }
}

/// Sends a request and reads its answer; returns also whether the connection may be used again.
async fn get(socket: &mut TcpSocket, request: &[u8], reader: &mut Reader) -> (Result<(), Event>, bool) {
    if embedded_io_async::Write::write_all(socket, request).await.is_err() {
        return (Err(Event::Lost), false);
    }
    loop {
        let read = socket.read_with(|bytes| match reader.feed(bytes) {
            Ok((used, answer)) => (used, Ok(answer)),
            Err(fault) => (bytes.len(), Err(fault)),
        });
        match read.await {
            Ok(Some(Ok(None))) => {}
            Ok(Some(Ok(Some(answer)))) => {
                let result = if answer.status < 400 { Ok(()) } else { Err(Event::BadAnswer) };
                return (result, answer.keeps_alive);
            }
            Ok(Some(Err(_))) => return (Err(Event::BadAnswer), false),
            Ok(None) | Err(_) => return (Err(Event::Lost), false),
        }
    }
}
