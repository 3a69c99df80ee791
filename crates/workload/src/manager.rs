//! Starts, stops, changes and watches the workloads of all cores. One per node, in a static; any core may call it.

use core::cell::RefCell;
use core::fmt;
use core::sync::atomic::{AtomicBool, Ordering};

use alloc::boxed::Box;
use embassy_sync::blocking_mutex::Mutex;
use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;
use embassy_sync::signal::Signal;
use embassy_time::Instant;
use heapless::{String, Vec};
use telemetry::sample::{SLOTS_PER_CORE, WORKLOAD_SLOTS, WorkloadCounts};
use telemetry::workload_status::ID_LEN_MAX;
use telemetry::{Certificate, WorkloadState, WorkloadStatus, WorkloadView};

use crate::certify::record::Record;
use crate::context::{Failure, shortened};
use crate::core_set::CoreSet;
use crate::figures::Figures;
use crate::parameter::Values;
use crate::pause::Pause;
use crate::spec::{Spec, SpecError};

mod table;
mod watch;

pub(crate) use table::slot_index;
use table::{Run, Table, core_of};
pub use watch::{Event, STALL, What};

/// The orders to the cores and what they report.
pub struct Manager {
    slots: [Slot; WORKLOAD_SLOTS],
    table: Mutex<CriticalSectionRawMutex, RefCell<Table>>,
    pub(crate) record: Record,
}

/// An order to a slot. Only the newest counts.
#[derive(Clone, Copy)]
pub(crate) enum Order {
    /// To run what the table says, if it is still the run with this number.
    Start(u32),
    Stop,
}

/// One slot's orders and figures.
pub(crate) struct Slot {
    pub(crate) order: Signal<CriticalSectionRawMutex, Order>,
    pub(crate) changed: Signal<CriticalSectionRawMutex, ()>,
    pub(crate) figures: Figures,
    pub(crate) pause: Pause,
    is_attached: AtomicBool,
}

/// Workloads that are meant: `http`, `1-3` or `all`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which<'a> {
    /// All of them.
    All,
    /// The one with this id, on all its cores.
    Id(&'a str),
    /// Those on these cores.
    Cores(CoreSet),
}

/// A workload and where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its id.
    pub id: String<ID_LEN_MAX>,
    /// The cores.
    pub cores: CoreSet,
}

/// Some workloads and where they are.
pub type Places = Vec<Place, WORKLOAD_SLOTS>;

/// How a change of parameters was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// While it runs.
    Followed,
    /// It was started anew.
    Restarted,
}

/// Why nothing was started.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StartError {
    /// The specification is wrong.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// Every core has all the workloads that it can have.
    #[error("every core runs {SLOTS_PER_CORE} workloads or one that needs it alone: stop one first")]
    NoFreeCore,
    /// A core has all the workloads that it can have.
    #[error("core {core} runs {SLOTS_PER_CORE} workloads already: stop one first, or choose another core")]
    Full {
        /// The core.
        core: u8,
    },
    /// The workload needs its cores alone.
    #[error("{workload} needs its cores alone, but {id} runs on core {core}: stop it first (workload stop {id})")]
    NotAlone {
        /// The workload.
        workload: &'static str,
        /// What is in the way.
        id: String<ID_LEN_MAX>,
        /// Where.
        core: u8,
    },
    /// A workload that needs its core alone runs there.
    #[error("{id} needs core {core} alone: wait until it is done, or stop it first (workload stop {id})")]
    Alone {
        /// That workload.
        id: String<ID_LEN_MAX>,
        /// The core.
        core: u8,
    },
    /// Another workload has the id.
    #[error("{id} runs already: stop it first, restart it, or give another id")]
    Taken {
        /// The id.
        id: String<ID_LEN_MAX>,
    },
}

