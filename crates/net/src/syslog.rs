//! Sends log lines to a syslog server: RFC 5424 messages in UDP datagrams (RFC 5426).

use core::fmt::Write as _;
use core::net::SocketAddr;

use alloc::string::String;
use embassy_time::{Instant, Timer};

use crate::settings::NodeName;
use crate::socket::udp::UdpSocket;
use crate::stack::Stack;

/// Port of syslog over UDP (RFC 5426, section 3.3).
pub const SYSLOG_PORT: u16 = 514;
/// Messages of this length go through everywhere (RFC 5424, section 6.1: 480 must, 2,048 should be accepted).
const MESSAGE_LEN_MAX: usize = 1024;
/// Facility "local use 0" (RFC 5424, table 1).
const FACILITY: u8 = 16;
const PACKETS: usize = 16;

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

/// Sends each line that `next_line` brings to `server`, for ever.
///
/// `next_line` waits for a line and fills it in; its text is empty before. It is asked only while the node has an address,
/// so that lines from before are sent too, as far as the caller keeps them.
pub async fn run(stack: &'static Stack, server: SocketAddr, mut next_line: impl AsyncFnMut(&mut Line)) -> ! {
    let mut socket = loop {
        match UdpSocket::bind(stack, 0, PACKETS, PACKETS * MESSAGE_LEN_MAX) {
            Ok(socket) => break socket,
            // Not reached: any port will do.
            Err(_) => Timer::after_secs(1).await,
        }
    };
    let mut line = Line { severity: Severity::Info, at: Instant::MIN, text: String::new() };
    let mut message: heapless::String<MESSAGE_LEN_MAX> = heapless::String::new();
    loop {
        while !stack.status().addresses().any(|own| own.is_ipv4() == server.is_ipv4()) {
            stack.wait_epoch(stack.epoch()).await;
        }
        line.text.clear();
        next_line(&mut line).await;
        message.clear();
        format(stack, &line, &mut message);
        // A server that can't be reached misses the line: that is what UDP promises.
        let _ = socket.send_to(message.as_bytes(), server).await;
    }
}

/// Writes the message. What does not fit is cut off.
fn format(stack: &Stack, line: &Line, out: &mut heapless::String<MESSAGE_LEN_MAX>) {
    let name = NodeName::try_from(stack.name()).unwrap_or_default();
    let name = if name.is_empty() { "-" } else { name.as_str() };
    // The header fits: the name is short.
    let _ = write!(out, "<{}>1 ", FACILITY * 8 + line.severity as u8);
    let _ = match stack.unix_time_at(line.at) {
        Some(time) => write!(out, "{}", time.date()),
        None => write!(out, "-"),
    };
    let _ = write!(out, " {name} minipirack - - - ");
    for c in line.text.chars() {
        if out.push(if c.is_control() { ' ' } else { c }).is_err() {
            return;
        }
    }
}
