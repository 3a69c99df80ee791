//! What the node runs for its user.

use core::fmt;

use super::Kind::{Counter, Gauge, Histogram};
use super::Label::{Number, Text};
use super::Unit::{Bytes, Count, Ratio, Seconds};
use super::{Label, Metric, Output, Value, metric};
use crate::sample::{CORES, SLOTS_PER_CORE, WorkloadCounts};
use crate::snapshot::Snapshot;
use crate::workload_status::{WorkloadState, WorkloadStatus};

/// Labels of whatever a workload counts on a core.
pub(super) const LABELS: &[&str] = &["core", "workload", "id"];

/// Metrics of this subject. A counter begins anew when its workload is started anew.
pub(super) const METRICS: &[Metric] = &[
    metric(
        "minipirack_workload_state",
        Gauge,
        Count,
        &["core", "workload", "id", "state"],
        "State of a workload: 1 for the state that it is in.",
        |s, out| {
            s.workloads().try_for_each(|(status, ..)| {
                let [core, name, id] = labels(status);
                WorkloadState::ALL.into_iter().try_for_each(|state| {
                    out.value(&[core, name, id, Text(state.name())], Value::Flag(state == status.state))
                })
            })
        },
    ),
    metric("minipirack_workload_runs_total", Counter, Count, &["core"], "Workloads started on a core.", |s, out| {
        (1..CORES).zip(s.sample.workloads.chunks(SLOTS_PER_CORE)).try_for_each(|(core, slots)| {
            out.value(&[Number(core as u64)], Value::Count(slots.iter().map(|slot| slot.runs).sum()))
        })
    }),
    metric(
        "minipirack_workload_restarts_total",
        Counter,
        Count,
        LABELS,
        "Times that a workload was started anew because it made no progress.",
        |s, out| s.workloads().try_for_each(|(status, ..)| out.value(&labels(status), Value::Count(status.restarts))),
    ),
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
            s.workloads().try_for_each(|(status, ..)| {
                out.value(&labels(status), Value::Millis(rates.workload(status).busy_permille.into()))
            })
        },
    ),
    metric(
        "minipirack_workload_operation_duration_seconds",
        Histogram,
        Seconds,
        LABELS,
        "Time that operations of a workload took.",
        |s, out| s.workloads().try_for_each(|(status, _, durations)| out.histogram(&labels(status), durations)),
    ),
];

/// Gives a sink the values of a metric that some workloads have and others have not.
pub(super) fn read_own(metric: &Metric, s: &Snapshot<'_>, out: &mut dyn Output) -> fmt::Result {
    for view in s.workloads {
        for (_, value) in view.figures().filter(|(own, _)| own.name == metric.name) {
            out.value(&labels(&view.status), value)?;
        }
        for (_, distribution) in view.histograms().filter(|(own, _)| own.name == metric.name) {
            out.histogram(&labels(&view.status), distribution)?;
        }
    }
    Ok(())
}

fn each(s: &Snapshot<'_>, out: &mut dyn Output, value: fn(&WorkloadCounts) -> Value) -> fmt::Result {
    s.workloads().try_for_each(|(status, counts, _)| out.value(&labels(status), value(&counts)))
}

fn labels(status: &WorkloadStatus) -> [Label<'_>; 3] {
    [Number(status.core.into()), Text(status.name), Text(&status.id)]
}
