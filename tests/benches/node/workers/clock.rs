//! The same by the clock: what throughput and round-trip times become beside busy cores.
//!
//! Each busy core gets a processor of the host for itself, as many as the host can spare, and all else shares the others: where threads
//! of two cores share a processor, one that waits for the lock of QEMU's devices gets it only when the host's scheduler
//! comes round to it, 4 ms later, and that time is all that is measured. When the node's cores are idle, those of a second node
//! do the same work on the same processors: what a host's processors do to each other (clock, caches, memory, hypervisor) is then in
//! both figures, and what differs is the node's own doing. The two take turns; the median of the ratios of neighbours counts.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use tests::lab::say;
use tests::node::{Rig, TestNode};

use super::{CHANGE_MAX, beside};
use crate::network::{round_trips, tcp_in, tcp_out};
use crate::report::{Goal, Report, median, percentile};

const ROUNDS: usize = 24;
/// Length of one throughput measurement.
const SPAN: Duration = Duration::from_secs(1);
/// Cores that run workloads.
const WORKERS: usize = 3;

#[derive(Debug)]
struct Figures {
    into: f64,
    out: f64,
    ping: f64,
}

pub(super) fn influence(report: &mut Report) -> Result<()> {
    let allowed = sched_getaffinity(Pid::from_raw(0))?;
    let processors: Vec<usize> = (0..CpuSet::count()).filter(|cpu| allowed.is_set(*cpu).unwrap_or(false)).collect();
    let (others, own) = processors.split_at(processors.len().saturating_sub(WORKERS).max(1));
    if own.is_empty() {
        report.not_measured("busy cores by the clock", "a busy core needs a processor of the host for itself");
        return Ok(());
    }
    let rig = Rig::boot("")?;
    let other = TestNode::start_with(&rig.lab, "", |config| config.nic = None)?;
    rig.node.settled_metrics()?;
    place(&rig.node, others, own)?;
    place(&other, others, own)?;
    let result = measure_all(report, &rig, &other, own.len());
    sched_setaffinity(Pid::from_raw(0), &allowed)?;
    result
}

fn measure_all(report: &mut Report, rig: &Rig, other: &TestNode, count: usize) -> Result<()> {
    let cores = if count == 1 { "1".to_owned() } else { format!("1-{count}") };
    for (workload, rows) in [
        ("cpu", ["cpu, by the clock: TCP in", "  TCP out", "  ping 56 B, p50", "  cores that were busy"]),
        ("memory", ["memory, by the clock: TCP in", "  TCP out", "  ping 56 B, p50", "  cores that were busy"]),
    ] {
        let mut pairs = Vec::new();
        for round in 0..ROUNDS {
            let idle = || beside(other, workload, &cores, count, || measure(rig));
            let busy = || beside(&rig.node, workload, &cores, count, || measure(rig));
            let pair = if round % 2 == 0 {
                let idle = idle()?;
                (idle, busy()?)
            } else {
                let busy = busy()?;
                (idle()?, busy)
            };
            say(&format!("{workload}: idle {:.2?}, busy {:.2?}", pair.0, pair.1));
            pairs.push(pair);
        }
        let change = |pick: &dyn Fn(&Figures) -> f64| {
            median(pairs.iter().map(|(idle, busy)| (pick(busy) / pick(idle) - 1.0) * 100.0).collect())
        };
        report.add(rows[0], "% more", change(&|figures| figures.into), Goal::AtLeast(-CHANGE_MAX), "");
        report.add(rows[1], "% more", change(&|figures| figures.out), Goal::AtLeast(-CHANGE_MAX), "");
        report.add(rows[2], "% more", change(&|figures| figures.ping), Goal::AtMost(CHANGE_MAX), "");
        report.add(rows[3], "", count as f64, Goal::None, "");
    }
    Ok(())
}

fn measure(rig: &Rig) -> Result<Figures> {
    let (into, out) = (tcp_in(rig, SPAN)?, tcp_out(rig, SPAN)?);
    Ok(Figures { into, out, ping: percentile(&mut round_trips(56)?, 50) })
}

/// Gives the threads of cores 1 and on a processor each, and the others of QEMU and of this program what is left.
fn place(node: &TestNode, others: &[usize], own: &[usize]) -> Result<()> {
    let cpus = node.board().qmp("query-cpus-fast", serde_json::json!({}))?;
    let thread_of = |core: usize| {
        let cpu = cpus.as_array().into_iter().flatten().find(|cpu| cpu["cpu-index"] == core);
        cpu.and_then(|cpu| cpu["thread-id"].as_i64()).with_context(|| format!("no core {core} in {cpus}"))
    };
    let others = set(others)?;
    for task in std::fs::read_dir(format!("/proc/{}/task", node.board().pid()))? {
        let thread = task?.file_name().to_string_lossy().parse()?;
        sched_setaffinity(Pid::from_raw(thread), &others)?;
    }
    for (at, processor) in own.iter().enumerate() {
        sched_setaffinity(Pid::from_raw(thread_of(at + 1)?.try_into()?), &set(&[*processor])?)?;
    }
    // Threads that are started later have it from this one.
    Ok(sched_setaffinity(Pid::from_raw(0), &others)?)
}

fn set(processors: &[usize]) -> Result<CpuSet> {
    let mut set = CpuSet::new();
    for processor in processors {
        set.set(*processor)?;
    }
    ensure!(!processors.is_empty(), "no processor is left");
    Ok(set)
}
