//! A pipeline: `source → queue → worker → sink`, each stage a workload of its own, on one node or on several.
//!
//! | module | what |
//! |---|---|
//! | `wire` | the protocol's bytes |
//! | `ledger` | what the source knows of its messages |
//! | `store` | the queue's places |
//! | `record` | what the sink has seen |
//! | `link` | connections |
//! | `source`, `queue`, `worker`, `sink` | all of that on the network |
//! | `clock`, `figures` | when messages were due; what is counted |
//!
//! Acknowledgements go all the way: a message is delivered when the sink has counted it, and the source knows of each message
//! until it is told its end. So a stage in between that is lost takes nothing with it that the source could not send again,
//! without a disk anywhere. Confirming each hop would be less to wait for, but what a queue had confirmed would die with it.

mod clock;
mod figures;
mod ledger;
mod link;
mod queue;
mod record;
mod sink;
mod source;
mod store;
mod wire;
mod worker;

#[cfg(any(test, fuzzing))]
pub(crate) use wire::fuzz;

use alloc::boxed::Box;
use core::sync::atomic::Ordering;

use embassy_time::Duration;
use telemetry::metrics::Metric;

use super::load::schedule::{Arrivals, Plan, RATE_MAX, Schedule};
use crate::distribution::Distribution;
use crate::parameter::{Kind, Unit, Values};
use crate::{BoxFuture, Context, Failure, Parameter, Workload};
use figures::Figure;
use wire::Stage;

const QUEUE_PORT: u16 = 7701;
const SINK_PORT: u16 = 7702;
const TIME_MAX_US: u64 = 60_000_000;
/// Connections of a source, lanes of a worker.
const CONNECTIONS_MAX: usize = 8;
/// Connections that a queue or a sink takes.
const CLIENTS_MAX: usize = 32;

static STAGE: Parameter = Parameter {
    name: "stage",
    help: "what to be: a source makes messages, a queue keeps them, workers fetch and handle them, a sink counts them",
    kind: Kind::Choice { of: &["source", "queue", "worker", "sink"], default: 0 },
};
static TO: Parameter = Parameter {
    name: "to",
    help: "source, worker: where messages go; without a port, a source means a queue (7701), a worker a sink (7702)",
    kind: Kind::Peer { is_required: false },
};
static FROM: Parameter =
    Parameter { name: "from", help: "worker: the queue to fetch from", kind: Kind::Peer { is_required: false } };
