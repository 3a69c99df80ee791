//! What a node costs the machine that it runs on.

use std::time::{Duration, Instant};

use anyhow::Result;
use tests::node::{self, Rig};

use crate::report::{Goal, Report, median};

/// How long the node is watched while it idles, and how often.
const WATCH: Duration = Duration::from_secs(5);
const ROUNDS: usize = 3;
/// How long a booted node gets to settle: its first seconds are announcements and address checks.
const SETTLE: Duration = Duration::from_secs(10);

pub(crate) fn image(report: &mut Report) -> Result<()> {
    let len = std::fs::metadata(&node::kit()?.packed)?.len();
    report.add("image", "kB", len as f64 / 1e3, Goal::AtMost(1000.0), "38000");
    Ok(())
}

pub(crate) fn idle(report: &mut Report) -> Result<()> {
    let rig = Rig::boot("")?;
    // Time itself is what is waited for here.
    std::thread::sleep(SETTLE);
    let mut percent = Vec::new();
    for _ in 0..ROUNDS {
        let (start, before) = (Instant::now(), rig.node.board().cpu_time()?);
        std::thread::sleep(WATCH);
        let used = rig.node.board().cpu_time()? - before;
        percent.push(100.0 * used.as_secs_f64() / start.elapsed().as_secs_f64());
    }
    report.add("idle: host processor time", "% core", median(percent), Goal::AtMost(5.0), "45");
    report.add("idle: RSS of QEMU", "MB", rig.node.board().rss_bytes()? as f64 / 1e6, Goal::AtMost(100.0), "250");
    Ok(())
}

pub(crate) fn memory(report: &mut Report) -> Result<()> {
    let metrics = Rig::boot("")?.node.settled_metrics()?;
    let total = metrics.one("minipirack_memory_total_bytes", &[])?;
    let available = metrics.one("minipirack_memory_available_bytes", &[])?;
    report.add("memory in use on the node", "MB", (total - available) / 1e6, Goal::AtMost(16.0), "");
    Ok(())
}

pub(crate) fn scrape(report: &mut Report) -> Result<()> {
    match tests::scrape::cost()? {
        // A thousand million instructions a second are a core; see `instructions`.
        Some(cost) => {
            report.add("a scrape a second, of core 0", "%", 100.0 * cost.instructions / 1e9, Goal::AtMost(2.0), "")
        }
        None => report.not_measured("a scrape a second, of core 0", "needs QEMU 9"),
    }
    Ok(())
}
