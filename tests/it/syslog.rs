//! The log at a real syslog server: rsyslog, which says how it has understood each message.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tests::dhcp::{DhcpServer, Policy};
use tests::lab::{HOST, Lab};
use tests::node::{BOOT, PATIENCE, Rig, TestNode};
use tests::syslog::{Message, SyslogServer};

/// Longest until a node has found out that its server is back: its longest pause between two attempts, and some more.
const RETURN: Duration = Duration::from_secs(60);
/// Lines of the log that a node keeps.
const KEPT: usize = 256;

fn check(messages: &[Message]) -> Result<()> {
    for message in messages {
        let header = (message.facility.as_str(), message.host.as_str(), message.app.as_str());
        ensure!(header == ("local0", "pi-log", "minipirack"), "{message:?}");
    }
    let first = messages.iter().find(|message| message.text.starts_with("MiniPiRack ")).context("no first line")?;
    ensure!((first.severity.as_str(), first.sequence) == ("info", 1), "{first:?}");
    Ok(())
}

#[test]
fn rsyslog_understands_what_comes_over_udp() -> Result<()> {
    let Some(lab) = Lab::private("syslog over UDP")? else { return Ok(()) };
    let Some(syslog) = SyslogServer::start()? else { return Ok(()) };
    let _dhcp = DhcpServer::start(Policy::default())?;
    let node = TestNode::start(&lab, &format!("syslog={HOST} name=pi-log usbnet=nonsense"))?;
    syslog.wait_for("booted in", BOOT).with_context(|| node.last_words())?;
    let messages = syslog.messages()?;
    check(&messages)?;
    let warning = syslog.wait_for("nonsense", PATIENCE)?;
    ensure!(warning.severity == "warning", "{warning:?}");
    Ok(())
}

#[test]
fn rsyslog_gets_every_kept_line_over_tcp_however_often_it_restarts() -> Result<()> {
    let Some(lab) = Lab::private("syslog over TCP")? else { return Ok(()) };
    let Some(mut syslog) = SyslogServer::start()? else { return Ok(()) };
    let rig = Rig::boot_in(lab, &format!("syslog=tcp:{HOST} name=pi-log"), |_| ())?;
    syslog.wait_for("booted in", BOOT).with_context(|| rig.node.last_words())?;
    let mut notes = Vec::new();
    let mut note = |text: String| {
        rig.node.console().send_line(&format!("note {text}"))?;
        notes.push(text);
        anyhow::Ok(())
    };
    for round in 0..3 {
        note(format!("before-{round}."))?;
        syslog.stop()?;
        (0..10).try_for_each(|number| note(format!("away-{round}-{number}.")))?;
        syslog.restart()?;
        syslog.wait_for(&format!("away-{round}-9."), RETURN).with_context(|| rig.node.last_words())?;
    }
    let by_number = |messages: Vec<Message>| {
        let mut by_number = BTreeMap::new();
        for message in messages {
            let number = message.sequence;
            let former = by_number.insert(number, message.text.clone());
            ensure!(former.is_none_or(|text| text == message.text), "two lines have the number {number}");
        }
        Ok(by_number)
    };
    let messages = syslog.messages()?;
    check(&messages)?;
    let lines = by_number(messages)?;
    let last = *lines.keys().last().context("no message")?;
    let missing: Vec<_> = (1..=last).filter(|number| !lines.contains_key(number)).collect();
    ensure!(missing.is_empty(), "of {last} lines these never came: {missing:?}");
    for note in &notes {
        let count = lines.values().filter(|text| text.ends_with(note)).count();
        ensure!(count == 1, "{note} came {count} times under different numbers");
    }
    // What the ring could not hold is told: how many, and which by their numbers.
    syslog.stop()?;
    for number in 0..KEPT + 100 {
        rig.node.console().send_line(&format!("note flood-{number}."))?;
    }
    let console = rig.node.console();
    console.wait_for(|line: &str| line.contains("note: flood-355."), BOOT).context("the last of the flood")?;
    syslog.restart()?;
    let told = syslog.wait_for(" lines before this were lost) ", RETURN).with_context(|| rig.node.last_words())?;
    let lost: u64 = told.text.trim_start_matches('(').split(' ').next().unwrap_or_default().parse()?;
    syslog.wait_for("flood-355.", RETURN)?;
    let lines = by_number(syslog.messages()?)?;
    let gap = (1..told.sequence).filter(|number| !lines.contains_key(number)).count() as u64;
    ensure!(lost == gap && gap >= 100, "{lost} lines lost by what it says, {gap} by their numbers");
    Ok(())
}
