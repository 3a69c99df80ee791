//! Publishes messages at an MQTT 5 broker (OASIS, "MQTT Version 5.0") at least once each, in order, however often the broker
//! goes away.
//!
//! `minimq` speaks the protocol: quality of service 1 with redelivery, keep-alive, a session that survives connections.
//! This adds what it leaves to its user: connecting, waiting longer after each failure, and beginning anew at the first
//! message that was not acknowledged when the broker has forgotten the session. A message may come twice that way; its
//! number, which is in its payload, shows it.
//!
//! Topics are `ROOT/…`, where the root names the node. Two of them are kept for new subscribers: `ROOT/status`, which is
//! `online`, or `offline` once the broker has lost the node; and those that the [`Queue`] greets with.

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
pub mod outbox;

use core::convert::Infallible;
use core::fmt::Write as _;
use core::future::pending;
use core::net::SocketAddr;

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use embassy_futures::select::{Either, select};
use embassy_time::{Duration, with_timeout};
use embedded_io_async::{ErrorType, Read, Write};
use minimq::{Buffers, ConfigBuilder, Error, Op, PeerError, PubError, Publication, QoS, ResourceError, Session, Will};

use crate::backoff::Backoff;
use crate::counters::{Counters, Event};
use crate::socket::tcp::{TcpError, TcpSocket};
use crate::stack::Stack;

/// Port of MQTT without TLS (IANA, "mqtt").
pub const MQTT_PORT: u16 = 1883;
/// Longest payload that can be sent.
pub const PAYLOAD_LEN_MAX: usize = 8 * 1024;
/// Bytes of a message from the broker: acknowledgements, and the properties of its greeting.
const RX_LEN: usize = 1024;
/// Bytes of messages under way: the longest, and room for the greeting of a connection.
const TX_LEN: usize = 3 * PAYLOAD_LEN_MAX;
/// Messages under way at once: what `minimq` can keep.
const UNDER_WAY: usize = 8;
/// Seconds of silence after which each side asks whether the other is still there.
const KEEP_ALIVE_S: u16 = 15;
/// Seconds for which the broker keeps the session of a node that is away.
const SESSION_EXPIRY_S: u32 = 3600;
/// How long the broker may take to accept a connection, to answer its greeting, or to take a message.
const PATIENCE: Duration = Duration::from_secs(20);
const SOCKET_LEN: (usize, usize) = (1024, 8 * 1024);

/// Where to publish, and as whom.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What the broker knows the node's session by; at most 64 bytes.
    pub client: String,
    /// User name and password, if the broker wants them.
    pub user: Option<(String, String)>,
    /// What topics start with, without a `/` at its end.
    pub root: String,
}

/// Messages in order, kept until they are acknowledged. They are numbered from 1.
pub trait Queue {
    /// Replaces `payload` by that of message `number`, or of the oldest behind it that is kept, and returns the message's
    /// number and the end of its topic. Returns `None` if there is none yet.
    fn read(&mut self, number: u64, payload: &mut Vec<u8>) -> Option<(u64, &'static str)>;

    /// Learns that all messages up to `number` have arrived.
    fn acknowledge(&mut self, number: u64);

    /// Waits until there is a message more than at the last wait.
    fn wait(&mut self) -> impl Future<Output = ()>;

    /// Replaces `payload` by what the broker is to keep under the topic whose end is returned: asked at each connection with
    /// numbers from 0, until it returns `None`.
    fn greet(&mut self, number: usize, payload: &mut Vec<u8>) -> Option<&'static str>;
}

/// Why there is no connection, or no longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// There was none.
    #[error("no connection: {0}")]
    Connect(TcpError),
    /// The broker did not answer or take anything in time.
    #[error("no answer in {} s", PATIENCE.as_secs())]
    Timeout,
    /// The broker refused the node, or a message broke its limits.
    #[error("refused, reason {0:#04x} of MQTT 5, section 2.4")]
    Refused(u8),
    /// The broker sent what is not MQTT 5.
    #[error("the broker does not speak MQTT 5")]
    Protocol,
    /// The connection has ended.
    #[error("the connection has ended")]
    Ended,
    /// User, password and topics are too long for a greeting.
    #[error("user, password and topics are too long")]
    TooLong,
}

impl From<Error<TcpError>> for Trouble {
    fn from(error: Error<TcpError>) -> Self {
        match error {
            Error::Peer(PeerError::Rejected(reason)) => Self::Refused(reason.into()),
            Error::Peer(_) => Self::Protocol,
            Error::Resource(_) | Error::InvalidRequest => Self::TooLong,
            _ => Self::Ended,
        }
    }
}

