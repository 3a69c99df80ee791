//! Pipelines on one node and on two: what is sent is delivered, or lost for a reason that is counted.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use qemu::{Network, NodeConfig};
use tests::lab::{Lab, port};
use tests::metrics::Metrics;
use tests::node::{BOOT, PATIENCE, Rig, TestNode};
use tests::shell::run;
use tests::{slots, wait};

/// Returns a figure of a stage; `None` before it has one.
fn figure(metrics: &Metrics, id: &str, name: &str) -> Option<f64> {
    metrics.one(&format!("minipirack_pipeline_{name}"), &[("id", id)]).ok()
}

/// Waits until the source is done, and returns its node's metrics.
fn finish(node: &TestNode, id: &str) -> Result<Metrics> {
    let mut last = String::new();
    wait::until("the end of every message", PATIENCE * 6, || {
        let metrics = node.fresh_metrics()?;
        let figures = ["sent_total", "delivered_total", "lost_total", "in_flight", "backlog"];
        last = format!("{:?}", figures.map(|name| (name, figure(&metrics, id, name))));
        let is_done = metrics.sum("minipirack_workload_state", &[("id", id), ("state", "finished")]) == 1.0;
        Ok(is_done.then_some(metrics))
    })
    .with_context(|| format!("the source has {last}; {}", node.last_words()))
}

/// Asserts that every message is accounted for and that source and sink agree; returns delivered and lost.
fn balance(source: &Metrics, id: &str, sink: &Metrics, sent: f64) -> Result<(f64, f64)> {
    let of =
        |metrics: &Metrics, id: &str, name: &str| figure(metrics, id, name).with_context(|| format!("{id}: no {name}"));
    let [delivered, lost] = [of(source, id, "delivered_total")?, of(source, id, "lost_total")?];
    let reasons = ["connection", "worker", "corrupted"].map(|reason| of(source, id, &format!("lost_{reason}_total")));
    let reasons = reasons.into_iter().sum::<Result<f64>>()?;
    ensure!(of(source, id, "sent_total")? == sent, "sent {:?}", of(source, id, "sent_total"));
    ensure!(
        sent == delivered + lost && lost == reasons,
        "{sent} sent, {delivered} delivered, {lost} lost, {reasons} explained"
    );
    let sink = [of(sink, "sink", "delivered_total")?, of(sink, "sink", "lost_total")?];
    ensure!(sink == [delivered, lost], "the sink has {sink:?}, the source {delivered} and {lost}");
    Ok((delivered, lost))
}

#[test]
fn all_stages_on_one_node_reach_each_other_under_each_of_its_addresses() -> Result<()> {
    let rig = Rig::boot("name=alone workload=pipeline:stage=sink,id=sink workload=pipeline:stage=queue,id=queue")?;
    let say = |command: &str| -> Result<()> {
        let answer = run(&rig.node, command)?.join("\n");
        ensure!(answer.contains("started "), "{command}: {answer}");
        Ok(())
    };
    say("workload start pipeline stage=worker from=alone to=127.0.0.1 time=1ms prefetch=16 id=worker")?;
    say("workload start pipeline to=::1 rate=500 count=2000 size=500 id=source")?;
    let metrics = finish(&rig.node, "source")?;
    let metrics = rig.node.fresh_metrics().unwrap_or(metrics);
    let (delivered, _) = balance(&metrics, "source", &metrics, 2000.0)?;
    ensure!(delivered == 2000.0);
    for name in
        ["duplicates_total", "reordered_total", "corrupted_total", "missing", "untimed_total", "uncertainty_seconds"]
    {
        ensure!(figure(&metrics, "sink", name) == Some(0.0), "{name}: {:?}", figure(&metrics, "sink", name));
    }
    let histogram = "minipirack_workload_operation_duration_seconds";
    let mean = |id: &str| -> Result<f64> {
        let read = |what: &str| metrics.one(&format!("{histogram}_{what}"), &[("id", id)]);
        ensure!(read("count")? == 2000.0, "{id} has counted {:?} latencies", read("count"));
        Ok(read("sum")? / 2000.0)
    };
    // One clock for both, however busy this machine is: the work takes a millisecond, and the source hears of it afterwards.
    let (until_here, until_known) = (mean("sink")?, mean("source")?);
    ensure!(0.001 < until_here && until_here < until_known, "{until_here} s to the sink, {until_known} s and back");
    // None of it went over the wire, and none was dropped on its way round: 2,000 messages, three times.
    let local = |event| metrics.sum("minipirack_events_total", &[("event", event)]);
    ensure!(local("local_frame") > 2000.0 && local("local_dropped") == 0.0, "{} frames", local("local_frame"));

    // At most once, and a worker that is lost again and again.
    say("workload start pipeline to=alone rate=100 count=1500 delivery=at-most-once timeout=1s id=once")?;
    let answer = run(&rig.node, "workload set worker time=8ms prefetch=8")?.join("\n");
    ensure!(answer.contains("worker"), "{answer}");
    for _ in 0..4 {
        std::thread::sleep(Duration::from_secs(2));
        run(&rig.node, "workload restart worker")?;
    }
    let before = metrics;
    let metrics = finish(&rig.node, "once")?;
    let metrics = rig.node.fresh_metrics().unwrap_or(metrics);
    let of = |name: &str| figure(&metrics, "once", name).with_context(|| format!("no {name}"));
    let (sent, delivered, lost) = (of("sent_total")?, of("delivered_total")?, of("lost_total")?);
    ensure!(sent == 1500.0 && sent == delivered + lost, "{sent} sent, {delivered} delivered, {lost} lost");
    ensure!(
        lost >= 1.0 && lost == of("lost_worker_total")?,
        "{lost} lost, {:?} of them with workers",
        of("lost_worker_total")
    );
    let sink = |name: &str| Some(figure(&metrics, "sink", name)? - figure(&before, "sink", name)?);
    ensure!(sink("delivered_total") == Some(delivered) && sink("lost_total") == Some(lost), "the sink disagrees");

    // Who calls the wrong one is told.
    run(&rig.node, "workload start pipeline stage=worker from=127.0.0.1:80 to=127.0.0.1 id=wrong")?;
    rig.node.console().wait_for("127.0.0.1:80 is no stage of a pipeline", PATIENCE)?;
    let answer = run(&rig.node, "workload help pipeline")?.join("\n");
    ensure!(answer.contains("delivery") && answer.contains("shows minipirack_pipeline_depth"), "{answer}");
    Ok(())
}

