//! `fault`: disturbs the node or its network on purpose, for a while.

use core::fmt::{self, Write};

use ::fault::{KINDS, Key, Kind, Spec, State, View};
use heapless::String;

use super::{Arguments, Command, Next, Problem};
use crate::node::Node;

const VERBS: [&str; 4] = ["list", "add", "clear", "help"];

pub(super) const COMMAND: Command = Command {
    name: "fault",
    usage: &["[list]", "add KIND [KEY=VALUE ...]", "clear [ID | all]", "help [KIND]"],
    help: "disturbs the node or its network on purpose, for a while",
    changes: |mut arguments| !matches!(arguments.next_word(), None | Some("list" | "help")),
    run: |mut arguments, node, out| {
        match arguments.next_word() {
            None | Some("list") => {
                arguments.end()?;
                write_list(node, out)?;
            }
            Some("add") => {
                let spec = Spec::parse(&mut core::iter::from_fn(|| arguments.next_word()))?;
                let id = node.add_fault(spec)?;
                let mut result = Ok(());
                node.each_fault(&mut |view| {
                    if view.id == id {
                        result = writeln!(out, "fault {id}: {}", view.when(node.now_us()));
                    }
                });
                result?;
            }
            Some("clear") => clear(arguments, node, out)?,
            Some("help") => {
                let word = arguments.next_word();
                arguments.end()?;
                match word {
                    None => write_kinds(out)?,
                    Some(word) => {
                        let allowed = "a kind of fault: 'fault help' lists them";
                        write_kind(Kind::find(word).ok_or(Problem::Wrong { word, allowed })?, out)?;
                    }
                }
            }
            Some(word) => return Err(Problem::Wrong { word, allowed: "add, list, clear or help" }),
        }
        Ok(Next::Prompt)
    },
    offer: |words, node, take| match words {
        [] => VERBS.into_iter().for_each(take),
        ["add" | "help"] => KINDS.iter().for_each(|kind| take(kind.name)),
        ["add", name, ..] => {
            let Some(kind) = Kind::find(name) else { return };
            for key in kind.keys() {
                let mut word: String<32> = String::new();
                if write!(word, "{}=", key.name).is_ok() {
                    take(&word);
                }
            }
        }
        ["clear"] => node.each_fault(&mut |view| {
            let mut id: String<10> = String::new();
            if write!(id, "{}", view.id).is_ok() {
                take(&id);
            }
        }),
        _ => {}
    },
};

fn clear<'a>(mut arguments: Arguments<'a>, node: &dyn Node, out: &mut dyn Write) -> Result<(), Problem<'a>> {
    let mut words = arguments.clone();
    if matches!(words.next_word(), None | Some("all")) {
        words.end()?;
        match node.clear_faults(None) {
            0 => out.write_str("nothing to end\n")?,
            count => writeln!(out, "ended {count} faults")?,
        }
        return Ok(());
    }
    let id = arguments.number("ID", 1, u32::MAX.into(), 0)?;
    arguments.end()?;
    // In the range of the number.
    if node.clear_faults(u32::try_from(id).ok()) == 0 {
        return Err(Problem::Impossible("no such fault: 'fault list' shows them"));
    }
    writeln!(out, "ended fault {id}")?;
    Ok(())
}

fn write_list(node: &dyn Node, out: &mut dyn Write) -> fmt::Result {
    let (mut result, mut is_empty, now_us) = (Ok(()), true, node.now_us());
    let mut write = |view: &View| {
        if is_empty {
            out.write_str("id  when               frames    hit       fault\n")?;
        }
        is_empty = false;
        let mut when: String<32> = String::new();
        // Times have at most six digits.
        let _ = write!(when, "{}", view.when(now_us));
        write!(out, "{:<3} {when:18} ", view.id)?;
        match view.is_of_frames {
            true => write!(out, "{:<9} {:<9}", view.matched, view.hits)?,
            false => write!(out, "{:<9} {:<9}", "-", "-")?,
        }
        writeln!(out, " {}", view.text)
    };
    node.each_fault(&mut |view| {
        if view.state != State::Ended && result.is_ok() {
            result = write(&view);
        }
    });
    result?;
    if is_empty {
        out.write_str("no faults; 'fault help' lists what there is\n")?;
    }
    Ok(())
}

fn write_kinds(out: &mut dyn Write) -> fmt::Result {
    for kind in KINDS {
        writeln!(out, "  {:10} {}", kind.name, kind.help)?;
    }
    out.write_str("each ends by itself; 'fault help KIND' shows what can be said\n")
}

fn write_kind(kind: &Kind, out: &mut dyn Write) -> fmt::Result {
    writeln!(out, "{}: {}", kind.name, kind.help)?;
    if let Some(subject) = kind.subject {
        writeln!(out, "  {subject}")?;
    }
    for Key { name, form, help } in kind.keys() {
        writeln!(out, "  {name}=: {form}\n      {help}")?;
    }
    writeln!(out, "for example: fault add {}", kind.example)
}
