//! `note`: writes a line to the log, and so to every place that the log goes to.

use core::fmt::Write as _;

use telemetry::log_ring::LINE_LEN_MAX;

use super::{Command, Next, Problem, always, offer_nothing};

pub(super) const COMMAND: Command = Command {
    name: "note",
    usage: &["TEXT"],
    help: "writes a line to the log, to see later when something was done",
    changes: always,
    run: |mut arguments, node, _| {
        let mut text = heapless::String::<LINE_LEN_MAX>::new();
        while let Some(word) = arguments.next_word() {
            let gap = if text.is_empty() { "" } else { " " };
            // A line of the log is no longer, either.
            let _ = write!(text, "{gap}{word}");
        }
        if text.is_empty() {
            return Err(Problem::Missing("TEXT"));
        }
        node.note(&text);
        Ok(Next::Prompt)
    },
    offer: offer_nothing,
};
