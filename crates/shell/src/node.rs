//! What commands need of the node.

use core::fmt;

use telemetry::Snapshot;
use telemetry::log_ring::LogLines;
use workload::Manager;

/// The node, as commands see it.
pub trait Node {
    /// Shows the node as it is now to `look`, once.
    fn look(&self, look: &mut dyn FnMut(&Snapshot<'_>));

    /// Returns the log.
    fn log(&self) -> &dyn LogLines;

    /// Returns the workloads.
    fn workloads(&self) -> &Manager;

    /// Returns the time since boot in µs.
    fn now_us(&self) -> u64;

    /// Writes what the network stack knows beyond the snapshot, such as sockets and neighbours: whole lines, or nothing.
    ///
    /// # Errors
    ///
    /// Passes on the error of `out`.
    fn write_net_details(&self, out: &mut dyn fmt::Write) -> fmt::Result;

    /// Restarts the node soon: what was written until now should still reach its reader.
    fn reboot(&self);

    /// Has `core` crash soon, on purpose.
    fn crash(&self, crash: Crash, core: u8);
}

/// Ways to crash, for trying out what a node does then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// A panic of the code.
    Panic,
    /// A read of an address that nothing is mapped at.
    DataAbort,
    /// A jump to an address that nothing is mapped at.
    PrefetchAbort,
    /// A write to read-only memory.
    WriteReadOnly,
    /// A jump to memory that holds data.
    ExecuteData,
    /// An instruction that does not exist.
    Undefined,
    /// A word read from an odd address of device memory.
    Unaligned,
    /// A recursion without end.
    StackOverflow,
    /// A call of a supervisor that is not there.
    Svc,
    /// A breakpoint without a debugger.
    Breakpoint,
    /// A loop that never lets go of the core.
    Hang,
}

impl Crash {
    /// Every way.
    pub const ALL: [Self; 11] = [
        Self::Panic,
        Self::DataAbort,
        Self::PrefetchAbort,
        Self::WriteReadOnly,
        Self::ExecuteData,
        Self::Undefined,
        Self::Unaligned,
        Self::StackOverflow,
        Self::Svc,
        Self::Breakpoint,
        Self::Hang,
    ];

    /// Returns its name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Panic => "panic",
            Self::DataAbort => "data-abort",
            Self::PrefetchAbort => "prefetch-abort",
            Self::WriteReadOnly => "write-read-only",
            Self::ExecuteData => "execute-data",
            Self::Undefined => "undefined",
            Self::Unaligned => "unaligned",
            Self::StackOverflow => "stack-overflow",
            Self::Svc => "svc",
            Self::Breakpoint => "breakpoint",
            Self::Hang => "hang",
        }
    }
}
