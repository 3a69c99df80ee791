//! The classic services: echo (RFC 862), discard (RFC 863) and chargen (RFC 864), over TCP and UDP.
//!
//! Each `tcp_` function is one worker with a socket: run as many of them as clients are to be served at once. Each `udp_`
//! function serves everybody.

use embassy_time::{Duration, Timer, with_timeout};

use crate::backlog::Spare;
use crate::counters::Event;
use crate::socket::tcp::{TcpError, TcpSocket};
use crate::socket::udp::{DATAGRAM_LEN_MAX, Datagram, UdpSocket};
use crate::stack::Stack;

/// Port of the echo service (RFC 862).
pub const ECHO_PORT: u16 = 7;
/// Port of the discard service (RFC 863).
pub const DISCARD_PORT: u16 = 9;
/// Port of the character generator (RFC 864).
pub const CHARGEN_PORT: u16 = 19;

/// A bulk transfer keeps up with the wire when a window covers what travels in the few milliseconds that a busy node
/// takes to answer: 135 Mbit/s for 3 ms.
const BULK_LEN: usize = 64 * 1024;
const ECHO_LEN: usize = 16 * 1024;
const SMALL_LEN: usize = 1024;
/// Room for UDP datagrams that wait (packets, bytes): 40 Mbit/s for the 30 ms that a busy host may keep the node from
/// running.
const MANY: (usize, usize) = (128, 128 * DATAGRAM_LEN_MAX);
const SOME: (usize, usize) = (64, 64 * DATAGRAM_LEN_MAX);
const FEW: (usize, usize) = (8, 8 * 1024);
/// A TCP client that moves no byte for this long makes room for the next one: the sockets are few, and a connection that
/// only answers keep-alives costs its owner nothing.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// Lines of RFC 864: 72 of the 95 printable characters, each line one further.
const PATTERN_LEN: usize = 95;
const LINE_LEN: usize = 72;
/// Longest answer of the UDP character generator in bytes (RFC 864).
const CHARGEN_DATAGRAM_LEN: usize = 512;

/// Sends back what each client sends, for ever.
pub async fn tcp_echo(stack: &'static Stack) -> ! {
    let mut socket = TcpSocket::new(stack, ECHO_LEN, ECHO_LEN);
    loop {
        if socket.accept(ECHO_PORT).await.is_ok() && echo(stack, &mut socket).await.is_ok() {
            socket.close().await;
        }
    }
}

async fn echo(stack: &Stack, socket: &mut TcpSocket) -> Result<(), TcpError> {
    let mut buffer = [0; 2048];
    let mut spare = Spare::Stalled;
    loop {
        let read = async |socket: &mut TcpSocket| embedded_io_async::Read::read(socket, &mut buffer).await;
        let len = unless_idle(stack, socket, spare, read).await?;
        if len == 0 {
            return Ok(());
        }
        spare = Spare::Idle;
        let mut rest = buffer.get(..len).unwrap_or_default();
        while !rest.is_empty() {
            let write = async |socket: &mut TcpSocket| embedded_io_async::Write::write(socket, rest).await;
            let len = unless_idle(stack, socket, Spare::Slow, write).await?;
            rest = rest.get(len..).unwrap_or_default();
        }
    }
}

/// Takes a step that moves bytes, during which others may have the socket for the reason `spare`. Resets the connection when it takes
/// too long and the peer has acknowledged nothing in
/// the meantime.
async fn unless_idle<T>(
    stack: &Stack,
    socket: &mut TcpSocket,
    spare: Spare,
    mut step: impl AsyncFnMut(&mut TcpSocket) -> Result<T, TcpError>,
) -> Result<T, TcpError> {
    socket.set_spare(Some(spare));
    loop {
        let unsent = socket.unsent();
        match with_timeout(IDLE_TIMEOUT, step(socket)).await {
            Ok(result) => {
                socket.set_spare(None);
                return result;
            }
            Err(_) if socket.unsent() < unsent => {}
            Err(_) => {
                stack.counters().count(Event::TcpIdle);
                socket.abort();
                return Err(TcpError::ConnectionReset);
            }
        }
    }
}

/// Takes what each client sends, for ever.
pub async fn tcp_discard(stack: &'static Stack) -> ! {
    let mut socket = TcpSocket::new(stack, BULK_LEN, SMALL_LEN);
    loop {
        if socket.accept(DISCARD_PORT).await.is_ok() {
            let mut take = async |socket: &mut TcpSocket| socket.read_with(|bytes| (bytes.len(), ())).await;
            while let Ok(Some(())) = unless_idle(stack, &mut socket, Spare::Idle, &mut take).await {}
            socket.close().await;
        }
    }
}

