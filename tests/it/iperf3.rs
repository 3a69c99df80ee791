//! The iperf3 workload against the real iperf3, as its server and as its client. What the real one reports is what counts.

use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tests::lab::{HOST, Lab};
use tests::node::{PATIENCE, Rig};
use tests::{shell, wait};

const LABELS: [(&str, &str); 2] = [("core", "1"), ("workload", "iperf3")];
/// Port of the real server.
const PORT: u16 = 5301;

/// Runs the real client against the node; returns its report.
fn client(rig: &Rig, options: &str) -> Result<Value> {
    let output = start_client(rig, options)?.wait_with_output()?;
    let report = read(&output).with_context(|| format!("iperf3 {options}; {}", rig.node.last_words()))?;
    match report["error"].as_str() {
        Some(error) => bail!("iperf3 {options}: {error}; {}", rig.node.last_words()),
        None => Ok(report),
    }
}

fn start_client(rig: &Rig, options: &str) -> Result<Child> {
    let address = rig.node.tcp(5201)?;
    Command::new("iperf3")
        .args(["-J", "-c", &address.ip().to_string(), "-p", &address.port().to_string()])
        .args(options.split_whitespace())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("starting iperf3")
}

fn read(output: &Output) -> Result<Value> {
    serde_json::from_slice(&output.stdout).with_context(|| format!("{output:?}"))
}

/// Returns a number of a report: `end.sum_sent.bytes`.
fn number(report: &Value, path: &str) -> Result<f64> {
    let pointer = format!("/{}", path.replace('.', "/"));
    report.pointer(&pointer).and_then(Value::as_f64).with_context(|| format!("no {path} in {}", report["end"]))
}

/// Checks that each stream of a test over UDP has moved whole datagrams of `len` bytes and nothing else, with few lost.
fn check_datagrams(report: &Value, streams: usize, len: f64) -> Result<()> {
    let all = report["end"]["streams"].as_array().context("no streams")?;
    ensure!(all.len() == streams, "{} streams, not {streams}: {}", all.len(), report["end"]);
    for stream in all {
        let get = |name: &str| stream["udp"][name].as_f64().with_context(|| format!("no {name} in {stream}"));
        let (bytes, packets, lost) = (get("bytes")?, get("packets")?, get("lost_packets")?);
        ensure!(bytes % len == 0.0, "{bytes} bytes in datagrams of {len}: {stream}");
        // One side may count the bytes and the other the datagrams: what is under way at the end is in one of them only.
        let difference = (bytes / len - packets).abs();
        let is_near = packets > 100.0 && difference <= lost + packets / 20.0;
        ensure!(is_near, "{packets} datagrams, {lost} lost, of {len} bytes: {stream}");
    }
    Ok(())
}

