//! Live telemetry as server-sent events (WHATWG HTML, "Server-sent events"): `sample` and `workloads` once a second, `log`
//! as lines are written.
//!
//! The id of every event is the number of the log line that comes next. A browser that lost the connection sends the last
//! one that it saw, and misses no line that the node still has.

use core::fmt;

use super::log::write_line;
use super::writer::{ITEM, Json};
use super::{sample, workloads};
use crate::log_ring::{Cursor, LogLines};
use crate::snapshot::Snapshot;

/// Media type of a stream of events.
pub const CONTENT_TYPE: &str = "text/event-stream";
/// How long a client should wait before it comes back, in milliseconds.
const RETRY_MS: u32 = 2000;

/// Writes what a stream begins with.
///
/// # Errors
///
/// As all here: those of the writer.
pub fn write_begin(out: &mut dyn fmt::Write) -> fmt::Result {
    write!(out, "retry: {RETRY_MS}\n\n")
}

/// Writes the newest sample as two events, without ids, which are each client's own: the newest is what they all get.
pub fn write_sample(s: &Snapshot<'_>, out: &mut dyn fmt::Write) -> fmt::Result {
    out.write_str("event: sample\ndata: ")?;
    sample::write_newest(s, ITEM, &mut Json::new(out))?;
    out.write_str("\n\nevent: workloads\ndata: ")?;
    workloads::write(s, ITEM, &mut Json::new(out))?;
    out.write_str("\n\n")
}

/// Writes at most `count` log lines from `cursor` on, each an event, and moves the cursor on. Returns how many there were.
pub fn write_log(
    log: &dyn LogLines,
    cursor: &mut Cursor,
    count: usize,
    out: &mut dyn fmt::Write,
) -> Result<usize, fmt::Error> {
    for written in 0..count {
        let Some((missed, line)) = log.next_line(cursor) else { return Ok(written) };
        write!(out, "event: log\nid: {}\ndata: ", cursor.number())?;
        write_line(&line, (missed > 0).then_some(missed), ITEM, &mut Json::new(out))?;
        out.write_str("\n\n")?;
    }
    Ok(count)
}
