//! The time of day, from an SNTP server (RFC 5905, by `sntpc`), with the error it may have.

use core::cell::{Cell, RefCell};
use core::net::{IpAddr, SocketAddr};

use embassy_futures::select::{Either, select};
use embassy_time::{Duration, Instant, Timer, with_timeout};
use sntpc::{NtpContext, NtpResult, NtpTimestampGenerator, NtpUdpSocket};

use crate::counters::Event;
use crate::socket::udp::UdpSocket;
use crate::stack::Stack;

const NTP_PORT: u16 = 123;
const REPLY_TIMEOUT: Duration = Duration::from_secs(2);
/// How far a clock made of a cheap crystal may run away, in parts per million.
const DRIFT_PPM: u64 = 50;
/// The pause after the first reply, which may have waited for neighbour discovery; then twice as long each time.
const INTERVAL_MIN: Duration = Duration::from_secs(8);
const INTERVAL_MAX: Duration = Duration::from_secs(1024);
/// The pause after a server did not answer; then twice as long each time.
const RETRY_MIN: Duration = Duration::from_secs(2);
const RETRY_MAX: Duration = Duration::from_secs(256);
/// 2026-01-01T00:00:00Z: this image is not older, which settles the era of NTP's 32-bit seconds until 2094.
const NOT_BEFORE_S: u64 = 1_767_225_600;

/// The time of day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnixTime {
    /// Microseconds since 1970-01-01T00:00:00Z, leap seconds not counted.
    pub micros: u64,
    /// How many microseconds it may be off: half the way to the server and back, the server's own error, and drift.
    pub error_micros: u64,
}

/// What a server told.
#[derive(Clone, Copy, Debug)]
struct Sync {
    /// The time of day when the node's clock was 0, in microseconds.
    boot_micros: u64,
    error_micros: u64,
    at: Instant,
    server: IpAddr,
}

impl Sync {
    fn time(&self, at: Instant) -> UnixTime {
        let age = if at > self.at { at - self.at } else { self.at - at };
        UnixTime {
            micros: self.boot_micros.saturating_add(at.as_micros()),
            error_micros: self.error_micros + age.as_micros() * DRIFT_PPM / 1_000_000,
        }
    }

    /// Whether `self` says more than `old`: it is more exact, or contradicts it.
    fn replaces(&self, old: &Self) -> bool {
        let (old, new) = (old.time(self.at), self.time(self.at));
        new.error_micros <= old.error_micros
            || old.micros.abs_diff(new.micros) > old.error_micros.saturating_add(new.error_micros)
    }
}

/// The node's idea of the time of day.
pub(crate) struct Clock {
    sync: Cell<Option<Sync>>,
    /// What is added to it, in µs: a fault on purpose.
    skew: Cell<i64>,
}

impl Clock {
    pub(crate) fn new() -> Self {
        Self { sync: Cell::new(None), skew: Cell::new(0) }
    }
}

impl Stack {
    /// Returns the time of day, once a server has told it.
    #[must_use]
    pub fn unix_time(&self) -> Option<UnixTime> {
        self.unix_time_at(Instant::now())
    }

    /// Returns what the time of day was at `at`.
    #[must_use]
    pub fn unix_time_at(&self, at: Instant) -> Option<UnixTime> {
        let time = self.clock.sync.get()?.time(at);
        Some(UnixTime { micros: time.micros.saturating_add_signed(self.clock.skew.get()), ..time })
    }

    /// Has the time of day be wrong by so many µs more, on purpose: whoever asks gets it so, and is not told.
    pub fn shift_clock(&self, us: i64) {
        self.clock.skew.set(self.clock.skew.get().saturating_add(us));
    }

    /// Returns the server that told the time, and how long ago.
    #[must_use]
    pub fn time_source(&self) -> Option<(IpAddr, Duration)> {
        self.clock.sync.get().map(|sync| (sync.server, sync.at.elapsed()))
    }
}

