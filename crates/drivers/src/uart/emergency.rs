//! Writing to the console when nothing else can be relied on.

use core::fmt;

use embassy_time::Duration;

use super::{Console, Interrupts};
use crate::wait::until;

/// How long a full FIFO may stay full: over a hundred byte times at 115200 baud.
const SPACE_TIMEOUT: Duration = Duration::from_millis(10);

/// A console for the last words: it needs no interrupt and no lock, and gives up on a UART that is stuck.
///
/// Ends lines with CR LF, as terminals want it.
pub struct Emergency<'a> {
    console: Console<'a>,
    is_stuck: bool,
}

impl<'a> Emergency<'a> {
    /// Turns the UART's interrupts off and takes it over as it is set up.
    #[must_use]
    pub fn new(mut console: Console<'a>) -> Self {
        console.set_interrupts(Interrupts::default());
        Self { console, is_stuck: false }
    }

    /// Writes all of `bytes`, or as much as goes out before the UART gets stuck.
    pub fn write(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && !self.is_stuck {
            self.is_stuck = until(SPACE_TIMEOUT, || self.console.has_space()).is_err();
            let written = self.console.write(bytes);
            bytes = bytes.get(written..).unwrap_or_default();
        }
    }

    /// Waits until everything is on the line, or the UART is stuck.
    pub fn flush(&mut self) {
        self.is_stuck |= self.console.flush().is_err();
    }
}

impl fmt::Write for Emergency<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for line in text.split_inclusive('\n') {
            match line.strip_suffix('\n') {
                Some(line) => {
                    self.write(line.as_bytes());
                    self.write(b"\r\n");
                }
                None => self.write(line.as_bytes()),
            }
        }
        if self.is_stuck { Err(fmt::Error) } else { Ok(()) }
    }
}
