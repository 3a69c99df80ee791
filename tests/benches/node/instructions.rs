//! How many instructions a frame costs the node: independent of the machine that QEMU runs on.
//!
//! With `-icount shift=0`, an instruction takes exactly one nanosecond of virtual time, so the time that core 0 is awake
//! *is* the number of its instructions. It is read from the node's own counter of core 0.

use std::net::{Ipv4Addr, UdpSocket};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use qemu::config::{NicKind, UsbNet};
use tests::lab::Lab;
use tests::node::{PATIENCE, Rig};
use tests::wait;

use crate::report::{Goal, Report, median};

const WINDOWS: u64 = 340;
const ROUNDS: usize = 3;
/// UDP payload of a frame with 1,500 bytes of Ethernet payload.
const DATAGRAM: usize = 1472;
/// Frames on their way at a time: as many as the smallest NIC has room for (LAN7800: 12 KiB).
pub(crate) const WINDOW: u64 = 6;
pub(crate) const FRAMES: u64 = WINDOWS * WINDOW;

pub(crate) fn per_frame(report: &mut Report) -> Result<()> {
    for (kind, command_line, names) in [
        (NicKind::UsbNet, "usbnet=rndis", ["instructions per received 1,500 B frame, RNDIS", "  per sent"]),
        (NicKind::UsbNet, "usbnet=ecm", ["instructions per received 1,500 B frame, CDC-ECM", "  per sent"]),
        (NicKind::Lan9514, "", ["instructions per received 1,500 B frame, LAN9514", "  per sent"]),
        (NicKind::Lan7800, "", ["instructions per received 1,500 B frame, LAN7800", "  per sent"]),
    ] {
        let rig = Rig::boot_in(Lab::new()?, command_line, |config| {
            // Idle time passes as on the wall, so that time-outs towards real clients stay what they are.
            config.extra.extend(["-icount".into(), "shift=0,sleep=on".into()]);
            config.nic = config.nic.take().map(|nic| UsbNet { kind, ..nic });
        })?;
        let received = (0..ROUNDS).map(|_| cost(&rig, 9)).collect::<Result<Vec<_>>>()?;
        let echoed = (0..ROUNDS).map(|_| cost(&rig, 7)).collect::<Result<Vec<_>>>()?;
        let received = median(received);
        report.add(names[0], "", received, Goal::None, "");
        report.add(names[1], "", median(echoed) - received, Goal::None, "");
    }
    Ok(())
}

/// Returns core 0's instructions per datagram to a service, without what the measurement itself and idling cost.
fn cost(rig: &Rig, port: u16) -> Result<f64> {
    let (idle, _) = awake_s(rig, || send_windows(rig, port, 0))?;
    let (busy, frames) = awake_s(rig, || send_windows(rig, port, WINDOW))?;
    ensure!(frames >= FRAMES as f64, "only {frames} of {FRAMES} frames arrived");
    Ok((busy - idle) * 1e9 / FRAMES as f64)
}

/// Returns how long core 0 was awake while `work` was done, and how many frames it received.
fn awake_s(rig: &Rig, work: impl FnOnce() -> Result<()>) -> Result<(f64, f64)> {
    let read = || -> Result<(f64, f64)> {
        let metrics = rig.node.fresh_metrics()?;
        let awake = metrics.sum("node_cpu_seconds_total", &[("cpu", "0")])
            - metrics.one("node_cpu_seconds_total", &[("cpu", "0"), ("mode", "idle")])?;
        Ok((awake, metrics.sum("node_network_receive_packets_total", &[])))
    };
    let before = read()?;
    work()?;
    let after = read()?;
    Ok((after.0 - before.0, after.1 - before.1))
}

/// Sends windows of datagrams to a service, never more than one ahead of what the node has received: none is lost.
pub(crate) fn send_windows(rig: &Rig, port: u16, window: u64) -> Result<()> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.set_read_timeout(Some(Duration::from_secs(5)))?;
    let data = [0x33; DATAGRAM];
    // A datagram of one byte to the echo service follows each window and tells when the node has got that far.
    let mark = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    mark.connect(rig.node.udp(7)?)?;
    mark.set_read_timeout(Some(Duration::from_millis(500)))?;
    for _ in 0..WINDOWS {
        for _ in 0..window {
            socket.send_to(&data, rig.node.udp(port)?).context("sending")?;
        }
        wait::until("the end of a window", PATIENCE, || {
            mark.send(b"m")?;
            Ok(mark.recv(&mut [0; 10]).ok())
        })?;
        if port == 7 {
            for _ in 0..window {
                socket.recv(&mut [0; 2000]).context("an echo was lost")?;
            }
        }
    }
    Ok(())
}