/// Keeps the time of day, for ever. Run it as a task of its own.
///
/// The server is the one in the settings, else those that the DHCP server names, in turn.
pub async fn run(stack: &'static Stack) -> ! {
    let (mut interval, mut retry) = (INTERVAL_MIN, RETRY_MIN);
    let mut turn = 0;
    loop {
        let epoch = stack.epoch();
        let Some(server) = server(stack, turn) else {
            stack.wait_epoch(epoch).await;
            continue;
        };
        let pause = match with_timeout(REPLY_TIMEOUT, ask(stack, server)).await {
            Ok(Ok(sync)) => {
                stack.counters().count(Event::SntpSync);
                if stack.clock.sync.get().is_none_or(|old| sync.replaces(&old)) {
                    stack.clock.sync.set(Some(sync));
                }
                let pause = interval;
                (interval, retry) = ((interval * 2).min(INTERVAL_MAX), RETRY_MIN);
                pause
            }
            result => {
                stack.counters().count(if result.is_ok() { Event::SntpMalformed } else { Event::SntpTimeout });
                turn = turn.wrapping_add(1);
                let pause = retry;
                (interval, retry) = (INTERVAL_MIN, (retry * 2).min(RETRY_MAX));
                pause
            }
        };
        // A change of address or server ends the wait for a server that did not answer.
        match select(Timer::after(pause), stack.wait_epoch(epoch)).await {
            Either::First(()) => {}
            Either::Second(_) if retry == RETRY_MIN => Timer::after(pause).await,
            Either::Second(_) => retry = RETRY_MIN,
        }
    }
}

fn server(stack: &Stack, turn: usize) -> Option<IpAddr> {
    if !stack.has_link() {
        return None;
    }
    if let Some(server) = stack.settings.ntp {
        let is_reachable = stack.status().addresses().any(|own| own.is_ipv4() == server.is_ipv4());
        return is_reachable.then_some(server);
    }
    let ipv4 = stack.ipv4.borrow();
    let servers = &ipv4.as_ref()?.ntp;
    servers.get(turn.checked_rem(servers.len())?).copied().map(IpAddr::V4)
}

/// What a server told at one moment, for measuring how fast the node's clock goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// A moment by the node's clock.
    pub at: Instant,
    /// The same moment by the server's, in microseconds since 1970.
    pub unix_micros: u64,
    /// How many microseconds the two may be apart: half the way to the server and back. The server's own error is not in it.
    pub error_micros: u64,
}

/// Why a server told nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MeasureError {
    /// No server is known, or it can't be reached yet.
    #[error("no time server is known")]
    NoServer,
    /// It did not answer in time, or not with the time.
    #[error("the time server did not answer")]
    NoAnswer,
}

/// Asks the server for the time once, without setting the clock by it.
///
/// # Errors
/// When there is no server, or it does not answer within two seconds.
pub async fn measure(stack: &'static Stack) -> Result<Reading, MeasureError> {
    let server = server(stack, 0).ok_or(MeasureError::NoServer)?;
    match with_timeout(REPLY_TIMEOUT, exchange(stack, server)).await {
        Ok(Ok(reply)) => {
            let sync = sync(&reply, server, Instant::now());
            let unix_micros = sync.boot_micros.saturating_add(sync.at.as_micros());
            Ok(Reading { at: sync.at, unix_micros, error_micros: reply.roundtrip / 2 })
        }
        result => {
            stack.counters().count(if result.is_ok() { Event::SntpMalformed } else { Event::SntpTimeout });
            Err(MeasureError::NoAnswer)
        }
    }
}

async fn ask(stack: &'static Stack, server: IpAddr) -> Result<Sync, sntpc::Error> {
    let reply = exchange(stack, server).await?;
    Ok(sync(&reply, server, Instant::now()))
}

async fn exchange(stack: &'static Stack, server: IpAddr) -> Result<NtpResult, sntpc::Error> {
    let socket = UdpSocket::bind(stack, 0, 2, 512).map_err(|_| sntpc::Error::Network)?;
    let clock = BootClock { now_micros: 0 };
    let socket = NtpSocket { socket: RefCell::new(socket) };
    sntpc::get_time(SocketAddr::new(server, NTP_PORT), &socket, NtpContext::new(clock)).await
}

fn sync(reply: &NtpResult, server: IpAddr, now: Instant) -> Sync {
    let assumed_micros = NOT_BEFORE_S * 1_000_000;
    // The root's delay and dispersion are in units of 1/65,536 s.
    let root = u64::from(reply.root_delay) / 2 + u64::from(reply.root_dispersion);
    Sync {
        boot_micros: assumed_micros.saturating_add_signed(reply.offset),
        error_micros: reply.roundtrip / 2 + ((root * 1_000_000) >> 16),
        at: now,
        server,
    }
}

/// The node's clock, as if it had been started at [`NOT_BEFORE_S`].
#[derive(Clone, Copy)]
struct BootClock {
    now_micros: u64,
}

impl NtpTimestampGenerator for BootClock {
    fn init(&mut self) {
        self.now_micros = Instant::now().as_micros();
    }

