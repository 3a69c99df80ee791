//! Asks a peer for an echo again and again and keeps a histogram of how long the answers took.
//!
//! Requests go out by the clock, not by the answers, so that a slow peer does not hide its slowness; only an answer that
//! takes longer than the interval delays the next request.

use alloc::boxed::Box;

use embassy_time::Duration;

use crate::parameter::{Kind, Unit, Values};
use crate::{BoxFuture, Context, Failure, Parameter, Workload};

static PEER: Parameter = Parameter { name: "peer", help: "whom to ask", kind: Kind::Address };

static INTERVAL: Parameter = Parameter {
    name: "interval",
    help: "time between requests",
    kind: Kind::Integer { min: 1_000, max: 3_600_000_000, default: 1_000_000, unit: Unit::Time },
};

static SIZE: Parameter = Parameter {
    name: "size",
    help: "bytes of payload",
    // 1,500 less the headers of IPv6 (40) and ICMPv6 (8).
    kind: Kind::Integer { min: 0, max: 1_452, default: 56, unit: Unit::Bytes },
};

static COUNT: Parameter = Parameter {
    name: "count",
    help: "requests to send; 0 is no limit",
    kind: Kind::Integer { min: 0, max: u64::MAX, default: 0, unit: Unit::Count },
};

static TIMEOUT: Parameter = Parameter {
    name: "timeout",
    help: "how long to wait for an answer",
    // Shorter than `manager::STALL`.
    kind: Kind::Integer { min: 1_000, max: 4_000_000, default: 1_000_000, unit: Unit::Time },
};

static PARAMETERS: &[&Parameter] = &[&PEER, &INTERVAL, &SIZE, &COUNT, &TIMEOUT];

pub(super) static WORKLOAD: Ping = Ping;

pub(super) struct Ping;

impl Workload for Ping {
    fn name(&self) -> &'static str {
        "ping"
    }

    fn summary(&self) -> &'static str {
        "asks a peer for echoes and measures the round-trip time"
    }

    fn operation(&self) -> &'static str {
        "one answer; its duration is the round trip; a request without an answer is an error"
    }

    fn parameters(&self) -> &'static [&'static Parameter] {
        PARAMETERS
    }

    fn run<'a>(&'a self, values: &'a Values, context: Context<'a>) -> BoxFuture<'a, Result<(), Failure>> {
        let interval = Duration::from_micros(values.number(&INTERVAL));
        let timeout = Duration::from_micros(values.number(&TIMEOUT));
        let len = usize::try_from(values.number(&SIZE)).unwrap_or(0);
        let count = match values.number(&COUNT) {
            0 => u64::MAX,
            count => count,
        };
        let peer = values.address(&PEER);
        Box::pin(async move {
            // A specification without it was refused.
            let Some(peer) = peer else { return Ok(()) };
            let mut at = context.now();
            for sent in 0..count {
                if sent > 0 {
                    at = (at + interval).max(context.now());
                    context.sleep_until(at).await;
                }
                match context.env().ping(peer, len, timeout).await {
                    Ok(rtt) => {
                        context.add_operation(rtt);
                        context.add_bytes(len as u64);
                    }
                    Err(_) => context.add_errors(1),
                }
            }
            Ok(())
        })
    }
}
