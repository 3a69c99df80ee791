//! The shell on a node's serial line.

use anyhow::{Context, Result};

use crate::node::{PATIENCE, TestNode};

/// What the shell shows when it waits for a command, behind the node's name.
pub const PROMPT: &str = "> ";
/// A command that does not exist: the shell says so with the word in quotes, and so tells where an output ends.
const END: &str = "end-of-output";

/// Types a command and returns the lines that it prints, and log lines among them.
///
/// # Errors
/// When its output does not end in time.
pub fn run(node: &TestNode, command: &str) -> Result<Vec<String>> {
    let console = node.console();
    console.skip();
    console.send_line(command)?;
    console.send_line(END)?;
    let mut lines = Vec::new();
    let typed = [command, END].map(|typed| format!("{PROMPT}{typed}"));
    console
        .wait_for(
            |line: &str| {
                let is_end = line.contains(&format!("'{END}'"));
                if !is_end && !typed.iter().any(|typed| line.ends_with(typed)) {
                    lines.push(line.to_owned());
                }
                is_end
            },
            PATIENCE,
        )
        .with_context(|| format!("the output of {command:?}"))?;
    Ok(lines)
}
