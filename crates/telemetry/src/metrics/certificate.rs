//! What the last acceptance test of the board has found.

use super::Kind::Gauge;
use super::Label::Text;
use super::Unit::Count;
use super::{Metric, Value, metric};
use crate::certificate::Outcome;

/// Metrics of this subject; there are none before a test.
pub(super) const METRICS: &[Metric] = &[
    metric(
        "minipirack_certificate_check",
        Gauge,
        Count,
        &["check", "outcome"],
        "What the last acceptance test has found: 1 for the outcome that a check had.",
        |s, out| {
            s.certificate.into_iter().flat_map(|certificate| certificate.findings()).try_for_each(
                |(subject, finding)| {
                    Outcome::ALL.into_iter().try_for_each(|outcome| {
                        out.value(
                            &[Text(subject.name()), Text(outcome.name())],
                            Value::Flag(outcome == finding.outcome),
                        )
                    })
                },
            )
        },
    ),
    metric(
        "minipirack_certificate_verdict",
        Gauge,
        Count,
        &["verdict"],
        "What the last acceptance test came to, value is always 1.",
        |s, out| s.certificate.map_or(Ok(()), |c| out.value(&[Text(c.verdict().name())], Value::Flag(true))),
    ),
];
