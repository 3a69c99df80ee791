//! `workload`: lists, explains, starts, changes and stops workloads.

use core::fmt::{self, Write};

use heapless::String;
use telemetry::metrics::Metric;
use telemetry::units::{Micros, Percent, Si};
use telemetry::workload_status::SPEC_LEN_MAX;
use telemetry::{Histogram, Snapshot, WorkloadView};
use workload::manager::{Change, shown};
use workload::{CoreSet, SpecError, StartError, WORKLOADS, Which};

use super::{Arguments, Command, Next, Problem, look};
use crate::node::Node;

const VERBS: [&str; 7] = ["list", "show", "help", "start", "stop", "restart", "set"];

pub(super) const COMMAND: Command = Command {
    name: "workload",
    usage: &[
        "[list]",
        "show [ID]",
        "help [NAME]",
        "start NAME [KEY=VALUE ...] [CORES]",
        "stop [ID | CORES | all]",
        "restart ID | CORES | all",
        "set ID KEY=VALUE ...",
    ],
    help: "lists, explains, starts, changes and stops workloads",
    changes: |mut arguments| !matches!(arguments.next_word(), None | Some("list" | "show" | "help")),
    run: |mut arguments, node, out| {
        match arguments.next_word() {
            None | Some("list") => {
                arguments.end()?;
                look(node, |snapshot| write_list(snapshot, out))?;
            }
            Some("show") => show(arguments, node, out)?,
            Some("help") => {
                let name = arguments.next_word();
                arguments.end()?;
                match name {
                    None => write!(out, "{}", workload::help::list())?,
                    Some(name) => write!(out, "{}", workload::help::of(name).map_err(StartError::from)?)?,
                }
            }
            Some("start") => {
                let (spec, cores) = spec(arguments)?;
                writeln!(out, "started {}", node.workloads().start(&spec, cores)?)?;
            }
            Some("stop") => {
                let which = arguments.next_word().map_or(Which::All, Which::parse);
                arguments.end()?;
                let stopped = node.workloads().stop(which)?;
                if stopped.is_empty() {
                    out.write_str("nothing runs there\n")?;
                } else {
                    writeln!(out, "stopped {}", shown(&stopped))?;
                }
            }
            Some("restart") => {
                let which = Which::parse(arguments.next_word().ok_or(Problem::Missing("ID"))?);
                arguments.end()?;
                let started = node.workloads().restart(which)?;
                if started.is_empty() {
                    out.write_str("nothing was started there\n")?;
                } else {
                    writeln!(out, "restarted {}", shown(&started))?;
                }
            }
            Some("set") => {
                let id = arguments.next_word().ok_or(Problem::Missing("ID"))?;
                match node.workloads().set(id, &joined(arguments)?)? {
                    Change::Followed => writeln!(out, "{id} goes on with that")?,
                    Change::Restarted => writeln!(out, "{id} was started anew with that")?,
                }
            }
            Some(word) => {
                return Err(Problem::Wrong { word, allowed: "list, show, help, start, stop, restart or set" });
            }
        }
        Ok(Next::Prompt)
    },
    offer: |words, node, take| match words {
        [] => VERBS.into_iter().for_each(take),
        ["help" | "start"] => WORKLOADS.iter().for_each(|workload| take(workload.name())),
        ["show" | "stop" | "restart" | "set"] => node.workloads().each_id(take),
        ["start", name, ..] => offer_parameters(name, take),
        ["set", id, ..] => {
            let views = node.workloads().statuses();
            if let Some(view) = views.iter().find(|view| view.status.id == *id) {
                offer_parameters(view.status.name, take);
            }
        }
        _ => {}
    },
};

