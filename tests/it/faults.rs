//! Faults on purpose: given over SSH and on the console, and measured from the frames on the wire.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tests::frames::FrameSocket;
use tests::instructions::{Counter, PATH};
use tests::lab::{HOST, HOST_MAC, Lab, NODE, say};
use tests::node::{self, PATIENCE, Rig};
use tests::ntp::NtpServer;
use tests::openssh::User;
use tests::packet::{self, ARP, BROADCAST, ICMP, IPV4};
use tests::ping::round_trips;
use tests::{shell, wait};

/// Frames from which a share is measured.
const FRAMES: u16 = 10_000;
/// Frames that are sent at once: the packet socket has them and their answers in its queue, of some 200 kB, in which the
/// smallest frame counts for more than 2 kB.
const BATCH: u16 = 16;
/// Identifies our echo requests.
const IDENT: u16 = 0x4641;
const TICK: Duration = Duration::from_millis(1);

/// Whom a fault is added to, and by whom.
struct Bench<'a> {
    rig: &'a Rig,
    user: &'a User,
    wire: FrameSocket,
}

impl Bench<'_> {
    /// Gives a command over SSH.
    fn command(&self, command: &str) -> Result<String> {
        let done = self.user.run(&self.rig.node, command)?;
        ensure!(done.status == Some(0), "{command}: {done:?}");
        Ok(done.out)
    }

    /// Sends so many echo requests and returns which were answered.
    fn echo(&mut self, count: u16) -> Result<Vec<bool>> {
        let mut answered = vec![false; count.into()];
        for first in (0..count).step_by(BATCH.into()) {
            for number in first..count.min(first + BATCH) {
                self.request(number);
            }
            // No fault touches this question, so its answer is the last one.
            let arp = packet::arp_request(HOST_MAC, HOST, NODE);
            self.wire.send(&packet::ethernet(BROADCAST, HOST_MAC, ARP, &arp));
            let is_last = self.wire.receive(node::MAC, PATIENCE, |frame| {
                if let Some(number) = answer(frame) {
                    answered[usize::from(number)] = true;
                }
                (frame[12..14] == ARP.to_be_bytes() && frame[20..22] == [0, 2]).then_some(())
            })?;
            is_last.with_context(|| format!("no answer to ARP; {}", self.rig.node.last_words()))?;
        }
        Ok(answered)
    }

    fn request(&mut self, number: u16) {
        let request = packet::ipv4(HOST, NODE, ICMP, &packet::icmp_echo_request(IDENT, number, b"fate?"));
        self.wire.send(&packet::ethernet(node::MAC, HOST_MAC, IPV4, &request));
    }

    /// Returns the times to the node and back of so many echo requests, the shortest first.
    fn times(&mut self, count: u16) -> Result<Vec<Duration>> {
        let mut times = round_trips(&mut self.wire, count, 5)?;
        times.sort();
        Ok(times)
    }

    fn wait_for_faults(&self, state: &str, count: f64) -> Result<()> {
        self.rig.node.wait_for_metric("faults", PATIENCE, |metrics| {
            let now = metrics.one("minipirack_faults", &[("state", state)])?;
            Ok((now == count).then_some(now))
        })?;
        Ok(())
    }
}

/// Returns the number of one of our echo requests that a frame answers.
fn answer(frame: &[u8]) -> Option<u16> {
    let is_ours = frame[12..14] == IPV4.to_be_bytes() && frame.get(23) == Some(&ICMP) && frame.get(34) == Some(&0);
    (is_ours && frame.get(38..40)? == IDENT.to_be_bytes())
        .then(|| frame.get(40..)?.first_chunk().copied())?
        .map(u16::from_be_bytes)
}

