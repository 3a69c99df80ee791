//! Workloads do what they say, where they say it, and never cost a packet.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tests::frames::FrameSocket;
use tests::instructions::{Counter, PATH};
use tests::lab::{HOST, Lab, NODE, Wire, say};
use tests::metrics::Metrics;
use tests::node::{self, PATIENCE, Rig};
use tests::ping::round_trips;
use tests::shell::run;
use tests::wait;

/// The peer of pings: the host itself, or what QEMU's user network has in its place.
fn peer(lab: &Lab) -> Ipv4Addr {
    match lab.wire() {
        Wire::Tap => HOST,
        Wire::User => Ipv4Addr::new(10, 0, 2, 2),
    }
}

/// Returns the share of `span` that a core was not idle, by the node's counters and the node's clock.
fn load(rig: &Rig, core: &str, span: f64) -> Result<f64> {
    let read = || -> Result<(f64, f64)> {
        let metrics = rig.node.metrics()?;
        let idle = metrics.one("node_cpu_seconds_total", &[("cpu", core), ("mode", "idle")])?;
        Ok((metrics.one("minipirack_uptime_seconds", &[])?, idle))
    };
    let before = read()?;
    let after = wait::until("samples", PATIENCE * 2, || {
        let now = read()?;
        Ok((now.0 >= before.0 + span).then_some(now))
    })?;
    Ok(1.0 - (after.1 - before.1) / (after.0 - before.0))
}

#[test]
fn cpu_keeps_a_core_as_busy_as_asked_and_no_other() -> Result<()> {
    let rig = Rig::boot("workload=cpu:load=50%,cores=2")?;
    // The median of three: a host that is busy with other things takes a virtual core away now and then. It does so while the
    // workload works, which makes up for that, and while the core falls asleep and wakes up, which counts on top.
    let mut busy = [load(&rig, "2", 5.0)?, load(&rig, "2", 5.0)?, load(&rig, "2", 5.0)?];
    busy.sort_by(f64::total_cmp);
    ensure!((0.42..=0.8).contains(&busy[1]), "core 2 is busy for {busy:.2?} of the time, not half");
    let worked = rig.node.metric("minipirack_workload_busy_ratio", &[("core", "2"), ("workload", "cpu")])?;
    ensure!((0.4..=0.6).contains(&worked), "the workload worked for {worked:.2} of the last second, not half");
    for core in ["1", "3"] {
        let busy = load(&rig, core, 2.0)?;
        ensure!(busy < 0.1, "core {core} is busy for {busy:.2} of the time without a workload");
    }
    let labels = [("core", "2"), ("workload", "cpu")];
    let metrics = rig.node.metrics()?;
    ensure!(metrics.one("minipirack_workload_operations_total", &labels)? > 0.0);
    ensure!(metrics.one("minipirack_workload_errors_total", &labels)? == 0.0, "wrong results");
    Ok(())
}

#[test]
fn memory_moves_bytes_and_finds_no_errors() -> Result<()> {
    let rig = Rig::boot("workload=memory:cores=1")?;
    let labels = [("core", "1"), ("workload", "memory")];
    let bytes = rig.node.wait_for_metric("a hundred megabytes moved", PATIENCE * 2, |metrics| {
        let bytes = metrics.one("minipirack_workload_bytes_total", &labels)?;
        Ok((bytes > 100e6).then_some(bytes))
    })?;
    ensure!(rig.node.metric("minipirack_workload_errors_total", &labels)? == 0.0, "errors in {bytes} bytes");
    Ok(())
}

#[test]
fn workloads_have_all_ram_that_the_node_does_not_need() -> Result<()> {
    // Of 960 MiB, all but the node's own 52, in three parts.
    let rig = Rig::boot("workload=memory:size=302M,cores=1-3")?;
    for core in ["1", "2", "3"] {
        let labels = [("core", core), ("workload", "memory")];
        // The first two passes fill one half and copy it to the other; the fifth has read all that.
        rig.node.wait_for_metric("five passes", 10 * PATIENCE, |metrics| {
            let passes = metrics.one("minipirack_workload_operations_total", &labels)?;
            Ok((passes >= 5.0).then_some(passes))
        })?;
        ensure!(rig.node.metric("minipirack_workload_errors_total", &labels)? == 0.0, "core {core}");
    }
    Ok(())
}

