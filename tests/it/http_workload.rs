//! The workload `http` against the tools that people test web servers with, and against clients that mean no good.

use std::io::Write as _;
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tests::lab::{Lab, NODE};
use tests::node::{PATIENCE, Rig};
use tests::shell::run;

const COMMAND_LINE: &str = "workload=\"http id=web size=500 cores=1\" \
                            workload=\"http id=slow port=8081 delay=50ms concurrency=2 queue=2 cores=2\"";

/// Runs a program to its end and returns what it wrote.
fn client(program: &str, arguments: &[&str]) -> Result<String> {
    let output = Command::new(program).args(arguments).output().with_context(|| format!("starting {program}"))?;
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    ensure!(output.status.success(), "{program} {arguments:?} failed: {text}");
    Ok(text)
}

/// Returns the number behind `name` in what `ab` reports, 0 if it is not there.
fn figure(report: &str, name: &str) -> u64 {
    let line = report.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.split_ascii_whitespace().next()).and_then(|word| word.parse().ok()).unwrap_or(0)
}

#[test]
fn wrk_ab_and_curl_are_served_and_slow_clients_do_not_keep_others_out() -> Result<()> {
    let Some(lab) = Lab::private("the http workload")? else { return Ok(()) };
    let rig = Rig::boot_in(lab, COMMAND_LINE, |_| ())?;
    let url = format!("http://{NODE}:8080/");
    rig.node.wait_for_metric("a server that runs", PATIENCE, |metrics| {
        let running = metrics.sum("minipirack_workload_state", &[("workload", "http"), ("state", "running")]);
        Ok((running == 2.0).then_some(running))
    })?;

    // curl: one connection for two requests; only the head; a body of which it asks whether it may be sent.
    let twice = client("curl", &["-sv", "--max-time", "20", &url, &url])?;
    ensure!(twice.contains("Re-using existing connection") && twice.matches("HTTP/1.1 200 OK").count() == 2, "{twice}");
    ensure!(twice.contains("MiniPiRack: a body of bytes"), "{twice}");
    let head = client("curl", &["-sI", "--max-time", "20", &url])?;
    ensure!(head.contains("Content-Length: 500"), "{head}");
    let body = tempfile::NamedTempFile::new()?;
    body.as_file().write_all(&vec![b'x'; 2 << 20])?;
    let data = format!("@{}", body.path().display());
    let posted = client("curl", &["-sv", "--max-time", "60", "--data-binary", &data, &url])?;
    ensure!(posted.contains("HTTP/1.1 100 Continue") && posted.contains("HTTP/1.1 200 OK"), "{posted}");

    // ab: HTTP/1.0, a connection for each request, and then kept.
    for arguments in [["-q", "-n", "300", "-c", "8"].as_slice(), &["-q", "-k", "-n", "2000", "-c", "16"]] {
        let report = client("ab", &[arguments, &[&url]].concat())?;
        let wanted = arguments.windows(2).find(|pair| pair[0] == "-n").and_then(|pair| pair[1].parse().ok());
        ensure!(Some(figure(&report, "Complete requests:")) == wanted, "{report}");
        ensure!(figure(&report, "Failed requests:") + figure(&report, "Non-2xx responses:") == 0, "{report}");
        let kept = figure(&report, "Keep-Alive requests:");
        ensure!(kept == if arguments.contains(&"-k") { 2000 } else { 0 }, "{report}");
    }

    // wrk: as fast as they go.
    let report = client("wrk", &["-t1", "-c16", "-d3s", "--timeout", "10s", "--latency", &url])?;
    ensure!(!report.contains("Socket errors") && !report.contains("Non-2xx"), "{report}");
    tests::lab::say(&report);

    // A limit of two at a time, and two that wait: of eight at a time some are refused, the others take 50 ms or a turn more.
    let report = client("ab", &["-q", "-k", "-n", "80", "-c", "8", &format!("http://{NODE}:8081/")])?;
    let refused = figure(&report, "Non-2xx responses:");
    ensure!(refused > 0 && figure(&report, "Complete requests:") == 80, "{report}");
    let labels = [("id", "slow")];
    rig.node.wait_for_metric("refusals and waits", PATIENCE, |metrics| {
        let rejected = metrics.one("minipirack_http_rejected_total", &labels)?;
        let waited = metrics.one("minipirack_http_queue_wait_seconds_count", &labels)?;
        Ok((rejected == refused as f64 && waited == (80 - refused) as f64).then_some(rejected))
    })?;

    // Twice as many as there are seats begin a request and go no further. Others are served all the same.
    let mut stalled = Vec::new();
    for _ in 0..64 {
        let Ok(mut stream) = TcpStream::connect_timeout(&(NODE, 8080).into(), Duration::from_secs(5)) else { continue };
        stream.write_all(b"GET / HTTP/1.1\r\nHost: ")?;
        stalled.push(stream);
    }
    ensure!(stalled.len() >= 32, "only {} connected", stalled.len());
    for number in 0..10 {
        let began = Instant::now();
        let served = client("curl", &["-s", "--max-time", "20", "--retry", "5", "--retry-all-errors", &url])?;
        ensure!(served.len() == 500 && began.elapsed() < Duration::from_secs(10), "{number}: {:?}", began.elapsed());
    }
    drop(stalled);

    let metrics = rig.node.fresh_metrics()?;
    let labels = [("id", "web")];
    ensure!(metrics.one("minipirack_workload_operations_total", &labels)? > 2300.0);
    ensure!(metrics.one("minipirack_http_unseated_total", &labels)? > 0.0);
    ensure!(metrics.one("minipirack_http_wrong_total", &labels)? == 0.0);
    let shown = run(&rig.node, "workload show web")?.join("\n");
    ensure!(shown.contains("connections_total") && shown.contains("durations"), "{shown}");
    let answer = run(&rig.node, "workload set web delay=uniform:1ms-9ms errors=100%")?.join("\n");
    ensure!(answer.contains("web goes on with that"), "{answer}");
    let failing = client("curl", &["-s", "-o", "/dev/null", "-w", "%{http_code}", "--max-time", "20", &url])?;
    ensure!(failing == "500", "status {failing}");
    Ok(())
}
