//! How busy the node is, as Linux counts it.
//!
//! The load average is the mean number of tasks that run or could. Here each core runs one executor, so that is the mean
//! number of cores that are awake. Five minutes of samples are kept, hence no `node_load15`.

use core::fmt;

use super::Kind::Gauge;
use super::Unit::Count;
use super::{Metric, Output, Value, metric};
use crate::rates::Rates;
use crate::snapshot::Snapshot;

/// Metrics of this subject.
pub(super) const METRICS: &[Metric] = &[
    metric("node_load1", Gauge, Count, &[], "1m load average.", |s, out| load(s, 60, out)),
    metric("node_load5", Gauge, Count, &[], "5m load average.", |s, out| load(s, 300, out)),
];

/// Writes the load of the last `seconds`, or of the node's life if that is shorter.
fn load(s: &Snapshot<'_>, seconds: usize, out: &mut dyn Output) -> fmt::Result {
    // One sample a second, and one more where the first second begins.
    let Some(rates) = s.history.last(seconds + 1).next().and_then(|old| Rates::between(old, s.sample)) else {
        return Ok(());
    };
    let busy: u32 = rates.busy_permille.iter().flatten().map(|permille| u32::from(*permille)).sum();
    out.value(&[], Value::Millis(busy.into()))
}
