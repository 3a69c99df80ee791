//! The node itself: who it is, since when, and what happened to it.

use core::fmt;

use super::Kind::{Counter, Gauge};
use super::Label::{Shown, Text};
use super::Unit::{Count, Seconds};
use super::{Metric, Value, metric};

/// Metrics of this subject.
pub(super) const METRICS: &[Metric] = &[
    metric(
        "node_uname_info",
        Gauge,
        Count,
        &["domainname", "machine", "nodename", "release", "sysname", "version"],
        "Labeled system information as provided by the uname system call.",
        |s, out| {
            let labels = [
                Text("(none)"),
                Text("aarch64"),
                Text(&s.node.name),
                Text(s.node.version),
                Text("MiniPiRack"),
                Text(s.node.build),
            ];
            out.value(&labels, Value::Flag(true))
        },
    ),
    metric(
        "minipirack_board_info",
        Gauge,
        Count,
        &["model", "revision", "serial", "soc"],
        "The board that the node runs on, value is always 1.",
        |s, out| {
            let revision = fmt::from_fn(|f| write!(f, "{:06x}", s.node.revision));
            let serial = s.node.serial();
            let labels = [Text(&s.node.board), Shown(&revision), Shown(&serial), Text(&s.node.soc)];
            out.value(&labels, Value::Flag(true))
        },
    ),
    metric("minipirack_uptime_seconds", Gauge, Seconds, &[], "Seconds since the node was started.", |s, out| {
        out.value(&[], Value::Micros(s.sample.at_us))
    }),
    metric("node_time_seconds", Gauge, Seconds, &[], "System time in seconds since epoch (1970).", |s, out| {
        s.sample.unix_us.map_or(Ok(()), |us| out.value(&[], Value::Micros(us)))
    }),
    metric("node_boot_time_seconds", Gauge, Seconds, &[], "Node boot time, in unixtime.", |s, out| {
        s.sample.boot_unix_us().map_or(Ok(()), |us| out.value(&[], Value::Micros(us)))
    }),
    metric(
        "node_timex_sync_status",
        Gauge,
        Count,
        &[],
        "Is clock synchronized to a reliable server (1 = yes, 0 = no).",
        |s, out| out.value(&[], Value::Flag(s.sample.unix_us.is_some())),
    ),
    metric("node_timex_maxerror_seconds", Gauge, Seconds, &[], "Maximum error in seconds.", |s, out| {
        s.sample.clock_error_us.map_or(Ok(()), |us| out.value(&[], Value::Micros(us)))
    }),
    metric(
        "node_crashes_total",
        Counter,
        Count,
        &["reason"],
        "Crashes since power was switched on, by reason.",
        |s, out| s.crashes.iter().try_for_each(|c| out.value(&[Text(c.what)], Value::Count(c.count))),
    ),
    metric("minipirack_log_lines_total", Counter, Count, &[], "Log lines written.", |s, out| {
        out.value(&[], Value::Count(s.sample.log_lines))
    }),
    metric(
        "minipirack_log_lines_dropped_total",
        Counter,
        Count,
        &[],
        "Log lines that the serial console had no room for.",
        |s, out| out.value(&[], Value::Count(s.sample.log_lines_dropped)),
    ),
    metric(
        "minipirack_events_total",
        Counter,
        Count,
        &["event"],
        "What drivers, network and services count, by event.",
        |s, out| s.events.iter().try_for_each(|c| out.value(&[Text(c.what)], Value::Count(c.count))),
    ),
];
