//! The network as its clients see it.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tests::frames::FrameSocket;
use tests::http::HttpClient;
use tests::node::{PATIENCE, Rig};
use tests::{ping, wait};

use crate::report::{Goal, Report, median, percentile};

pub(crate) const PINGS: u16 = 1000;
const ROUNDS: usize = 3;
/// Length of one throughput measurement.
const SPAN: Duration = Duration::from_secs(3);
/// Rates tried for UDP, in Mbit/s of payload.
const RATES: [u64; 8] = [5, 10, 20, 30, 40, 50, 60, 80];
/// The largest UDP payload in an Ethernet frame.
const DATAGRAM: usize = 1472;

pub(crate) fn ping(report: &mut Report) -> Result<()> {
    let _rig = Rig::boot("")?;
    let mut small = round_trips(56)?;
    report.add("ping 56 B, p50", "ms", percentile(&mut small, 50), Goal::AtMost(1.0), "1.9");
    report.add("ping 56 B, p99", "ms", percentile(&mut small, 99), Goal::None, "2.1");
    let mut large = round_trips(1400)?;
    report.add("ping 1,400 B, p50", "ms", percentile(&mut large, 50), Goal::AtMost(2.0), "10");
    report.add("ping 1,400 B, p99", "ms", percentile(&mut large, 99), Goal::None, "");
    Ok(())
}

/// Returns the round-trip times in ms.
pub(crate) fn round_trips(payload_len: usize) -> Result<Vec<f64>> {
    let times = ping::round_trips(&mut FrameSocket::open()?, PINGS, payload_len)?;
    Ok(times.into_iter().map(|time| time.as_secs_f64() * 1e3).collect())
}

pub(crate) fn tcp(report: &mut Report) -> Result<()> {
    for (protocol, names) in [
        ("ecm", ["TCP in, CDC-ECM", "TCP out, CDC-ECM"]),
        ("rndis", ["TCP in, RNDIS", "TCP out, RNDIS"]),
        ("", ["TCP in, by default", "TCP out, by default"]),
    ] {
        let option = if protocol.is_empty() { String::new() } else { format!("usbnet={protocol}") };
        let rig = Rig::boot(&option)?;
        let into = (0..ROUNDS).map(|_| tcp_in(&rig, SPAN)).collect::<Result<Vec<_>>>()?;
        let out = (0..ROUNDS).map(|_| tcp_out(&rig, SPAN)).collect::<Result<Vec<_>>>()?;
        let (goal_in, goal_out) = match protocol {
            "" => (Goal::AtLeast(135.0), Goal::AtLeast(84.0)),
            _ => (Goal::None, Goal::None),
        };
        report.add(names[0], "Mbit/s", median(into), goal_in, if protocol == "ecm" { "1.9" } else { "45" });
        report.add(names[1], "Mbit/s", median(out), goal_out, if protocol == "ecm" { "1.0" } else { "42" });
    }
    Ok(())
}

/// Sends to the discard service; returns Mbit/s.
pub(crate) fn tcp_in(rig: &Rig, span: Duration) -> Result<f64> {
    let mut stream = TcpStream::connect_timeout(&rig.node.tcp(9)?, PATIENCE)?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let block = vec![0x55; 1 << 16];
    let (start, mut bytes) = (Instant::now(), 0);
    while start.elapsed() < span {
        stream.write_all(&block).context("sending")?;
        bytes += block.len();
    }
    // The node closes when it has taken everything.
    stream.shutdown(Shutdown::Write)?;
    stream.read_to_end(&mut Vec::new()).context("waiting for the end")?;
    Ok(bytes as f64 * 8e-6 / start.elapsed().as_secs_f64())
}

