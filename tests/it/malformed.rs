//! Whatever comes from the network is counted, never fatal, and leaves nothing behind. On every NIC.

use std::io::{Read as _, Write as _};
use std::net::{Ipv6Addr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tests::frames::FrameSocket;
use tests::lab::{HOST, HOST_MAC, Lab, NODE, say};
use tests::malformed::{Malformer, Protocol, Random, http_request};
use tests::metrics::Metrics;
use tests::node::{self, PATIENCE, Rig};
use tests::packet::{self, ARP, BROADCAST, ICMP, IPV4};
use tests::{radv, wait};

/// Frames in all.
const FRAMES: usize = 100_000;
/// Frames between two signs of life: no more than the tap's queue (1,000) and the host's socket buffers hold.
const BURST: usize = 200;
/// Malformed requests over TCP.
const REQUESTS: usize = 200;
/// Connections of a flood, to each of two ports.
const FLOOD: u16 = 500;
/// How often the same work may be done until it leaves nothing behind any more.
const ROUNDS_MAX: u16 = 6;
/// Seconds that a node takes until all its tasks run.
const SETTLED_S: f64 = 5.0;
/// Seconds in which nothing changes on a node at rest.
const REST_S: f64 = 3.0;
/// Longest until half-open connections are given up and the node is as before.
const RECOVERY: Duration = Duration::from_secs(120);

/// The seed of a run: the same every time, or `MINIPIRACK_SEED`.
fn seed() -> Result<u64> {
    match std::env::var("MINIPIRACK_SEED") {
        Ok(text) => text.parse().with_context(|| format!("MINIPIRACK_SEED={text:?} is not a number")),
        Err(_) => Ok(20_261_122),
    }
}

#[test]
fn a_hundred_thousand_malformed_frames_leave_the_node_as_it_was() -> Result<()> {
    let Some(lab) = Lab::private("malformed frames")? else { return Ok(()) };
    let rig = Rig::boot_in(lab, "", |_| ())?;
    let seed = seed()?;
    let link_local = radv::eui64(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), node::MAC);
    let mut malformer = Malformer::new(seed, node::MAC, link_local);
    let mut frames = FrameSocket::open()?;
    let before = at_rest(&rig)?;
    let mut sent = 0;
    leaves_nothing(&rig, |_| {
        for burst in 0..FRAMES / 2 / BURST {
            for index in 0..BURST {
                frames.send(&malformer.frame(Protocol::ALL[index % Protocol::ALL.len()]));
            }
            sent += BURST;
            sign_of_life(&mut frames, burst as u16)
                .with_context(|| format!("after {sent} frames of seed {seed}; {}", rig.node.last_words()))?;
        }
        Ok(())
    })?;
    ensure!(node::ping(NODE, 5, 1400)? == 5, "ping afterwards");
    // Frames that the driver itself found fault with, or had no room for, came as well.
    let names = ["receive_packets", "receive_errs", "receive_drop"].map(|what| format!("node_network_{what}_total"));
    let since = |metrics: &Metrics, name: &String| metrics.sum(name, &[]) - before.sum(name, &[]);
    rig.node.wait_for_metric("all frames counted", PATIENCE, |now| {
        let received: f64 = names.iter().map(|name| since(now, name)).sum();
        Ok((received >= sent as f64).then_some(received))
    })?;
    let after = rig.node.metrics()?;
    let [received, faulty, dropped] = names.each_ref().map(|name| since(&after, name));
    let malformed = after.sum("minipirack_network_malformed_total", &[]);
    say(&format!(
        "malformed frames: {sent} sent (seed {seed}); {received} received, {faulty} with faults for the driver, \
         {dropped} dropped; {malformed} counted as malformed"
    ));
    ensure!(sent >= FRAMES && malformed >= sent as f64 / 10.0, "the node counted only {malformed} as malformed");
    Ok(())
}

/// Proves that the node has taken everything sent so far off the wire and still answers.
fn sign_of_life(frames: &mut FrameSocket, number: u16) -> Result<()> {
    // Malformed ARP may have taught the node a wrong address for the host: say the right one first.
    let arp = packet::ethernet(BROADCAST, HOST_MAC, ARP, &packet::arp_request(HOST_MAC, HOST, NODE));
    let echo = packet::ipv4(HOST, NODE, ICMP, &packet::icmp_echo_request(0x1234, number, b"alive?"));
    let echo = packet::ethernet(node::MAC, HOST_MAC, IPV4, &echo);
    wait::until("an answer to an ICMP echo request", PATIENCE, || {
        frames.send(&arp);
        frames.send(&echo);
        frames.receive(node::MAC, Duration::from_secs(2), |frame| {
            let is_ours = frame[12..14] == IPV4.to_be_bytes() && frame.get(34) == Some(&0);
            (is_ours && frame.get(38..42)? == [[0x12, 0x34], number.to_be_bytes()].concat()).then_some(())
        })
    })
}

