//! Starts, stops and watches the workloads of all cores. One per node, in a static; any core may call it.

use alloc::boxed::Box;
use core::cell::RefCell;

use embassy_sync::blocking_mutex::Mutex;
use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;
use embassy_sync::signal::Signal;
use embassy_time::{Duration, Instant};
use heapless::Vec;
use telemetry::sample::WorkloadCounts;
use telemetry::{Certificate, Histogram, WorkloadState, WorkloadStatus};

use crate::certify::record::Record;
use crate::context::{Failure, Figures};
use crate::core_set::CoreSet;
use crate::spec::{Spec, SpecError};

/// A workload that has shown no progress for this long is shown as stalled. The longest that a healthy one is silent is
/// the time-out of a ping, 4 s.
pub const STALL: Duration = Duration::from_secs(6);

/// The orders to the cores and what they report.
pub struct Manager {
    slots: [Slot; telemetry::CORES],
    pub(crate) record: Record,
}

/// Why nothing was started.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StartError {
    /// The specification is wrong.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// Every core has a workload.
    #[error("no core is free: stop a workload, or name the cores whose workload is to be replaced (cores=1-3)")]
    NoFreeCore,
}

impl Manager {
    /// Makes a manager of cores that run nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self { slots: [const { Slot::new() }; telemetry::CORES], record: Record::new() }
    }

    /// Starts the workload that `text` specifies (see [`Spec::parse`]) and returns where.
    ///
    /// It runs on `cores` if given, else on the cores that `text` names, else on the workload's usual cores, else on the lowest
    /// free core. On a named core it
    /// replaces what ran there. It starts as soon as the core takes the order: at once, or when the core comes up.
    ///
    /// # Errors
    ///
    /// When `text` is wrong, or names no cores and none is free.
    pub fn start(&self, text: &str, cores: Option<CoreSet>) -> Result<CoreSet, StartError> {
        let spec = Spec::parse(text)?;
        let named = cores.or(spec.cores).filter(|cores| !cores.is_empty());
        let usual = Some(spec.workload.default_cores()).filter(|cores| !cores.is_empty());
        let cores = named.or(usual).unwrap_or_else(|| self.first_free());
        if cores.is_empty() {
            return Err(StartError::NoFreeCore);
        }
        for (_, slot) in self.slots_of(cores) {
            slot.order_start(Box::new(spec.clone()));
        }
        Ok(cores)
    }

    /// Tells `cores` to stop, and returns which of them had something to stop.
    pub fn stop(&self, cores: CoreSet) -> CoreSet {
        let mut stopped = CoreSet::EMPTY;
        for (core, slot) in self.slots_of(cores) {
            if slot.state().is_active() {
                stopped.insert(core);
            }
            slot.command.signal(Command::Stop);
        }
        stopped
    }

    /// Returns what each workload core runs, with the time that its operations take: as a snapshot wants it.
    #[must_use]
    pub fn statuses(&self) -> Vec<(WorkloadStatus, &Histogram), { telemetry::CORES }> {
        self.slots_of(CoreSet::ALL).map(|(core, slot)| (slot.status(core), &slot.durations)).collect()
    }

    /// Returns what `core` runs; `None` if it runs no workloads.
    #[must_use]
    pub fn status(&self, core: u8) -> Option<WorkloadStatus> {
        self.slots_of(CoreSet::of(core)).next().map(|(core, slot)| slot.status(core))
    }

    /// Returns the figures of each core's workload, as a sample wants them.
    #[must_use]
    pub fn counts(&self) -> [WorkloadCounts; telemetry::CORES] {
        self.slots.each_ref().map(|slot| slot.figures.read())
    }

    /// Returns what the acceptance test that runs, or ran last, has found.
    #[must_use]
    pub fn certificate(&self) -> Option<Certificate> {
        self.record.certificate()
    }

    pub(crate) fn slot(&self, core: u8) -> Option<&Slot> {
        self.slots_of(CoreSet::of(core)).next().map(|(_, slot)| slot)
    }

    fn first_free(&self) -> CoreSet {
        let free = self.slots_of(CoreSet::ALL).find(|(_, slot)| !slot.state().is_active());
        free.map_or(CoreSet::EMPTY, |(core, _)| CoreSet::of(core))
    }

    fn slots_of(&self, cores: CoreSet) -> impl Iterator<Item = (u8, &Slot)> {
        (0..).zip(&self.slots).filter(move |(core, _)| cores.contains(*core))
    }
}

impl Default for Manager {
    fn default() -> Self {
        Self::new()
    }
}

/// An order to a core. Only the newest counts.
pub(crate) enum Command {
    Start(Box<Spec>),
    Stop,
}

