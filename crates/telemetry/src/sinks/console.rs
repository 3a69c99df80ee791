//! One line per sample for people at the serial line.
//!
//! `12.0s cpu 3% 50% 0% 0% mem 4.1/960.0MB rx 12.3Mb/s 1.0kpkt/s tx 1.1Mb/s 900pkt/s 48.2C 1.2GHz workload cpu 50% ok`

use core::fmt::{self, Write};

use crate::rates::Rates;
use crate::sample::Clock;
use crate::sinks::Sink;
use crate::snapshot::Snapshot;
use crate::units::{MiB, Milli, Percent, Si};
use crate::workload_status::WorkloadState;

/// The entry of this sink in the table.
pub const SINK: Sink = Sink { name: "console", content_type: "text/plain; charset=utf-8", render };

/// Writes the line. What is not known is left out.
///
/// # Errors
///
/// Passes on the error of `out`.
pub fn render(snapshot: &Snapshot<'_>, out: &mut dyn Write) -> fmt::Result {
    let sample = snapshot.sample;
    let rates = snapshot.history.rates();
    write!(out, "{}.{}s", sample.at_us / 1_000_000, sample.at_us % 1_000_000 / 100_000)?;
    if let Some(rates) = &rates {
        cores(rates, out)?;
    }
    write!(out, " mem {}/{}MB", MiB(sample.memory.used()), MiB(sample.memory.total))?;
    match &rates {
        _ if !snapshot.net.link.is_up() => write!(out, " link {}", snapshot.net.link)?,
        Some(rates) => network(rates, out)?,
        None => {}
    }
    if let Some(temperature) = sample.temperature_mc {
        write!(out, " {}C", Milli(temperature))?;
    }
    if let Some(hz) = sample.clock_hz(Clock::Arm) {
        write!(out, " {}Hz", Si(hz.into()))?;
    }
    for reason in sample.health.sick.iter() {
        write!(out, " {}", shout(reason.name()))?;
    }
    match snapshot.faults.active().count() {
        0 => {}
        count => write!(out, " FAULTS {count}")?,
    }
    for (status, counts, _) in snapshot.workloads().filter(|(status, ..)| status.state != WorkloadState::Stopped) {
        write!(out, " workload {}", status.id)?;
        if let Some(w) = rates.as_ref().map(|rates| rates.workload(status)) {
            write!(out, " {}", Percent(w.busy_permille))?;
            if w.bytes > 0 {
                write!(out, " {}B/s", Si(w.bytes))?;
            }
        }
        if counts.errors > 0 {
            write!(out, " {} errors", Si(counts.errors))?;
        }
        match status.state {
            WorkloadState::Running => out.write_str(" ok")?,
            state => write!(out, " {state}")?,
        }
    }
    out.write_str("\n")
}

fn cores(rates: &Rates, out: &mut dyn Write) -> fmt::Result {
    out.write_str(" cpu")?;
    for permille in rates.busy_permille {
        match permille {
            Some(permille) => write!(out, " {}", Percent(permille))?,
            None => out.write_str(" -")?,
        }
    }
    Ok(())
}

fn network(rates: &Rates, out: &mut dyn Write) -> fmt::Result {
    let bits = |bytes: u64| Si(bytes.saturating_mul(8));
    write!(out, " rx {}b/s {}pkt/s", bits(rates.rx_bytes), Si(rates.rx_frames))?;
    write!(out, " tx {}b/s {}pkt/s", bits(rates.tx_bytes), Si(rates.tx_frames))?;
    if rates.lost_frames > 0 {
        write!(out, " lost {}pkt/s", Si(rates.lost_frames))?;
    }
    Ok(())
}

/// Shows a metric's word as a warning for people: `under_voltage` becomes `UNDER VOLTAGE`.
fn shout(word: &str) -> impl fmt::Display {
    fmt::from_fn(move |f| {
        word.chars().try_for_each(|c| f.write_char(if c == '_' { ' ' } else { c.to_ascii_uppercase() }))
    })
}
