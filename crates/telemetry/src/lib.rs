//! What a node knows about itself, and how it is shown.
//!
//! A [`Sample`] holds raw counts: fixed size, no text, cheap to take. The kernel takes one a second and keeps the last
//! minutes in a [`History`]. A [`Snapshot`] puts the newest sample together with what rarely changes (who the node is, its
//! addresses, what its cores run); [`metrics::METRICS`] says once what each figure is called and means, and every sink in
//! [`sinks::SINKS`] shows a snapshot in its own way. [`LogRing`] keeps the last log lines for any number of readers.
//!
//! Nothing here allocates or touches hardware, and nothing here knows the network stack.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]
#![cfg_attr(test, expect(clippy::unwrap_used, reason = "a test that cannot go on should panic"))]

pub mod certificate;
pub mod counted;
pub mod faults;
pub mod health;
pub mod histogram;
pub mod history;
pub mod log_ring;
pub mod metrics;
pub mod net_info;
pub mod node_info;
pub mod past;
pub mod rates;
pub mod sample;
pub mod seconds;
pub mod sinks;
pub mod snapshot;
pub mod units;
pub mod workload_status;

pub use certificate::Certificate;
pub use counted::Counted;
pub use faults::Faults;
pub use health::{Health, HealthLog};
pub use histogram::Histogram;
pub use history::History;
pub use log_ring::{Level, LogRing};
pub use net_info::NetInfo;
pub use node_info::{Access, NodeInfo};
pub use past::Past;
pub use rates::Rates;
pub use sample::{CORES, Sample};
pub use seconds::{Second, Seconds};
pub use snapshot::Snapshot;
pub use workload_status::{WorkloadState, WorkloadStatus, WorkloadView};