#[test]
fn ping_asks_its_peer_and_keeps_a_histogram() -> Result<()> {
    let lab = Lab::new()?;
    let command_line = format!("workload=ping:peer={},interval=100ms,size=100,cores=3", peer(&lab));
    let rig = Rig::boot_in(lab, &command_line, |_| ())?;
    if rig.lab.wire() == Wire::Tap {
        let mut frames = FrameSocket::open()?;
        let mut seen = 0;
        let enough = frames.receive(node::MAC, PATIENCE, |frame| {
            // An ICMP echo request to the host, with 100 bytes behind the 8 of its header.
            let is_request = frame[12..14] == [8, 0] && frame.get(30..34)? == HOST.octets() && *frame.get(34)? == 8;
            seen += usize::from(is_request && frame.len() == 34 + 8 + 100);
            (seen >= 10).then_some(())
        })?;
        enough.with_context(|| format!("received {seen} echo requests; {}", rig.node.last_words()))?;
    }
    let labels = [("core", "3"), ("workload", "ping")];
    let name = "minipirack_workload_operation_duration_seconds";
    rig.node.wait_for_metric("ten answers in the histogram", PATIENCE, |metrics| {
        let count = metrics.one(&format!("{name}_count"), &labels)?;
        Ok((count >= 10.0).then_some(count))
    })?;
    let metrics = rig.node.metrics()?;
    let count = metrics.one(&format!("{name}_count"), &labels)?;
    let buckets = metrics.all(&format!("{name}_bucket"), &labels);
    ensure!(buckets.len() > 3, "{buckets:?}");
    ensure!(buckets.windows(2).all(|pair| pair[0].value <= pair[1].value), "not cumulative: {buckets:?}");
    ensure!(buckets.last().is_some_and(|last| last.value == count && last.has(&[("le", "+Inf")])), "{buckets:?}");
    let mean = metrics.one(&format!("{name}_sum"), &labels)? / count;
    ensure!((10e-6..0.5).contains(&mean), "a mean round trip of {mean} s");
    Ok(())
}

#[test]
fn ping_of_a_peer_that_is_not_there_counts_errors() -> Result<()> {
    let Some(lab) = Lab::private("ping of an absent peer")? else { return Ok(()) };
    let rig = Rig::boot_in(lab, "workload=ping:peer=10.77.0.222,interval=100ms,timeout=200ms,cores=1", |_| ())?;
    let labels = [("core", "1"), ("workload", "ping")];
    rig.node.wait_for_metric("errors", PATIENCE, |metrics| {
        let errors = metrics.one("minipirack_workload_errors_total", &labels)?;
        Ok((errors >= 3.0).then_some(errors))
    })?;
    ensure!(rig.node.metric("minipirack_workload_operations_total", &labels)? == 0.0);
    Ok(())
}

