//! Requests over UDP: datagrams that an echo service sends back. One socket, and many under way.

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;

use embassy_futures::select::select;
use embassy_time::{Duration, Instant, Timer};
use sockets::UdpSocket;

use super::Settings;
use super::schedule::Schedule;
use super::stream::pattern;
use super::tally::{Event, Tally};
use crate::{Context, Failure};

/// Datagrams that are under way at most; a power of two.
const UNDER_WAY_MAX: usize = 4096;
/// Datagrams that the socket keeps for us, and of ours.
const SOCKET_DATAGRAMS: usize = 32;
/// Longest datagram in bytes.
const LEN_MAX: usize = 1472;
/// How long to wait before asking for a peer again that nobody knows.
const RETRY: Duration = Duration::from_secs(1);

/// Requests that were sent, by their number; answered ones are `None`.
pub(super) struct Flight {
    due: Box<[Option<Instant>]>,
    /// Numbers from `oldest` to before `next` may be under way.
    oldest: u64,
    next: u64,
    timeout: Duration,
}

impl Flight {
    pub(super) fn new(timeout: Duration) -> Self {
        Self { due: vec![None; UNDER_WAY_MAX].into_boxed_slice(), oldest: 0, next: 0, timeout }
    }

    /// Notes a request and returns its number; `None` if too many are under way.
    pub(super) fn depart(&mut self, due: Instant) -> Option<u64> {
        if self.next - self.oldest == UNDER_WAY_MAX as u64 {
            return None;
        }
        let number = self.next;
        *self.place(number)? = Some(due);
        self.next += 1;
        Some(number)
    }

    /// Notes an answer and returns when its request was due; `None` if nobody waits for it.
    pub(super) fn arrive(&mut self, number: u64) -> Option<Instant> {
        if !(self.oldest..self.next).contains(&number) {
            return None;
        }
        self.place(number)?.take()
    }

    /// Gives up what was due too long ago, and returns how many that were.
    pub(super) fn expire(&mut self, now: Instant) -> u64 {
        let mut expired = 0;
        while self.oldest < self.next {
            let (oldest, timeout) = (self.oldest, self.timeout);
            let Some(place) = self.place(oldest) else { break };
            if place.is_some_and(|due| due + timeout > now) {
                break;
            }
            expired += u64::from(place.take().is_some());
            self.oldest += 1;
        }
        expired
    }

    /// Returns how many requests may be under way.
    pub(super) fn len(&self) -> u64 {
        self.next - self.oldest
    }

    fn place(&mut self, number: u64) -> Option<&mut Option<Instant>> {
        self.due.get_mut(usize::try_from(number).ok()? % UNDER_WAY_MAX)
    }
}