#[test]
fn a_frame_costs_nothing_more_when_no_fault_is_active() -> Result<()> {
    const COUNT: u16 = 1000;
    let Some(lab) = Lab::private("what faults cost")? else { return Ok(()) };
    let Some(counter) = Counter::new()? else {
        say("NOT TESTED (needs QEMU 9): what faults cost");
        return Ok(());
    };
    let user = User::new()?;
    let rig = Rig::boot_in(lab, &user.setting()?, |config| config.extra.extend(counter.arguments().map(Into::into)))?;
    rig.node.settled_metrics()?;
    let mut bench = Bench { rig: &rig, user: &user, wire: FrameSocket::open()? };
    let mut cost = |command: &str| -> Result<[f64; 2]> {
        bench.command(command)?;
        let read = || -> Result<[f64; 2]> { Ok([counter.of_crates(&PATH)?, counter.of_crates(&["fault::"])?]) };
        let before = read()?;
        // One after the other: what comes together is cheaper, and how much does is chance.
        bench.times(COUNT)?;
        let after = read()?;
        Ok([0, 1].map(|part| (after[part] - before[part]) / f64::from(COUNT)))
    };
    // For this fault every frame is looked at, and nothing is done to these.
    let [never, clear, active, healed] = [
        cost("fault list")?,
        cost("fault clear all")?,
        cost("fault add drop peer=10.77.0.222 proto=icmp for=5m")?,
        cost("fault clear all")?,
    ];
    let all = [never, clear, active, healed].map(|[path, _]| path);
    say(&format!("faults: an echo takes {all:.0?} instructions: before, after a command, with a fault, afterwards"));
    for [path, fault] in [clear, healed] {
        ensure!(path < never[0] * 1.02, "{all:?}: dearer afterwards than before");
        ensure!(fault < 1.0, "{fault} instructions of an echo are the faults', though there is none");
    }
    ensure!(active[0] > healed[0] * 1.05 && active[1] > 100.0, "{all:?}: the fault was not looked at");
    Ok(())
}

#[test]
fn frames_have_the_fate_that_was_asked_for() -> Result<()> {
    let Some(lab) = Lab::private("faults on purpose")? else { return Ok(()) };
    let user = User::new()?;
    let rig = Rig::boot_in(lab, &user.setting()?, |_| ())?;
    // With each of the node's addresses that comes, smoltcp forgets its neighbours, and can't answer until it hears of them.
    rig.node.settled_metrics()?;
    let mut bench = Bench { rig: &rig, user: &user, wire: FrameSocket::open()? };
    ensure!(bench.echo(200)?.iter().all(|is_answered| *is_answered), "frames are lost without a fault");
    let usual = bench.times(100)?;

    // Who has no key may not.
    let refused = user.run_as(&rig.node, "bad", &[], "fault add drop")?;
    ensure!(refused.status == Some(255) && refused.errors.contains("Permission denied"), "{refused:?}");
    ensure!(bench.command("fault")?.starts_with("no faults"));

    shares(&mut bench)?;
    partition(&mut bench)?;
    delays(&mut bench, usual[0])
}

/// A share of the frames is lost, the same ones for the same seed, and everybody can see it.
fn shares(bench: &mut Bench<'_>) -> Result<()> {
    let node = &bench.rig.node;
    for direction in ["in", "out"] {
        let fault = format!("drop share=10% dir={direction} proto=icmp seed=7 for=5m");
        let added = bench.command(&format!("fault add {fault}"))?;
        ensure!(added.contains("300 s left"), "{added}");
        let answered = bench.echo(FRAMES)?;
        let numbers: Vec<_> = (0..FRAMES).filter(|number| !answered[usize::from(*number)]).collect();
        let lost = numbers.len();
        let share = lost as f64 / f64::from(FRAMES);
        say(&format!("faults: {lost} of {FRAMES} frames lost, going {direction}, when 10 % should be"));
        ensure!((share - 0.1).abs() <= 0.01, "{lost} of {FRAMES} are lost");
        node.wait_for_metric("the frames counted", PATIENCE, |metrics| {
            let hits = metrics.one("minipirack_fault_hits_total", &[("kind", "drop")])?;
            let matched = metrics.one("minipirack_fault_matched_total", &[("kind", "drop")])?;
            Ok((hits == lost as f64 && matched == f64::from(FRAMES)).then_some(hits))
        })
        .map_err(|_| anyhow::anyhow!("the node has lost others than these {lost} on purpose: {numbers:?}"))?;
        // With the metrics, all else has it.
        let (page, json) = (node.get("/")?.text(), node.get("/api/v1/faults")?.text());
        ensure!(page.contains(&format!("1 fault: {fault}")), "the page does not show it");
        ensure!(json.contains(&format!("\"frames_hit\":{lost}")) && json.contains(&fault), "{json}");
        ensure!(bench.command("fault clear")? == "ended 1 faults\n");
        bench.wait_for_faults("active", 0.0)?;
        // Again, and the same frames are lost.
        bench.command(&format!("fault add {fault}"))?;
        let again = bench.echo(1_000)?;
        ensure!(answered[..1_000] == again, "other frames are lost, going {direction}");
        bench.command("fault clear")?;
    }
    Ok(())
}

