//! Log lines as syslog messages (RFC 5424), for sending each in a UDP datagram (RFC 5426).

use core::fmt;

use crate::log_ring::{Level, LogLine};
use crate::units::UtcTime;

/// Facility "local use 0" (RFC 5424, table 1).
const FACILITY: u8 = 16;
/// The sequence number goes up to this and starts again at 1 (RFC 5424, section 7.3.1).
const SEQUENCE_MAX: u64 = 2_147_483_647;

/// A log line on its way to a log server. `Display` gives the message.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// The line.
    pub line: &'a LogLine,
    /// Name of the node.
    pub host: &'a str,
    /// When the node was started, in µs since 1970, if that is known.
    pub boot_unix_us: Option<u64>,
    /// How many lines there were before this one, those that were missed among them: so the receiver sees each loss.
    pub sequence: u64,
}

impl fmt::Display for Message<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = self.line;
        write!(f, "<{}>1 ", FACILITY * 8 + severity(line.level))?;
        match self.boot_unix_us.and_then(|boot_us| boot_us.checked_add(line.at_us)) {
            Some(us) => write!(f, "{} ", Rfc3339(us))?,
            None => f.write_str("- ")?,
        }
        // A name has at most 255 printable ASCII characters (section 6.2.4); a node's has 63 of a host name.
        let host = if self.host.is_empty() { "-" } else { self.host };
        // sysUpTime is in hundredths of a second (section 7.3.3).
        write!(
            f,
            "{host} minipirack core{} - [meta sequenceId=\"{}\" sysUpTime=\"{}\"] {}",
            line.core,
            self.sequence % SEQUENCE_MAX + 1,
            line.at_us / 10_000,
            line.text
        )
    }
}

/// Returns the severity (RFC 5424, table 2).
fn severity(level: Level) -> u8 {
    match level {
        Level::Error => 3,
        Level::Warn => 4,
        Level::Info => 6,
        Level::Debug | Level::Trace => 7,
    }
}

/// µs since 1970 as `2026-11-22T17:18:36.123456Z`.
struct Rfc3339(u64);

impl fmt::Display for Rfc3339 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        UtcTime(self.0).write(f, 'T')?;
        write!(f, ".{:06}Z", self.0 % 1_000_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(level: Level) -> LogLine {
        LogLine { at_us: 12_345_678, level, core: 2, text: "too \"hot\"".try_into().unwrap() }
    }

    #[test]
    fn a_message_has_the_form_of_rfc_5424() {
        let line = line(Level::Warn);
        let mut message =
            Message { line: &line, host: "pi-123456", boot_unix_us: Some(1_795_360_716_000_000), sequence: 41 };
        assert_eq!(
            message.to_string(),
            "<132>1 2026-11-22T15:18:48.345678Z pi-123456 minipirack core2 - \
             [meta sequenceId=\"42\" sysUpTime=\"1234\"] too \"hot\""
        );
        message.boot_unix_us = None;
        message.host = "";
        assert!(message.to_string().starts_with("<132>1 - - minipirack core2 - [meta "));
    }

    #[test]
    fn sequence_numbers_start_again() {
        let line = line(Level::Info);
        for (sequence, shown) in [(0, 1), (SEQUENCE_MAX - 1, SEQUENCE_MAX), (SEQUENCE_MAX, 1)] {
            let text = Message { line: &line, host: "x", boot_unix_us: None, sequence }.to_string();
            assert!(text.contains(&format!("sequenceId=\"{shown}\"")), "{text}");
        }
    }

    #[test]
    fn severities_fall_with_the_level() {
        let priority = |level| {
            let line = line(level);
            Message { line: &line, host: "x", boot_unix_us: None, sequence: 0 }.to_string()[1..4].parse::<u8>().unwrap()
        };
        assert_eq!(Level::ALL.map(priority), [131, 132, 134, 135, 135]);
    }
}
