//! A connection between two stages: made and greeted, then frames both ways, with a sign of life when there are none.

use alloc::string::String;
use core::fmt::Write as _;

use embassy_futures::select::select;
use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;
use embassy_sync::mutex::{Mutex, MutexGuard};
use embassy_sync::signal::Signal;
use embassy_time::{Duration, Instant, Timer, with_deadline, with_timeout};
use embedded_io_async::{Read, Write};
use sockets::{SocketError, TcpReader, TcpSocket, TcpWriter};

use super::figures::Figure;
use super::wire::{self, Checksum, Frame, FrameError, HELLO_LEN, Hello, HelloError, Refusal, Stage, Want};
use super::{Common, Settings};
use crate::Failure;
use crate::random::Random;
use crate::seat::{End, Seat, Wait, slowest};

/// Bytes of the sockets' rings.
const RING_LEN: usize = 8 << 10;
/// How long to wait before trying again: at first, and at most. A random half of it is left out, so that many that lost the
/// same peer do not come back at the same moment.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));
/// A peer that is wrong, and not away, ends the workload when it has been so this often in a row: once could be a damaged byte.
const WRONG_MAX: u32 = 3;
/// Signs of life in the time after which the peer misses them.
const PINGS: u32 = 4;
/// What a peer may ask for.
const SILENCE_MS: core::ops::RangeInclusive<u32> = 500..=600_000;

/// A lock that nobody waits for: everything of a stage runs on one core, and never keeps it across an await.
pub(super) struct Lock<T>(Mutex<CriticalSectionRawMutex, T>);

impl<T> Lock<T> {
    pub(super) fn new(inner: T) -> Self {
        Self(Mutex::new(inner))
    }

    /// Returns what is inside; `None` never.
    pub(super) fn get(&self) -> Option<MutexGuard<'_, CriticalSectionRawMutex, T>> {
        self.0.try_lock().ok()
    }
}

/// Wakes a connection's writer.
pub(super) type News = Signal<CriticalSectionRawMutex, ()>;

/// Why a connection has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum LinkError {
    #[error("the connection was lost")]
    Lost,
    #[error("the peer was silent for too long")]
    Silent,
    #[error("the peer sent {0}")]
    Frame(#[from] FrameError),
    #[error("the peer sent what it should not")]
    Unexpected,
}

impl From<SocketError> for LinkError {
    fn from(_: SocketError) -> Self {
        Self::Lost
    }
}

/// Why there is no connection.
enum NoLink {
    /// It may come.
    Away,
    /// The peer is there, but not the one that is wanted.
    Wrong(String),
}

/// Makes the same connection again and again.
pub(super) struct Caller<'a> {
    common: &'a Common<'a>,
    peer: &'a str,
    /// If the peer names none.
    port: u16,
    hello: Hello,
    wait: Duration,
    wrong: u32,
    random: Random,
}

impl<'a> Caller<'a> {
    pub(super) fn new(common: &'a Common<'a>, peer: &'a str, port: u16, hello: Hello) -> Self {
        let random = Random::new(common.context.env().seed());
        Self { common, peer, port, hello, wait: BACKOFF.0, wrong: 0, random }
    }

    /// Opens a socket for the connections.
    pub(super) async fn open(&self) -> Result<TcpSocket, Failure> {
        open(self.common).await
    }

    /// Connects, as often as it takes. `credit` is given to the peer.
    ///
    /// # Errors
    ///
    /// When the peer is no stage that can be used.
    pub(super) async fn connect(&mut self, socket: &mut TcpSocket, credit: u32) -> Result<Hello, Failure> {
        loop {
            let hello = Hello { credit, ..self.hello };
            match with_timeout(self.common.settings.timeout, self.try_connect(socket, hello)).await {
                Ok(Ok(answer)) => {
                    self.common.count(Figure::Connects, 1);
                    (self.wait, self.wrong) = (BACKOFF.0, 0);
                    return Ok(answer);
                }
                Ok(Err(NoLink::Wrong(what))) => {
                    self.wrong += 1;
                    if self.wrong >= WRONG_MAX {
                        return Err(Failure::because(what));
                    }
                }
                Ok(Err(NoLink::Away)) | Err(_) => self.wrong = 0,
            }
            socket.abort();
            self.common.count(Figure::Refused, 1);
            let half = self.wait.as_micros() / 2;
            Timer::after_micros(half + self.random.below(half)).await;
            self.wait = (self.wait * 2).min(BACKOFF.1);
        }
    }