#[test]
fn busy_workloads_on_all_their_cores_do_not_stop_the_network() -> Result<()> {
    let rig = Rig::boot("workload=cpu:load=100%,cores=1-3")?;
    rig.node.wait_for_metric("three cores at work", PATIENCE, |metrics| {
        let worked = worked_and_up(metrics).map(|(worked, _)| worked);
        Ok(worked.iter().all(|seconds| *seconds > 0.0).then_some(1.0))
    })?;
    let before = worked_and_up(&rig.node.metrics()?);
    let start = Instant::now();
    for number in 0..50 {
        node::udp_echo(rig.node.udp(7)?, &[7; 1472]).with_context(|| format!("datagram {number}"))?;
        node::tcp_echo(rig.node.tcp(7)?).with_context(|| format!("connection {number}"))?;
    }
    ensure!(start.elapsed() < Duration::from_secs(30), "took {:?}", start.elapsed());
    if rig.lab.wire() == Wire::Tap {
        let received = node::ping(NODE, 50, 1400)?;
        ensure!(received == 50, "{received} of 50 pings were answered");
    }
    // They were busy all the while. By totals, and not 100 %: between two slices a core sets its timer, for which QEMU has it wait for
    // the lock of its devices, and on a host with fewer cores than the node that takes up to a quarter of the time.
    rig.node.wait_for_metric("two more samples", PATIENCE, |metrics| {
        let up = worked_and_up(metrics).map(|(_, up)| up);
        Ok(up.iter().zip(before).all(|(up, (_, was_up))| *up >= was_up + 2.0).then_some(1.0))
    })?;
    let after = worked_and_up(&rig.node.metrics()?);
    for ((worked, up), (had_worked, was_up)) in after.into_iter().zip(before) {
        let share = (worked - had_worked) / (up - was_up);
        ensure!(share > 0.5, "a core has worked {share:.2} of its time: {before:?}, then {after:?}");
    }
    Ok(())
}

#[test]
fn a_frame_costs_core_0_the_same_beside_busy_cores() -> Result<()> {
    const COUNT: u16 = 1000;
    const PAYLOAD: usize = 1400;
    /// As is wanted of throughput and round-trip times; by the clock a bench tells (`cargo bench -p tests -- workers`).
    const CHANGE_MAX: f64 = 0.05;
    let Some(lab) = Lab::private("what busy cores change for core 0")? else { return Ok(()) };
    let Some(counter) = Counter::new()? else {
        say("NOT TESTED (needs QEMU 9): what busy cores change for core 0");
        return Ok(());
    };
    let rig = Rig::boot_in(lab, "", |config| config.extra.extend(counter.arguments().map(Into::into)))?;
    rig.node.settled_metrics()?;
    let mut wire = FrameSocket::open()?;
    let mut cost = || -> Result<f64> {
        let before = counter.of_crates(&PATH)?;
        // One after the other: what comes together is cheaper, and how much does is chance.
        round_trips(&mut wire, COUNT, PAYLOAD)?;
        Ok((counter.of_crates(&PATH)? - before) / f64::from(COUNT))
    };
    let mut costs = vec![cost()?];
    for workload in ["cpu", "memory"] {
        run(&rig.node, &format!("workload start {workload} cores=1-3 id=burn"))?;
        rig.node.wait_for_metric("three cores at work", PATIENCE, |metrics| {
            Ok((metrics.sum("minipirack_workload_operations_total", &[("id", "burn")]) > 0.0).then_some(1.0))
        })?;
        let worked = counter.of_core(3)?;
        costs.push(cost()?);
        let worked = counter.of_core(3)? - worked;
        ensure!(worked > 1e7, "core 3 has executed only {worked} instructions meanwhile");
        run(&rig.node, "workload stop burn")?;
    }
    costs.push(cost()?);
    say(&format!("workloads: an echo takes {costs:.0?} instructions of core 0: idle, beside cpu, beside memory, idle"));
    for cost in &costs {
        ensure!((cost / costs[0] - 1.0).abs() < CHANGE_MAX, "{costs:?}: busy cores make a frame dearer");
    }
    Ok(())
}

/// Seconds that the workload of each of the cores 1-3 has worked, and that the core has been up; 0 before the first sample.
fn worked_and_up(metrics: &Metrics) -> [(f64, f64); 3] {
    ["1", "2", "3"].map(|core| {
        let worked = metrics.sum("minipirack_workload_busy_seconds_total", &[("core", core)]);
        (worked, metrics.sum("node_cpu_seconds_total", &[("cpu", core)]))
    })
}

