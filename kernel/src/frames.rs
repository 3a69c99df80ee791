//! The log and the samples as defmt frames over TCP, for `defmt-print` with the ELF file of the same build.
//!
//! A client gets the lines that the log still has, then those that come, and every sample. It can only read. One that reads
//! too slowly misses lines and samples, and is told how many; nobody waits for it.

use core::sync::atomic::Ordering;

use embassy_futures::select::{Either, select};
use embassy_time::{Duration, Timer, with_timeout};
use embedded_io_async::{Read as _, Write as _};
use log::warn;
use net::Stack;
use net::socket::tcp::{TcpError, TcpReader, TcpSocket, TcpWriter};
use telemetry::log_ring::{Cursor, Level, LogLine, LogLines};

use crate::cpu::frame::{Frame, capture};
use crate::logger::{self, LogReader};
use crate::node::Node;
use crate::sampler;

/// Clients that are served at once.
pub(crate) const CLIENTS: usize = 2;
/// Clients say nothing; what they say is thrown away.
const RX_LEN: usize = 64;
/// Bytes that may be on their way to a client: a few samples.
const TX_LEN: usize = 8 * 1024;
/// A client that takes nothing for this long is given up, so that another can have its place.
const PATIENCE: Duration = Duration::from_secs(60);

/// Serves one client after the other. Run it as often as there may be clients.
pub(crate) async fn serve(node: &'static Node, stack: &'static Stack, port: u16) -> ! {
    let mut socket = TcpSocket::new(stack, RX_LEN, TX_LEN);
    loop {
        if socket.accept(port).await.is_err() {
            // Not reached: the port is not 0.
            Timer::after_secs(1).await;
            continue;
        }
        let (reader, writer) = socket.split();
        let mut client = Client { writer, frame: Frame::new() };
        select(until_end(reader), client.serve(node)).await;
        socket.abort();
    }
}

/// Waits until the client has closed its side.
async fn until_end(mut reader: TcpReader<'_>) {
    while reader.read(&mut [0; RX_LEN]).await.is_ok_and(|len| len > 0) {}
}

struct Client<'s> {
    writer: TcpWriter<'s>,
    frame: Frame,
}

impl Client<'_> {
    async fn serve(&mut self, node: &'static Node) -> Result<(), TcpError> {
        let (Some(mut lines), Some(mut samples)) = (logger::WRITTEN.receiver(), node.sample_news.receiver()) else {
            warn!("defmt: too many readers of the log at once");
            return Ok(());
        };
        let mut cursor = Cursor::default();
        let mut sampled = sampler::PROGRESS.load(Ordering::Relaxed);
        loop {
            while let Some((missed, line)) = LogReader.next_line(&mut cursor) {
                if missed > 0 {
                    self.send(line.at_us, || defmt::warn!("{=u64} lines before this were lost", missed)).await?;
                }
                self.send(line.at_us, || log_line(&line)).await?;
            }
            if let Either::Second(at_us) = select(lines.changed(), samples.changed()).await {
                let taken = sampler::PROGRESS.load(Ordering::Relaxed);
                let missed = taken.wrapping_sub(sampled).saturating_sub(1);
                sampled = taken;
                if missed > 0 {
                    self.send(at_us, || defmt::warn!("{=u32} samples before this were lost", missed)).await?;
                }
                let sample = node.sample();
                self.send(at_us, || defmt::info!("{}", sample)).await?;
            }
        }
    }

    /// Sends what `log` logs.
    async fn send(&mut self, at_us: u64, log: impl FnOnce()) -> Result<(), TcpError> {
        if !capture(&mut self.frame, at_us, log) {
            // Never by a line of the log; a sample that has grown too long must not go unnoticed.
            capture(&mut self.frame, at_us, || defmt::error!("a frame does not fit"));
        }
        let sent = with_timeout(PATIENCE, self.writer.write_all(&self.frame)).await;
        sent.unwrap_or(Err(TcpError::ConnectionReset))
    }
}

fn log_line(line: &LogLine) {
    let (target, core, text) = (line.target.unwrap_or("?"), line.core, line.text.as_str());
    match line.level {
        Level::Error => defmt::error!("{=str} core {=u8}: {=str}", target, core, text),
        Level::Warn => defmt::warn!("{=str} core {=u8}: {=str}", target, core, text),
        Level::Info => defmt::info!("{=str} core {=u8}: {=str}", target, core, text),
        Level::Debug => defmt::debug!("{=str} core {=u8}: {=str}", target, core, text),
        Level::Trace => defmt::trace!("{=str} core {=u8}: {=str}", target, core, text),
    }
}