/// Returns what to start and where: cores may stand at the end, without `cores=`.
fn spec(mut arguments: Arguments<'_>) -> Result<(String<SPEC_LEN_MAX>, Option<CoreSet>), Problem<'_>> {
    let mut spec = String::new();
    append(&mut spec, arguments.next_word().ok_or(Problem::Missing("NAME"))?)?;
    while let Some(word) = arguments.next_word() {
        if !word.contains('=') {
            let allowed = "KEY=VALUE, nor cores such as 1-3";
            let cores = CoreSet::parse(word).ok_or(Problem::Wrong { word, allowed })?;
            arguments.end()?;
            return Ok((spec, Some(cores)));
        }
        append(&mut spec, word)?;
    }
    Ok((spec, None))
}

/// Returns the words that are left, with a space between two.
fn joined(mut arguments: Arguments<'_>) -> Result<String<SPEC_LEN_MAX>, Problem<'_>> {
    let mut text = String::new();
    while let Some(word) = arguments.next_word() {
        append(&mut text, word)?;
    }
    Ok(text)
}

fn append(text: &mut String<SPEC_LEN_MAX>, word: &str) -> Result<(), StartError> {
    let space = if text.is_empty() { "" } else { " " };
    let len = text.len() + space.len() + word.len();
    text.push_str(space).and_then(|()| text.push_str(word)).map_err(|_| SpecError::TooLong { len }.into())
}

fn offer_parameters(name: &str, take: &mut dyn FnMut(&str)) {
    let Some(workload) = workload::builtin::find(name) else { return };
    for parameter in workload.parameters().iter().chain(&workload::spec::COMMON) {
        let mut word: String<32> = String::new();
        if write!(word, "{}=", parameter.name).is_ok() {
            take(&word);
        }
    }
}

/// Writes a line for each workload on each core.
pub(super) fn write_list(s: &Snapshot<'_>, out: &mut dyn Write) -> fmt::Result {
    if s.workloads.is_empty() {
        return out.write_str("no workloads; 'workload help' lists what there is\n");
    }
    let rates = s.history.rates();
    writeln!(out, "core id           state     busy  ops/s   B/s    errors p50     p99     workload")?;
    for (status, counts, durations) in s.workloads() {
        let w = rates.as_ref().map(|rates| rates.workload(status)).unwrap_or_default();
        write!(
            out,
            "{:<4} {:12} {:9} {} {} {} {:<6} ",
            status.core,
            status.id,
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
        if status.restarts > 0 {
            write!(out, " (restarts: {})", status.restarts)?;
        }
        out.write_str("\n")?;
    }
    Ok(())
}

/// Shows everything that is known of one workload, or of all.
fn show<'a>(mut arguments: Arguments<'a>, node: &dyn Node, out: &mut dyn Write) -> Result<(), Problem<'a>> {
    let id = arguments.next_word();
    arguments.end()?;
    let mut is_known = false;
    look(node, |snapshot| {
        for view in snapshot.workloads.iter().filter(|view| id.is_none_or(|id| view.status.id == id)) {
            is_known = true;
            write_view(snapshot, view, out)?;
        }
        Ok(())
    })?;
    match id {
        Some(id) if !is_known => writeln!(out, "no workload is called '{id}'; 'workload list' shows them")?,
        None if !is_known => out.write_str("no workloads; 'workload help' lists what there is\n")?,
        _ => {}
    }
    Ok(())
}

fn write_view(s: &Snapshot<'_>, view: &WorkloadView<'_>, out: &mut dyn Write) -> fmt::Result {
    let status = &view.status;
    writeln!(out, "{} on core {}: {}", status.id, status.core, status.state)?;
    if !status.reason.is_empty() {
        writeln!(out, "  reason      {}", status.reason)?;
    }
    writeln!(out, "  workload    {}", status.spec)?;
    let seconds = s.sample.at_us.saturating_sub(status.started_us) / 1_000_000;
    writeln!(out, "  started     {seconds} s ago, {} restarts", status.restarts)?;
    let counts = s.sample.workloads.get(status.slot).copied().unwrap_or_default();
    writeln!(out, "  operations  {}, bytes {}, errors {}", counts.operations, counts.bytes, counts.errors)?;
    write_histogram("durations", view.durations, out)?;
    for (metric, value) in view.figures() {
        writeln!(out, "  {:24} {value}", short(metric, status.name))?;
    }
    for (metric, histogram) in view.histograms() {
        write_histogram(short(metric, status.name), histogram, out)?;
    }
    Ok(())
}

fn write_histogram(name: &str, histogram: &Histogram, out: &mut dyn Write) -> fmt::Result {
    let Some(d) = histogram.summary() else { return Ok(()) };
    let [min, p50, p90, p99, max] = [d.min_us, d.p50_us, d.p90_us, d.p99_us, d.max_us].map(Micros);
    writeln!(out, "  {name:11} min {min}, p50 {p50}, p90 {p90}, p99 {p99}, max {max} ({})", d.count)
}

/// Returns a metric's name without what all metrics of its workload begin with.
fn short(metric: &Metric, workload: &str) -> &'static str {
    let name = metric.name;
    let rest = name.strip_prefix("minipirack_").and_then(|rest| rest.strip_prefix(workload));
    rest.and_then(|rest| rest.strip_prefix('_')).unwrap_or(name)
}

/// Shows a value with spaces behind it, up to `width` columns.
fn padded(width: usize, value: impl fmt::Display) -> impl fmt::Display {
    fmt::from_fn(move |f| {
        let mut text: String<24> = String::new();
        // Longer values than that are never shown here.
        let _ = write!(text, "{value}");
        write!(f, "{text:width$}")
    })
}
