//! Boots, resets, crashes and what led to them.

use core::fmt;

use super::log::write_line;
use super::writer::{ITEM, Json};
use super::{Answered, Ask};
use crate::snapshot::Snapshot;

/// Log lines of a part of an answer.
const LINES_PER_PART: usize = 16;

/// Writes the head, then one crash in each part, then the log lines.
pub(super) fn write(s: &Snapshot<'_>, ask: Ask, out: &mut Json<'_>) -> Answered {
    let past = s.past;
    if ask.from == 0 {
        out.open(ITEM, '{')?;
        out.number("boots", past.boots.into())?;
        out.text("last_reset", &past.reset)?;
        out.open("counts", '{')?;
        s.crashes.iter().try_for_each(|counted| out.number(counted.what, counted.count))?;
        out.close('}')?;
        out.open("crashes", '[')?;
        return Ok(Some(1));
    }
    let part = usize::try_from(ask.from - 1).unwrap_or(usize::MAX);
    if let Some(kept) = past.crashes.get(part) {
        let report = &kept.report;
        out.open(ITEM, '{')?;
        out.number("boot", kept.boot.into())?;
        out.text("kind", report.kind.name())?;
        out.number("core", report.core.into())?;
        out.number("uptime_us", report.uptime_us)?;
        out.text("message", report.message.as_str())?;
        out.open("backtrace", '[')?;
        report.backtrace.iter().try_for_each(|address| out.shown(ITEM, &format_args!("{address:#018x}")))?;
        out.close(']')?;
        out.shown("report", report)?;
        out.close('}')?;
        return Ok(Some(ask.from + 1));
    }
    let start = (part - past.crashes.len().min(part)) * LINES_PER_PART;
    if start == 0 {
        out.close(']')?;
        out.open("last_life_log", '[')?;
    }
    let rest = past.log.get(start..).unwrap_or_default();
    rest.iter().take(LINES_PER_PART).try_for_each(|line| write_line(line, None, ITEM, out))?;
    if rest.len() > LINES_PER_PART {
        return Ok(Some(ask.from + 1));
    }
    end(out)
}

fn end(out: &mut Json<'_>) -> Answered {
    out.close(']')?;
    out.close('}')?;
    Ok::<_, fmt::Error>(None)
}