    async fn try_connect(&self, socket: &mut TcpSocket, hello: Hello) -> Result<Hello, NoLink> {
        let network = self.common.context.env().network();
        let peer = network.resolve_peer(self.peer, self.port).await.map_err(|_| NoLink::Away)?;
        socket.connect(peer).await.map_err(|_| NoLink::Away)?;
        socket.write_all(&hello.to_bytes()).await.map_err(|_| NoLink::Away)?;
        let mut bytes = [0; HELLO_LEN];
        socket.read_exact(&mut bytes).await.map_err(|_| NoLink::Away)?;
        match Hello::parse(&bytes) {
            Ok(answer) => match answer.refusal {
                None => Ok(answer),
                Some(refusal) => Err(NoLink::Wrong(self.explain(answer, refusal))),
            },
            Err(HelloError::Damaged) => Err(NoLink::Away),
            Err(error) => Err(NoLink::Wrong(self.text(format_args!("{error}")))),
        }
    }

    fn text(&self, what: core::fmt::Arguments<'_>) -> String {
        let mut text = String::new();
        // A string has room.
        let _ = write!(text, "{} {what}", self.peer);
        text
    }

    fn explain(&self, answer: Hello, refusal: Refusal) -> String {
        let stage = answer.stage.name();
        match refusal {
            Refusal::Version => self.text(format_args!("speaks another version: run the same image on both")),
            Refusal::Direction if self.hello.want == Want::Pull => {
                self.text(format_args!("is a {stage}, which gives nothing: name a queue in from="))
            }
            Refusal::Direction => self.text(format_args!("is a {stage}, which takes nothing: name a queue or sink in to=")),
            Refusal::TooLong => self.text(format_args!(
                "takes or sends other sizes ({} there, {} here): give both the same size=",
                answer.len_max, self.hello.len_max
            )),
        }
    }
}

/// Opens a socket.
pub(super) async fn open(common: &Common<'_>) -> Result<TcpSocket, Failure> {
    TcpSocket::open(common.context.env().network(), RING_LEN, RING_LEN).await.map_err(Failure::because)
}

/// Greets one who has called, and returns who it is; `None` if it is of no use.
///
/// Until it has said who it is, it has to make room for others; afterwards it keeps its seat.
pub(super) async fn welcome(
    seat: &Seat,
    socket: &mut TcpSocket,
    settings: &Settings<'_>,
    own: Hello,
    refuse: impl Fn(&Hello) -> Option<Refusal>,
) -> Option<Hello> {
    let now = Instant::now();
    let deadline = now + settings.timeout;
    let mut bytes = [0; HELLO_LEN];
    match seat.wait(deadline, Wait::Slow(now), socket.read_exact(&mut bytes)).await {
        Ok(()) => {}
        Err(End::Unseated) => {
            socket.abort();
            return None;
        }
        Err(End::Lost | End::Late) => {
            socket.close().await;
            return None;
        }
    }
    let (hello, refusal) = match Hello::parse(&bytes) {
        Ok(hello) => (Some(hello), refuse(&hello)),
        Err(HelloError::Version(_)) => (None, Some(Refusal::Version)),
        Err(_) => {
            socket.close().await;
            return None;
        }
    };
    let answer = Hello { refusal, ..own }.to_bytes();
    let is_told = seat.wait(deadline, Wait::Work, socket.write_all(&answer)).await.is_ok();
    let hello = hello.filter(|_| is_told && refusal.is_none());
    if hello.is_none() {
        socket.close().await;
    }
    hello
}

