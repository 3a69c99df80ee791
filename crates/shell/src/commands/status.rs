//! `status`: the node on one screen.

use core::fmt::{self, Write};

use telemetry::Snapshot;
use telemetry::health::Reason;
use telemetry::sample::Clock;
use telemetry::units::{MiB, Milli, Percent, Si, Uptime, UtcTime};

use super::{Command, Next, look, never, offer_nothing};

pub(super) const COMMAND: Command = Command {
    name: "status",
    usage: &[""],
    help: "shows who the node is and how it is doing",
    changes: never,
    run: |arguments, node, out| {
        arguments.end()?;
        look(node, |snapshot| write_status(snapshot, out))?;
        Ok(Next::Prompt)
    },
    offer: offer_nothing,
};

fn write_status(s: &Snapshot<'_>, out: &mut dyn Write) -> fmt::Result {
    let (node, sample) = (s.node, s.sample);
    writeln!(out, "name      {}", node.name)?;
    writeln!(out, "board     {} ({}, {:06x}), serial {}", node.board, node.soc, node.revision, node.serial())?;
    writeln!(out, "version   {} {}", node.version, node.build)?;
    writeln!(out, "access    {}", node.access)?;
    writeln!(out, "up        {}", Uptime(sample.at_us))?;
    match sample.unix_us {
        Some(us) => writeln!(out, "time      {} UTC", UtcTime(us))?,
        None => writeln!(out, "time      not known: no time server answered yet")?,
    }
    match &s.net.ipv4 {
        Some(ipv4) => writeln!(out, "address   {}/{} ({})", ipv4.address, ipv4.prefix_len, ipv4.source)?,
        None => writeln!(out, "address   none, link {}", s.net.link)?,
    }
    write_cores(s, out)?;
    let memory = &sample.memory;
    writeln!(
        out,
        "memory    {} of {} MB used, heap {} of {} MB (peak {})",
        MiB(memory.used()),
        MiB(memory.total),
        MiB(memory.heap.used),
        MiB(memory.heap.size),
        MiB(memory.heap.peak)
    )?;
    if let Some(mc) = sample.temperature_mc {
        writeln!(out, "heat      {} C", Milli(mc))?;
    }
    if let Some(hz) = sample.clock_hz(Clock::Arm) {
        writeln!(out, "clock     {}Hz", Si(hz.into()))?;
    }
    write_health(s, out)?;
    writeln!(out, "crashes   {}", crashes(s))?;
    if s.faults.active().next().is_some() {
        writeln!(out, "faults    {}", s.faults.line())?;
    }
    super::workload::write_list(s, out)
}

pub(super) fn write_cores(s: &Snapshot<'_>, out: &mut dyn Write) -> fmt::Result {
    out.write_str("cores    ")?;
    for permille in s.history.rates().map(|r| r.busy_permille).unwrap_or_default() {
        match permille {
            Some(permille) => write!(out, " {}", Percent(permille))?,
            None => out.write_str(" -")?,
        }
    }
    out.write_str(" busy\n")
}

/// Writes what makes measurements worthless, now or at any time since boot.
pub(super) fn write_health(s: &Snapshot<'_>, out: &mut dyn Write) -> fmt::Result {
    let health = s.sample.health;
    out.write_str("health    ")?;
    let mut before = "";
    for reason in Reason::ALL.into_iter().filter(|reason| s.health.count(*reason) > 0) {
        let when = if health.sick.has(reason) { "NOW" } else { "since boot" };
        write!(out, "{before}{} {when}", reason.name())?;
        before = ", ";
    }
    if before.is_empty() {
        out.write_str(if health.is_valid().is_some() { "good" } else { "nothing seen" })?;
    }
    if !health.unknown().is_empty() {
        out.write_str(if s.node.is_emulated { "; emulated: power and heat are not judged" } else { "; the firmware tells nothing" })?;
    }
    out.write_str("\n")
}

fn crashes(s: &Snapshot<'_>) -> impl fmt::Display {
    fmt::from_fn(|f| {
        if s.crash_count() == 0 {
            return f.write_str("none");
        }
        let mut before = "";
        for crash in s.crashes.iter().filter(|crash| crash.count > 0) {
            write!(f, "{before}{} {}", crash.count, crash.what)?;
            before = ", ";
        }
        Ok(())
    })
}
