//! The Prometheus text format, version 0.0.4.
//!
//! Source: prometheus/docs, "Exposition formats". Numbers are written as integers and decimal fractions of integers, so
//! that a scrape needs no floating-point formatting.

mod buffer;

use core::fmt::{self, Write};

use heapless::String;

use crate::histogram::Histogram;
use crate::metrics::{Kind, Label, Metric, Names, Output, Value};
use crate::sinks::Sink;
use crate::snapshot::Snapshot;
use buffer::Buffer;

/// The entry of this sink in the table.
pub const SINK: Sink =
    Sink { name: "prometheus", content_type: "text/plain; version=0.0.4; charset=utf-8", render: render_strict };

/// Longest beginning of a histogram's buckets that is kept: name and labels of a workload have half of that.
const BEGIN_LEN: usize = 256;

fn render_strict(snapshot: &Snapshot<'_>, out: &mut dyn Write) -> fmt::Result {
    render(snapshot, Names::Strict, out)
}

/// Writes every metric that has a value now and whose name `names` allows.
///
/// # Errors
///
/// Passes on the error of `out`.
pub fn render(snapshot: &Snapshot<'_>, names: Names, out: &mut dyn Write) -> fmt::Result {
    let mut out = Buffer::new(out);
    for metric in snapshot.metrics().filter(|metric| names.allows(metric)) {
        let mut text = Text { metric, out: &mut out, is_headed: false };
        metric.read(snapshot, &mut text)?;
    }
    out.flush()
}

struct Text<'a, 'b> {
    metric: &'a Metric,
    out: &'a mut Buffer<'b>,
    is_headed: bool,
}

impl Text<'_, '_> {
    fn head(&mut self) -> fmt::Result {
        if self.is_headed {
            return Ok(());
        }
        self.is_headed = true;
        let Metric { name, help, kind, .. } = self.metric;
        for part in ["# HELP ", name, " ", help, "\n# TYPE ", name, " ", kind.name(), "\n"] {
            self.out.text(part)?;
        }
        Ok(())
    }

    /// Writes name and labels.
    fn series(&mut self, suffix: &str, labels: &[Label<'_>]) -> fmt::Result {
        let is_open = self.begin_series(suffix, labels)?;
        if is_open { self.out.text("\"}") } else { Ok(()) }
    }

    /// Writes name and labels, but not the end of the last one. Returns whether there is one.
    fn begin_series(&mut self, suffix: &str, labels: &[Label<'_>]) -> Result<bool, fmt::Error> {
        self.out.text(self.metric.name)?;
        self.out.text(suffix)?;
        let mut before = "{";
        for (name, label) in self.metric.labels.iter().zip(labels) {
            self.out.text(before)?;
            self.out.text(name)?;
            self.out.text("=\"")?;
            match label {
                Label::Text(text) => self.out.escaped(text)?,
                Label::Number(number) => self.out.decimal(*number, 0)?,
                Label::Shown(value) => write!(Escaped(self.out), "{value}")?,
            }
            before = "\",";
        }
        Ok(!labels.is_empty())
    }

    /// Writes what all buckets of a histogram begin with, up to their bound.
    fn begin_bucket(&mut self, labels: &[Label<'_>]) -> fmt::Result {
        let is_open = self.begin_series("_bucket", labels)?;
        self.out.text(if is_open { "\",le=\"" } else { "{le=\"" })
    }

    fn end(&mut self, value: Value) -> fmt::Result {
        self.out.text(" ")?;
        self.out.value(value)?;
        self.out.text("\n")
    }
}

struct Escaped<'a, 'b>(&'a mut Buffer<'b>);

impl Write for Escaped<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.escaped(text)
    }
}

impl Output for Text<'_, '_> {
    fn value(&mut self, labels: &[Label<'_>], value: Value) -> fmt::Result {
        self.head()?;
        self.series("", labels)?;
        self.end(value)
    }

    fn histogram(&mut self, labels: &[Label<'_>], histogram: &Histogram) -> fmt::Result {
        debug_assert_eq!(self.metric.kind, Kind::Histogram);
        self.head()?;
        // Put together once for all buckets, unless it is too long for that.
        let mut begin: String<BEGIN_LEN> = String::new();
        let mut buffer = Buffer::new(&mut begin);
        let begun = Text { metric: self.metric, out: &mut buffer, is_headed: true }.begin_bucket(labels);
        let is_whole = begun.and_then(|()| buffer.flush()).is_ok();
        let mut total = 0;
        histogram.cumulative(|bits, count| {
            if is_whole { self.out.text(&begin)? } else { self.begin_bucket(labels)? }
            match bits {
                Some(bits) => self.out.value(Value::Micros(1 << bits))?,
                None => self.out.text("+Inf")?,
            }
            self.out.text("\"}")?;
            total = count;
            self.end(Value::Count(count))
        })?;
        for (suffix, value) in [("_sum", Value::Micros(histogram.sum_us())), ("_count", Value::Count(total))] {
            self.series(suffix, labels)?;
            self.end(value)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Unit;

    fn shown(name: &str) -> std::string::String {
        let name = Box::leak(name.to_owned().into_boxed_str());
        let metric = Metric::of_workload(name, Kind::Histogram, Unit::Seconds, "Time of a pass.");
        let histogram = Histogram::new();
        [3, 3, 1_003].iter().for_each(|us| histogram.record(*us));
        let mut text = std::string::String::new();
        let mut out = Buffer::new(&mut text);
        let labels = [Label::Number(1), Label::Text("me\"mory"), Label::Shown(&"a\\b")];
        Text { metric: &metric, out: &mut out, is_headed: false }.histogram(&labels, &histogram).unwrap();
        out.flush().unwrap();
        text
    }

    #[test]
    fn buckets_with_a_long_beginning_are_shown_like_others() {
        let (short, long) = ("minipirack_memory_pass_seconds", "x".repeat(BEGIN_LEN));
        let text = shown(short);
        let bucket = format!("{short}_bucket{{core=\"1\",workload=\"me\\\"mory\",id=\"a\\\\b\",le=\"0.000016\"}} 2\n");
        assert!(text.contains(&bucket), "{text}");
        assert_eq!(shown(&long).replace(&long, short), text);
    }
}
