//! Leader election: candidates on several nodes take turns at a lease, and whoever has it has an address that moves with it.
//!
//! | module | what |
//! |---|---|
//! | `rules` | who leads, and until when |
//! | `talk` | requests to the store, and its answers |
//! | `candidate` | both on the network, and the address |
//! | `figures` | what is counted |
//!
//! The lease is a key at a store that speaks RESP2, such as the workload `kv`. It gives whom the address belongs to and for how long; the
//! network stack takes the address away when that time is over, whether or not this workload still runs.

mod candidate;
mod figures;
mod rules;
mod talk;

#[cfg(any(test, fuzzing))]
pub(crate) use talk::fuzz;

use alloc::boxed::Box;
use core::net::{IpAddr, Ipv4Addr};

use embassy_time::Duration;
use telemetry::metrics::Metric;

use crate::parameter::{Kind, Unit, Values};
use crate::{BoxFuture, Context, Failure, Parameter, Workload};
use rules::Times;

static STORE: Parameter = Parameter {
    name: "kv",
    help: "the store with the lease: a node that runs kv, or another server of RESP with SET ... IFEQ; port 6379 without one",
    kind: Kind::Peer { is_required: true },
};
static ADDRESS: Parameter = Parameter {
    name: "address",
    help: "the address that the leader has: an IPv4 address of the nodes' subnet that nobody else has",
    kind: Kind::Address,
};
static KEY: Parameter = Parameter {
    name: "key",
    help: "name of the lease at the store; candidates of one election have the same",
    kind: Kind::Text { max_len: talk::KEY_LEN_MAX, default: Some("leader") },
};
static LEASE: Parameter = Parameter {
    name: "lease",
    help: "how long a leader that falls silent keeps others waiting; the same for all candidates",
    kind: Kind::Integer { min: 200_000, max: 3_600_000_000, default: 2_000_000, unit: Unit::Time },
};
static MARGIN: Parameter = Parameter {
    name: "margin",
    help: "how long before the end of its lease a leader gives up the address; at most half of the lease",
    kind: Kind::Integer { min: 10_000, max: 600_000_000, default: 400_000, unit: Unit::Time },
};
static RENEW: Parameter = Parameter {
    name: "renew",
    help: "how often a leader renews the lease, and others try to get it; at most a third of lease less margin",
    kind: Kind::Integer { min: 10_000, max: 600_000_000, default: 400_000, unit: Unit::Time },
};

static PARAMETERS: &[&Parameter] = &[&STORE, &ADDRESS, &KEY, &LEASE, &MARGIN, &RENEW];

pub(super) static WORKLOAD: Leader = Leader;

pub(super) struct Leader;

/// What a candidate is told.
struct Settings<'a> {
    store: &'a str,
    address: Ipv4Addr,
    key: &'a str,
    times: Times,
}

impl Workload for Leader {
    fn name(&self) -> &'static str {
        "leader"
    }

    fn summary(&self) -> &'static str {
        "stands for election: who has the lease at a key-value store has an address that moves with it"
    }

    fn operation(&self) -> &'static str {
        "one answer of the store; its duration is the time since it was asked; no answer in time, or a refusal, is an error"
    }

    fn parameters(&self) -> &'static [&'static Parameter] {
        PARAMETERS
    }

    fn figures(&self) -> &'static [Metric] {
        figures::FIGURES
    }

    fn histograms(&self) -> &'static [Metric] {
        figures::HISTOGRAMS
    }

    fn run<'a>(&'a self, values: &'a Values, context: Context<'a>) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            let settings = read(values)?;
            candidate::run(&settings, context).await
        })
    }
}

fn read(values: &Values) -> Result<Settings<'_>, Failure> {
    let time = |parameter| Duration::from_micros(values.number(parameter));
    let times = Times { lease: time(&LEASE), margin: time(&MARGIN), renew: time(&RENEW) };
    let Some(IpAddr::V4(address)) = values.address(&ADDRESS) else {
        return Err(Failure::because("address has to be an IPv4 address"));
    };
    if times.margin > times.lease / 2 {
        return Err(Failure::because("margin is more than half of lease: give a longer lease or a shorter margin"));
    }
    if times.renew > (times.lease - times.margin) / 3 {
        return Err(Failure::because("renew is more than a third of lease less margin: renew more often, or give a longer lease"));
    }
    Ok(Settings { store: values.text(&STORE), address, key: values.text(&KEY), times })
}