/// Returns the two directions of a connection with the one who said `peer`.
pub(super) fn split<'s>(socket: &'s mut TcpSocket, settings: &Settings<'_>, peer: &Hello) -> (Incoming<'s>, Outgoing<'s>) {
    let (reader, writer) = socket.split();
    let silence_ms = peer.silence_ms.clamp(*SILENCE_MS.start(), *SILENCE_MS.end());
    let interval = Duration::from_millis(u64::from(silence_ms / PINGS));
    let incoming = Incoming { reader, silence: settings.timeout };
    (incoming, Outgoing { writer, interval, ping_at: Instant::now() + interval })
}

/// What comes.
pub(super) struct Incoming<'s> {
    reader: TcpReader<'s>,
    silence: Duration,
}

impl Incoming<'_> {
    async fn fill(&mut self, mut into: &mut [u8], deadline: Instant) -> Result<(), LinkError> {
        while !into.is_empty() {
            let len = with_deadline(deadline, self.reader.read(into)).await.map_err(|_| LinkError::Silent)??;
            if len == 0 {
                return Err(LinkError::Lost);
            }
            into = into.get_mut(len..).unwrap_or_default();
        }
        Ok(())
    }

    /// Waits for the next frame. A part of one is no sign of life.
    pub(super) async fn frame(&mut self) -> Result<Frame, LinkError> {
        let deadline = Instant::now() + self.silence;
        let mut head = [0; wire::HEAD_LEN];
        let (prefix, rest) = head.split_first_chunk_mut().ok_or(LinkError::Unexpected)?;
        self.fill(prefix, deadline).await?;
        let head_len = Frame::head_len(*prefix)?;
        self.fill(rest.get_mut(..head_len - prefix.len()).unwrap_or_default(), deadline).await?;
        Ok(Frame::parse(head.get(..head_len).unwrap_or_default())?)
    }

    /// Has `take` look at a payload of `len` bytes, piece by piece, each with its offset; returns its checksum.
    pub(super) async fn payload(&mut self, len: usize, mut take: impl FnMut(usize, &[u8])) -> Result<u32, LinkError> {
        // A peer that takes longer is as good as silent.
        let deadline = Instant::now() + self.silence + slowest(len as u64);
        let mut checksum = Checksum::new();
        let mut at = 0;
        while at < len {
            let piece = self.reader.read_with(|bytes| {
                let piece = bytes.get(..bytes.len().min(len - at)).unwrap_or_default();
                checksum.add(piece);
                take(at, piece);
                (piece.len(), piece.len())
            });
            at += with_deadline(deadline, piece).await.map_err(|_| LinkError::Silent)??.ok_or(LinkError::Lost)?;
        }
        Ok(checksum.value())
    }
}

/// What goes.
pub(super) struct Outgoing<'s> {
    writer: TcpWriter<'s>,
    interval: Duration,
    ping_at: Instant,
}

impl Outgoing<'_> {
    /// Sends a frame, and the payload of a message behind it.
    pub(super) async fn send(&mut self, frame: &Frame, payload: &[u8]) -> Result<(), LinkError> {
        self.writer.write_all(&frame.head()).await?;
        self.writer.write_all(payload).await?;
        self.ping_at = Instant::now() + self.interval;
        Ok(())
    }

    /// Waits for news, or until a moment, and gives a sign of life if that is due.
    pub(super) async fn rest(&mut self, news: &News, until: Option<Instant>) -> Result<(), LinkError> {
        let wake_at = until.map_or(self.ping_at, |until| until.min(self.ping_at));
        select(news.wait(), Timer::at(wake_at)).await;
        if Instant::now() >= self.ping_at {
            self.send(&Frame::Ping, &[]).await?;
        }
        Ok(())
    }
}

impl Stage {
    /// Returns a greeting of this stage.
    pub(super) fn hello(self, settings: &Settings<'_>, want: Want, link: u64) -> Hello {
        let silence_ms = u32::try_from(settings.timeout.as_millis()).unwrap_or(u32::MAX);
        let len_max = u32::try_from(settings.size).unwrap_or(u32::MAX);
        Hello { stage: self, want, refusal: None, len_max, link, credit: 0, silence_ms }
    }
}
