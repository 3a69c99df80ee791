//! What the node runs.

use core::fmt;

use super::sample::write_validity;
use super::writer::{ITEM, Json};
use crate::health::Health;
use crate::histogram::Histogram;
use crate::snapshot::Snapshot;

/// Writes every workload with its figures, and whether the hardware was well since it was started.
pub(super) fn write(s: &Snapshot<'_>, key: &str, out: &mut Json<'_>) -> fmt::Result {
    let rates = s.history.rates();
    out.open(key, '[')?;
    for ((status, counts, durations), view) in s.workloads().zip(s.workloads) {
        out.open(ITEM, '{')?;
        out.number("slot", status.slot as u64)?;
        out.text("id", &status.id)?;
        out.number("core", status.core.into())?;
        out.text("name", status.name)?;
        out.text("spec", &status.spec)?;
        out.text("state", status.state.name())?;
        out.text("reason", &status.reason)?;
        out.number("started_us", status.started_us)?;
        write_validity(Health { sick: s.health.since(status.started_us), ..s.sample.health }, out)?;
        for (key, count) in [
            ("runs", counts.runs),
            ("restarts", status.restarts),
            ("operations", counts.operations),
            ("bytes", counts.bytes),
            ("errors", counts.errors),
            ("busy_us", counts.busy_us),
        ] {
            out.number(key, count)?;
        }
        let w = rates.as_ref().map(|rates| rates.workload(status));
        for (key, rate) in [
            ("operations_per_second", w.map(|w| w.operations)),
            ("bytes_per_second", w.map(|w| w.bytes)),
            ("errors_per_second", w.map(|w| w.errors)),
            ("busy_permille", w.map(|w| w.busy_permille.into())),
        ] {
            out.optional(key, rate)?;
        }
        // What only this workload has, under the names of its metrics.
        out.open("figures", '{')?;
        view.figures().try_for_each(|(metric, value)| out.raw(metric.name, &value))?;
        out.close('}')?;
        out.open("distributions", '{')?;
        view.histograms().try_for_each(|(metric, histogram)| write_summary(histogram, metric.name, out))?;
        out.close('}')?;
        write_summary(durations, "operation_duration", out)?;
        out.close('}')?;
    }
    out.close(']')
}

fn write_summary(histogram: &Histogram, key: &str, out: &mut Json<'_>) -> fmt::Result {
    let Some(took) = histogram.summary() else { return out.null(key) };
    out.open(key, '{')?;
    for (key, value) in [
        ("count", took.count),
        ("min_us", took.min_us),
        ("mean_us", took.mean_us),
        ("p50_us", took.p50_us),
        ("p90_us", took.p90_us),
        ("p99_us", took.p99_us),
        ("max_us", took.max_us),
    ] {
        out.number(key, value)?;
    }
    out.close('}')
}
