//! What happens when the node itself is wrong: a report that says where, a restart, and a count.

use std::io::Write as _;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use tests::node::{BOOT, PATIENCE, Rig, TestNode};

/// How the report begins, on the console of the life that ends.
const REPORT: &str = "*** crash: ";

/// A fault that the shell's `crash` command provokes: its name there, the kind of crash, and what the report says.
type Fault = (&'static str, &'static str, &'static str);

const FAULTS: [Fault; 14] = [
    ("panic", "panic", "asked for"),
    ("data-abort", "exception", "data abort, write, translation fault"),
    ("null-pointer", "exception", "data abort, read, translation fault"),
    ("instruction-abort", "exception", "instruction abort, translation fault"),
    ("undefined", "exception", "undefined instruction"),
    ("breakpoint", "exception", "BRK 0x1"),
    ("svc", "exception", "SVC"),
    ("unaligned", "exception", "alignment"),
    ("pc-alignment", "exception", "the program counter is not aligned"),
    ("stack-overflow", "exception", "overflowed"),
    ("write-text", "exception", "data abort, write, permission fault"),
    ("write-rodata", "exception", "data abort, write, permission fault"),
    ("execute-data", "exception", "instruction abort, permission fault"),
    ("external-abort", "exception", "external abort"),
];

#[test]
fn every_fault_on_core_0_is_reported_survived_and_counted() -> Result<()> {
    every_fault_on(0)
}

#[test]
fn every_fault_on_core_1_is_reported_survived_and_counted() -> Result<()> {
    every_fault_on(1)
}

#[test]
fn every_fault_on_core_2_is_reported_survived_and_counted() -> Result<()> {
    every_fault_on(2)
}

#[test]
fn every_fault_on_core_3_is_reported_survived_and_counted() -> Result<()> {
    every_fault_on(3)
}

fn every_fault_on(core: usize) -> Result<()> {
    let rig = Rig::boot("")?;
    let before = rig.node.metrics()?.sum("node_crashes_total", &[]);
    ensure!(before == 0.0, "{before} crashes before the first");
    for (number, (name, kind, says)) in FAULTS.iter().enumerate() {
        let say = || format!("{name} on core {core}; {}", rig.node.last_words());
        provoke(&rig.node, name, core, kind, says).with_context(say)?;
        rig.node.wait_until_up().with_context(say)?;
        let counted = rig.node.metrics()?.sum("node_crashes_total", &[]);
        ensure!(counted == (number + 1) as f64, "{counted} crashes counted after {}", number + 1);
    }
    let metrics = rig.node.metrics()?;
    let of_kind = |kind| FAULTS.iter().filter(|fault| fault.1 == kind).count() as f64;
    for kind in ["panic", "exception"] {
        let counted = metrics.one("node_crashes_total", &[("reason", kind)])?;
        ensure!(counted == of_kind(kind), "{counted} crashes of kind {kind}, not {}", of_kind(kind));
    }
    Ok(())
}

/// Provokes a fault and follows the console through report, restart and the repeated report.
fn provoke(node: &TestNode, name: &str, core: usize, kind: &str, says: &str) -> Result<()> {
    let console = node.console();
    console.skip();
    console.send_line(&format!("debug crash {name} {core}"))?;
    let headline = console.wait_for(REPORT, PATIENCE).context("the report")?;
    let what = format!("{kind} on core {core} after");
    ensure!(headline.contains(&what), "the report says {headline:?}, not {what:?}");
    let mut report = headline;
    let frame = console.wait_for(
        |line: &str| {
            report.push('\n');
            report.push_str(line);
            line.trim_start().starts_with("#0 0x")
        },
        PATIENCE,
    );
    let frame = frame.with_context(|| format!("a backtrace behind {report:?}"))?;
    ensure!(report.contains(says), "the report does not say {says:?}:\n{report}");
    let address = frame.split_once("0x").and_then(|(_, digits)| u64::from_str_radix(digits.get(..16)?, 16).ok());
    // Where the fault jumped to, if it did; else in the code, which begins at 0x80000 (linker/kernel.ld).
    ensure!(address.is_some_and(|address| address >= 0x80000), "no address of code in {frame:?}");
    console.wait_for("MiniPiRack", BOOT).context("the next boot")?;
    console.wait_for(what.as_str(), BOOT).context("the report from the black box")?;
    Ok(())
}

#[test]
fn a_backtrace_names_the_functions_by_the_image_s_symbols() -> Result<()> {
    let rig = Rig::boot("")?;
    let console = rig.node.console();
    console.skip();
    console.send_line("debug crash data-abort 1")?;
    console.wait_for(REPORT, PATIENCE)?;
    let mut lines = Vec::new();
    console.wait_for(
        |line: &str| {
            lines.push(line.to_owned());
            line.contains("MiniPiRack")
        },
        BOOT,
    )?;
    let text = symbolize(&lines.join("\n"))?;
    ensure!(text.contains("kernel::cpu::provoke") && text.contains("provoke.rs:"), "nothing is named in:\n{text}");
    Ok(())
}

/// Has the host tool put names to the addresses of a report.
fn symbolize(report: &str) -> Result<String> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let mut rack = Command::new(cargo)
        .args(["run", "--quiet", "--offline", "--package", "rack", "--", "symbolize"])
        .arg(&tests::node::kit()?.elf)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("running rack")?;
    rack.stdin.take().context("no standard input")?.write_all(report.as_bytes())?;
    let output = rack.wait_with_output()?;
    ensure!(output.status.success(), "rack symbolize: {}", output.status);
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
