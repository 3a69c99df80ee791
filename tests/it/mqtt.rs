//! Telemetry at a real MQTT broker: mosquitto, read by `mosquitto_sub`.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tests::lab::{HOST, Lab};
use tests::mqtt::{Broker, Subscriber};
use tests::node::{BOOT, PATIENCE, Rig};
use tests::syslog::SyslogServer;

/// How often the broker is stopped or killed, and started.
const RESTARTS: usize = 20;
/// Longest until a node has found out that its broker is back: its longest pause between two attempts, and some more.
const RETURN: Duration = Duration::from_secs(60);

#[test]
fn a_broker_that_is_stopped_or_killed_twenty_times_gets_every_message() -> Result<()> {
    let Some(lab) = Lab::private("MQTT")? else { return Ok(()) };
    let Some(mut broker) = Broker::start()? else { return Ok(()) };
    let subscriber = Subscriber::start("collector", "rack/#")?;
    let rig = Rig::boot_in(lab, &format!("mqtt={HOST} mqtt-topic=rack name=pi-mq"), |_| ())?;
    let wait = |what: &str, is: &dyn Fn(&str, &str) -> bool| {
        let found = subscriber.wait_for(what, RETURN, |message| is(&message.topic, &message.payload));
        found.with_context(|| format!("{}\n{}", rig.node.last_words(), broker_log(&broker)))
    };
    wait("online", &|topic, payload| topic == "rack/pi-mq/status" && payload == "online")?;
    let birth = wait("the birth", &|topic, _| topic == "rack/pi-mq/birth")?.json()?;
    ensure!(birth["name"] == "pi-mq" && birth["boot"].as_str().is_some_and(|boot| boot.len() == 6), "{birth}");
    // Not the first one: core 0 may not have slept before it, and zeros are left out.
    let sample =
        wait("a sample", &|topic, payload| topic == "rack/pi-mq/sample" && payload.contains(r#""0,idle":"#))?.json()?;
    let metrics = &sample["metrics"];
    ensure!(metrics["node_cpu_seconds_total"]["0,idle"].is_number(), "{sample}");
    ensure!(metrics["minipirack_uptime_seconds"].is_number() && sample["seq"].is_u64(), "{sample}");
    wait("an event", &|topic, payload| {
        topic.ends_with("/event") && payload.contains(r#""event":"link","value":"up""#)
    })?;
    wait("a log line", &|topic, payload| topic.ends_with("/log") && payload.contains("booted in"))?;
    for round in 0..RESTARTS {
        rig.node.console().send_line(&format!("note before-{round}."))?;
        // Every second time without a chance to say good-bye, or to take in what is on its way.
        if round.is_multiple_of(2) {
            broker.stop()?
        } else {
            broker.kill()?
        }
        rig.node.console().send_line(&format!("note away-{round}."))?;
        // For three of them the node is kept waiting, so that messages pile up.
        let end = Instant::now() + Duration::from_secs(if round % 7 == 3 { 6 } else { 0 });
        tests::wait::until("time to pass", RETURN, || Ok((Instant::now() >= end).then_some(())))?;
        broker.restart()?;
        let note = format!("note: away-{round}.");
        subscriber
            .wait_for(&note, RETURN, |message| message.payload.contains(&note))
            .with_context(|| format!("{}\n{}", rig.node.last_words(), broker_log(&broker)))?;
    }
    let mut came = BTreeMap::new();
    let (mut twice, mut newest) = (0, 0);
    for message in subscriber.messages() {
        if message.topic.ends_with("/status") || message.topic.ends_with("/birth") {
            continue;
        }
        let json = message.json()?;
        ensure!(json["lost"] == 0 && json["boot"] == birth["boot"], "{json}");
        let seq = json["seq"].as_u64().context("no seq")?;
        match came.insert(seq, message.payload.clone()) {
            // The same number is the same message: a duplicate that can be told.
            Some(former) => {
                ensure!(former == message.payload, "{seq} is {former} and {}", message.payload);
                twice += 1;
            }
            None => {
                ensure!(seq == newest + 1, "{seq} came after {newest}");
                newest = seq;
            }
        }
    }
    for round in 0..RESTARTS {
        for note in [format!("note: before-{round}."), format!("note: away-{round}.")] {
            ensure!(came.values().any(|payload| payload.contains(&note)), "{note} never came");
        }
    }
    tests::lab::say(&format!("MQTT: {newest} messages over {RESTARTS} restarts, none lost, {twice} came twice"));
    // The broker tells of a node that is gone, and keeps that and who the node was for those who come later.
    let lab = rig.lab;
    let before = subscriber.messages().len();
    drop(rig.node);
    // Not one of those that were said when the broker went.
    tests::wait::until("the will", BOOT, || {
        let is_said = subscriber.messages().iter().skip(before).any(|message| message.payload == "offline");
        Ok(is_said.then_some(()))
    })?;
    let late = Subscriber::start("late", "rack/#")?;
    let status = late.wait_for("the will", PATIENCE, |message| message.topic == "rack/pi-mq/status")?;
    ensure!(status.is_kept && status.payload == "offline", "{status:?}");
    let kept = late.wait_for("who the node was", PATIENCE, |message| message.topic == "rack/pi-mq/birth")?;
    ensure!(kept.is_kept && kept.json()?["boot"] == birth["boot"], "{kept:?}");
    // And nothing else: a sample of a node that is gone is no news.
    ensure!(late.messages().len() == 2, "{:#?}", late.messages());
    drop(lab);
    Ok(())
}

#[test]
fn what_ended_a_life_is_told_to_everybody_by_the_next_one_also_where_metrics_are_off() -> Result<()> {
    let Some(lab) = Lab::private("what is told of a crash")? else { return Ok(()) };
    let (Some(broker), Some(syslog)) = (Broker::start()?, SyslogServer::start()?) else { return Ok(()) };
    let subscriber = Subscriber::start("collector", "rack/#")?;
    let line = format!("mqtt={HOST} mqtt-topic=rack syslog=tcp:{HOST} metrics=off name=pi-mq");
    let rig = Rig::boot_in(lab, &line, |_| ())?;
    let told = || format!("{}\n{}", rig.node.last_words(), broker_log(&broker));
    let birth = |boots: u64| {
        let is_it = |message: &tests::mqtt::Message| {
            message.topic.ends_with("/birth") && message.json().is_ok_and(|json| json["boots"] == boots)
        };
        subscriber.wait_for("a birth", RETURN, is_it).with_context(told)?.json()
    };
    let first = birth(1)?;
    ensure!(first["last_reset"] == "power on", "{first}");
    // What is switched off is said to be, and is nowhere else.
    let refused = rig.node.get("/metrics")?;
    ensure!(refused.status == 404 && refused.text().contains("metrics=off"), "{refused:?}");
    ensure!(rig.node.get("/api/v1/sample")?.status == 200);
    rig.node.console().skip();
    rig.node.console().send_line("debug crash data-abort 2")?;
    rig.node.console().wait_for("MiniPiRack", BOOT)?;
    let second = birth(2)?;
    ensure!(second["boot"] != first["boot"], "{second}");
    let crash = subscriber.wait_for("the crash", RETURN, |message| message.topic == "rack/pi-mq/crash");
    let crash = crash.with_context(told)?.json()?;
    // In the first message of the new life, and of the old one.
    ensure!(crash["seq"] == 1 && crash["boot"] == second["boot"] && crash["crashed_boot"] == 1, "{crash}");
    ensure!(crash["core"] == 2 && crash["kind"] == "exception", "{crash}");
    let report = crash["report"].as_str().context("no report")?;
    ensure!(report.contains("data abort") && report.contains("backtrace:"), "{report}");
    ensure!(subscriber.messages().iter().filter(|message| message.topic.ends_with("/crash")).count() == 1);
    // syslog has the same line by line, from the new life.
    let headline = report.lines().next().context("an empty report")?;
    let first_line = syslog.wait_for(headline, RETURN).with_context(told)?;
    ensure!(first_line.severity == "warning" && first_line.text == format!("| {headline}"), "{first_line:?}");
    syslog.wait_for("| backtrace:", RETURN).with_context(told)?;
    rig.node.wait_until_up()?;
    let kept = rig.node.get("/api/v1/crashes")?.text();
    ensure!(kept.contains(headline), "{headline} is not in {kept}");
    // The birth says why there is a new life, in the same words as the others.
    let reset = |birth: &serde_json::Value, why: &str| -> Result<()> {
        ensure!(birth["last_reset"] == why, "{birth}, not {why}");
        syslog.wait_for(&format!("last reset: {why}"), RETURN).with_context(told)?;
        let kept = rig.node.get("/api/v1/crashes")?.text();
        ensure!(kept.contains(&format!("\"last_reset\":\"{why}\"")), "{kept}, not {why}");
        Ok(())
    };
    reset(&second, "crash (exception)")?;

    // A restart on purpose is told as one; and the crash, which was told, is not told as if there had been another.
    rig.node.console().skip();
    rig.node.console().send_line("reboot")?;
    rig.node.console().wait_for("MiniPiRack", BOOT)?;
    rig.node.wait_until_up()?;
    reset(&birth(3)?, "restart on purpose")?;
    // A sample is of after all that is told of former lives.
    let boot = birth(3)?["boot"].clone();
    subscriber.wait_for("a sample of the third life", RETURN, |message| {
        message.topic.ends_with("/sample") && message.json().is_ok_and(|json| json["boot"] == boot)
    })?;
    let crashes = subscriber.messages().into_iter().filter(|message| message.topic.ends_with("/crash"));
    let crashes = crashes.map(|message| message.json()).collect::<Result<Vec<_>>>()?;
    ensure!(crashes.iter().all(|crash| crash["crashed_boot"] == 1), "{crashes:?}");
    let headlines = syslog.messages()?.iter().filter(|message| message.text == format!("| {headline}")).count();
    ensure!(headlines == 1, "syslog was told {headlines} times: {headline}");
    Ok(())
}

/// Returns the end of the broker's log.
fn broker_log(broker: &Broker) -> String {
    let log = broker.log();
    let lines: Vec<_> = log.lines().rev().take(20).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join("\n")
}
