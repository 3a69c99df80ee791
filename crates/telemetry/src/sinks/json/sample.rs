//! Samples: the newest, the last ones, and the few columns of them that plots need.

use core::fmt;

use super::writer::{ITEM, Json};
use super::{Answered, Ask};
use crate::faults::Faults;
use crate::health::Health;
use crate::rates::Rates;
use crate::sample::{Clock, Sample};
use crate::snapshot::Snapshot;

/// Samples of a part of an answer.
const PER_PART: usize = 4;
/// Rows of a part of the history.
const ROWS_PER_PART: usize = 32;
/// Time between two samples.
const PERIOD_US: u64 = 1_000_000;

/// Writes the newest sample.
pub(super) fn write_newest(s: &Snapshot<'_>, key: &str, out: &mut Json<'_>) -> fmt::Result {
    write_sample(s.sample, s.history.rates().as_ref(), Some(s.faults), key, out)
}

/// Writes the last samples.
pub(super) fn write_samples(s: &Snapshot<'_>, ask: Ask, out: &mut Json<'_>) -> Answered {
    if ask.from == 0 {
        out.open(ITEM, '{')?;
        out.number("period_us", PERIOD_US)?;
        out.open("samples", '[')?;
    }
    walk(s, ask, PER_PART, out, |rates, sample, out| write_sample(sample, rates, None, ITEM, out))
}

/// Writes the columns of the last samples that plots need.
pub(super) fn write_history(s: &Snapshot<'_>, ask: Ask, out: &mut Json<'_>) -> Answered {
    const COLUMNS: [&str; 7] = [
        "at_us",
        "valid",
        "cores_busy_permille",
        "rx_bytes_per_second",
        "tx_bytes_per_second",
        "temperature_millicelsius",
        "workloads_operations_per_second",
    ];
    if ask.from == 0 {
        out.open(ITEM, '{')?;
        out.number("period_us", PERIOD_US)?;
        out.open("columns", '[')?;
        COLUMNS.iter().try_for_each(|column| out.text(ITEM, column))?;
        out.close(']')?;
        out.open("rows", '[')?;
    }
    walk(s, ask, ROWS_PER_PART, out, |rates, sample, out| {
        // A plot has no use for the first sample, which has no rates.
        let Some(rates) = rates else { return Ok(()) };
        out.open(ITEM, '[')?;
        out.number(ITEM, sample.at_us)?;
        out.flag(ITEM, sample.health.is_valid())?;
        write_busy(rates, ITEM, out)?;
        out.number(ITEM, rates.rx_bytes)?;
        out.number(ITEM, rates.tx_bytes)?;
        write_temperature(sample, ITEM, out)?;
        out.open(ITEM, '[')?;
        rates.workloads.iter().try_for_each(|w| out.number(ITEM, w.operations))?;
        out.close(']')?;
        out.close(']')
    })
}

