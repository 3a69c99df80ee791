//! The real driver of a LAN9514 or LAN7800 over the model of the chip: bursts, and what goes wrong with hardware.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use qemu::{Descriptors, Faults, Partner, UsbNet, UsbNic};
use tests::lab::{Lab, say};
use tests::metrics::Metrics;
use tests::node::{self, BOOT, PATIENCE, Rig};
use tests::traffic::Traffic;
use tests::wait;

/// Times that the link of a test flaps.
const FLAPS: u32 = 1000;
/// Longest that a driver may take to find out that its chip is in trouble and to start it anew, several times over.
const RECOVERY: Duration = Duration::from_secs(90);

/// Makes something go wrong.
type SetFault = fn(&mut Faults);
/// Makes something go wrong, or right again.
type SwitchFault = fn(&mut Faults, bool);

/// Returns the model of a rig's NIC.
fn model(rig: &Rig) -> Result<&UsbNic> {
    rig.node.board().usb_nic().context("the NIC is no model")
}

/// Says what the driver did wrong, if anything.
fn ensure_no_mistake(nic: &UsbNic) -> Result<()> {
    let mistakes = nic.mistakes();
    ensure!(mistakes.count() == 0, "the driver made {} mistakes: {:#?}", mistakes.count(), mistakes.first());
    Ok(())
}

/// Waits until traffic goes both ways.
fn ensure_traffic(rig: &Rig) -> Result<()> {
    rig.node.wait_until_up()?;
    node::udp_echo(rig.node.udp(7)?, &[0x5A; 1472]).with_context(|| rig.node.last_words())
}

fn errors(metrics: &Metrics) -> f64 {
    metrics.sum("node_network_receive_errs_total", &[])
}

/// Returns what the driver counted by kind, as far as there was any.
fn nic_events(metrics: &Metrics) -> Vec<String> {
    let all = metrics.all("minipirack_events_total", &[]).into_iter().filter(|sample| sample.value > 0.0);
    all.map(|sample| format!("{:?} {}", sample.labels, sample.value)).filter(|text| text.contains("nic_")).collect()
}

fn restarts(metrics: &Metrics) -> f64 {
    metrics.sum("minipirack_network_restarts_total", &[])
}

#[test]
fn carries_bursts_and_batches_without_a_mistake() -> Result<()> {
    let rig = Rig::boot("")?;
    let traffic = Traffic::start(rig.node.udp(7)?)?;
    traffic.wait_for_answers(2000)?;
    drop(traffic);
    let nic = model(&rig)?;
    let seen = nic.seen();
    ensure!(seen.burst_frames_max > 1, "no burst had several frames: {seen:?}");
    ensure!(seen.batch_frames_max > 1, "no transfer had several frames to send: {seen:?}");
    let metrics = rig.node.metrics()?;
    ensure!(restarts(&metrics) == 0.0, "the chip was started anew");
    ensure!(errors(&metrics) == 0.0, "frames were damaged on their way: {:?}; {seen:?}", nic_events(&metrics));
    say(&format!("{}: {seen:?}", node::nic_kind()?.name()));
    ensure_no_mistake(nic)
}

#[test]
fn is_unplugged_in_the_middle_of_traffic() -> Result<()> {
    let rig = Rig::boot("")?;
    let traffic = Traffic::start(rig.node.udp(7)?)?;
    for round in 1..=5 {
        traffic.wait_for_answers(200).with_context(|| format!("round {round}: {}", rig.node.last_words()))?;
        rig.node.board().unplug_nic().with_context(|| format!("round {round}: {}", rig.node.board().messages()))?;
        rig.node.console().wait_for("was unplugged", PATIENCE).with_context(|| format!("round {round}"))?;
        rig.node.board().plug_nic()?;
    }
    traffic.wait_for_answers(200)?;
    drop(traffic);
    ensure_traffic(&rig)?;
    ensure_no_mistake(model(&rig)?)
}

