//! What a scrape of `/metrics` costs a node that has as much to tell as there can be.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::http::HttpClient;
use crate::instructions::Counter;
use crate::lab::Lab;
use crate::metrics::Metrics;
use crate::node::{PATIENCE, Rig};

/// A workload of each of eight kinds, all at work, none so much that the page would change while it is measured.
const WORKLOADS: &str = "workload=cpu:load=5%,cores=1 workload=http:clients=4,cores=2 workload=kv:memory=1M,clients=4,cores=3 \
                         workload=iperf3:cores=1 workload=idle:cores=2 workload=pipeline:stage=sink,cores=3 \
                         workload=load:peer=127.0.0.1:8080,proto=http,rate=2,cores=1 \
                         workload=ping:peer=127.0.0.1,cores=2";
/// Workloads of these kinds.
const KINDS: f64 = 8.0;
/// Rounds, each with scrapes and without.
const ROUNDS: usize = 5;
/// Scrapes of a round.
const SCRAPES: usize = 4;
/// From one scrape to the next: each shows a sample that was not shown before.
const PERIOD: Duration = Duration::from_millis(1050);

/// What a scrape costs.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// Core 0's instructions, those for the network included.
    pub instructions: f64,
    /// Length of the page in bytes.
    pub len: usize,
}

/// Returns what a scrape of a fresh sample costs a node on which eight workloads run; `None` where it can't be measured.
///
/// # Errors
/// When the node does not answer.
pub fn cost() -> Result<Option<Cost>> {
    let Some(counter) = Counter::new()? else { return Ok(None) };
    let rig = Rig::boot_in(Lab::new()?, WORKLOADS, |config| config.extra.extend(counter.arguments().map(Into::into)))?;
    rig.node.settled_metrics()?;
    rig.node.wait_for_metric("all workloads at work", PATIENCE, |metrics| {
        let running = metrics.sum("minipirack_workload_state", &[("state", "running")]);
        Ok((running == KINDS).then_some(running))
    })?;
    let mut client = HttpClient::connect_as(rig.node.tcp(80)?, "Prometheus/2.42.0")?;
    let mut len = 0;
    let mut shown = scrape(&mut client)?.0;
    let mut costs = Vec::new();
    for _ in 0..ROUNDS {
        // What core 0 does anyway takes turns with what scrapes add to it.
        let (before, start) = (counter.of_core(0)?, Instant::now());
        sleep(PERIOD * SCRAPES as u32);
        let per_second = (counter.of_core(0)? - before) / start.elapsed().as_secs_f64();
        let (before, start) = (counter.of_core(0)?, Instant::now());
        for _ in 0..SCRAPES {
            sleep(PERIOD);
            let (at, bytes) = scrape(&mut client)?;
            ensure!(at > shown, "the sample of {at} s was shown before");
            (shown, len) = (at, bytes);
        }
        let all = counter.of_core(0)? - before;
        costs.push((all - per_second * start.elapsed().as_secs_f64()) / SCRAPES as f64);
    }
    costs.sort_by(f64::total_cmp);
    Ok(Some(Cost { instructions: costs[ROUNDS / 2], len }))
}

/// Returns when the sample was taken that is shown, in seconds since boot, and the length of the page.
fn scrape(client: &mut HttpClient) -> Result<(f64, usize)> {
    let response = client.get("/metrics")?;
    ensure!(response.status == 200, "status {}", response.status);
    let metrics = Metrics::parse(&response.text())?;
    Ok((metrics.one("minipirack_uptime_seconds", &[])?, response.body.len()))
}
