//! The node answers real clients.

use std::net::{Ipv6Addr, UdpSocket};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use tests::frames::FrameSocket;
use tests::lab::{HOST, Lab, NODE};
use tests::node::{self, PATIENCE, Rig, TestNode};
use tests::{radv, wait};

const LINK_LOCAL: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0);

#[test]
fn answers_arp_with_its_own_address() -> Result<()> {
    let Some(lab) = Lab::private("ARP")? else { return Ok(()) };
    let rig = Rig::boot_in(lab, "", |_| ())?;
    rig.lab.forget_neighbours()?;
    node::ping(NODE, 1, 56)?;
    ensure!(rig.lab.neighbour(&NODE.to_string())? == "52:54:00:12:34:56");
    Ok(())
}

#[test]
fn answers_ping_of_every_size_that_fits_a_frame() -> Result<()> {
    let Some(lab) = Lab::private("ping")? else { return Ok(()) };
    let rig = Rig::boot_in(lab, "", |_| ())?;
    // While it still takes addresses, a node forgets whom it has met, and an answer may be lost meanwhile.
    rig.node.settled_metrics()?;
    for payload_len in [0, 1, 8, 21, 22, 23, 56, 500, 1400, 1471, 1472] {
        let received = node::ping(NODE, 5, payload_len)?;
        ensure!(received == 5, "{received} of 5 pings with {payload_len} bytes were answered");
    }
    Ok(())
}

#[test]
fn answers_ping_over_ipv6_at_its_link_local_address() -> Result<()> {
    let Some(lab) = Lab::private("ping over IPv6")? else { return Ok(()) };
    let rig = Rig::boot_in(lab, "", |_| ())?;
    let address = radv::eui64(LINK_LOCAL, node::MAC);
    rig.lab.forget_neighbours()?;
    wait::until("a first answer over IPv6", PATIENCE, || Ok((node::ping(address, 1, 56)? == 1).then_some(())))?;
    for payload_len in [56, 1452] {
        let received = node::ping(address, 5, payload_len)?;
        let counted = || {
            rig.node.metrics().map(|metrics| {
                metrics
                    .all("minipirack_events_total", &[])
                    .into_iter()
                    .filter(|event| event.value > 0.0)
                    .map(|event| format!("{event:?}"))
                    .collect::<Vec<_>>()
            })
        };
        ensure!(
            received == 5,
            "{received} of 5 pings with {payload_len} bytes were answered; the node counted {:?}, and says:\n{}",
            counted()?,
            rig.node.last_words()
        );
    }
    Ok(())
}

#[test]
fn makes_itself_an_address_in_an_advertised_prefix() -> Result<()> {
    let Some(lab) = Lab::private("SLAAC")? else { return Ok(()) };
    lab.add_address("fd77:2::1/64")?;
    let _rig = Rig::boot_in(lab, "", |_| ())?;
    let prefix = Ipv6Addr::new(0xfd77, 2, 0, 0, 0, 0, 0, 0);
    let router = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
    let address = radv::eui64(prefix, node::MAC);
    let mut frames = FrameSocket::open()?;
    wait::until("an answer at the SLAAC address", PATIENCE, || {
        frames.send(&radv::advertisement(router, prefix, 3600));
        Ok((node::ping(address, 1, 56)? == 1).then_some(()))
    })?;
    ensure!(node::ping(address, 5, 56)? == 5, "the SLAAC address does not stay");
    Ok(())
}

#[test]
fn asks_for_routers_when_it_comes_up() -> Result<()> {
    let Some(lab) = Lab::private("router solicitation")? else { return Ok(()) };
    let mut frames = FrameSocket::open()?;
    let _node = TestNode::start(&lab, "")?;
    // RFC 4861, section 4.1: ICMPv6 type 133 to all routers.
    let found = frames.receive(node::MAC, node::BOOT, |frame| {
        (frame[12..14] == [0x86, 0xdd] && frame.get(20) == Some(&58) && frame.get(54) == Some(&133)).then_some(())
    })?;
    found.context("no router solicitation was received")
}

#[test]
fn is_reached_through_a_usb_hub() -> Result<()> {
    let lab = Lab::new()?;
    let rig =
        Rig::boot_in(lab, "", |config| config.nic = Some(qemu::UsbNet { behind_hub: true, ..Default::default() }))?;
    // 0409:55aa: hw/usb/dev-hub.c.
    ensure!(rig.node.console().lines().iter().any(|line| line.contains("0409:55aa")), "no hub on the console");
    node::udp_echo(rig.node.udp(7)?, &[0x5a; 1472])?;
    ensure!(rig.node.get("/")?.status == 200);
    Ok(())
}

#[test]
fn a_port_without_a_service_refuses() -> Result<()> {
    let Some(lab) = Lab::private("refused connections")? else { return Ok(()) };
    let rig = Rig::boot_in(lab, "", |_| ())?;
    let refused = std::net::TcpStream::connect_timeout(&rig.node.tcp(4444)?, PATIENCE);
    ensure!(refused.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused), "no TCP reset");
    let socket = UdpSocket::bind((HOST, 0))?;
    socket.connect((NODE, 4444))?;
    socket.set_read_timeout(Some(Duration::from_secs(1)))?;
    wait::until("an ICMP port unreachable", PATIENCE, || {
        // The ICMP error is reported by whichever call comes after it.
        let sent = socket.send(b"anybody?");
        let errors = [sent.err(), socket.recv(&mut [0; 10]).err()];
        let kinds: Vec<_> = errors.iter().flatten().map(std::io::Error::kind).collect();
        Ok(kinds.contains(&std::io::ErrorKind::ConnectionRefused).then_some(()))
    })
}

#[test]
fn curl_reads_both_pages() -> Result<()> {
    let rig = Rig::boot("")?;
    let Ok(version) = Command::new("curl").arg("--version").output() else {
        tests::lab::say("NOT TESTED (needs the package curl): curl reads both pages");
        return Ok(());
    };
    ensure!(version.status.success());
    let address = rig.node.tcp(80)?;
    for path in ["/", "/metrics"] {
        let url = format!("http://{address}{path}");
        let output = Command::new("curl").args(["-sS", "--fail", "--max-time", "10", &url]).output()?;
        ensure!(output.status.success(), "{url}: {}", String::from_utf8_lossy(&output.stderr));
        ensure!(output.stdout.len() > 100, "{url}: only {} bytes", output.stdout.len());
    }
    Ok(())
}
