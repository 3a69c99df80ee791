//! A node's serial line: what it said so far, and waiting for what it will say.
//!
//! The console is read by a thread of its own from the first byte, so nothing is lost and the node never waits for its
//! reader. [`Console::wait_for`] looks at whole lines, each at most once: the next call goes on behind the line that the
//! last one returned, so "the second boot" is simply waiting for the same line twice.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::terminal_line::displayed;

/// Lines that a failed wait shows.
const CONTEXT_LINES: usize = 30;

/// Why a wait failed. The message ends with the console's last lines.
#[derive(Debug, thiserror::Error)]
pub enum WaitError {
    /// The line did not come in time.
    #[error("no {wanted} on the console within {timeout:?}; {}", context(.last_lines))]
    Timeout {
        /// What was waited for.
        wanted: String,
        /// How long.
        timeout: Duration,
        /// The last lines of the console.
        last_lines: Vec<String>,
    },
    /// QEMU ended.
    #[error("the node ended before {wanted} was on the console; {}", context(.last_lines))]
    Ended {
        /// What was waited for.
        wanted: String,
        /// The last lines of the console.
        last_lines: Vec<String>,
    },
}

fn context(last_lines: &[String]) -> String {
    if last_lines.iter().all(String::is_empty) {
        return "the console is empty".into();
    }
    format!("its last lines are:\n  | {}", last_lines.join("\n  | "))
}

/// What a line is tested against: text that it contains, or a closure.
pub trait Pattern {
    /// Returns whether the line is the one.
    fn matches(&mut self, line: &str) -> bool;

    /// Returns the pattern for an error message.
    fn describe(&self) -> String {
        "such a line".into()
    }
}

impl Pattern for &str {
    fn matches(&mut self, line: &str) -> bool {
        line.contains(*self)
    }

    fn describe(&self) -> String {
        format!("{self:?}")
    }
}

impl<F: FnMut(&str) -> bool> Pattern for F {
    fn matches(&mut self, line: &str) -> bool {
        self(line)
    }
}

/// A serial line of a node. Clones are handles of the same line.
#[derive(Clone, Debug)]
pub struct Console {
    shared: Arc<Shared>,
    stream: Arc<UnixStream>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    arrived: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Everything the node said.
    raw: Vec<u8>,
    /// How much was said before that and is forgotten, see [`Console::keep`].
    forgotten: u64,
    /// How much of it is kept at least; all, when `None`.
    kept: Option<usize>,
    /// Where the next wait starts in `raw`.
    seen: usize,
    is_ended: bool,
}

