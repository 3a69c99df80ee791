//! The real drivers of the LAN9514 and the LAN7800 over models of the chips: the network through them, and what goes wrong
//! with hardware. The whole suite runs through them with `MINIPIRACK_NIC=lan9514 cargo test -p tests`.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use qemu::{Descriptors, Faults, Machine, NicKind, Partner, UsbNet, UsbNic};
use tests::lab::{Lab, say};
use tests::metrics::Metrics;
use tests::node::{self, BOOT, PATIENCE, Rig, with_nic};
use tests::wait;

/// Times that the link of a test flaps.
const FLAPS: u32 = 1000;
/// Longest that a driver may take to find out that its chip is in trouble and to start it anew, several times over.
const RECOVERY: Duration = Duration::from_secs(90);

/// Makes something go wrong.
type SetFault = fn(&mut Faults);
/// Makes something go wrong, or right again.
type SwitchFault = fn(&mut Faults, bool);

/// Makes a test of each function for each of the chips. The boards that QEMU calls raspi4b have other NICs.
macro_rules! for_each_chip {
    ($($name:ident: $test:path;)*) => {
        mod lan9514 {
            $(
                #[test]
                fn $name() -> anyhow::Result<()> {
                    super::on(qemu::NicKind::Lan9514, $test)
                }
            )*
        }
        mod lan7800 {
            $(
                #[test]
                fn $name() -> anyhow::Result<()> {
                    super::on(qemu::NicKind::Lan7800, $test)
                }
            )*
        }
    };
}

for_each_chip! {
    answers_arp: super::super::network::answers_arp_with_its_own_address;
    answers_ping_of_every_size: super::super::network::answers_ping_of_every_size_that_fits_a_frame;
    answers_ping_over_ipv6: super::super::network::answers_ping_over_ipv6_at_its_link_local_address;
    is_reached_through_a_hub: super::super::network::is_reached_through_a_usb_hub;
    echoes_a_mebibyte_to_each_of_sixteen_clients:
        super::super::services::sixteen_clients_at_once_get_every_byte_of_a_mebibyte_back;
    echoes_datagrams_of_every_size: super::super::services::udp_echo_returns_datagrams_of_every_size;
    renews_its_lease: super::super::addresses::renews_its_lease_with_the_server_at_half_time;
    answers_to_its_name: super::super::discovery::answers_to_its_name_with_its_addresses;
    survives_malformed_frames: super::super::malformed::a_hundred_thousand_malformed_frames_leave_the_node_as_it_was;
    is_unplugged_and_plugged_in_again: super::super::plug::the_nic_is_unplugged_and_plugged_in_again;
    carries_bursts_and_batches_without_a_mistake: super::carries_bursts_and_batches_without_a_mistake;
    is_unplugged_in_the_middle_of_traffic: super::is_unplugged_in_the_middle_of_traffic;
    survives_a_link_that_flaps_a_thousand_times: super::survives_a_link_that_flaps_a_thousand_times;
    follows_the_link_to_another_speed: super::follows_the_link_to_another_speed;
    counts_what_is_damaged_and_goes_on: super::counts_what_is_damaged_and_goes_on;
    starts_a_chip_anew_that_is_in_trouble: super::starts_a_chip_anew_that_is_in_trouble;
    waits_for_a_chip_that_does_not_start: super::waits_for_a_chip_that_does_not_start;
    refuses_descriptors_that_make_no_sense: super::refuses_descriptors_that_make_no_sense;
}

fn on(kind: NicKind, test: fn() -> Result<()>) -> Result<()> {
    if node::machine()? != Machine::Raspi3b {
        return Ok(());
    }
    with_nic(kind, test)
}

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

/// Datagrams that go to the echo service all the time, without waiting for answers.
struct Traffic {
    is_ending: Arc<AtomicBool>,
    answers: Arc<AtomicU64>,
    threads: Vec<thread::JoinHandle<()>>,
}

impl Traffic {
    fn start(to: SocketAddr) -> Result<Self> {
        let socket = UdpSocket::bind(("0.0.0.0", 0))?;
        socket.connect(to)?;
        socket.set_read_timeout(Some(Duration::from_millis(100)))?;
        let (is_ending, answers) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (receiver, ends, counted) = (socket.try_clone()?, Arc::clone(&is_ending), Arc::clone(&answers));
        let receiving = thread::spawn(move || {
            while !ends.load(Ordering::Relaxed) {
                let received = receiver.recv(&mut [0; 2000]).is_ok();
                counted.fetch_add(u64::from(received), Ordering::Relaxed);
            }
        });
        let ends = Arc::clone(&is_ending);
        let sending = thread::spawn(move || {
            while !ends.load(Ordering::Relaxed) {
                // Nobody answers ARP requests while the NIC is gone: then sending fails.
                (0..20).for_each(|_| drop(socket.send(&[0x77; 1000])));
                thread::sleep(Duration::from_millis(5));
            }
        });
        Ok(Self { is_ending, answers, threads: vec![receiving, sending] })
    }

    fn answers(&self) -> u64 {
        self.answers.load(Ordering::Relaxed)
    }

    /// Waits for more answers.
    fn wait_for_answers(&self, count: u64) -> Result<()> {
        let before = self.answers();
        wait::until("echoed datagrams", RECOVERY, || Ok((self.answers() >= before + count).then_some(())))
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.is_ending.store(true, Ordering::Relaxed);
        self.threads.drain(..).for_each(|thread| drop(thread.join()));
    }
}

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

fn starts_a_chip_anew_that_is_in_trouble() -> Result<()> {
    let rig = Rig::boot("")?;
    let nic = model(&rig)?;
    let faults: [(&str, SetFault); 2] = [
        ("a transmitter that hangs", |faults| faults.is_transmitter_stuck = true),
        ("a halted transmit endpoint", |faults| faults.stalls = vec![0x02]),
    ];
    for (what, set) in faults {
        let before = restarts(&rig.node.metrics()?);
        nic.with(|nic| set(&mut nic.core().faults));
        let start = Instant::now();
        rig.node.wait_for_restart(before).with_context(|| format!("{what}; {}", rig.node.last_words()))?;
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

fn refuses_descriptors_that_make_no_sense() -> Result<()> {
    let rig = boot_unplugged()?;
    let nic = model(&rig)?;
    for descriptors in [Descriptors::WithoutBulkIn, Descriptors::EmptyDescriptor] {
        nic.with(|nic| nic.core().faults.descriptors = descriptors);
        rig.node.board().plug_nic()?;
        rig.node.console().wait_for("0424:", PATIENCE).with_context(|| format!("{descriptors:?}"))?;
        rig.node.board().unplug_nic()?;
        // The console shows the node in good health.
        ensure!(!super::shell::run(&rig.node, "help")?.is_empty());
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