#[test]
fn malformed_http_leaves_the_node_as_it_was() -> Result<()> {
    let rig = Rig::boot("")?;
    let seed = seed()?;
    let mut random = Random::new(seed);
    leaves_nothing(&rig, |_| send_requests(&rig, &mut random).with_context(|| format!("seed {seed}")))
}

fn send_requests(rig: &Rig, random: &mut Random) -> Result<()> {
    for number in 0..REQUESTS {
        let request = http_request(random);
        let mut stream = TcpStream::connect_timeout(&rig.node.tcp(80)?, PATIENCE)
            .with_context(|| format!("request {number}; {}", rig.node.last_words()))?;
        stream.set_read_timeout(Some(Duration::from_millis(if random.below(4) == 0 { 200 } else { 1 })))?;
        // The node may close while we still write: that is its right.
        let _ = stream.write_all(&request);
        let _ = stream.read(&mut [0; 2000]);
        if number % 50 == 0 {
            ensure!(rig.node.get("/")?.status == 200, "after request {number}");
        }
    }
    Ok(())
}

#[test]
fn a_syn_flood_passes() -> Result<()> {
    let Some(lab) = Lab::private("a SYN flood")? else { return Ok(()) };
    let rig = Rig::boot_in(lab, "", |_| ())?;
    let mut frames = FrameSocket::open()?;
    leaves_nothing(&rig, |round| {
        flood(&mut frames, round * FLOOD..(round + 1) * FLOOD)?;
        wait::until("a connection after the flood", RECOVERY, || Ok(node::tcp_echo(rig.node.tcp(7)?).ok()))
            .with_context(|| rig.node.last_words())
    })
}

/// Opens connections, by number, whose handshake will never be finished.
fn flood(frames: &mut FrameSocket, numbers: std::ops::Range<u16>) -> Result<()> {
    // From a station that does not exist and never answers.
    let ghost = std::net::Ipv4Addr::new(10, 77, 0, 200);
    let ghost_mac = [0x02, 0, 0, 0, 0, 200];
    frames.send(&packet::ethernet(BROADCAST, ghost_mac, ARP, &packet::arp_request(ghost_mac, ghost, NODE)));
    for number in numbers {
        for port in [7, 80] {
            let segment =
                packet::tcp((ghost, 10_000 + number), (NODE, port), (u32::from(number), 0), 2, &[2, 4, 5, 0xb4]);
            let packet = packet::ipv4(ghost, NODE, packet::TCP, &segment);
            frames.send(&packet::ethernet(node::MAC, ghost_mac, IPV4, &packet));
        }
        if usize::from(number) % BURST == 0 {
            sign_of_life(frames, number)?;
        }
    }
    Ok(())
}

/// Does `work` until it leaves the node's memory and connections as they were. Buffers that grow with the first such
/// work and stay are no leak; memory that is lost is lost every time.
fn leaves_nothing(rig: &Rig, mut work: impl FnMut(u16) -> Result<()>) -> Result<()> {
    let used = |metrics: &Metrics| metrics.sum("minipirack_memory_area_used_bytes", &[]);
    let mut history = vec![used(&at_rest(rig)?)];
    for round in 0..ROUNDS_MAX {
        work(round)?;
        let now = used(&at_rest(rig)?);
        let is_as_before = history.last().is_some_and(|before| now <= *before);
        history.push(now);
        if is_as_before && round > 0 {
            return Ok(());
        }
    }
    bail!("memory in use grows each time: {history:?} bytes")
}

/// Waits until nothing goes on on the node any more, and returns its figures.
fn at_rest(rig: &Rig) -> Result<Metrics> {
    let mut last: Option<Metrics> = None;
    wait::until("a node at rest", RECOVERY, || {
        // While connections that nobody uses are being given up, there may be none for us.
        let Ok(now) = rig.node.metrics() else { return Ok(None) };
        ensure!(now.sum("node_crashes_total", &[]) == 0.0, "the node crashed; {}", rig.node.last_words());
        let uptime = now.one("minipirack_uptime_seconds", &[])?;
        let Some(before) = &last else {
            last = (uptime > SETTLED_S).then_some(now);
            return Ok(None);
        };
        if uptime < before.one("minipirack_uptime_seconds", &[])? + REST_S {
            return Ok(None);
        }
        let same = |name: &str| now.sum(name, &[]) == before.sum(name, &[]);
        // The scrape itself is a connection.
        let is_at_rest = same("minipirack_memory_area_used_bytes") && now.sum("minipirack_tcp_connections", &[]) <= 1.0;
        last = Some(now.clone());
        Ok(is_at_rest.then_some(now))
    })
    .with_context(|| format!("the last figures were {last:#?}"))
}
