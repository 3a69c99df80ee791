//! What commands need of the node.

use core::fmt;

use fault::{AddError, Spec, View};
use telemetry::Snapshot;
use telemetry::log_ring::LogLines;
use workload::Manager;

/// The node, as commands see it.
pub trait Node {
    /// Shows the node as it is now to `look`, once.
    fn look(&self, look: &mut dyn FnMut(&Snapshot<'_>));

    /// Returns whether the user of this session may change the node, and not only look at it.
    fn may_change(&self) -> bool;

    /// Returns the log.
    fn log(&self) -> &dyn LogLines;

    /// Writes a line to the log.
    fn note(&self, text: &str);

    /// Returns the workloads.
    fn workloads(&self) -> &Manager;

    /// Adds a fault, and returns its number.
    ///
    /// # Errors
    ///
    /// When there is no room for another.
    fn add_fault(&self, spec: Spec) -> Result<u32, AddError>;

    /// Ends a fault, or all; returns how many.
    fn clear_faults(&self, id: Option<u32>) -> usize;

    /// Shows every fault that is, or is to come.
    fn each_fault(&self, show: &mut dyn FnMut(View));

    /// Returns the archive of files that the node was given at boot (see `initramfs`); empty when there is none.
    fn files(&self) -> &[u8];

    /// Returns the time since boot in µs.
    fn now_us(&self) -> u64;

    /// Writes what the network stack knows beyond the snapshot, such as sockets and neighbours: whole lines, or nothing.
    ///
    /// # Errors
    ///
    /// Passes on the error of `out`.
    fn write_net_details(&self, out: &mut dyn fmt::Write) -> fmt::Result;

    /// Blinks the board's LED for so many seconds from now on, 0 for no longer. Returns whether there is one.
    fn locate(&self, seconds: u64) -> bool;

    /// Restarts the node soon: what was written until now should still reach its reader.
    fn reboot(&self);

    /// Returns the ways in which a core can be made to crash: for trying out what a node does then.
    fn crashes(&self) -> &[Crash];

    /// Has `core` crash soon, in the way of that name, which is one of [`crashes`](Self::crashes).
    fn crash(&self, name: &str, core: u8);
}

/// A way to crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crash {
    /// Its name: a lower-case word.
    pub name: &'static str,
    /// What happens, in a few words.
    pub help: &'static str,
}
