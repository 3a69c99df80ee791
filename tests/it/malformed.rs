//! Whatever comes from the network is counted, never fatal, and leaves nothing behind.

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
const REQUESTS: usize = 300;
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
    let mut send = |count: usize| -> Result<()> {
        for burst in 0..count / BURST {
            for index in 0..BURST {
                frames.send(&malformer.frame(Protocol::ALL[index % Protocol::ALL.len()]));
            }
            sign_of_life(&mut frames, burst as u16).with_context(|| {
                format!("after {} frames of seed {seed}; {}", (burst + 1) * BURST, rig.node.last_words())
            })?;
        }
        Ok(())
    };
    // Buffers that grow once and stay are no leak: they have grown when the count begins.
    send(FRAMES / 10)?;
    let before = at_rest(&rig)?;
    send(FRAMES)?;
    rig.node.wait_until_up()?;
    ensure!(node::ping(NODE, 5, 1400)? == 5, "ping afterwards");
    // Frames that the driver itself found fault with, or had no room for, came as well.
    let names = ["receive_packets", "receive_errs", "receive_drop"].map(|what| format!("node_network_{what}_total"));
    let since = |metrics: &Metrics, name: &String| metrics.sum(name, &[]) - before.sum(name, &[]);
    rig.node.wait_for_metric("all frames counted", PATIENCE, |now| {
        let received: f64 = names.iter().map(|name| since(now, name)).sum();
        Ok((received >= FRAMES as f64).then_some(received))
    })?;
    let after = rig.node.metrics()?;
    let [received, faulty, dropped] = names.each_ref().map(|name| since(&after, name));
    let malformed = after.sum("minipirack_network_malformed_total", &[]);
    say(&format!(
        "malformed frames: {FRAMES} sent (seed {seed}); {received} received, {faulty} with faults for the driver, \
         {dropped} dropped; {malformed} counted as malformed"
    ));
    ensure!(malformed >= FRAMES as f64 / 10.0, "the node counted only {malformed} as malformed");
    is_as_before(&rig, &before)
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
    send_requests(&rig, &mut random, REQUESTS / 3).with_context(|| format!("seed {seed}"))?;
    let before = at_rest(&rig)?;
    send_requests(&rig, &mut random, REQUESTS).with_context(|| format!("seed {seed}"))?;
    is_as_before(&rig, &before)
}

fn send_requests(rig: &Rig, random: &mut Random, count: usize) -> Result<()> {
    for number in 0..count {
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
    flood(&mut frames, 1..500)?;
    wait::until("a connection after a first flood", RECOVERY, || Ok(node::tcp_echo(rig.node.tcp(7)?).ok()))?;
    let before = at_rest(&rig)?;
    flood(&mut frames, 500..1500)?;
    wait::until("a connection after the flood", RECOVERY, || Ok(node::tcp_echo(rig.node.tcp(7)?).ok()))
        .with_context(|| rig.node.last_words())?;
    is_as_before(&rig, &before)
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

/// Waits until nothing goes on on the node any more, and returns its figures.
fn at_rest(rig: &Rig) -> Result<Metrics> {
    let mut last: Option<Metrics> = None;
    wait::until("a node at rest", RECOVERY, || {
        let now = rig.node.settled_metrics()?;
        let Some(before) = &last else {
            last = Some(now);
            return Ok(None);
        };
        let uptime = "minipirack_uptime_seconds";
        if now.one(uptime, &[])? < before.one(uptime, &[])? + REST_S {
            return Ok(None);
        }
        let same = |name: &str| now.sum(name, &[]) == before.sum(name, &[]);
        let is_at_rest = same("minipirack_memory_area_used_bytes")
            && same("minipirack_tcp_connections")
            && now.sum("minipirack_tcp_connections", &[]) <= 1.0;
        last = Some(now.clone());
        Ok(is_at_rest.then_some(now))
    })
}

/// Waits until memory and connections of the node are what they were, but for a little that may be kept for good.
fn is_as_before(rig: &Rig, before: &Metrics) -> Result<()> {
    const SLACK_BYTES: f64 = 4096.0;
    let areas = before.all("minipirack_memory_area_used_bytes", &[]);
    ensure!(!areas.is_empty(), "the node does not tell its memory in use");
    let crashes = before.sum("node_crashes_total", &[]);
    let mut last = String::new();
    wait::until("memory and connections as before", RECOVERY, || {
        let now = rig.node.metrics()?;
        if now.sum("node_crashes_total", &[]) > crashes {
            bail!("the node crashed; {}", rig.node.last_words());
        }
        last.clear();
        for area in &areas {
            let labels: Vec<_> = area.labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            let used = now.one(&area.name, &labels)?;
            if used > area.value + SLACK_BYTES {
                last += &format!("{labels:?}: {used} bytes, {} before\n", area.value);
            }
        }
        // The scrape itself is a connection.
        let (open, open_before) =
            (now.sum("minipirack_tcp_connections", &[]), before.sum("minipirack_tcp_connections", &[]));
        if open > open_before.max(1.0) {
            last += &format!("{open} connections, {open_before} before\n");
        }
        Ok(last.is_empty().then_some(()))
    })
    .with_context(|| last.clone())
}
