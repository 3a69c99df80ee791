//! A view that is being shown: drawn again when it is due.

use core::fmt::{self, Write};

use crate::commands::{self, View};
use crate::node::Node;

/// How often new log lines are looked for.
const LOG_INTERVAL_US: u64 = 200_000;

/// A view that is being shown, and when it is drawn next.
pub(crate) struct Shown {
    view: View,
    has_screen: bool,
    due_us: u64,
}

impl Shown {
    /// Shows a view, from now on.
    pub(crate) fn start(
        view: View,
        has_screen: bool,
        node: &dyn Node,
        out: &mut dyn Write,
    ) -> Result<Self, fmt::Error> {
        if has_screen && matches!(view, View::Top { .. }) {
            out.write_str("\x1b[2J")?;
        }
        let mut this = Self { view, has_screen, due_us: node.now_us() };
        this.tick(node, out)?;
        Ok(this)
    }

    /// Returns when it is drawn next, in µs since boot.
    pub(crate) fn due_us(&self) -> u64 {
        self.due_us
    }

    /// Draws it if it is due.
    pub(crate) fn tick(&mut self, node: &dyn Node, out: &mut dyn Write) -> fmt::Result {
        let now_us = node.now_us();
        if now_us < self.due_us {
            return Ok(());
        }
        let interval_us = match self.view {
            View::Top { interval_us } => interval_us,
            View::Log(_) => LOG_INTERVAL_US,
        };
        self.due_us = now_us + interval_us;
        commands::draw(&mut self.view, self.has_screen, node, out)
    }
}
