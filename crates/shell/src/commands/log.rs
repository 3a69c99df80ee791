//! `log`: the last log lines, or new ones as they come.

use core::fmt::{self, Write};

use telemetry::log_ring::{Cursor, LINES};

use super::{Command, Next, View, never};
use crate::node::Node;

const DEFAULT: u64 = 20;

pub(super) const COMMAND: Command = Command {
    name: "log",
    usage: &["", "LINES", "-f"],
    help: "shows the last log lines; with -f, new ones until a key is pressed",
    changes: never,
    run: |mut arguments, node, out| {
        if let Some("-f") = arguments.0.clone().next() {
            arguments.next_word();
            arguments.end()?;
            return Ok(Next::View(View::Log(node.log().cursor_at_last(DEFAULT as usize))));
        }
        let count = arguments.number("LINES", 1, LINES as u64, DEFAULT)?;
        arguments.end()?;
        write_new(&mut node.log().cursor_at_last(count as usize), node, out)?;
        Ok(Next::Prompt)
    },
    offer: |words, _, take| {
        if words.is_empty() {
            take("-f");
        }
    },
};

/// Writes every line from `cursor` on, at most as many as the log holds.
pub(super) fn write_new(cursor: &mut Cursor, node: &dyn Node, out: &mut dyn Write) -> fmt::Result {
    // Bounded, in case that lines come faster than they can be written.
    for _ in 0..LINES {
        let Some((missed, line)) = node.log().next_line(cursor) else { break };
        if missed > 0 {
            writeln!(out, "({missed} lines were overwritten)")?;
        }
        writeln!(out, "{line}")?;
    }
    Ok(())
}
