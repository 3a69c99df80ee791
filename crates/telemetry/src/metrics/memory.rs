//! Memory, as a whole and by use.

use core::fmt;

use super::Kind::Gauge;
use super::Label::Text;
use super::Unit::Bytes;
use super::{Metric, Names, Output, Value, metric};
use crate::sample::{Area, Memory};
use crate::snapshot::Snapshot;

const STACKS: [&str; crate::CORES] = ["stack0", "stack1", "stack2", "stack3"];

/// Metrics of this subject.
pub(super) const METRICS: &[Metric] = &[
    // node_exporter's names, see `Names`.
    meminfo("node_memory_MemTotal_bytes", "Memory information field MemTotal_bytes.", |s, out| {
        out.value(&[], Value::Count(s.sample.memory.total))
    }),
    meminfo("node_memory_MemFree_bytes", "Memory information field MemFree_bytes.", |s, out| {
        out.value(&[], Value::Count(s.sample.memory.free))
    }),
    meminfo("node_memory_MemAvailable_bytes", "Memory information field MemAvailable_bytes.", |s, out| {
        out.value(&[], Value::Count(s.sample.memory.available()))
    }),
    // A node has no files, hence no memory that keeps parts of them, and never swaps. Dashboards add these up.
    meminfo("node_memory_Buffers_bytes", "Memory information field Buffers_bytes.", none),
    meminfo("node_memory_Cached_bytes", "Memory information field Cached_bytes.", none),
    meminfo("node_memory_SReclaimable_bytes", "Memory information field SReclaimable_bytes.", none),
    meminfo("node_memory_SwapTotal_bytes", "Memory information field SwapTotal_bytes.", none),
    meminfo("node_memory_SwapFree_bytes", "Memory information field SwapFree_bytes.", none),
    metric("minipirack_memory_total_bytes", Gauge, Bytes, &[], "Memory that the board gives the cores.", |s, out| {
        out.value(&[], Value::Count(s.sample.memory.total))
    }),
    metric("minipirack_memory_free_bytes", Gauge, Bytes, &[], "Memory that nothing was given.", |s, out| {
        out.value(&[], Value::Count(s.sample.memory.free))
    }),
    metric(
        "minipirack_memory_available_bytes",
        Gauge,
        Bytes,
        &[],
        "Memory that nothing was given, and the unused part of the heap.",
        |s, out| out.value(&[], Value::Count(s.sample.memory.available())),
    ),
    metric(
        "minipirack_memory_area_size_bytes",
        Gauge,
        Bytes,
        &["area"],
        "Size of a part of memory with a use of its own.",
        |s, out| {
            out.value(&[Text("image")], Value::Count(s.sample.memory.image))?;
            areas(&s.sample.memory).try_for_each(|(name, area)| out.value(&[Text(name)], Value::Count(area.size)))
        },
    ),
    metric(
        "minipirack_memory_area_used_bytes",
        Gauge,
        Bytes,
        &["area"],
        "Bytes in use of a part of memory.",
        |s, out| {
            let memory = &s.sample.memory;
            [("heap", memory.heap), ("dma", memory.dma)]
                .iter()
                .try_for_each(|(name, area)| out.value(&[Text(name)], Value::Count(area.used)))
        },
    ),
    metric(
        "minipirack_memory_area_peak_bytes",
        Gauge,
        Bytes,
        &["area"],
        "The most bytes of a part of memory that were ever in use.",
        |s, out| areas(&s.sample.memory).try_for_each(|(name, area)| out.value(&[Text(name)], Value::Count(area.peak))),
    ),
];

/// Returns an entry with a name of node_exporter's.
const fn meminfo(
    name: &'static str,
    help: &'static str,
    read: fn(&Snapshot<'_>, &mut dyn Output) -> fmt::Result,
) -> Metric {
    Metric { names: Names::NodeExporter, ..metric(name, Gauge, Bytes, &[], help, read) }
}

fn none(_: &Snapshot<'_>, out: &mut dyn Output) -> fmt::Result {
    out.value(&[], Value::Count(0))
}

/// Returns the parts that the kernel has told the size of.
fn areas(memory: &Memory) -> impl Iterator<Item = (&'static str, Area)> {
    [("heap", memory.heap), ("dma", memory.dma)]
        .into_iter()
        .chain(STACKS.into_iter().zip(memory.stacks))
        .filter(|(_, area)| area.size > 0)
}