/// Nothing passes but the control channel, and then everything again, on time.
fn partition(bench: &mut Bench<'_>) -> Result<()> {
    let node = &bench.rig.node;
    bench.command("fault add partition for=2m")?;
    ensure!(bench.echo(1_000)?.iter().all(|is_answered| !*is_answered), "frames pass a partition");
    ensure!(node::tcp_echo(node.tcp(7)?).is_err(), "a connection passes a partition");
    ensure!(node.metric("minipirack_faults", &[("state", "active")])? == 1.0);
    let list = bench.command("fault list")?;
    ensure!(list.contains("partition for=2m"), "{list}");
    ensure!(bench.command("fault clear all")? == "ended 1 faults\n");
    ensure!(bench.echo(100)?.iter().all(|is_answered| *is_answered), "frames are lost after the partition");

    // By itself.
    let before = Instant::now();
    bench.command("fault add partition dir=in after=1s for=2s")?;
    let after = Instant::now();
    let (mut number, mut healed) = (0, None);
    let is_over = |time: Instant| time > after + Duration::from_secs(3) + PATIENCE;
    while healed.is_none() && !is_over(Instant::now()) {
        number += 1;
        bench.request(number);
        let answer =
            bench.wire.receive(node::MAC, Duration::from_millis(20), |frame| answer(frame).map(|_| Instant::now()))?;
        // Before it begins, frames pass.
        healed = answer.filter(|at| *at > after + Duration::from_millis(1_500));
    }
    let healed = healed.context("it does not heal")?;
    ensure!(healed >= before + Duration::from_secs(3), "too early, by {:?}", before + Duration::from_secs(3) - healed);
    let late = healed.saturating_duration_since(after + Duration::from_secs(3));
    say(&format!("faults: healed at most {late:?} after its time"));
    ensure!(late < Duration::from_millis(500), "{late:?} late");
    for text in ["begins, for 2000 ms: partition dir=in", "is over: partition dir=in"] {
        node.console().wait_for(|line: &str| line.contains(text), PATIENCE).with_context(|| text.to_owned())?;
    }
    bench.wait_for_faults("active", 0.0)
}

/// Delays are exact, as far as the emulator is.
fn delays(bench: &mut Bench<'_>, usual: Duration) -> Result<()> {
    for (fault, delay_ms) in [("delay time=50ms dir=out", 50), ("delay time=20ms", 40)] {
        let delay = Duration::from_millis(delay_ms);
        bench.command(&format!("fault add {fault} proto=icmp"))?;
        let times = bench.times(100)?;
        let (shortest, median) = (times[0], times[times.len() / 2]);
        say(&format!("faults: {fault}: {shortest:?} at least, {median:?} in the median; {usual:?} at least without"));
        ensure!(shortest >= delay, "a frame was held for {shortest:?} only");
        // What else the machine does makes some late; the least disturbed one tells how exact it is.
        ensure!(shortest <= delay + usual + Duration::from_millis(1) + TICK, "{shortest:?} and not {delay:?}");
        bench.command("fault clear")?;
    }
    ensure!(bench.times(20)?[0] < Duration::from_millis(20), "the delay goes on");
    Ok(())
}

