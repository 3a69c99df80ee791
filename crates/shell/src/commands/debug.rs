//! `debug`: has the node crash on purpose, to see how it reports and restarts.

use super::{Command, Next, Problem};

pub(super) const COMMAND: Command = Command {
    name: "debug",
    usage: &["crash", "crash KIND [CORE]"],
    help: "crashes a core on purpose, to see the report and the restart",
    changes: |mut arguments| arguments.next_word().is_some() && arguments.next_word().is_some(),
    run: |mut arguments, node, out| {
        match arguments.next_word() {
            Some("crash") => {}
            Some(word) => return Err(Problem::Wrong { word, allowed: "crash" }),
            None => return Err(Problem::Missing("crash")),
        }
        let Some(word) = arguments.next_word() else {
            for crash in node.crashes() {
                writeln!(out, "  {:18} {}", crash.name, crash.help)?;
            }
            return Ok(Next::Prompt);
        };
        if !node.crashes().iter().any(|crash| crash.name == word) {
            return Err(Problem::Wrong { word, allowed: "a KIND: 'debug crash' shows them" });
        }
        let core = arguments.number("CORE", 0, telemetry::CORES as u64 - 1, 0)?;
        arguments.end()?;
        writeln!(out, "core {core} will crash: {word}")?;
        node.crash(word, core as u8);
        Ok(Next::Prompt)
    },
    offer: |words, node, take| match words {
        [] => take("crash"),
        ["crash"] => node.crashes().iter().for_each(|crash| take(crash.name)),
        _ => {}
    },
};
