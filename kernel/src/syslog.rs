//! Sends the log to the syslog server of the configuration.

use embassy_sync::watch::DynReceiver;
use embassy_time::Instant;
use net::Stack;
use net::syslog::{self, Line, Lines, Severity, Transport};
use telemetry::Level;
use telemetry::log_ring::{Cursor, LogLines};

use crate::logger::{self, LogReader};

/// Sends every line since boot, and then as they come. Never returns.
pub(crate) async fn run(stack: &'static Stack, server: config::Syslog) -> ! {
    let Some(news) = logger::WRITTEN.dyn_receiver() else { core::future::pending().await };
    let transport = match server.transport {
        config::Transport::Udp => Transport::Udp,
        config::Transport::Tcp => Transport::Tcp,
    };
    syslog::run(stack, transport, server.server, &mut Log { news }).await
}

struct Log {
    news: DynReceiver<'static, u64>,
}

impl Lines for Log {
    fn read(&mut self, number: u64, line: &mut Line) -> Option<u64> {
        let mut cursor = Cursor::at(number);
        let (_, next) = LogReader.next_line(&mut cursor)?;
        line.severity = severity(next.level);
        line.at = Instant::from_micros(next.at_us);
        line.text.push_str(&next.text);
        // The cursor is behind the line.
        Some(cursor.number().saturating_sub(1))
    }

    async fn wait(&mut self) {
        self.news.changed().await;
    }
}

fn severity(level: Level) -> Severity {
    match level {
        Level::Error => Severity::Error,
        Level::Warn => Severity::Warning,
        Level::Info => Severity::Info,
        Level::Debug | Level::Trace => Severity::Debug,
    }
}
