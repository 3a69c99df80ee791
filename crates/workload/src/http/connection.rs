//! One connection after the other, and on each one request after the other.

use core::hint::black_box;

use alloc::sync::Arc;
use embassy_sync::blocking_mutex::Mutex;
use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;
use embassy_time::{Duration, Instant, Timer};
use sockets::{SocketError, TcpSocket};

use core::cell::RefCell;
use core::sync::atomic::{AtomicU32, Ordering};

use super::gate::{Full, Gate};
use super::reply::{Body, CONTINUE, Fate, Reply, Status};
use super::request::{Parsed, Request, parse};
use crate::builtin::cpu::Blocks;
use crate::builtin::http::figure;
use crate::context::{Context, Failure};
use crate::distribution::Distribution;
use crate::random::Random;
use crate::seat::{End, Pace, Seat, Seats, TRANSFER, Wait, slowest};

/// Longest head of a request. nginx and Apache take 8 KiB, for cookies; nobody has those for us.
pub(crate) const HEAD_LEN_MAX: usize = 4096;
/// Received bytes that a socket holds.
const RX_LEN: usize = 2048;
/// Bytes to be sent that a socket holds: enough for many small replies to be under way.
const TX_LEN: usize = 8192;
/// How long a connection may be without a request.
const IDLE: Duration = Duration::from_secs(15);
/// How long the head of a request may take from its first byte.
const HEAD: Duration = Duration::from_secs(5);
/// How long to wait for the client to hang up, so that it gets the last reply.
const FAREWELL: Duration = Duration::from_secs(2);
/// Steps of a block of work: as in the cpu workload.
const STEPS: u32 = 2_000;
/// How long to work before others may.
const SLICE: Duration = Duration::from_millis(1);

/// What is asked of the server.
pub(crate) struct Settings {
    pub(crate) delay: Distribution,
    pub(crate) body: Body,
    /// How many requests in a million fail.
    pub(crate) failing: u64,
    /// Blocks of work for each request.
    pub(crate) blocks: u64,
}

/// What all seats of a core share.
pub(crate) struct Server<'a> {
    pub(crate) context: Context<'a>,
    pub(crate) port: u16,
    pub(crate) gate: Gate,
    pub(crate) seats: Seats,
    settings: Mutex<CriticalSectionRawMutex, RefCell<Arc<Settings>>>,
    /// Changes with the settings.
    edition: AtomicU32,
    /// What a block of work gives.
    expected: Blocks,
    /// Bodies of replies that are not asked for.
    nothing: Body,
}

impl<'a> Server<'a> {
    pub(crate) fn new(context: Context<'a>, port: u16, seats: usize, settings: Settings) -> Self {
        Self {
            context,
            port,
            gate: Gate::new(0, 0),
            seats: Seats::new(seats),
            settings: Mutex::new(RefCell::new(Arc::new(settings))),
            edition: AtomicU32::new(0),
            expected: Blocks::expected(STEPS),
            nothing: Body::new(0),
        }
    }

    /// Changes the settings for all requests to come.
    pub(crate) fn change(&self, settings: Settings) {
        self.settings.lock(|current| *current.borrow_mut() = Arc::new(settings));
        // Relaxed: only this core looks at it.
        self.edition.fetch_add(1, Ordering::Relaxed);
    }

    fn settings(&self) -> (u32, Arc<Settings>) {
        let edition = self.edition.load(Ordering::Relaxed);
        (edition, self.settings.lock(|current| Arc::clone(&current.borrow())))
    }

