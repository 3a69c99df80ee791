//! What each figure is called and means: the one table that feeds every sink.
//!
//! Where node_exporter has a metric with the same meaning, its name, type and labels are used, so that dashboards made for
//! it work. Source of the names: prometheus/node_exporter, `collector/fixtures/e2e-output.txt`.
//! What has no counterpart there begins with `minipirack_`; `node_crashes_total` is ours too.

use core::fmt;

use crate::histogram::Histogram;
use crate::snapshot::Snapshot;

mod certificate;
mod cpu;
mod fault;
mod health;
mod load;
mod memory;
mod network;
mod node;
mod workload;

/// One metric.
pub struct Metric {
    /// Its full name.
    pub name: &'static str,
    /// What it means, in one sentence.
    pub help: &'static str,
    /// Its type.
    pub kind: Kind,
    /// What one of it is.
    pub unit: Unit,
    /// The names of its labels.
    pub labels: &'static [&'static str],
    /// Who gets to see it.
    pub names: Names,
    /// Where its values are.
    pub source: Source,
}

/// Where the values of a metric are.
pub enum Source {
    /// In a snapshot: this gives them to a sink; none if they can't be known now.
    Snapshot(fn(&Snapshot<'_>, &mut dyn Output) -> fmt::Result),
    /// With each workload that has the metric among its own.
    Workload,
}

impl Metric {
    /// Gives its values to a sink.
    ///
    /// # Errors
    ///
    /// When the sink can't write.
    pub fn read(&self, snapshot: &Snapshot<'_>, out: &mut dyn Output) -> fmt::Result {
        match self.source {
            Source::Snapshot(read) => read(snapshot, out),
            Source::Workload => workload::read_own(self, snapshot, out),
        }
    }

    /// Returns a metric that only one kind of workload has, called `minipirack_`, the workload's name, and what it is.
    #[must_use]
    pub const fn of_workload(name: &'static str, kind: Kind, unit: Unit, help: &'static str) -> Self {
        Self { name, help, kind, unit, labels: workload::LABELS, names: Names::Strict, source: Source::Workload }
    }

    /// Returns what is wrong with its name or its help by the rules of Prometheus and of this table; `None` if nothing is.
    #[must_use]
    pub fn complaint(&self) -> Option<&'static str> {
        let stem = self.name.strip_suffix("_total").unwrap_or(self.name);
        let suffix = match self.unit {
            Unit::Seconds => "_seconds",
            Unit::Bytes => "_bytes",
            Unit::BytesPerSecond => "_bytes_per_second",
            Unit::Hertz => "_hertz",
            Unit::Celsius => "_celsius",
            Unit::Ratio => "_ratio",
            Unit::Count => "",
        };
        if !self.name.starts_with("node_") && !self.name.starts_with("minipirack_") {
            Some("its name has the wrong beginning")
        } else if self.name.ends_with("_total") != (self.kind == Kind::Counter) {
            Some("its name ends with _total if and only if it is a counter")
        // node_exporter's one exception.
        } else if !stem.ends_with(suffix) && stem != "node_thermal_zone_temp" {
            Some("its name lacks the unit")
        } else if !self.help.ends_with('.') || self.help.contains(['\n', '\\']) {
            Some("its help is no sentence")
        } else {
            None
        }
    }
}

impl fmt::Debug for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// How a metric moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Goes up only, from zero at boot.
    Counter,
    /// Goes up and down.
    Gauge,
    /// A distribution.
    Histogram,
}

impl Kind {
    /// Returns the type's name in the Prometheus text format.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// What one of a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// A number of things, or a yes or no.
    Count,
    /// Seconds.
    Seconds,
    /// Bytes.
    Bytes,
    /// Bytes per second.
    BytesPerSecond,
    /// Cycles per second.
    Hertz,
    /// Degrees Celsius.
    Celsius,
    /// A share of one.
    Ratio,
}

impl Unit {
    /// Returns the unit's name, in the plural.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Count => "count",
            Self::Seconds => "seconds",
            Self::Bytes => "bytes",
            Self::BytesPerSecond => "bytes per second",
            Self::Hertz => "hertz",
            Self::Celsius => "celsius",
            Self::Ratio => "ratio",
        }
    }
}

/// Which names a reader wants.
///
/// node_exporter calls memory `node_memory_MemTotal_bytes`, after `/proc/meminfo`. Dashboards want that name;
/// `promtool check metrics` rejects it for its capitals. So these few exist twice: as `minipirack_memory_…` for all, and
/// under node_exporter's name for whoever asks for it, which a Prometheus server does by its `User-Agent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Names {
    /// Names that follow Prometheus' own rules.
    Strict,
    /// node_exporter's names too, even where they break these rules.
    NodeExporter,
}

impl Names {
    /// Returns what the sender of an HTTP request wants to see: a Prometheus server introduces itself as `Prometheus/…`.
    #[must_use]
    pub fn wanted_by(user_agent: Option<&str>) -> Self {
        match user_agent {
            Some(agent) if agent.starts_with("Prometheus/") => Self::NodeExporter,
            _ => Self::Strict,
        }
    }

