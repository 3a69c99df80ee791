//! Disturbances on purpose.

use super::Kind::{Counter, Gauge};
use super::Label::{Number, Text};
use super::Unit::{Count, Seconds};
use super::{Metric, Value, metric};
use fault::State;

/// Metrics of this subject.
pub(super) const METRICS: &[Metric] = &[
    metric(
        "minipirack_faults",
        Gauge,
        Count,
        &["state"],
        "Faults on purpose: those that are active, and those that wait for their time.",
        |s, out| {
            [State::Active, State::Waiting].into_iter().try_for_each(|state| {
                let count = s.faults.in_state(state).count() as u64;
                out.value(&[Text(state.name())], Value::Count(count))
            })
        },
    ),
    metric(
        "minipirack_fault_left_seconds",
        Gauge,
        Seconds,
        &["fault", "id", "kind"],
        "Seconds until an active fault ends by itself.",
        |s, out| {
            s.faults.active().try_for_each(|view| {
                let labels = [Text(&view.text), Number(view.id.into()), Text(view.kind)];
                out.value(&labels, Value::Micros(view.left_us(s.sample.at_us)))
            })
        },
    ),
    metric(
        "minipirack_fault_matched_total",
        Counter,
        Count,
        &["id", "kind"],
        "Frames that an active fault was about.",
        |s, out| {
            let mut of_frames = s.faults.active().filter(|view| view.is_of_frames);
            of_frames
                .try_for_each(|view| out.value(&[Number(view.id.into()), Text(view.kind)], Value::Count(view.matched)))
        },
    ),
    metric(
        "minipirack_fault_hits_total",
        Counter,
        Count,
        &["id", "kind"],
        "Frames to which an active fault has done something.",
        |s, out| {
            let mut of_frames = s.faults.active().filter(|view| view.is_of_frames);
            of_frames
                .try_for_each(|view| out.value(&[Number(view.id.into()), Text(view.kind)], Value::Count(view.hits)))
        },
    ),
    metric(
        "minipirack_fault_frames_total",
        Counter,
        Count,
        &["fate"],
        "What faults have done to frames since boot; those that overflowed were lost for lack of memory, which no fault asks for.",
        |s, out| {
            let totals = &s.faults.totals;
            let fates = [
                ("dropped", totals.dropped),
                ("delayed", totals.delayed),
                ("duplicated", totals.duplicated),
                ("corrupted", totals.corrupted),
                ("overflowed", totals.overflowed),
            ];
            fates.into_iter().try_for_each(|(fate, count)| out.value(&[Text(fate)], Value::Count(count)))
        },
    ),
];
