//! The workload `http` against the tools that people test web servers with, and against clients that mean no good.

use std::io::Write as _;
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tests::http::HttpClient;
use tests::instructions::Counter;
use tests::lab::{Lab, NODE};
use tests::node::{PATIENCE, Rig};
use tests::shell::run;

/// Rounds of a measurement: what this machine does beside spoils some of them, hence the medians over them.
const ROUNDS: usize = 7;

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

#[test]
fn clients_that_do_not_read_their_page_keep_nobody_out_and_do_not_stay() -> Result<()> {
    const LEN: usize = 2 << 20;
    let Some(lab) = Lab::private("clients of http that do not read")? else { return Ok(()) };
    let rig = Rig::boot_in(lab, "workload=http:clients=8,size=2M,cores=1", |_| ())?;
    rig.node.wait_for_metric("a server that runs", PATIENCE, |metrics| {
        let running = metrics.sum("minipirack_workload_state", &[("workload", "http"), ("state", "running")]);
        Ok((running == 1.0).then_some(running))
    })?;
    // More than there are seats, and they come again.
    let ask = || -> Result<TcpStream> {
        let mut stream = TcpStream::connect_timeout(&(NODE, 8080).into(), Duration::from_secs(5))?;
        stream.write_all(b"GET / HTTP/1.1\r\nHost: node\r\n\r\n")?;
        Ok(stream)
    };
    let mut asleep: Vec<TcpStream> = (0..16).filter_map(|_| ask().ok()).collect();
    ensure!(asleep.len() >= 8, "only {} connected", asleep.len());
    let url = format!("http://{NODE}:8080/");
    for number in 0..5 {
        let began = Instant::now();
        let arguments = ["-s", "-o", "/dev/null", "-w", "%{size_download}", "--max-time", "30"];
        let len = client("curl", &[&arguments[..], &["--retry", "5", "--retry-all-errors", &url]].concat())?;
        ensure!(len == LEN.to_string(), "{number}: {len} bytes");
        ensure!(began.elapsed() < Duration::from_secs(20), "{number}: {:?}", began.elapsed());
        asleep.extend((0..4).filter_map(|_| ask().ok()));
    }
    let unseated = rig.node.fresh_metrics()?.sum("minipirack_http_unseated_total", &[]);
    ensure!(unseated > 4.0, "{unseated} have made room");
    // Those who are left are not waited for, although nobody else comes.
    rig.node.wait_for_metric("all to be gone", 2 * PATIENCE, |metrics| {
        let connections = metrics.sum("minipirack_http_connections", &[]);
        Ok((connections == 0.0).then_some(connections))
    })?;
    drop(asleep);
    Ok(())
}

/// Middle, and where the middle half begins and ends.
#[derive(Clone, Copy, Debug)]
struct Quartiles {
    low: f64,
    median: f64,
    high: f64,
}

impl Quartiles {
    fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let at = |quarters: usize| values[values.len() * quarters / 4];
        Self { low: at(1), median: at(2), high: at(3) }
    }

    /// Returns the median of each, over rounds.
    fn over(rounds: &[Self]) -> Self {
        let median = |of: fn(&Self) -> f64| Self::of(rounds.iter().map(of).collect()).median;
        Self { low: median(|r| r.low), median: median(|r| r.median), high: median(|r| r.high) }
    }
}

/// Returns how many seconds a page takes, over a connection that is there already.
fn time(client: &mut HttpClient) -> Result<f64> {
    let start = Instant::now();
    ensure!(client.get("/")?.status == 200);
    Ok(start.elapsed().as_secs_f64())
}

/// Returns how much longer than at once the pages at a port take, in seconds; and the shortest of all.
fn delays(port: u16) -> Result<(Quartiles, f64)> {
    const REQUESTS: usize = 60;
    let (mut slow, mut quick) = (HttpClient::connect((NODE, port).into())?, HttpClient::connect((NODE, 8080).into())?);
    let mut shortest = f64::INFINITY;
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let (mut times, mut at_once) = (Vec::new(), Vec::new());
        for _ in 0..REQUESTS {
            at_once.push(time(&mut quick)?);
            times.push(time(&mut slow)?);
        }
        shortest = times.iter().copied().fold(shortest, f64::min);
        let at_once = Quartiles::of(at_once).median;
        let Quartiles { low, median, high } = Quartiles::of(times);
        rounds.push(Quartiles { low: low - at_once, median: median - at_once, high: high - at_once });
    }
    Ok((Quartiles::over(&rounds), shortest))
}

