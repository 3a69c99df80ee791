//! Load: requests that are sent when they are due, whatever becomes of the others.
//!
//! An open-loop generator: its plan says when requests are sent, not the peer's answers, and each latency counts from the
//! moment at which the request was due. So a peer that stalls for a second shows up in every request that was due in it, and
//! not only in the one that happened to be under way ("coordinated omission"; Tene, "How not to measure latency").
//!
//! | module | what |
//! |---|---|
//! | `schedule` | when requests are due |
//! | `pool` | which connection takes them, and what waits |
//! | `retry`, `breaker` | trying again, and when not to |
//! | `stream`, `datagram` | TCP and HTTP, UDP |
//! | `http` | reading answers |
//! | `tally`, `latencies` | what came of them |

mod breaker;
mod datagram;
mod http;
mod latencies;
mod pool;
mod retry;
pub(in crate::builtin) mod schedule;
mod stream;
mod tally;

#[cfg(any(test, fuzzing))]
pub(crate) use http::fuzz;

use alloc::boxed::Box;
use alloc::string::String;

use embassy_time::Duration;
use telemetry::metrics::Metric;

use crate::parameter::{Kind, Unit, Values};
use crate::{BoxFuture, Context, Failure, Parameter, Workload};
use pool::CONNECTIONS_MAX;
use schedule::{Arrivals, Plan, RATE_MAX, RATES_MAX, Schedule};

static PEER: Parameter =
    Parameter { name: "peer", help: "whom to ask", kind: Kind::Peer { is_required: true } };

static PROTOCOL: Parameter = Parameter {
    name: "proto",
    help: "tcp and udp want an echo, http a page",
    kind: Kind::Choice { of: &["tcp", "udp", "http"], default: 0 },
};

static RATE: Parameter = Parameter {
    name: "rate",
    help: "requests per second",
    kind: Kind::Integer { min: 0, max: RATE_MAX, default: 100_000, unit: Unit::Rate },
};

static ARRIVALS: Parameter = Parameter {
    name: "arrivals",
    help: "at equal distances, or at random",
    kind: Kind::Choice { of: &["constant", "poisson"], default: 0 },
};

static ON: Parameter = Parameter {
    name: "on",
    help: "together with off: how long requests are sent",
    kind: Kind::Integer { min: 1_000, max: 3_600_000_000, default: 1_000_000, unit: Unit::Time },
};

static OFF: Parameter = Parameter {
    name: "off",
    help: "how long none are sent after that, again and again",
    kind: Kind::Integer { min: 0, max: 3_600_000_000, default: 0, unit: Unit::Time },
};

static STEPS: Parameter = Parameter {
    name: "steps",
    help: "rates one after the other, instead of rate; the last one stays",
    kind: Kind::Numbers { min: 0, max: RATE_MAX, max_count: RATES_MAX, default: "", unit: Unit::Rate },
};

static STEP: Parameter = Parameter {
    name: "step",
    help: "how long each of the steps is",
    kind: Kind::Integer { min: 1_000, max: 3_600_000_000, default: 10_000_000, unit: Unit::Time },
};

static SIZE: Parameter = Parameter {
    name: "size",
    help: "bytes to be echoed (udp: at most 1472)",
    kind: Kind::Integer { min: 8, max: 65_536, default: 64, unit: Unit::Bytes },
};

static PATH: Parameter = Parameter {
    name: "path",
    help: "page to get",
    kind: Kind::Text { max_len: 100, default: Some("/") },
};

static CONNECTIONS: Parameter = Parameter {
    name: "connections",
    help: "connections to send on, one request at a time on each",
    kind: Kind::Integer { min: 1, max: CONNECTIONS_MAX as u64, default: 8, unit: Unit::Count },
};

static DURATION: Parameter = Parameter {
    name: "duration",
    help: "how long requests are due, after which the last answers are waited for; 0s is for ever",
    kind: Kind::Integer { min: 0, max: 365 * 24 * 3_600_000_000, default: 0, unit: Unit::Time },
};

static TIMEOUT: Parameter = Parameter {
    name: "timeout",
    help: "a request that is not answered so long after it was due has failed",
    kind: Kind::Integer { min: 1_000, max: 60_000_000, default: 1_000_000, unit: Unit::Time },
};

static SEED: Parameter = Parameter {
    name: "seed",
    help: "of random arrivals and pauses: the same seed, the same times",
    kind: Kind::Integer { min: 0, max: u64::MAX, default: 1, unit: Unit::Count },
};

