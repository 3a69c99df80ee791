//! Everything a sink may show, borrowed for the moment of showing it.

use crate::certificate::Certificate;
use crate::counted::Counted;
use crate::histogram::Histogram;
use crate::history::History;
use crate::log_ring::LogLines;
use crate::net_info::NetInfo;
use crate::node_info::NodeInfo;
use crate::sample::{Sample, WorkloadCounts};
use crate::workload_status::WorkloadStatus;

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
    /// What each workload core runs, with the time that its operations took.
    pub workloads: &'a [(WorkloadStatus, &'a Histogram)],
    /// What the last acceptance test of the board has found.
    pub certificate: Option<&'a Certificate>,
    /// Crashes that the node remembers, by reason.
    pub crashes: &'a [Counted],
    /// Frames and messages from the network that could not be parsed, by layer.
    pub malformed: &'a [Counted],
    /// Whatever else drivers, network and services count, by event.
    pub events: &'a [Counted],
    /// The last log lines.
    pub log: &'a dyn LogLines,
}

impl<'a> Snapshot<'a> {
    /// Returns the workload cores with their figures.
    pub fn workloads(&self) -> impl Iterator<Item = (&'a WorkloadStatus, WorkloadCounts, &'a Histogram)> + use<'a> {
        let counts = &self.sample.workloads;
        self.workloads.iter().map(|(status, latency)| {
            (status, counts.get(usize::from(status.core)).copied().unwrap_or_default(), *latency)
        })
    }

    /// Returns how many crashes the node remembers.
    #[must_use]
    pub fn crash_count(&self) -> u64 {
        self.crashes.iter().map(|c| c.count).sum()
    }
}
