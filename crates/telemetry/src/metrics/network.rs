//! The network interface and what came through it.

use core::fmt;

use super::Kind::{Counter, Gauge};
use super::Label::{Shown, Text};
use super::Unit::{Bytes, Count, Seconds};
use super::{Metric, Names, Output, Value, metric};
use crate::net_info::Link;
use crate::sample::NicCounts;
use crate::snapshot::Snapshot;

/// Metrics of this subject.
pub(super) const METRICS: &[Metric] = &[
    device_counter("node_network_receive_bytes_total", Bytes, "Network device statistic receive_bytes.", |s, out| {
        device(s, out, |nic| nic.rx_bytes)
    }),
    device_counter(
        "node_network_receive_packets_total",
        Count,
        "Network device statistic receive_packets.",
        |s, out| device(s, out, |nic| nic.rx_frames),
    ),
    device_counter("node_network_receive_errs_total", Count, "Network device statistic receive_errs.", |s, out| {
        device(s, out, |nic| nic.rx_errors)
    }),
    device_counter("node_network_receive_drop_total", Count, "Network device statistic receive_drop.", |s, out| {
        device(s, out, |nic| nic.rx_dropped)
    }),
    device_counter("node_network_transmit_bytes_total", Bytes, "Network device statistic transmit_bytes.", |s, out| {
        device(s, out, |nic| nic.tx_bytes)
    }),
    device_counter(
        "node_network_transmit_packets_total",
        Count,
        "Network device statistic transmit_packets.",
        |s, out| device(s, out, |nic| nic.tx_frames),
    ),
    device_counter("node_network_transmit_errs_total", Count, "Network device statistic transmit_errs.", |s, out| {
        device(s, out, |nic| nic.tx_errors)
    }),
    device_counter("node_network_transmit_drop_total", Count, "Network device statistic transmit_drop.", |s, out| {
        device(s, out, |nic| nic.tx_dropped)
    }),
    device_counter(
        "node_network_carrier_changes_total",
        Count,
        "Network device property: carrier_changes_total.",
        |s, out| device(s, out, |nic| nic.carrier_changes),
    ),
    device_counter(
        "minipirack_network_restarts_total",
        Count,
        "Times that the driver had to start its controller anew.",
        |s, out| device(s, out, |nic| nic.restarts),
    ),
    device_counter(
        "minipirack_network_crc_errors_total",
        Count,
        "Received frames with a wrong checksum, as far as the controller tells.",
        |s, out| device(s, out, |nic| nic.crc_errors),
    ),
    device_counter(
        "minipirack_network_link_flaps_total",
        Count,
        "Times that the link was down for a moment between two looks.",
        |s, out| device(s, out, |nic| nic.link_flaps),
    ),
    device_counter(
        "minipirack_network_looped_frames_total",
        Count,
        "Frames that the node had sent and that came back: a switch loops, or another station has its MAC address.",
        |s, out| device(s, out, |nic| nic.looped_frames),
    ),
    device_counter(
        "minipirack_network_tx_stalls_total",
        Count,
        "Times that the controller sent nothing for too long.",
        |s, out| device(s, out, |nic| nic.tx_stalls),
    ),
    metric("node_network_up", Gauge, Count, &["device"], "Value is 1 if operstate is 'up', 0 otherwise.", |s, out| {
        out.value(&[Text(s.net.device)], Value::Flag(s.net.link.is_up()))
    }),
    metric("node_network_carrier", Gauge, Count, &["device"], "Network device property: carrier.", |s, out| {
        out.value(&[Text(s.net.device)], Value::Flag(s.net.link.is_up()))
    }),
    metric("node_network_speed_bytes", Gauge, Bytes, &["device"], "Network device property: speed_bytes.", |s, out| {
        match s.net.link {
            // As in node_exporter: Mbit/s in decimal units, as bytes per second.
            Link::Up { speed_mbps: Some(speed), .. } => {
                out.value(&[Text(s.net.device)], Value::Count(u64::from(speed) * 1_000_000 / 8))
            }
            _ => Ok(()),
        }
    }),
    metric("node_network_mtu_bytes", Gauge, Bytes, &["device"], "Network device property: mtu_bytes.", |s, out| {
        out.value(&[Text(s.net.device)], Value::Count(s.net.mtu.into()))
    }),
    metric(
        "node_network_info",
        Gauge,
        Count,
        &["address", "device", "driver", "duplex", "operstate"],
        "Non-numeric data of the network device, value is always 1.",
        |s, out| {
            let duplex = match s.net.link {
                Link::Up { is_full_duplex: Some(true), .. } => "full",
                Link::Up { is_full_duplex: Some(false), .. } => "half",
                _ => "unknown",
            };
            let state = if s.net.link.is_up() { "up" } else { "down" };
            let driver = s.net.driver.unwrap_or("none");
            let labels = [Shown(&s.net.mac()), Text(s.net.device), Text(driver), Text(duplex), Text(state)];
            out.value(&labels, Value::Flag(true))
        },
    ),
    metric(
        "minipirack_network_address_info",
        Gauge,
        Count,
        &["address", "device", "source"],
        "An address of the node and where it came from, value is always 1.",
        |s, out| {
            if let Some(ipv4) = &s.net.ipv4 {
                let shown = fmt::from_fn(|f| write!(f, "{}/{}", ipv4.address, ipv4.prefix_len));
                out.value(&[Shown(&shown), Text(s.net.device), Shown(&ipv4.source)], Value::Flag(true))?;
            }
            s.net.ipv6.iter().try_for_each(|(address, prefix_len)| {
                let shown = fmt::from_fn(|f| write!(f, "{address}/{prefix_len}"));
                let source = if address.is_unicast_link_local() { "link-local" } else { "slaac" };
                out.value(&[Shown(&shown), Text(s.net.device), Text(source)], Value::Flag(true))
            })
        },
    ),
    metric(
        "minipirack_dhcp_lease_left_seconds",
        Gauge,
        Seconds,
        &["device"],
        "Seconds until the DHCP lease ends unless it is renewed.",
        |s, out| match &s.net.lease {
            Some(lease) => out.value(&[Text(s.net.device)], Value::Count(lease.left_s(s.sample.at_us))),
            None => Ok(()),
        },
    ),
    Metric {
        names: Names::NodeExporter,
        ..metric("node_netstat_Tcp_CurrEstab", Gauge, Count, &[], "Statistic TcpCurrEstab.", |s, out| {
            out.value(&[], Value::Count(s.net.tcp_connections.into()))
        })
    },
    metric("minipirack_tcp_connections", Gauge, Count, &[], "TCP connections that are established.", |s, out| {
        out.value(&[], Value::Count(s.net.tcp_connections.into()))
    }),
    metric(
        "minipirack_network_malformed_total",
        Counter,
        Count,
        &["layer"],
        "Frames and messages from the network that could not be parsed.",
        |s, out| s.malformed.iter().try_for_each(|c| out.value(&[Text(c.what)], Value::Count(c.count))),
    ),
];

const fn device_counter(
    name: &'static str,
    unit: super::Unit,
    help: &'static str,
    read: fn(&Snapshot<'_>, &mut dyn Output) -> fmt::Result,
) -> Metric {
    metric(name, Counter, unit, &["device"], help, read)
}

fn device(s: &Snapshot<'_>, out: &mut dyn Output, count: fn(&NicCounts) -> u64) -> fmt::Result {
    out.value(&[Text(s.net.device)], Value::Count(count(&s.sample.nic)))
}
