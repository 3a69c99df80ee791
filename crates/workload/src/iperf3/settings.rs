//! What a test is to be: told by the client, in JSON.

use alloc::string::String;
use core::fmt::Write;

use crate::iperf3::json;

/// Length of a block over TCP if none is given; over UDP it is the longest datagram for any path.
const TCP_LEN: u64 = 128 * 1024;
const UDP_LEN: u64 = 1460;
const TIME_S: u64 = 10;
/// Longest test, and longest beginning that does not count: iperf3 asks for no longer one (esnet/iperf, iperf.h, `MAX_TIME`).
const TIME_MAX_S: u64 = 86_400;

/// A test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    pub(crate) is_udp: bool,
    /// Duration in seconds; 0 if bytes or blocks are the end.
    pub(crate) time_s: u64,
    /// Bytes to send; 0: no limit.
    pub(crate) bytes: u64,
    /// Blocks to send; 0: no limit.
    pub(crate) blocks: u64,
    /// Seconds at the beginning that do not count.
    pub(crate) omit_s: u64,
    /// Streams in each direction that there is.
    pub(crate) parallel: u64,
    /// The server sends.
    pub(crate) is_reverse: bool,
    /// Both send.
    pub(crate) is_bidirectional: bool,
    /// Bytes of a block or of a datagram.
    pub(crate) len: u64,
    /// Bits per second of each stream; 0: as many as possible.
    pub(crate) rate: u64,
    /// Datagrams are numbered with 64 bits.
    pub(crate) has_long_numbers: bool,
}

impl Settings {
    /// Reads what a client sends.
    pub(super) fn parse(text: &str) -> Option<Self> {
        json::member(text, "parallel")?;
        let is_udp = json::is_set(text, "udp");
        let number = |name| json::number(text, name);
        let (bytes, blocks) = (number("num").unwrap_or(0), number("blockcount").unwrap_or(0));
        let default_time = if bytes == 0 && blocks == 0 { TIME_S } else { 0 };
        Some(Self {
            is_udp,
            time_s: number("time").unwrap_or(default_time).min(TIME_MAX_S),
            bytes,
            blocks,
            omit_s: number("omit").unwrap_or(0).min(TIME_MAX_S),
            parallel: number("parallel")?.max(1),
            is_reverse: json::is_set(text, "reverse"),
            is_bidirectional: json::is_set(text, "bidirectional"),
            len: number("len").filter(|len| *len > 0).unwrap_or(if is_udp { UDP_LEN } else { TCP_LEN }),
            // A client names its own default; what it does not name is no limit (esnet/iperf, iperf_api.c, send_parameters).
            rate: number("bandwidth").unwrap_or(0),
            has_long_numbers: json::is_set(text, "udp_counters_64bit"),
        })
    }

    /// Returns what a client sends.
    pub(super) fn to_json(self) -> String {
        let mut text = String::new();
        // Writing to a string can't fail.
        let _ = write!(
            text,
            r#"{{"{}":true,"omit":{},"time":{},"num":{},"blockcount":{},"parallel":{},"len":{},"pacing_timer":1000"#,
            if self.is_udp { "udp" } else { "tcp" },
            self.omit_s,
            self.time_s,
            self.bytes,
            self.blocks,
            self.parallel,
            self.len,
        );
        for (name, is_set) in [
            ("reverse", self.is_reverse),
            ("bidirectional", self.is_bidirectional),
            ("udp_counters_64bit", self.has_long_numbers),
        ] {
            if is_set {
                let _ = write!(text, r#","{name}":1"#);
            }
        }
        if self.rate > 0 {
            let _ = write!(text, r#","bandwidth":{}"#, self.rate);
        }
        text.push_str(concat!(r#","client_version":"MiniPiRack "#, env!("CARGO_PKG_VERSION"), r#""}"#));
        text
    }

    /// Returns in how many streams this side sends and receives, in the order in which the client makes them: true for a
    /// stream in which this side sends.
    pub(super) fn directions(self, is_client: bool) -> impl Iterator<Item = bool> {
        let parallel = usize::try_from(self.parallel).unwrap_or(usize::MAX);
        let first = core::iter::repeat_n(self.is_reverse != is_client, parallel);
        let second = core::iter::repeat_n(!is_client, if self.is_bidirectional { parallel } else { 0 });
        first.chain(second)
    }

    /// Returns the number of streams.
    pub(super) fn streams(self) -> u64 {
        self.parallel.saturating_mul(if self.is_bidirectional { 2 } else { 1 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `iperf3 -c ... --bidir -P 2 -u -b 5M -t 3` of version 3.12 sends it.
    const REAL: &str = r#"{"udp":true,"omit":0,"time":3,"num":0,"blockcount":0,"parallel":2,"bidirectional":true,"len":1448,"bandwidth":5000000,"pacing_timer":1000,"client_version":"3.12"}"#;

    #[test]
    fn the_real_clients_parameters_are_understood() {
        let settings = Settings::parse(REAL).unwrap();
        assert!(settings.is_udp && settings.is_bidirectional && !settings.is_reverse && !settings.has_long_numbers);
        assert_eq!((settings.time_s, settings.parallel, settings.len, settings.rate), (3, 2, 1448, 5_000_000));
        assert_eq!(settings.directions(false).collect::<Vec<_>>(), [false, false, true, true]);
        assert_eq!(settings.directions(true).collect::<Vec<_>>(), [true, true, false, false]);
        let reverse = Settings { is_bidirectional: false, is_reverse: true, ..settings };
        assert_eq!(reverse.directions(true).collect::<Vec<_>>(), [false, false]);
        assert_eq!(Settings::parse("{}"), None);
        assert_eq!(Settings::parse("nonsense"), None);
        // Moments that no clock has.
        let endless =
            Settings::parse(r#"{"tcp":true,"omit":18446744073709,"time":18446744073709,"parallel":1}"#).unwrap();
        assert_eq!((endless.omit_s, endless.time_s), (86_400, 86_400));
    }

    #[test]
    fn what_is_written_is_read_back() {
        let settings = Settings::parse(REAL).unwrap();
        for settings in [
            settings,
            Settings { is_udp: false, rate: 0, len: 1 << 17, is_reverse: true, is_bidirectional: false, ..settings },
            Settings { bytes: 5 << 30, time_s: 0, has_long_numbers: true, blocks: 7, omit_s: 1, ..settings },
        ] {
            assert_eq!(Settings::parse(&settings.to_json()), Some(settings));
        }
    }
}