/// One core's orders and reports.
pub(crate) struct Slot {
    pub(crate) command: Signal<CriticalSectionRawMutex, Command>,
    pub(crate) figures: Figures,
    pub(crate) durations: Histogram,
    status: Mutex<CriticalSectionRawMutex, RefCell<Watched>>,
}

/// A status, and when its workload last showed progress.
struct Watched {
    status: WorkloadStatus,
    progress: u64,
    progress_at: Instant,
}

impl Slot {
    const fn new() -> Self {
        let watched = Watched { status: WorkloadStatus::EMPTY, progress: 0, progress_at: Instant::MIN };
        Self {
            command: Signal::new(),
            figures: Figures::new(),
            durations: Histogram::new(),
            status: Mutex::new(RefCell::new(watched)),
        }
    }

    fn order_start(&self, spec: Box<Spec>) {
        self.change(|slot, status| {
            slot.note(status, WorkloadState::Starting, &spec);
            slot.command.signal(Command::Start(spec));
        });
    }

    /// Notes that the core has taken up `spec`.
    pub(crate) fn begin(&self, spec: &Spec) {
        self.figures.begin();
        self.durations.clear();
        self.change_unless_ordered(|slot, status| slot.note(status, WorkloadState::Running, spec));
    }

    /// Notes that the workload ended by itself.
    pub(crate) fn end(&self, result: Result<(), Failure>) {
        self.change_unless_ordered(|_, status| match result {
            Ok(()) => status.state = WorkloadState::Finished,
            Err(failure) => {
                status.state = WorkloadState::Failed;
                // What does not fit is cut: no reason is that long.
                let _ = core::fmt::write(&mut status.reason, format_args!("{failure}"));
            }
        });
    }

    /// Notes that the core runs nothing any more.
    pub(crate) fn free(&self) {
        self.change_unless_ordered(|_, status| *status = WorkloadStatus::EMPTY);
    }

    fn note(&self, status: &mut WorkloadStatus, state: WorkloadState, spec: &Spec) {
        status.state = state;
        status.name = spec.workload.name();
        status.spec.clone_from(&spec.text);
        status.reason.clear();
        status.started_us = Instant::now().as_micros();
    }

    /// Changes the status, unless another order is waiting: its giver has already said what is to come. Both sides look at
    /// the order with the status locked, so neither overtakes the other.
    fn change_unless_ordered(&self, change: impl FnOnce(&Self, &mut WorkloadStatus)) {
        self.change(|slot, status| {
            if !slot.command.signaled() {
                change(slot, status);
            }
        });
    }

    fn change(&self, change: impl FnOnce(&Self, &mut WorkloadStatus)) {
        self.status.lock(|watched| {
            let watched = &mut *watched.borrow_mut();
            watched.progress_at = Instant::now();
            change(self, &mut watched.status);
        });
    }

    fn state(&self) -> WorkloadState {
        self.status.lock(|watched| watched.borrow().status.state)
    }

    fn status(&self, core: u8) -> WorkloadStatus {
        let progress = self.figures.read().progress;
        let now = Instant::now();
        self.status.lock(|watched| {
            let watched = &mut *watched.borrow_mut();
            if watched.progress != progress {
                watched.progress = progress;
                watched.progress_at = now;
            }
            let mut status = watched.status.clone();
            status.core = core;
            let silence = now.checked_duration_since(watched.progress_at).unwrap_or(Duration::MIN);
            if status.state == WorkloadState::Running && silence > STALL {
                status.state = WorkloadState::Stalled;
            }
            status
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_core_does_not_hide_an_order_that_it_has_not_taken_up() {
        let manager = Manager::new();
        let slot = manager.slot(1).unwrap();
        manager.start("idle", None).unwrap();
        // Meanwhile the core ends what it ran before.
        for _ in 0..2 {
            slot.end(Ok(()));
            slot.end(Err(Failure::Memory { needed: 2, available: 1 }));
            slot.free();
            slot.begin(&Spec::parse("cpu").unwrap());
            let status = manager.status(1).unwrap();
            assert_eq!((status.name, status.state, status.reason.as_str()), ("idle", WorkloadState::Starting, ""));
        }
        // Once it has taken it up, it tells of that.
        assert!(matches!(slot.command.try_take(), Some(Command::Start(_))));
        slot.begin(&Spec::parse("idle").unwrap());
        assert_eq!(manager.status(1).unwrap().state, WorkloadState::Running);
        slot.end(Ok(()));
        assert_eq!(manager.status(1).unwrap().state, WorkloadState::Finished);
    }
}
