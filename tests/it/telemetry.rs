//! Telemetry as programs read it: JSON, live events, a real Prometheus with a dashboard's queries, and what survives a reset.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tests::events::Listener;
use tests::lab::{Lab, NODE};
use tests::metrics::Metrics;
use tests::node::{BOOT, PATIENCE, Rig, TestNode};
use tests::ntp::NtpServer;
use tests::shell;

/// Live clients that a node has at once.
const EVENT_CLIENTS: usize = 4;

fn json(node: &TestNode, path: &str) -> Result<Value> {
    let response = node.get(&format!("/api/v1{path}"))?;
    ensure!(response.status == 200, "{path}: status {}", response.status);
    ensure!(response.header("content-type") == Some("application/json"), "{path}: {:?}", response.headers);
    serde_json::from_slice(&response.body).with_context(|| format!("{path}: {}", response.text()))
}

#[test]
fn every_json_resource_is_served_and_agrees_with_the_metrics() -> Result<()> {
    let rig = Rig::boot("name=teller workload=cpu:load=20%")?;
    let node = &rig.node;
    node.settled_metrics()?;
    let index = json(node, "")?;
    let resources = index["resources"].as_array().context("no resources")?;
    ensure!(resources.len() >= 11, "{index}");
    for path in
        resources.iter().filter_map(|resource| resource["path"].as_str()).filter(|path| !path.ends_with("events"))
    {
        json(node, path.strip_prefix("/api/v1").context("elsewhere")?)?;
    }
    let who = json(node, "/node")?;
    ensure!(who["name"] == "teller" && who["read_only"] == true && who["boots"] == 1, "{who}");
    // The emulator's firmware knows nothing about hardware, and nobody claims that it does.
    let health = json(node, "/health")?;
    ensure!(health["valid"].is_null() && health["unknown_reasons"][0] == "under_voltage", "{health}");
    ensure!(health["conditions"][4]["reason"] == "link_lost" && health["conditions"][4]["now"] == false, "{health}");

    let names = |metrics: &Value| -> Vec<String> {
        let all = metrics["metrics"].as_array().into_iter().flatten();
        all.filter_map(|metric| metric["name"].as_str().map(str::to_owned)).collect()
    };
    let names = names(&json(node, "/metrics")?);
    let scraped = node.metrics()?;
    let missing: Vec<_> = scraped
        .samples
        .iter()
        .map(|sample| sample.name.as_str())
        .filter(|name| {
            let stem =
                ["_bucket", "_sum", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(name);
            !names.iter().any(|known| known == stem || known == name)
        })
        .collect();
    ensure!(missing.is_empty(), "in Prometheus' text only: {missing:?}");

    let samples = json(node, "/samples?last=5")?;
    let times: Vec<_> =
        samples["samples"].as_array().into_iter().flatten().filter_map(|s| s["at_us"].as_u64()).collect();
    ensure!(
        times.len() == 5 && times.windows(2).all(|pair| (900_000..1_100_000).contains(&(pair[1] - pair[0]))),
        "{times:?}"
    );
    let workload = json(node, "/workloads")?;
    ensure!(workload[0]["spec"] == "cpu load=20%" && workload[0]["operations"].as_u64() > Some(0), "{workload}");
    let log = json(node, "/log?last=3")?;
    ensure!(log["lines"].as_array().map(Vec::len) == Some(3), "{log}");
    ensure!(node.get("/api/v1/nothing")?.status == 404);
    Ok(())
}

#[test]
fn live_events_reach_a_few_clients_and_hold_up_nobody() -> Result<()> {
    let rig = Rig::boot("")?;
    let node = &rig.node;
    let mut first = Listener::open(node.tcp(80)?, "")?;
    ensure!(first.head().contains("text/event-stream"), "{}", first.head());
    let mut times = Vec::new();
    for _ in 0..4 {
        times.push(first.next("sample")?.1["at_us"].as_u64().context("no time")?);
    }
    ensure!(times.windows(2).all(|pair| (900_000..1_100_000).contains(&(pair[1] - pair[0]))), "{times:?}");
    // A line of the log arrives as it is written, and again for one who comes back with the number before it.
    node.console().send_line("workload start cpu:load=5%")?;
    node.console().send_line("note for the listeners")?;
    let (mut id, mut line) = first.next("log")?;
    while line["text"] != "note: for the listeners" {
        (id, line) = first.next("log")?;
    }
    let id = id.context("a line without an id")?;
    let mut again = Listener::open(node.tcp(80)?, &format!("?after={}", id - 1))?;
    ensure!(again.next("log")? == (Some(id), line), "the line is not sent again");

    // All places are taken; the rest of the server is not.
    let mut listeners = vec![first, again];
    while listeners.len() < EVENT_CLIENTS {
        listeners.push(Listener::open(node.tcp(80)?, "")?);
    }
    let refused = Listener::open(node.tcp(80)?, "")?;
    ensure!(refused.head().contains(" 503 ") && refused.head().contains("Retry-After: "), "{}", refused.head());
    for _ in 0..20 {
        ensure!(node.get("/metrics")?.status == 200);
    }
    // One that never reads keeps nobody waiting.
    let asleep = listeners.remove(1);
    for listener in &mut listeners {
        for _ in 0..3 {
            listener.next("sample")?;
        }
    }
    // A place becomes free when a client goes.
    drop(asleep);
    tests::wait::until("a free place", PATIENCE, || {
        Ok(Listener::open(node.tcp(80)?, "").ok().filter(|l| l.head().contains(" 200 ")))
    })?;
    Ok(())
}

#[test]
fn the_last_life_is_told_after_a_crash_and_after_a_restart() -> Result<()> {
    let rig = Rig::boot("report=0")?;
    let node = &rig.node;
    let crashes = json(node, "/crashes")?;
    ensure!(crashes["boots"] == 1 && crashes["crashes"] == Value::Array(vec![]), "{crashes}");
    for (number, (command, restart)) in
        [("debug crash panic 2", "panic"), ("debug crash data-abort 0", "exception"), ("reboot", "")].iter().enumerate()
    {
        node.console().skip();
        node.console().send_line(command)?;
        node.console().wait_for("MiniPiRack", BOOT)?;
        node.wait_until_up()?;
        let past = json(node, "/crashes")?;
        ensure!(past["boots"] == number + 2, "{past}");
        let kept = past["crashes"].as_array().context("no crashes")?;
        ensure!(kept.len() == (number + 1).min(2), "{past}");
        if !restart.is_empty() {
            let last = kept.last().context("no crash")?;
            ensure!(last["kind"] == *restart && last["boot"] == number + 1, "{past}");
            ensure!(last["report"].as_str().is_some_and(|report| report.contains("backtrace:")), "{past}");
            ensure!(last["backtrace"].as_array().is_some_and(|trace| !trace.is_empty()), "{past}");
        }
        let lines: Vec<_> =
            past["last_life_log"].as_array().into_iter().flatten().filter_map(|l| l["text"].as_str()).collect();
        // What the last life has said reached its black box line by line, whether or not it saw its end come.
        ensure!(lines.iter().any(|line| line.contains(" is at ")), "{lines:?}");
        ensure!(
            lines.last().is_some_and(|line| line.contains("restarting, as told")) == restart.is_empty(),
            "{lines:?}"
        );
    }
    let who = json(node, "/node")?;
    ensure!(who["crashes"] == 2 && who["boots"] == 4, "{who}");
    Ok(())
}

/// Queries of the dashboard "Node Exporter Full" (grafana.com, 1860; rfmoz/grafana-dashboards, prometheus/node-exporter-full.json)
/// whose answers mean something on a node, with its variables filled in. A node has no disks, files, swap, processes or systemd.
const DASHBOARD: &str = include_str!("node-exporter-full.txt");

#[test]
fn a_real_prometheus_scrapes_the_node_and_answers_a_dashboards_queries() -> Result<()> {
    // It needs the node's clock: samples and uptime are told by it.
    let Some(lab) = Lab::private("a real Prometheus scrapes the node")? else { return Ok(()) };
    let ntp = NtpServer::start(std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs())?;
    let rig = Rig::boot_in(lab, &format!("ntp={} workload=cpu:load=20%", tests::lab::HOST), |_| ())?;
    rig.node.wait_for_metric("the time", PATIENCE, |now| {
        let time = now.sum("node_time_seconds", &[]);
        Ok((time > 0.0).then_some(time))
    })?;
    ensure!(ntp.requests() > 0);
    let Some(prometheus) = Prometheus::start(&rig.node)? else {
        tests::lab::say("NOT TESTED (needs the package prometheus): a real Prometheus scrapes the node");
        return Ok(());
    };
    prometheus.wait_for("up == 1")?;
    prometheus.wait_for("count_over_time(node_load1[1m]) >= 8")?;
    ensure!(prometheus.query("scrape_samples_scraped > 100")?, "few samples are scraped");
    let mut missing = Vec::new();
    for query in DASHBOARD.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if !prometheus.query(query)? {
            missing.push(query);
        }
    }
    ensure!(missing.is_empty(), "these find nothing:\n  {}", missing.join("\n  "));
    // Nothing came that Prometheus had to drop.
    let targets: Value = serde_json::from_slice(&tests::http::get(prometheus.address, "/api/v1/targets")?.body)?;
    let target = &targets["data"]["activeTargets"][0];
    ensure!(target["health"] == "up" && target["lastError"] == "", "{target}");
    Ok(())
}

