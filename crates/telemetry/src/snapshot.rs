//! Everything a sink may show, borrowed for the moment of showing it.

use crate::certificate::Certificate;
use crate::counted::Counted;
use crate::faults::Faults;
use crate::health::HealthLog;
use crate::history::History;
use crate::log_ring::LogLines;
use crate::metrics::{METRICS, Metric};
use crate::net_info::NetInfo;
use crate::node_info::NodeInfo;
use crate::past::Past;
use crate::sample::Sample;
use crate::workload_status::{WorkloadNow, WorkloadView};

/// The node as it is now.
#[derive(Clone, Copy)]
pub struct Snapshot<'a> {
    /// Who the node is.
    pub node: &'a NodeInfo,
    /// State of the network.
    pub net: &'a NetInfo,
    /// The newest sample.
    pub sample: &'a Sample,
    /// The last minutes.
    pub history: &'a History,
    /// What the cores run, or ran last, in the order of cores.
    pub workloads: &'a [WorkloadView<'a>],
    /// What the last acceptance test of the board has found.
    pub certificate: Option<&'a Certificate>,
    /// What has made measurements worthless since boot.
    pub health: &'a HealthLog,
    /// The lives before this one.
    pub past: &'a Past,
    /// Crashes that the node remembers, by reason.
    pub crashes: &'a [Counted],
    /// Disturbances on purpose.
    pub faults: &'a Faults<'a>,
    /// Frames and messages from the network that could not be parsed, by layer.
    pub malformed: &'a [Counted],
    /// Whatever else drivers, network and services count, by event.
    pub events: &'a [Counted],
    /// The last log lines.
    pub log: &'a dyn LogLines,
}

impl<'a> Snapshot<'a> {
    /// Returns the workloads with their counts and the time that their operations took.
    pub fn workloads(&self) -> impl Iterator<Item = WorkloadNow<'a>> + use<'a> {
        let counts = &self.sample.workloads;
        self.workloads
            .iter()
            .map(|view| (&view.status, counts.get(view.status.slot).copied().unwrap_or_default(), view.durations))
    }

    /// Returns every metric: those of the table, and those that only the workloads of this node have.
    pub fn metrics(&self) -> impl Iterator<Item = &'static Metric> + use<'a> {
        let views = self.workloads;
        let is_first = |(i, view): &(usize, &WorkloadView<'_>)| {
            !views.iter().take(*i).any(|earlier| earlier.status.name == view.status.name)
        };
        let own = views.iter().enumerate().filter(is_first);
        METRICS.iter().chain(own.flat_map(|(_, view)| view.figures.iter().chain(view.histograms)))
    }

    /// Returns how many crashes the node remembers.
    #[must_use]
    pub fn crash_count(&self) -> u64 {
        self.crashes.iter().map(|c| c.count).sum()
    }
}
