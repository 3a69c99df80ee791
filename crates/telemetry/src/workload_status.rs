//! What a core runs for the user, as plain data.

use core::fmt;

use heapless::String;

/// Longest specification of a workload that is shown.
pub const SPEC_LEN_MAX: usize = 96;
/// Longest reason of a failure that is shown.
pub const REASON_LEN_MAX: usize = 96;

/// What a core runs, or ran last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkloadStatus {
    /// The core.
    pub core: u8,
    /// Name of the workload; empty if none was ever started.
    pub name: &'static str,
    /// The workload with its parameters, as it could be typed again.
    pub spec: String<SPEC_LEN_MAX>,
    /// How it is doing.
    pub state: WorkloadState,
    /// Why it failed, if it did.
    pub reason: String<REASON_LEN_MAX>,
    /// When it was started, in µs since boot.
    pub started_us: u64,
}

impl WorkloadStatus {
    /// A core that nothing was started on.
    pub const EMPTY: Self = Self {
        core: 0,
        name: "",
        spec: String::new(),
        state: WorkloadState::Free,
        reason: String::new(),
        started_us: 0,
    };
}

/// How a core's workload is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkloadState {
    /// Nothing runs.
    Free,
    /// A start was ordered and the core has not taken it up yet.
    Starting,
    /// It runs and makes progress.
    Running,
    /// It runs, but has made no progress for some seconds.
    Stalled,
    /// It did all it was told to do.
    Finished,
    /// It gave up; the status says why.
    Failed,
}

impl WorkloadState {
    /// Every state.
    pub const ALL: [Self; 6] = [Self::Free, Self::Starting, Self::Running, Self::Stalled, Self::Finished, Self::Failed];

    /// Returns the state as one word.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Free => "free",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Stalled => "stalled",
            Self::Finished => "finished",
            Self::Failed => "failed",
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
