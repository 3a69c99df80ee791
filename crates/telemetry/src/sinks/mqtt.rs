//! JSON messages for an MQTT broker: samples, log lines, events, crashes, and who the node is.
//!
//! Every message of a node has its number (`seq`, from 1), the life of the node that the numbers belong to (`boot`), and how
//! many messages that life has lost so far (`lost`). A subscriber that sees a gap knows what it lacks, and one that gets a
//! number again has it already. Metrics have the names, labels and units of the table that feeds every sink.

use core::fmt::{self, Display, Write};

use crash::Kept;
use heapless::String;

use crate::histogram::Histogram;
use crate::log_ring::LogLine;
use crate::metrics::{Kind, Label, Metric, Names, Output, Value};
use crate::net_info::Link;
use crate::sinks::Sink;
use crate::snapshot::Snapshot;

/// The entry of this sink in the table: the metrics of a sample.
pub const SINK: Sink = Sink { name: "mqtt", content_type: "application/json", render: write_metrics };

/// What every message begins with.
#[derive(Clone, Copy, Debug)]
pub struct Header {
    /// Number of the message.
    pub seq: u64,
    /// Differs from one life of a node to the next.
    pub boot: u32,
    /// Messages that this life has lost.
    pub lost: u64,
}

impl Header {
    fn write(self, at_us: u64, out: &mut dyn Write) -> fmt::Result {
        let Self { seq, boot, lost } = self;
        write!(out, "{{\"seq\":{seq},\"boot\":\"{boot:06x}\",\"lost\":{lost},\"at_us\":{at_us}")
    }
}

/// Writes the newest sample.
///
/// # Errors
///
/// As all here: those of `out`.
pub fn write_sample(header: Header, s: &Snapshot<'_>, out: &mut dyn Write) -> fmt::Result {
    header.write(s.sample.at_us, out)?;
    if let Some(unix_us) = s.sample.unix_us {
        write!(out, ",\"unix_us\":{unix_us}")?;
    }
    out.write_str(",\"metrics\":")?;
    write_metrics(s, out)?;
    out.write_str("}")
}

/// Writes a line of the log; `missed` is how many before it were overwritten before they could be made a message.
///
/// # Errors
///
/// See [`write_sample`].
pub fn write_line(header: Header, missed: u64, line: &LogLine, out: &mut dyn Write) -> fmt::Result {
    header.write(line.at_us, out)?;
    write!(out, ",\"level\":\"{}\",\"core\":{}", line.level, line.core)?;
    if missed > 0 {
        write!(out, ",\"missed\":{missed}")?;
    }
    if let Some(target) = line.target {
        member("target", &target, out)?;
    }
    member("text", &line.text, out)?;
    out.write_str("}")
}

/// Writes that something of the node has changed.
///
/// # Errors
///
/// See [`write_sample`].
pub fn write_event(header: Header, at_us: u64, event: &Event, out: &mut dyn Write) -> fmt::Result {
    header.write(at_us, out)?;
    member("event", &event.name, out)?;
    member("value", &event.value, out)?;
    out.write_str("}")
}

/// Writes a crash of an earlier life that the node remembers; `crashed_boot` is the number of that life since power-on, and the
/// report is the text that the node's log shows. `at_us` is when the message was written.
///
/// # Errors
///
/// See [`write_sample`].
pub fn write_crash(header: Header, at_us: u64, kept: &Kept, out: &mut dyn Write) -> fmt::Result {
    let report = &kept.report;
    header.write(at_us, out)?;
    write!(out, ",\"crashed_boot\":{},\"core\":{},\"uptime_us\":{}", kept.boot, report.core, report.uptime_us)?;
    member("kind", &report.kind.name(), out)?;
    member("message", &report.message.as_str(), out)?;
    member("report", report, out)?;
    out.write_str("}")
}

/// Writes who the node is, and why it was started.
///
/// # Errors
///
/// See [`write_sample`].
pub fn write_birth(boot: u32, s: &Snapshot<'_>, out: &mut dyn Write) -> fmt::Result {
    let node = s.node;
    write!(out, "{{\"boot\":\"{boot:06x}\",\"uptime_us\":{},\"emulated\":{}", s.sample.at_us, node.is_emulated)?;
    if let Some(unix_us) = s.sample.boot_unix_us() {
        write!(out, ",\"boot_unix_us\":{unix_us}")?;
    }
    member("name", &node.name, out)?;
    member("board", &node.board, out)?;
    member("soc", &node.soc, out)?;
    member("revision", &format_args!("{:06x}", node.revision), out)?;
    member("serial", &node.serial(), out)?;
    member("version", &node.version, out)?;
    member("build", &node.build, out)?;
    // As at `/api/v1/crashes`: what the reset before this life was due to, and lives since power-on.
    write!(out, ",\"boots\":{}", s.past.boots)?;
    member("last_reset", &s.past.reset, out)?;
    if let Some(ipv4) = s.net.ipv4 {
        member("address", &ipv4.address, out)?;
    }
    out.write_str("}")
}

/// A change of the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// What has changed: `link`, `address`, `power` or `workload`.
    pub name: &'static str,
    /// What it is now.
    pub value: String<VALUE_LEN>,
}

