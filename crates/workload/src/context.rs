//! A workload's link to the core it runs on: where it reports, and how it lets go of the core.

use core::fmt;
use core::net::Ipv4Addr;
use core::sync::atomic::{AtomicU64, Ordering};

use embassy_futures::select::{Either, select};
use embassy_time::{Duration, Instant, Timer};
use heapless::String;
use sockets::{AddressClaim, AddressTaken};
use telemetry::workload_status::REASON_LEN_MAX;
use telemetry::{Histogram, Second};

use crate::certify::record::Record;
use crate::core_set::CoreSet;
use crate::env::Env;
use crate::figures::Figures;
use crate::manager::{Manager, Slot};
use crate::parameter::Values;
use crate::scratch::{Buffer, Scratch};

/// The longest that a workload sleeps without a sign of progress.
const SLEEP_STEP: Duration = Duration::from_millis(500);

/// What a running workload has at hand.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// The core that it runs on.
    pub core: u8,
    /// All cores that run the same workload under the same id, this one among them.
    pub cores: CoreSet,
    pub(crate) slot: &'a Slot,
    pub(crate) manager: &'a Manager,
    pub(crate) index: usize,
    pub(crate) env: &'a dyn Env,
    pub(crate) scratch: &'a Scratch,
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

    /// Returns the values of the parameters as they are now. Reading them costs some microseconds.
    #[must_use]
    pub fn values(&self) -> Values {
        self.manager.values(self.index)
    }

    /// Waits until a value has changed. Only for workloads that say which parameters they follow
    /// ([`Workload::follows`](crate::Workload::follows)); others are started anew when a parameter is changed.
    pub async fn changed(&self) {
        self.slot.changed.wait().await;
    }

    /// Returns whether a value has changed since this was last asked.
    #[must_use]
    pub fn has_changed(&self) -> bool {
        self.slot.changed.try_take().is_some()
    }

    /// Takes the core's memory for workloads, until the buffer is dropped; `None` while another workload has it.
    #[must_use]
    pub fn take_buffer(&self) -> Option<Buffer<'a>> {
        self.scratch.take()
    }

    /// Claims an IPv4 address for the node beside its own, until `until`. The claim's state tells a moment later whether the node has it;
    /// renewing the claim moves its end. The address is gone when that has come, and when the claim is dropped: with the workload.
    ///
    /// # Errors
    ///
    /// When another workload of the node has claimed one.
    pub fn claim_address(&self, address: Ipv4Addr, until: Instant) -> Result<AddressClaim, AddressTaken> {
        self.env.network().claim_address(address, until)
    }

    /// Counts an operation that took `duration`.
    pub fn add_operation(&self, duration: Duration) {
        self.figures().durations.record(duration.as_micros());
        self.figures().add(&self.figures().operations, 1);
    }

    /// Counts so many operations that took `duration` together.
    pub fn add_operations(&self, count: u64, duration: Duration) {
        if let Some(each_us) = duration.as_micros().checked_div(count) {
            (0..count).for_each(|_| self.add_operation(Duration::from_micros(each_us)));
        }
    }

    /// Counts bytes that were moved.
    pub fn add_bytes(&self, bytes: u64) {
        self.figures().add(&self.figures().bytes, bytes);
    }

    /// Counts operations that gave a wrong result or none.
    pub fn add_errors(&self, errors: u64) {
        self.figures().add(&self.figures().errors, errors);
    }

    /// Counts time spent at work.
    pub fn add_busy(&self, duration: Duration) {
        self.figures().add(&self.figures().busy_us, duration.as_micros());
    }

    /// Returns a figure of the workload's own: the one at `index` in [`Workload::figures`](crate::Workload::figures).
    /// It begins at zero. Any core may change it; `Relaxed` is enough.
    #[must_use]
    pub fn figure(&self, index: usize) -> &'a AtomicU64 {
        let figures = self.figures();
        figures.own.get(index).unwrap_or(&figures.spare)
    }

    /// Adds to a figure of the workload's own.
    pub fn count(&self, index: usize, n: u64) {
        self.figure(index).fetch_add(n, Ordering::Relaxed);
    }

    /// Sets a figure of the workload's own.
    pub fn set(&self, index: usize, value: u64) {
        self.figure(index).store(value, Ordering::Relaxed);
    }

    /// Counts a time span in a histogram of the workload's own: the one at `index` in
    /// [`Workload::histograms`](crate::Workload::histograms).
    pub fn measure(&self, index: usize, duration: Duration) {
        if let Some(histogram) = self.histogram(index) {
            histogram.record(duration.as_micros());
        }
    }

    /// Returns a histogram of the workload's own.
    #[must_use]
    pub fn histogram(&self, index: usize) -> Option<&'a Histogram> {
        self.figures().distributions.get(index)
    }

    /// Returns the histogram of how long operations took.
    #[must_use]
    pub fn durations(&self) -> &'a Histogram {
        &self.figures().durations
    }

    /// Adds what the workload did in a second to those that are kept, if it [says](crate::Workload::has_seconds) that it does.
    pub fn add_second(&self, second: &Second) {
        self.figures().seconds.push(second);
    }

    /// Shows that the workload gets on, though it counts nothing.
    pub fn progress(&self) {
        self.figures().progress.fetch_add(1, Ordering::Relaxed);
    }

    /// Does `work` that may wait for others as long as it takes, such as a server for its clients: that is no stall.
    pub async fn attend<F: Future>(&self, work: F) -> F::Output {
        let signs = async {
            loop {
                self.progress();
                Timer::after(SLEEP_STEP).await;
            }
        };
        match select(work, signs).await {
            Either::First(output) => output,
            Either::Second(never) => never,
        }
    }

    /// Lets go of the core so that it can do what else it has to, and take an order to stop.
    pub async fn pause(&self) {
        self.progress();
        embassy_futures::yield_now().await;
    }

    /// Sleeps until `at`, and lets go of the core in any case.
    pub async fn sleep_until(&self, at: Instant) {
        loop {
            self.progress();
            let step = self.now() + SLEEP_STEP;
            Timer::at(at.min(step)).await;
            if at <= step {
                return;
            }
        }
    }

    pub(crate) fn record(&self) -> &'a Record {
        &self.manager.record
    }

    fn figures(&self) -> &'a Figures {
        &self.slot.figures
    }
}

