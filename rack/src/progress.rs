//! What is being done: a spinner when somebody watches, plain lines otherwise. Everything goes to standard error, so that
//! standard output is the node's alone.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};
use qemu::elf::Sizes;

/// How often the spinner turns.
const TICK: Duration = Duration::from_millis(100);

/// Writes a line for the user.
pub(crate) fn say(line: &str) {
    // When standard error is closed, nobody listens.
    let _ = writeln!(io::stderr(), "{line}");
}

/// Returns a path as a shell wants it, for commands that the user can paste.
pub(crate) fn quoted(path: &str) -> String {
    let is_plain = path.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/._-+".contains(&byte));
    if is_plain { path.to_owned() } else { format!("'{}'", path.replace('\'', "'\\''")) }
}

/// Returns an image's sizes for a person.
pub(crate) fn sizes(sizes: &Sizes) -> String {
    let kib = |bytes: u64| format!("{} KiB", bytes.div_ceil(1024));
    let Sizes { image, packed, text, rodata, data, bss } = *sizes;
    let parts =
        [("packed", packed), ("image", image), ("text", text), ("rodata", rodata), ("data", data), ("bss", bss)];
    parts.map(|(name, bytes)| format!("{name} {}", kib(bytes))).join(", ")
}

/// Something that takes a while.
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
}

impl Progress {
    /// Shows that `what` has begun.
    pub(crate) fn start(what: &'static str) -> Self {
        let bar = io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{spinner} {prefix} {elapsed} {wide_msg}");
            let bar = ProgressBar::new_spinner().with_prefix(what);
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
            bar.enable_steady_tick(TICK);
            bar
        });
        Self { bar }
    }

    /// Does it, showing each line that it has to say.
    pub(crate) fn follow<T>(self, action: impl FnOnce(&mut dyn FnMut(&str)) -> Result<T>) -> Result<T> {
        let result = action(&mut |line| self.line(line));
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        result
    }

    fn line(&self, line: &str) {
        match &self.bar {
            None => say(line),
            Some(bar) if is_message_of_cargo(line) => bar.suspend(|| say(line)),
            Some(bar) => bar.set_message(line.trim().to_owned()),
        }
    }
}

/// Bytes that pass.
pub(crate) struct Bar {
    bar: Option<ProgressBar>,
}

impl Bar {
    /// Shows that `what` has begun with the first of `len` bytes.
    pub(crate) fn start(what: &'static str, len: u64) -> Self {
        if !io::stderr().is_terminal() {
            say(what);
            return Self { bar: None };
        }
        let template = "{prefix:12} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}";
        let bar = ProgressBar::new(len).with_prefix(what);
        bar.set_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()));
        Self { bar: Some(bar) }
    }

    /// Shows how many bytes have passed.
    pub(crate) fn set(&self, done: u64) {
        self.bar.iter().for_each(|bar| bar.set_position(done));
    }

    /// Takes it off the screen.
    pub(crate) fn end(self) {
        self.bar.iter().for_each(ProgressBar::finish_and_clear);
    }
}

/// Returns whether a line is more than a step: a warning of the compiler and what belongs to it. An error's lines come
/// with the error.
fn is_message_of_cargo(line: &str) -> bool {
    let is_step =
        line.len() > 12 && line.is_char_boundary(12) && line[..12].trim_start().starts_with(char::is_uppercase);
    line.starts_with("warning") || (line.starts_with(' ') && !is_step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_told_from_messages() {
        assert!(!is_message_of_cargo("   Compiling net v0.1.0 (crates/net)"));
        assert!(!is_message_of_cargo("    Finished `release` profile in 1s"));
        assert!(!is_message_of_cargo("Unpacking qemu-system-arm"));
        assert!(is_message_of_cargo("warning: unused variable"));
        assert!(is_message_of_cargo("  --> kernel/src/main.rs:1:1"));
        assert!(is_message_of_cargo("   |"));
    }

    #[test]
    fn sizes_are_rounded_up() {
        let line = sizes(&Sizes { packed: 700, image: 1025, text: 1024, rodata: 1, data: 0, bss: 4096 });
        assert_eq!(line, "packed 1 KiB, image 2 KiB, text 1 KiB, rodata 1 KiB, data 0 KiB, bss 4 KiB");
    }
}
