//! Requests per second beside Linux's, in one run: lighttpd and redis-server on Debian for arm64 against the workloads http and
//! kv, on the same virtual board with the same NIC in the same QEMU.
//!
//! Both machines are there all the time, and the one that is not measured is frozen. They take turns, and who begins changes with
//! each round, so that what else this machine does meets both. Ratios are of two measurements that followed each other; of
//! those the median counts.

use std::net::Ipv4Addr;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use qemu::Node;
use tests::lab::{Lab, NODE, say};
use tests::node::Rig;

use crate::linux::Guest;
use crate::report::{Goal, Report, median};

const CONNECTIONS: &str = "16";
/// Bytes of the page.
const BODY: usize = 128;
const ROUNDS: usize = 9;
/// Length of a measurement with wrk.
const WRK_SPAN: &str = "2s";
/// Longest that redis-benchmark may take, in seconds.
const PATIENCE: &str = "60";
/// Linux's wire, the host on it, and Linux.
const DEVICE: &str = "rack1";
const HOST: Ipv4Addr = Ipv4Addr::new(10, 78, 0, 1);
const LINUX: Ipv4Addr = Ipv4Addr::new(10, 78, 0, 60);

/// What is measured of each.
#[derive(Clone, Copy, Debug)]
struct Figures {
    per_second: f64,
    p50_ms: f64,
    p99_ms: f64,
}