/// Sends each client printable characters as long as it takes them, for ever.
pub async fn tcp_chargen(stack: &'static Stack) -> ! {
    let mut socket = TcpSocket::new(stack, SMALL_LEN, BULK_LEN);
    loop {
        if socket.accept(CHARGEN_PORT).await.is_ok() {
            let mut characters = Characters::new();
            // A client that has said good-bye is still listening; one that is gone resets the connection.
            let mut put =
                async |socket: &mut TcpSocket| socket.write_with(|room| (room.len(), characters.fill(room))).await;
            while unless_idle(stack, &mut socket, Spare::Slow, &mut put).await.is_ok() {}
        }
    }
}

/// Sends back each datagram, for ever.
pub async fn udp_echo(stack: &'static Stack) -> ! {
    let mut socket = bind(stack, ECHO_PORT, MANY, SOME).await;
    let mut buffer = [0; DATAGRAM_LEN_MAX];
    loop {
        let datagram = socket.recv_from(&mut buffer).await;
        if may_answer(stack, &datagram) {
            let data = buffer.get(..datagram.len).unwrap_or_default();
            // A peer that can't be reached gets no answer.
            let _ = socket.try_send(data, datagram.peer, datagram.local);
            stack.kick();
        }
    }
}

/// Takes each datagram, for ever.
pub async fn udp_discard(stack: &'static Stack) -> ! {
    let mut socket = bind(stack, DISCARD_PORT, SOME, FEW).await;
    loop {
        socket.recv_from(&mut []).await;
    }
}

/// Answers each datagram with one of printable characters, for ever.
///
/// Only for peers on the link: an answer longer than the question, sent to an address that may be forged, would make
/// the node a tool against others.
pub async fn udp_chargen(stack: &'static Stack) -> ! {
    let mut socket = bind(stack, CHARGEN_PORT, FEW, FEW).await;
    let mut characters = Characters::new();
    let mut answer = [0; CHARGEN_DATAGRAM_LEN];
    loop {
        let datagram = socket.recv_from(&mut []).await;
        if may_answer(stack, &datagram) && stack.is_on_link(datagram.peer.ip()) {
            characters.fill(&mut answer);
            // A peer that can't be reached gets no answer.
            let _ = socket.try_send(&answer, datagram.peer, datagram.local);
            stack.kick();
        }
    }
}

/// Returns whether a datagram may be answered.
///
/// Not one from another service: two of them could talk to each other for ever. And not one to a broadcast or group
/// address: with a forged sender, a single datagram would have every node of a rack answer the victim.
fn may_answer(stack: &Stack, datagram: &Datagram) -> bool {
    datagram.peer.port() >= 1024 && datagram.local.is_some_and(|local| stack.has_address(local))
}

async fn bind(stack: &'static Stack, port: u16, rx: (usize, usize), tx: (usize, usize)) -> UdpSocket {
    loop {
        match UdpSocket::bind_with(stack, port, rx, tx) {
            Ok(socket) => return socket,
            // Not reached: the ports are not 0.
            Err(_) => Timer::after_secs(1).await,
        }
    }
}

/// The endless text of RFC 864.
struct Characters {
    line: usize,
    column: usize,
}

impl Characters {
    fn new() -> Self {
        Self { line: 0, column: 0 }
    }

    fn fill(&mut self, mut room: &mut [u8]) {
        while !room.is_empty() {
            let start = self.line * (LINE_LEN + 2) + self.column;
            let rest = TEXT.get(start..).unwrap_or_default();
            let len = rest.len().min(room.len());
            let (now, later) = room.split_at_mut(len);
            now.copy_from_slice(rest.get(..len).unwrap_or_default());
            room = later;
            let next = (start + len) % TEXT.len();
            self.line = next / (LINE_LEN + 2);
            self.column = next % (LINE_LEN + 2);
        }
    }
}

/// All lines, after which they repeat.
static TEXT: [u8; PATTERN_LEN * (LINE_LEN + 2)] = {
    let mut text = [0; PATTERN_LEN * (LINE_LEN + 2)];
    let mut line = 0;
    while line < PATTERN_LEN {
        let start = line * (LINE_LEN + 2);
        let mut column = 0;
        while column < LINE_LEN {
            text[start + column] = b' ' + ((line + column) % PATTERN_LEN) as u8;
            column += 1;
        }
        text[start + LINE_LEN] = b'\r';
        text[start + LINE_LEN + 1] = b'\n';
        line += 1;
    }
    text
};
