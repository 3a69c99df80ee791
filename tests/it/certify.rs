//! The acceptance test of a board, on a virtual one: what it reports, and that it notices what is wrong.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use qemu::Machine;
use tests::lab::{HOST, Lab};
use tests::node::{self, PATIENCE, Rig};
use tests::ntp::NtpServer;
use tests::wait;

const TIME: u64 = 1_800_000_000;

/// What a report says: the outcome and the reason of each subject, and the verdict.
struct Report {
    text: String,
    findings: BTreeMap<String, (String, String)>,
    verdict: String,
}

impl Report {
    /// Fetches the report once the test is over.
    fn of(rig: &Rig) -> Result<Self> {
        let text = wait::until("the end of the test", 3 * PATIENCE, || {
            // A test may have taken the network away for a while.
            let Ok(response) = rig.node.get("/certify") else { return Ok(None) };
            ensure!(response.status == 200, "status {}", response.status);
            let text = response.text();
            Ok(Some(text).filter(|text| text.contains("verdict ") && !text.contains("RUNNING")))
        })?;
        let column = |line: &str, from: usize, to: usize| {
            line.get(from..to.min(line.len())).unwrap_or_default().trim().to_owned()
        };
        // Columns: 12 characters for the subject, 12 for the outcome, a space behind each.
        let findings =
            text.lines().map(|line| (column(line, 0, 12), (column(line, 13, 25), column(line, 26, line.len()))));
        let verdict = text.lines().last().map(|line| column(line, 13, line.len())).unwrap_or_default();
        Ok(Self { findings: findings.collect(), verdict, text })
    }

    fn expect(&self, subject: &str, outcome: &str, reason: &str) -> Result<()> {
        let (is, why) = self.findings.get(subject).with_context(|| format!("no {subject} in {}", self.text))?;
        ensure!(is == outcome && why.contains(reason), "{subject} is not '{outcome} {reason}' in\n{}", self.text);
        Ok(())
    }
}

fn boot(lab: Lab, more: &str) -> Result<Rig> {
    Rig::boot_in(lab, &format!("workload=certify:time=15s,memory=12M {more}"), |_| ())
}

#[test]
fn a_virtual_board_passes_what_can_be_checked_of_it() -> Result<()> {
    let rig = boot(Lab::new()?, "name=candidate")?;
    let report = Report::of(&rig)?;
    ensure!(report.text.starts_with("MiniPiRack ") && report.text.contains("candidate"), "{}", report.text);
    let model = match node::machine()? {
        Machine::Raspi3b => "Raspberry Pi 3 Model B",
        Machine::Raspi4b => "Raspberry Pi 4 Model B",
    };
    ensure!(report.text.contains(model) && report.text.contains("emulated"), "{}", report.text);
    report.expect("cores", "pass", "core 1-3 at ")?;
    report.expect("core0", "pass", "answered within ")?;
    report.expect("memory", "pass", "12.0 of ")?;
    report.expect("link", "pass", "up")?;
    report.expect("frames", "pass", "no errors")?;
    report.expect("temperature", "pass", "25.0 to 25.0 C")?;
    report.expect("power", "pass", "no under-voltage")?;
    // Nobody tells the time here.
    report.expect("clock", "NOT CHECKED", "no time server")?;
    ensure!(report.verdict == "INCOMPLETE; not checked: clock", "{}", report.verdict);
    // The same on the console, and in the metrics.
    rig.node.console().rewind();
    rig.node.console().wait_for("verdict      INCOMPLETE; not checked: clock", PATIENCE)?;
    let metrics = rig.node.fresh_metrics()?;
    ensure!(metrics.one("minipirack_certificate_verdict", &[("verdict", "INCOMPLETE")])? == 1.0);
    ensure!(metrics.one("minipirack_certificate_check", &[("check", "memory"), ("outcome", "passed")])? == 1.0);
    ensure!(metrics.sum("minipirack_workload_state", &[("workload", "certify"), ("state", "finished")]) == 3.0);
    // All three cores did work, and none found an error.
    for core in ["1", "2", "3"] {
        let labels = [("core", core), ("workload", "certify")];
        ensure!(metrics.one("minipirack_workload_operations_total", &labels)? > 100.0, "core {core}");
        ensure!(metrics.one("minipirack_workload_bytes_total", &labels)? > 10e6, "core {core}");
        ensure!(metrics.one("minipirack_workload_errors_total", &labels)? == 0.0, "core {core}");
    }
    Ok(())
}

