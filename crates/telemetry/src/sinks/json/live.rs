//! What workloads have done up to the moment of asking, for who asks more often than there are samples and computes rates and
//! percentiles of any span of time from the differences.

use core::fmt;

use super::writer::{ITEM, Json};
use super::{Answered, Ask};
use crate::snapshot::Snapshot;
use crate::workload_status::WorkloadView;

/// Writes counts and figures of one workload in each part, and how many of its operations took how long: pairs of the least
/// duration of a bucket in µs and the count, of those buckets that have any. A bucket ends at most 1/16 behind its beginning.
pub(super) fn write(s: &Snapshot<'_>, ask: Ask, out: &mut Json<'_>) -> Answered {
    if ask.from == 0 {
        out.open(ITEM, '{')?;
        out.number("sample_us", s.sample.at_us)?;
        out.number("boots", s.past.boots.into())?;
        out.open("workloads", '[')?;
    }
    let Some(view) = s.workloads.get(usize::try_from(ask.from).unwrap_or(usize::MAX)) else {
        out.close(']')?;
        out.close('}')?;
        return Ok(None);
    };
    write_one(view, out)?;
    Ok(Some(ask.from + 1))
}

fn write_one(view: &WorkloadView<'_>, out: &mut Json<'_>) -> fmt::Result {
    let status = &view.status;
    out.open(ITEM, '{')?;
    out.text("id", &status.id)?;
    out.number("core", status.core.into())?;
    out.text("state", status.state.name())?;
    out.text("reason", &status.reason)?;
    for (key, count) in [
        ("runs", view.counts.runs),
        ("restarts", status.restarts),
        ("operations", view.counts.operations),
        ("bytes", view.counts.bytes),
        ("errors", view.counts.errors),
        ("busy_us", view.counts.busy_us),
    ] {
        out.number(key, count)?;
    }
    out.open("figures", '{')?;
    view.figures().try_for_each(|(metric, value)| out.raw(metric.name, &value))?;
    out.close('}')?;
    out.open("durations_us", '[')?;
    for (start_us, count) in view.durations.buckets() {
        out.number(ITEM, start_us)?;
        out.number(ITEM, count.into())?;
    }
    out.close(']')?;
    out.close('}')
}