#[test]
fn workloads_share_cores_change_and_survive_one_that_hangs() -> Result<()> {
    let rig = Rig::boot(
        "workload=cpu:load=20%,cores=2,id=a workload=\"cpu load=10% cores=2 id=b\" workload=idle workload=idle",
    )?;
    let share = |id: &str, core: &str, least: f64, most: f64| {
        let labels = [("core", core), ("workload", "cpu"), ("id", id)];
        rig.node.wait_for_metric(&format!("{id} working {least} to {most} of the time"), PATIENCE * 2, |metrics| {
            // There is none before the second sample.
            let share = metrics.one("minipirack_workload_busy_ratio", &labels).ok();
            Ok(share.filter(|share| (least..=most).contains(share)))
        })
    };
    share("a", "2", 0.15, 0.25)?;
    share("b", "2", 0.06, 0.14)?;
    let list = run(&rig.node, "workload")?.join("\n");
    for line in ["1    idle         running", "2    a            running", "2    b            running", "3    idle#2"] {
        ensure!(list.contains(line), "no {line:?} in\n{list}");
    }
    let answer = run(&rig.node, "workload set b load=60%")?.join("\n");
    ensure!(answer.contains("b goes on with that"), "{answer}");
    share("b", "2", 0.5, 0.65)?;
    let answer = run(&rig.node, "workload set b load=600%")?.join("\n");
    ensure!(answer.contains("load=600% is not allowed; allowed: 0% to 100%"), "{answer}");
    let answer = run(&rig.node, "workload stop a")?.join("\n");
    ensure!(answer.contains("stopped a on core 2"), "{answer}");
    rig.node.wait_for_metric("a stopped", PATIENCE, |metrics| {
        let is_stopped = metrics.one("minipirack_workload_state", &[("id", "a"), ("state", "stopped")])? == 1.0;
        Ok((is_stopped && metrics.one("minipirack_workload_operations_total", &[("id", "a")])? > 0.0).then_some(1.0))
    })?;
    // One that can't run says why.
    let answer = run(&rig.node, "workload start memory size=1G 1")?.join("\n");
    ensure!(answer.contains("started memory on core 1"), "{answer}");
    rig.node.console().wait_for("workload memory on core 1 has failed: needs 1073741824 bytes", PATIENCE)?;
    // A core that stands still for a while: what makes no progress is told of, started anew and counted, and goes on.
    let console = rig.node.console();
    console.skip();
    console.send_line("fault add stall core=2 for=10s")?;
    console.wait_for("workload b on core 2 makes no progress; it is started anew in 0 s", PATIENCE)?;
    console.wait_for("workload b on core 2 was started anew for want of progress (1)", PATIENCE)?;
    let labels = [("core", "2"), ("id", "b")];
    let ended = rig.node.wait_for_metric("b to be running again", PATIENCE, |metrics| {
        let is_running = metrics.sum("minipirack_workload_state", &[("id", "b"), ("state", "running")]) == 1.0;
        let restarts = metrics.one("minipirack_workload_restarts_total", &labels)?;
        ensure!(restarts <= 1.0, "started anew {restarts} times");
        Ok((is_running && restarts == 1.0).then_some(metrics.sum("minipirack_workload_operations_total", &labels)))
    })?;
    rig.node.wait_for_metric("b to work again", PATIENCE, |metrics| {
        let operations = metrics.sum("minipirack_workload_operations_total", &labels);
        Ok((operations > ended).then_some(operations))
    })?;
    share("b", "2", 0.5, 0.65)?;
    // A core that does not let go: first its workload is told of, then the node begins anew.
    let console = rig.node.console();
    console.skip();
    console.send_line("debug crash hang 2")?;
    console.wait_for("workload b on core 2 makes no progress", PATIENCE * 2)?;
    console.wait_for("can't be stopped", PATIENCE * 2)?;
    let report = console.wait_for("*** crash: ", PATIENCE)?;
    ensure!(report.contains("core 2"), "{report}");
    console.wait_for("a workload that does not let go of its core made no progress", PATIENCE)?;
    rig.node.wait_until_up()?;
    Ok(())
}
