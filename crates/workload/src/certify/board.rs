//! What is seen of the board while it works.

use core::net::IpAddr;

use embassy_time::{Duration, Instant, with_timeout};
use telemetry::sample::{Clock, Sample};

use crate::context::Context;
use crate::env::{Observation, PingFailure, TimeFailure, TimeReading};

/// How often to look.
const PERIOD: Duration = Duration::from_millis(500);
/// How often to ask the gateway for an echo, how long to wait for it, and how much to send: nearly a whole frame.
const PING_PERIOD: Duration = Duration::from_secs(1);
const PING_TIMEOUT: Duration = Duration::from_millis(500);
const PING_LEN: usize = 1_400;
/// How long core 0 may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// How often to ask for the time before the best answer is taken, and when to try again.
const TIME_QUESTIONS: usize = 4;
const TIME_RETRY: Duration = Duration::from_secs(2);
/// How long the last questions for the time may take, which are asked at the end.
const TIME_RESERVE: Duration = Duration::from_millis(500);

/// Everything that was seen.
#[derive(Default)]
pub(crate) struct Seen {
    /// What was seen last.
    pub(crate) last: Option<Observation>,
    /// Counts of the interface when the link was first up.
    pub(crate) link_since: Option<Sample>,
    /// Whether the link was found down after it had been up.
    pub(crate) was_down: bool,
    /// The slowest answer of core 0, and how often there was none.
    pub(crate) slowest: Duration,
    pub(crate) silences: u32,
    /// The lowest and highest temperature, in thousandths of a degree.
    pub(crate) temperature_mc: Option<(i32, i32)>,
    /// Everything that the firmware has held back, now or since boot, as its bits.
    pub(crate) throttled: Option<u32>,
    /// The lowest and highest clock of the cores.
    pub(crate) arm_hz: Option<(u32, u32)>,
    /// Echoes asked of the gateway, and answered.
    pub(crate) gateway: Option<IpAddr>,
    pub(crate) asked: u32,
    pub(crate) answered: u32,
    /// What a time server said at the beginning and at the end.
    pub(crate) time: Option<(TimeReading, TimeReading)>,
    /// Why there is no such pair.
    pub(crate) time_failure: Option<TimeFailure>,
}

impl Seen {
    /// Takes in what was seen after core 0 had needed `took` to answer.
    pub(crate) fn take(&mut self, observation: Observation, took: Duration) {
        self.slowest = self.slowest.max(took);
        let (sample, net) = (&observation.sample, &observation.net);
        if net.link.is_up() {
            self.link_since.get_or_insert(*sample);
        } else {
            self.was_down |= self.link_since.is_some();
        }
        if let Some(mc) = sample.temperature_mc {
            self.temperature_mc = Some(widened(self.temperature_mc, mc));
        }
        if let Some(hz) = sample.clock_hz(Clock::Arm) {
            self.arm_hz = Some(widened(self.arm_hz, hz));
        }
        if let Some(throttled) = sample.throttled {
            *self.throttled.get_or_insert(0) |= throttled.0;
        }
        let gateway = net.ipv4.and_then(|ipv4| ipv4.gateway).map(IpAddr::V4);
        self.gateway = gateway.or(self.gateway);
        self.last = Some(observation);
    }
}

fn widened<T: Ord + Copy>(range: Option<(T, T)>, value: T) -> (T, T) {
    range.map_or((value, value), |(least, most)| (least.min(value), most.max(value)))
}

/// Looks at the board until `end`.
pub(crate) async fn watch(context: &Context<'_>, end: Instant, seen: &mut Seen) {
    let (mut next_ping, mut next_time) = (context.now(), context.now());
    let mut first_time = None;
    let mut next = context.now();
    while context.now() + TIME_RESERVE < end {
        look(context, seen).await;
        if let Some(gateway) = seen.gateway
            && context.now() >= next_ping
        {
            next_ping = context.now() + PING_PERIOD;
            ping(context, gateway, seen).await;
        }
        let has_address = seen.last.as_ref().is_some_and(|last| last.net.ipv4.is_some() || !last.net.ipv6.is_empty());
        if first_time.is_none() && has_address && context.now() >= next_time {
            next_time = context.now() + TIME_RETRY;
            first_time = time(context, seen).await;
        }
        next = (next + PERIOD).max(context.now());
        context.sleep_until(next.min(end)).await;
    }
    if let Some(first) = first_time {
        seen.time = time(context, seen).await.map(|last| (first, last));
    }
    context.sleep_until(end).await;
    look(context, seen).await;
}

async fn look(context: &Context<'_>, seen: &mut Seen) {
    let asked = context.now();
    match with_timeout(ANSWER_TIMEOUT, context.env().look()).await {
        Ok(Some(observation)) => {
            let took = context.now().checked_duration_since(asked).unwrap_or(Duration::MIN);
            seen.take(*observation, took);
        }
        Ok(None) => {}
        Err(_) => seen.silences += 1,
    }
}

async fn ping(context: &Context<'_>, gateway: IpAddr, seen: &mut Seen) {
    match context.env().ping(gateway, PING_LEN, PING_TIMEOUT).await {
        Ok(_) => {
            seen.asked += 1;
            seen.answered += 1;
        }
        Err(PingFailure::Timeout | PingFailure::Unreachable) => seen.asked += 1,
        // The node did not send it.
        Err(PingFailure::NoNetwork | PingFailure::Busy) => {}
    }
}

/// Asks for the time some times, and returns the answer that was the quickest: the most exact one.
async fn time(context: &Context<'_>, seen: &mut Seen) -> Option<TimeReading> {
    let mut best: Option<TimeReading> = None;
    for _ in 0..TIME_QUESTIONS {
        match context.env().ask_time().await {
            Ok(reading) => best = Some(best.filter(|best| best.error_us <= reading.error_us).unwrap_or(reading)),
            Err(failure) => {
                seen.time_failure = Some(failure);
                break;
            }
        }
    }
    best
}