/// Sends what the schedule says until its end, and waits for the answers.
///
/// # Errors
///
/// When there is no socket.
pub(super) async fn run(
    settings: &Settings<'_>,
    schedule: &mut Schedule,
    context: Context<'_>,
) -> Result<(), Failure> {
    let network = context.env().network();
    let mut tally = Box::new(Tally::new(context.now()));
    let peer = loop {
        match network.resolve_peer(settings.peer, settings.port).await {
            Ok(peer) => break peer,
            Err(_) => tally.count(Event::Unreachable),
        }
        tally.show(&context, context.now(), 0, 0);
        context.sleep_until(context.now() + RETRY).await;
    };
    let bound = UdpSocket::bind(network, 0, SOCKET_DATAGRAMS, SOCKET_DATAGRAMS).await;
    let mut socket = bound.map_err(Failure::because)?;
    let mut flight = Flight::new(settings.timeout);
    let mut data = Vec::from([0; LEN_MAX]);
    let size = settings.size.clamp(8, LEN_MAX);
    let start = context.now();
    let mut next = due_at(schedule, settings, start);
    let mut tick = tally.next_look(start);
    let mut since_pause = 0;
    loop {
        let now = context.now();
        if now >= tick {
            (0..flight.expire(now)).for_each(|_| tally.count(Event::TimedOut));
            tally.show(&context, now, flight.len(), 0);
            context.progress();
            tick = tally.next_look(now);
        }
        match next {
            Some(due) if due <= now => {
                tally.count(Event::Offered);
                tally.note_behind(now - due);
                match flight.depart(due) {
                    None => tally.count(Event::Overload),
                    Some(number) => {
                        let bytes = data.get_mut(..size).unwrap_or_default();
                        bytes.iter_mut().enumerate().for_each(|(i, byte)| *byte = pattern(number, i));
                        if socket.send_to(bytes, peer).await.is_ok() {
                            tally.count(Event::Sent);
                        }
                    }
                }
                next = due_at(schedule, settings, start);
                since_pause += 1;
                if since_pause == 32 {
                    context.pause().await;
                    since_pause = 0;
                }
                // What has come meanwhile is looked at, but not waited for.
                let take = |bytes: &[u8], from, _| take(&mut tally, &mut flight, &context, bytes, from == peer, size);
                let _ = socket.try_recv_with(take);
                continue;
            }
            None if flight.len() == 0 && settings.duration.is_some() => break,
            _ => {}
        }
        since_pause = 0;
        let wake = next.unwrap_or(tick).min(tick);
        let receive =
            socket.recv_with(|bytes, from, _| take(&mut tally, &mut flight, &context, bytes, from == peer, size));
        select(receive, Timer::at(wake)).await;
    }
    tally.finish(&context, context.now(), 0, 0);
    Ok(())
}

/// Returns when the next request is due; `None` after the last.
fn due_at(schedule: &mut Schedule, settings: &Settings<'_>, start: Instant) -> Option<Instant> {
    let us = schedule.next_us()?;
    let is_over = settings.duration.is_some_and(|duration| us > duration.as_micros());
    (!is_over).then(|| start + Duration::from_micros(us))
}

/// Notes a datagram that has come.
fn take(tally: &mut Tally, flight: &mut Flight, context: &Context<'_>, bytes: &[u8], is_peer: bool, size: usize) {
    let number = bytes.first_chunk().map(|number| u64::from_be_bytes(*number));
    let Some(number) = number.filter(|_| is_peer) else { return tally.count(Event::Late) };
    let Some(due) = flight.arrive(number) else { return tally.count(Event::Late) };
    let is_same = bytes.len() == size && bytes.iter().enumerate().all(|(i, byte)| *byte == pattern(number, i));
    if is_same {
        let latency = context.now().checked_duration_since(due).unwrap_or(Duration::MIN);
        tally.complete(latency);
        context.add_operation(latency);
        context.add_bytes(size as u64);
    } else {
        tally.count(Event::BadAnswer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Instant {
        Instant::from_millis(ms)
    }

    #[test]
    fn every_datagram_is_answered_once_or_given_up() {
        let mut flight = Flight::new(Duration::from_millis(100));
        let numbers: Vec<_> = (0..10).map(|n| flight.depart(ms(n)).unwrap()).collect();
        assert_eq!(flight.arrive(numbers[3]), Some(ms(3)));
        assert_eq!((flight.arrive(numbers[3]), flight.arrive(99), flight.len()), (None, None, 10));
        assert_eq!((flight.expire(ms(104)), flight.len()), (4, 5), "0, 1, 2 and 4");
        assert_eq!(flight.arrive(numbers[0]), None, "comes too late");
        assert_eq!(flight.arrive(numbers[9]), Some(ms(9)));
        assert_eq!((flight.expire(ms(1000)), flight.len()), (4, 0));
    }

    #[test]
    fn no_more_are_sent_than_can_be_kept_in_mind() {
        let mut flight = Flight::new(Duration::from_millis(100));
        for n in 0..3 * UNDER_WAY_MAX as u64 {
            assert_eq!(flight.depart(ms(n)).is_some(), n < UNDER_WAY_MAX as u64);
        }
        assert_eq!(flight.expire(ms(1_000_000)), UNDER_WAY_MAX as u64);
        assert!(flight.depart(ms(0)).is_some());
    }
}
