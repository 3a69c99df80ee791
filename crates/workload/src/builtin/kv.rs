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
//! | `confirm` | answers that wait for replicas |
//! | `turn` | how long a client may let the store wait |
//! | `serve` | all of that on the network |

mod cells;
mod command;
mod confirm;
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
mod turn;
mod value;

use alloc::boxed::Box;

use embassy_time::Duration;
use telemetry::metrics::Metric;

use crate::parameter::{Kind, Unit, Values};
use crate::{BoxFuture, Context, Failure, Parameter, Workload};

const DEFAULT_PORT: u16 = 6379;
/// Most clients at once.
const CLIENTS_MAX: usize = 90;

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
    help: "clients at once; when one more comes, who is silent or slow makes room",
    kind: Kind::Integer { min: 1, max: CLIENTS_MAX as u64, default: 56, unit: Unit::Count },
};

static IDLE: Parameter = Parameter {
    name: "idle",
    help: "clients that ask for nothing for so long are cut off; 0s is never",
    kind: Kind::Integer { min: 0, max: 86_400_000_000, default: 300_000_000, unit: Unit::Time },
};

static REPLICA_OF: Parameter = Parameter {
    name: "replica-of",
    help: "store to follow; this one is then read-only; none follows nobody, and keeps what it has",
    kind: Kind::Peer { is_required: false },
};

static ACKS: Parameter = Parameter {
    name: "acks",
    help: "replicas that confirm before a command on keys is answered; a store that follows another then answers none",
    kind: Kind::Integer { min: 0, max: feed::REPLICAS_MAX as u64, default: 0, unit: Unit::Count },
};

static PARAMETERS: &[&Parameter] = &[&PORT, &MEMORY, &CLIENTS, &IDLE, &REPLICA_OF, &ACKS];

pub(super) static WORKLOAD: KeyValue = KeyValue;

pub(super) struct KeyValue;

/// What the store is told.
struct Settings {
    port: u16,
    memory: usize,
    clients: usize,
    idle: Option<Duration>,
    seed: (u64, u64),
}

/// Returns the store to follow, if any.
fn source(values: &Values) -> Option<&str> {
    values.is_given(&REPLICA_OF).then(|| values.text(&REPLICA_OF)).filter(|source| *source != "none")
}

/// Returns how many replicas have to confirm.
fn acks(values: &Values) -> usize {
    usize::try_from(values.number(&ACKS)).unwrap_or(0)
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

    fn follows(&self, parameter: &Parameter) -> bool {
        [REPLICA_OF.name, ACKS.name].contains(&parameter.name)
    }

    fn run<'a>(&'a self, values: &'a Values, context: Context<'a>) -> BoxFuture<'a, Result<(), Failure>> {
        let number = |parameter| values.number(parameter);
        let settings = Settings {
            port: u16::try_from(number(&PORT)).unwrap_or(DEFAULT_PORT),
            memory: usize::try_from(number(&MEMORY)).unwrap_or(usize::MAX),
            clients: usize::try_from(number(&CLIENTS)).unwrap_or(1),
            idle: Some(number(&IDLE)).filter(|us| *us > 0).map(Duration::from_micros),
            seed: (context.env().seed(), context.env().seed()),
        };
        Box::pin(async move { serve::run(&settings, values, context).await })
    }
}
