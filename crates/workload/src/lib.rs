//! The programs a node runs for its user, and how they are started, watched and stopped.
//!
//! Each slot of cores 1 to 3 runs [`run_slot`], which waits for orders. [`Manager`] gives them, from core 0: it turns text such
//! as `cpu:load=50%,cores=1-3` into a [`Spec`], picks the cores and hands it over. A workload is a future that works in
//! slices of some milliseconds and reports through atomics, so core 0 can read its figures at any time and drop it at the
//! end of a slice. It needs nothing of the node but an [`Env`].
//!
//! Adding a workload is one file in `builtin` and its name in the table of [`builtin`].
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]
#![cfg_attr(test, expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on should panic"))]

extern crate alloc;

// Brings the clock that embassy-time is linked with in tests.
#[cfg(test)]
use testkit as _;

pub mod builtin;
mod certify;
pub mod context;
pub mod core_set;
pub mod env;
pub mod figures;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod help;
mod http;
mod iperf3;
pub mod manager;
pub mod parameter;
mod pause;
pub mod peer;
mod run;
mod scratch;
mod seat;
pub mod spec;
mod stride;
pub mod values;

use alloc::boxed::Box;
use core::pin::Pin;

use telemetry::metrics::Metric;

pub use builtin::WORKLOADS;
pub use chance::{Distribution, Random, distribution, random, unit};
pub use context::{Context, Failure};
pub use core_set::CoreSet;
pub use env::{Env, Observation, PingFailure, TimeFailure, TimeReading};
pub use manager::{Manager, OrderError, StartError, Which};
pub use parameter::{Parameter, Values};
pub use peer::{Host, Peer};
pub use run::{run_core, run_slot};
pub use scratch::{Buffer, Scratch};
pub use spec::{Spec, SpecError};

/// A future made at the start of a workload or of a request: not per packet.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A kind of program.
pub trait Workload: Sync {
    /// Returns its name: a lower-case word.
    fn name(&self) -> &'static str;

    /// Returns what it does, in one line.
    fn summary(&self) -> &'static str;

    /// Returns what it counts as an operation, and what counts as an error.
    fn operation(&self) -> &'static str;

    /// Returns what can be set.
    fn parameters(&self) -> &'static [&'static Parameter];

    /// Returns the cores to run on when nobody names any: all of these, or one that is free if the set is empty.
    fn default_cores(&self) -> CoreSet {
        CoreSet::EMPTY
    }

    /// Returns the counters and gauges that it has besides operations, bytes and errors; see [`figures`].
    fn figures(&self) -> &'static [Metric] {
        &[]
    }

    /// Returns the histograms that it has besides that of how long operations took; see [`figures`].
    fn histograms(&self) -> &'static [Metric] {
        &[]
    }

    /// Returns whether it keeps what it did in each of the last seconds, one by one ([`Context::add_second`]).
    fn has_seconds(&self) -> bool {
        false
    }

    /// Returns whether it takes in a change of `parameter` while it runs ([`Context::changed`], [`Context::has_changed`]).
    /// If not, it is started anew.
    fn follows(&self, parameter: &Parameter) -> bool {
        let _ = parameter;
        false
    }

    /// Returns whether nothing else may run on its cores.
    fn is_exclusive(&self) -> bool {
        false
    }

    /// Runs until it is done or dropped.
    ///
    /// It must await something at least every 20 ms ([`Context::pause`] does), or it can't be stopped and holds up what
    /// shares the core, and it must report progress at least every second, or it is started anew as stalled
    /// ([`Context::attend`] is for what may wait for others as long as it takes).
    fn run<'a>(&'a self, values: &'a Values, context: Context<'a>) -> BoxFuture<'a, Result<(), Failure>>;
}
