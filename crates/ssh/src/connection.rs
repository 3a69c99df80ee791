//! One connection, without its network: bytes go in, bytes come out, and what the client wants comes as [`Event`]s.

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;

use alloc::boxed::Box;

use heapless::Vec;
use sha2::{Digest, Sha256};

use crate::auth::{self, Attempt};
use crate::channel::{self, Channel, Output, Terminal, Wish};
use crate::cipher::Seal;
use crate::exchange::{KeyExchange, Progress, hash_string};
use crate::host_key::{HostKey, PublicKey};
use crate::message::{self, Reason};
use crate::negotiate;
use crate::packet::{Receiver, Sender};
use crate::random::Random;
use crate::wire::{Malformed, Reader};

/// What we are (RFC 4253, section 4.2).
const IDENTIFICATION: &[u8] = concat!("SSH-2.0-MiniPiRack_", env!("CARGO_PKG_VERSION")).as_bytes();
/// Longest identification without its end of line (RFC 4253, section 4.2).
const IDENTIFICATION_LEN_MAX: usize = 253;
/// Attempts to log in on one connection, as OpenSSH's MaxAuthTries is by default.
pub const ATTEMPTS_MAX: u8 = 6;
/// Bytes of output that one message can ask for, at most: the answer to a key exchange has 1,500.
const ANSWER_LEN_MAX: usize = 4096;
/// Bytes after which the keys are exchanged again: RFC 4253, section 9, recommends this.
const REKEY_BYTES: u64 = 1 << 30;

/// What all connections share.
pub struct Settings {
    /// The node's own key.
    pub host_key: HostKey,
    /// Whose holders may log in.
    pub accepted: &'static [PublicKey],
    /// What a client is told before it logs in: whole lines, or nothing.
    pub banner: &'static str,
    /// Bytes after which the keys are exchanged again.
    pub rekey_bytes: u64,
}

impl Settings {
    /// Makes the usual settings.
    #[must_use]
    pub fn new(host_key: HostKey, accepted: &'static [PublicKey], banner: &'static str) -> Self {
        Self { host_key, accepted, banner, rekey_bytes: REKEY_BYTES }
    }
}

/// Why a connection is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// What the client sent first does not identify an SSH client.
    #[error("no SSH client")]
    NotSsh,
    /// A message is too short, or has a value that can't be.
    #[error("a malformed message")]
    Malformed,
    /// A message came when it may not.
    #[error("message {0} out of order")]
    Unexpected(u8),
    /// A packet's length can't be.
    #[error("a packet of {0} bytes")]
    Length(u32),
    /// A packet's padding can't be.
    #[error("a packet with {0} bytes of padding")]
    Padding(u8),
    /// A packet's tag is wrong.
    #[error("a packet was changed on its way")]
    Tampered,
    /// Nothing that both sides have.
    #[error("no {0} in common")]
    NoCommon(&'static str),
    /// The client's part of the key exchange can't be.
    #[error("a bad public key in the key exchange")]
    BadKey,
    /// The client sends more than it may.
    #[error("more data than the window allows")]
    Window,
    /// The client asks for a service that there is not.
    #[error("an unknown service")]
    Service,
    /// Too many attempts to log in.
    #[error("too many attempts to log in")]
    TooManyAttempts,
    /// The client makes us answer more than it reads.
    #[error("more answers than the client reads")]
    OutputFull,
    /// There is no memory.
    #[error("no memory for another session")]
    NoMemory,
    /// The channel is closed.
    #[error("the channel is closed")]
    Closed,
}

impl Error {
    /// Returns whether the client has sent something that a good client never would.
    #[must_use]
    pub fn is_malformed(self) -> bool {
        !matches!(self, Self::TooManyAttempts | Self::OutputFull | Self::NoMemory | Self::Closed | Self::NoCommon(_))
    }

    /// Returns how the client is told.
    #[must_use]
    pub fn reason(self) -> Reason {
        match self {
            Self::NoCommon(_) | Self::BadKey => Reason::KeyExchangeFailed,
            Self::Tampered => Reason::MacError,
            Self::Service => Reason::ServiceNotAvailable,
            Self::TooManyAttempts => Reason::NoMoreAuthMethods,
            Self::NoMemory => Reason::TooManyConnections,
            Self::Closed => Reason::ByApplication,
            _ => Reason::ProtocolError,
        }
    }
}

