//! What the tasks of core 0 share: who the node is, its last samples, its network. One per node, never on another core.

use core::cell::RefCell;

use alloc::vec::Vec as List;

use drivers::mailbox::Mailbox;
use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use embassy_sync::mutex::Mutex;
use embassy_sync::watch::Watch;
use fault::{Totals, View};
use heapless::Vec;
use log::warn;
use net::Stack;
use static_cell::ConstStaticCell;
use telemetry::health::Reason;
use telemetry::sample::NicCounts;
use telemetry::{Counted, Faults, HealthLog, History, NetInfo, NodeInfo, Past, Sample, Snapshot};
use workload::Manager;

use crate::logger::LogReader;
use crate::pages;

/// Counters by kind that are kept for the sinks.
const KINDS: usize = 64;
/// Tasks that wait for news: console, certificates, syslog, MQTT, two defmt clients, two to spare, and clients that get events.
pub(crate) const READERS: usize = 8 + pages::EVENT_CLIENTS;

/// Starts, stops and watches the workloads.
pub(crate) static MANAGER: Manager = Manager::new();

/// In a static, because it is too large to be made on a stack.
static HISTORY: ConstStaticCell<History> = ConstStaticCell::new(History::new());

/// The firmware's mailbox, for one task of core 0 at a time.
pub(crate) type SharedMailbox = Mutex<NoopRawMutex, Mailbox<'static>>;

/// Counters by kind.
pub(crate) type Counts = Vec<Counted, KINDS>;

/// See the module.
pub(crate) struct Node {
    /// Changes with every sample: when it was taken, in µs since boot.
    pub(crate) sample_news: Watch<NoopRawMutex, u64, READERS>,
    state: RefCell<State>,
}

struct State {
    info: NodeInfo,
    net: NetInfo,
    sample: Sample,
    history: &'static mut History,
    health: HealthLog,
    past: Past,
    crashes: Counts,
    malformed: Counts,
    events: Counts,
    faults: List<View>,
    fault_totals: Totals,
}

impl Node {
    /// Makes the node's state, once; `past` and `crashes` are what the black box remembers.
    pub(crate) fn new(info: NodeInfo, past: Past, crashes: Counts) -> Self {
        let state = State {
            info,
            net: NetInfo::EMPTY,
            sample: Sample::EMPTY,
            history: HISTORY.take(),
            health: HealthLog::new(),
            past,
            crashes,
            malformed: Counts::new(),
            events: Counts::new(),
            faults: List::new(),
            fault_totals: Totals::default(),
        };
        Self { sample_news: Watch::new(), state: RefCell::new(state) }
    }

    /// Shows everything that is known to `show`, which must not wait for anything.
    pub(crate) fn with_snapshot<R>(&self, show: impl FnOnce(&Snapshot<'_>) -> R) -> R {
        let (workloads, certificate) = (MANAGER.statuses(), MANAGER.certificate());
        let state = self.state.borrow();
        show(&Snapshot {
            node: &state.info,
            net: &state.net,
            sample: &state.sample,
            history: state.history,
            workloads: &workloads,
            certificate: certificate.as_ref(),
            health: &state.health,
            past: &state.past,
            crashes: &state.crashes,
            faults: &Faults { views: &state.faults, totals: state.fault_totals },
            malformed: &state.malformed,
            events: &state.events,
            log: &LogReader,
        })
    }

    /// Returns the newest sample.
    pub(crate) fn sample(&self) -> Sample {
        self.state.borrow().sample
    }

    /// Takes a new sample in, with the state of the network at the time. `throttled` is the firmware's answer, which makes the
    /// sample valid or not.
    pub(crate) fn update(
        &self,
        mut sample: Sample,
        throttled: Option<u32>,
        name: &str,
        net: NetInfo,
        malformed: Counts,
        events: Counts,
    ) {
        let mut state = self.state.borrow_mut();
        let is_emulated = state.info.is_emulated;
        let news = state.health.judge(&mut sample, throttled, is_emulated);
        state.sample = sample;
        state.history.push(sample);
        state.net = net;
        state.malformed = malformed;
        state.events = events;
        if !name.is_empty() && state.info.name != name {
            state.info.name = name.chars().take(63).collect();
        }
        drop(state);
        // Of the link itself others tell.
        for reason in news.iter().filter(|reason| *reason != Reason::LinkLost) {
            warn!("measurements are not valid: {}: {}", reason.name(), reason.meaning());
        }
        self.sample_news.sender().send(sample.at_us);
    }

    /// Takes in what faults there are.
    pub(crate) fn update_faults(&self, stack: &Stack) {
        let State { faults, fault_totals, .. } = &mut *self.state.borrow_mut();
        faults.clear();
        stack.each_fault(&mut |view| faults.push(view));
        *fault_totals = stack.fault_totals();
    }

    /// Takes in how the network has changed since the last sample, and what it has counted, so that the two agree.
    pub(crate) fn update_network(&self, net: NetInfo, counts: NicCounts) {
        let mut state = self.state.borrow_mut();
        state.net = net;
        state.sample.nic = counts;
    }
}
