//! Every metric of the table, with what it means.

use core::fmt;

use super::writer::{ITEM, Json};
use super::{Answered, Ask};
use crate::histogram::Histogram;
use crate::metrics::{Label, Metric, Output, Value};
use crate::snapshot::Snapshot;

/// Metrics of a part of an answer.
const PER_PART: u64 = 4;

/// Writes some metrics. Parts may show two neighbouring samples.
pub(super) fn write(s: &Snapshot<'_>, ask: Ask, out: &mut Json<'_>) -> Answered {
    if ask.from == 0 {
        out.open(ITEM, '{')?;
        out.open("metrics", '[')?;
    }
    let mut rest = s.metrics().skip(usize::try_from(ask.from).unwrap_or(usize::MAX));
    for _ in 0..PER_PART {
        let Some(metric) = rest.next() else {
            out.close(']')?;
            out.close('}')?;
            return Ok(None);
        };
        out.open(ITEM, '{')?;
        out.text("name", metric.name)?;
        out.text("help", metric.help)?;
        out.text("type", metric.kind.name())?;
        out.text("unit", metric.unit.name())?;
        out.open("values", '[')?;
        metric.read(s, &mut Values { metric, out })?;
        out.close(']')?;
        out.close('}')?;
    }
    Ok(Some(ask.from + PER_PART))
}

struct Values<'a, 'o> {
    metric: &'a Metric,
    out: &'a mut Json<'o>,
}

impl Values<'_, '_> {
    fn labels(&mut self, labels: &[Label<'_>]) -> fmt::Result {
        self.out.open(ITEM, '{')?;
        self.out.open("labels", '{')?;
        for (name, label) in self.metric.labels.iter().zip(labels) {
            match label {
                Label::Text(text) => self.out.text(name, text)?,
                Label::Number(number) => self.out.shown(name, number)?,
                Label::Shown(value) => self.out.shown(name, value)?,
            }
        }
        self.out.close('}')
    }
}

impl Output for Values<'_, '_> {
    fn value(&mut self, labels: &[Label<'_>], value: Value) -> fmt::Result {
        self.labels(labels)?;
        self.out.raw("value", &value)?;
        self.out.close('}')
    }

    fn histogram(&mut self, labels: &[Label<'_>], histogram: &Histogram) -> fmt::Result {
        self.labels(labels)?;
        let mut total = 0;
        self.out.open("buckets", '[')?;
        histogram.cumulative(|bits, count| {
            total = count;
            let Some(bits) = bits else { return Ok(()) };
            self.out.open(ITEM, '{')?;
            self.out.raw("le", &Value::Micros(1 << bits))?;
            self.out.number("count", count)?;
            self.out.close('}')
        })?;
        self.out.close(']')?;
        self.out.raw("sum", &Value::Micros(histogram.sum_us()))?;
        self.out.number("count", total)?;
        self.out.close('}')
    }
}
