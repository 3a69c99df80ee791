//! Whether the hardware lets measurements be trusted.

use super::Kind::{Counter, Gauge};
use super::Label::Text;
use super::Unit::Count;
use super::{Metric, Value, metric};
use crate::health::Reason;

/// Metrics of this subject. What can't be known, as on an emulated board, is left out.
pub(super) const METRICS: &[Metric] = &[
    metric(
        "minipirack_health",
        Gauge,
        Count,
        &["reason", "when"],
        "Whether something makes measurements worthless: 1 if it happened in the last second or, in turn, at any time since boot.",
        |s, out| {
            s.sample.health.known.iter().try_for_each(|reason| {
                out.value(&[Text(reason.name()), Text("now")], Value::Flag(s.sample.health.sick.has(reason)))?;
                let was = s.health.count(reason) > 0;
                out.value(&[Text(reason.name()), Text("since_boot")], Value::Flag(was))
            })
        },
    ),
    metric(
        "minipirack_health_sick_samples_total",
        Counter,
        Count,
        &["reason"],
        "Samples that were taken while something made measurements worthless.",
        |s, out| {
            let mut all = Reason::ALL.into_iter().filter(|reason| s.sample.health.known.has(*reason));
            all.try_for_each(|reason| out.value(&[Text(reason.name())], Value::Count(s.health.count(reason))))
        },
    ),
    metric(
        "minipirack_sample_valid",
        Gauge,
        Count,
        &[],
        "Whether the hardware was well in the second that this sample covers; missing where that can't be known.",
        |s, out| s.sample.health.is_valid().map_or(Ok(()), |is_valid| out.value(&[], Value::Flag(is_valid))),
    ),
];
