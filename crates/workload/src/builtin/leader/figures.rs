//! What a candidate counts.

use telemetry::metrics::{Metric, Unit};

use crate::figures::{counter, gauge, histogram};

/// In the order of [`FIGURES`].
#[derive(Clone, Copy)]
#[repr(usize)]
pub(super) enum Figure {
    IsLeader,
    Term,
    Terms,
    AddressHeld,
    TakenAt,
    StepDowns,
    Conflicts,
    Disconnects,
}

pub(super) static FIGURES: &[Metric] = &[
    gauge("minipirack_leader_is_leader", Unit::Count, "Whether this candidate leads."),
    gauge("minipirack_leader_term", Unit::Count, "Number of the last term of this candidate: greater than those of all terms before."),
    counter("minipirack_leader_terms_total", Unit::Count, "Terms of this candidate."),
    gauge("minipirack_leader_address_held", Unit::Count, "Whether the node has the address."),
    gauge("minipirack_leader_taken_at_seconds", Unit::Seconds, "Uptime of the node when it took the address the last time."),
    counter("minipirack_leader_step_downs_total", Unit::Count, "Terms that ended while the workload ran on."),
    counter("minipirack_leader_conflicts_total", Unit::Count, "Times that somebody else used the address."),
    counter("minipirack_leader_disconnects_total", Unit::Count, "Connections to the store that were lost, or not made."),
];

/// The first is the time from a term's begin until the address is held.
pub(super) static HISTOGRAMS: &[Metric] =
    &[histogram("minipirack_leader_takeover_seconds", "Time from the begin of a term until the node has the address.")];