    /// Returns whether `metric` is shown.
    #[must_use]
    pub fn allows(self, metric: &Metric) -> bool {
        self == Self::NodeExporter || metric.names == Self::Strict
    }
}

/// A sink's side: takes the values of one metric. Labels are in the order of [`Metric::labels`].
pub trait Output {
    /// Takes one value.
    ///
    /// # Errors
    ///
    /// When the sink can't write.
    fn value(&mut self, labels: &[Label<'_>], value: Value) -> fmt::Result;

    /// Takes one distribution.
    ///
    /// # Errors
    ///
    /// When the sink can't write.
    fn histogram(&mut self, labels: &[Label<'_>], histogram: &Histogram) -> fmt::Result;
}

/// The value of a label.
#[derive(Clone, Copy)]
pub enum Label<'a> {
    /// Text.
    Text(&'a str),
    /// A number, such as a core's.
    Number(u64),
    /// Whatever shows itself.
    Shown(&'a dyn fmt::Display),
}

/// A value in the metric's unit, exact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    /// A whole number.
    Count(u64),
    /// Millionths.
    Micros(u64),
    /// Thousandths.
    Millis(i64),
    /// 1 or 0.
    Flag(bool),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Count(n) => write!(f, "{n}"),
            Self::Micros(n) => fraction(f, n, 6),
            Self::Millis(n) => {
                if n < 0 {
                    f.write_str("-")?;
                }
                fraction(f, n.unsigned_abs(), 3)
            }
            Self::Flag(is_set) => f.write_str(if is_set { "1" } else { "0" }),
        }
    }
}

/// Writes `n` with a decimal point in front of its last `digits` digits, and no needless zeros.
fn fraction(f: &mut fmt::Formatter<'_>, n: u64, digits: u32) -> fmt::Result {
    let unit = 10u64.pow(digits);
    let (whole, mut rest) = (n / unit, n % unit);
    let mut width = digits as usize;
    if rest == 0 {
        return write!(f, "{whole}");
    }
    while rest % 10 == 0 {
        rest /= 10;
        width -= 1;
    }
    write!(f, "{whole}.{rest:0width$}")
}

/// Every metric, by subject.
pub static METRICS: Table = Table(&[
    certificate::METRICS,
    cpu::METRICS,
    fault::METRICS,
    health::METRICS,
    load::METRICS,
    memory::METRICS,
    network::METRICS,
    node::METRICS,
    workload::METRICS,
]);

/// The metrics of every subject, one after the other.
pub struct Table(&'static [&'static [Metric]]);

impl Table {
    /// Returns every metric.
    pub fn iter(&self) -> impl Iterator<Item = &'static Metric> + use<> {
        self.0.iter().flat_map(|metrics| metrics.iter())
    }

    /// Returns the metric called `name`.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&'static Metric> {
        self.iter().find(|metric| metric.name == name)
    }
}

/// Returns an entry of the table that everybody gets to see.
const fn metric(
    name: &'static str,
    kind: Kind,
    unit: Unit,
    labels: &'static [&'static str],
    help: &'static str,
    read: fn(&Snapshot<'_>, &mut dyn Output) -> fmt::Result,
) -> Metric {
    Metric { name, help, kind, unit, labels, names: Names::Strict, source: Source::Snapshot(read) }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_two_metrics_share_a_name() {
        let mut seen = HashSet::new();
        for metric in METRICS.iter() {
            assert!(seen.insert(metric.name), "{} is there twice", metric.name);
        }
    }

    #[test]
    fn names_say_kind_and_unit() {
        for m in METRICS.iter() {
            assert_eq!(m.complaint(), None, "{}", m.name);
            assert_eq!(m.names == Names::NodeExporter, m.name.contains(char::is_uppercase), "{}", m.name);
        }
    }

    #[test]
    fn a_server_is_told_from_other_readers() {
        assert_eq!(Names::wanted_by(Some("Prometheus/2.42.0+ds")), Names::NodeExporter);
        assert_eq!(Names::wanted_by(Some("curl/7.88.1")), Names::Strict);
        assert_eq!(Names::wanted_by(None), Names::Strict);
    }

    #[test]
    fn values_are_exact() {
        let cases = [
            (Value::Count(u64::MAX), "18446744073709551615"),
            (Value::Micros(0), "0"),
            (Value::Micros(1), "0.000001"),
            (Value::Micros(12_500_000), "12.5"),
            (Value::Micros(u64::MAX), "18446744073709.551615"),
            (Value::Millis(48_234), "48.234"),
            (Value::Millis(-500), "-0.5"),
            (Value::Millis(25_000), "25"),
            (Value::Flag(true), "1"),
        ];
        for (value, text) in cases {
            assert_eq!(value.to_string(), text);
        }
    }
}