/// Longest value of an event in bytes; longer ones are cut.
const VALUE_LEN: usize = 95;
/// Workloads that are watched.
const WORKLOADS: usize = 16;

/// Finds what has changed from one sample to the next.
#[derive(Default)]
pub struct Changes {
    seen: heapless::Vec<Event, { 3 + WORKLOADS }>,
}

impl Changes {
    /// Hands `take` each change since the last look. At the first look everything is one.
    pub fn look(&mut self, s: &Snapshot<'_>, mut take: impl FnMut(&Event)) {
        let link = match s.net.link {
            Link::Up { .. } => "up",
            Link::Down => "down",
            Link::Absent => "absent",
        };
        self.compare(0, "link", &link, &mut take);
        match s.net.ipv4 {
            Some(ipv4) => self.compare(1, "address", &format_args!("{}/{}", ipv4.address, ipv4.prefix_len), &mut take),
            None => self.compare(1, "address", &"none", &mut take),
        }
        let power = fmt::from_fn(|f| {
            let throttled = s.sample.throttled.unwrap_or_default();
            let mut now = throttled.conditions().filter(|(_, is_now, _)| *is_now).map(|(name, ..)| name);
            f.write_str(now.next().unwrap_or("well"))?;
            now.try_for_each(|name| write!(f, " {name}"))
        });
        self.compare(2, "power", &power, &mut take);
        for (number, (status, ..)) in s.workloads().take(WORKLOADS).enumerate() {
            // A place that never had one is no news.
            if status.spec.is_empty() && self.seen.get(3 + number).is_none_or(|seen| seen.value.is_empty()) {
                self.compare(3 + number, "workload", &"", &mut |_| ());
                continue;
            }
            let shown = format_args!("{} on core {} {}: {}", status.id, status.core, status.state.name(), status.spec);
            self.compare(3 + number, "workload", &shown, &mut take);
        }
    }

    fn compare(&mut self, place: usize, name: &'static str, value: &dyn Display, take: &mut dyn FnMut(&Event)) {
        let mut event = Event { name, value: String::new() };
        // Cut if it does not fit.
        let _ = write!(event.value, "{value}");
        match self.seen.get_mut(place) {
            Some(seen) if *seen == event => {}
            Some(seen) => {
                take(&event);
                *seen = event;
            }
            None => {
                take(&event);
                // There is a place for each.
                let _ = self.seen.push(event);
            }
        }
    }
}

/// Writes `{"node_cpu_seconds_total":{"0,idle":1.5,...},"minipirack_uptime_seconds":7,...}`: a metric without labels is a
/// number, one with labels an object by their values. Left out are distributions, and counters with labels that are zero.
fn write_metrics(s: &Snapshot<'_>, out: &mut dyn Write) -> fmt::Result {
    let mut before = "{";
    for metric in s.metrics().filter(|metric| Names::Strict.allows(metric) && metric.kind != Kind::Histogram) {
        let mut members = Members { metric, out, before, is_open: false };
        metric.read(s, &mut members)?;
        let (is_open, after) = (members.is_open, members.before);
        before = if is_open { "," } else { after };
        if is_open && !metric.labels.is_empty() {
            out.write_str("}")?;
        }
    }
    out.write_str(if before == "{" { "{}" } else { "}" })
}

struct Members<'a> {
    metric: &'a Metric,
    out: &'a mut dyn Write,
    before: &'static str,
    is_open: bool,
}

impl Output for Members<'_> {
    fn value(&mut self, labels: &[Label<'_>], value: Value) -> fmt::Result {
        let Metric { name, kind, .. } = *self.metric;
        if !labels.is_empty() && kind == Kind::Counter && matches!(value, Value::Count(0) | Value::Micros(0)) {
            return Ok(());
        }
        if !self.is_open {
            write!(self.out, "{}\"{name}\":", self.before)?;
            self.is_open = true;
            self.before = "{";
        }
        if !labels.is_empty() {
            write!(self.out, "{}\"", self.before)?;
            self.before = ",";
            for (number, label) in labels.iter().enumerate() {
                self.out.write_str(if number == 0 { "" } else { "," })?;
                match label {
                    Label::Text(text) => Escaped(self.out).write_str(text)?,
                    Label::Number(number) => write!(self.out, "{number}")?,
                    Label::Shown(value) => write!(Escaped(self.out), "{value}")?,
                }
            }
            self.out.write_str("\":")?;
        }
        write!(self.out, "{value}")
    }

    fn histogram(&mut self, _: &[Label<'_>], _: &Histogram) -> fmt::Result {
        Ok(())
    }
}

/// Writes a member behind others.
fn member(name: &str, value: &dyn Display, out: &mut dyn Write) -> fmt::Result {
    write!(out, ",\"{name}\":\"")?;
    write!(Escaped(out), "{value}")?;
    out.write_str("\"")
}

/// Writes text as it stands between quotation marks (RFC 8259, section 7).
struct Escaped<'a>(&'a mut dyn Write);

impl Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            match c {
                '"' | '\\' => write!(self.0, "\\{c}")?,
                '\0'..' ' => write!(self.0, "\\u{:04x}", u32::from(c))?,
                _ => self.0.write_char(c)?,
            }
        }
        Ok(())
    }
}
