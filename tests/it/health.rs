//! Whether measurements can be trusted: a link that is lost, as everybody is told of it.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tests::frames::FrameSocket;
use tests::lab::{Lab, NODE};
use tests::metrics::Metrics;
use tests::node::{self, PATIENCE, Rig, TestNode};
use tests::{shell, wait};

/// How often the link is lost for a moment until a scrape comes in the second in which the sample of it is the newest.
const ATTEMPTS: usize = 10;
const VALID: &str = "minipirack_sample_valid";

fn get(node: &TestNode, path: &str) -> Result<Value> {
    let response = node.get(&format!("/api/v1/{path}"))?;
    serde_json::from_slice(&response.body).with_context(|| format!("{path}: {}", response.text()))
}

/// Returns what the node says of a workload: whether what it has measured is valid, and why not.
fn trust(node: &TestNode, id: &str) -> Result<(Value, Value)> {
    let all = get(node, "workloads")?;
    let found = all.as_array().into_iter().flatten().find(|workload| workload["id"] == id);
    let workload = found.with_context(|| format!("no {id} in {all}"))?;
    Ok((workload["valid"].clone(), workload["invalid_reasons"].clone()))
}

fn link_lost(metrics: &Metrics, when: &str) -> Result<f64> {
    metrics.one("minipirack_health", &[("reason", "link_lost"), ("when", when)])
}

/// Has the link lost for so long, and returns when the console has said all of this and the link is back.
fn lose_link(node: &TestNode, time: &str, said: &[&str]) -> Result<()> {
    let console = node.console();
    console.skip();
    console.send_line(&format!("fault add nic-off for={time}"))?;
    for text in said {
        console.wait_for(|line: &str| line.contains(text), PATIENCE).with_context(|| (*text).to_owned())?;
    }
    wait::until("the network again", PATIENCE, || Ok(node::tcp_echo(node.tcp(7)?).ok()))
}

#[test]
fn what_was_measured_while_the_link_was_lost_is_marked_with_the_reason() -> Result<()> {
    let rig = Rig::boot("report=1 workload=cpu:load=10%,id=early,cores=1")?;
    let node = &rig.node;
    // An emulator can't say that its hardware is well, so nothing is valid there; but it is not invalid either.
    let well = node.settled_metrics()?;
    ensure!(well.all(VALID, &[]).is_empty() && link_lost(&well, "since_boot")? == 0.0, "{well:#?}");
    ensure!(trust(node, "early")? == (Value::Null, json!([])), "{:?}", trust(node, "early"));

    // The line on the console, which needs no link, says so while it lasts.
    lose_link(node, "3s", &["net: link down", " LINK LOST ", "net: link up"])?;
    let well = node.wait_for_metric("samples that are well again", PATIENCE, |metrics| {
        let is_well = metrics.all(VALID, &[]).is_empty() && link_lost(metrics, "now")? == 0.0;
        Ok(is_well.then_some(metrics.one("minipirack_health_sick_samples_total", &[("reason", "link_lost")])?))
    })?;
    ensure!(well >= 3.0, "{well} sick samples in three seconds and more");
    ensure!(node.metric("minipirack_health", &[("reason", "link_lost"), ("when", "since_boot")])? == 1.0);
    // The samples of that time are sick, and those before and after are not.
    let samples = get(node, "samples?last=60")?;
    let samples = samples["samples"].as_array().context("no samples")?;
    let is_sick: Vec<bool> = samples.iter().map(|sample| sample["valid"] == false).collect();
    let sick = samples.iter().filter(|sample| sample["valid"] == false);
    for sample in sick {
        ensure!(sample["invalid_reasons"] == json!(["link_lost"]), "{sample}");
    }
    let changes = is_sick.windows(2).filter(|pair| pair[0] != pair[1]).count();
    let count = is_sick.iter().filter(|is_sick| **is_sick).count();
    ensure!(changes == 2 && !is_sick[0] && (3..=10).contains(&count), "{is_sick:?}");
    // So is what ran then. What was started later is not.
    ensure!(trust(node, "early")? == (json!(false), json!(["link_lost"])), "{:?}", trust(node, "early"));
    shell::run(node, "workload start cpu load=10% id=late cores=2")?;
    let late = wait::until("the late one", PATIENCE, || Ok(trust(node, "late").ok()))?;
    ensure!(late == (Value::Null, json!([])), "{late:?}");

    // A scrape in the second that such a sample covers says so too.
    for _ in 0..ATTEMPTS {
        // A node does not tell of every change when there are many, but of each fault.
        lose_link(node, "300ms", &["is over: nic-off"])?;
        let end = Instant::now() + Duration::from_secs(2);
        while Instant::now() < end {
            let metrics = node.metrics()?;
            if !metrics.all(VALID, &[]).is_empty() {
                ensure!(metrics.one(VALID, &[])? == 0.0 && link_lost(&metrics, "now")? == 1.0, "{metrics:#?}");
                ensure!(trust(node, "late")?.1 == json!(["link_lost"]));
                return Ok(());
            }
        }
    }
    anyhow::bail!("no scrape of {ATTEMPTS} times that the link was lost has seen {VALID} 0")
}

#[test]
fn a_switch_that_loops_is_told_of_and_takes_nothing_away() -> Result<()> {
    let Some(lab) = Lab::private("a network that loops")? else { return Ok(()) };
    let rig = Rig::boot_in(lab, "report=1 workload=cpu:load=10%,id=early,cores=1", |_| ())?;
    let node = &rig.node;
    let looped = |metrics: &Metrics| metrics.sum("minipirack_network_looped_frames_total", &[]);
    ensure!(looped(&node.settled_metrics()?) == 0.0, "frames came back in a network that does not loop");
    node.console().skip();
    let mut frames = FrameSocket::open()?;
    // What the node sends comes back to it.
    for number in 0..5 {
        ensure!(node::ping(NODE, 1, 56)? == 1, "ping {number}");
        let frame = frames.receive(node::MAC, PATIENCE, |frame| Some(frame.to_vec()))?;
        frames.send(&frame.with_context(|| format!("the node has sent no frame {number}"))?);
    }
    let said = "measurements are not valid: network_loop: its own frames come back";
    node.console().wait_for(|line: &str| line.contains(said), PATIENCE)?;
    node.wait_for_metric("a sick sample", PATIENCE, |metrics| {
        let labels = [("reason", "network_loop"), ("when", "since_boot")];
        Ok((looped(metrics) >= 1.0 && metrics.one("minipirack_health", &labels)? == 1.0).then_some(1.0))
    })?;
    ensure!(trust(node, "early")? == (json!(false), json!(["network_loop"])), "{:?}", trust(node, "early"));
    node::tcp_echo(node.tcp(7)?)?;
    ensure!(node::ping(NODE, 5, 56)? == 5);
    Ok(())
}
