//! What a browser and Prometheus see.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tests::http::HttpClient;
use tests::node::{PATIENCE, Rig};

/// Names that node_exporter's dashboards look for.
const NODE_EXPORTER: [&str; 10] = [
    "node_cpu_seconds_total",
    "node_memory_MemTotal_bytes",
    "node_memory_MemFree_bytes",
    "node_network_receive_bytes_total",
    "node_network_receive_packets_total",
    "node_network_receive_errs_total",
    "node_network_receive_drop_total",
    "node_network_transmit_bytes_total",
    "node_network_transmit_packets_total",
    "node_uname_info",
];

#[test]
fn promtool_accepts_the_metrics() -> Result<()> {
    let rig = Rig::boot("workload=cpu:load=10%")?;
    let text = rig.node.get("/metrics")?.text();
    let promtool =
        Command::new("promtool").args(["check", "metrics"]).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let Ok(mut promtool) = promtool else {
        tests::lab::say("NOT TESTED (needs the package prometheus): promtool accepts the metrics");
        return Ok(());
    };
    promtool.stdin.take().context("no stdin")?.write_all(text.as_bytes())?;
    let output = promtool.wait_with_output()?;
    let complaints = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success() && complaints.is_empty(), "promtool: {complaints}\n{text}");
    Ok(())
}

#[test]
fn metrics_have_node_exporters_names_and_the_right_content_type() -> Result<()> {
    let rig = Rig::boot("")?;
    let response = rig.node.get("/metrics")?;
    let kind = response.header("content-type").unwrap_or_default();
    ensure!(kind.starts_with("text/plain") && kind.contains("version=0.0.4"), "content type {kind:?}");
    let metrics = rig.node.metrics()?;
    let missing: Vec<_> = NODE_EXPORTER.iter().filter(|name| metrics.all(name, &[]).is_empty()).collect();
    ensure!(missing.is_empty(), "missing: {missing:?} in\n{}", response.text());
    for core in ["0", "1", "2", "3"] {
        metrics.one("node_cpu_seconds_total", &[("cpu", core), ("mode", "idle")])?;
    }
    ensure!(metrics.one("node_memory_MemTotal_bytes", &[])? > 256e6, "the board has 1 GiB");
    Ok(())
}

#[test]
fn counters_only_grow_and_follow_what_happens() -> Result<()> {
    let rig = Rig::boot("")?;
    let before = rig.node.settled_metrics()?;
    for _ in 0..50 {
        tests::node::udp_echo(rig.node.udp(7)?, &[1; 1000])?;
    }
    let name = "node_network_receive_packets_total";
    let goal = before.sum(name, &[]) + 50.0;
    rig.node.wait_for_metric("fifty more received packets", PATIENCE, |now| {
        let packets = now.sum(name, &[]);
        Ok((packets >= goal).then_some(packets))
    })?;
    let after = rig.node.metrics()?;
    for sample in before.samples.iter().filter(|sample| sample.name.ends_with("_total")) {
        let labels: Vec<_> = sample.labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let now = after.one(&sample.name, &labels)?;
        ensure!(now >= sample.value, "{} {labels:?} fell from {} to {now}", sample.name, sample.value);
    }
    let bytes = "node_network_receive_bytes_total";
    ensure!(after.sum(bytes, &[]) >= before.sum(bytes, &[]) + 50_000.0);
    Ok(())
}

#[test]
fn idle_time_of_all_cores_passes_as_fast_as_time() -> Result<()> {
    let rig = Rig::boot("")?;
    let idle = |core: &str| rig.node.metric("node_cpu_seconds_total", &[("cpu", core), ("mode", "idle")]);
    let (start, before) = (std::time::Instant::now(), [idle("1")?, idle("2")?, idle("3")?]);
    tests::wait::until("five seconds of idle time", PATIENCE, || Ok((idle("3")? >= before[2] + 5.0).then_some(())))?;
    let elapsed = start.elapsed().as_secs_f64();
    for (core, before) in ["1", "2", "3"].iter().zip(before) {
        let passed = idle(core)? - before;
        ensure!((passed - elapsed).abs() < 2.0, "core {core}: {passed} s idle in {elapsed} s");
    }
    Ok(())
}

#[test]
fn the_status_page_is_small_and_says_who_the_node_is() -> Result<()> {
    let rig = Rig::boot("name=beta")?;
    let response = rig.node.get("/")?;
    let text = response.text();
    ensure!(
        response.status == 200 && response.header("content-type").is_some_and(|kind| kind.starts_with("text/html"))
    );
    ensure!(text.contains("beta") && text.contains("</html>"), "{text}");
    ensure!(response.body.len() < 16_384, "{} bytes", response.body.len());
    Ok(())
}

#[test]
fn a_connection_carries_many_requests() -> Result<()> {
    let rig = Rig::boot("")?;
    let mut client = HttpClient::connect(rig.node.tcp(80)?)?;
    for number in 0..100 {
        let response = client.get(if number % 2 == 0 { "/metrics" } else { "/" })?;
        ensure!(response.status == 200, "request {number}: {}", response.status);
    }
    Ok(())
}

#[test]
fn unknown_pages_and_methods_are_refused_properly() -> Result<()> {
    let rig = Rig::boot("")?;
    ensure!(rig.node.get("/nothing/here")?.status == 404);
    let mut stream = std::net::TcpStream::connect_timeout(&rig.node.tcp(80)?, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"BREW /metrics HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    std::io::Read::read_to_string(&mut stream, &mut answer)?;
    ensure!(
        answer.starts_with("HTTP/1.") && (" 4".contains(&answer[8..9]) || answer[9..].starts_with(['4', '5'])),
        "{answer}"
    );
    Ok(())
}

#[test]
fn clients_that_never_finish_their_request_do_not_lock_out_others() -> Result<()> {
    let rig = Rig::boot("")?;
    let mut lazy = Vec::new();
    for _ in 0..16 {
        let mut stream = std::net::TcpStream::connect_timeout(&rig.node.tcp(80)?, Duration::from_secs(2));
        if let Ok(stream) = &mut stream {
            stream.write_all(b"GET /metr")?;
        }
        lazy.push(stream);
    }
    tests::wait::until("an answer beside sixteen lazy clients", Duration::from_secs(60), || {
        Ok(rig.node.get("/metrics").ok().filter(|response| response.status == 200))
    })?;
    Ok(())
}