impl From<Malformed> for Error {
    fn from(_: Malformed) -> Self {
        Self::Malformed
    }
}

/// What has happened on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Nothing more, until bytes come or have gone.
    Idle,
    /// Something; there may be more at once.
    Progress,
    /// Something that took a millisecond of work: others should have their turn before there is more.
    Work,
    /// An attempt to log in has failed. The client waits until there is more.
    Denied,
    /// The holder of this key has logged in.
    LoggedIn(PublicKey),
    /// The user wants a shell.
    Shell,
    /// The user wants the [command](Connection::command) to be run.
    Exec,
    /// The client has said good-bye.
    Goodbye,
}

/// Where the key exchange is.
enum Stage {
    /// None is under way.
    Idle,
    /// We have sent our offer.
    Offered,
    /// Both have; the client's public key comes next.
    Agreed(Box<KeyExchange>),
    /// We use the new keys, and the client will with the next packet but one.
    NewKeys(Seal),
}

/// A connection.
pub struct Connection<'s> {
    settings: &'s Settings,
    receiver: Receiver,
    sender: Sender,
    /// The client's identification without its end of line.
    peer: Vec<u8, { IDENTIFICATION_LEN_MAX + 2 }>,
    is_identified: bool,
    /// Of our last offer.
    cookie: [u8; 16],
    stage: Stage,
    /// Hash of the first key exchange.
    session: Option<[u8; 32]>,
    is_strict: bool,
    /// Whether the first key exchange is over.
    has_keys: bool,
    has_service: bool,
    has_seen_none: bool,
    has_seen_banner: bool,
    attempts: u8,
    /// A failed attempt was told to the caller, and not yet to the client.
    is_denying: bool,
    is_logged_in: bool,
    channel: Option<Channel>,
}

impl<'s> Connection<'s> {
    /// Makes a connection, which begins with our identification and offer.
    ///
    /// # Errors
    ///
    /// [`Error::NoMemory`].
    pub fn new(settings: &'s Settings, random: Random) -> Result<Self, Error> {
        let mut sender = Sender::new(random).ok_or(Error::NoMemory)?;
        sender.raw(IDENTIFICATION);
        sender.raw(b"\r\n");
        let mut this = Self {
            settings,
            receiver: Receiver::new().ok_or(Error::NoMemory)?,
            sender,
            peer: Vec::new(),
            is_identified: false,
            cookie: [0; 16],
            stage: Stage::Idle,
            session: None,
            is_strict: false,
            has_keys: false,
            has_service: false,
            has_seen_none: false,
            has_seen_banner: false,
            attempts: 0,
            is_denying: false,
            is_logged_in: false,
            channel: None,
        };
        this.offer()?;
        Ok(this)
    }

    /// Takes bytes from the network and returns how many: not all, if [`step`](Self::step) has to look at some first.
    ///
    /// # Errors
    ///
    /// When the connection is over.
    pub fn receive(&mut self, bytes: &[u8]) -> Result<usize, Error> {
        let taken = if self.is_identified { 0 } else { self.identify(bytes)? };
        let rest = bytes.get(taken..).unwrap_or_default();
        if !self.is_identified {
            return Ok(taken);
        }
        Ok(taken + self.receiver.take(rest)?)
    }

    /// Returns whether [`receive`](Self::receive) takes bytes now.
    #[must_use]
    pub fn is_hungry(&self) -> bool {
        self.receiver.payload().is_none()
    }

    /// Returns the bytes for the network.
    #[must_use]
    pub fn waiting(&self) -> &[u8] {
        self.sender.waiting()
    }

    /// Notes that `len` of the [waiting](Self::waiting) bytes were sent.
    pub fn sent(&mut self, len: usize) {
        self.sender.sent(len);
    }