/// Publishes at one broker.
pub struct Publisher {
    stack: &'static Stack,
    socket: TcpSocket,
    session: Session<'static>,
    topics: Topics,
    backoff: Backoff,
    progress: Progress,
}

/// Makes the names of topics.
struct Topics {
    root: &'static str,
    text: String,
}

impl Topics {
    fn name(&mut self, end: &str) -> &str {
        self.text.clear();
        // Writing to a String does not fail.
        let _ = write!(self.text, "{}/{end}", self.root);
        &self.text
    }
}

/// How far the queue's messages have come.
struct Progress {
    /// The first message that was not sent.
    next: u64,
    /// What was sent and is not acknowledged, in order.
    under_way: VecDeque<(Op, u64)>,
}

impl Progress {
    /// Begins anew at the first message that the broker has forgotten with the session, and has not acknowledged.
    fn resume(&mut self, is_forgotten: impl Fn(&Op) -> bool) {
        if let Some(&(_, first)) = self.under_way.iter().find(|(op, _)| is_forgotten(op)) {
            self.next = first;
            self.under_way.clear();
        }
    }
}

/// Says what a session is to be like.
fn config<'b>(settings: &'b Settings, buffers: Buffers<'b>, topics: &mut Topics) -> Result<ConfigBuilder<'b>, Trouble> {
    let will = Will::new(topics.name("status"), b"offline", &[]).map_err(|_| Trouble::TooLong)?;
    let config = ConfigBuilder::new(buffers)
        .keepalive_interval(KEEP_ALIVE_S)
        .session_expiry_interval(SESSION_EXPIRY_S)
        .autodowngrade_qos()
        .client_id(&settings.client)
        .and_then(|config| config.will(will.retained().qos(QoS::AtLeastOnce)))
        .map_err(|_| Trouble::TooLong)?;
    match &settings.user {
        Some((user, password)) => config.auth(user, password.as_bytes()).map_err(|_| Trouble::TooLong),
        None => Ok(config),
    }
}

impl Publisher {
    /// Makes one, for life. It keeps its memory, so make only one.
    ///
    /// # Errors
    ///
    /// [`Trouble::TooLong`].
    pub fn new(stack: &'static Stack, settings: Settings) -> Result<Self, Trouble> {
        let settings: &'static Settings = Box::leak(Box::new(settings));
        let (rx, tx) = (Box::leak(vec![0; RX_LEN].into_boxed_slice()), Box::leak(vec![0; TX_LEN].into_boxed_slice()));
        let mut topics = Topics { root: &settings.root, text: String::new() };
        let config = config(settings, Buffers::new(rx, tx), &mut topics)?;
        Ok(Self {
            stack,
            socket: TcpSocket::new(stack, SOCKET_LEN.0, SOCKET_LEN.1),
            session: Session::new(config),
            topics,
            backoff: Backoff::of(stack, MQTT_PORT),
            progress: Progress { next: 1, under_way: VecDeque::with_capacity(UNDER_WAY) },
        })
    }

    /// Waits before the next attempt, longer after each failure in a row.
    pub async fn wait(&mut self) {
        self.socket.abort();
        self.backoff.wait(self.stack).await;
    }

    /// Connects to the broker.
    ///
    /// # Errors
    ///
    /// See [`Trouble`].
    pub async fn connect(&mut self, broker: SocketAddr) -> Result<Connection<'_, 'static, Wire<'_>>, Trouble> {
        let counters = self.stack.counters();
        let connected = self.try_connect(broker).await;
        counters.count(if connected.is_ok() { Event::MqttConnected } else { Event::MqttFailed });
        connected
    }

    async fn try_connect(&mut self, broker: SocketAddr) -> Result<Connection<'_, 'static, Wire<'_>>, Trouble> {
        let Self { stack, socket, session, topics, backoff, progress } = self;
        let connected = with_timeout(PATIENCE, socket.connect(broker)).await;
        connected.map_err(|_| Trouble::Timeout)?.map_err(Trouble::Connect)?;
        let connection =
            with_timeout(PATIENCE, session.connect(Wire(socket))).await.map_err(|_| Trouble::Timeout)??;
        backoff.reset();
        progress.resume(|op| connection.is_invalidated(op));
        Ok(Connection { connection, counters: stack.counters(), topics, progress })
    }
}

/// A connection to the broker.
pub struct Connection<'p, 'b, I> {
    connection: minimq::Connection<'p, 'b, I>,
    counters: &'p Counters,
    topics: &'p mut Topics,
    progress: &'p mut Progress,
}

/// What became of a message.
enum Sent {
    /// It is under way.
    UnderWay(Op),
    /// It was sent, and will not be acknowledged.
    Unasked,
    /// It must wait until others have arrived.
    NotYet,
    /// It is longer than the broker allows.
    Never,
}

