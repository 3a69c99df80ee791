//! What a stream has moved, and how the two sides tell each other.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Write;

use crate::iperf3::{STREAMS_MAX, json};

/// What one stream has moved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) bytes: u64,
    /// UDP: datagrams sent, or the number of the last that came.
    pub(crate) packets: u64,
    /// UDP: datagrams that did not come.
    pub(crate) lost: u64,
    /// UDP: datagrams that came later than one with a higher number. Told to nobody but our own figures.
    pub(crate) out_of_order: u64,
    pub(crate) jitter_us: u64,
}

/// The results of one side.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Results {
    /// By stream, in the order in which they were made.
    pub(super) streams: Vec<Counts>,
    pub(super) elapsed_us: u64,
    /// Of that the core was busy with the test.
    pub(super) busy_us: u64,
}

impl Results {
    /// Returns the results as iperf3 sends them.
    pub(super) fn to_json(&self) -> String {
        let mut text = String::new();
        let cpu = Millionths(self.busy_us.saturating_mul(100_000_000) / self.elapsed_us.max(1));
        let elapsed = Millionths(self.elapsed_us);
        // Writing to a string can't fail.
        let _ = write!(
            text,
            r#"{{"cpu_util_total":{cpu},"cpu_util_user":0,"cpu_util_system":{cpu},"sender_has_retransmits":0,"streams":["#
        );
        for (at, counts) in self.streams.iter().enumerate() {
            let _ = write!(
                text,
                r#"{}{{"id":{},"bytes":{},"retransmits":-1,"jitter":{},"errors":{},"packets":{},"start_time":0,"end_time":{elapsed}}}"#,
                if at > 0 { "," } else { "" },
                id(at),
                counts.bytes,
                Millionths(counts.jitter_us),
                counts.lost,
                counts.packets,
            );
        }
        text.push_str("]}");
        text
    }

    /// Reads what the other side sends.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut results = Self::default();
        let streams = json::member(text, "streams")?;
        for stream in json::items(streams).take(STREAMS_MAX) {
            let counts = Counts {
                bytes: json::number(stream, "bytes")?,
                packets: json::number(stream, "packets").unwrap_or(0),
                lost: json::number(stream, "errors").unwrap_or(0),
                out_of_order: 0,
                jitter_us: json::member(stream, "jitter").and_then(json::millionths).unwrap_or(0),
            };
            let elapsed_us = json::member(stream, "end_time").and_then(json::millionths).unwrap_or(0);
            results.elapsed_us = results.elapsed_us.max(elapsed_us);
            results.streams.push(counts);
        }
        Some(results)
    }
}

/// Returns the name that iperf3 gives to a stream: 1, 3, 4, 5 ... (`iperf_add_stream`).
fn id(at: usize) -> usize {
    if at == 0 { 1 } else { at + 2 }
}

/// Shown as a decimal number of ones.
struct Millionths(u64);

impl core::fmt::Display for Millionths {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{}.{:06}", self.0 / 1_000_000, self.0 % 1_000_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let counts = Counts { bytes: 5 << 32, packets: 77, lost: 3, out_of_order: 0, jitter_us: 1_234_567 };
        let results =
            Results { streams: [counts, Counts::default(), counts].into(), elapsed_us: 10_000_001, busy_us: 5_000_000 };
        let json = results.to_json();
        assert!(json.starts_with(r#"{"cpu_util_total":49.999995,"#), "{json}");
        assert!(json.contains(r#""id":4,"bytes":21474836480,"retransmits":-1,"jitter":1.234567,"errors":3"#), "{json}");
        assert_eq!(Results::parse(&json), Some(Results { busy_us: 0, ..results }));
        assert_eq!(Results::parse("{}"), None);
    }
}