    /// Serves clients on one seat, for ever.
    ///
    /// # Errors
    ///
    /// When the node has no socket for it, or the port belongs to another service.
    pub(crate) async fn serve(&self, seat: &Seat, random: Random) -> Result<(), Failure> {
        let mut socket =
            TcpSocket::open(self.context.env().network(), RX_LEN, TX_LEN).await.map_err(Failure::because)?;
        let (edition, settings) = self.settings();
        let mut client = Client {
            server: self,
            seat,
            edition,
            settings,
            random,
            inbox: [0; HEAD_LEN_MAX],
            start: 0,
            end: 0,
            is_new: true,
        };
        loop {
            match self.seats.offer(socket.accept(self.port)).await {
                Ok(()) => client.meet(&mut socket).await,
                Err(error @ (SocketError::PortInUse | SocketError::NoRoute | SocketError::NoPlace)) => {
                    return Err(Failure::because(format_args!("port {}: {error}", self.port)));
                }
                // It was gone before we saw it.
                Err(_) => embassy_futures::yield_now().await,
            }
        }
    }
}

/// A seat's side of a connection.
struct Client<'s, 'a> {
    server: &'s Server<'a>,
    seat: &'s Seat,
    edition: u32,
    settings: Arc<Settings>,
    random: Random,
    /// Bytes that were received: those from `start` to `end` are not used up.
    inbox: [u8; HEAD_LEN_MAX],
    start: usize,
    end: usize,
    /// The client has not asked for anything yet.
    is_new: bool,
}

/// Why a connection ends.
enum Farewell {
    /// All is said.
    Done,
    /// The client is to be told this.
    Because(Status),
    /// Somebody else needs the seat.
    Unseated,
    /// There is nobody to tell.
    Gone,
}

impl From<End> for Farewell {
    fn from(_: End) -> Self {
        Self::Gone
    }
}

impl Client<'_, '_> {
    /// Serves a client that has just connected, until it leaves or has to.
    async fn meet(&mut self, socket: &mut TcpSocket) {
        let context = &self.server.context;
        context.count(figure::CONNECTIONS_TOTAL, 1);
        let _open = Gauge::up(context, figure::CONNECTIONS);
        (self.start, self.end, self.is_new) = (0, 0, true);
        let farewell = match self.serve(socket).await {
            Ok(()) => Farewell::Done,
            Err(farewell) => farewell,
        };
        if let Farewell::Because(status) = farewell {
            context.count(if status == Status::Timeout { figure::LATE } else { figure::REFUSED }, 1);
            context.add_errors(1);
            let nothing = &self.server.nothing;
            let mut reply = Reply::new(status, nothing, Fate::Ends, false);
            if self.send(socket, &mut reply).await.is_err() {
                return socket.abort();
            }
        }
        match farewell {
            Farewell::Gone => socket.abort(),
            // Its time of grace is over already.
            Farewell::Unseated => self.part(socket, Wait::Stalled(Instant::now())).await,
            Farewell::Done | Farewell::Because(_) => {
                self.seat.leave(self.part(socket, Wait::Idle(Instant::now()))).await;
            }
        }
    }

    /// Answers requests until the connection is to end.
    async fn serve(&mut self, socket: &mut TcpSocket) -> Result<(), Farewell> {
        while let Some(request) = self.next_request(socket).await? {
            let began = Instant::now();
            if self.edition != self.server.edition.load(Ordering::Relaxed) {
                (self.edition, self.settings) = self.server.settings();
            }
            self.skip_body(socket, &request).await?;
            let status = self.process().await;
            let context = &self.server.context;
            let fate = match request {
                Request { keeps_alive: false, .. } => Fate::Ends,
                Request { is_1_0: true, .. } => Fate::IsKept,
                _ => Fate::Stays,
            };
            let settings = Arc::clone(&self.settings);
            let body = if status == Status::Ok { &settings.body } else { &self.server.nothing };
            let mut reply = Reply::new(status, body, fate, request.is_head);
            self.send(socket, &mut reply).await?;
            context.add_bytes(reply.len() as u64);
            context.add_operation(began.elapsed());
            if !request.keeps_alive {
                break;
            }
        }
        Ok(())
    }

