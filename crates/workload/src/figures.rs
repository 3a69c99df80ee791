//! What a workload counts: figures that one core writes and others read. Each is a count of its own, so the order of the
//! writes does not matter.

use core::sync::atomic::{AtomicU64, Ordering};

use telemetry::metrics::{Kind, Metric, Unit};
use telemetry::sample::WorkloadCounts;
use telemetry::{Histogram, Seconds};

/// Most counters and gauges that a workload can have of its own.
pub const FIGURES_MAX: usize = 28;
/// Most histograms that a workload can have of its own.
pub const HISTOGRAMS_MAX: usize = 2;

/// Returns a counter for [`Workload::figures`](crate::Workload::figures). Seconds are counted in µs.
#[must_use]
pub const fn counter(name: &'static str, unit: Unit, help: &'static str) -> Metric {
    Metric::of_workload(name, Kind::Counter, unit, help)
}

/// Returns a gauge for [`Workload::figures`](crate::Workload::figures). Seconds are set in µs, shares in thousandths.
#[must_use]
pub const fn gauge(name: &'static str, unit: Unit, help: &'static str) -> Metric {
    Metric::of_workload(name, Kind::Gauge, unit, help)
}

/// Returns a histogram of time spans for [`Workload::histograms`](crate::Workload::histograms).
#[must_use]
pub const fn histogram(name: &'static str, help: &'static str) -> Metric {
    Metric::of_workload(name, Kind::Histogram, Unit::Seconds, help)
}

/// What every workload counts, what only some do, and how long things took.
#[derive(Default)]
pub(crate) struct Figures {
    runs: AtomicU64,
    pub(crate) operations: AtomicU64,
    pub(crate) bytes: AtomicU64,
    pub(crate) errors: AtomicU64,
    pub(crate) busy_us: AtomicU64,
    pub(crate) progress: AtomicU64,
    pub(crate) own: [AtomicU64; FIGURES_MAX],
    /// Where a workload writes a figure that it has not declared.
    pub(crate) spare: AtomicU64,
    pub(crate) durations: Histogram,
    pub(crate) distributions: [Histogram; HISTOGRAMS_MAX],
    pub(crate) seconds: Seconds,
}

impl Figures {
    pub(crate) const fn new() -> Self {
        Self {
            runs: AtomicU64::new(0),
            operations: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            errors: AtomicU64::new(0),
            busy_us: AtomicU64::new(0),
            progress: AtomicU64::new(0),
            own: [const { AtomicU64::new(0) }; FIGURES_MAX],
            spare: AtomicU64::new(0),
            durations: Histogram::new(),
            distributions: [const { Histogram::new() }; HISTOGRAMS_MAX],
            seconds: Seconds::new(),
        }
    }

    /// Starts another run: all but the number of runs and the sign of progress begin at zero.
    pub(crate) fn begin(&self) {
        for count in [&self.operations, &self.bytes, &self.errors, &self.busy_us].into_iter().chain(&self.own) {
            count.store(0, Ordering::Relaxed);
        }
        self.durations.clear();
        self.distributions.iter().for_each(Histogram::clear);
        self.seconds.clear();
        self.add(&self.runs, 1);
    }

    pub(crate) fn read(&self) -> WorkloadCounts {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        WorkloadCounts {
            runs: read(&self.runs),
            operations: read(&self.operations),
            bytes: read(&self.bytes),
            errors: read(&self.errors),
            busy_us: read(&self.busy_us),
            progress: read(&self.progress),
        }
    }

    /// Returns what changes whenever the workload gets on.
    pub(crate) fn progress(&self) -> u64 {
        self.progress.load(Ordering::Relaxed)
    }

    /// Adds to a count, which is a sign of progress.
    pub(crate) fn add(&self, count: &AtomicU64, n: u64) {
        count.fetch_add(n, Ordering::Relaxed);
        self.progress.fetch_add(1, Ordering::Relaxed);
    }
}
