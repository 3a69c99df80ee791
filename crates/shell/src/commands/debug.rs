//! `debug`: has the node crash on purpose, to see how it reports and restarts.

use super::{Command, Next, Problem};
use crate::node::Crash;

const KINDS: &str = "KIND: panic, data-abort, prefetch-abort, write-read-only, execute-data, undefined, unaligned, \
                     stack-overflow, svc, breakpoint or hang";

pub(super) const COMMAND: Command = Command {
    name: "debug",
    usage: &["crash KIND [CORE]"],
    help: "crashes a core on purpose, to see the report and the restart",
    run: |mut arguments, node, out| {
        match arguments.next_word() {
            Some("crash") => {}
            Some(word) => return Err(Problem::Wrong { word, allowed: "crash" }),
            None => return Err(Problem::Missing("crash")),
        }
        let word = arguments.next_word().ok_or(Problem::Missing(KINDS))?;
        let crash = Crash::ALL.into_iter().find(|crash| crash.name() == word);
        let crash = crash.ok_or(Problem::Wrong { word, allowed: KINDS })?;
        let core = arguments.number("CORE", 0, telemetry::CORES as u64 - 1, 0)?;
        arguments.end()?;
        writeln!(out, "core {core} will crash: {}", crash.name())?;
        node.crash(crash, core as u8);
        Ok(Next::Prompt)
    },
    offer: |words, take| match words {
        [] => take("crash"),
        ["crash"] => Crash::ALL.iter().for_each(|crash| take(crash.name())),
        _ => {}
    },
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_told() {
        for crash in Crash::ALL {
            assert!(KINDS.contains(crash.name()), "{}", crash.name());
        }
    }
}
