//! Log lines.

use core::fmt;

use super::writer::{ITEM, Json};
use super::{Answered, Ask};
use crate::log_ring::LogLine;
use crate::snapshot::Snapshot;

/// Lines of a part of an answer.
const PER_PART: usize = 16;

/// Writes the last lines; `next` is the number of the line that comes next, for `events?after=`.
pub(super) fn write(s: &Snapshot<'_>, ask: Ask, out: &mut Json<'_>) -> Answered {
    // Numbers of lines begin at 0, those of parts must not.
    let mut cursor = match ask.from.checked_sub(1) {
        Some(number) => s.log.cursor_at(number),
        None => {
            out.open(ITEM, '{')?;
            out.open("lines", '[')?;
            s.log.cursor_at_last(ask.last)
        }
    };
    for _ in 0..PER_PART {
        let Some((missed, line)) = s.log.next_line(&mut cursor) else {
            out.close(']')?;
            out.number("next", cursor.number())?;
            out.close('}')?;
            return Ok(None);
        };
        write_line(&line, (missed > 0).then_some(missed), ITEM, out)?;
    }
    Ok(Some(cursor.number() + 1))
}

/// Writes a line; `missed` is how many before it are lost, if any.
pub(super) fn write_line(line: &LogLine, missed: Option<u64>, key: &str, out: &mut Json<'_>) -> fmt::Result {
    out.open(key, '{')?;
    out.number("at_us", line.at_us)?;
    out.text("level", line.level.name())?;
    out.number("core", line.core.into())?;
    out.text("text", &line.text)?;
    if let Some(missed) = missed {
        out.number("missed", missed)?;
    }
    out.close('}')
}