#[test]
fn the_real_client_does_all_its_tests_with_a_node() -> Result<()> {
    let Some(lab) = Lab::private("iperf3 clients")? else { return Ok(()) };
    let rig = Rig::boot_in(lab, "workload=iperf3:cores=1", |_| ())?;
    // Not by a connection: it would be a test.
    rig.node.wait_for_metric("a server that runs", PATIENCE, |metrics| {
        let running = metrics.sum("minipirack_workload_state", &[("workload", "iperf3"), ("state", "running")]);
        Ok((running == 1.0).then_some(running))
    })?;

    let mut tests = 0;
    for (options, sent, received) in [
        ("-t 1", "end.sum_sent", "end.sum_received"),
        ("-t 1 -R", "end.sum_sent", "end.sum_received"),
        ("-t 1 -P 8", "end.sum_sent", "end.sum_received"),
        ("-t 1 -P 8 -R", "end.sum_sent", "end.sum_received"),
        ("-t 1 --bidir", "end.sum_sent", "end.sum_received"),
        ("-t 1 --bidir -P 3", "end.sum_sent_bidir_reverse", "end.sum_received_bidir_reverse"),
        ("-t 2 -O 1 -l 1000", "end.sum_sent", "end.sum_received"),
    ] {
        let report = client(&rig, options)?;
        let (sent, received) =
            (number(&report, &format!("{sent}.bytes"))?, number(&report, &format!("{received}.bytes"))?);
        let seconds = number(&report, &format!("{}.seconds", "end.sum_received"))?;
        ensure!(received > 100e3 && sent > 100e3, "iperf3 {options}: {sent} bytes sent, {received} received");
        ensure!((0.5..3.0).contains(&seconds), "iperf3 {options}: {seconds} s");
        if options.contains("--bidir") {
            // The way there and the way back, as each side has counted them.
            for sum in ["sum_sent", "sum_received", "sum_sent_bidir_reverse", "sum_received_bidir_reverse"] {
                let bytes = number(&report, &format!("end.{sum}.bytes"))?;
                ensure!(bytes > 100e3, "iperf3 {options}: {sum} is {bytes} bytes");
            }
        }
        tests += 1;
    }
    // As much as was asked for, and at the rate that was asked for.
    let report = client(&rig, "-n 3M")?;
    ensure!(number(&report, "end.sum_sent.bytes")? >= 3e6, "{}", report["end"]);
    let report = client(&rig, "-n 3M -R")?;
    ensure!(number(&report, "end.sum_received.bytes")? >= 3e6, "{}", report["end"]);
    for options in ["-t 2 -b 2M", "-t 2 -b 2M -R"] {
        let report = client(&rig, options)?;
        let rate = number(&report, "end.sum_received.bits_per_second")?;
        ensure!((1.5e6..2.8e6).contains(&rate), "iperf3 {options}: {rate} bit/s");
    }
    // UDP: every datagram is counted.
    for (options, rate) in [
        ("-u -t 2 -b 2M -l 1000", 2e6),
        ("-u -t 2 -b 2M -l 1000 -R", 2e6),
        ("-u -t 2 -b 1M -P 4", 4e6),
        ("-u -t 2 -b 1M -P 2 -R --udp-counters-64bit", 2e6),
        ("-u -t 2 -b 1M -l 500 --bidir", 1e6),
        // 1,250 datagrams per second, of eight streams.
        ("-u -t 2 -b 250K -P 8 -l 200", 2e6),
        ("-u -t 2 -b 250K -P 8 -l 200 -R", 2e6),
    ] {
        let report = client(&rig, options)?;
        let words: Vec<_> = options.split(' ').collect();
        let after = |name| words.iter().position(|word| *word == name).and_then(|at| words.get(at + 1)?.parse().ok());
        let directions = if options.contains("--bidir") { 2 } else { 1 };
        if let Some(len) = after("-l") {
            let streams = after("-P").unwrap_or(1.0) as usize * directions;
            check_datagrams(&report, streams, len).with_context(|| format!("iperf3 {options}"))?;
        }
        if directions == 2 {
            let back = number(&report, "end.sum_bidir_reverse.bytes")?;
            let seconds = number(&report, "end.sum_bidir_reverse.seconds")?;
            let share = back * 8.0 / (rate * seconds);
            ensure!((0.7..1.4).contains(&share), "iperf3 {options}: {back} bytes came back in {seconds} s");
        }
        let seconds = number(&report, "end.sum.seconds")?;
        let (packets, lost) = (number(&report, "end.sum.packets")?, number(&report, "end.sum.lost_packets")?);
        let bytes = number(&report, "end.sum.bytes")?;
        ensure!(packets > 100.0 && lost <= packets / 20.0, "iperf3 {options}: {lost} of {packets} lost");
        let expected = rate * seconds / 8.0;
        ensure!((0.7..1.4).contains(&(bytes / expected)), "iperf3 {options}: {bytes} bytes, not {expected}");
        let jitter = number(&report, "end.sum.jitter_ms")?;
        ensure!(jitter > 0.0 && jitter < 50.0, "iperf3 {options}: {jitter} ms of jitter");
        tests += 1;
    }
    tests += 4;
    // One directly after another.
    for number in 0..10 {
        let options = if number % 3 == 2 { "-u -n 20K -b 10M -l 1000" } else { "-n 100K" };
        client(&rig, options).with_context(|| format!("test {number} of ten in a row"))?;
        tests += 1;
    }

    // While a test runs, another client is told so; that disturbs nobody.
    let first = start_client(&rig, "-t 3")?;
    std::thread::sleep(Duration::from_secs(1));
    let start = Instant::now();
    let second = read(&start_client(&rig, "-t 1")?.wait_with_output()?)?;
    let error = second["error"].as_str().unwrap_or_default();
    ensure!(error.contains("busy"), "a second client was told {error:?} after {:?}", start.elapsed());
    let first = read(&first.wait_with_output()?)?;
    ensure!(first["error"].is_null() && number(&first, "end.sum_received.bytes")? > 100e3, "{first}");
    tests += 1;
    // What is not possible is refused in words.
    for (options, words) in [("-u -l 9000", "block size"), ("-P 40", "parallel")] {
        let refused = read(&start_client(&rig, options)?.wait_with_output()?)?;
        let error = refused["error"].as_str().unwrap_or_default();
        ensure!(error.contains(words), "iperf3 {options} was told {error:?}");
    }

    let metrics = rig.node.settled_metrics()?;
    let done = metrics.one("minipirack_iperf3_tests_total", &LABELS)?;
    ensure!(done == f64::from(tests), "{done} tests counted, {tests} done");
    ensure!(metrics.one("minipirack_iperf3_denied_total", &LABELS)? == 1.0);
    Ok(())
}

/// The real server, for one test.
struct Server(Child);

