//! What the node runs for its user.

use core::fmt;

use super::Kind::{Counter, Gauge, Histogram};
use super::Label::{Number, Text};
use super::Unit::{Bytes, Count, Ratio, Seconds};
use super::{Metric, Output, Value, metric};
use crate::sample::WorkloadCounts;
use crate::snapshot::Snapshot;
use crate::workload_status::WorkloadState;

const LABELS: &[&str] = &["core", "workload"];

/// Metrics of this subject. A counter begins anew when its core is given another workload.
pub(super) const METRICS: &[Metric] = &[
    metric(
        "minipirack_workload_state",
        Gauge,
        Count,
        &["core", "workload", "state"],
        "State of a core's workload: 1 for the state that it is in.",
        |s, out| {
            s.workloads().filter(|(status, ..)| !status.name.is_empty()).try_for_each(|(status, ..)| {
                WorkloadState::ALL.into_iter().try_for_each(|state| {
                    let labels = [Number(status.core.into()), Text(status.name), Text(state.name())];
                    out.value(&labels, Value::Flag(state == status.state))
                })
            })
        },
    ),
    metric("minipirack_workload_runs_total", Counter, Count, &["core"], "Workloads started on a core.", |s, out| {
        s.workloads()
            .try_for_each(|(status, counts, _)| out.value(&[Number(status.core.into())], Value::Count(counts.runs)))
    }),
    metric(
        "minipirack_workload_operations_total",
        Counter,
        Count,
        LABELS,
        "Operations that a workload has done; its help says what one is.",
        |s, out| each(s, out, |w| Value::Count(w.operations)),
    ),
    metric("minipirack_workload_bytes_total", Counter, Bytes, LABELS, "Bytes that a workload has moved.", |s, out| {
        each(s, out, |w| Value::Count(w.bytes))
    }),
    metric(
        "minipirack_workload_errors_total",
        Counter,
        Count,
        LABELS,
        "Operations of a workload that gave a wrong result or none.",
        |s, out| each(s, out, |w| Value::Count(w.errors)),
    ),
    metric(
        "minipirack_workload_busy_seconds_total",
        Counter,
        Seconds,
        LABELS,
        "Seconds that a workload has worked.",
        |s, out| each(s, out, |w| Value::Micros(w.busy_us)),
    ),
    metric(
        "minipirack_workload_busy_ratio",
        Gauge,
        Ratio,
        LABELS,
        "Share of the last second that a workload has worked.",
        |s, out| {
            let Some(rates) = s.history.rates() else { return Ok(()) };
            s.workloads().filter(|(status, ..)| !status.name.is_empty()).try_for_each(|(status, ..)| {
                let Some(w) = rates.workloads.get(usize::from(status.core)) else { return Ok(()) };
                out.value(&[Number(status.core.into()), Text(status.name)], Value::Millis(w.busy_permille.into()))
            })
        },
    ),
    metric(
        "minipirack_workload_operation_duration_seconds",
        Histogram,
        Seconds,
        LABELS,
        "Time that operations of a workload took.",
        |s, out| {
            s.workloads().filter(|(status, ..)| !status.name.is_empty()).try_for_each(|(status, _, durations)| {
                out.histogram(&[Number(status.core.into()), Text(status.name)], durations)
            })
        },
    ),
];

fn each(s: &Snapshot<'_>, out: &mut dyn Output, value: fn(&WorkloadCounts) -> Value) -> fmt::Result {
    s.workloads()
        .filter(|(status, ..)| !status.name.is_empty())
        .try_for_each(|(status, counts, _)| out.value(&[Number(status.core.into()), Text(status.name)], value(&counts)))
}