impl<I: Read<Error = TcpError> + Write> Connection<'_, '_, I> {
    /// Publishes messages as they come, until the connection ends; returns why it did.
    pub async fn publish(mut self, queue: &mut impl Queue) -> Trouble {
        match self.run(queue).await {
            Ok(never) => match never {},
            Err(trouble) => trouble,
        }
    }

    async fn run(&mut self, queue: &mut impl Queue) -> Result<Infallible, Trouble> {
        let mut payload = Vec::with_capacity(PAYLOAD_LEN_MAX);
        self.greet(queue, &mut payload).await?;
        loop {
            self.settle(queue);
            let can_send = self.progress.under_way.len() < UNDER_WAY;
            if can_send && let Some((number, topic)) = queue.read(self.progress.next, &mut payload) {
                let sent = self.send(topic, &payload, false).await?;
                if !matches!(sent, Sent::NotYet) {
                    self.progress.next = number + 1;
                }
                match sent {
                    Sent::UnderWay(op) => {
                        self.progress.under_way.push_back((op, number));
                        continue;
                    }
                    Sent::NotYet => {}
                    Sent::Never => self.counters.count(Event::MqttRefused),
                    // Those before it have been sent the same way.
                    Sent::Unasked => queue.acknowledge(number),
                }
            }
            self.wait(queue.wait()).await?;
        }
    }

    /// Says that the node is there, and what the broker is to keep about it.
    async fn greet(&mut self, queue: &mut impl Queue, payload: &mut Vec<u8>) -> Result<(), Trouble> {
        let mut number = 0;
        payload.clear();
        payload.extend_from_slice(b"online");
        let mut topic = "status";
        loop {
            while let Sent::NotYet = self.send(topic, payload, true).await? {
                self.wait(pending()).await?;
            }
            let Some(next) = queue.greet(number, payload) else { return Ok(()) };
            (number, topic) = (number + 1, next);
        }
    }

    /// Tells the queue what has arrived.
    fn settle(&mut self, queue: &mut impl Queue) {
        while let Some(&(op, number)) = self.progress.under_way.front()
            && !self.connection.is_pending(&op)
        {
            queue.acknowledge(number);
            self.progress.under_way.pop_front();
        }
    }

    async fn send(&mut self, topic: &str, payload: &[u8], is_kept: bool) -> Result<Sent, Trouble> {
        let message = Publication::bytes(self.topics.name(topic), payload).qos(QoS::AtLeastOnce);
        let message = if is_kept { message.retain() } else { message };
        match self.connection.publish(message).await {
            Ok(Some(op)) => Ok(Sent::UnderWay(op)),
            Ok(None) => Ok(Sent::Unasked),
            Err(PubError::Session(Error::NotReady | Error::Resource(ResourceError::InflightExhausted))) => {
                Ok(Sent::NotYet)
            }
            Err(PubError::Session(Error::Resource(ResourceError::PacketTooLarge))) => Ok(Sent::Never),
            Err(PubError::Payload(()) | PubError::Session(Error::Resource(_))) => {
                // No room beside others, or none at all.
                Ok(if self.connection.session().is_publish_quiescent() { Sent::Never } else { Sent::NotYet })
            }
            Err(PubError::Session(error)) => Err(error.into()),
        }
    }

    /// Waits until something has come from the broker, or for `news`.
    async fn wait(&mut self, news: impl Future<Output = ()>) -> Result<(), Trouble> {
        let error = match select(self.connection.poll(), news).await {
            // Somebody else's message: we have subscribed to none.
            Either::First(Ok(_)) | Either::Second(()) => return Ok(()),
            Either::First(Err(error)) => error,
        };
        // A message was refused, for lack of a right to this topic for example; the connection stands.
        if let (Error::Peer(PeerError::Rejected(_)), true) = (&error, self.connection.is_connected()) {
            self.counters.count(Event::MqttRefused);
            return Ok(());
        }
        Err(error.into())
    }
}

/// The socket, as `minimq` wants it: what was written goes out by itself, and nobody waits for it to arrive.
pub struct Wire<'s>(&'s mut TcpSocket);

impl ErrorType for Wire<'_> {
    type Error = TcpError;
}

impl Read for Wire<'_> {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, TcpError> {
        self.0.read(buffer).await
    }
}

impl Write for Wire<'_> {
    async fn write(&mut self, data: &[u8]) -> Result<usize, TcpError> {
        with_timeout(PATIENCE, self.0.write(data)).await.unwrap_or(Err(TcpError::ConnectionReset))
    }

    async fn flush(&mut self) -> Result<(), TcpError> {
        Ok(())
    }
}