    /// Does the next thing that is to be done. Call it until it has nothing more.
    ///
    /// # Errors
    ///
    /// When the connection is over.
    pub fn step(&mut self) -> Result<Event, Error> {
        if self.sender.free() < ANSWER_LEN_MAX {
            // Until the client reads, nobody works for it.
            return Ok(Event::Idle);
        }
        if core::mem::take(&mut self.is_denying) {
            self.deny()?;
        }
        if let Some(channel) = &mut self.channel {
            channel.extend_credit(&mut self.sender)?;
        }
        let has_aged = self.sender.bytes + self.receiver.bytes > self.settings.rekey_bytes;
        if has_aged && self.has_keys {
            self.exchange_keys()?;
        }
        let Some(payload) = self.receiver.payload() else { return Ok(Event::Idle) };
        let number = payload.first().copied().unwrap_or_default();
        self.check_order(number)?;
        if number == message::KEX_INIT {
            return self.step_exchange();
        }
        let event = match number {
            message::KEXINIT => self.take_offer()?,
            message::NEWKEYS => self.take_new_keys()?,
            message::USERAUTH_REQUEST => self.take_attempt()?,
            message::CHANNEL_OPEN.. => self.take_channel_message()?,
            _ => self.take_other(number)?,
        };
        self.receiver.done();
        Ok(event)
    }

    /// Exchanges the keys again, soon.
    ///
    /// # Errors
    ///
    /// When the connection is over.
    pub fn exchange_keys(&mut self) -> Result<(), Error> {
        if matches!(self.stage, Stage::Idle) { self.offer() } else { Ok(()) }
    }

    /// Tells the client that the connection is over, and why.
    pub fn disconnect(&mut self, reason: Reason, text: &str) {
        // A client that reads nothing is not told.
        let _ = self.sender.send_now(&mut |out| {
            out.byte(message::DISCONNECT);
            out.number(reason as u32);
            out.string(text.as_bytes());
            out.string(b"en");
        });
    }

    /// Returns whether somebody has logged in.
    #[must_use]
    pub fn is_logged_in(&self) -> bool {
        self.is_logged_in
    }

    /// Returns whether the client has a session open.
    #[must_use]
    pub fn has_session(&self) -> bool {
        self.channel.is_some()
    }

    /// Returns the command that the client wants to be run, with [`Event::Exec`].
    #[must_use]
    pub fn command(&self) -> &str {
        self.channel.as_ref().map_or("", |channel| channel.command.as_str())
    }

    /// Returns the size of the user's terminal; `None` without one.
    #[must_use]
    pub fn terminal(&self) -> Option<Terminal> {
        self.channel.as_ref()?.terminal
    }

    /// Takes a byte of the user's input.
    pub fn read(&mut self) -> Option<u8> {
        self.channel.as_mut()?.input.pop_front()
    }

    /// Returns whether there will be no more input.
    #[must_use]
    pub fn is_input_ended(&self) -> bool {
        self.channel.as_ref().is_none_or(|channel| channel.is_input_ended && channel.input.is_empty())
    }

    /// Sends output of the session, as much as there is room for, and returns how much that is.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] when the session is over.
    pub fn write(&mut self, output: Output, data: &[u8]) -> Result<usize, Error> {
        self.channel.as_mut().ok_or(Error::Closed)?.write(output, data, &mut self.sender)
    }

    /// Ends the session with an exit status.
    ///
    /// # Errors
    ///
    /// When the connection is over.
    pub fn exit(&mut self, status: u32) -> Result<(), Error> {
        match &mut self.channel {
            Some(channel) => channel.exit(status, &mut self.sender),
            None => Ok(()),
        }
    }

    fn identify(&mut self, bytes: &[u8]) -> Result<usize, Error> {
        let end = bytes.iter().position(|byte| *byte == b'\n');
        let len = end.map_or(bytes.len(), |end| end + 1);
        self.peer.extend_from_slice(bytes.get(..len).unwrap_or_default()).map_err(|_| Error::NotSsh)?;
        if end.is_some() {
            while let Some(b'\n' | b'\r') = self.peer.last() {
                self.peer.pop();
            }
            self.is_identified = true;
        }
        let start = [&b"SSH-2.0-"[..], b"SSH-1.99-"];
        let is_start = |start: &&[u8]| start.iter().zip(&self.peer).all(|(a, b)| a == b);
        let is_whole = |start: &&[u8]| self.peer.len() > start.len();
        let is_good = start.iter().any(|start| is_start(start) && (!self.is_identified || is_whole(start)));
        if is_good { Ok(len) } else { Err(Error::NotSsh) }
    }

