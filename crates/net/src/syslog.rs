//! Sends log lines to a syslog server: RFC 5424 messages, each in a UDP datagram (RFC 5426) or counted on a TCP stream
//! (RFC 6587, section 3.4.1).
//!
//! Every message has its line's number as `sequenceId`, so that the receiver can see what is missing and what came twice.

mod tcp;

use core::fmt::Write as _;
use core::net::SocketAddr;

use alloc::string::String;
use embassy_time::{Instant, Timer};

use crate::settings::NodeName;
use crate::socket::udp::UdpSocket;
use crate::stack::Stack;

/// Port of syslog over UDP (RFC 5426, section 3.3), and by custom of syslog over TCP (rsyslog, `imtcp`).
pub const SYSLOG_PORT: u16 = 514;
/// Messages of this length go through everywhere (RFC 5424, section 6.1: 480 must, 2,048 should be accepted).
const MESSAGE_LEN_MAX: usize = 1024;
/// Facility "local use 0" (RFC 5424, table 1).
const FACILITY: u8 = 16;
/// The largest `sequenceId`; behind it comes 1 (RFC 5424, section 7.3.1).
const SEQUENCE_ID_MAX: u64 = 2_147_483_647;
const PACKETS: usize = 16;

type Message = heapless::String<MESSAGE_LEN_MAX>;

/// How messages travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// A datagram each: what is lost is lost.
    Udp,
    /// One after the other on a connection, and again on the next one unless they have arrived.
    Tcp,
}

/// How grave a line is (RFC 5424, table 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[repr(u8)]
pub enum Severity {
    /// The node can't be used.
    Emergency = 0,
    /// Somebody must do something at once.
    Alert = 1,
    /// Critical.
    Critical = 2,
    /// An error.
    Error = 3,
    /// A warning.
    Warning = 4,
    /// Normal, but worth noting.
    Notice = 5,
    /// For information.
    #[default]
    Info = 6,
    /// For those who look for a bug.
    Debug = 7,
}

/// A line of the log.
#[derive(Clone, Debug)]
pub struct Line {
    /// How grave it is.
    pub severity: Severity,
    /// When it was written.
    pub at: Instant,
    /// What it says.
    pub text: String,
}

impl Line {
    const EMPTY: Self = Self { severity: Severity::Info, at: Instant::MIN, text: String::new() };
}

/// The log, as far as it is kept. Lines are numbered from 0.
pub trait Lines {
    /// Fills in line `number`, or the oldest one behind it that is still kept, and returns the line's number.
    ///
    /// The text of `line` is empty before. Returns `None` if no such line was written yet.
    fn read(&mut self, number: u64, line: &mut Line) -> Option<u64>;

    /// Waits until a line has been written since the last wait.
    fn wait(&mut self) -> impl Future<Output = ()>;
}

/// Sends each line to `server`, those from before it could be reached too, for ever.
pub async fn run(stack: &'static Stack, transport: Transport, server: SocketAddr, lines: &mut impl Lines) -> ! {
    match transport {
        Transport::Udp => run_udp(stack, server, lines).await,
        Transport::Tcp => tcp::run(stack, server, lines).await,
    }
}

async fn run_udp(stack: &'static Stack, server: SocketAddr, lines: &mut impl Lines) -> ! {
    let mut socket = loop {
        match UdpSocket::bind(stack, 0, PACKETS, PACKETS * MESSAGE_LEN_MAX) {
            Ok(socket) => break socket,
            // Not reached: any port will do.
            Err(_) => Timer::after_secs(1).await,
        }
    };
    let (mut next, mut line, mut message) = (0, Line::EMPTY, Message::new());
    loop {
        wait_for_address(stack, server).await;
        if next_message(stack, lines, &mut next, &mut line, &mut message) {
            // A server that can't be reached misses the line: that is what UDP promises.
            let _ = socket.send_to(message.as_bytes(), server).await;
        } else {
            lines.wait().await;
        }
    }
}

/// Waits until the node has an address of the same kind as its server.
async fn wait_for_address(stack: &Stack, server: SocketAddr) {
    while !stack.status().addresses().any(|own| own.is_ipv4() == server.is_ipv4()) {
        stack.wait_epoch(stack.epoch()).await;
    }
}

/// Makes the message of line `next`, or of the oldest one behind it that is kept, and moves on. Returns whether there is one.
fn next_message(stack: &Stack, lines: &mut impl Lines, next: &mut u64, line: &mut Line, message: &mut Message) -> bool {
    line.text.clear();
    let Some(number) = lines.read(*next, line) else { return false };
    message.clear();
    format(stack, number, number.saturating_sub(*next), line, message);
    *next = number + 1;
    true
}

/// Writes the message. What does not fit is cut off.
fn format(stack: &Stack, number: u64, missed: u64, line: &Line, out: &mut Message) {
    let name = NodeName::try_from(stack.name()).unwrap_or_default();
    let name = if name.is_empty() { "-" } else { name.as_str() };
    // The header fits: the name is short.
    let _ = write!(out, "<{}>1 ", FACILITY * 8 + line.severity as u8);
    let _ = match stack.unix_time_at(line.at) {
        Some(time) => write!(out, "{}", time.date()),
        None => write!(out, "-"),
    };
    let _ = write!(out, " {name} minipirack - - [meta sequenceId=\"{}\"] ", number % SEQUENCE_ID_MAX + 1);
    if missed > 0 {
        let _ = write!(out, "({missed} lines before this were lost) ");
    }
    for c in line.text.chars() {
        if out.push(if c.is_control() { ' ' } else { c }).is_err() {
            return;
        }
    }
}