static PARAMETERS: &[&Parameter] = &[
    &PEER,
    &PROTOCOL,
    &RATE,
    &ARRIVALS,
    &ON,
    &OFF,
    &STEPS,
    &STEP,
    &SIZE,
    &PATH,
    &CONNECTIONS,
    &DURATION,
    &TIMEOUT,
    &retry::RETRIES,
    &retry::TRY_TIMEOUT,
    &retry::BACKOFF,
    &retry::JITTER,
    &breaker::BREAKER,
    &breaker::WINDOW,
    &breaker::MIN,
    &breaker::OPEN,
    &breaker::PROBES,
    &SEED,
];

/// What to send, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    Tcp,
    Udp,
    Http,
}

impl Protocol {
    /// Returns the usual port: echo (RFC 862), or HTTP.
    fn port(self) -> u16 {
        match self {
            Self::Tcp | Self::Udp => 7,
            Self::Http => 80,
        }
    }
}

struct Settings<'a> {
    peer: &'a str,
    /// If the peer names none.
    port: u16,
    protocol: Protocol,
    size: usize,
    /// Of HTTP: all bytes of a request.
    request: String,
    connections: usize,
    duration: Option<Duration>,
    timeout: Duration,
    policy: retry::Policy,
    breaker: Option<breaker::Limits>,
}

pub(super) static WORKLOAD: Load = Load;

pub(super) struct Load;

impl Workload for Load {
    fn name(&self) -> &'static str {
        "load"
    }

    fn summary(&self) -> &'static str {
        "sends requests by a plan, whatever the answers, and measures latency from when each was due"
    }

    fn operation(&self) -> &'static str {
        "one answer; its duration counts from when the request was due; every request without a good one is an error"
    }

    fn parameters(&self) -> &'static [&'static Parameter] {
        PARAMETERS
    }

    fn figures(&self) -> &'static [Metric] {
        tally::FIGURES
    }

    fn has_seconds(&self) -> bool {
        true
    }

    fn run<'a>(&'a self, values: &'a Values, context: Context<'a>) -> BoxFuture<'a, Result<(), Failure>> {
        let (settings, mut schedule) = read(values);
        Box::pin(async move {
            match settings.protocol {
                Protocol::Udp if settings.policy.retries > 0 || settings.breaker.is_some() => {
                    Err(Failure::because("retries and breaker are for tcp and http: a datagram is sent once"))
                }
                Protocol::Udp => datagram::run(&settings, &mut schedule, context).await,
                Protocol::Tcp | Protocol::Http => stream::run(&settings, &mut schedule, context).await,
            }
        })
    }
}

fn read(values: &Values) -> (Settings<'_>, Schedule) {
    let number = |parameter| values.number(parameter);
    let time = |parameter| Duration::from_micros(number(parameter));
    let plan = if values.is_given(&STEPS) {
        Plan::Steps { rates: values.numbers(&STEPS).take(RATES_MAX).collect(), each: number(&STEP) }
    } else if number(&OFF) > 0 {
        Plan::OnOff { rate: number(&RATE), on: number(&ON), off: number(&OFF) }
    } else {
        Plan::Steady(number(&RATE))
    };
    let arrivals = if number(&ARRIVALS) == 0 { Arrivals::Constant } else { Arrivals::Poisson };
    let protocol = match number(&PROTOCOL) {
        0 => Protocol::Tcp,
        1 => Protocol::Udp,
        _ => Protocol::Http,
    };
    let peer = values.text(&PEER);
    let mut request = String::new();
    for part in ["GET ", values.text(&PATH), " HTTP/1.1\r\nHost: ", peer, "\r\nUser-Agent: minipirack-load\r\n\r\n"] {
        request.push_str(part);
    }
    let settings = Settings {
        peer,
        port: protocol.port(),
        protocol,
        size: usize::try_from(number(&SIZE)).unwrap_or(64),
        request,
        connections: usize::try_from(number(&CONNECTIONS)).unwrap_or(1),
        duration: Some(time(&DURATION)).filter(|duration| duration.as_ticks() > 0),
        timeout: time(&TIMEOUT),
        policy: retry::Policy::read(values, number(&SEED)),
        breaker: breaker::Limits::read(values),
    };
    (settings, Schedule::new(plan, arrivals, number(&SEED)))
}
