//! All services of a node under load at once, for half an hour, or as long as `MINIPIRACK_SOAK_MINUTES` says.
//!
//! At the end nothing has failed, nothing was started anew, nothing stood still, and what the clients took is given back.
#![forbid(unsafe_code)]

mod clients;
mod loads;
mod peers;
mod watch;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tests::lab::{HOST, Lab, say};
use tests::metrics::Metrics;
use tests::node::{Rig, TestNode};
use tests::openssh::User;
use tests::{shell, wait};

use loads::Loads;
use peers::Peers;
use watch::{Quiet, Watch};

/// How long the soak takes.
const MINUTES: &str = "MINIPIRACK_SOAK_MINUTES";
const MINUTES_USUAL: f64 = 30.0;
/// Longest that all clients work before the memory is looked at for the first time, and at most a sixth of the whole: what
/// is taken once and kept is no leak.
const WARM_UP_MAX: Duration = Duration::from_secs(120);
/// Longest until nothing is left of the connections: TCP's own waiting, and a sample after it.
const CALM: Duration = Duration::from_secs(90);
/// Heap that may be in use more than after the warm-up: buffers that have grown with what happened to come together.
const HEAP_SLACK: f64 = 64e3;
/// Port of the store that follows the other.
pub(crate) const COPY_PORT: u16 = 6380;
/// The stages of a pipeline, in the order in which they are started.
const PIPELINE: [&str; 4] = [
    "id=sink stage=sink cores=1",
    "id=queue stage=queue cores=2",
    "id=worker stage=worker from=127.0.0.1 to=127.0.0.1 time=5ms cores=3",
    "id=source stage=source to=127.0.0.1 rate=20 timeout=20s cores=1",
];
/// Longest that the node may answer nothing, on a machine that is busy with other things.
const SILENCE_MAX: Duration = Duration::from_secs(10);

#[test]
#[ignore = "takes half an hour, and a machine that does nothing else"]
fn everything_at_once_leaves_nothing_behind() -> Result<()> {
    let minutes = std::env::var(MINUTES).map_or(Ok(MINUTES_USUAL), |text| text.parse()).context(MINUTES)?;
    let span = Duration::from_secs_f64(60.0 * minutes);
    let Some(lab) = Lab::private("all services under load at once")? else { return Ok(()) };

    let user = User::new()?;
    let peers = Peers::start()?;
    let echo = peers::echo_server()?;
    let command_line = format!(
        "name=soaked {} syslog=tcp:{HOST} mqtt={HOST} mqtt-topic=rack defmt={} report=0 \
         workload=kv:id=kv,memory=2M,clients=16,cores=1 workload=http:clients=16,cores=2 workload=iperf3:cores=3 \
         workload=kv:id=copy,port={COPY_PORT},memory=2M,clients=4,replica-of=127.0.0.1,cores=2 workload=memory:size=64k,cores=3 \
         workload=load:peer={HOST}:{echo},rate=50,timeout=10s,cores=1 workload=ping:peer={HOST},interval=100ms,timeout=4s,cores=2 \
         workload=cpu:load=10%,cores=3",
        user.setting()?,
        peers::DEFMT_PORT,
    );
    let rig = Rig::boot_in(lab, &command_line, |_| ())?;
    let node = &rig.node;
    let mut peers = peers.connect(node)?;
    for stage in PIPELINE {
        let said = shell::run(node, &format!("workload start pipeline {stage}"))?.join("\n");
        ensure!(said.contains("started"), "{stage}: {said}");
    }
    // With each address that it takes in its first seconds, the stack forgets its neighbours, and a reply with them.
    node.settled_metrics()?;

    load(node, &user, WARM_UP_MAX.min(span / 6))?;
    let before = Quiet::wait(node, None, CALM)?;
    say(&format!("soak: {before}, {} s of load follow", span.as_secs()));
    let first = load(node, &user, span)?;

    // The same sockets and the same memory as before.
    let after = Quiet::wait(node, Some(before), CALM);
    let after =
        after.with_context(|| format!("before: {before}; now: {:?}; {}", Quiet::read(node), node.last_words()))?;
    say(&format!("soak: {after}"));
    ensure!(after.heap <= before.heap + HEAP_SLACK, "the heap has grown: {before}; now {after}");
    watch::nothing_was_started_anew(node, &first)?;
    peers.check(node, &first)
}

/// Has all clients at work for a time, and returns what the node said of itself at its beginning.
fn load(node: &TestNode, user: &User, span: Duration) -> Result<Metrics> {
    let watch = Watch::start(node)?;
    let loads = Loads::start(node, user)?;
    let start = Instant::now();
    // Ends early when something has failed.
    wait::until("the end", span + CALM, || Ok((start.elapsed() >= span || loads.has_failure()).then_some(())))?;
    let done = loads.end();
    let seen = watch.end();
    say(&format!("soak: {seen}"));
    done.with_context(|| node.last_words())?;
    seen.check(SILENCE_MAX)
}
