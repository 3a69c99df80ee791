//! Who the node is, how its hardware is, its network, and its certificate.

use core::fmt;

use super::sample::write_validity;
use super::writer::{ITEM, Json};
use super::Answered;
use crate::certificate::Stage;
use crate::health::Reason;
use crate::net_info::Link;
use crate::sample::Clock;
use crate::snapshot::Snapshot;

/// Writes who the node is.
pub(super) fn write(s: &Snapshot<'_>, out: &mut Json<'_>) -> Answered {
    let node = s.node;
    out.open(ITEM, '{')?;
    out.text("name", &node.name)?;
    out.text("board", &node.board)?;
    out.text("soc", &node.soc)?;
    out.shown("revision", &format_args!("{:06x}", node.revision))?;
    out.shown("serial", &node.serial())?;
    out.text("version", node.version)?;
    out.text("build", node.build)?;
    out.flag("emulated", Some(node.is_emulated))?;
    out.flag("read_only", Some(node.access.is_read_only()))?;
    out.shown("access", &node.access)?;
    out.number("uptime_us", s.sample.at_us)?;
    out.optional("unix_us", s.sample.unix_us)?;
    out.optional("boot_unix_us", s.sample.boot_unix_us())?;
    out.optional("clock_error_us", s.sample.clock_error_us)?;
    out.number("boots", s.past.boots.into())?;
    out.text("last_reset", &s.past.reset)?;
    out.number("crashes", s.crash_count())?;
    out.close('}')?;
    Ok(None)
}

/// Writes how the hardware is.
pub(super) fn write_health(s: &Snapshot<'_>, out: &mut Json<'_>) -> Answered {
    let health = s.sample.health;
    out.open(ITEM, '{')?;
    out.number("at_us", s.sample.at_us)?;
    write_validity(health, out)?;
    out.open("conditions", '[')?;
    for reason in Reason::ALL {
        let is_known = health.known.has(reason);
        out.open(ITEM, '{')?;
        out.text("reason", reason.name())?;
        out.flag("now", is_known.then(|| health.sick.has(reason)))?;
        out.flag("since_boot", is_known.then(|| s.health.count(reason) > 0))?;
        out.number("sick_samples", s.health.count(reason))?;
        out.optional("last_us", s.health.last_us(reason))?;
        out.close('}')?;
    }
    out.close(']')?;
    match s.sample.temperature_mc {
        Some(mc) => out.raw("temperature_millicelsius", &mc)?,
        None => out.null("temperature_millicelsius")?,
    }
    out.optional("arm_clock_hz", s.sample.clock_hz(Clock::Arm).map(u64::from))?;
    out.flag("link_up", Some(s.net.link.is_up()))?;
    out.close('}')?;
    Ok(None)
}

/// Writes the state of the network.
pub(super) fn write_network(s: &Snapshot<'_>, out: &mut Json<'_>) -> Answered {
    let net = s.net;
    out.open(ITEM, '{')?;
    out.text("device", net.device)?;
    out.text("driver", net.driver.unwrap_or("none"))?;
    out.shown("mac", &net.mac())?;
    let (speed, duplex) = match net.link {
        Link::Up { speed_mbps, is_full_duplex } => (speed_mbps, is_full_duplex),
        _ => (None, None),
    };
    out.flag("link_up", Some(net.link.is_up()))?;
    out.optional("link_bits_per_second", speed.map(|mbps| u64::from(mbps) * 1_000_000))?;
    out.flag("link_full_duplex", duplex)?;
    out.number("mtu_bytes", net.mtu.into())?;
    out.open("addresses", '[')?;
    if let Some(ipv4) = &net.ipv4 {
        write_address(&format_args!("{}/{}", ipv4.address, ipv4.prefix_len), &ipv4.source, out)?;
    }
    for (address, prefix_len) in &net.ipv6 {
        let source = if address.is_unicast_link_local() { "link-local" } else { "slaac" };
        write_address(&format_args!("{address}/{prefix_len}"), &source, out)?;
    }
    out.close(']')?;
    match net.ipv4.and_then(|ipv4| ipv4.gateway) {
        Some(gateway) => out.shown("gateway", &gateway)?,
        None => out.null("gateway")?,
    }
    out.open("dns", '[')?;
    net.dns.iter().try_for_each(|server| out.shown(ITEM, server))?;
    out.close(']')?;
    match &net.lease {
        Some(lease) => {
            out.shown("dhcp_server", &lease.server)?;
            out.number("lease_left_seconds", lease.left_s(s.sample.at_us))?;
        }
        None => {
            out.null("dhcp_server")?;
            out.null("lease_left_seconds")?;
        }
    }
    out.number("tcp_connections", net.tcp_connections.into())?;
    for (key, counts) in [("malformed", s.malformed), ("events", s.events)] {
        out.open(key, '{')?;
        counts.iter().try_for_each(|counted| out.number(counted.what, counted.count))?;
        out.close('}')?;
    }
    out.close('}')?;
    Ok(None)
}

fn write_address(address: &dyn fmt::Display, source: &dyn fmt::Display, out: &mut Json<'_>) -> fmt::Result {
    out.open(ITEM, '{')?;
    out.shown("address", address)?;
    out.shown("source", source)?;
    out.close('}')
}

/// Writes what the last acceptance test of the board has found.
pub(super) fn write_certificate(s: &Snapshot<'_>, out: &mut Json<'_>) -> Answered {
    let Some(certificate) = s.certificate else {
        out.null(ITEM)?;
        return Ok(None);
    };
    out.open(ITEM, '{')?;
    out.text("verdict", certificate.verdict().name())?;
    out.text(
        "stage",
        match certificate.stage {
            Stage::Running => "running",
            Stage::Stopped => "stopped",
            Stage::Done => "done",
        },
    )?;
    out.number("started_us", certificate.started_us)?;
    out.optional("started_unix_us", certificate.started_unix_us)?;
    out.number("asked_us", certificate.asked_us)?;
    out.number("ran_us", certificate.ran_us)?;
    out.open("findings", '[')?;
    for (subject, finding) in certificate.findings() {
        out.open(ITEM, '{')?;
        out.text("check", subject.name())?;
        out.text("outcome", finding.outcome.name())?;
        out.text("reason", &finding.reason)?;
        out.close('}')?;
    }
    out.close(']')?;
    out.close('}')?;
    Ok(None)
}
