//! Streams over UDP: numbered datagrams with the time when they were sent.

use core::net::SocketAddr;

use embassy_futures::select::select3;
use embassy_time::{Duration, Instant, Timer, with_timeout};
use sockets::UdpSocket;
use sockets::udp::DATAGRAM_LEN_MAX;

use crate::iperf3::control::STEP_TIMEOUT;
use crate::iperf3::results::Counts;
use crate::iperf3::run::Run;
use crate::iperf3::{Error, Settings};

/// What a client greets with, and what the server answers: the constants of `iperf.h` in the byte order of the machines that
/// everybody has.
pub(super) const HELLO: [u8; 4] = 0x3637_3839_u32.to_le_bytes();
pub(super) const REPLY: [u8; 4] = 0x3938_3736_u32.to_le_bytes();
/// What older ones do.
const OLD_HELLO: [u8; 4] = 123_456_789_u32.to_le_bytes();
const OLD_REPLY: [u8; 4] = 987_654_321_u32.to_le_bytes();
/// Datagrams that wait: 30 ms of 100 Mbit/s.
pub(super) const RX_DATAGRAMS: usize = 256;
pub(super) const TX_DATAGRAMS: usize = 64;
/// Shortest datagram: the time, and a number of 64 bits.
pub(super) const LEN_MIN: u64 = 16;
const HELLO_INTERVAL: Duration = Duration::from_secs(1);
/// Datagrams in one direction before the other has its turn.
const TURN: usize = 32;

/// A stream.
pub(super) struct Flow {
    pub(super) peer: SocketAddr,
    pub(super) is_sender: bool,
    pub(super) counts: Counts,
    has_begun: bool,
    /// Sender: how much was sent in all, for its rate.
    sent: u64,
    /// The number sent or received last.
    number: u64,
    /// The number up to which it does not count.
    omitted: u64,
    /// Time between sending and receiving, by two different clocks, in µs.
    transit_us: Option<i64>,
    /// Sixteenths of µs.
    jitter: u64,
}

impl Flow {
    pub(super) fn new(peer: SocketAddr, is_sender: bool) -> Self {
        Self {
            peer,
            is_sender,
            counts: Counts::default(),
            has_begun: false,
            sent: 0,
            number: 0,
            omitted: 0,
            transit_us: None,
            jitter: 0,
        }
    }

    /// Counts a datagram that was sent or received; `number` is the last one before.
    fn count(&mut self, run: &Run<'_>, len: usize, number: u64) {
        let had_begun = self.has_begun;
        run.count(&mut self.counts, &mut self.has_begun, len);
        if self.has_begun && !had_begun {
            self.omitted = number;
        }
        run.count_block();
    }

    /// Takes in a datagram (`iperf_udp_recv`).
    fn receive(&mut self, run: &Run<'_>, data: &[u8], now: Instant) {
        let Some((sent_us, number)) = parse(data, run.settings.has_long_numbers) else { return };
        self.count(run, data.len(), self.number);
        if number > self.number {
            self.counts.lost += number - self.number - 1;
            self.number = number;
        } else {
            // It was taken for lost.
            self.counts.out_of_order += 1;
            self.counts.lost = self.counts.lost.saturating_sub(1);
        }
        self.counts.packets = self.number.saturating_sub(self.omitted);
        // RFC 1889, appendix A.8.
        let transit_us = (now.as_micros() as i64).wrapping_sub(sent_us);
        if let Some(before) = self.transit_us.replace(transit_us) {
            let change = transit_us.wrapping_sub(before).unsigned_abs().min(u64::from(u32::MAX));
            self.jitter = (self.jitter + change).saturating_sub((self.jitter + 8) / 16);
            self.counts.jitter_us = self.jitter / 16;
        }
    }

    /// Sends the next datagram if there is room; returns whether there was.
    fn send(&mut self, run: &Run<'_>, socket: &mut UdpSocket, buffer: &mut [u8], now: Instant) -> bool {
        write(buffer, now, self.number + 1, run.settings.has_long_numbers);
        match socket.try_send(buffer, self.peer, None) {
            Ok(true) => {
                self.count(run, buffer.len(), self.number);
                self.number += 1;
                self.counts.packets = self.number - self.omitted;
                self.sent += buffer.len() as u64;
                true
            }
            // The length was looked at before, and the peer has greeted.
            Ok(false) | Err(_) => false,
        }
    }
}

/// Checks that datagrams of the wanted length can be sent and received.
pub(super) fn check(settings: Settings, peer: SocketAddr) -> Result<(), Error> {
    let headers = if peer.is_ipv6() { 20 } else { 0 };
    let range = LEN_MIN..=(DATAGRAM_LEN_MAX - headers) as u64;
    if range.contains(&settings.len) { Ok(()) } else { Err(Error::Length(settings.len)) }
}

