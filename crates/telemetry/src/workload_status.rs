//! What a core runs for the user, as plain data.

use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering};

use heapless::String;

use crate::histogram::Histogram;
use crate::metrics::{Metric, Unit, Value};
use crate::sample::WorkloadCounts;
use crate::seconds::Seconds;

/// Longest specification of a workload.
pub const SPEC_LEN_MAX: usize = 256;
/// Longest name that tells a workload from all others.
pub const ID_LEN_MAX: usize = 24;
/// Longest reason of a failure that is shown.
pub const REASON_LEN_MAX: usize = 96;

/// A workload on one core: one that runs on three cores is there three times, with the same id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkloadStatus {
    /// Where its figures are in a sample: an index.
    pub slot: usize,
    /// The core.
    pub core: u8,
    /// Tells it from all others of the node: `http`, `http#2`, or what its user has named it.
    pub id: String<ID_LEN_MAX>,
    /// What it is: the name of the workload.
    pub name: &'static str,
    /// The workload with its parameters, as it could be typed again.
    pub spec: String<SPEC_LEN_MAX>,
    /// How it is doing.
    pub state: WorkloadState,
    /// Why it failed, or what is done about it.
    pub reason: String<REASON_LEN_MAX>,
    /// When it was started, in µs since boot.
    pub started_us: u64,
    /// How often it was started anew because it made no progress.
    pub restarts: u64,
}

impl WorkloadStatus {
    /// Nothing.
    pub const EMPTY: Self = Self {
        slot: 0,
        core: 0,
        id: String::new(),
        name: "",
        spec: String::new(),
        state: WorkloadState::Stopped,
        reason: String::new(),
        started_us: 0,
        restarts: 0,
    };
}

/// A workload on one core as a snapshot shows it: its status, and figures that are read as they are at the moment.
#[derive(Clone)]
pub struct WorkloadView<'a> {
    /// Its status.
    pub status: WorkloadStatus,
    /// What it has done up to this moment.
    pub counts: WorkloadCounts,
    /// The time that its operations took.
    pub durations: &'a Histogram,
    /// What it counts besides operations, bytes and errors: counters and gauges.
    pub figures: &'static [Metric],
    /// Their values, in the same order; read them with [`figure_value`].
    pub values: &'a [AtomicU64],
    /// What else it measures: histograms.
    pub histograms: &'static [Metric],
    /// What was measured, in the same order.
    pub distributions: &'a [Histogram],
    /// Whether it keeps what it did in each of the last seconds.
    pub has_seconds: bool,
    /// Those seconds.
    pub seconds: &'a Seconds,
}

impl<'a> WorkloadView<'a> {
    /// Returns its own counters and gauges with their values.
    pub fn figures(&self) -> impl Iterator<Item = (&'static Metric, Value)> + use<'a> {
        self.figures.iter().zip(self.values).map(|(metric, value)| (metric, figure_value(metric.unit, value)))
    }

    /// Returns its own histograms.
    pub fn histograms(&self) -> impl Iterator<Item = (&'static Metric, &'a Histogram)> + use<'a> {
        self.histograms.iter().zip(self.distributions)
    }
}

/// Returns the value of a figure. It is kept in whole units, but seconds in millionths and shares in thousandths.
#[must_use]
pub fn figure_value(unit: Unit, value: &AtomicU64) -> Value {
    let value = value.load(Ordering::Relaxed);
    match unit {
        Unit::Seconds => Value::Micros(value),
        Unit::Ratio => Value::Millis(i64::try_from(value).unwrap_or(i64::MAX)),
        _ => Value::Count(value),
    }
}

/// A workload with its counts of the newest sample.
pub type WorkloadNow<'a> = (&'a WorkloadStatus, WorkloadCounts, &'a Histogram);

/// How a workload is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkloadState {
    /// A start was ordered and the core has not taken it up yet.
    Starting,
    /// It runs and makes progress.
    Running,
    /// It runs, but has made no progress for some seconds, or waits to be started anew because of that.
    Stalled,
    /// It did all it was told to do.
    Finished,
    /// It gave up; the status says why.
    Failed,
    /// It was told to stop.
    Stopped,
}

impl WorkloadState {
    /// Every state.
    pub const ALL: [Self; 6] =
        [Self::Starting, Self::Running, Self::Stalled, Self::Finished, Self::Failed, Self::Stopped];

    /// Returns the state as one word.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Stalled => "stalled",
            Self::Finished => "finished",
            Self::Failed => "failed",
            Self::Stopped => "stopped",
        }
    }

    /// Returns whether the core is taken.
    #[must_use]
    pub fn is_active(self) -> bool {
        matches!(self, Self::Starting | Self::Running | Self::Stalled)
    }
}

impl fmt::Display for WorkloadState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
