//! The log on a TCP connection.
//!
//! That the server's TCP has acknowledged a line does not mean that the server has read it: what it had not read when it
//! ended is gone, and nobody tells. So a line counts as arrived only when its connection still stood a while after the
//! acknowledgement, and on a new connection the log goes on behind the last line that has arrived. Some lines come twice
//! that way; their `sequenceId` shows it.

use core::fmt::Write as _;
use core::net::SocketAddr;

use embassy_futures::select::select;
use embassy_time::{Duration, Instant, with_deadline, with_timeout};
use embedded_io_async::{Read as _, Write as _};

use super::{Line, Lines, Message, next_message, wait_for_address};
use crate::backoff::Backoff;
use crate::socket::tcp::{TcpError, TcpReader, TcpSocket, TcpWriter};
use crate::stack::Stack;

/// Bytes that may be on their way: the whole ring of a node's log, roughly.
const TX_LEN: usize = 16 * 1024;
/// Servers say nothing; what they say is thrown away.
const RX_LEN: usize = 256;
/// How long the server may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection must stand after a line was acknowledged. rsyslog reads within milliseconds.
const SETTLE_TIME: Duration = Duration::from_secs(1);

pub(super) async fn run(stack: &'static Stack, server: SocketAddr, lines: &mut impl Lines) -> ! {
    let mut socket = TcpSocket::new(stack, RX_LEN, TX_LEN);
    let mut backoff = Backoff::of(stack, server.port());
    // All lines in front of this one have arrived.
    let mut arrived = 0;
    loop {
        wait_for_address(stack, server).await;
        if let Ok(Ok(())) = with_timeout(CONNECT_TIMEOUT, socket.connect(server)).await {
            let start = Instant::now();
            let (reader, writer) = socket.split();
            // A connection that ends while there is nothing to send must be seen too.
            select(until_end(reader), send(stack, writer, lines, &mut arrived)).await;
            if start.elapsed() >= SETTLE_TIME {
                backoff.reset();
            }
        }
        socket.abort();
        backoff.wait(stack).await;
    }
}

/// A moment in the course of a connection: all lines in front of `line` take `bytes` on it.
#[derive(Clone, Copy)]
struct Mark {
    line: u64,
    bytes: u64,
    at: Instant,
}

/// Waits until the server sends no more.
async fn until_end(mut reader: TcpReader<'_>) {
    while reader.read(&mut [0; 64]).await.is_ok_and(|len| len > 0) {}
}

/// Sends lines from the first that may not have arrived, until the connection fails.
async fn send(
    stack: &Stack,
    mut writer: TcpWriter<'_>,
    lines: &mut impl Lines,
    arrived: &mut u64,
) -> Result<(), TcpError> {
    let (mut line, mut message) = (Line::EMPTY, Message::new());
    let mut now = Mark { line: *arrived, bytes: 0, at: Instant::now() };
    let mut last = now;
    loop {
        now.at = Instant::now();
        if now.at >= last.at + SETTLE_TIME {
            if now.bytes.saturating_sub(writer.unsent() as u64) >= last.bytes {
                *arrived = last.line;
                last = now;
            } else {
                last.at = now.at;
            }
        }
        if next_message(stack, lines, &mut now.line, &mut line, &mut message) {
            let mut count: heapless::String<8> = heapless::String::new();
            // Fits: the length has four digits at most.
            let _ = write!(count, "{} ", message.len());
            writer.write_all(count.as_bytes()).await?;
            writer.write_all(message.as_bytes()).await?;
            now.bytes += (count.len() + message.len()) as u64;
        } else if *arrived == now.line {
            lines.wait().await;
        } else {
            // Late or not, there is something to do.
            let _ = with_deadline(last.at + SETTLE_TIME, lines.wait()).await;
        }
    }
}