#[test]
fn a_clock_goes_wrong_and_a_core_crashes_as_ordered() -> Result<()> {
    let Some(lab) = Lab::private("a wrong clock and a crash on purpose")? else { return Ok(()) };
    let ntp = NtpServer::start(1_924_992_000)?;
    let rig = Rig::boot_in(lab, &format!("ntp={HOST}"), |_| ())?;
    let node = &rig.node;
    let wait_for_error = |seconds: f64| {
        node.wait_for_metric(&format!("a clock that is {seconds} s wrong"), PATIENCE * 2, |metrics| {
            let time = metrics.all("node_time_seconds", &[]).first().map(|sample| sample.value);
            // A sample is up to a second old.
            Ok(time.map(|time| time - ntp.now_s()).filter(|error| (error - seconds).abs() < 2.0))
        })
    };
    wait_for_error(0.0)?;
    shell::run(node, "fault add clock skew=-20s for=1m")?;
    wait_for_error(-20.0)?;
    shell::run(node, "fault clear all")?;
    wait_for_error(0.0)?;

    ensure!(node.metrics()?.sum("node_crashes_total", &[]) == 0.0);
    let console = node.console();
    console.skip();
    console.send_line("fault add crash core=2 after=1s")?;
    console.wait_for(|line: &str| line.starts_with("*** crash: ") && line.contains(" on core 2 "), PATIENCE)?;
    node.wait_until_up()?;
    let crashes = node.metrics()?.sum("node_crashes_total", &[]);
    ensure!(crashes == 1.0, "{crashes} crashes");
    Ok(())
}

#[test]
fn the_node_itself_can_be_disturbed_and_heals() -> Result<()> {
    let rig = Rig::boot("workload=cpu:load=30%,cores=2,id=worker")?;
    let node = &rig.node;
    let settled = node.settled_metrics()?;
    let operations = || node.metric("minipirack_workload_operations_total", &[("id", "worker")]);
    let moves = |wanted: bool, what: &str| {
        wait::until(what, PATIENCE, || {
            let before = operations()?;
            node.fresh_metrics()?;
            Ok(((node.fresh_metrics()?.sum("minipirack_workload_operations_total", &[("id", "worker")]) > before)
                == wanted)
                .then_some(()))
        })
    };
    let tell = |command: &str| {
        let lines = shell::run(node, command)?.join("\n");
        ensure!(lines.contains("fault"), "{command}: {lines}");
        Ok(())
    };
    // What each does is looked at for as long as a busy machine needs; that they end by themselves shows with the cable.
    let end = |fault: &str| {
        tell("fault clear")?;
        // The console may have shown it between the lines of the answer.
        let text = format!("was ended: {fault}");
        wait::until(&text, PATIENCE, || Ok(node.get("/api/v1/log")?.text().contains(&text).then_some(())))
    };
    // What follows at once may come before the answer has ended.
    let type_in = |command: &str| {
        node.console().skip();
        node.console().send_line(command)
    };
    moves(true, "a workload at work")?;

    tell("fault add pause worker for=1m")?;
    moves(false, "a workload that stands still")?;
    end("pause worker for=1m")?;
    moves(true, "a workload that goes on")?;

    tell("fault add stall core=2 for=1m")?;
    moves(false, "a core that stands still")?;
    end("stall core=2 for=1m")?;
    moves(true, "a core that goes on")?;

    tell("fault add kill worker for=1m")?;
    node.wait_for_metric("a dead workload", PATIENCE, |metrics| {
        let state = metrics.sum("minipirack_workload_state", &[("id", "worker"), ("state", "stopped")]);
        Ok((state == 1.0).then_some(state))
    })?;
    end("kill worker for=1m")?;
    moves(true, "another life")?;

    let used = settled.one("minipirack_memory_area_used_bytes", &[("area", "heap")])?;
    tell("fault add memory take=16M for=1m")?;
    let taken = |is: fn(f64) -> bool| {
        node.wait_for_metric("memory", PATIENCE, |metrics| {
            let more = metrics.one("minipirack_memory_area_used_bytes", &[("area", "heap")])? - used;
            Ok(is(more).then_some(more))
        })
    };
    taken(|more| more >= 16e6)?;
    end("memory take=16M for=1m")?;
    taken(|more| more < 8e6)?;

    type_in("fault add nic-off for=2s")?;
    node.console().wait_for(|line: &str| line.contains("net: link down"), PATIENCE)?;
    node.console().wait_for(|line: &str| line.contains("net: link up"), PATIENCE)?;
    wait::until("the network again", PATIENCE, || Ok(node::tcp_echo(node.tcp(7)?).ok()))?;

    type_in("fault add reset after=1s")?;
    node.console().wait_for(|line: &str| line.contains("begins, for 60000 ms: reset"), PATIENCE)?;
    node.console().wait_for(|line: &str| line.contains("booted in"), PATIENCE)?;
    Ok(())
}