static PORT: Parameter = Parameter {
    name: "port",
    help: "queue, sink: TCP port to listen on; 0 is 7701 for a queue, 7702 for a sink",
    kind: Kind::Integer { min: 0, max: 65_535, default: 0, unit: Unit::Count },
};
static DELIVERY: Parameter = Parameter {
    name: "delivery",
    help: "source: whether what may be lost is sent again, or asked about and counted",
    kind: Kind::Choice { of: &["at-least-once", "at-most-once"], default: 0 },
};
static RATE: Parameter = Parameter {
    name: "rate",
    help: "source: messages per second",
    kind: Kind::Integer { min: 0, max: RATE_MAX, default: 100_000, unit: Unit::Rate },
};
static ARRIVALS: Parameter = Parameter {
    name: "arrivals",
    help: "source: at equal distances, or at random",
    kind: Kind::Choice { of: &["constant", "poisson"], default: 0 },
};
static SIZE: Parameter = Parameter {
    name: "size",
    help: "bytes of a message; other stages: the most they take",
    kind: Kind::Integer { min: 0, max: wire::PAYLOAD_LEN_MAX as u64, default: 1024, unit: Unit::Bytes },
};
static COUNT: Parameter = Parameter {
    name: "count",
    help: "source: how many messages, after which it waits for the end of each and is done; 0 is without end",
    kind: Kind::Integer { min: 0, max: u64::MAX, default: 0, unit: Unit::Count },
};
static DURATION: Parameter = Parameter {
    name: "duration",
    help: "source: how long messages are due; 0s is without end",
    kind: Kind::Integer { min: 0, max: 365 * 24 * 3_600_000_000, default: 0, unit: Unit::Time },
};
static WINDOW: Parameter = Parameter {
    name: "window",
    help: "source: messages at most whose end is not known",
    kind: Kind::Integer { min: 1, max: ledger::WINDOW_MAX as u64, default: 4096, unit: Unit::Count },
};
static CAPACITY: Parameter = Parameter {
    name: "capacity",
    help: "queue: messages at most, waiting or with workers; when it is full, sources wait",
    kind: Kind::Integer { min: 1, max: 16_384, default: 1024, unit: Unit::Count },
};
static TIME: Parameter = Parameter {
    name: "time",
    help: "worker, sink: how long each message takes, one after the other on each connection",
    kind: Kind::Distribution { max_us: TIME_MAX_US, default: "0us" },
};
static PREFETCH: Parameter = Parameter {
    name: "prefetch",
    help: "worker: messages to have at hand besides the one at work, on each connection",
    kind: Kind::Integer { min: 0, max: 63, default: 1, unit: Unit::Count },
};
static CONNECTIONS: Parameter = Parameter {
    name: "connections",
    help: "source: connections to send on; worker: messages at work at once, each with connections of its own",
    kind: Kind::Integer { min: 1, max: CONNECTIONS_MAX as u64, default: 1, unit: Unit::Count },
};
static CLIENTS: Parameter = Parameter {
    name: "clients",
    help: "queue, sink: connections at most",
    kind: Kind::Integer { min: 1, max: CLIENTS_MAX as u64, default: 12, unit: Unit::Count },
};
static TIMEOUT: Parameter = Parameter {
    name: "timeout",
    help: "a peer that is silent for so long is gone; a source that delivers at most once asks so long after a loss",
    kind: Kind::Integer { min: 500_000, max: 600_000_000, default: 5_000_000, unit: Unit::Time },
};
static SEED: Parameter = Parameter {
    name: "seed",
    help: "of random arrivals and times: the same seed, the same times",
    kind: Kind::Integer { min: 0, max: u64::MAX, default: 1, unit: Unit::Count },
};

static PARAMETERS: &[&Parameter] = &[
    &STAGE, &TO, &FROM, &PORT, &DELIVERY, &RATE, &ARRIVALS, &SIZE, &COUNT, &DURATION, &WINDOW, &CAPACITY, &TIME,
    &PREFETCH, &CONNECTIONS, &CLIENTS, &TIMEOUT, &SEED,
];

static OF_SOURCE: &[&Parameter] =
    &[&TO, &DELIVERY, &RATE, &ARRIVALS, &COUNT, &DURATION, &WINDOW, &CONNECTIONS, &SEED];
static OF_QUEUE: &[&Parameter] = &[&PORT, &CAPACITY, &CLIENTS];
static OF_WORKER: &[&Parameter] = &[&TO, &FROM, &TIME, &PREFETCH, &CONNECTIONS, &SEED];
static OF_SINK: &[&Parameter] = &[&PORT, &TIME, &CLIENTS, &SEED];
static OF_ALL: &[&Parameter] = &[&STAGE, &SIZE, &TIMEOUT];

impl Stage {
    /// Returns what can be set of it, besides what all stages have.
    fn parameters(self) -> &'static [&'static Parameter] {
        match self {
            Self::Source => OF_SOURCE,
            Self::Queue => OF_QUEUE,
            Self::Worker => OF_WORKER,
            Self::Sink => OF_SINK,
        }
    }
}

/// What a stage is told.
struct Settings<'a> {
    stage: Stage,
    to: &'a str,
    from: &'a str,
    port: u16,
    is_at_least_once: bool,
    size: usize,
    count: Option<u64>,
    duration: Option<Duration>,
    window: usize,
    capacity: u16,
    time: Distribution,
    prefetch: usize,
    connections: usize,
    clients: usize,
    timeout: Duration,
    seed: u64,
}

/// What all parts of a stage have at hand.
struct Common<'a> {
    settings: &'a Settings<'a>,
    context: Context<'a>,
}