#[test]
fn survives_a_link_that_flaps_a_thousand_times() -> Result<()> {
    let rig = Rig::boot("")?;
    let nic = model(&rig)?;
    let traffic = Traffic::start(rig.node.udp(7)?)?;
    nic.with(|nic| nic.core().set_negotiation_time(1000));
    for flap in 0..FLAPS {
        nic.set_cable(false);
        thread::sleep(Duration::from_millis(u64::from(flap % 7)));
        nic.set_cable(true);
        thread::sleep(Duration::from_millis(u64::from(flap % 5) + 1));
    }
    drop(traffic);
    ensure_traffic(&rig)?;
    let metrics = rig.node.metrics()?;
    let changes = metrics.sum("node_network_carrier_changes_total", &[]);
    ensure!(changes >= 10.0, "only {changes} changes of the link were seen in {FLAPS} flaps");
    ensure!(restarts(&metrics) == 0.0, "the chip was started anew; {}", rig.node.last_words());
    say(&format!("{}: {FLAPS} flaps of the link, {changes} changes seen", node::nic_kind()?.name()));
    ensure_no_mistake(nic)
}

#[test]
fn follows_the_link_to_another_speed() -> Result<()> {
    let rig = Rig::boot("")?;
    let nic = model(&rig)?;
    for (speed_mbps, is_full_duplex) in [(10, false), (100, false), (10, true), (100, true)] {
        let partner = Partner { speed_mbps, is_full_duplex, ..Partner::default() };
        nic.with(|nic| nic.core().set_partner(Some(partner)));
        wait::until("the link's new speed in the metrics", BOOT, || {
            let Ok(metrics) = rig.node.metrics() else { return Ok(None) };
            let speed = metrics.sum("node_network_speed_bytes", &[]) * 8.0 / 1e6;
            let duplex = if is_full_duplex { "full" } else { "half" };
            let has_duplex = !metrics.all("node_network_info", &[("duplex", duplex)]).is_empty();
            Ok((speed == f64::from(speed_mbps) && has_duplex).then_some(()))
        })
        .with_context(|| format!("{partner:?}; {}", rig.node.last_words()))?;
        ensure_traffic(&rig)?;
    }
    ensure_no_mistake(nic)
}

#[test]
fn counts_what_is_damaged_and_goes_on() -> Result<()> {
    let rig = Rig::boot("")?;
    let nic = model(&rig)?;
    let faults: [(&str, SetFault); 4] = [
        ("damaged on the wire", |faults| faults.damaged_frames = 3),
        ("a bad status word", |faults| faults.bad_statuses = 3),
        ("a wrong length", |faults| faults.wrong_lengths = 3),
        ("a truncated burst", |faults| faults.truncated_bursts = 3),
    ];
    for (what, set) in faults {
        let before = errors(&rig.node.metrics()?);
        nic.with(|nic| set(&mut nic.core().faults));
        ensure_traffic(&rig).context(what)?;
        wait::until("the end of the fault", PATIENCE, || {
            drop(node::tcp_echo(rig.node.tcp(7)?));
            Ok(nic.with(|nic| nic.core().faults == Faults::default()).then_some(()))
        })
        .context(what)?;
        rig.node
            .wait_for_metric("a counted error", PATIENCE, |now| Ok((errors(now) > before).then(|| errors(now))))
            .context(what)?;
    }
    // An endpoint that halts is cleared.
    nic.with(|nic| nic.core().faults.stalls = vec![0x81]);
    ensure_traffic(&rig)?;
    ensure!(restarts(&rig.node.metrics()?) == 0.0, "the chip was started anew; {}", rig.node.last_words());
    ensure_no_mistake(nic)
}