/// Names of the rows of a comparison, and how a machine is measured, given its address and whether it is Linux.
struct Comparison {
    rows: [&'static str; 4],
    measure: fn(Ipv4Addr, bool) -> Result<Figures>,
}

const COMPARISONS: [Comparison; 5] = [
    Comparison {
        rows: ["http, 16 connections", "  times lighttpd", "  p50", "  p99"],
        measure: |address, is_linux| wrk(address, if is_linux { (80, "file") } else { (8080, "") }),
    },
    Comparison {
        rows: ["kv SET, 16 connections", "  times redis-server", "  p50", "  p99"],
        measure: |address, _| redis_benchmark(address, "set", "1", "2000"),
    },
    Comparison {
        rows: ["kv GET, 16 connections", "  times redis-server", "  p50", "  p99"],
        measure: |address, _| redis_benchmark(address, "get", "1", "2000"),
    },
    Comparison {
        rows: ["kv SET, 16 connections, 16 at once", "  times redis-server", "  p50", "  p99"],
        measure: |address, _| redis_benchmark(address, "set", "16", "16000"),
    },
    Comparison {
        rows: ["kv GET, 16 connections, 16 at once", "  times redis-server", "  p50", "  p99"],
        measure: |address, _| redis_benchmark(address, "get", "16", "16000"),
    },
];

pub(crate) fn linux(report: &mut Report) -> Result<()> {
    const WHAT: &str = "requests per second beside Linux's";
    for (program, package) in [("wrk", "wrk"), ("redis-benchmark", "redis-tools")] {
        if Command::new(program).arg("--version").output().is_err() {
            report.not_measured(WHAT, &format!("needs {program}: apt-get install {package}"));
            return Ok(());
        }
    }
    let guest = match Guest::fetch() {
        Ok(guest) => guest,
        Err(error) => {
            report.not_measured(WHAT, &format!("the Linux guest can't be made of Debian's packages: {error:#}"));
            return Ok(());
        }
    };
    let lab = Lab::new()?;
    lab.add_wire(DEVICE, HOST)?;
    let linux = guest.start(DEVICE, LINUX, BODY)?;
    linux.pause()?;
    // Twice as many sockets as connections: those of one run close while those of the next come.
    let command_line = format!("workload=http:size={BODY},clients=16,cores=1-3 workload=kv:clients=40,cores=1");
    let rig = Rig::boot_in(lab, &command_line, |_| ())?;
    let ours = rig.node.board();
    ours.pause()?;
    for Comparison { rows, measure } in COMPARISONS {
        let mut pairs = Vec::new();
        for round in 0..ROUNDS {
            let one = |node: &Node, address, is_linux| -> Result<Figures> {
                node.resume()?;
                let figures = measure(address, is_linux).with_context(|| rows[0]);
                node.pause()?;
                figures
            };
            let first = if round % 2 == 0 { Some(one(ours, NODE, false)?) } else { None };
            let linux = one(&linux, LINUX, true)?;
            let ours = match first {
                Some(ours) => ours,
                None => one(ours, NODE, false)?,
            };
            say(&format!("{}: {ours:.2?}, Linux: {linux:.2?}", rows[0]));
            pairs.push((ours, linux));
        }
        add(report, rows, &pairs);
    }
    Ok(())
}

fn add(report: &mut Report, rows: [&'static str; 4], pairs: &[(Figures, Figures)]) {
    let of = |pick: &dyn Fn(&(Figures, Figures)) -> f64| median(pairs.iter().map(pick).collect());
    report.add_beside(rows[0], "1/s", of(&|pair| pair.0.per_second), Goal::None, of(&|pair| pair.1.per_second));
    report.add(rows[1], "", of(&|pair| pair.0.per_second / pair.1.per_second), Goal::AtLeast(2.0), "");
    report.add_beside(rows[2], "ms", of(&|pair| pair.0.p50_ms), Goal::None, of(&|pair| pair.1.p50_ms));
    let linux = of(&|pair| pair.1.p99_ms);
    report.add_beside(rows[3], "ms", of(&|pair| pair.0.p99_ms), Goal::AtMost(linux), linux);
}

/// Runs a program and returns what it printed.
fn run(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("running {command:?}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(output.status.success(), "{command:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
    Ok(text)
}

fn wrk(address: Ipv4Addr, (port, page): (u16, &str)) -> Result<Figures> {
    let url = format!("http://{address}:{port}/{page}");
    let text = run(Command::new("wrk").args(["-t1", "-c", CONNECTIONS, "-d", WRK_SPAN, "--latency", &url]))?;
    if text.contains("Socket errors") || text.contains("Non-2xx") {
        bail!("wrk saw errors:\n{text}");
    }
    // "     99%   26.12ms", "Requests/sec:   2250.10"
    let after = |word: &str| -> Result<&str> {
        let line = text.lines().find_map(|line| line.trim_start().strip_prefix(word));
        Ok(line.with_context(|| format!("wrk printed no {word}:\n{text}"))?.trim())
    };
    Ok(Figures { per_second: after("Requests/sec:")?.parse()?, p50_ms: ms(after("50%")?)?, p99_ms: ms(after("99%")?)? })
}

/// Reads a time as wrk prints it.
fn ms(text: &str) -> Result<f64> {
    for (unit, ms) in [("us", 1e-3), ("ms", 1.0), ("s", 1e3)] {
        if let Some(number) = text.strip_suffix(unit).and_then(|number| number.parse::<f64>().ok()) {
            return Ok(number * ms);
        }
    }
    bail!("not a time: {text:?}")
}

fn redis_benchmark(address: Ipv4Addr, test: &str, pipeline: &str, requests: &str) -> Result<Figures> {
    let address = address.to_string();
    // It runs for ever when a connection is refused.
    let mut command = Command::new("timeout");
    command.args([
        PATIENCE,
        "redis-benchmark",
        "-h",
        &address,
        "-c",
        CONNECTIONS,
        "-n",
        requests,
        "-P",
        pipeline,
        "-t",
        test,
        "--csv",
    ]);
    let text = run(&mut command)?;
    // "test","rps","avg_latency_ms","min_latency_ms","p50_latency_ms","p95_latency_ms","p99_latency_ms","max_latency_ms"
    let line = text.lines().find(|line| line.to_ascii_lowercase().starts_with(&format!("\"{test}\"")));
    let fields: Vec<_> = line.with_context(|| text.clone())?.split(',').map(|field| field.trim_matches('"')).collect();
    let field = |at: usize| -> Result<f64> { Ok(fields.get(at).with_context(|| text.clone())?.parse()?) };
    Ok(Figures { per_second: field(1)?, p50_ms: field(4)?, p99_ms: field(6)? })
}
