//! Runs a connection over a socket, with its deadlines.

use core::future::pending;

use embassy_futures::select::{Either3, select3};
use embassy_futures::yield_now;
use embassy_time::{Duration, Instant, Timer, with_timeout};
use embedded_io_async::{Read, Write};

use crate::channel::{Output, Terminal};
use crate::connection::{Connection, Error, Event};
use crate::host_key::PublicKey;
use crate::message::Reason;

/// Bytes that are read at once.
const READ_LEN: usize = 1024;
/// Bytes of a user's input that are used before others get their turn.
const INPUT_AT_ONCE: usize = 64;
/// How long the last words to a client may take.
const FAREWELL: Duration = Duration::from_secs(1);
/// Keys are exchanged again after so long (RFC 4253, section 9).
const REKEY_INTERVAL: Duration = Duration::from_secs(3600);

/// How long a client may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// To log in, without the time that it has to wait for our answers.
    pub login: Duration,
    /// Between one thing that it wants and the next.
    pub idle: Duration,
}

/// What is behind the server: the sessions' commands, and who may have one.
pub trait Application {
    /// Somebody has logged in. False if there is no place for another session.
    fn admit(&mut self, key: PublicKey) -> bool;

    /// An attempt to log in has failed. Returns how long the client has to wait for the answer.
    fn deny(&mut self) -> Duration;

    /// Begins a session with a command, or a shell without one.
    fn start(&mut self, command: Option<&str>, terminal: Option<Terminal>);

    /// The client has ended the session.
    fn stop(&mut self);

    /// Returns whether the session takes input now.
    fn wants_input(&self) -> bool;

    /// Takes a byte of input.
    fn input(&mut self, byte: u8);

    /// There is no more input.
    fn end_input(&mut self);

    /// Does what is due, also when there is no session.
    fn tick(&mut self);

    /// Returns when there is something to do without input.
    fn due(&self) -> Option<Instant>;

    /// Returns output that waits, or the first part of it; nothing only if there is none.
    fn output(&mut self, output: Output) -> &[u8];

    /// Forgets the first `len` bytes of the output that waits.
    fn written(&mut self, output: Output, len: usize);

    /// Returns whether the session does something by itself: such a one is not idle.
    fn is_busy(&self) -> bool;

    /// Returns the session's exit status, once it has ended.
    fn status(&self) -> Option<u32>;
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The client said good-bye, or just went.
    Gone,
    /// The client did not log in in time.
    TooSlow,
    /// The session was idle for too long.
    Idle,
    /// There were too many sessions.
    Full,
    /// The client broke the protocol, or had too many attempts.
    Broken(Error),
}

/// Serves one client. Returns when the connection may be closed.
pub async fn serve(
    reader: &mut impl Read,
    writer: &mut impl Write,
    connection: &mut Connection<'_>,
    application: &mut dyn Application,
    limits: Limits,
) -> End {
    let mut server = Server {
        connection,
        application,
        limits,
        login_by: Instant::now() + limits.login,
        active_at: Instant::now(),
        keys_at: Instant::now(),
        has_session: false,
        has_input_ended: false,
    };
    let end = server.run(reader, writer).await;
    let farewell = match end {
        End::Gone => None,
        End::TooSlow => Some((Reason::NoMoreAuthMethods, "too slow to log in")),
        End::Idle => Some((Reason::ByApplication, "nothing was typed for too long")),
        End::Full => Some((Reason::TooManyConnections, "too many sessions on this node: end another one first")),
        End::Broken(error) => {
            let mut text: heapless::String<64> = heapless::String::new();
            // Cut off if it is longer.
            let _ = core::fmt::Write::write_fmt(&mut text, format_args!("{error}"));
            server.connection.disconnect(error.reason(), &text);
            None
        }
    };
    if let Some((reason, text)) = farewell {
        server.connection.disconnect(reason, text);
    }
    // Whether the client hears it or not.
    let _ = with_timeout(FAREWELL, server.flush(writer)).await;
    end
}

struct Server<'a, 's> {
    connection: &'a mut Connection<'s>,
    application: &'a mut dyn Application,
    limits: Limits,
    login_by: Instant,
    /// When the user last wanted something.
    active_at: Instant,
    keys_at: Instant,
    has_session: bool,
    has_input_ended: bool,
}

