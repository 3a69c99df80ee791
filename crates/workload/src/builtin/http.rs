//! A web server to test others with: how long it takes, how often it fails, how many it serves at once, can be set.
//!
//! Each core that runs it has seats and a queue of its own; all listen on the same port, so a client gets whichever is free.

use alloc::boxed::Box;

use embassy_futures::select::{Either, select};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use telemetry::metrics::{Metric, Unit as MetricUnit};

use crate::figures::{counter, gauge, histogram};
use crate::http::connection::{Server, Settings};
use crate::http::gate::WAITING_MAX;
use crate::http::reply::Body;
use crate::parameter::{Kind, Unit, Values};
use crate::{BoxFuture, Context, Failure, Parameter, Random, Workload};

static PORT: Parameter = Parameter {
    name: "port",
    help: "where to listen",
    kind: Kind::Integer { min: 1, max: 65_535, default: 8_080, unit: Unit::Count },
};

static CLIENTS: Parameter = Parameter {
    name: "clients",
    help: "connections served at once, by each core",
    kind: Kind::Integer { min: 1, max: WAITING_MAX as u64, default: 32, unit: Unit::Count },
};

static DELAY: Parameter = Parameter {
    name: "delay",
    help: "how long a request takes",
    kind: Kind::Distribution { max_us: 60_000_000, default: "0us" },
};

static SIZE: Parameter = Parameter {
    name: "size",
    help: "bytes of the body of a reply",
    kind: Kind::Integer { min: 0, max: 16 << 20, default: 128, unit: Unit::Bytes },
};

static ERRORS: Parameter = Parameter {
    name: "errors",
    help: "share of requests that fail (status 500)",
    kind: Kind::Integer { min: 0, max: 1_000_000, default: 0, unit: Unit::Share },
};

static WORK: Parameter = Parameter {
    name: "work",
    help: "blocks of arithmetic for each request, as the cpu workload computes them",
    kind: Kind::Integer { min: 0, max: 100_000, default: 0, unit: Unit::Count },
};

static CONCURRENCY: Parameter = Parameter {
    name: "concurrency",
    help: "requests in service at once, on each core; 0 is no limit",
    kind: Kind::Integer { min: 0, max: WAITING_MAX as u64, default: 0, unit: Unit::Count },
};

static QUEUE: Parameter = Parameter {
    name: "queue",
    help: "requests that wait for their turn on each core; others get status 503",
    kind: Kind::Integer { min: 0, max: WAITING_MAX as u64, default: 16, unit: Unit::Count },
};

static SEED: Parameter = Parameter {
    name: "seed",
    help: "of the random numbers: the same seed gives the same times and failures",
    kind: Kind::Integer { min: 0, max: u64::MAX, default: 1, unit: Unit::Count },
};

static PARAMETERS: &[&Parameter] = &[&PORT, &CLIENTS, &DELAY, &SIZE, &ERRORS, &WORK, &CONCURRENCY, &QUEUE, &SEED];

/// Where each figure is.
pub(crate) mod figure {
    pub(crate) const CONNECTIONS_TOTAL: usize = 0;
    pub(crate) const CONNECTIONS: usize = 1;
    pub(crate) const IN_SERVICE: usize = 2;
    pub(crate) const QUEUED: usize = 3;
    pub(crate) const REJECTED: usize = 4;
    pub(crate) const FAILED: usize = 5;
    pub(crate) const REFUSED: usize = 6;
    pub(crate) const LATE: usize = 7;
    pub(crate) const UNSEATED: usize = 8;
    pub(crate) const LOST: usize = 9;
    pub(crate) const WRONG: usize = 10;
    /// The one histogram.
    pub(crate) const QUEUE_WAIT: usize = 0;
}

