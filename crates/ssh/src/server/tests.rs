//! What a server does as time goes by, in virtual time. Its client has logged in with keys that encrypt nothing.

use core::convert::Infallible;

use super::*;
use crate::connection::{Settings, fuzz};
use crate::host_key::HostKey;
use crate::random::Random;

const LIMITS: Limits = Limits { login: Duration::from_secs(10), idle: Duration::from_secs(600) };

/// A client that sends what it has at the given times (in seconds), reads everything, and never goes by itself.
struct Client {
    sends: Vec<(u64, Vec<u8>)>,
}

impl embedded_io_async::ErrorType for Client {
    type Error = Infallible;
}

impl Read for Client {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Infallible> {
        let Some((at, _)) = self.sends.first() else { return pending().await };
        Timer::at(Instant::from_secs(*at)).await;
        let (_, bytes) = self.sends.remove(0);
        buffer[..bytes.len()].copy_from_slice(&bytes);
        Ok(bytes.len())
    }
}

/// What a client has received.
#[derive(Default)]
struct Received(Vec<u8>);

impl embedded_io_async::ErrorType for Received {
    type Error = Infallible;
}

impl Write for Received {
    async fn write(&mut self, data: &[u8]) -> Result<usize, Infallible> {
        self.0.extend_from_slice(data);
        Ok(data.len())
    }

