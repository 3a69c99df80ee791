//! How fast a virtual node is: measured on the real image in QEMU raspi3b with usb-net, beside what arm64 Linux reaches
//! there. `cargo bench -p tests` runs all, `cargo bench -p tests -- tcp ping` those whose name contains a word.
//!
//! Figures depend on the machine and on what else it does; compare figures of one run, or of one machine. Each run adds
//! a line to `target/bench-history.jsonl`.
#![forbid(unsafe_code)]

mod boot;
mod hostile;
mod instructions;
mod linux;
mod network;
mod report;
mod resources;
mod versus;
mod workers;

use anyhow::{Result, bail};
use tests::lab::{Lab, Wire, say};

use report::Report;

/// One group of measurements: its name, and what takes them.
type Bench = (&'static str, fn(&mut Report) -> Result<()>);

const BENCHES: [Bench; 13] = [
    ("image", resources::image),
    ("boot", boot::boot),
    ("idle", resources::idle),
    ("memory", resources::memory),
    ("ping", network::ping),
    ("tcp", network::tcp),
    ("udp", network::udp),
    ("http", network::http),
    ("linux", versus::linux),
    ("scrape", resources::scrape),
    ("instructions", instructions::per_frame),
    ("workers", workers::influence),
    ("hostile", hostile::crowd),
];

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    if Lab::new()?.wire() != Wire::Tap {
        bail!("the benches need a wire: run them as root where /dev/net/tun exists");
    }
    let mut report = Report::default();
    let mut failures = Vec::new();
    for (name, bench) in BENCHES {
        if !words.is_empty() && !words.iter().any(|word| name.contains(word.as_str())) {
            continue;
        }
        say(&format!("measuring: {name}"));
        if let Err(error) = bench(&mut report) {
            failures.push(format!("{name}: {error:#}"));
        }
    }
    report.print();
    let file = report.append_to_history()?;
    say(&format!("history: {}", file.display()));
    failures.extend(report.not_met().map(|name| format!("not met: {name}")));
    if !failures.is_empty() {
        bail!("{}", failures.join("\n"));
    }
    Ok(())
}