static FIGURES: [Metric; 11] = [
    counter("minipirack_http_connections_total", MetricUnit::Count, "Connections that clients have made."),
    gauge("minipirack_http_connections", MetricUnit::Count, "Connections that there are now."),
    gauge("minipirack_http_in_service", MetricUnit::Count, "Requests that are served now."),
    gauge("minipirack_http_queued", MetricUnit::Count, "Requests that wait for their turn now."),
    counter("minipirack_http_rejected_total", MetricUnit::Count, "Requests refused because the queue was full (503)."),
    counter("minipirack_http_failed_total", MetricUnit::Count, "Requests that failed because they were told to (500)."),
    counter("minipirack_http_refused_total", MetricUnit::Count, "Requests that could not be served (4xx and 501)."),
    counter("minipirack_http_late_total", MetricUnit::Count, "Clients too slow with a request, or to take a reply."),
    counter("minipirack_http_unseated_total", MetricUnit::Count, "Idle or slow clients that had to make room for others."),
    counter("minipirack_http_lost_total", MetricUnit::Count, "Connections that broke off."),
    counter("minipirack_http_wrong_total", MetricUnit::Count, "Blocks of arithmetic that gave a wrong result."),
];

static HISTOGRAMS: [Metric; 1] =
    [histogram("minipirack_http_queue_wait_seconds", "Time that requests waited for their turn.")];

pub(super) static WORKLOAD: Http = Http;

pub(super) struct Http;

impl Workload for Http {
    fn name(&self) -> &'static str {
        "http"
    }

    fn summary(&self) -> &'static str {
        "serves HTTP as fast, as slowly and as badly as it is told"
    }

    fn operation(&self) -> &'static str {
        "a request answered; its duration is from its last byte in to the last byte of the reply out; any status but 200 \
         is an error"
    }

    fn parameters(&self) -> &'static [&'static Parameter] {
        PARAMETERS
    }

    fn figures(&self) -> &'static [Metric] {
        &FIGURES
    }

    fn histograms(&self) -> &'static [Metric] {
        &HISTOGRAMS
    }

    fn follows(&self, parameter: &Parameter) -> bool {
        ![PORT.name, CLIENTS.name, SEED.name].contains(&parameter.name)
    }

    fn run<'a>(&'a self, values: &'a Values, context: Context<'a>) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            let port = u16::try_from(values.number(&PORT)).unwrap_or(0);
            let clients = usize::try_from(values.number(&CLIENTS)).unwrap_or(1);
            let server = Server::new(context, port, clients, settings(values));
            limit(&server, values);
            let seed = values.number(&SEED);
            let seats: FuturesUnordered<_> = (0u64..)
                .zip(server.seats.iter())
                .map(|(number, seat)| {
                    // Another sequence for each seat of each core.
                    let seed = seed.wrapping_mul(0x1_0000).wrapping_add(u64::from(context.core) << 8).wrapping_add(number);
                    server.serve(seat, Random::new(seed))
                })
                .collect();
            context.attend(run(&server, seats)).await
        })
    }
}

/// Runs all seats, the watchman, and changes of the settings, until a seat can't be kept.
async fn run<F: Future<Output = Result<(), Failure>>>(
    server: &Server<'_>,
    mut seats: FuturesUnordered<F>,
) -> Result<(), Failure> {
    let follow = async {
        loop {
            server.context.changed().await;
            let values = server.context.values();
            server.change(settings(&values));
            limit(server, &values);
        }
    };
    match select(seats.next(), select(server.seats.watch(), follow)).await {
        Either::First(result) => result.unwrap_or(Ok(())),
        Either::Second(Either::First(never)) => match never {},
        Either::Second(Either::Second(never)) => never,
    }
}

fn settings(values: &Values) -> Settings {
    Settings {
        delay: values.distribution(&DELAY),
        body: Body::new(usize::try_from(values.number(&SIZE)).unwrap_or(0)),
        failing: values.number(&ERRORS),
        blocks: values.number(&WORK),
    }
}

fn limit(server: &Server<'_>, values: &Values) {
    let number = |parameter| usize::try_from(values.number(parameter)).unwrap_or(0);
    server.gate.set(number(&CONCURRENCY), number(&QUEUE));
}