    /// Receives the head of the next request; `None` when the client has said good-bye instead, or was idle for too long.
    async fn next_request(&mut self, socket: &mut TcpSocket) -> Result<Option<Request>, Farewell> {
        let mut deadline = None;
        // Since when the first byte, or the rest of the request, is awaited.
        let mut since = None;
        loop {
            let bytes = self.inbox.get(self.start..self.end).unwrap_or_default();
            if !bytes.is_empty() {
                match parse(bytes) {
                    Parsed::Request(request, len) => {
                        self.start += len;
                        self.is_new = false;
                        return Ok(Some(request));
                    }
                    Parsed::Bad(status) => return Err(Farewell::Because(status)),
                    Parsed::Partial if bytes.len() == HEAD_LEN_MAX => {
                        return Err(Farewell::Because(Status::HeadTooLarge));
                    }
                    Parsed::Partial => {}
                }
            }
            self.inbox.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
            let is_begun = self.end > 0;
            let now = Instant::now();
            let limit = if is_begun {
                // From the first byte on, whatever came since.
                *deadline.get_or_insert(now + HEAD)
            } else {
                now + IDLE
            };
            let wait = if is_begun || self.is_new { Wait::Stalled(*since.get_or_insert(now)) } else { Wait::Idle(now) };
            let room = self.inbox.get_mut(self.end..).unwrap_or_default();
            let read = socket.read_with(|bytes| copy(bytes, room));
            match self.seat.wait(limit, wait, read).await {
                Ok(Some(len)) => self.end += len,
                Ok(None) if is_begun => return Err(Farewell::Because(Status::BadRequest)),
                Ok(None) => return Ok(None),
                Err(End::Late) if is_begun => return Err(Farewell::Because(Status::Timeout)),
                Err(End::Late) => return Ok(None),
                Err(End::Unseated) => {
                    self.server.context.count(figure::UNSEATED, 1);
                    return Err(if matches!(wait, Wait::Idle(_)) { Farewell::Unseated } else { Farewell::Gone });
                }
                Err(End::Lost) => return Err(self.lost()),
            }
        }
    }

    /// Reads the body of a request and throws it away.
    async fn skip_body(&mut self, socket: &mut TcpSocket, request: &Request) -> Result<(), Farewell> {
        let here = (self.end - self.start).min(usize::try_from(request.body_len).unwrap_or(usize::MAX));
        self.start += here;
        let mut left = request.body_len - here as u64;
        if left == 0 {
            return Ok(());
        }
        let deadline = transfer_deadline(left);
        let mut pace = Pace::new(Instant::now());
        if request.expects_word {
            let mut word = CONTINUE;
            // However long the body is to be: the word is short.
            let pace = Pace::new(Instant::now());
            while !word.is_empty() {
                let write = socket.write_with(|room| copy(word, room));
                let len = self.take(pace, write).await?;
                word = word.get(len..).unwrap_or_default();
            }
        }
        while left > 0 {
            let read = socket.read_with(|bytes| {
                let len = bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                (len, len)
            });
            match self.seat.wait(deadline, Wait::Idle(pace.since), read).await {
                Ok(Some(len)) => {
                    left -= len as u64;
                    pace.add(len, Instant::now());
                }
                Ok(None) | Err(End::Lost) => return Err(self.lost()),
                Err(End::Late) => return Err(Farewell::Because(Status::Timeout)),
                Err(End::Unseated) => {
                    self.server.context.count(figure::UNSEATED, 1);
                    return Err(Farewell::Gone);
                }
            }
        }
        Ok(())
    }