#[test]
fn starts_a_chip_anew_that_is_in_trouble() -> Result<()> {
    let rig = Rig::boot("")?;
    let nic = model(&rig)?;
    let faults: [(&str, SetFault); 3] = [
        ("a transmitter that hangs", |faults| faults.is_transmitter_stuck = true),
        ("a receiver that hangs", |faults| faults.is_receiver_stuck = true),
        ("a halted transmit endpoint", |faults| faults.stalls = vec![0x02]),
    ];
    for (what, set) in faults {
        let before = restarts(&rig.node.metrics()?);
        nic.with(|nic| set(&mut nic.core().faults));
        let start = Instant::now();
        // Something to receive, that nobody has to take.
        let flood = Traffic::start(rig.node.udp(9)?)?;
        rig.node.wait_for_restart(before).with_context(|| format!("{what}; {}", rig.node.last_words()))?;
        drop(flood);
        ensure_traffic(&rig).context(what)?;
        say(&format!(
            "{}: {what}: traffic again after {:.1} s",
            node::nic_kind()?.name(),
            start.elapsed().as_secs_f64()
        ));
    }
    // Silent for a while.
    let before = restarts(&rig.node.metrics()?);
    rig.node.console().skip();
    nic.with(|nic| nic.core().faults.is_silent = true);
    rig.node.console().wait_for("starting it anew", RECOVERY).with_context(|| rig.node.last_words())?;
    nic.with(|nic| nic.core().faults.is_silent = false);
    rig.node.wait_for_restart(before)?;
    ensure_traffic(&rig)?;
    ensure_no_mistake(nic)
}

/// Boots a node whose NIC is plugged in by the test.
fn boot_unplugged() -> Result<Rig> {
    let lab = Lab::new()?;
    let rig = Rig::start_in(lab, "", |config| {
        config.nic = Some(UsbNet { is_plugged: false, ..UsbNet::default() });
    })?;
    rig.node.console().wait_for("booted in", BOOT)?;
    Ok(rig)
}

#[test]
fn waits_for_a_chip_that_does_not_start() -> Result<()> {
    let rig = boot_unplugged()?;
    let nic = model(&rig)?;
    let faults: [(&str, SwitchFault); 3] = [
        ("a soft reset that never ends", |faults, is_on| faults.is_reset_stuck = is_on),
        ("a PHY that is missing", |faults, is_on| faults.is_phy_missing = is_on),
        ("an MII that is busy for ever", |faults, is_on| faults.is_mii_stuck = is_on),
    ];
    for (what, set) in faults {
        rig.node.console().skip();
        nic.with(|nic| set(&mut nic.core().faults, true));
        rig.node.board().plug_nic()?;
        rig.node.console().wait_for("starting it anew", PATIENCE).context(what)?;
        nic.with(|nic| set(&mut nic.core().faults, false));
        ensure_traffic(&rig).context(what)?;
        rig.node.board().unplug_nic()?;
        rig.node.console().wait_for("was unplugged", PATIENCE).context(what)?;
    }
    Ok(())
}

#[test]
fn refuses_descriptors_that_make_no_sense() -> Result<()> {
    let rig = boot_unplugged()?;
    let nic = model(&rig)?;
    for descriptors in [Descriptors::WithoutBulkIn, Descriptors::EmptyDescriptor] {
        nic.with(|nic| nic.core().faults.descriptors = descriptors);
        rig.node.board().plug_nic()?;
        rig.node.console().wait_for("0424:", PATIENCE).with_context(|| format!("{descriptors:?}"))?;
        rig.node.board().unplug_nic()?;
        // The console shows the node in good health.
        ensure!(!tests::shell::run(&rig.node, "help")?.is_empty());
    }
    for descriptors in [Descriptors::WithoutInterrupt, Descriptors::Right] {
        nic.with(|nic| nic.core().faults.descriptors = descriptors);
        rig.node.board().plug_nic()?;
        ensure_traffic(&rig).with_context(|| format!("{descriptors:?}"))?;
        rig.node.board().unplug_nic()?;
        rig.node.console().wait_for("was unplugged", PATIENCE)?;
    }
    ensure_no_mistake(nic)
}
