//! What measures are called, and what they are shares of.

use super::What;

/// Measures that are no figures of workloads.
pub(super) const NAMES: [(&str, What); 11] = [
    ("p50", What::Percentile(500)),
    ("p90", What::Percentile(900)),
    ("p99", What::Percentile(990)),
    ("p999", What::Percentile(999)),
    ("throughput", What::Throughput),
    ("failover", What::Failover),
    ("gap", What::Gap),
    ("size", What::Size),
    ("violations", What::Violations),
    ("lost_writes", What::LostWrites),
    ("silence", What::Silence),
];

/// Figures that workloads of every kind have.
pub(super) const COMMON: [&str; 5] = ["operations", "bytes", "errors", "restarts", "busy"];

/// What figures are shares of: `delivered >= 99%` means of `sent`.
pub(in crate::experiment) const WHOLES: [(&str, &str); 10] = [
    ("delivered", "sent"),
    ("lost", "sent"),
    ("duplicates", "sent"),
    ("again", "sent"),
    ("completed", "offered"),
    ("timeouts", "offered"),
    ("overload", "offered"),
    ("bad_answers", "offered"),
    ("tries", "offered"),
    ("errors", "operations"),
];

/// Returns the figures that only this workload has, by their short names.
pub(super) fn figures(workload: &str) -> impl Iterator<Item = String> {
    let found = workload::builtin::find(workload);
    found.into_iter().flat_map(|found| found.figures().iter().map(|metric| short_name(found.name(), metric.name)))
}

/// Shortens the name of a metric of a workload: `minipirack_pipeline_lost_total` to `lost`.
pub(in crate::experiment) fn short_name(workload: &str, metric: &str) -> String {
    let name = metric.strip_prefix("minipirack_").unwrap_or(metric);
    let name = name.strip_prefix("workload_").unwrap_or(name);
    let name = name.strip_prefix(workload).and_then(|rest| rest.strip_prefix('_')).unwrap_or(name);
    let name = name.strip_suffix("_total").unwrap_or(name);
    name.strip_suffix("_seconds").unwrap_or(name).to_owned()
}