/// A running Prometheus that scrapes one node every second.
struct Prometheus {
    process: Child,
    address: std::net::SocketAddr,
    _folder: tempfile::TempDir,
}

impl Prometheus {
    /// Starts one; `None` if it is not installed.
    fn start(node: &TestNode) -> Result<Option<Self>> {
        let folder = tempfile::tempdir()?;
        let config = folder.path().join("prometheus.yml");
        let text = format!(
            "global:\n  scrape_interval: 1s\nscrape_configs:\n  - job_name: node\n    static_configs:\n      - targets: ['{}']\n",
            node.tcp(80)?
        );
        std::fs::write(&config, text)?;
        let address = std::net::SocketAddr::from(([127, 0, 0, 1], 9090));
        let process = Command::new("prometheus")
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .args(["--log.level=error", "--storage.tsdb.retention.time=1h"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let process = match process {
            Ok(process) => process,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).context("running prometheus"),
        };
        let this = Self { process, address, _folder: folder };
        tests::wait::until("Prometheus to be ready", BOOT, || {
            Ok(tests::http::get(address, "/-/ready").ok().filter(|response| response.status == 200))
        })?;
        Ok(Some(this))
    }

    /// Returns whether a query has an answer that is not empty and has numbers in it.
    fn query(&self, query: &str) -> Result<bool> {
        let escaped: String = query.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let response = tests::http::get(self.address, &format!("/api/v1/query?query={escaped}"))?;
        let answer: Value = serde_json::from_slice(&response.body).with_context(|| response.text())?;
        if answer["status"] != "success" {
            bail!("{query}: {answer}");
        }
        let results = answer["data"]["result"].as_array().context("no result")?;
        Ok(!results.is_empty() && results.iter().all(|result| result["value"][1].as_str().is_some_and(|v| v != "NaN")))
    }

    fn wait_for(&self, query: &str) -> Result<()> {
        tests::wait::until(query, BOOT, || Ok(self.query(query)?.then_some(())))
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Returns what `promtool check metrics` has against a page; `None` if it is not installed.
fn promtool(page: &[u8]) -> Result<Option<String>> {
    let mut file = tempfile::NamedTempFile::new()?;
    file.write_all(page)?;
    match Command::new("promtool").args(["check", "metrics"]).stdin(file.reopen()?).output() {
        Ok(output) => {
            let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
            ensure!(output.status.success() || !said.is_empty(), "promtool: {}", output.status);
            Ok(Some(said))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).context("running promtool"),
    }
}

/// Returns the workloads that a node has.
fn kinds(node: &TestNode) -> Result<BTreeSet<String>> {
    let lines = shell::run(node, "workload help nothing")?.join("\n");
    let (_, names) = lines.split_once("; there are ").with_context(|| lines.clone())?;
    Ok(names.lines().next().unwrap_or_default().split(", ").map(|name| name.trim().to_owned()).collect())
}

#[test]
fn promtool_finds_nothing_wrong_while_every_workload_runs() -> Result<()> {
    let Some(lab) = Lab::private("promtool, while every workload runs")? else { return Ok(()) };
    let command_line = "workload=cpu:load=5%,cores=1 workload=idle:cores=1 workload=http:clients=4,cores=1 workload=kv:memory=1M,clients=4,cores=1 \
                        workload=iperf3:cores=2 workload=memory:size=1M,cores=2 workload=ping:peer=127.0.0.1,cores=2 \
                        workload=load:peer=127.0.0.1:8080,proto=http,rate=5,cores=2";
    let rig = Rig::boot_in(lab, command_line, |_| ())?;
    let node = &rig.node;
    let check = |running: f64| -> Result<Option<Metrics>> {
        node.wait_for_metric(&format!("{running} workloads at work"), PATIENCE, |metrics| {
            let count = metrics.sum("minipirack_workload_state", &[("state", "running")]);
            Ok((count == running).then_some(count))
        })?;
        let page = node.get("/metrics")?;
        let Some(said) = promtool(&page.body)? else {
            tests::lab::say("NOT TESTED (needs the package prometheus): promtool, while every workload runs");
            return Ok(None);
        };
        ensure!(said.is_empty(), "promtool: {said}\nabout\n{}", page.text());
        Metrics::parse(&page.text()).map(Some)
    };
    // It wants a core for itself; the others come when it is done.
    shell::run(node, "workload start certify time=10s memory=1M cores=3")?;
    if check(9.0)?.is_none() {
        return Ok(());
    }
    node.wait_for_metric("the end of the test", PATIENCE * 2, |metrics| {
        let finished = metrics.sum("minipirack_workload_state", &[("workload", "certify"), ("state", "finished")]);
        Ok((finished == 1.0).then_some(finished))
    })?;
    let [a, b, c, _] = NODE.octets();
    shell::run(node, &format!("workload start leader kv=127.0.0.1 address={a}.{b}.{c}.250 cores=3"))?;
    shell::run(node, "workload start pipeline stage=sink cores=3")?;
    shell::run(node, "fault add drop share=1% peer=10.0.0.7 for=60s")?;
    let Some(metrics) = check(10.0)? else { return Ok(()) };
    let shown = metrics.all("minipirack_workload_operations_total", &[]);
    let labels = shown.iter().flat_map(|sample| &sample.labels);
    let shown: BTreeSet<_> = labels.filter(|(name, _)| name == "workload").map(|(_, value)| value.clone()).collect();
    ensure!(shown == kinds(node)?, "only {shown:?}");
    ensure!(metrics.sum("minipirack_certificate_verdict", &[]) == 1.0, "no certificate");
    Ok(())
}

/// Instructions of core 0 that a scrape may cost: 2 % of a core that executes a thousand million in a second, at one scrape per
/// second. A Cortex-A53 at 1.2 GHz does about that.
const SCRAPE_MAX: f64 = 0.02 * 1e9;

#[test]
fn a_scrape_per_second_costs_little_of_a_core() -> Result<()> {
    let Some(cost) = tests::scrape::cost()? else {
        tests::lab::say("NOT TESTED (needs QEMU 9): what a scrape costs");
        return Ok(());
    };
    let share = 100.0 * cost.instructions / 1e9;
    tests::lab::say(&format!(
        "a scrape of {} bytes takes {:.0} instructions of core 0, {:.1} per byte: {share:.2} % at one per second",
        cost.len,
        cost.instructions,
        cost.instructions / cost.len as f64,
    ));
    ensure!(cost.instructions < SCRAPE_MAX, "a scrape takes {share:.2} % of core 0");
    Ok(())
}
