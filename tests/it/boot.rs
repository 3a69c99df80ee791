//! A node comes up, every time.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use tests::dhcp::{DhcpServer, Kind, Policy};
use tests::frames::FrameSocket;
use tests::lab::{HOST, HOST_MAC, Lab, NODE, say};
use tests::node::{self, BOOT, PATIENCE, Rig, TestNode};
use tests::packet::{self, ARP, BROADCAST, ICMP, IPV4};
use tests::wait;

const BOOTS: usize = 20;

#[test]
fn comes_up_and_gets_its_address_in_20_boots_of_20() -> Result<()> {
    let lab = Lab::new()?;
    if lab.wire() == tests::lab::Wire::User {
        for boot in 1..=BOOTS {
            TestNode::start(&lab, "")?.wait_until_up().with_context(|| format!("boot {boot} of {BOOTS}"))?;
        }
        say(&format!("boots: {BOOTS} of {BOOTS}, by an echo through a forwarded port"));
        return Ok(());
    }
    let mut times = Vec::new();
    let mut failures = Vec::new();
    for boot in 1..=BOOTS {
        match boot_once(&lab) {
            Ok(time) => times.push(time),
            Err(error) => failures.push(format!("boot {boot}: {error:#}")),
        }
    }
    times.sort();
    let median = times.get(times.len() / 2).copied().unwrap_or_default();
    say(&format!(
        "boots: {} of {BOOTS} by DHCP, ARP and ICMP that were received; start of QEMU to DHCPREQUEST {:.2} s (median)",
        times.len(),
        median.as_secs_f64()
    ));
    ensure!(failures.is_empty(), "{}", failures.join("\n"));
    Ok(())
}

/// Boots a node, and returns how long it took until its DHCPREQUEST arrived.
fn boot_once(lab: &Lab) -> Result<Duration> {
    let dhcp = DhcpServer::start(Policy::default())?;
    lab.forget_neighbours()?;
    let start = Instant::now();
    let node = TestNode::start(lab, "")?;
    dhcp.wait_for("a DHCPDISCOVER", 0, BOOT, |message| message.kind == Kind::Discover && message.mac == node::MAC)
        .with_context(|| node.last_words())?;
    let request = dhcp
        .wait_for("a DHCPREQUEST", 0, BOOT, |message| message.kind == Kind::Request && message.wants == Some(NODE))
        .with_context(|| node.last_words())?;
    let (arp, icmp) = answers(PATIENCE).with_context(|| node.last_words())?;
    ensure!(arp && icmp, "ARP reply: {arp}, ICMP echo reply: {icmp}");
    Ok(request.at.duration_since(start))
}

/// Sends ARP and ICMP echo requests as frames until both were answered.
fn answers(deadline: Duration) -> Result<(bool, bool)> {
    let mut frames = FrameSocket::open()?;
    let arp = packet::ethernet(BROADCAST, HOST_MAC, ARP, &packet::arp_request(HOST_MAC, HOST, NODE));
    let echo = packet::ipv4(HOST, NODE, ICMP, &packet::icmp_echo_request(0x7777, 1, b"minipirack"));
    let echo = packet::ethernet(node::MAC, HOST_MAC, IPV4, &echo);
    let (mut has_arp, mut has_icmp) = (false, false);
    wait::until("an ARP reply and an ICMP echo reply", deadline, || {
        frames.send(&arp);
        frames.send(&echo);
        frames.receive(node::MAC, Duration::from_millis(300), |frame| {
            has_arp |= frame[12..14] == ARP.to_be_bytes()
                && frame.get(20..22) == Some(&[0, 2])
                && frame.get(28..32) == Some(&NODE.octets());
            has_icmp |= frame[12..14] == IPV4.to_be_bytes()
                && frame.get(34) == Some(&0)
                && frame.get(42..52) == Some(&b"minipirack"[..]);
            (has_arp && has_icmp).then_some(())
        })
    })?;
    Ok((has_arp, has_icmp))
}

#[test]
fn a_static_address_on_the_command_line_is_used_without_dhcp() -> Result<()> {
    let Some(lab) = Lab::private("a static address")? else { return Ok(()) };
    let dhcp = DhcpServer::start(Policy::default())?;
    let mut node = TestNode::start(&lab, &format!("ip=10.77.0.99/24,{HOST}"))?;
    node.set_address(Ipv4Addr::new(10, 77, 0, 99));
    node.wait_until_up()?;
    ensure!(node::ping(Ipv4Addr::new(10, 77, 0, 99), 3, 56)? == 3, "ping of the static address");
    ensure!(dhcp.received().is_empty(), "asked for an address all the same: {:?}", dhcp.received());
    Ok(())
}

#[test]
fn bad_keys_of_the_command_line_are_named_on_the_console_and_ignored() -> Result<()> {
    let rig = Rig::boot("colour=blue ip=300.1.2.3 name=pi-test workload=sing log=info")?;
    for wanted in ["colour=blue ignored", "ip=300.1.2.3 ignored", "workload=sing ignored"] {
        let lines = rig.node.console().lines();
        if !lines.iter().any(|line| line.contains(wanted)) {
            bail!("{wanted:?} is not on the console:\n{}", lines.join("\n"));
        }
    }
    // It came up by DHCP, which a bad `ip=` falls back to, and took the keys that were right.
    page_names(&rig, "pi-test")
}

/// Waits until the status page, which shows the last second's sample, tells a name.
fn page_names(rig: &Rig, name: &str) -> Result<()> {
    wait::until(&format!("{name} on the status page"), PATIENCE, || {
        Ok(rig.node.get("/")?.text().contains(name).then_some(()))
    })
}

#[test]
fn without_a_command_line_the_name_comes_from_the_nic() -> Result<()> {
    let rig = Rig::boot("")?;
    page_names(&rig, node::NAME)?;
    if let Some(dhcp) = &rig.dhcp {
        let names: Vec<_> = dhcp.received().iter().map(|message| message.host_name.clone()).collect();
        ensure!(names.iter().all(|name| name.as_deref() == Some(node::NAME)), "names in DHCP: {names:?}");
    }
    Ok(())
}