/// Why an order to a workload could not be given.
#[derive(Clone, Debug, thiserror::Error)]
pub enum OrderError {
    /// There is none of this id.
    #[error("no workload is called '{id}'{}", listed(known))]
    Unknown {
        /// The id.
        id: String<ID_LEN_MAX>,
        /// Those that there are.
        known: Box<Places>,
    },
    /// It has ended.
    #[error("{id} does not run: start it, or restart it as it was (workload restart {id})")]
    Ended {
        /// The id.
        id: String<ID_LEN_MAX>,
    },
    /// The change is wrong.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// It can't be started again where it was.
    #[error(transparent)]
    Start(#[from] StartError),
}

impl Manager {
    /// Makes a manager of cores that run nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            slots: [const { Slot::new() }; WORKLOAD_SLOTS],
            table: Mutex::new(RefCell::new(Table::new())),
            record: Record::new(),
        }
    }

    /// Starts the workload that `text` specifies (see [`Spec::parse`]) and returns what it is called and where it runs.
    ///
    /// It runs on `cores` if given, else on the cores that `text` names, else on the workload's usual cores, else on the
    /// core with the fewest workloads, the lowest of them. It starts as soon as the core takes the order: at once, or when
    /// the core comes up. What ended under the same id is forgotten.
    ///
    /// # Errors
    ///
    /// When `text` is wrong, or there is no room.
    pub fn start(&self, text: &str, cores: Option<CoreSet>) -> Result<Place, StartError> {
        let spec = Spec::parse(text)?;
        let named = cores.or(spec.cores()).filter(|cores| !cores.is_empty());
        let usual = Some(spec.workload.default_cores()).filter(|cores| !cores.is_empty());
        self.with_table(|table| {
            let id = table.id_for(&spec)?;
            let cores = match named.or(usual) {
                Some(cores) => cores,
                None => table.best_core(&spec).ok_or(StartError::NoFreeCore)?,
            };
            table.check_room(&spec, cores)?;
            table.forget(&id);
            for core in cores.iter() {
                let Some(index) = table.free_slot(core) else { continue };
                let number = table.next_number();
                table.put(index, Run::new(number, id.clone(), spec.clone(), cores));
                if let Some(slot) = self.slots.get(index) {
                    slot.pause.set(false);
                }
                self.order(index, Order::Start(number));
            }
            Ok(Place { id, cores })
        })
    }

    /// Tells workloads to stop, and returns those that ran. Their last figures stay to be read.
    ///
    /// # Errors
    ///
    /// When there is none of that id.
    pub fn stop(&self, which: Which<'_>) -> Result<Places, OrderError> {
        self.with_table(|table| {
            table.check_known(which)?;
            let mut stopped = Places::new();
            for index in 0..WORKLOAD_SLOTS {
                let Some(run) = table.get_mut(index).filter(|run| which.means(index, run)) else { continue };
                if run.is_taken() {
                    add(&mut stopped, &run.id, core_of(index));
                }
                run.is_stopping = true;
                if run.state == WorkloadState::Starting {
                    // The core may not even be up, but it will find the order that there is nothing to do.
                    run.state = WorkloadState::Stopped;
                }
                self.order(index, Order::Stop);
            }
            Ok(stopped)
        })
    }

    /// Starts workloads anew as they were, whether they still run or have ended, and returns them.
    ///
    /// # Errors
    ///
    /// When there is none of that id, or one that has ended finds no room any more.
    pub fn restart(&self, which: Which<'_>) -> Result<Places, OrderError> {
        self.with_table(|table| {
            table.check_known(which)?;
            let mut started = Places::new();
            for index in 0..WORKLOAD_SLOTS {
                let Some(run) = table.get(index).filter(|run| which.means(index, run)) else { continue };
                if !run.is_taken() {
                    table.check_room(&run.spec, CoreSet::of(core_of(index)))?;
                }
                add(&mut started, &run.id, core_of(index));
                self.order_restart(table, index);
            }
            Ok(started)
        })
    }

    /// Changes parameters of a workload while it runs: `changes` is `KEY=VALUE KEY=VALUE…`. A workload that can't follow
    /// one of them is started anew.
    ///
    /// # Errors
    ///
    /// When there is none of that id that runs, or a change is wrong; then nothing is changed.
    pub fn set(&self, id: &str, changes: &str) -> Result<Change, OrderError> {
        self.with_table(|table| {
            table.check_known(Which::Id(id))?;
            let Some((_, first)) = table.active().find(|(_, run)| run.id == id) else {
                return Err(OrderError::Ended { id: shortened(id) });
            };
            let workload = first.spec.workload;
            let (spec, mut parameters) = first.spec.changed(changes)?;
            let follows = parameters.all(|parameter| workload.follows(parameter));
            drop(parameters);
            for (index, slot) in self.slots.iter().enumerate() {
                let Some(run) = table.get_mut(index).filter(|run| run.id == id && run.is_taken()) else { continue };
                run.spec = spec.clone();
                if follows {
                    slot.changed.signal(());
                } else {
                    self.order_restart(table, index);
                }
            }
            Ok(if follows { Change::Followed } else { Change::Restarted })
        })
    }

    /// Has a workload stand still, or go on. One that is started anew meanwhile stands still from the beginning. Returns whether
    /// there is one of that id.
    pub fn pause(&self, id: &str, is_paused: bool) -> bool {
        let mut is_known = false;
        self.with_table(|table| {
            for (index, slot) in self.slots.iter().enumerate() {
                if table.get(index).is_some_and(|run| run.id == id) {
                    is_known = true;
                    slot.pause.set(is_paused);
                }
            }
        });
        is_known
    }

    /// Returns what the cores run, or ran last, in the order of cores: as a snapshot wants it.
    #[must_use]
    pub fn statuses(&self) -> Vec<WorkloadView<'_>, WORKLOAD_SLOTS> {
        let now = Instant::now();
        let mut views = Vec::new();
        for (index, slot) in self.slots.iter().enumerate() {
            let seen = self.with_table(|table| {
                let run = table.get_mut(index)?;
                let silence = run.observe(slot.figures.progress(), now);
                let mut status = run.status(index);
                if status.state == WorkloadState::Running && silence > STALL {
                    status.state = WorkloadState::Stalled;
                }
                Some((status, run.spec.workload))
            });
            let Some((status, workload)) = seen else { continue };
            let figures = &slot.figures;
            // As long as there are slots.
            let _ = views.push(WorkloadView {
                status,
                counts: figures.read(),
                durations: &figures.durations,
                figures: workload.figures(),
                values: &figures.own,
                histograms: workload.histograms(),
                distributions: &figures.distributions,
                has_seconds: workload.has_seconds(),
                seconds: &figures.seconds,
            });
        }
        views
    }

    /// Returns the first workload that `core` runs, or ran last; `None` if nothing was ever started there.
    #[must_use]
    pub fn status(&self, core: u8) -> Option<WorkloadStatus> {
        self.statuses().into_iter().map(|view| view.status).find(|status| status.core == core)
    }

    /// Gives `take` the id of each workload that runs or has ended.
    pub fn each_id(&self, take: &mut dyn FnMut(&str)) {
        self.with_table(|table| table.places(Which::All).iter().for_each(|place| take(&place.id)));
    }

    /// Returns the figures of each slot's workload, as a sample wants them.
    #[must_use]
    pub fn counts(&self) -> [WorkloadCounts; WORKLOAD_SLOTS] {
        self.slots.each_ref().map(|slot| slot.figures.read())
    }

    /// Returns what the acceptance test that runs, or ran last, has found.
    #[must_use]
    pub fn certificate(&self) -> Option<Certificate> {
        self.record.certificate()
    }

    pub(crate) fn slot(&self, index: usize) -> Option<&Slot> {
        self.slots.get(index)
    }

    /// Notes that a core takes the orders to a slot.
    pub(crate) fn attach(&self, index: usize) {
        if let Some(slot) = self.slots.get(index) {
            slot.is_attached.store(true, Ordering::Relaxed);
        }
    }

    /// Begins the run with this number; `None` if there is none any more.
    pub(crate) fn take_up(&self, index: usize, number: u32) -> Option<(Box<Spec>, CoreSet)> {
        let slot = self.slots.get(index)?;
        self.with_table(|table| {
            let run =
                table.get_mut(index).filter(|run| run.number == number && run.state == WorkloadState::Starting)?;
            slot.figures.begin();
            slot.changed.reset();
            run.begin(WorkloadState::Running);
            Some((Box::new(run.spec.clone()), run.cores))
        })
    }

    /// Notes that the run with this number ended by itself.
    pub(crate) fn ended(&self, index: usize, number: u32, result: Result<(), Failure>) {
        self.with_table(|table| {
            let is_this = |run: &&mut Run| run.number == number && run.state.is_active();
            let Some(run) = table.get_mut(index).filter(is_this) else { return };
            run.reason.clear();
            match result {
                Ok(()) => run.state = WorkloadState::Finished,
                Err(failure) => {
                    run.state = WorkloadState::Failed;
                    run.reason = shortened(failure);
                }
            }
            run.is_told = false;
        });
    }

    /// Notes that a slot runs nothing any more, unless another order is on its way.
    pub(crate) fn stopped(&self, index: usize) {
        self.with_table(|table| {
            let is_ordered = self.slots.get(index).is_some_and(|slot| slot.order.signaled());
            if let Some(run) = table.get_mut(index).filter(|run| run.state.is_active() && !is_ordered) {
                run.state = WorkloadState::Stopped;
                run.reason.clear();
            }
        });
    }

    /// Returns what a slot's workload was given.
    pub(crate) fn values(&self, index: usize) -> Values {
        self.with_table(|table| table.get(index).map(|run| run.spec.values.clone()).unwrap_or_default())
    }

    fn order_restart(&self, table: &mut Table, index: usize) {
        let number = table.next_number();
        if let Some(run) = table.get_mut(index) {
            run.begin(WorkloadState::Starting);
            run.number = number;
            self.order(index, Order::Start(number));
        }
    }

    fn order(&self, index: usize, order: Order) {
        if let Some(slot) = self.slots.get(index) {
            slot.order.signal(order);
        }
    }

    fn with_table<R>(&self, look: impl FnOnce(&mut Table) -> R) -> R {
        self.table.lock(|table| look(&mut table.borrow_mut()))
    }
}

