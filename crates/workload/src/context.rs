//! A workload's link to the core it runs on: where it reports, and how it lets go of the core.

use core::sync::atomic::{AtomicU64, Ordering};

use embassy_time::{Duration, Instant, Timer};
use telemetry::Histogram;
use telemetry::sample::WorkloadCounts;

use crate::certify::record::Record;
use crate::env::Env;

/// The longest that a workload sleeps without a sign of progress.
const SLEEP_STEP: Duration = Duration::from_millis(500);

/// What a running workload has at hand.
pub struct Context<'a> {
    /// The core that it runs on.
    pub core: u8,
    pub(crate) figures: &'a Figures,
    pub(crate) durations: &'a Histogram,
    pub(crate) env: &'a dyn Env,
    pub(crate) record: &'a Record,
    pub(crate) buffer: &'a mut [u64],
}

impl<'a> Context<'a> {
    /// Returns the node.
    #[must_use]
    pub fn env(&self) -> &'a dyn Env {
        self.env
    }

    /// Returns the time.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.env.now()
    }

    /// Takes the core's memory for workloads; empty the second time.
    #[must_use]
    pub fn take_buffer(&mut self) -> &'a mut [u64] {
        core::mem::take(&mut self.buffer)
    }

    /// Counts an operation that took `duration`.
    pub fn add_operation(&self, duration: Duration) {
        self.durations.record(duration.as_micros());
        self.figures.add(&self.figures.operations, 1);
    }

    /// Counts bytes that were moved.
    pub fn add_bytes(&self, bytes: u64) {
        self.figures.add(&self.figures.bytes, bytes);
    }

    /// Counts operations that gave a wrong result or none.
    pub fn add_errors(&self, errors: u64) {
        self.figures.add(&self.figures.errors, errors);
    }

    /// Counts time spent at work.
    pub fn add_busy(&self, duration: Duration) {
        self.figures.add(&self.figures.busy_us, duration.as_micros());
    }

    /// Lets go of the core so that it can do what else it has to, and take an order to stop.
    pub async fn pause(&self) {
        self.figures.add(&self.figures.progress, 1);
        embassy_futures::yield_now().await;
    }

    /// Sleeps until `at`, and lets go of the core in any case.
    pub async fn sleep_until(&self, at: Instant) {
        loop {
            self.figures.add(&self.figures.progress, 1);
            let step = self.now() + SLEEP_STEP;
            Timer::at(at.min(step)).await;
            if at <= step {
                return;
            }
        }
    }
}

/// Why a workload gave up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// A test of the board has failed.
    #[error("the board failed the test: the certificate says why")]
    Board,
    /// The core has too little memory for it.
    #[error("needs {needed} bytes of memory, this core has {available}: give a smaller size")]
    Memory {
        /// Bytes needed.
        needed: u64,
        /// Bytes there.
        available: u64,
    },
}

/// Figures that one core writes and others read. Each is a count of its own, so the order of the writes does not matter.
#[derive(Default)]
pub(crate) struct Figures {
    runs: AtomicU64,
    operations: AtomicU64,
    bytes: AtomicU64,
    errors: AtomicU64,
    busy_us: AtomicU64,
    progress: AtomicU64,
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
        }
    }

    /// Starts another run: all but the number of runs and the sign of progress begin at zero.
    pub(crate) fn begin(&self) {
        for count in [&self.operations, &self.bytes, &self.errors, &self.busy_us] {
            count.store(0, Ordering::Relaxed);
        }
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

    fn add(&self, count: &AtomicU64, n: u64) {
        count.fetch_add(n, Ordering::Relaxed);
        self.progress.fetch_add(1, Ordering::Relaxed);
    }
}