/// Receives from the chargen service; returns Mbit/s.
pub(crate) fn tcp_out(rig: &Rig, span: Duration) -> Result<f64> {
    let mut stream = TcpStream::connect_timeout(&rig.node.tcp(19)?, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut block = vec![0; 1 << 16];
    let (start, mut bytes) = (Instant::now(), 0);
    while start.elapsed() < span {
        match stream.read(&mut block).context("receiving")? {
            0 => bail!("the node closed after {bytes} bytes"),
            len => bytes += len,
        }
    }
    Ok(bytes as f64 * 8e-6 / start.elapsed().as_secs_f64())
}

pub(crate) fn udp(report: &mut Report) -> Result<()> {
    let rig = Rig::boot("")?;
    let fastest = |lossless: &dyn Fn(u64) -> Result<bool>| -> Result<f64> {
        let mut best = 0;
        for rate in RATES {
            if !lossless(rate)? {
                break;
            }
            best = rate;
        }
        Ok(best as f64)
    };
    let into = fastest(&|rate| udp_in_is_lossless(&rig, rate))?;
    report.add("UDP 1,472 B in, without loss", "Mbit/s", into, Goal::AtLeast(40.0), "20");
    let both = fastest(&|rate| udp_echo_is_lossless(&rig, rate))?;
    report.add("UDP 1,472 B both ways at once, without loss", "Mbit/s", both, Goal::AtLeast(40.0), "");
    Ok(())
}

/// Sends datagrams at an even rate; returns how many.
fn send_evenly(socket: &UdpSocket, rate_mbps: u64) -> Result<u64> {
    let gap = Duration::from_nanos(DATAGRAM as u64 * 8 * 1000 / rate_mbps);
    let data = [0x66; DATAGRAM];
    let (start, mut sent) = (Instant::now(), 0_u64);
    while start.elapsed() < SPAN {
        // Catches up after a late wake-up, but by a few frames only.
        let due = (start.elapsed().as_nanos() / gap.as_nanos()) as u64;
        for _ in 0..due.saturating_sub(sent).min(8) {
            socket.send(&data).context("sending")?;
            sent += 1;
        }
        std::thread::sleep(gap.min(Duration::from_micros(500)));
    }
    Ok(sent)
}

fn udp_in_is_lossless(rig: &Rig, rate_mbps: u64) -> Result<bool> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.connect(rig.node.udp(9)?)?;
    let received =
        || -> Result<f64> { rig.node.fresh_metrics()?.one("minipirack_events_total", &[("event", "udp_received")]) };
    let before = received()?;
    let sent = send_evenly(&socket, rate_mbps)?;
    let received = (received()? - before) as u64;
    Ok(received >= sent)
}

fn udp_echo_is_lossless(rig: &Rig, rate_mbps: u64) -> Result<bool> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.connect(rig.node.udp(7)?)?;
    socket.set_read_timeout(Some(Duration::from_millis(500)))?;
    let receiver = socket.try_clone()?;
    let counter = std::thread::spawn(move || {
        let mut buffer = [0; 2000];
        let mut received = 0_u64;
        while receiver.recv(&mut buffer).is_ok() {
            received += 1;
        }
        received
    });
    let sent = send_evenly(&socket, rate_mbps)?;
    let received = counter.join().map_err(|_| anyhow::anyhow!("the receiver panicked"))?;
    Ok(received >= sent)
}

pub(crate) fn http(report: &mut Report) -> Result<()> {
    let rig = Rig::boot("")?;
    for (name, path, connections, goal, linux) in [
        ("HTTP / on 1 connection", "/", 1, Goal::AtLeast(900.0), "314"),
        ("HTTP / on 8 connections", "/", 8, Goal::AtLeast(1500.0), "480"),
        ("HTTP /metrics on 1 connection", "/metrics", 1, Goal::None, ""),
    ] {
        let rounds = (0..ROUNDS).map(|_| requests_per_second(&rig, path, connections)).collect::<Result<Vec<_>>>()?;
        report.add(name, "1/s", median(rounds), goal, linux);
    }
    Ok(())
}

fn requests_per_second(rig: &Rig, path: &'static str, connections: usize) -> Result<f64> {
    let address = rig.node.tcp(80)?;
    let start = Instant::now();
    let clients: Vec<_> = (0..connections)
        .map(|_| {
            std::thread::spawn(move || -> Result<u64> {
                // A connection of the last round may still be closing on the node, which has a limited number.
                let connect = || Ok(HttpClient::connect(address).ok());
                let mut client = wait::until("a connection", PATIENCE, connect)?;
                let mut requests = 0;
                while start.elapsed() < SPAN {
                    if client.get(path)?.status != 200 {
                        bail!("{path} was refused");
                    }
                    requests += 1;
                }
                Ok(requests)
            })
        })
        .collect();
    let mut requests = 0;
    for client in clients {
        requests += client.join().map_err(|_| anyhow::anyhow!("a client panicked"))??;
    }
    Ok(requests as f64 / start.elapsed().as_secs_f64())
}
