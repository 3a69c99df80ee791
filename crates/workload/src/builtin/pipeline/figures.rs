//! What each stage counts.

use telemetry::metrics::{Metric, Unit};

use crate::figures::{counter, gauge};

/// The figures, in the order of [`FIGURES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Figure {
    Received,
    Sent,
    Again,
    Questions,
    Delivered,
    Lost,
    LostConnection,
    LostWorker,
    LostCorrupted,
    Duplicates,
    Reordered,
    Corrupted,
    Late,
    Missing,
    Depth,
    InFlight,
    Backlog,
    Connections,
    Connects,
    Cuts,
    Refused,
    ProtocolErrors,
    Untimed,
    Uncertainty,
}

pub(super) static FIGURES: &[Metric] = &[
    counter("minipirack_pipeline_received_total", Unit::Count, "Undamaged messages that came in, repetitions included."),
    counter("minipirack_pipeline_sent_total", Unit::Count, "Messages that were sent on, repetitions not included. Source: sent = delivered + lost + in flight."),
    counter("minipirack_pipeline_again_total", Unit::Count, "Messages that were sent again, or given to another worker."),
    counter("minipirack_pipeline_questions_total", Unit::Count, "Source, at most once: questions whether a message has come."),
    counter("minipirack_pipeline_delivered_total", Unit::Count, "Sink: messages that came, each counted once. Elsewhere: those that the sink has confirmed."),
    counter("minipirack_pipeline_lost_total", Unit::Count, "Source and sink: messages that were given up; what comes of them later is not delivered."),
    counter("minipirack_pipeline_lost_connection_total", Unit::Count, "Source: of these, those that were lost with a connection or a stage."),
    counter("minipirack_pipeline_lost_worker_total", Unit::Count, "Source: of these, those that a lost worker had."),
    counter("minipirack_pipeline_lost_corrupted_total", Unit::Count, "Source: of these, those that were damaged on the way."),
    counter("minipirack_pipeline_duplicates_total", Unit::Count, "Messages that came although they were here already."),
    counter("minipirack_pipeline_reordered_total", Unit::Count, "Sink: messages that came behind one with a higher number."),
    counter("minipirack_pipeline_corrupted_total", Unit::Count, "Messages whose payload was damaged when it came."),
    counter("minipirack_pipeline_late_total", Unit::Count, "Sink: messages that came after they were given up."),
    gauge("minipirack_pipeline_missing", Unit::Count, "Sink: messages that have not come although later ones have, and are not given up."),
    gauge("minipirack_pipeline_depth", Unit::Count, "Queue: messages that wait for a worker."),
    gauge("minipirack_pipeline_in_flight", Unit::Count, "Messages sent on whose end is not known."),
    gauge("minipirack_pipeline_backlog", Unit::Count, "Source: messages that are due and wait, because the next stage takes no more."),
    gauge("minipirack_pipeline_connections", Unit::Count, "Connections to other stages."),
    counter("minipirack_pipeline_connects_total", Unit::Count, "Connections that were made."),
    counter("minipirack_pipeline_cuts_total", Unit::Count, "Connections that have ended."),
    counter("minipirack_pipeline_refused_total", Unit::Count, "Connections that could not be made."),
    counter("minipirack_pipeline_protocol_errors_total", Unit::Count, "Connections that were ended because what came was damaged or made no sense."),
    counter("minipirack_pipeline_untimed_total", Unit::Count, "Sink: messages without a latency, because one of two nodes does not know the time."),
    gauge("minipirack_pipeline_uncertainty_seconds", Unit::Seconds, "Sink: how far off latencies may be because of the clocks; 0 on one node."),
];
