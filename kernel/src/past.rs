//! What the node remembers of its lives before this one.

use alloc::boxed::Box;
use alloc::string::ToString;
use alloc::vec::Vec;

use crash::journal::Journal;
use crash::{BlackBox, Kept};
use drivers::watchdog::ResetReason;
use heapless::String;
use log::{info, warn};
use telemetry::log_ring::LogLine;
use telemetry::{Counted, Level, Past};

use crate::node::Counts;
use crate::{logger, mem};

/// The last line of a life that ended on purpose.
pub(crate) const FAREWELL: &str = "restarting, as told";
/// Log lines of the last life that are told again when it ended otherwise.
const LINES: usize = 12;

/// Tells how the node's last life ended, and returns what the black box has kept: all that the sinks show, and how many
/// crashes of each kind there were. From now on it keeps the log of this life.
///
/// Where there is no report, the reason for the reset and the last lines are all that is known: a hang that only the hardware
/// noticed, or power.
pub(crate) fn recall(reset: ResetReason) -> (Past, Counts) {
    let Some(memory) = mem::black_box() else { return (Past::NONE, Counts::new()) };
    let mut black_box = BlackBox::open(&mut memory.reports);
    let boots = black_box.count_boot();
    let log = last_lines(&memory.journal);
    let report = black_box.take_new();
    if let Some(report) = &report {
        warn!("the last life ended in a crash, number {} since power-on:", black_box.crash_count());
        report.to_string().lines().for_each(|line| warn!("| {line}"));
    }
    let was_told = log.last().is_none_or(|line| line.text == FAREWELL);
    if report.is_some() || !was_told {
        info!("the last lines before it:");
        log.iter().skip(log.len().saturating_sub(LINES)).for_each(|line| info!("| {line}"));
    }
    // Crashes and restarts on purpose use the watchdog, like a hang: only what the last life has left tells which it was.
    let cause: String<47> = match (&report, log.last()) {
        (Some(report), _) => heapless::format!("crash ({})", report.kind.name()),
        (None, Some(line)) if line.text == FAREWELL => heapless::format!("restart on purpose"),
        _ => heapless::format!("{reset}"),
    }
    .unwrap_or_default();
    info!("boot number {boots} since power-on; last reset: {cause}; the hardware says: {reset}");
    let counts = black_box.crash_counts().map(|(kind, count)| Counted { what: kind.name(), count: count.into() });
    let past = Past {
        boots,
        reset: cause,
        crashes: Box::leak(black_box.reports().collect::<Vec<Kept>>().into_boxed_slice()),
        log: Box::leak(log.into_boxed_slice()),
    };
    let counts = counts.collect();
    mem::clean_black_box();
    logger::keep_in(Journal::open(&mut memory.journal, boots));
    (past, counts)
}

/// Returns the lines of the life that wrote last.
fn last_lines(journal: &crash::journal::Memory) -> Vec<LogLine> {
    const { assert!(crash::journal::TEXT_LEN <= telemetry::log_ring::LINE_LEN_MAX) };
    let boot = journal.lines().last().map(|line| line.boot);
    let lines = journal.lines().filter(|line| Some(line.boot) == boot);
    lines
        .map(|line| LogLine {
            at_us: line.at_us,
            level: Level::ALL.get(usize::from(line.level)).copied().unwrap_or(Level::Trace),
            core: line.core,
            target: None,
            // Fits, as checked above.
            text: line.text.try_into().unwrap_or_default(),
        })
        .collect()
}
