//! The report of the last acceptance test, to read and to send: plain text, one line per subject.

use core::fmt::{self, Write};

use crate::certificate::{Certificate, Outcome, Stage};
use crate::sinks::Sink;
use crate::snapshot::Snapshot;
use crate::units::{MiB, UtcTime};

/// The entry of this sink in the table.
pub const SINK: Sink = Sink { name: "certificate", content_type: "text/plain; charset=utf-8", render };

/// Writes the report.
///
/// # Errors
///
/// Passes on the error of `out`.
pub fn render(snapshot: &Snapshot<'_>, out: &mut dyn Write) -> fmt::Result {
    let Some(certificate) = snapshot.certificate else {
        return out.write_str(
            "The board was not tested since it was switched on. To test it, type 'workload start certify' in the shell, or put \
             workload=certify on the node's command line.\n",
        );
    };
    let node = snapshot.node;
    writeln!(out, "MiniPiRack {} ({}), {}", node.version, node.build, node.name)?;
    writeln!(
        out,
        "board        {}, revision {:06x}, serial {}, {}, {} MiB",
        node.board,
        node.revision,
        node.serial(),
        node.soc,
        MiB(snapshot.sample.memory.total)
    )?;
    if node.is_emulated {
        writeln!(out, "             emulated: this says nothing about a real board")?;
    }
    writeln!(out, "network      {} {}", snapshot.net.driver.unwrap_or("no controller"), snapshot.net.mac())?;
    write_run(certificate, out)?;
    for (subject, finding) in certificate.findings() {
        writeln!(out, "{:12} {:12} {}", subject.name(), finding.outcome.shown(), finding.reason)?;
    }
    write_verdict(certificate, out)
}

fn write_run(certificate: &Certificate, out: &mut dyn Write) -> fmt::Result {
    let seconds = |us: u64| us / 1_000_000;
    write!(out, "test         ")?;
    match certificate.stage {
        Stage::Running => write!(out, "of {} s, running", seconds(certificate.asked_us))?,
        Stage::Stopped => write!(out, "of {} s, stopped before its end", seconds(certificate.asked_us))?,
        Stage::Done => write!(out, "of {} s", seconds(certificate.ran_us))?,
    }
    match certificate.started_unix_us {
        Some(us) => writeln!(out, ", begun {} UTC", UtcTime(us)),
        None => writeln!(out, ", begun {} s after power-on", seconds(certificate.started_us)),
    }
}

/// One line: the verdict, and what it is due to.
fn write_verdict(certificate: &Certificate, out: &mut dyn Write) -> fmt::Result {
    write!(out, "verdict      {}", certificate.verdict().name())?;
    for (outcome, what) in [(Outcome::Failed, "failed"), (Outcome::NotChecked, "not checked")] {
        let subjects = certificate.findings().filter(|(_, finding)| finding.outcome == outcome);
        for (i, (subject, _)) in subjects.enumerate() {
            if i == 0 {
                write!(out, "; {what}:")?;
            }
            write!(out, " {}", subject.name())?;
        }
    }
    out.write_str("\n")
}