/// Has `write` write a part of the samples that were asked for, each with the rates since the one before it, and ends the
/// answer behind the last. A part begins behind the time at which the last one ended, whatever came or went meanwhile.
fn walk(
    s: &Snapshot<'_>,
    ask: Ask,
    per_part: usize,
    out: &mut Json<'_>,
    write: impl Fn(Option<&Rates>, &Sample, &mut Json<'_>) -> fmt::Result,
) -> Answered {
    let mut wanted = s.history.last(ask.last.saturating_add(1));
    // The one before those that are wanted, unless there is none.
    let mut old = if s.history.len() > ask.last { wanted.next() } else { None };
    let mut count = 0;
    for sample in wanted {
        if ask.from == 0 || sample.at_us > ask.from {
            write(old.and_then(|old| Rates::between(old, sample)).as_ref(), sample, out)?;
            count += 1;
            if count == per_part {
                return Ok(Some(sample.at_us.max(1)));
            }
        }
        old = Some(sample);
    }
    out.close(']')?;
    out.close('}')?;
    Ok(None)
}

fn write_sample(
    sample: &Sample,
    rates: Option<&Rates>,
    faults: Option<&Faults<'_>>,
    key: &str,
    out: &mut Json<'_>,
) -> fmt::Result {
    out.open(key, '{')?;
    out.number("at_us", sample.at_us)?;
    out.optional("unix_us", sample.unix_us)?;
    out.optional("clock_error_us", sample.clock_error_us)?;
    write_validity(sample.health, out)?;
    if let Some(faults) = faults {
        out.shown("faults", &faults.line())?;
    }
    match rates {
        Some(rates) => write_busy(rates, "cores_busy_permille", out)?,
        None => out.null("cores_busy_permille")?,
    }
    out.open("cores", '[')?;
    for time in sample.cores {
        let Some(time) = time else {
            out.null(ITEM)?;
            continue;
        };
        out.open(ITEM, '{')?;
        out.number("busy_us", time.busy_us)?;
        out.number("idle_us", time.idle_us)?;
        out.close('}')?;
    }
    out.close(']')?;
    write_memory(sample, out)?;
    write_network(sample, rates, out)?;
    out.optional("interrupts", sample.interrupts)?;
    write_temperature(sample, "temperature_millicelsius", out)?;
    out.open("clocks_hz", '{')?;
    for (clock, hz) in Clock::ALL.iter().zip(sample.clocks_hz) {
        out.optional(clock.name(), hz.map(u64::from))?;
    }
    out.close('}')?;
    out.number("log_lines", sample.log_lines)?;
    out.number("log_lines_dropped", sample.log_lines_dropped)?;
    out.close('}')
}

/// Writes how far what stands beside it can be trusted.
pub(super) fn write_validity(health: Health, out: &mut Json<'_>) -> fmt::Result {
    out.flag("valid", health.is_valid())?;
    for (key, reasons) in [("invalid_reasons", health.sick), ("unknown_reasons", health.unknown())] {
        out.open(key, '[')?;
        reasons.iter().try_for_each(|reason| out.text(ITEM, reason.name()))?;
        out.close(']')?;
    }
    Ok(())
}

fn write_busy(rates: &Rates, key: &str, out: &mut Json<'_>) -> fmt::Result {
    out.open(key, '[')?;
    rates.busy_permille.iter().try_for_each(|permille| out.optional(ITEM, permille.map(u64::from)))?;
    out.close(']')
}

fn write_temperature(sample: &Sample, key: &str, out: &mut Json<'_>) -> fmt::Result {
    match sample.temperature_mc {
        Some(mc) => out.raw(key, &mc),
        None => out.null(key),
    }
}

fn write_memory(sample: &Sample, out: &mut Json<'_>) -> fmt::Result {
    let memory = &sample.memory;
    out.open("memory", '{')?;
    for (key, bytes) in [
        ("total_bytes", memory.total),
        ("free_bytes", memory.free),
        ("available_bytes", memory.available()),
        ("image_bytes", memory.image),
        ("heap_size_bytes", memory.heap.size),
        ("heap_used_bytes", memory.heap.used),
        ("heap_peak_bytes", memory.heap.peak),
        ("dma_size_bytes", memory.dma.size),
        ("dma_used_bytes", memory.dma.used),
    ] {
        out.number(key, bytes)?;
    }
    out.open("stacks_peak_bytes", '[')?;
    memory.stacks.iter().try_for_each(|stack| out.number(ITEM, stack.peak))?;
    out.close(']')?;
    out.close('}')
}

fn write_network(sample: &Sample, rates: Option<&Rates>, out: &mut Json<'_>) -> fmt::Result {
    let nic = &sample.nic;
    out.open("network", '{')?;
    for (key, count) in [
        ("rx_bytes", nic.rx_bytes),
        ("rx_frames", nic.rx_frames),
        ("rx_errors", nic.rx_errors),
        ("rx_dropped", nic.rx_dropped),
        ("tx_bytes", nic.tx_bytes),
        ("tx_frames", nic.tx_frames),
        ("tx_errors", nic.tx_errors),
        ("tx_dropped", nic.tx_dropped),
        ("carrier_changes", nic.carrier_changes),
        ("link_flaps", nic.link_flaps),
        ("looped_frames", nic.looped_frames),
        ("crc_errors", nic.crc_errors),
        ("tx_stalls", nic.tx_stalls),
        ("restarts", nic.restarts),
    ] {
        out.number(key, count)?;
    }
    for (key, rate) in [
        ("rx_bytes_per_second", rates.map(|r| r.rx_bytes)),
        ("rx_frames_per_second", rates.map(|r| r.rx_frames)),
        ("tx_bytes_per_second", rates.map(|r| r.tx_bytes)),
        ("tx_frames_per_second", rates.map(|r| r.tx_frames)),
        ("lost_frames_per_second", rates.map(|r| r.lost_frames)),
    ] {
        out.optional(key, rate)?;
    }
    out.close('}')
}
