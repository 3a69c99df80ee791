//! What workloads that send requests have done in each of the last seconds.

use core::fmt;

use super::sample::write_validity;
use super::writer::{ITEM, Json};
use super::{Answered, Ask};
use crate::health::Health;
use crate::seconds::COLUMNS;
use crate::snapshot::Snapshot;
use crate::workload_status::WorkloadView;

/// Rows of a part of an answer.
const ROWS_PER_PART: usize = 32;

/// Writes some rows of one workload in each part. A part begins at place `from >> 32` of the workloads, at its beginning if the
/// other half is 0, else behind the row whose number is one less than that.
pub(super) fn write(s: &Snapshot<'_>, ask: Ask, out: &mut Json<'_>) -> Answered {
    if ask.from == 0 {
        out.open(ITEM, '{')?;
        out.open("workloads", '[')?;
    }
    // Both halves fit.
    let (place, next_row) = ((ask.from >> 32) as usize, ask.from as u32);
    let wanted = s.workloads.iter().enumerate().skip(place).find(|(_, view)| view.has_seconds);
    // One that was begun is ended, even if it has gone meanwhile.
    let here = wanted.filter(|(at, _)| next_row == 0 || *at == place);
    let Some((place, view)) = here else {
        if next_row > 0 {
            end(out)?;
            return Ok(Some((place as u64 + 1) << 32));
        }
        out.close(']')?;
        out.close('}')?;
        return Ok(None);
    };
    if next_row == 0 {
        begin(s, view, out)?;
    }
    let mut count = 0;
    for (number, second) in view.seconds.last(ask.last, next_row) {
        out.open(ITEM, '[')?;
        out.number(ITEM, second.start_us)?;
        second.values().iter().try_for_each(|value| out.number(ITEM, (*value).into()))?;
        out.close(']')?;
        count += 1;
        if count == ROWS_PER_PART {
            return Ok(Some(((place as u64) << 32) | (u64::from(number) + 1)));
        }
    }
    end(out)?;
    Ok(Some((place as u64 + 1) << 32))
}

fn begin(s: &Snapshot<'_>, view: &WorkloadView<'_>, out: &mut Json<'_>) -> fmt::Result {
    let status = &view.status;
    out.open(ITEM, '{')?;
    out.text("id", &status.id)?;
    out.number("core", status.core.into())?;
    out.text("name", status.name)?;
    out.number("started_us", status.started_us)?;
    write_validity(Health { sick: s.health.since(status.started_us), ..s.sample.health }, out)?;
    out.open("columns", '[')?;
    out.text(ITEM, "start_us")?;
    COLUMNS.iter().try_for_each(|column| out.text(ITEM, column))?;
    out.close(']')?;
    out.open("rows", '[')
}

fn end(out: &mut Json<'_>) -> fmt::Result {
    out.close(']')?;
    out.close('}')
}