impl Default for Manager {
    fn default() -> Self {
        Self::new()
    }
}

impl Slot {
    const fn new() -> Self {
        Self {
            order: Signal::new(),
            changed: Signal::new(),
            figures: Figures::new(),
            is_attached: AtomicBool::new(false),
            pause: Pause::new(),
        }
    }

    fn is_attached(&self) -> bool {
        self.is_attached.load(Ordering::Relaxed)
    }
}

impl Table {
    /// Returns what to call a workload: as it says, or its name, with a number if that is taken.
    fn id_for(&self, spec: &Spec) -> Result<String<ID_LEN_MAX>, StartError> {
        let is_taken = |id: &str| self.active().any(|(_, run)| run.id == id);
        if let Some(id) = spec.id() {
            let id = shortened(id);
            return if is_taken(&id) { Err(StartError::Taken { id }) } else { Ok(id) };
        }
        let mut id: String<ID_LEN_MAX> = shortened(spec.workload.name());
        for number in 2.. {
            if !is_taken(&id) {
                break;
            }
            id = shortened(format_args!("{}#{number}", spec.workload.name()));
        }
        Ok(id)
    }

    /// Returns the core with the fewest workloads, the lowest of them, that has room.
    fn best_core(&self, spec: &Spec) -> Option<CoreSet> {
        let has_room = |core: &u8| self.check_room(spec, CoreSet::of(*core)).is_ok();
        let best = CoreSet::ALL.iter().filter(has_room).min_by_key(|core| self.active_on(*core).count());
        best.map(CoreSet::of)
    }

