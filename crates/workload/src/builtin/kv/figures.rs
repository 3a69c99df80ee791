//! What the node's telemetry shows of a store.

use telemetry::metrics::{Metric, Unit};

use super::session::Server;
use crate::Context;
use crate::figures::{counter, gauge};

/// In the order in which [`show`] sets them.
pub(super) static FIGURES: &[Metric] = &[
    gauge("minipirack_kv_keys", Unit::Count, "Keys in the store."),
    gauge("minipirack_kv_used_bytes", Unit::Bytes, "Memory that keys, values and the table take."),
    gauge("minipirack_kv_limit_bytes", Unit::Bytes, "Memory at which values are refused."),
    gauge("minipirack_kv_clients", Unit::Count, "Clients that are connected."),
    counter("minipirack_kv_hits_total", Unit::Count, "Reads of keys that were there."),
    counter("minipirack_kv_misses_total", Unit::Count, "Reads of keys that were not there."),
    counter("minipirack_kv_expired_total", Unit::Count, "Keys that have reached their end."),
    counter("minipirack_kv_cut_off_total", Unit::Count, "Clients that were cut off because they were too slow, and replicas that were, or did not confirm."),
    gauge("minipirack_kv_replicas", Unit::Count, "Replicas that follow the store."),
    gauge("minipirack_kv_replica_lag_bytes", Unit::Bytes, "Changes that the slowest replica has not confirmed."),
    gauge("minipirack_kv_source_up", Unit::Count, "Whether the store that this one follows is connected."),
    counter("minipirack_kv_copies_total", Unit::Count, "Copies of the other store that were begun."),
    counter("minipirack_kv_unconfirmed_total", Unit::Count, "Clients cut off because too few replicas have confirmed (acks)."),
    counter("minipirack_kv_unseated_total", Unit::Count, "Silent or slow clients that had to make room for others."),
];

/// Sets the figures.
pub(super) fn show(context: &Context<'_>, server: &Server) {
    let Server { store, facts, .. } = server;
    let lag = store.feed.links().map(|link| link.offset.saturating_sub(link.acknowledged)).max();
    let replica = facts.replica.unwrap_or_default();
    let values = [
        store.len() as u64,
        store.used_bytes() as u64,
        store.limit_bytes() as u64,
        facts.clients as u64,
        store.counts.hits,
        store.counts.misses,
        store.counts.expired,
        facts.cut_off,
        store.feed.links().count() as u64,
        lag.unwrap_or(0),
        u64::from(replica.is_up),
        replica.copies,
        facts.unconfirmed,
        facts.unseated,
    ];
    for (index, value) in values.into_iter().enumerate() {
        context.set(index, value);
    }
}