impl Server {
    fn start() -> Result<Self> {
        let server = Command::new("iperf3")
            .args(["-s", "-1", "-J", "-p", &PORT.to_string()])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("starting iperf3 -s")?;
        let server = Self(server);
        let port = format!(":{PORT:04X} ");
        wait::until("iperf3 -s", PATIENCE, || {
            let tables = ["tcp", "tcp6"].map(|name| std::fs::read_to_string(format!("/proc/thread-self/net/{name}")));
            Ok(tables.into_iter().flatten().any(|table| table.contains(&port)).then_some(()))
        })?;
        Ok(server)
    }

    /// Waits for its report.
    fn report(mut self) -> Result<Value> {
        wait::until("the end of iperf3 -s", PATIENCE * 2, || Ok(self.0.try_wait()?))?;
        let mut text = String::new();
        let mut stdout = self.0.stdout.take().context("no output")?;
        std::io::Read::read_to_string(&mut stdout, &mut text)?;
        serde_json::from_str(&text).with_context(|| text)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_node_does_all_its_tests_with_the_real_server() -> Result<()> {
    let Some(lab) = Lab::private("the real iperf3 server")? else { return Ok(()) };
    let rig = Rig::boot_in(lab, "", |_| ())?;
    for (options, is_udp, streams) in [
        ("time=1s", false, 1),
        ("bytes=2M parallel=8", false, 8),
        ("time=1s direction=receive parallel=2", false, 2),
        ("time=1s direction=both", false, 2),
        ("time=2s rate=2M omit=1s", false, 1),
        ("protocol=udp time=2s rate=2M len=1000", true, 1),
        ("protocol=udp time=2s rate=1M direction=receive parallel=2", true, 2),
        ("protocol=udp time=2s rate=1M direction=both", true, 2),
        ("protocol=udp time=2s rate=250kbit/s len=200 parallel=8", true, 8),
    ] {
        let server = Server::start()?;
        let said = shell::run(&rig.node, &format!("workload start iperf3 client={HOST}:{PORT} {options} cores=1"))?;
        let report = server.report().with_context(|| format!("{options}: {said:?}; {}", rig.node.last_words()))?;
        ensure!(report["error"].is_null(), "{options}: {}", report["error"]);
        let found = report["end"]["streams"].as_array().map_or(0, Vec::len);
        ensure!(found == streams, "{options}: {found} streams; {}", report["end"]);
        let is_receive = options.contains("receive");
        if is_udp {
            let (packets, lost) = (number(&report, "end.sum.packets")?, number(&report, "end.sum.lost_packets")?);
            ensure!(packets > 100.0 && lost <= packets / 20.0, "{options}: {lost} of {packets} lost");
            if let Some(len) = options.split_once("len=").and_then(|(_, rest)| rest.split(' ').next()) {
                // The server has received each of the datagrams that it has not missed, and they had this length.
                let (bytes, len) = (number(&report, "end.sum_received.bytes")?, len.parse::<f64>()?);
                ensure!(
                    bytes == (packets - lost) * len,
                    "{options}: {bytes} bytes in {packets} datagrams, {lost} lost"
                );
            }
        } else {
            let sum = if is_receive { "end.sum_sent.bytes" } else { "end.sum_received.bytes" };
            let bytes = number(&report, sum)?;
            ensure!(bytes > 100e3, "{options}: {bytes} bytes");
            if options.contains("both") {
                let back = number(&report, "end.sum_sent_bidir_reverse.bytes")?;
                ensure!(back > 100e3, "{options}: {back} bytes back");
            }
            if options.contains("bytes=2M") {
                ensure!(bytes >= (2 << 20) as f64, "{options}: {bytes} bytes");
            }
            if options.contains("rate=2M") {
                let rate = number(&report, "end.sum_received.bits_per_second")?;
                ensure!((1.5e6..2.8e6).contains(&rate), "{options}: {rate} bit/s");
            }
        }
        rig.node.wait_for_metric("the test in the metrics", PATIENCE, |metrics| {
            let done = metrics.one("minipirack_iperf3_tests_total", &LABELS)?;
            Ok((done == 1.0).then_some(done))
        })?;
        if options.contains("rate=2M") && !is_udp {
            let rate = rig.node.metric("minipirack_iperf3_sent_bytes_per_second", &LABELS)?;
            ensure!((1.5e6..2.8e6).contains(&(8.0 * rate)), "{options}: {rate} bytes per second");
        }
    }
    // Nobody is there.
    shell::run(&rig.node, &format!("workload start iperf3 client={HOST}:{PORT} cores=1"))?;
    let list = wait::until("a failure", PATIENCE, || {
        let list = shell::run(&rig.node, "workload list")?.join("\n");
        Ok(list.contains("failed").then_some(list))
    })?;
    ensure!(list.contains("refused"), "{list}");
    Ok(())
}
