//! Commands without a line editor: one that came whole, or lines that come from a program.

use core::fmt::{self, Write};

use heapless::Vec;

use crate::commands::{self, Failure, Next};
use crate::line::LINE_LEN_MAX;
use crate::node::Node;
use crate::session::Flow;
use crate::view::Shown;

/// Runs commands as `ssh NODE COMMAND` wants it: no prompt and no echo, errors apart from the output, and a status at the end.
pub struct Script {
    /// Whether views are drawn for a terminal, and end when a key is pressed.
    has_screen: bool,
    line: Vec<u8, LINE_LEN_MAX>,
    /// The line being read is longer than lines may be.
    is_too_long: bool,
    view: Option<Shown>,
    is_success: bool,
}

impl Script {
    /// Makes one that has run nothing. `has_screen` tells whether its output goes to a terminal.
    #[must_use]
    pub const fn new(has_screen: bool) -> Self {
        Self { has_screen, line: Vec::new(), is_too_long: false, view: None, is_success: true }
    }

    /// Runs one command. What is wrong with it is written to `errors`.
    ///
    /// # Errors
    ///
    /// Passes on the error of `out` or `errors`.
    pub fn run(
        &mut self,
        line: &str,
        node: &dyn Node,
        out: &mut dyn Write,
        errors: &mut dyn Write,
    ) -> Result<Flow, fmt::Error> {
        let next = commands::execute(line, node, out);
        self.is_success = next.is_ok();
        match next {
            Ok(Next::Prompt) => {}
            Ok(Next::End) => return Ok(Flow::End),
            Ok(Next::View(view)) => self.view = Some(Shown::start(view, self.has_screen, node, out)?),
            Err(Failure::Output(error)) => return Err(error),
            Err(failure) => writeln!(errors, "{failure}")?,
        }
        Ok(Flow::Continue)
    }

    /// Takes one byte of input: of a line, or a key that ends a view.
    ///
    /// # Errors
    ///
    /// Passes on the error of `out` or `errors`.
    pub fn feed(
        &mut self,
        byte: u8,
        node: &dyn Node,
        out: &mut dyn Write,
        errors: &mut dyn Write,
    ) -> Result<Flow, fmt::Error> {
        if self.view.is_some() {
            if self.has_screen {
                self.view = None;
            }
            return Ok(Flow::Continue);
        }
        if byte != b'\n' {
            self.is_too_long |= self.line.push(byte).is_err();
            return Ok(Flow::Continue);
        }
        self.end_line(node, out, errors)
    }

    /// Runs what has come of a line that is not ended.
    ///
    /// # Errors
    ///
    /// Passes on the error of `out` or `errors`.
    pub fn end_line(
        &mut self,
        node: &dyn Node,
        out: &mut dyn Write,
        errors: &mut dyn Write,
    ) -> Result<Flow, fmt::Error> {
        let line = core::mem::take(&mut self.line);
        if core::mem::take(&mut self.is_too_long) {
            self.is_success = false;
            writeln!(errors, "a line has more than {LINE_LEN_MAX} bytes: it is not run")?;
            return Ok(Flow::Continue);
        }
        let Ok(line) = str::from_utf8(&line) else {
            self.is_success = false;
            writeln!(errors, "a line is not text in UTF-8: it is not run")?;
            return Ok(Flow::Continue);
        };
        if line.trim().is_empty() { Ok(Flow::Continue) } else { self.run(line, node, out, errors) }
    }

    /// Returns whether a view is being shown, so that there is more to come.
    #[must_use]
    pub fn is_showing(&self) -> bool {
        self.view.is_some()
    }

    /// Returns when [`tick`](Self::tick) has something to do, in µs since boot.
    #[must_use]
    pub fn due_us(&self) -> Option<u64> {
        self.view.as_ref().map(Shown::due_us)
    }

    /// Draws the view again if it is due.
    ///
    /// # Errors
    ///
    /// Passes on the error of `out`.
    pub fn tick(&mut self, node: &dyn Node, out: &mut dyn Write) -> fmt::Result {
        match &mut self.view {
            Some(shown) => shown.tick(node, out),
            None => Ok(()),
        }
    }

    /// Returns whether the last command did what it should.
    #[must_use]
    pub fn is_success(&self) -> bool {
        self.is_success
    }
}
