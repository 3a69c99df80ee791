//! What a scrape of `/metrics` costs a node.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::http::HttpClient;
use crate::node::Rig;

/// Scrapes that are measured: many, so that what else happens on the node is little beside them.
const SCRAPES: u32 = 300;
/// How long the node is watched while nobody scrapes.
const WINDOW: Duration = Duration::from_secs(5);
/// Pause between two scrapes. Slower than samples are taken would be too long; but each scrape finds the core asleep.
const PAUSE: Duration = Duration::from_millis(10);

/// Returns how many seconds a scrape keeps core 0 awake, by the core's own account; at one scrape per second that is the
/// share of the core that scrapes take.
///
/// # Errors
/// When the node does not answer.
pub fn cost_s(rig: &Rig) -> Result<f64> {
    rig.node.settled_metrics()?;
    let busy = || rig.node.metric("node_cpu_seconds_total", &[("cpu", "0"), ("mode", "system")]);
    // What core 0 does anyway.
    let before = busy()?;
    std::thread::sleep(WINDOW);
    let idle = (busy()? - before) / WINDOW.as_secs_f64();
    let mut client = HttpClient::connect_as(rig.node.tcp(80)?, "Prometheus/2.42.0")?;
    let (before, started) = (busy()?, Instant::now());
    for _ in 0..SCRAPES {
        ensure!(client.get("/metrics")?.status == 200);
        std::thread::sleep(PAUSE);
    }
    // The last sample must be of after the last scrape.
    rig.node.fresh_metrics()?;
    Ok((busy()? - before - idle * started.elapsed().as_secs_f64()) / f64::from(SCRAPES))
}
