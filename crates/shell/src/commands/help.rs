//! `help`: what there is.

use super::{COMMANDS, Command, Next, Problem, find, never, write_usage};

pub(super) const COMMAND: Command = Command {
    name: "help",
    usage: &["", "COMMAND"],
    help: "shows every command, or how one is used",
    changes: never,
    run: |mut arguments, _, out| {
        let Some(name) = arguments.next_word() else {
            for command in COMMANDS {
                writeln!(out, "  {:9} {}", command.name, command.help)?;
            }
            return Ok(Next::Prompt);
        };
        arguments.end()?;
        let command = find(name).ok_or(Problem::Wrong { word: name, allowed: "a command" })?;
        write!(out, "{}: {}", command.name, command.help)?;
        write_usage(command, out)?;
        out.write_str("\n")?;
        Ok(Next::Prompt)
    },
    offer: |words, _, take| {
        if words.is_empty() {
            COMMANDS.iter().for_each(|command| take(command.name));
        }
    },
};