    /// Takes as long and works as hard for a request as it is told, when it is the request's turn.
    async fn process(&mut self) -> Status {
        let server = self.server;
        let context = &server.context;
        let pass = if server.gate.is_limited() {
            let began = Instant::now();
            let queued = Gauge::up(context, figure::QUEUED);
            let pass = server.gate.enter().await;
            drop(queued);
            match pass {
                Ok(pass) => {
                    context.measure(figure::QUEUE_WAIT, began.elapsed());
                    Some(pass)
                }
                Err(Full) => {
                    context.count(figure::REJECTED, 1);
                    context.add_errors(1);
                    return Status::Busy;
                }
            }
        } else {
            None
        };
        let _in_service = Gauge::up(context, figure::IN_SERVICE);
        if !self.settings.delay.is_zero() {
            let delay = self.settings.delay.draw(&mut self.random);
            Timer::after(Duration::from_micros(delay)).await;
        }
        if self.settings.blocks > 0 {
            self.work(self.settings.blocks).await;
        }
        drop(pass);
        if self.settings.failing > 0 && self.random.happens(self.settings.failing) {
            context.count(figure::FAILED, 1);
            context.add_errors(1);
            return Status::Failed;
        }
        Status::Ok
    }

    /// Computes, and checks what came out.
    async fn work(&self, blocks: u64) {
        let context = &self.server.context;
        let mut began = Instant::now();
        for _ in 0..blocks {
            if Blocks::compute(black_box(STEPS)) != self.server.expected {
                context.count(figure::WRONG, 1);
                context.add_errors(1);
            }
            if began.elapsed() >= SLICE {
                context.add_busy(began.elapsed());
                context.pause().await;
                began = Instant::now();
            }
        }
        context.add_busy(began.elapsed());
    }

    async fn send(&self, socket: &mut TcpSocket, reply: &mut Reply<'_>) -> Result<(), Farewell> {
        let mut pace = Pace::new(Instant::now());
        while !reply.is_written() {
            let write = socket.write_with(|room| {
                let len = reply.fill(room);
                (len, len)
            });
            let len = self.take(pace, write).await?;
            pace.add(len, Instant::now());
        }
        Ok(())
    }

    /// Waits for the client to take something. One that is slow has to make room when others come, and one that takes nothing
    /// has to go in any case.
    async fn take(
        &self,
        pace: Pace,
        write: impl Future<Output = Result<usize, SocketError>>,
    ) -> Result<usize, Farewell> {
        let figure = match self.seat.wait(pace.deadline, Wait::Slow(pace.since), write).await {
            Ok(len) => return Ok(len),
            Err(End::Lost) => return Err(self.lost()),
            Err(End::Late) => figure::LATE,
            Err(End::Unseated) => figure::UNSEATED,
        };
        self.server.context.count(figure, 1);
        self.server.context.add_errors(1);
        Err(Farewell::Gone)
    }

    /// Ends a connection in good order: a reset would take from the client what it has not read yet.
    async fn part(&self, socket: &mut TcpSocket, wait: Wait) {
        let deadline = Instant::now() + FAREWELL;
        socket.shutdown();
        while let Ok(Some(())) = self.seat.wait(deadline, wait, socket.read_with(|bytes| (bytes.len(), ()))).await {}
        let close = async {
            socket.close().await;
            Ok::<(), End>(())
        };
        if self.seat.wait(deadline, wait, close).await.is_err() {
            socket.abort();
        }
    }

    fn lost(&self) -> Farewell {
        self.server.context.count(figure::LOST, 1);
        Farewell::Gone
    }
}

fn transfer_deadline(len: u64) -> Instant {
    Instant::now() + TRANSFER + slowest(len)
}

fn copy(from: &[u8], to: &mut [u8]) -> (usize, usize) {
    let len = from.len().min(to.len());
    if let (Some(from), Some(to)) = (from.get(..len), to.get_mut(..len)) {
        to.copy_from_slice(from);
    }
    (len, len)
}

/// One more of something, until this is dropped.
struct Gauge<'a>(&'a core::sync::atomic::AtomicU64);

impl<'a> Gauge<'a> {
    fn up(context: &Context<'a>, figure: usize) -> Self {
        let gauge = context.figure(figure);
        gauge.fetch_add(1, Ordering::Relaxed);
        Self(gauge)
    }
}

impl Drop for Gauge<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