    /// Checks that there is room for a workload on each of `cores`.
    fn check_room(&self, spec: &Spec, cores: CoreSet) -> Result<(), StartError> {
        let workload = spec.workload;
        for core in cores.iter() {
            if let Some(run) = self.active_on(core).find(|run| run.spec.workload.is_exclusive()) {
                return Err(StartError::Alone { id: run.id.clone(), core });
            }
            if let Some(run) = self.active_on(core).next().filter(|_| workload.is_exclusive()) {
                return Err(StartError::NotAlone { workload: workload.name(), id: run.id.clone(), core });
            }
            if self.free_slot(core).is_none() {
                return Err(StartError::Full { core });
            }
        }
        Ok(())
    }

    fn check_known(&self, which: Which<'_>) -> Result<(), OrderError> {
        match which {
            Which::Id(id) if self.places(which).is_empty() => {
                Err(OrderError::Unknown { id: shortened(id), known: Box::new(self.places(Which::All)) })
            }
            _ => Ok(()),
        }
    }

    fn places(&self, which: Which<'_>) -> Places {
        let mut places = Places::new();
        for (index, run) in self.iter().filter(|(index, run)| which.means(*index, run)) {
            add(&mut places, &run.id, core_of(index));
        }
        places
    }
}

impl<'a> Which<'a> {
    /// Returns what a word means: `all`, cores, or else an id.
    #[must_use]
    pub fn parse(word: &'a str) -> Self {
        match CoreSet::parse(word) {
            _ if word == "all" => Self::All,
            Some(cores) => Self::Cores(cores),
            None => Self::Id(word),
        }
    }

    fn means(self, index: usize, run: &Run) -> bool {
        match self {
            Self::All => true,
            Self::Id(id) => run.id == id,
            Self::Cores(cores) => cores.contains(core_of(index)),
        }
    }
}

/// Adds a core to the place of a workload.
fn add(places: &mut Places, id: &String<ID_LEN_MAX>, core: u8) {
    match places.iter_mut().find(|place| place.id == *id) {
        Some(place) => place.cores.insert(core),
        // As many as there are slots.
        None => drop(places.push(Place { id: id.clone(), cores: CoreSet::of(core) })),
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on core {}", self.id, self.cores)
    }
}

/// Shows places with commas between them.
#[must_use]
pub fn shown(places: &Places) -> impl fmt::Display {
    fmt::from_fn(move |f| {
        for (i, place) in places.iter().enumerate() {
            write!(f, "{}{place}", if i == 0 { "" } else { ", " })?;
        }
        Ok(())
    })
}

fn listed(places: &Places) -> impl fmt::Display {
    fmt::from_fn(move |f| {
        if places.is_empty() {
            return f.write_str("; none was started");
        }
        f.write_str("; there are ")?;
        for (i, place) in places.iter().enumerate() {
            write!(f, "{}{}", if i == 0 { "" } else { ", " }, place.id)?;
        }
        Ok(())
    })
}
