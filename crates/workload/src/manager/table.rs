//! What each slot runs, or ran last: a table that whoever gives orders and whoever takes them look at under one lock.

use alloc::boxed::Box;

use embassy_time::{Duration, Instant};
use heapless::String;
use telemetry::sample::{SLOTS_PER_CORE, WORKLOAD_SLOTS};
use telemetry::workload_status::{ID_LEN_MAX, REASON_LEN_MAX};
use telemetry::{WorkloadState, WorkloadStatus};

use crate::core_set::CoreSet;
use crate::spec::Spec;

/// What the slots run.
pub(super) struct Table {
    /// Boxed, so that an empty table is all zeros and takes no room in the image.
    runs: [Option<Box<Run>>; WORKLOAD_SLOTS],
    /// The number of the last run.
    number: u32,
}

/// A workload in a slot.
pub(super) struct Run {
    /// Tells this run from those before and after.
    pub(super) number: u32,
    pub(super) id: String<ID_LEN_MAX>,
    pub(super) spec: Spec,
    pub(super) cores: CoreSet,
    pub(super) state: WorkloadState,
    pub(super) reason: String<REASON_LEN_MAX>,
    pub(super) started_at: Instant,
    pub(super) restarts: u32,
    /// The figure that shows progress, and since when it has been the same.
    pub(super) progress: u64,
    pub(super) progress_at: Instant,
    /// When it is to be started anew because it made no progress.
    pub(super) restart_at: Option<Instant>,
    /// How often that was of no use.
    pub(super) strikes: u32,
    /// Whether it was told to stop.
    pub(super) is_stopping: bool,
    /// Whether its end was told.
    pub(super) is_told: bool,
}

/// Returns the slot in `place` on `core`; `None` if there is none.
pub(crate) fn slot_index(core: u8, place: usize) -> Option<usize> {
    let first = CoreSet::of(core).iter().next()?.checked_sub(1)?;
    (place < SLOTS_PER_CORE).then_some(usize::from(first) * SLOTS_PER_CORE + place)
}

/// Returns the core that a slot belongs to.
pub(super) fn core_of(index: usize) -> u8 {
    (index / SLOTS_PER_CORE + 1) as u8
}

impl Table {
    pub(super) const fn new() -> Self {
        Self { runs: [const { None }; WORKLOAD_SLOTS], number: 0 }
    }

    pub(super) fn get(&self, index: usize) -> Option<&Run> {
        self.runs.get(index)?.as_deref()
    }

    pub(super) fn get_mut(&mut self, index: usize) -> Option<&mut Run> {
        self.runs.get_mut(index)?.as_deref_mut()
    }

    /// Returns what slots run, or ran last.
    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, &Run)> {
        self.runs.iter().enumerate().filter_map(|(index, run)| Some((index, run.as_deref()?)))
    }

    /// Returns what slots run.
    pub(super) fn active(&self) -> impl Iterator<Item = (usize, &Run)> {
        self.iter().filter(|(_, run)| run.is_taken())
    }

    /// Returns what `core` runs.
    pub(super) fn active_on(&self, core: u8) -> impl Iterator<Item = &Run> {
        self.active().filter(move |(index, _)| core_of(*index) == core).map(|(_, run)| run)
    }

    /// Returns a number for the next run.
    pub(super) fn next_number(&mut self) -> u32 {
        // Only has to differ from the last ones.
        self.number = self.number.wrapping_add(1);
        self.number
    }

    /// Returns the best slot of `core` for another workload: one never used, or the one whose workload ended first.
    pub(super) fn free_slot(&self, core: u8) -> Option<usize> {
        let places = (0..SLOTS_PER_CORE).filter_map(|place| slot_index(core, place));
        let free = places.filter(|index| self.get(*index).is_none_or(|run| !run.is_taken()));
        free.min_by_key(|index| self.get(*index).map(|run| run.started_at))
    }

    /// Forgets workloads with this id, which have ended or are about to.
    pub(super) fn forget(&mut self, id: &str) {
        for run in &mut self.runs {
            if run.as_ref().is_some_and(|run| run.id == id && !run.is_taken()) {
                *run = None;
            }
        }
    }

    pub(super) fn put(&mut self, index: usize, run: Run) {
        if let Some(slot) = self.runs.get_mut(index) {
            *slot = Some(Box::new(run));
        }
    }
}

impl Run {
    pub(super) fn new(number: u32, id: String<ID_LEN_MAX>, spec: Spec, cores: CoreSet) -> Self {
        let now = Instant::now();
        Self {
            number,
            id,
            spec,
            cores,
            state: WorkloadState::Starting,
            reason: String::new(),
            started_at: now,
            restarts: 0,
            progress: 0,
            progress_at: now,
            restart_at: None,
            strikes: 0,
            is_stopping: false,
            is_told: false,
        }
    }

    /// Notes a start that was ordered, or has happened.
    pub(super) fn begin(&mut self, state: WorkloadState) {
        let now = Instant::now();
        self.state = state;
        self.reason.clear();
        (self.started_at, self.progress_at) = (now, now);
        (self.restart_at, self.is_stopping, self.is_told) = (None, false, false);
    }

    /// Notes the figure that shows progress, and returns for how long it has been the same.
    pub(super) fn observe(&mut self, progress: u64, now: Instant) -> Duration {
        if self.progress != progress {
            (self.progress, self.progress_at) = (progress, now);
        }
        now.checked_duration_since(self.progress_at).unwrap_or(Duration::MIN)
    }

    /// Returns whether its slot and its id are taken. They are free as soon as it is told to stop: the slot takes one order
    /// after the other.
    pub(super) fn is_taken(&self) -> bool {
        self.state.is_active() && !self.is_stopping
    }

    /// Returns whether an order was given that its core has not taken up.
    pub(super) fn is_ordered(&self) -> bool {
        self.state == WorkloadState::Starting || self.is_stopping && self.state.is_active()
    }

    pub(super) fn status(&self, index: usize) -> WorkloadStatus {
        let mut spec = String::new();
        // As long as what it is copied to.
        let _ = spec.push_str(self.spec.values.as_str());
        WorkloadStatus {
            slot: index,
            core: core_of(index),
            id: self.id.clone(),
            name: self.spec.workload.name(),
            spec,
            state: self.state,
            reason: self.reason.clone(),
            started_us: self.started_at.as_micros(),
            restarts: self.restarts.into(),
        }
    }
}
