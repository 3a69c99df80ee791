//! Disturbances on purpose.

use super::Answered;
use super::writer::{ITEM, Json};
use crate::snapshot::Snapshot;

/// Writes every fault, and what faults have done since boot.
pub(super) fn write(s: &Snapshot<'_>, out: &mut Json<'_>) -> Answered {
    let now_us = s.sample.at_us;
    out.open(ITEM, '{')?;
    out.number("at_us", now_us)?;
    out.open("faults", '[')?;
    for view in s.faults.views {
        out.open(ITEM, '{')?;
        out.number("id", view.id.into())?;
        out.text("kind", view.kind)?;
        out.text("fault", &view.text)?;
        out.text("state", view.state.name())?;
        out.number("begins_us", view.begins_us)?;
        out.number("ends_us", view.ends_us)?;
        out.optional("frames_matched", view.is_of_frames.then_some(view.matched))?;
        out.optional("frames_hit", view.is_of_frames.then_some(view.hits))?;
        out.close('}')?;
    }
    out.close(']')?;
    let totals = &s.faults.totals;
    out.open("frames", '{')?;
    out.number("dropped", totals.dropped)?;
    out.number("delayed", totals.delayed)?;
    out.number("duplicated", totals.duplicated)?;
    out.number("corrupted", totals.corrupted)?;
    out.number("overflowed", totals.overflowed)?;
    out.close('}')?;
    out.close('}')?;
    Ok(None)
}
