//! `file`: the files that the node was given at boot.

use super::{Command, Next, Problem, never};
use crate::node::Node;

/// Where files are that anybody with a shell may read. The others may have secrets in them.
const READABLE: &str = "files/";
/// Bytes of a file that are shown.
const SHOWN_MAX: usize = 8192;

pub(super) const COMMAND: Command = Command {
    name: "file",
    usage: &["", "NAME"],
    help: "lists the files given at boot, or shows one below files/",
    changes: never,
    run: |mut arguments, node, out| {
        let name = arguments.next_word();
        arguments.end()?;
        let Some(name) = name else {
            for file in files(node) {
                writeln!(out, "{:>8}  {}", file.content.len(), file.name.escape_debug())?;
            }
            return Ok(Next::Prompt);
        };
        let is_wanted = |file: &initramfs::File<'_>| file.name.strip_prefix(READABLE) == Some(name.trim_start_matches(READABLE));
        let allowed = "a file below files/; 'file' lists all";
        let file = files(node).filter(is_wanted).last().ok_or(Problem::Wrong { word: name, allowed })?;
        let shown = file.content.get(..SHOWN_MAX).unwrap_or(file.content);
        for chunk in shown.utf8_chunks() {
            for letter in chunk.valid().chars() {
                // What is no text must not talk to the terminal.
                out.write_char(if letter.is_control() && letter != '\n' { '.' } else { letter })?;
            }
            chunk.invalid().iter().try_for_each(|_| out.write_char('.'))?;
        }
        if !shown.ends_with(b"\n") {
            out.write_char('\n')?;
        }
        let more = file.content.len() - shown.len();
        if more > 0 {
            writeln!(out, "({more} more bytes)")?;
        }
        Ok(Next::Prompt)
    },
    offer: |words, node, take| {
        if words.is_empty() {
            files(node).filter_map(|file| file.name.strip_prefix(READABLE)).for_each(take);
        }
    },
};

fn files(node: &dyn Node) -> impl Iterator<Item = initramfs::File<'_>> {
    initramfs::files(node.files()).map_while(Result::ok)
}
