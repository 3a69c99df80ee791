//! `net`: the network interface, its addresses and what came through it.

use core::fmt::{self, Write};

use telemetry::Snapshot;
use telemetry::units::Si;

use super::{Command, Next, look, never, offer_nothing};

pub(super) const COMMAND: Command = Command {
    name: "net",
    usage: &[""],
    help: "shows the network interface, its addresses and its counters",
    changes: never,
    run: |arguments, node, out| {
        arguments.end()?;
        look(node, |snapshot| write_net(snapshot, out))?;
        node.write_net_details(out)?;
        Ok(Next::Prompt)
    },
    offer: offer_nothing,
};

fn write_net(s: &Snapshot<'_>, out: &mut dyn Write) -> fmt::Result {
    let (net, nic) = (s.net, &s.sample.nic);
    writeln!(out, "{}      {} link {}, mtu {}", net.device, net.driver.unwrap_or("no driver"), net.link, net.mtu)?;
    writeln!(out, "mac       {}", net.mac())?;
    match &net.ipv4 {
        Some(ipv4) => {
            write!(out, "ipv4      {}/{} ({})", ipv4.address, ipv4.prefix_len, ipv4.source)?;
            if let Some(gateway) = ipv4.gateway {
                write!(out, " via {gateway}")?;
            }
            out.write_str("\n")?;
        }
        None => writeln!(out, "ipv4      none")?,
    }
    if let Some(lease) = &net.lease {
        writeln!(out, "lease     {} s left, from {}", lease.left_s(s.sample.at_us), lease.server)?;
    }
    for (address, prefix_len) in &net.ipv6 {
        writeln!(out, "ipv6      {address}/{prefix_len}")?;
    }
    for server in &net.dns {
        writeln!(out, "dns       {server}")?;
    }
    let bits = |bytes: u64| Si(bytes.saturating_mul(8));
    let rates = s.history.rates().unwrap_or_default();
    writeln!(
        out,
        "received  {} frames {}B, {} errors, {} dropped, now {}bit/s",
        nic.rx_frames,
        Si(nic.rx_bytes),
        nic.rx_errors,
        nic.rx_dropped,
        bits(rates.rx_bytes)
    )?;
    writeln!(
        out,
        "sent      {} frames {}B, {} errors, {} dropped, now {}bit/s",
        nic.tx_frames,
        Si(nic.tx_bytes),
        nic.tx_errors,
        nic.tx_dropped,
        bits(rates.tx_bytes)
    )?;
    writeln!(out, "link      changed {} times, controller restarted {} times", nic.carrier_changes, nic.restarts)?;
    writeln!(out, "tcp       {} connections", net.tcp_connections)?;
    out.write_str("malformed")?;
    let mut is_any = false;
    for counted in s.malformed.iter().filter(|counted| counted.count > 0) {
        write!(out, " {} {}", counted.what, counted.count)?;
        is_any = true;
    }
    out.write_str(if is_any { "\n" } else { " none\n" })
}
