//! The `log` crate's lines go to one ring that all cores write and the console, the shell and syslog read; and to the black
//! box's journal, which survives a reset.

use core::cell::RefCell;
use core::sync::atomic::AtomicU64;

use crash::journal::Journal;
use critical_section::Mutex;
use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;
use embassy_sync::watch::Watch;
use embassy_time::Instant;
use log::{LevelFilter, Log, Metadata, Record};
use telemetry::log_ring::{Cursor, Level, LogLine, LogLines, LogRing};

use crate::cpu::current_core;
use crate::{mem, pages};

/// Readers that wait for new lines: console, syslog, MQTT, defmt clients, `log -f` in each shell, and clients
/// that get events.
pub(crate) const READERS: usize = 12 + pages::EVENT_CLIENTS;

static RING: Mutex<RefCell<LogRing>> = Mutex::new(RefCell::new(LogRing::new()));
/// Has the last lines when the next life asks for them; `None` until this life has read those of the last.
static JOURNAL: Mutex<RefCell<Option<Journal>>> = Mutex::new(RefCell::new(None));
/// How many lines were written: changes with each.
pub(crate) static WRITTEN: Watch<CriticalSectionRawMutex, u64, READERS> = Watch::new();

/// How many lines were overwritten before the console could print them.
pub(crate) static LOST: AtomicU64 = AtomicU64::new(0);

struct Logger;

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        let level = match record.level() {
            log::Level::Error => Level::Error,
            log::Level::Warn => Level::Warn,
            log::Level::Info => Level::Info,
            log::Level::Debug => Level::Debug,
            log::Level::Trace => Level::Trace,
        };
        let at_us = Instant::now().as_micros();
        let core = u8::try_from(current_core()).unwrap_or(0);
        let written = critical_section::with(|cs| {
            // A value that logs while it is being formatted: its line is lost, which is better than the node.
            let mut ring = RING.borrow(cs).try_borrow_mut().ok()?;
            ring.push_from(record.module_path_static(), at_us, level, core, *record.args());
            let line = ring.next(&mut ring.last(1)).map(|(_, line)| line);
            if let (Some(line), Ok(mut journal)) = (line, JOURNAL.borrow(cs).try_borrow_mut())
                && let Some(journal) = &mut *journal
            {
                // The number of a level is its place in `Level::ALL`.
                mem::clean_bytes(journal.push(at_us, level as u8, core, &line.text));
            }
            Some(ring.written())
        });
        if let Some(written) = written {
            WRITTEN.sender().send(written);
        }
    }

    fn flush(&self) {}
}

/// Starts logging.
pub(crate) fn init(level: LevelFilter) {
    // Fails only when called twice; the level still counts.
    let _ = log::set_logger(&Logger);
    log::set_max_level(level);
}

/// Has every line from now on written into `journal` too.
pub(crate) fn keep_in(journal: Journal) {
    critical_section::with(|cs| JOURNAL.borrow(cs).replace(Some(journal)));
}

/// Looks at the ring. Keep it short: interrupts are off and other cores wait.
pub(crate) fn with_ring<R>(look: impl FnOnce(&LogRing) -> R) -> Option<R> {
    critical_section::with(|cs| RING.borrow(cs).try_borrow().ok().map(|ring| look(&ring)))
}

/// Reads the ring a line at a time, so that the lock is held for no longer than a copy takes.
pub(crate) struct LogReader;

impl LogLines for LogReader {
    fn next_line(&self, cursor: &mut Cursor) -> Option<(u64, LogLine)> {
        with_ring(|ring| ring.next_line(cursor)).flatten()
    }

    fn cursor_at_last(&self, count: usize) -> Cursor {
        with_ring(|ring| ring.last(count)).unwrap_or_default()
    }

    fn cursor_at(&self, number: u64) -> Cursor {
        with_ring(|ring| ring.at(number)).unwrap_or_default()
    }
}