    fn offer(&mut self) -> Result<(), Error> {
        let cookie = self.sender.random.array();
        self.cookie = cookie;
        self.sender.start_exchange(&mut |out| negotiate::write_offer(&cookie, out))?;
        self.stage = Stage::Offered;
        Ok(())
    }

    /// Refuses messages that may not come now (RFC 4253, section 7.1; OpenSSH, PROTOCOL, section 1.10).
    fn check_order(&self, number: u8) -> Result<(), Error> {
        let is_allowed = match (&self.stage, number) {
            (Stage::Idle | Stage::Offered, message::KEXINIT) => true,
            (Stage::Agreed(_), message::KEX_INIT) | (Stage::NewKeys(_), message::NEWKEYS) => true,
            (_, 20..=49) => false,
            (_, message::DISCONNECT) => true,
            // In the first exchange, before the client's offer, it is not known yet whether the client is strict.
            (Stage::Idle | Stage::Offered, message::IGNORE..=message::DEBUG) => true,
            (_, message::IGNORE..=message::DEBUG) => !self.is_strict || self.has_keys,
            (Stage::Agreed(_) | Stage::NewKeys(_), _) => false,
            // The rest only with keys, and by those who have logged in.
            (_, 0..=19) => self.has_keys,
            (_, 50..=79) => self.has_keys && self.has_service,
            (_, 80..) => self.is_logged_in,
        };
        if is_allowed { Ok(()) } else { Err(Error::Unexpected(number)) }
    }

    fn take_offer(&mut self) -> Result<Event, Error> {
        if matches!(self.stage, Stage::Idle) {
            self.offer()?;
        }
        let payload = self.receiver.payload().unwrap_or_default();
        let agreed = negotiate::choose(payload)?;
        if self.session.is_none() {
            self.is_strict = agreed.is_strict;
            if agreed.is_strict && self.receiver.number() != 0 {
                return Err(Error::Unexpected(message::KEXINIT));
            }
        }
        let mut hash = Sha256::new();
        hash_string(&mut hash, &[&self.peer]);
        hash_string(&mut hash, &[IDENTIFICATION]);
        hash_string(&mut hash, &[payload]);
        let mut offer = [0; 1024];
        let mut writer = crate::wire::Writer::new(&mut offer);
        negotiate::write_offer(&self.cookie, &mut writer);
        let len = writer.finish().ok_or(Error::OutputFull)?;
        hash_string(&mut hash, &[offer.get(..len).unwrap_or_default()]);
        self.stage = Stage::Agreed(Box::new(KeyExchange::new(agreed, hash, &mut self.sender.random)));
        Ok(Event::Progress)
    }

    fn step_exchange(&mut self) -> Result<Event, Error> {
        let Stage::Agreed(exchange) = &mut self.stage else { return Err(Error::Unexpected(message::KEX_INIT)) };
        if core::mem::take(&mut exchange.agreed.is_guess_wrong) {
            self.receiver.done();
            return Ok(Event::Progress);
        }
        let payload = self.receiver.payload().unwrap_or_default();
        let host_key = &self.settings.host_key;
        let Progress::Done(done) = exchange.step(payload, host_key, &mut self.sender.random)? else {
            return Ok(Event::Work);
        };
        let (keys, signature) = *done;
        let blob = host_key.public().blob();
        self.sender.send_now(&mut |out| {
            out.byte(message::KEX_REPLY);
            out.string(&blob);
            exchange.write_public(out);
            out.string(&signature);
        })?;
        let is_first = self.session.is_none();
        let session = *self.session.get_or_insert(keys.hash);
        let agreed = exchange.agreed;
        let seal = |cipher, is_inbound| Seal::new(cipher, &keys.material(&session, is_inbound));
        self.sender.change(seal(agreed.outbound, false), self.is_strict)?;
        self.stage = Stage::NewKeys(seal(agreed.inbound, true));
        if is_first && agreed.has_extensions {
            // RFC 8308, section 2.4: right behind our first new keys; section 3.1: what signatures we take.
            self.sender.send_now(&mut |out| {
                out.byte(message::EXT_INFO);
                out.number(1);
                out.string(b"server-sig-algs");
                out.string(crate::host_key::ED25519);
            })?;
        }
        self.sender.end_exchange()?;
        self.receiver.done();
        Ok(Event::Work)
    }

