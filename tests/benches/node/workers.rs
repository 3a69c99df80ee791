//! What busy workloads on cores 1 to 3 change for the network, which is core 0's.
//!
//! A virtual board with four busy cores wants more processors than a small host has. So there are two measurements: [`clock`]
//! has as many busy cores as the host has processors for, and this one has all three and counts core 0's instructions for each
//! frame and each ping, with a plugin of QEMU: they tell whatever the workloads do to core 0 by locks, interrupts and shared
//! queues. What cores do to each other through caches and memory no emulator tells. Idle and busy take turns in one boot; the
//! median of the ratios of neighbours counts.
//!
//! Here all cores take turns in one thread: what comes while others have theirs is handled at once, so busy cores make a frame
//! cheaper, and slow ones (memory) much. Only that it gets dearer would be the workloads' doing.

mod clock;

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use qemu::config::{NicKind, UsbNet};
use tests::instructions::Counter;
use tests::lab::{Lab, say};
use tests::node::{PATIENCE, Rig, TestNode};
use tests::{shell, wait};

use crate::instructions::{FRAMES, WINDOW, send_windows};
use crate::network::{PINGS, round_trips};
use crate::report::{Goal, Report, median};

const ROUNDS: usize = 5;
/// How long core 0 is watched without traffic, to know what it does anyway.
const REST: Duration = Duration::from_secs(2);
/// How much more a frame or a ping may cost, in per cent.
const CHANGE_MAX: f64 = 5.0;

/// Core 0's instructions for one of each.
struct Costs {
    received: f64,
    echoed: f64,
    ping: f64,
}

pub(crate) fn influence(report: &mut Report) -> Result<()> {
    clock::influence(report)?;
    instructions(report)
}

fn instructions(report: &mut Report) -> Result<()> {
    let Some(counter) = Counter::new()? else {
        report.not_measured("instructions beside busy cores", "needs QEMU 9");
        return Ok(());
    };
    let rig = Rig::boot_in(Lab::new()?, "", |config| {
        config.extra.extend(counter.arguments().map(Into::into));
        // One thread of the host for all cores, in turns: none waits for a lock whose holder the host has put to sleep.
        config.extra.extend(["-icount".into(), "shift=0,sleep=on".into()]);
        // QEMU's own NIC has to be asked again and again while an answer is awaited: that costs by time, not by frame.
        config.nic = config.nic.take().map(|nic| UsbNet { kind: NicKind::Lan7800, ..nic });
    })?;
    rig.node.settled_metrics()?;
    for (workload, rows) in [
        ("cpu", ["cpu on cores 1-3: instructions per frame in", "  per frame echoed", "  per ping"]),
        ("memory", ["memory on cores 1-3: instr. per frame in", "  per frame echoed", "  per ping"]),
    ] {
        let mut pairs = Vec::new();
        for round in 0..ROUNDS {
            let beside = || {
                beside(&rig.node, workload, "1-3", 3, || {
                    let before = counter.of_core(1)?;
                    let costs = costs(&rig, &counter, Cores::Busy)?;
                    ensure!(counter.of_core(1)? > before + 1e6, "core 1 did nothing");
                    Ok(costs)
                })
            };
            let (idle, busy) = if round % 2 == 0 {
                let idle = costs(&rig, &counter, Cores::Idle)?;
                (idle, beside()?)
            } else {
                let busy = beside()?;
                (costs(&rig, &counter, Cores::Idle)?, busy)
            };
            say(&format!(
                "{workload}: {:.0} / {:.0} instructions per frame in, {:.0} / {:.0} echoed, {:.0} / {:.0} per ping (idle / busy)",
                idle.received, busy.received, idle.echoed, busy.echoed, idle.ping, busy.ping
            ));
            pairs.push((idle, busy));
        }
        let change = |pick: &dyn Fn(&Costs) -> f64| {
            median(pairs.iter().map(|(idle, busy)| (pick(busy) / pick(idle) - 1.0) * 100.0).collect())
        };
        report.add(rows[0], "% more", change(&|costs| costs.received), Goal::AtMost(CHANGE_MAX), "");
        report.add(rows[1], "% more", change(&|costs| costs.echoed), Goal::AtMost(CHANGE_MAX), "");
        report.add(rows[2], "% more", change(&|costs| costs.ping), Goal::AtMost(CHANGE_MAX), "");
    }
    Ok(())
}

/// Does something while a workload keeps so many cores busy, and returns what that gave.
fn beside<T>(node: &TestNode, workload: &str, cores: &str, count: usize, act: impl FnOnce() -> Result<T>) -> Result<T> {
    shell::run(node, &format!("workload start {workload} cores={cores} id=burn"))?;
    wait::until("busy cores", PATIENCE, || {
        let list = shell::run(node, "workload list")?;
        let running = list.iter().filter(|line| line.contains(workload) && line.contains(" running "));
        Ok((running.count() == count).then_some(()))
    })?;
    let value = act()?;
    shell::run(node, "workload stop burn")?;
    Ok(value)
}

fn costs(rig: &Rig, counter: &Counter, cores: Cores) -> Result<Costs> {
    let (at_rest, elapsed) = count(counter, cores, || {
        std::thread::sleep(REST);
        Ok(())
    })?;
    let per_second = at_rest / elapsed;
    // What the work itself took, without what core 0 does anyway in that time.
    let of = |work: &dyn Fn() -> Result<()>| {
        let (count, elapsed) = count(counter, cores, work)?;
        Ok::<_, anyhow::Error>(count - per_second * elapsed)
    };
    let marks = of(&|| send_windows(rig, 9, 0))?;
    let received = of(&|| send_windows(rig, 9, WINDOW))? - marks;
    let echoed = of(&|| send_windows(rig, 7, WINDOW))? - marks;
    let pings = of(&|| round_trips(56).map(drop))?;
    Ok(Costs { received: received / FRAMES as f64, echoed: echoed / FRAMES as f64, ping: pings / f64::from(PINGS) })
}

/// What cores 1 to 3 do, and so how time passes on the node: as on the wall, or a nanosecond with each instruction of a core.
#[derive(Clone, Copy)]
enum Cores {
    Idle,
    Busy,
}

/// Returns how many instructions core 0 executes during `work`, and how long that takes in the node's time, in seconds.
fn count(counter: &Counter, cores: Cores, work: impl FnOnce() -> Result<()>) -> Result<(f64, f64)> {
    let all = || (0..4).map(|core| counter.of_core(core)).sum::<Result<f64>>();
    let (before, all_before, start) = (counter.of_core(0)?, all()?, Instant::now());
    work()?;
    let elapsed = match cores {
        Cores::Idle => start.elapsed().as_secs_f64(),
        Cores::Busy => (all()? - all_before) / 1e9,
    };
    Ok((counter.of_core(0)? - before, elapsed))
}
