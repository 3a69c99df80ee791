//! `workload`: lists, explains, starts and stops workloads.

use core::fmt::{self, Write};

use telemetry::Snapshot;
use telemetry::units::{Micros, Percent, Si};
use workload::{CoreSet, WORKLOADS};

use super::{Arguments, Command, Next, Problem, look};

pub(super) const COMMAND: Command = Command {
    name: "workload",
    usage: &["[list]", "help [NAME]", "start NAME[:KEY=VALUE,...] [CORES]", "stop [CORES]"],
    help: "lists, explains, starts and stops workloads",
    changes: |mut arguments| !matches!(arguments.next_word(), None | Some("list" | "help")),
    run: |mut arguments, node, out| {
        match arguments.next_word() {
            None | Some("list") => {
                arguments.end()?;
                look(node, |snapshot| write_list(snapshot, out))?;
            }
            Some("help") => {
                let name = arguments.next_word();
                arguments.end()?;
                match name {
                    None => write!(out, "{}", workload::help::list())?,
                    Some(name) => match workload::help::of(name) {
                        Some(help) => write!(out, "{help}")?,
                        None => {
                            writeln!(out, "there is no workload '{name}'; there are:\n{}", workload::help::list())?;
                        }
                    },
                }
            }
            Some("start") => {
                let spec = arguments.next_word().ok_or(Problem::Missing("NAME"))?;
                let cores = cores(arguments)?;
                let cores = node.workloads().start(spec, cores)?;
                writeln!(out, "started on core {cores}")?;
            }
            Some("stop") => {
                let cores = cores(arguments)?.unwrap_or(CoreSet::ALL);
                let stopped = node.workloads().stop(cores);
                if stopped.is_empty() {
                    writeln!(out, "nothing runs on core {cores}")?;
                } else {
                    writeln!(out, "stopped on core {stopped}")?;
                }
            }
            Some(word) => return Err(Problem::Wrong { word, allowed: "list, help, start or stop" }),
        }
        Ok(Next::Prompt)
    },
    offer: |words, _, take| match words {
        [] => ["list", "help", "start", "stop"].into_iter().for_each(take),
        ["help" | "start"] => WORKLOADS.iter().for_each(|workload| take(workload.name())),
        _ => {}
    },
};

fn cores(mut arguments: Arguments<'_>) -> Result<Option<CoreSet>, Problem<'_>> {
    let Some(word) = arguments.next_word() else { return Ok(None) };
    let cores = CoreSet::parse(word).ok_or(Problem::Wrong { word, allowed: "CORES, such as 1, 1-3, 1+3 or all" })?;
    arguments.end()?;
    Ok(Some(cores))
}

/// Writes a line for each core that runs workloads.
pub(super) fn write_list(s: &Snapshot<'_>, out: &mut dyn Write) -> fmt::Result {
    let rates = s.history.rates();
    writeln!(out, "core state     busy  ops/s   B/s    errors p50     p99     workload")?;
    for (status, counts, durations) in s.workloads() {
        let w = rates.as_ref().and_then(|r| r.workloads.get(usize::from(status.core)).copied()).unwrap_or_default();
        write!(
            out,
            "{:<4} {:9} {} {} {} {:<6} ",
            status.core,
            status.state,
            padded(5, Percent(w.busy_permille)),
            padded(7, Si(w.operations)),
            padded(6, Si(w.bytes)),
            counts.errors
        )?;
        match durations.summary() {
            Some(d) => write!(out, "{} {} ", padded(7, Micros(d.p50_us)), padded(7, Micros(d.p99_us)))?,
            None => out.write_str("-       -       ")?,
        }
        out.write_str(&status.spec)?;
        if !status.reason.is_empty() {
            write!(out, " ({})", status.reason)?;
        }
        out.write_str("\n")?;
    }
    Ok(())
}

/// Shows a value with spaces behind it, up to `width` columns.
fn padded(width: usize, value: impl fmt::Display) -> impl fmt::Display {
    fmt::from_fn(move |f| {
        let mut text: heapless::String<24> = heapless::String::new();
        // Longer values than that are never shown here.
        let _ = write!(text, "{value}");
        write!(f, "{text:width$}")
    })
}
