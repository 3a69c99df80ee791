//! Sends the log to the syslog server of the command line.

use core::fmt::Write;
use core::net::SocketAddr;

use embassy_time::Instant;
use net::Stack;
use net::syslog::{self, Line, Severity};
use telemetry::Level;
use telemetry::log_ring::{Cursor, LogLines};

use crate::logger::{self, LogReader};

/// Sends every line since boot, and then as they come. Never returns.
pub(crate) async fn run(stack: &'static Stack, server: SocketAddr) -> ! {
    let mut cursor = Cursor::default();
    let Some(mut news) = logger::WRITTEN.receiver() else { core::future::pending().await };
    syslog::run(stack, server, async |line: &mut Line| {
        loop {
            if let Some((missed, next)) = LogReader.next_line(&mut cursor) {
                line.severity = severity(next.level);
                line.at = Instant::from_micros(next.at_us);
                if missed > 0 {
                    // Writing to a String does not fail.
                    let _ = write!(line.text, "({missed} lines before this were lost) ");
                }
                line.text.push_str(&next.text);
                return;
            }
            news.changed().await;
        }
    })
    .await
}

fn severity(level: Level) -> Severity {
    match level {
        Level::Error => Severity::Error,
        Level::Warn => Severity::Warning,
        Level::Info => Severity::Info,
        Level::Debug | Level::Trace => Severity::Debug,
    }
}