#[test]
fn clients_see_the_response_times_that_were_asked_for() -> Result<()> {
    let Some(lab) = Lab::private("response times of the http workload")? else { return Ok(()) };
    let command_line = "workload=\"http clients=4 cores=1\" workload=\"http clients=4 port=8081 delay=exponential:60ms cores=1\" \
                        workload=\"http clients=4 port=8082 delay=lognormal:60ms,0.5 cores=2\" \
                        workload=\"http clients=4 port=8083 delay=list:40ms,40ms,40ms,160ms cores=3\"";
    let rig = Rig::boot_in(lab, command_line, |_| ())?;
    rig.node.wait_for_metric("servers that run", PATIENCE, |metrics| {
        let running = metrics.sum("minipirack_workload_state", &[("workload", "http"), ("state", "running")]);
        Ok((running == 4.0).then_some(running))
    })?;
    // At the same time, in threads that live in this one's network: they mostly wait.
    let [exponential, lognormal, list] = [8081, 8082, 8083].map(|port| std::thread::spawn(move || delays(port)));
    let result = |thread: std::thread::JoinHandle<Result<_>>| thread.join().ok().context("a client has panicked")?;
    let ((exponential, _), (lognormal, _), (list, shortest)) =
        (result(exponential)?, result(lognormal)?, result(list)?);
    tests::lab::say(&format!("http: exponential {exponential:.3?}, lognormal {lognormal:.3?}, list {list:.3?} s"));
    // A quarter of all are up to 0.288 of the mean, half up to 0.693, three quarters up to 1.386: -ln(1 - p). With the same seed
    // the times are the same in each run; 60 requests tell quartiles to 15 %, the median of seven times 60 to some 7 %.
    let is_near = |is: f64, wanted: f64, share: f64| (is - wanted).abs() <= share * wanted;
    let is_exponential = is_near(exponential.median, 0.693 * 0.06, 0.3)
        && is_near(exponential.high, 1.386 * 0.06, 0.3)
        && is_near(exponential.low, 0.288 * 0.06, 0.5);
    ensure!(is_exponential, "exponential with a mean of 60 ms: {exponential:.3?}");
    // e^(0.674 sigma) up and down from the median.
    let is_lognormal = is_near(lognormal.median, 0.06, 0.25)
        && is_near(lognormal.high, 0.06 * 1.401, 0.3)
        && is_near(lognormal.low, 0.06 / 1.401, 0.3);
    ensure!(is_lognormal, "lognormal with a median of 60 ms and a sigma of 0.5: {lognormal:.3?}");
    // Relative to their medians the one spreads over twice as wide as the other.
    let spread = |of: Quartiles| (of.high - of.low) / of.median;
    ensure!(spread(exponential) > 1.5 * spread(lognormal), "{exponential:.3?}, {lognormal:.3?}");
    // Three of four take 40 ms, and none less; the quarter that takes 160 ms begins about where the last quarter does.
    ensure!(is_near(list.low, 0.04, 0.25) && is_near(list.median, 0.04, 0.25) && shortest >= 0.0399, "{list:.3?}");
    let sums = rig.node.fresh_metrics()?;
    let name = "minipirack_workload_operation_duration_seconds";
    let labels = [("core", "3"), ("workload", "http")];
    let all = sums.one(&format!("{name}_count"), &labels)?;
    let slow = all - sums.one(&format!("{name}_bucket"), &[labels[0], labels[1], ("le", "0.131072")])?;
    ensure!((0.17..0.33).contains(&(slow / all)), "{slow} of {all} took 160 ms, not a quarter");
    Ok(())
}

#[test]
fn work_costs_its_core_as_much_as_was_asked_for() -> Result<()> {
    const REQUESTS: usize = 10;
    const WORKS: [f64; 3] = [0.0, 100.0, 400.0];
    let Some(lab) = Lab::private("the work of the http workload")? else { return Ok(()) };
    let Some(counter) = Counter::new()? else {
        tests::lab::say("NOT TESTED (needs QEMU 9): the work of the http workload");
        return Ok(());
    };
    let command_line = "workload=\"http clients=4 cores=1\" workload=\"http clients=4 port=8081 work=100 cores=1\" \
                        workload=\"http clients=4 port=8082 work=400 cores=1\"";
    let rig = Rig::boot_in(lab, command_line, |config| config.extra.extend(counter.arguments().map(Into::into)))?;
    rig.node.wait_for_metric("servers that run", PATIENCE, |metrics| {
        let running = metrics.sum("minipirack_workload_state", &[("workload", "http"), ("state", "running")]);
        Ok((running == 3.0).then_some(running))
    })?;
    let connect = |port: u16| HttpClient::connect((NODE, port).into());
    let mut clients = [connect(8080)?, connect(8081)?, connect(8082)?];
    let mut instructions = [const { Vec::new() }; WORKS.len()];
    let mut times = [const { Vec::new() }; WORKS.len()];
    for _ in 0..ROUNDS {
        for ((client, instructions), times) in clients.iter_mut().zip(&mut instructions).zip(&mut times) {
            let before = counter.of_core(1)?;
            for _ in 0..REQUESTS {
                times.push(time(client)?);
            }
            instructions.push((counter.of_core(1)? - before) / REQUESTS as f64);
        }
    }
    // The least: whatever the core does besides, above all by time, comes on top.
    let least = |figures: Vec<f64>| figures.into_iter().fold(f64::INFINITY, f64::min);
    let [none, some, much] = instructions.map(least);
    let each = (some - none) / WORKS[1];
    let ratio = (much - none) / (some - none);
    let [at_once, soon, late] = times.map(least);
    tests::lab::say(&format!(
        "http: {none:.0} instructions of the core per request, {each:.0} more for each block of work; {:.1}, {:.1} and {:.1} ms",
        at_once * 1e3,
        soon * 1e3,
        late * 1e3
    ));
    // A block is 2,000 integer and 2,000 floating-point steps.
    ensure!(each > 4000.0, "{each} instructions for a block of work");
    ensure!((3.9..4.1).contains(&ratio), "four times the work takes {ratio:.2} times as many instructions");
    // By the clock of the client, where it is not alone.
    let ratio = (late - at_once) / (soon - at_once);
    ensure!((2.5..6.5).contains(&ratio), "four times the work takes {ratio:.2} times as long");
    ensure!(rig.node.fresh_metrics()?.sum("minipirack_http_wrong_total", &[]) == 0.0, "wrong results");
    Ok(())
}