/// Why a workload gave up.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
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
    /// The core's memory for workloads is in use.
    #[error("another workload on core {core} has its memory: choose another core")]
    MemoryTaken {
        /// The core.
        core: u8,
    },
    /// An error of the workload's own.
    #[error("{0}")]
    Because(String<REASON_LEN_MAX>),
}

impl Failure {
    /// Makes a failure of an error of the workload's own. What does not fit is cut.
    #[must_use]
    pub fn because(error: impl fmt::Display) -> Self {
        Self::Because(shortened(error))
    }
}

/// Returns what `text` shows, cut to what there is room for.
pub(crate) fn shortened<const N: usize>(text: impl fmt::Display) -> String<N> {
    struct Cut<const N: usize>(String<N>);
    impl<const N: usize> fmt::Write for Cut<N> {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            // What does not fit is left out, letter by letter.
            text.chars().try_for_each(|c| self.0.push(c)).map_err(|_| fmt::Error)
        }
    }
    let mut cut = Cut(String::new());
    let _ = fmt::write(&mut cut, format_args!("{text}"));
    cut.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_reason_is_cut() {
        let failure = Failure::because(format_args!("{}\u{e9}", "x".repeat(REASON_LEN_MAX - 1)));
        assert_eq!(failure.to_string(), "x".repeat(REASON_LEN_MAX - 1));
        assert_eq!(Failure::because("port 80 is taken").to_string(), "port 80 is taken");
    }
}