/// Greets a server until it answers.
pub(super) async fn greet(socket: &mut UdpSocket, peer: SocketAddr) -> Result<(), Error> {
    let greet = async {
        loop {
            socket.send_to(&HELLO, peer).await?;
            let is_reply = |data: &[u8], from, _| from == peer && (data == REPLY || data == OLD_REPLY);
            if with_timeout(HELLO_INTERVAL, socket.recv_with(is_reply)).await == Ok(true) {
                return Ok(());
            }
        }
    };
    with_timeout(STEP_TIMEOUT, greet).await.unwrap_or(Err(Error::Timeout))
}

/// Waits for a client's greeting; returns its address and the answer that it expects.
pub(super) async fn greeted(socket: &mut UdpSocket) -> (SocketAddr, [u8; 4]) {
    loop {
        let read = |data: &[u8], peer, _| match data {
            _ if data == HELLO => Some((peer, REPLY)),
            _ if data == OLD_HELLO => Some((peer, OLD_REPLY)),
            _ => None,
        };
        if let Some(found) = socket.recv_with(read).await {
            return found;
        }
    }
}

/// Moves the datagrams of the flows that go over one socket, until it is dropped or, if this side decides about that, enough
/// is moved.
pub(super) async fn run(run: &Run<'_>, socket: &mut UdpSocket, flows: &mut [Flow], is_client: bool) {
    let mut buffer = [0; DATAGRAM_LEN_MAX];
    let len = usize::try_from(run.settings.len).unwrap_or(usize::MAX).min(buffer.len());
    let buffer = buffer.get_mut(..len).unwrap_or_default();
    loop {
        let mut moved = 0;
        while moved < TURN {
            let now = run.context.now();
            let take = |data: &[u8], peer, _| {
                let flow = flows.iter_mut().find(|flow| flow.peer == peer && !flow.is_sender);
                if let Some(flow) = flow {
                    flow.receive(run, data, now);
                }
            };
            if socket.try_recv_with(take).is_none() {
                break;
            }
            moved += 1;
        }
        let mut next = Instant::MAX;
        let mut is_full = false;
        for flow in flows.iter_mut().filter(|flow| flow.is_sender) {
            for _ in 0..TURN {
                if is_client && run.is_enough() {
                    return;
                }
                let now = run.context.now();
                let due = run.due(flow.sent);
                if due > now {
                    next = next.min(due);
                    break;
                }
                if !flow.send(run, socket, buffer, now) {
                    is_full = true;
                    break;
                }
                moved += 1;
            }
        }
        if moved > 0 {
            run.context.pause().await;
            continue;
        }
        let room = async { if is_full { socket.wait_room().await } else { core::future::pending().await } };
        select3(socket.wait_datagram(), room, Timer::at(next)).await;
    }
}

fn write(buffer: &mut [u8], now: Instant, number: u64, is_long: bool) {
    let us = now.as_micros();
    let time = (((us / 1_000_000) << 32) | (us % 1_000_000)).to_be_bytes();
    // Shorter numbers wrap, as the real ones do.
    let number = if is_long { number.to_be_bytes() } else { ((number & 0xFFFF_FFFF) << 32).to_be_bytes() };
    for (to, from) in buffer.iter_mut().zip(time.into_iter().chain(number)) {
        *to = from;
    }
}

/// Returns when a datagram was sent, in µs, and its number.
pub(super) fn parse(data: &[u8], is_long: bool) -> Option<(i64, u64)> {
    let (seconds, rest) = data.split_first_chunk()?;
    let (micros, rest) = rest.split_first_chunk()?;
    let number = if is_long {
        u64::from_be_bytes(*rest.first_chunk()?)
    } else {
        u64::from(u32::from_be_bytes(*rest.first_chunk()?))
    };
    let us = i64::from(u32::from_be_bytes(*seconds)) * 1_000_000 + i64::from(u32::from_be_bytes(*micros));
    Some((us, number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn datagrams_are_read_as_they_are_written() {
        for (number, is_long) in [(1, true), (1 << 40, true), (7, false), (u64::from(u32::MAX), false)] {
            let mut data = [0xAA; 20];
            write(&mut data, Instant::from_micros(12_000_034), number, is_long);
            assert_eq!(parse(&data, is_long), Some((12_000_034, number)));
        }
        assert_eq!(parse(&[0; 11], false), None);
        assert_eq!(parse(&[0; 15], true), None);
    }

    #[test]
    fn greetings_are_the_real_ones() {
        assert_eq!((&HELLO, &REPLY), (b"9876", b"6789"));
    }
}
