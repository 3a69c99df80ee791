//! The Prometheus text format, version 0.0.4.
//!
//! Source: prometheus/docs, "Exposition formats". Numbers are written as integers and decimal fractions of integers, so
//! that a scrape needs no floating-point formatting.

use core::fmt::{self, Write};

use crate::histogram::Histogram;
use crate::metrics::{Kind, Label, Metric, Names, Output, Value};
use crate::sinks::Sink;
use crate::snapshot::Snapshot;

/// The entry of this sink in the table.
pub const SINK: Sink =
    Sink { name: "prometheus", content_type: "text/plain; version=0.0.4; charset=utf-8", render: render_strict };

fn render_strict(snapshot: &Snapshot<'_>, out: &mut dyn Write) -> fmt::Result {
    render(snapshot, Names::Strict, out)
}

/// Writes every metric that has a value now and whose name `names` allows.
///
/// # Errors
///
/// Passes on the error of `out`.
pub fn render(snapshot: &Snapshot<'_>, names: Names, out: &mut dyn Write) -> fmt::Result {
    for metric in snapshot.metrics().filter(|metric| names.allows(metric)) {
        let mut text = Text { metric, out, is_headed: false };
        metric.read(snapshot, &mut text)?;
    }
    Ok(())
}

struct Text<'a> {
    metric: &'a Metric,
    out: &'a mut dyn Write,
    is_headed: bool,
}

impl Text<'_> {
    fn head(&mut self) -> fmt::Result {
        if self.is_headed {
            return Ok(());
        }
        self.is_headed = true;
        let Metric { name, help, kind, .. } = self.metric;
        for part in ["# HELP ", name, " ", help, "\n# TYPE ", name, " ", kind.name(), "\n"] {
            self.out.write_str(part)?;
        }
        Ok(())
    }

    fn labels(&mut self, labels: &[Label<'_>], le: Option<&dyn fmt::Display>) -> fmt::Result {
        let mut before = "{";
        for (name, label) in self.metric.labels.iter().zip(labels) {
            self.out.write_str(before)?;
            self.out.write_str(name)?;
            self.out.write_str("=\"")?;
            match label {
                Label::Text(text) => escape(text, self.out)?,
                Label::Number(number) => write!(self.out, "{number}")?,
                Label::Shown(value) => {
                    struct Escaped<'a>(&'a mut dyn Write);
                    impl Write for Escaped<'_> {
                        fn write_str(&mut self, s: &str) -> fmt::Result {
                            escape(s, self.0)
                        }
                    }
                    write!(Escaped(self.out), "{value}")?;
                }
            }
            self.out.write_str("\"")?;
            before = ",";
        }
        if let Some(le) = le {
            write!(self.out, "{before}le=\"{le}\"")?;
            before = ",";
        }
        if before == "," { self.out.write_str("}") } else { Ok(()) }
    }
}

impl Output for Text<'_> {
    fn value(&mut self, labels: &[Label<'_>], value: Value) -> fmt::Result {
        self.head()?;
        self.out.write_str(self.metric.name)?;
        self.labels(labels, None)?;
        writeln!(self.out, " {value}")
    }

    fn histogram(&mut self, labels: &[Label<'_>], histogram: &Histogram) -> fmt::Result {
        debug_assert_eq!(self.metric.kind, Kind::Histogram);
        self.head()?;
        let mut total = 0;
        histogram.cumulative(|bits, count| {
            self.out.write_str(self.metric.name)?;
            self.out.write_str("_bucket")?;
            match bits {
                Some(bits) => self.labels(labels, Some(&Value::Micros(1 << bits)))?,
                None => self.labels(labels, Some(&"+Inf"))?,
            }
            total = count;
            writeln!(self.out, " {count}")
        })?;
        for (suffix, value) in [("_sum", Value::Micros(histogram.sum_us())), ("_count", Value::Count(total))] {
            self.out.write_str(self.metric.name)?;
            self.out.write_str(suffix)?;
            self.labels(labels, None)?;
            writeln!(self.out, " {value}")?;
        }
        Ok(())
    }
}

/// Writes a label's value: backslash, quote and line feed are escaped.
fn escape(text: &str, out: &mut dyn Write) -> fmt::Result {
    let mut rest = text;
    while let Some(at) = rest.find(['\\', '"', '\n']) {
        let (plain, special) = rest.split_at(at);
        out.write_str(plain)?;
        out.write_str(match special.chars().next() {
            Some('\n') => "\\n",
            Some('"') => "\\\"",
            _ => "\\\\",
        })?;
        // All three are one byte long.
        rest = special.get(1..).unwrap_or_default();
    }
    out.write_str(rest)
}