    async fn flush(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

impl Received {
    /// Returns the numbers of the messages that came, without the identification.
    fn messages(&self) -> Vec<u8> {
        let mut rest = &self.0[self.0.iter().position(|byte| *byte == b'\n').unwrap() + 1..];
        let mut numbers = Vec::new();
        while let Some((len, packet)) = rest.split_first_chunk::<4>() {
            numbers.push(packet[1]);
            rest = &packet[u32::from_be_bytes(*len) as usize..];
        }
        numbers
    }
}

/// A session that has an output line every `every` seconds if it is busy, and takes what is typed; or one that ends with these words.
struct Program {
    every: Option<u64>,
    words: &'static [u8],
    next: u64,
    output: Vec<u8>,
    is_running: bool,
    was_stopped: bool,
}

impl Application for Program {
    fn admit(&mut self, _: PublicKey) -> bool {
        true
    }

    fn deny(&mut self) -> Duration {
        Duration::from_secs(1)
    }

    fn start(&mut self, _: Option<&str>, _: Option<Terminal>) {
        self.is_running = true;
        self.output.extend(self.words);
    }

    fn stop(&mut self) {
        (self.is_running, self.was_stopped) = (false, true);
    }

    fn wants_input(&self) -> bool {
        true
    }

    fn input(&mut self, _: u8) {}

    fn end_input(&mut self) {}

    fn tick(&mut self) {
        if let Some(every) = self.every
            && self.is_running
            && Instant::now().as_secs() >= self.next
        {
            self.next = Instant::now().as_secs() + every;
            self.output.push(b'.');
        }
    }

    fn due(&self) -> Option<Instant> {
        (self.is_running && self.every.is_some()).then(|| Instant::from_secs(self.next))
    }

    fn output(&mut self, output: Output) -> &[u8] {
        // In pieces, as a ring gives it.
        if output == Output::Normal { self.output.chunks(3).next().unwrap_or_default() } else { &[] }
    }

    fn written(&mut self, _: Output, len: usize) {
        self.output.drain(..len);
    }

    fn is_busy(&self) -> bool {
        self.is_running && self.every.is_some()
    }

    fn status(&self) -> Option<u32> {
        (self.is_running && !self.words.is_empty()).then_some(0)
    }
}

/// Serves a client, as [`serve_program`] does.
fn serve_for(sends: &[(u64, &[u8])], every: Option<u64>, is_logged_in: bool) -> (Option<End>, u64, Vec<u8>, bool) {
    serve_program(sends, every, b"", is_logged_in)
}

/// Serves a client; returns how that ended, after how many seconds, and what it received. A program that is busy is cut off after
/// two hours.
fn serve_program(
    sends: &[(u64, &[u8])],
    every: Option<u64>,
    words: &'static [u8],
    is_logged_in: bool,
) -> (Option<End>, u64, Vec<u8>, bool) {
    testkit::time::run(async {
        let start = Instant::now().as_secs() + 1;
        Timer::at(Instant::from_secs(start)).await;
        let settings = Settings::new(HostKey::derive(b"secret", b"board"), &[], "");
        let mut connection = Connection::new(&settings, Random::new([7; 32])).unwrap();
        if is_logged_in {
            fuzz::log_in(&mut connection);
        }
        let packet = |payload: &[u8]| {
            let mut wire = Vec::new();
            fuzz::packet(payload, &mut wire);
            wire
        };
        let sends = sends.iter().map(|(at, payload)| (start + at, packet(payload))).collect();
        let (mut client, mut received) = (Client { sends }, Received::default());
        let mut program =
            Program { every, words, next: start, output: Vec::new(), is_running: false, was_stopped: false };
        let serving = serve(&mut client, &mut received, &mut connection, &mut program, LIMITS);
        let end = with_timeout(Duration::from_secs(7200), serving).await.ok();
        (end, Instant::now().as_secs() - start, received.messages(), program.was_stopped)
    })
}

const OPEN: &[u8] = b"\x5a\0\0\0\x07session\0\0\0\0\0\0\x80\0\0\0\x80\0";
const SHELL: &[u8] = b"\x62\0\0\0\0\0\0\0\x05shell\x01";
const TYPED: &[u8] = b"\x5e\0\0\0\0\0\0\0\x01x";
/// What OpenSSH's ServerAliveInterval sends.
const ALIVE: &[u8] = b"\x50\0\0\0\x15keepalive@openssh.com\x01";
const DISCONNECT: u8 = 1;
const KEXINIT: u8 = 20;

#[test]
fn a_session_in_which_nothing_is_typed_is_closed_and_told_so() {
    let (end, seconds, messages, was_stopped) = serve_for(&[(0, OPEN), (1, SHELL)], None, true);
    assert_eq!((end, seconds), (Some(End::Idle), 601));
    assert_eq!(messages.last(), Some(&DISCONNECT));
    assert!(was_stopped || messages.contains(&99), "{messages:?}");
    // Each key gives it as long again.
    let typing = [(0, OPEN), (1, SHELL), (500, TYPED), (1000, TYPED)];
    assert_eq!(serve_for(&typing, None, true).1, 1600);
}

#[test]
fn a_client_that_only_says_that_it_is_there_is_closed_too() {
    let alive: Vec<(u64, &[u8])> = (0..20).map(|i| (60 * i + 2, ALIVE)).collect();
    let sends = [&[(0, OPEN), (1, SHELL)][..], &alive].concat();
    assert_eq!(serve_for(&sends, None, true).1, 601);
    // Nor does one that is logged in and opens no session at all stay.
    assert_eq!(serve_for(&[], None, true).1, 600);
}

#[test]
fn all_that_a_session_says_comes_before_its_end() {
    let (_, _, messages, was_stopped) = serve_program(&[(0, OPEN), (1, SHELL)], None, b"0123456789", true);
    // Four pieces of data, exit status, end of data, close.
    let from = messages.iter().position(|number| *number == 94).unwrap();
    assert_eq!(messages[from..from + 7], [94, 94, 94, 94, 98, 96, 97]);
    assert!(was_stopped);
}

#[test]
fn who_does_not_log_in_is_closed_sooner() {
    let (end, seconds, ..) = serve_for(&[], None, false);
    assert_eq!((end, seconds), (Some(End::TooSlow), 10));
}

#[test]
fn a_session_with_output_stays_and_changes_its_keys_every_hour() {
    let (end, seconds, messages, _) = serve_for(&[(0, OPEN), (1, SHELL)], Some(60), true);
    // The client answers no offer of keys, and then nothing can be sent any more.
    let offer = messages.iter().rposition(|number| *number == KEXINIT).unwrap();
    let lines = messages.iter().filter(|number| **number == 94).count();
    assert!((58..=61).contains(&lines) && offer > lines, "{lines} lines, {messages:?}");
    assert_eq!(end, Some(End::Idle), "after {seconds}");
    assert!((4100..=4300).contains(&seconds), "{seconds}");
}