impl Server<'_, '_> {
    async fn run(&mut self, reader: &mut impl Read, writer: &mut impl Write) -> End {
        let mut buffer = [0; READ_LEN];
        let mut unread = 0..0;
        loop {
            loop {
                match self.step().await {
                    Ok(true) => continue,
                    Ok(false) => {}
                    Err(end) => return end,
                }
                let bytes = buffer.get(unread.clone()).unwrap_or_default();
                if bytes.is_empty() || !self.connection.is_hungry() {
                    break;
                }
                match self.connection.receive(bytes) {
                    Ok(len) => unread.start += len,
                    Err(error) => return End::Broken(error),
                }
            }
            match self.work() {
                Ok(true) => {
                    yield_now().await;
                    continue;
                }
                Ok(false) => {}
                Err(error) => return End::Broken(error),
            }
            let now = Instant::now();
            let deadline = self.deadline();
            if now >= deadline {
                return if self.connection.is_logged_in() { End::Idle } else { End::TooSlow };
            }
            let due = self.application.due().map_or(deadline, |due| due.min(deadline));
            let waiting = self.connection.waiting();
            let reading = async { if unread.is_empty() { reader.read(&mut buffer).await } else { pending().await } };
            let writing = async { if waiting.is_empty() { pending().await } else { writer.write(waiting).await } };
            match select3(reading, writing, Timer::at(due)).await {
                Either3::First(Ok(0) | Err(_)) | Either3::Second(Ok(0) | Err(_)) => return End::Gone,
                Either3::First(Ok(len)) => unread = 0..len,
                Either3::Second(Ok(len)) => self.connection.sent(len),
                Either3::Third(()) => {}
            }
        }
    }

    /// Does one step of the protocol; false if there is none.
    async fn step(&mut self) -> Result<bool, End> {
        match self.connection.step().map_err(End::Broken)? {
            Event::Idle => return Ok(false),
            Event::Progress => {}
            Event::Work => yield_now().await,
            Event::Denied => {
                let delay = self.application.deny();
                self.login_by += delay;
                Timer::after(delay).await;
            }
            Event::LoggedIn(key) => {
                if !self.application.admit(key) {
                    return Err(End::Full);
                }
                self.active_at = Instant::now();
                yield_now().await;
            }
            Event::Shell => self.start(false),
            Event::Exec => self.start(true),
            Event::Goodbye => return Err(End::Gone),
        }
        Ok(true)
    }

    fn start(&mut self, has_command: bool) {
        let command = has_command.then(|| self.connection.command());
        self.application.start(command, self.connection.terminal());
        self.has_session = true;
        self.has_input_ended = false;
        self.active_at = Instant::now();
    }

    /// Moves input and output between client and session. Returns whether there is more to do at once.
    fn work(&mut self) -> Result<bool, Error> {
        if Instant::now().saturating_duration_since(self.keys_at) >= REKEY_INTERVAL && self.connection.is_logged_in() {
            self.keys_at = Instant::now();
            self.connection.exchange_keys()?;
        }
        self.application.tick();
        if !self.has_session {
            return Ok(false);
        }
        if !self.connection.has_session() {
            self.end();
            return Ok(false);
        }
        let mut has_input = false;
        for _ in 0..INPUT_AT_ONCE {
            if !self.application.wants_input() || self.application.status().is_some() {
                break;
            }
            let Some(byte) = self.connection.read() else { break };
            has_input = true;
            self.application.input(byte);
        }
        if self.connection.is_input_ended() && !self.has_input_ended && self.application.wants_input() {
            self.has_input_ended = true;
            self.application.end_input();
        }
        let mut is_drained = true;
        for output in [Output::Normal, Output::Error] {
            loop {
                let data = self.application.output(output);
                if data.is_empty() {
                    break;
                }
                let len = self.connection.write(output, data)?;
                self.application.written(output, len);
                if len == 0 {
                    is_drained = false;
                    break;
                }
            }
        }
        if has_input || is_drained && self.application.is_busy() {
            self.active_at = Instant::now();
        }
        if is_drained && let Some(status) = self.application.status() {
            self.connection.exit(status)?;
            self.end();
        }
        Ok(has_input)
    }

    fn end(&mut self) {
        self.has_session = false;
        self.application.stop();
        self.active_at = Instant::now();
    }

    fn deadline(&self) -> Instant {
        if self.connection.is_logged_in() { self.active_at + self.limits.idle } else { self.login_by }
    }

    async fn flush(&mut self, writer: &mut impl Write) -> Result<(), ()> {
        while !self.connection.waiting().is_empty() {
            match writer.write(self.connection.waiting()).await {
                Ok(0) | Err(_) => return Err(()),
                Ok(len) => self.connection.sent(len),
            }
        }
        writer.flush().await.map_err(|_| ())
    }
}

#[cfg(test)]
mod tests;
