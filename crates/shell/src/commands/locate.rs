//! `locate`: blinks the board's LED, so that one finds it among others.

use super::{Command, Next, Problem, always};

/// How long it blinks when nothing else is said: long enough to walk to the rack.
const DEFAULT_S: u64 = 60;
/// Longest that it blinks.
const LONGEST_S: u64 = 3600;

pub(super) const COMMAND: Command = Command {
    name: "locate",
    usage: &["[SECONDS]", "off"],
    help: "blinks the board's LED, to find it among others",
    changes: always,
    run: |mut arguments, node, out| {
        let mut words = arguments.clone();
        let seconds = if words.next_word() == Some("off") {
            words.end()?;
            0
        } else {
            let seconds = arguments.number("SECONDS", 1, LONGEST_S, DEFAULT_S)?;
            arguments.end()?;
            seconds
        };
        match (node.locate(seconds), seconds) {
            (false, _) => return Err(Problem::Impossible("this board has no LED that a node can blink")),
            (true, 0) => writeln!(out, "the LED is the board's again")?,
            (true, _) => writeln!(out, "the LED blinks for {seconds} s; 'locate off' ends it")?,
        }
        Ok(Next::Prompt)
    },
    offer: |words, _, take| {
        if words.is_empty() {
            take("off");
        }
    },
};
