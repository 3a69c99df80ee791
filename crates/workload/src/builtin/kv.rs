//! A key-value store in memory that speaks RESP2, so that clients of Redis work with it.
//!
//! It is a service under test, like the node's other services: whoever reaches the port may read and write. What the store holds
//! is nobody's state but its own; nothing of the node can be changed through it.
//!
//! | module | what |
//! |---|---|
//! | `cells` | memory, in cells |
//! | `store`, `list`, `value` | keys and their values |
//! | `command` | what clients may ask for |
//! | `session`, `out` | a client's conversation: bytes in, bytes out |
//! | `feed`, `copy` | what replicas are told |
//! | `serve` | all of that on the network |

mod cells;
mod command;
mod copy;
mod feed;
mod figures;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod list;
mod out;
mod serve;
mod session;
mod store;
#[cfg(test)]
mod tests;
mod value;

use alloc::boxed::Box;

use embassy_time::Duration;
use telemetry::metrics::Metric;

use crate::parameter::{Kind, Unit, Values};
use crate::{BoxFuture, Context, Failure, Parameter, Workload};

const DEFAULT_PORT: u16 = 6379;

static PORT: Parameter = Parameter {
    name: "port",
    help: "TCP port to listen on",
    kind: Kind::Integer { min: 1, max: 65_535, default: DEFAULT_PORT as u64, unit: Unit::Count },
};

static MEMORY: Parameter = Parameter {
    name: "memory",
    help: "memory for keys, values and the table; an eighth of it is kept for requests and replies under way",
    kind: Kind::Integer { min: 1 << 20, max: 32 << 20, default: 8 << 20, unit: Unit::Bytes },
};

static CLIENTS: Parameter = Parameter {
    name: "clients",
    help: "clients at once",
    kind: Kind::Integer { min: 1, max: 90, default: 56, unit: Unit::Count },
};

static IDLE: Parameter = Parameter {
    name: "idle",
    help: "clients that are silent for so long are cut off; 0s is never",
    kind: Kind::Integer { min: 0, max: 86_400_000_000, default: 300_000_000, unit: Unit::Time },
};

static REPLICA_OF: Parameter = Parameter {
    name: "replica-of",
    help: "store to follow; this one is then read-only",
    kind: Kind::Peer { is_required: false },
};

static PARAMETERS: &[&Parameter] = &[&PORT, &MEMORY, &CLIENTS, &IDLE, &REPLICA_OF];

pub(super) static WORKLOAD: KeyValue = KeyValue;

pub(super) struct KeyValue;

/// What the store is told.
struct Settings<'a> {
    port: u16,
    memory: usize,
    clients: usize,
    idle: Option<Duration>,
    source: Option<&'a str>,
    seed: (u64, u64),
}

impl Workload for KeyValue {
    fn name(&self) -> &'static str {
        "kv"
    }

    fn summary(&self) -> &'static str {
        "keeps keys and values in memory; redis-cli and other clients of Redis work with it"
    }

    fn operation(&self) -> &'static str {
        "one command; its duration is the time to answer it, without the network; a refused command is an error"
    }

    fn parameters(&self) -> &'static [&'static Parameter] {
        PARAMETERS
    }

    fn figures(&self) -> &'static [Metric] {
        figures::FIGURES
    }

    fn run<'a>(&'a self, values: &'a Values, context: Context<'a>) -> BoxFuture<'a, Result<(), Failure>> {
        let number = |parameter| values.number(parameter);
        let settings = Settings {
            port: u16::try_from(number(&PORT)).unwrap_or(DEFAULT_PORT),
            memory: usize::try_from(number(&MEMORY)).unwrap_or(usize::MAX),
            clients: usize::try_from(number(&CLIENTS)).unwrap_or(1),
            idle: Some(number(&IDLE)).filter(|us| *us > 0).map(Duration::from_micros),
            source: values.is_given(&REPLICA_OF).then(|| values.text(&REPLICA_OF)),
            seed: (context.env().seed(), context.env().seed()),
        };
        Box::pin(async move { serve::run(&settings, context).await })
    }
}