impl Console {
    /// Starts to read `stream`.
    ///
    /// # Errors
    /// When the stream can't be duplicated for the reader.
    pub fn new(stream: UnixStream) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let reader = stream.try_clone()?;
        let console = Self { shared: Arc::clone(&shared), stream: Arc::new(stream) };
        thread::Builder::new().name("console".into()).spawn(move || shared.fill_from(reader))?;
        Ok(console)
    }

    /// Waits for a whole line that matches, and returns it as a terminal would show it.
    ///
    /// Lines up to the last one that was returned are not looked at again.
    ///
    /// # Errors
    /// When the line did not come within `timeout`, or the node ended.
    pub fn wait_for(&self, mut pattern: impl Pattern, timeout: Duration) -> Result<String, WaitError> {
        let wanted = pattern.describe();
        self.wait_for_map(&wanted, timeout, |line| pattern.matches(line).then(|| line.to_owned()))
    }

    /// Waits for a whole line of which `read` makes a value; `wanted` names it in the error.
    ///
    /// # Errors
    /// As [`Console::wait_for`].
    pub fn wait_for_map<T>(
        &self,
        wanted: &str,
        timeout: Duration,
        mut read: impl FnMut(&str) -> Option<T>,
    ) -> Result<T, WaitError> {
        self.wait(wanted, timeout, |state| {
            while let Some(len) = state.raw[state.seen..].iter().position(|byte| *byte == b'\n') {
                let line = displayed(&String::from_utf8_lossy(&state.raw[state.seen..state.seen + len]));
                state.seen += len + 1;
                if let Some(value) = read(&line) {
                    return Some(value);
                }
            }
            None
        })
    }

    /// Waits for `text` anywhere behind the last match, also in a line that has not ended: a shell's prompt.
    ///
    /// # Errors
    /// As [`Console::wait_for`].
    pub fn wait_for_prompt(&self, text: &str, timeout: Duration) -> Result<(), WaitError> {
        self.wait(&format!("{text:?}"), timeout, |state| {
            let unseen = &state.raw[state.seen..];
            let at = unseen.windows(text.len().max(1)).position(|window| window == text.as_bytes())?;
            state.seen += at + text.len();
            Some(())
        })
    }

    /// Makes the next wait ignore everything that was said so far.
    pub fn skip(&self) {
        let mut state = self.shared.lock();
        state.seen = state.raw.len();
    }

    /// Makes the next wait start at the first line again.
    pub fn rewind(&self) {
        self.shared.lock().seen = 0;
    }

    /// Types bytes on the line.
    ///
    /// # Errors
    /// When the node ended.
    pub fn send_bytes(&self, bytes: &[u8]) -> io::Result<()> {
        (&*self.stream).write_all(bytes)
    }

    /// Types a line and presses Enter.
    ///
    /// # Errors
    /// When the node ended.
    pub fn send_line(&self, line: &str) -> io::Result<()> {
        self.send_bytes(format!("{line}\r").as_bytes())
    }

    /// Returns every byte that the node said.
    #[must_use]
    pub fn raw(&self) -> Vec<u8> {
        self.shared.lock().raw.clone()
    }

    /// Returns every line that the node said, as a terminal would show it; the last one may not have ended yet.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        lines_of(&self.shared.lock().raw)
    }

    /// Returns the last `count` lines.
    #[must_use]
    pub fn last_lines(&self, count: usize) -> Vec<String> {
        last(lines_of(&self.shared.lock().raw), count)
    }

    /// Forgets from now on what is older than the last `len` to 2 `len` bytes: for a node that runs for days.
    pub fn keep(&self, len: usize) {
        let mut state = self.shared.lock();
        state.kept = Some(len);
        state.forget();
    }

    /// Returns what was said from a position in the stream on, and moves the position behind it; what is forgotten is left out. Waits
    /// for more when there is nothing, at most `timeout`, and is empty then. `None` is the end.
    #[must_use]
    pub fn read_from(&self, position: &mut u64, timeout: Duration) -> Option<Vec<u8>> {
        let deadline = Instant::now() + timeout;
        let mut state = self.shared.lock();
        loop {
            let at = usize::try_from(position.saturating_sub(state.forgotten)).unwrap_or(usize::MAX);
            if let Some(bytes) = state.raw.get(at..).filter(|bytes| !bytes.is_empty()) {
                *position = state.forgotten + state.raw.len() as u64;
                return Some(bytes.to_vec());
            }
            if state.is_ended {
                return None;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Some(Vec::new());
            }
            state = self.shared.arrived.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Returns the position in the stream that is `len` bytes before its end, for [`Console::read_from`].
    #[must_use]
    pub fn position_before_end(&self, len: usize) -> u64 {
        let state = self.shared.lock();
        (state.forgotten + state.raw.len() as u64).saturating_sub(len as u64)
    }

    /// Returns whether QEMU closed the line.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.shared.lock().is_ended
    }

    /// Ends the reader thread.
    pub(crate) fn close(&self) {
        // Fails only when QEMU has closed its end, which ends the reader as well.
        let _ = self.stream.shutdown(Shutdown::Both);
    }

    fn wait<T>(
        &self,
        wanted: &str,
        timeout: Duration,
        mut look: impl FnMut(&mut State) -> Option<T>,
    ) -> Result<T, WaitError> {
        let deadline = Instant::now() + timeout;
        let mut state = self.shared.lock();
        loop {
            if let Some(value) = look(&mut state) {
                return Ok(value);
            }
            let (wanted, last_lines) = (wanted.to_owned(), || last(lines_of(&state.raw), CONTEXT_LINES));
            if state.is_ended {
                return Err(WaitError::Ended { wanted, last_lines: last_lines() });
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(WaitError::Timeout { wanted, timeout, last_lines: last_lines() });
            }
            state = self.shared.arrived.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // A closure of a waiting test may have panicked; the text is still good.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fill_from(&self, mut stream: UnixStream) {
        let mut chunk = [0; 4096];
        loop {
            let read = stream.read(&mut chunk);
            let mut state = self.lock();
            match read {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Ok(0) | Err(_) => state.is_ended = true,
                Ok(len) => {
                    state.raw.extend_from_slice(&chunk[..len]);
                    state.forget();
                }
            }
            self.arrived.notify_all();
            if state.is_ended {
                return;
            }
        }
    }
}

impl State {
    fn forget(&mut self) {
        if let Some(kept) = self.kept.filter(|kept| self.raw.len() > 2 * kept) {
            let len = self.raw.len() - kept;
            self.raw.drain(..len);
            self.forgotten += len as u64;
            self.seen = self.seen.saturating_sub(len);
        }
    }
}

fn lines_of(raw: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(raw);
    let mut lines: Vec<String> = text.split('\n').map(displayed).collect();
    if lines.last().is_some_and(String::is_empty) {
        lines.pop();
    }
    lines
}

fn last(mut lines: Vec<String>, count: usize) -> Vec<String> {
    lines.split_off(lines.len().saturating_sub(count))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::*;

    const SOON: Duration = Duration::from_secs(5);
    const NOW: Duration = Duration::from_millis(20);

    fn pair() -> (Console, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        (Console::new(ours).unwrap(), theirs)
    }

    #[test]
    fn a_line_is_found_and_not_found_again() {
        let (console, mut node) = pair();
        node.write_all(b"boot 1\r\nnet up\r\n").unwrap();
        assert_eq!(console.wait_for("net", SOON).unwrap(), "net up");
        assert!(console.wait_for("boot", NOW).is_err());
        console.rewind();
        assert_eq!(console.wait_for("boot", NOW).unwrap(), "boot 1");
    }

    #[test]
    fn a_line_that_has_not_ended_is_not_returned() {
        let (console, mut node) = pair();
        node.write_all(b"address 10.0").unwrap();
        assert!(console.wait_for("address", NOW).is_err());
        node.write_all(b".2.15\r\n").unwrap();
        assert_eq!(console.wait_for("address", SOON).unwrap(), "address 10.0.2.15");
    }

    #[test]
    fn a_prompt_is_found_without_a_line_end() {
        let (console, mut node) = pair();
        node.write_all(b"hello\r\npi> ").unwrap();
        console.wait_for_prompt("pi> ", SOON).unwrap();
        assert!(console.wait_for_prompt("pi> ", NOW).is_err());
    }

    #[test]
    fn values_are_read_out_of_lines() {
        let (console, mut node) = pair();
        node.write_all(b"x\nboots=3\n").unwrap();
        let boots: u32 = console.wait_for_map("boots", SOON, |line| line.strip_prefix("boots=")?.parse().ok()).unwrap();
        assert_eq!(boots, 3);
    }

    #[test]
    fn the_error_shows_what_was_said_instead() {
        let (console, mut node) = pair();
        node.write_all(b"usb: nothing there\r\n").unwrap();
        console.wait_for("usb", SOON).unwrap();
        let error = console.wait_for("dhcp", NOW).unwrap_err().to_string();
        assert!(error.contains("no \"dhcp\" on the console within 20ms"), "{error}");
        assert!(error.ends_with("\n  | usb: nothing there"), "{error}");
    }

    #[test]
    fn the_end_is_told_from_a_timeout_and_what_came_before_counts() {
        let (console, mut node) = pair();
        node.write_all(b"bye\n").unwrap();
        drop(node);
        assert_eq!(console.wait_for("bye", SOON).unwrap(), "bye");
        assert!(matches!(console.wait_for("more", SOON), Err(WaitError::Ended { .. })));
        assert!(console.is_ended());
    }

    #[test]
    fn typed_lines_end_with_a_carriage_return() {
        let (console, mut node) = pair();
        console.send_line("status").unwrap();
        let mut typed = [0; 7];
        node.read_exact(&mut typed).unwrap();
        assert_eq!(&typed, b"status\r");
    }

    #[test]
    fn skip_forgets_what_was_said() {
        let (console, mut node) = pair();
        node.write_all(b"ready\n").unwrap();
        console.wait_for("ready", SOON).unwrap();
        console.rewind();
        console.skip();
        assert!(console.wait_for("ready", NOW).is_err());
        assert_eq!(console.lines(), ["ready"]);
    }

    #[test]
    fn who_follows_a_line_gets_what_is_kept_and_what_comes() {
        let (console, mut node) = pair();
        node.write_all(b"0123456789").unwrap();
        let mut position = 0;
        while position < 10 {
            assert!(!console.read_from(&mut position, SOON).unwrap().is_empty());
        }
        assert_eq!(console.read_from(&mut position, NOW), Some(Vec::new()));
        assert_eq!(console.read_from(&mut console.position_before_end(3), NOW).unwrap(), b"789");
        console.keep(4);
        assert_eq!(console.read_from(&mut 0, NOW).unwrap(), b"6789");
        assert_eq!(console.position_before_end(100), 0);
        node.write_all(b"ab").unwrap();
        assert_eq!(console.read_from(&mut position, SOON).unwrap(), b"ab");
        assert_eq!(position, 12);
        drop(node);
        assert_eq!(console.read_from(&mut position, SOON), None);
        assert_eq!(console.lines(), ["6789ab"]);
    }
}
