//! The last log lines, for any number of readers.
//!
//! A writer never waits: the oldest line makes room. Each reader (serial console, shell, status page, syslog) has a
//! [`Cursor`] of its own and is told how many lines it missed. The ring has no lock; whoever shares it brings one.

use core::fmt::{self, Write};

use heapless::String;

/// Lines that are kept.
pub const LINES: usize = 256;
/// Longest text of a line in bytes; longer ones are cut and end in `…`.
pub const LINE_LEN_MAX: usize = 160;
const CUT: &str = "…";

/// How much a line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Something is broken.
    Error,
    /// Something is not as it should be.
    Warn,
    /// Something worth knowing happened.
    Info,
    /// For whoever looks for a fault.
    Debug,
    /// Everything.
    Trace,
}

impl Level {
    /// Every level, the most important first.
    pub const ALL: [Self; 5] = [Self::Error, Self::Warn, Self::Info, Self::Debug, Self::Trace];

    /// Returns the level as one lower-case word.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A log line. `Display` gives `    12.345678 warn  core 1: text`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// When it was written, in µs since boot.
    pub at_us: u64,
    /// How much it matters.
    pub level: Level,
    /// The core that wrote it.
    pub core: u8,
    /// The part of the image that wrote it, such as `net::mdns`, if known.
    pub target: Option<&'static str>,
    /// What it says, without control characters.
    pub text: String<LINE_LEN_MAX>,
}

impl LogLine {
    /// All zero bytes, so that an empty ring takes no room in an image.
    const EMPTY: Self = Self { at_us: 0, level: Level::Error, core: 0, target: None, text: String::new() };
}

impl fmt::Display for LogLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:5}.{:06} {:5} ", self.at_us / 1_000_000, self.at_us % 1_000_000, self.level)?;
        if self.core != 0 {
            write!(f, "core {}: ", self.core)?;
        }
        f.write_str(&self.text)
    }
}

/// Where a reader is: the sequence number of the line that it reads next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cursor(u64);

impl Cursor {
    /// Returns a cursor at the line with this number; lines are numbered from 0.
    #[must_use]
    pub fn at(number: u64) -> Self {
        Self(number)
    }

    /// Returns the number of the line that is read next, unless it is overwritten before.
    #[must_use]
    pub fn number(self) -> u64 {
        self.0
    }
}

/// A ring of the newest log lines.
pub struct LogRing {
    lines: [LogLine; LINES],
    written: u64,
}

impl LogRing {
    /// Makes an empty ring.
    #[must_use]
    pub const fn new() -> Self {
        Self { lines: [const { LogLine::EMPTY }; LINES], written: 0 }
    }

    /// Writes a line of which nobody knows where it comes from: see [`push_from`](Self::push_from).
    pub fn push(&mut self, at_us: u64, level: Level, core: u8, text: fmt::Arguments<'_>) {
        self.push_from(None, at_us, level, core, text);
    }

    /// Writes a line. Control characters become spaces, so that nothing a peer sent can move the reader's cursor.
    pub fn push_from(
        &mut self,
        target: Option<&'static str>,
        at_us: u64,
        level: Level,
        core: u8,
        text: fmt::Arguments<'_>,
    ) {
        let index = (self.written % LINES as u64) as usize;
        let Some(line) = self.lines.get_mut(index) else { return };
        line.at_us = at_us;
        line.level = level;
        line.core = core;
        line.target = target;
        line.text.clear();
        let mut cut = CutWriter { text: &mut line.text, is_cut: false };
        // Fails only when a value's own formatting does; the line then ends there.
        let _ = cut.write_fmt(text);
        if cut.is_cut {
            // There is room: the writer leaves as much.
            let _ = line.text.push_str(CUT);
        }
        self.written += 1;
    }

    /// Returns how many lines were ever written.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Returns a cursor at the oldest line that is left.
    #[must_use]
    pub fn oldest(&self) -> Cursor {
        self.last(LINES)
    }

    /// Returns a cursor behind the newest line.
    #[must_use]
    pub fn end(&self) -> Cursor {
        Cursor(self.written)
    }

    /// Returns a cursor at the `count`-th line from the end.
    #[must_use]
    pub fn last(&self, count: usize) -> Cursor {
        Cursor(self.written.saturating_sub(count.min(LINES) as u64))
    }

    /// Returns a cursor at the line with this number, or at the oldest line if there was none yet: the number may be of a
    /// ring before this one.
    #[must_use]
    pub fn at(&self, number: u64) -> Cursor {
        if number > self.written { self.oldest() } else { Cursor(number) }
    }

    /// Returns the next line for `cursor` and how many it missed before it, and moves it on.
    pub fn next(&self, cursor: &mut Cursor) -> Option<(u64, &LogLine)> {
        let oldest = self.oldest().0;
        let missed = oldest.saturating_sub(cursor.0);
        let at = cursor.0.max(oldest);
        if at >= self.written {
            return None;
        }
        let line = self.lines.get((at % LINES as u64) as usize)?;
        cursor.0 = at + 1;
        Some((missed, line))
    }
}