#[test]
fn a_clock_is_compared_with_a_time_server() -> Result<()> {
    let Some(lab) = Lab::private("the clock's part of the acceptance test")? else { return Ok(()) };
    let server = NtpServer::start(TIME)?;
    let rig = boot(lab, &format!("ntp={HOST}"))?;
    let report = Report::of(&rig)?;
    ensure!(server.requests() >= 8, "only {} questions", server.requests());
    // A busy host makes the way to the server slow: then the report has to say how uncertain it is.
    let (outcome, reason) = report.findings.get("clock").context("no clock")?;
    ensure!(reason.contains(" ppm") && reason.contains("give or take"), "{reason}");
    ensure!(outcome == "pass" || (outcome == "NOT CHECKED" && reason.contains("too slow")), "{outcome} {reason}");
    let verdict = if outcome == "pass" { "PASS" } else { "INCOMPLETE; not checked: clock" };
    ensure!(report.verdict == verdict, "{}", report.text);
    ensure!(report.text.contains("begun 2027-01-15 "), "no date in\n{}", report.text);
    Ok(())
}

#[test]
fn a_clock_that_runs_away_fails() -> Result<()> {
    let Some(lab) = Lab::private("the acceptance test of a fast clock")? else { return Ok(()) };
    // Two percent: more than any slowness of the way.
    let _server = NtpServer::start_fast(TIME, 20_000)?;
    let rig = boot(lab, &format!("ntp={HOST}"))?;
    let report = Report::of(&rig)?;
    report.expect("clock", "FAIL", "ppm against the time server")?;
    ensure!(report.verdict == "FAIL; failed: clock", "{}", report.text);
    let ppm = report.findings.get("clock").and_then(|(_, reason)| reason.split(' ').next()?.parse::<f64>().ok());
    ensure!(ppm.is_some_and(|ppm| (18_000.0..22_000.0).contains(&ppm)), "{}", report.text);
    ensure!(rig.node.fresh_metrics()?.sum("minipirack_workload_state", &[("state", "failed")]) == 1.0);
    Ok(())
}

#[test]
fn a_network_card_that_is_pulled_out_for_a_moment_fails() -> Result<()> {
    let Some(lab) = Lab::private("the acceptance test of an unsteady link")? else { return Ok(()) };
    let rig = boot(lab, "")?;
    rig.node.settled_metrics()?;
    rig.node.board().unplug_nic()?;
    rig.node.console().wait_for("no controller", PATIENCE)?;
    rig.node.board().plug_nic()?;
    let report = Report::of(&rig)?;
    report.expect("link", "FAIL", "the link went down")?;
    ensure!(report.verdict.starts_with("FAIL; failed: link"), "{}", report.verdict);
    Ok(())
}

#[test]
fn a_board_that_was_not_tested_says_how_to_test_it() -> Result<()> {
    let rig = Rig::boot("")?;
    let text = rig.node.get("/certify")?.text();
    ensure!(text.contains("was not tested") && text.contains("workload start certify"), "{text}");
    // From the shell it runs too, and can be looked at meanwhile.
    rig.node.console().send_line("workload start certify:time=2s,memory=3M")?;
    rig.node.console().wait_for("started certify on core 1-3", PATIENCE)?;
    wait::until("a report", PATIENCE, || Ok(rig.node.get("/certify")?.text().contains("verdict ").then_some(())))?;
    let report = Report::of(&rig)?;
    ensure!(report.text.contains("test         of 2 s"), "{}", report.text);
    rig.node.console().send_line("certify")?;
    rig.node.console().wait_for("verdict      ", PATIENCE)?;
    Ok(())
}