    fn take_new_keys(&mut self) -> Result<Event, Error> {
        let Stage::NewKeys(seal) = core::mem::replace(&mut self.stage, Stage::Idle) else {
            return Err(Error::Unexpected(message::NEWKEYS));
        };
        self.receiver.change(seal, self.is_strict);
        self.has_keys = true;
        Ok(Event::Progress)
    }

    fn take_other(&mut self, number: u8) -> Result<Event, Error> {
        let mut reader = Reader::new(self.receiver.payload().unwrap_or_default());
        reader.byte()?;
        match number {
            message::DISCONNECT => return Ok(Event::Goodbye),
            message::IGNORE | message::DEBUG | message::UNIMPLEMENTED | message::EXT_INFO => {}
            message::REQUEST_SUCCESS | message::REQUEST_FAILURE => {}
            message::SERVICE_REQUEST => {
                if reader.string()? != b"ssh-userauth" {
                    return Err(Error::Service);
                }
                self.has_service = true;
                self.sender.send(&mut |out| {
                    out.byte(message::SERVICE_ACCEPT);
                    out.string(b"ssh-userauth");
                })?;
            }
            message::GLOBAL_REQUEST => {
                let _name = reader.string()?;
                // Forwarding, or a question whether we are still there: any answer is one.
                if reader.boolean()? {
                    self.sender.send(&mut |out| out.byte(message::REQUEST_FAILURE))?;
                }
            }
            _ => {
                let sequence = self.receiver.number();
                self.sender.send(&mut |out| {
                    out.byte(message::UNIMPLEMENTED);
                    out.number(sequence);
                })?;
            }
        }
        Ok(Event::Progress)
    }

    fn take_attempt(&mut self) -> Result<Event, Error> {
        if self.is_logged_in {
            // RFC 4252, section 5.1: to be ignored.
            return Ok(Event::Progress);
        }
        let banner = self.settings.banner;
        if !core::mem::replace(&mut self.has_seen_banner, true) && !banner.is_empty() {
            self.sender.send(&mut |out| {
                out.byte(message::USERAUTH_BANNER);
                out.string(banner.as_bytes());
                out.string(b"en");
            })?;
        }
        let is_accepted = |key| self.settings.accepted.contains(key);
        match auth::read(self.receiver.payload().unwrap_or_default())? {
            Attempt::None if !self.has_seen_none => {
                self.has_seen_none = true;
                self.deny()?;
                Ok(Event::Progress)
            }
            Attempt::Offer(key) if is_accepted(&key) => {
                self.sender.send(&mut |out| {
                    out.byte(message::USERAUTH_PK_OK);
                    out.string(crate::host_key::ED25519);
                    out.string(&key.blob());
                })?;
                Ok(Event::Progress)
            }
            Attempt::Signed { key, request, signature }
                if is_accepted(&key)
                    && self.session.is_some_and(|session| auth::is_signed(key, &session, request, &signature)) =>
            {
                self.is_logged_in = true;
                self.sender.send(&mut |out| out.byte(message::USERAUTH_SUCCESS))?;
                Ok(Event::LoggedIn(key))
            }
            _ => {
                self.attempts += 1;
                self.is_denying = true;
                Ok(Event::Denied)
            }
        }
    }

    fn deny(&mut self) -> Result<(), Error> {
        if self.attempts >= ATTEMPTS_MAX {
            return Err(Error::TooManyAttempts);
        }
        self.sender.send(&mut |out| {
            out.byte(message::USERAUTH_FAILURE);
            out.string(auth::METHODS);
            out.boolean(false);
        })
    }

    fn take_channel_message(&mut self) -> Result<Event, Error> {
        let payload = self.receiver.payload().unwrap_or_default();
        let number = payload.first().copied().unwrap_or_default();
        if number == message::CHANNEL_OPEN {
            channel::open(payload, &mut self.channel, &mut self.sender)?;
            return Ok(Event::Progress);
        }
        let channel = self.channel.as_mut().ok_or(Error::Unexpected(number))?;
        let wish = channel.take(payload, &mut self.sender)?;
        if channel.is_closed {
            self.channel = None;
        }
        Ok(match wish {
            Wish::None => Event::Progress,
            Wish::Shell => Event::Shell,
            Wish::Exec => Event::Exec,
        })
    }
}