/// Where sinks and the shell read log lines: a ring, or a ring behind a lock that is held for one line only.
pub trait LogLines {
    /// Returns the next line for `cursor` and how many it missed before it, and moves it on.
    fn next_line(&self, cursor: &mut Cursor) -> Option<(u64, LogLine)>;

    /// Returns a cursor at the `count`-th line from the end.
    fn cursor_at_last(&self, count: usize) -> Cursor;

    /// Returns a cursor at the line with this number; see [`LogRing::at`].
    fn cursor_at(&self, number: u64) -> Cursor;
}

impl LogLines for LogRing {
    fn next_line(&self, cursor: &mut Cursor) -> Option<(u64, LogLine)> {
        self.next(cursor).map(|(missed, line)| (missed, line.clone()))
    }

    fn cursor_at_last(&self, count: usize) -> Cursor {
        self.last(count)
    }

    fn cursor_at(&self, number: u64) -> Cursor {
        self.at(number)
    }
}

impl Default for LogRing {
    fn default() -> Self {
        Self::new()
    }
}

/// Takes what fits and drops the rest, at a character's boundary.
struct CutWriter<'a> {
    text: &'a mut String<LINE_LEN_MAX>,
    is_cut: bool,
}

impl Write for CutWriter<'_> {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        for c in s.chars() {
            let c = if c.is_control() { ' ' } else { c };
            if self.is_cut || self.text.len() + c.len_utf8() > LINE_LEN_MAX - CUT.len() {
                self.is_cut = true;
                return Ok(());
            }
            // There is room, as just seen.
            let _ = self.text.push(c);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(ring: &LogRing, cursor: &mut Cursor) -> Vec<(u64, std::string::String)> {
        std::iter::from_fn(|| ring.next(cursor).map(|(missed, line)| (missed, line.text.to_string()))).collect()
    }

    fn filled(lines: u64) -> LogRing {
        let mut ring = LogRing::new();
        for i in 0..lines {
            ring.push(i, Level::Info, 0, format_args!("{i}"));
        }
        ring
    }

    #[test]
    fn each_reader_gets_every_line_once() {
        let mut ring = filled(2);
        let (mut a, mut b) = (ring.oldest(), ring.end());
        assert_eq!(read(&ring, &mut a), [(0, "0".into()), (0, "1".into())]);
        ring.push(2, Level::Info, 0, format_args!("2"));
        assert_eq!(read(&ring, &mut a), [(0, "2".into())]);
        assert_eq!(read(&ring, &mut b), [(0, "2".into())]);
        assert_eq!(read(&ring, &mut b), []);
    }

    #[test]
    fn a_slow_reader_is_told_what_it_missed() {
        let mut ring = filled(1);
        let mut cursor = ring.oldest();
        for i in 1..LINES as u64 + 10 {
            ring.push(i, Level::Info, 0, format_args!("{i}"));
        }
        let lines = read(&ring, &mut cursor);
        assert_eq!(lines[0], (10, "10".into()));
        assert_eq!(lines[1], (0, "11".into()));
        assert_eq!(lines.len(), LINES);
        assert_eq!(ring.written(), LINES as u64 + 10);
    }

    #[test]
    fn the_last_lines_can_be_asked_for() {
        let ring = filled(1000);
        let mut cursor = ring.last(2);
        assert_eq!(read(&ring, &mut cursor), [(0, "998".into()), (0, "999".into())]);
        let mut cursor = ring.last(5000);
        assert_eq!(read(&ring, &mut cursor).len(), LINES);
    }

    #[test]
    fn a_reader_can_come_back() {
        let ring = filled(10);
        let mut cursor = ring.at(8);
        assert_eq!(read(&ring, &mut cursor), [(0, "8".into()), (0, "9".into())]);
        assert_eq!((cursor.number(), ring.at(cursor.number())), (10, ring.end()));
        assert_eq!(read(&ring, &mut ring.at(11)).len(), 10, "a number of an earlier life");
    }

    #[test]
    fn a_long_line_is_cut_at_a_character() {
        let mut ring = LogRing::new();
        for text in ["x".repeat(500), "é".repeat(500), format!("x{}", "日".repeat(100))] {
            ring.push(0, Level::Info, 0, format_args!("{text}"));
            let mut cursor = ring.last(1);
            let (_, line) = ring.next(&mut cursor).unwrap();
            assert!(line.text.ends_with(CUT) && line.text.len() > LINE_LEN_MAX - 6);
        }
        let full = "y".repeat(LINE_LEN_MAX - CUT.len());
        ring.push(0, Level::Info, 0, format_args!("{full}"));
        assert_eq!(read(&ring, &mut ring.last(1)), [(0, full)]);
    }

    #[test]
    fn control_characters_cannot_move_the_cursor() {
        let mut ring = LogRing::new();
        ring.push(0, Level::Info, 0, format_args!("a\r\nb\x1b[2J\u{9b}c"));
        assert_eq!(read(&ring, &mut ring.last(1)), [(0, "a  b [2J c".into())]);
    }

    #[test]
    fn a_line_shows_when_and_where() {
        let text = String::try_from("hot").unwrap();
        let line = LogLine { at_us: 12_345_678, level: Level::Warn, core: 2, target: None, text };
        assert_eq!(line.to_string(), "   12.345678 warn  core 2: hot");
    }
}