/// A node at a port of the switch, with an address and a MAC address of its own.
fn node(lab: &Lab, slot: slots::Slot, index: u8, command_line: &str) -> Result<TestNode> {
    let address = Ipv4Addr::new(10, 77, 0, 60 + index);
    let place = |config: &mut NodeConfig| {
        config.network = Network::Tap { ifname: port(usize::from(index)) };
        if let Some(nic) = &mut config.nic {
            nic.mac[5] = index;
        }
    };
    let mut node = TestNode::start_in(lab, slot, &format!("ip={address}/24 {command_line}"), place)?;
    node.set_address(address);
    Ok(node)
}

#[test]
fn stages_on_two_nodes_find_each_other_by_name_and_a_reset_between_them_loses_nothing() -> Result<()> {
    let Some(lab) = Lab::switched(2, "a pipeline over two nodes")? else { return Ok(()) };
    let [first, second] = slots::take_several()?;
    let middle = node(
        &lab,
        first,
        0,
        "name=middle workload=pipeline:stage=queue,id=queue,timeout=2s \
         workload=pipeline:stage=worker,from=middle,to=ends,time=3ms,connections=2,prefetch=6,id=worker,timeout=2s",
    )?;
    let ends = node(
        &lab,
        second,
        1,
        "name=ends workload=pipeline:stage=sink,id=sink,timeout=2s \
         workload=pipeline:to=middle,rate=300,count=9000,size=400,id=source,timeout=2s",
    )?;
    middle.wait_until_up()?;
    ends.wait_until_up()?;
    let flow = |more: f64| {
        let read = || -> Result<f64> { Ok(figure(&ends.metrics()?, "sink", "delivered_total").unwrap_or(0.0)) };
        let before = read()?;
        wait::until("messages to come through", BOOT, || Ok((read()? > before + more).then_some(())))
    };
    flow(500.0)?;
    for _ in 0..2 {
        middle.console().skip();
        middle.board().reset()?;
        middle.console().wait_for("MiniPiRack", BOOT)?;
        flow(500.0).with_context(|| format!("after a reset: {}", middle.last_words()))?;
    }
    let metrics = finish(&ends, "source")?;
    let metrics = ends.fresh_metrics().unwrap_or(metrics);
    let (delivered, lost) = balance(&metrics, "source", &metrics, 9000.0)?;
    ensure!((delivered, lost) == (9000.0, 0.0), "{delivered} delivered, {lost} lost");
    ensure!(figure(&metrics, "source", "cuts_total") >= Some(2.0) && figure(&metrics, "sink", "missing") == Some(0.0));

    // At most once, the same costs messages, and each is accounted for.
    let answer =
        run(&ends, "workload start pipeline to=middle rate=300 count=4000 delivery=at-most-once id=once timeout=2s")?;
    ensure!(answer.join("\n").contains("started "), "{answer:?}");
    flow(500.0)?;
    middle.board().reset()?;
    let before = metrics;
    let metrics = finish(&ends, "once")?;
    let metrics = ends.fresh_metrics().unwrap_or(metrics);
    let of = |name: &str| figure(&metrics, "once", name).with_context(|| format!("no {name}"));
    let (sent, delivered, lost) = (of("sent_total")?, of("delivered_total")?, of("lost_total")?);
    ensure!(sent == 4000.0 && sent == delivered + lost, "{sent} sent, {delivered} delivered, {lost} lost");
    ensure!(lost >= 1.0 && lost == of("lost_connection_total")? + of("lost_worker_total")?, "{lost} lost");
    let sink = |name: &str| Some(figure(&metrics, "sink", name)? - figure(&before, "sink", name)?);
    ensure!(sink("delivered_total") == Some(delivered) && sink("lost_total") == Some(lost), "the sink disagrees");
    Ok(())
}