impl Common<'_> {
    fn count(&self, figure: Figure, n: u64) {
        self.context.count(figure as usize, n);
    }

    fn set(&self, figure: Figure, value: usize) {
        self.context.set(figure as usize, value as u64);
    }

    fn now_us(&self) -> u64 {
        self.context.now().as_micros()
    }

    /// Counts a connection that is there, and how it ended.
    fn connected(&self) {
        self.context.figure(Figure::Connections as usize).fetch_add(1, Ordering::Relaxed);
    }

    fn ended(&self, error: link::LinkError) {
        self.context.figure(Figure::Connections as usize).fetch_sub(1, Ordering::Relaxed);
        self.count(Figure::Cuts, 1);
        if matches!(error, link::LinkError::Frame(_) | link::LinkError::Unexpected) {
            self.count(Figure::ProtocolErrors, 1);
            self.context.add_errors(1);
        }
    }
}

pub(super) static WORKLOAD: Pipeline = Pipeline;

pub(super) struct Pipeline;

impl Workload for Pipeline {
    fn name(&self) -> &'static str {
        "pipeline"
    }

    fn summary(&self) -> &'static str {
        "a stage of source → queue → worker → sink, in which every message is numbered, checked and accounted for"
    }

    fn operation(&self) -> &'static str {
        "one message; its duration: source and sink since it was due, queue while it waited, worker while it was at work"
    }

    fn parameters(&self) -> &'static [&'static Parameter] {
        PARAMETERS
    }

    fn figures(&self) -> &'static [Metric] {
        figures::FIGURES
    }

    fn run<'a>(&'a self, values: &'a Values, context: Context<'a>) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            let (settings, mut schedule) = read(values)?;
            let common = Common { settings: &settings, context };
            match settings.stage {
                Stage::Source => source::run(&common, &mut schedule).await,
                Stage::Queue => queue::run(&common).await,
                Stage::Worker => worker::run(&common).await,
                Stage::Sink => sink::run(&common).await,
            }
        })
    }
}

/// Reads what was given, and refuses what the stage does not have.
fn read(values: &Values) -> Result<(Settings<'_>, Schedule), Failure> {
    let number = |parameter| values.number(parameter);
    let len = |parameter| usize::try_from(number(parameter)).unwrap_or(usize::MAX);
    let time = |parameter| Duration::from_micros(number(parameter));
    let stage = match number(&STAGE) {
        0 => Stage::Source,
        1 => Stage::Queue,
        2 => Stage::Worker,
        _ => Stage::Sink,
    };
    let is_known = |parameter: &&Parameter| {
        OF_ALL.iter().chain(stage.parameters()).any(|known| known.name == parameter.name)
    };
    if let Some(wrong) = PARAMETERS.iter().find(|parameter| values.is_given(parameter) && !is_known(parameter)) {
        return Err(Failure::because(format_args!("a {} has no {}", stage.name(), wrong.name)));
    }
    for needed in [&TO, &FROM] {
        if stage.parameters().iter().any(|known| known.name == needed.name) && !values.is_given(needed) {
            return Err(Failure::because(format_args!("a {} needs {}=NODE", stage.name(), needed.name)));
        }
    }
    let port = match (u16::try_from(number(&PORT)).unwrap_or(0), stage) {
        (0, Stage::Queue) => QUEUE_PORT,
        (0, _) => SINK_PORT,
        (port, _) => port,
    };
    let settings = Settings {
        stage,
        to: values.text(&TO),
        from: values.text(&FROM),
        port,
        is_at_least_once: number(&DELIVERY) == 0,
        size: len(&SIZE),
        count: Some(number(&COUNT)).filter(|count| *count > 0),
        duration: Some(time(&DURATION)).filter(|duration| duration.as_ticks() > 0),
        window: len(&WINDOW),
        capacity: u16::try_from(number(&CAPACITY)).unwrap_or(u16::MAX),
        time: values.distribution(&TIME),
        prefetch: len(&PREFETCH),
        connections: len(&CONNECTIONS),
        clients: len(&CLIENTS),
        timeout: time(&TIMEOUT),
        seed: number(&SEED),
    };
    let arrivals = if number(&ARRIVALS) == 0 { Arrivals::Constant } else { Arrivals::Poisson };
    Ok((settings, Schedule::new(Plan::Steady(number(&RATE)), arrivals, number(&SEED))))
}