    fn timestamp_sec(&self) -> u64 {
        NOT_BEFORE_S + self.now_micros / 1_000_000
    }

    fn timestamp_subsec_micros(&self) -> u32 {
        // Less than a million.
        u32::try_from(self.now_micros % 1_000_000).unwrap_or(0)
    }
}

struct NtpSocket {
    socket: RefCell<UdpSocket>,
}

impl NtpUdpSocket for NtpSocket {
    #[expect(clippy::await_holding_refcell_ref, reason = "sntpc sends, then receives; nobody else has this socket")]
    async fn send_to(&self, buffer: &[u8], peer: SocketAddr) -> sntpc::Result<usize> {
        self.socket.borrow_mut().send_to(buffer, peer).await.map_err(|_| sntpc::Error::Network)?;
        Ok(buffer.len())
    }

    #[expect(clippy::await_holding_refcell_ref, reason = "sntpc sends, then receives; nobody else has this socket")]
    async fn recv_from(&self, buffer: &mut [u8]) -> sntpc::Result<(usize, SocketAddr)> {
        let datagram = self.socket.borrow_mut().recv_from(buffer).await;
        Ok((datagram.len, datagram.peer))
    }
}

/// A date of the Gregorian calendar and the time of day, in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Date {
    /// The year.
    pub year: u64,
    /// The month, from 1.
    pub month: u8,
    /// The day of the month, from 1.
    pub day: u8,
    /// Hours, minutes and seconds.
    pub time: (u8, u8, u8),
    /// Microseconds.
    pub micros: u32,
}

impl UnixTime {
    /// Returns the date and time in UTC.
    #[must_use]
    pub fn date(self) -> Date {
        let seconds = self.micros / 1_000_000;
        let of_day = seconds % 86_400;
        // Howard Hinnant, "chrono-compatible low-level date algorithms", civil_from_days: years start in March, so that a leap
        // day is the last of its year.
        let days = seconds / 86_400 + 719_468;
        let era = days / 146_097;
        let day_of_era = days % 146_097;
        let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month + 2) / 5 + 1;
        let month = if month < 10 { month + 3 } else { month - 9 };
        Date {
            year: year_of_era + era * 400 + u64::from(month <= 2),
            month: month as u8,
            day: day as u8,
            time: ((of_day / 3600) as u8, (of_day / 60 % 60) as u8, (of_day % 60) as u8),
            micros: (self.micros % 1_000_000) as u32,
        }
    }
}

/// As in RFC 3339.
impl core::fmt::Display for Date {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let (hour, minute, second) = self.time;
        let Self { year, month, day, micros, .. } = self;
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z")
    }
}

#[cfg(test)]
mod tests {
    use std::string::ToString;

    use super::*;

    #[test]
    fn dates_are_right() {
        // From `date -u -d @SECONDS`.
        for (seconds, date) in [
            (0, "1970-01-01T00:00:00.000000Z"),
            (951_782_399, "2000-02-28T23:59:59.000000Z"),
            (951_782_400, "2000-02-29T00:00:00.000000Z"),
            (951_868_800, "2000-03-01T00:00:00.000000Z"),
            (1_767_225_599, "2025-12-31T23:59:59.000000Z"),
            (NOT_BEFORE_S, "2026-01-01T00:00:00.000000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000000Z"),
        ] {
            let time = UnixTime { micros: seconds * 1_000_000, error_micros: 0 };
            assert_eq!(time.date().to_string(), date);
        }
        assert_eq!(UnixTime { micros: 1_234_567, error_micros: 0 }.date().to_string(), "1970-01-01T00:00:01.234567Z");
    }

    #[test]
    fn a_reply_is_kept_if_it_says_more() {
        let server = IpAddr::from([10, 0, 0, 1]);
        let at = Instant::from_secs(100);
        let old = Sync { boot_micros: 1_000_000_000, error_micros: 1000, at, server };
        let better = Sync { error_micros: 900, ..old };
        let worse = Sync { error_micros: 2000, ..old };
        assert!(better.replaces(&old) && !worse.replaces(&old));
        // After 100 s, drift has made the old one worth less.
        assert!(Sync { at: at + Duration::from_secs(100), ..worse }.replaces(&old));
        // The server's clock was set.
        assert!(Sync { boot_micros: 2_000_000_000, ..worse }.replaces(&old));
        assert_eq!(old.time(at + Duration::from_secs(100)).error_micros, 1000 + 100 * DRIFT_PPM);
    }
}
