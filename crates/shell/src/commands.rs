//! The table of commands. A command is one file here and one line in the table.

use core::fmt::{self, Write};
use core::str::SplitAsciiWhitespace;

use ::fault::{AddError, SpecError};
use ::workload::{OrderError, StartError};
use telemetry::Snapshot;
use telemetry::log_ring::Cursor;

use crate::node::Node;

/// A command.
#[derive(Debug)]
pub struct Command {
    /// Its name: a lower-case word.
    pub name: &'static str,
    /// How it is called, without the name: one line per way.
    pub usage: &'static [&'static str],
    /// What it does, in one sentence.
    pub help: &'static str,
    /// Whether it changes the node with these words behind its name: then the user must have the right to.
    pub changes: Changes,
    /// Does it.
    pub run: Run,
    /// Offers the words that may follow the words typed so far.
    pub offer: Offer,
}

/// Tells whether a command changes the node.
pub type Changes = fn(Arguments<'_>) -> bool;

/// What a command does with the words behind its name.
pub type Run = for<'a> fn(Arguments<'a>, &dyn Node, &mut dyn Write) -> Result<Next, Problem<'a>>;

/// Gives each word that may follow some words.
pub type Offer = fn(&[&str], &dyn Node, &mut dyn FnMut(&str));

macro_rules! commands {
    ($($name:ident),+ $(,)?) => {
        $(mod $name;)+
        /// Every command.
        pub static COMMANDS: &[Command] = &[$($name::COMMAND),+];
    };
}

commands! {
    help,
    status,
    net,
    top,
    log,
    note,
    workload,
    certify,
    fault,
    locate,
    file,
    reboot,
    debug,
    exit,
}

/// What comes after a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// The next command.
    Prompt,
    /// A view that is drawn again and again until a key is pressed.
    View(View),
    /// The end of the session.
    End,
}

/// A view that is drawn again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// The node's figures, every so many µs.
    Top {
        /// The time between.
        interval_us: u64,
    },
    /// New log lines as they come.
    Log(Cursor),
}

/// Why a command did not do what it should.
#[derive(Debug, thiserror::Error)]
pub enum Problem<'a> {
    /// Its output could not be written.
    #[error("output failed")]
    Output(#[from] fmt::Error),
    /// A word is missing.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// A word is none of those that are allowed.
    #[error("'{word}' is not {allowed}")]
    Wrong {
        /// The word.
        word: &'a str,
        /// What is allowed.
        allowed: &'static str,
    },
    /// A word is not a number in its range.
    #[error("{what} is a number from {min} to {max}, not '{word}'")]
    NoNumber {
        /// What the number is.
        what: &'static str,
        /// The least allowed.
        min: u64,
        /// The greatest allowed.
        max: u64,
        /// The word.
        word: &'a str,
    },
    /// There is a word more than the command takes.
    #[error("'{0}' is too much")]
    TooMuch(&'a str),
    /// The workload could not be started.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The words are right, but the node can't.
    #[error("{0}")]
    Impossible(&'static str),
    /// A workload could not be given an order.
    #[error(transparent)]
    Order(#[from] OrderError),
    /// The words are no fault.
    #[error("{0}")]
    Fault(SpecError<'a>),
    /// There is no room for a fault.
    #[error(transparent)]
    AddFault(#[from] AddError),
}

impl<'a> From<SpecError<'a>> for Problem<'a> {
    fn from(error: SpecError<'a>) -> Self {
        Self::Fault(error)
    }
}

/// Why a line was not carried out. Displays as whole lines, without the end of the last.
#[derive(Debug, thiserror::Error)]
pub enum Failure<'a> {
    /// Its output could not be written.
    #[error("output failed")]
    Output(#[from] fmt::Error),
    /// There is a character in it that a terminal would obey.
    #[error("a command has no control characters, such as {:#04x}: it is not run", u32::from(*.0))]
    Control(char),
    /// There is no such command.
    #[error("{}", fmt::from_fn(|f| write_unknown(.0, f)))]
    Unknown(&'a str),
    /// The user may look, but not touch.
    #[error("{0}: {READ_ONLY}")]
    ReadOnly(&'static str),
    /// The command could not do it.
    #[error("{}: {problem}{}", command.name, fmt::from_fn(|f| write_usage_after(command, problem, f)))]
    Problem {
        /// The command.
        command: &'static Command,
        /// Why.
        problem: Problem<'a>,
    },
}

/// What is said where a node can't be changed.
pub const READ_ONLY: &str =
    "this node is read-only here: it can be changed over SSH with a key of its ssh-key=... settings";

/// The words behind a command's name.
#[derive(Clone)]
pub struct Arguments<'a>(SplitAsciiWhitespace<'a>);

impl<'a> Arguments<'a> {
    /// Takes the next word, if there is one.
    pub fn next_word(&mut self) -> Option<&'a str> {
        self.0.next()
    }

    /// Takes the next word as a number in a range; `default` if there is none.
    ///
    /// # Errors
    ///
    /// When the word is something else.
    pub fn number(&mut self, what: &'static str, min: u64, max: u64, default: u64) -> Result<u64, Problem<'a>> {
        let Some(word) = self.next_word() else { return Ok(default) };
        let number = word.parse().ok().filter(|n| (min..=max).contains(n));
        number.ok_or(Problem::NoNumber { what, min, max, word })
    }

    /// Makes sure that nothing is left.
    ///
    /// # Errors
    ///
    /// When a word is left.
    pub fn end(mut self) -> Result<(), Problem<'a>> {
        match self.next_word() {
            None => Ok(()),
            Some(word) => Err(Problem::TooMuch(word)),
        }
    }
}

/// Runs one line. This is the one place where it is decided whether a user may.
///
/// # Errors
///
/// When it was not carried out, or its output could not be written.
pub fn execute<'a>(line: &'a str, node: &dyn Node, out: &mut dyn Write) -> Result<Next, Failure<'a>> {
    // A part of it may be shown, here or on the console of the node, whose terminal would obey.
    if let Some(control) = line.chars().find(|c| c.is_control() && !c.is_ascii_whitespace()) {
        return Err(Failure::Control(control));
    }
    let mut words = line.split_ascii_whitespace();
    let Some(name) = words.next() else { return Ok(Next::Prompt) };
    let command = find(name).ok_or(Failure::Unknown(name))?;
    let arguments = Arguments(words);
    if (command.changes)(arguments.clone()) && !node.may_change() {
        return Err(Failure::ReadOnly(command.name));
    }
    (command.run)(arguments, node, out).map_err(|problem| match problem {
        Problem::Output(error) => Failure::Output(error),
        problem => Failure::Problem { command, problem },
    })
}

/// Draws a view once.
///
/// # Errors
///
/// Passes on the error of `out`.
pub(crate) fn draw(view: &mut View, has_screen: bool, node: &dyn Node, out: &mut dyn Write) -> fmt::Result {
    match view {
        View::Top { .. } => top::draw(has_screen, node, out),
        View::Log(cursor) => log::write_new(cursor, node, out),
    }
}

/// Returns the command called `name`.
#[must_use]
pub fn find(name: &str) -> Option<&'static Command> {
    COMMANDS.iter().find(|command| command.name == name)
}

/// Gives `take` every word that could stand in the place of the last of `words`.
pub(crate) fn offer(words: &[&str], node: &dyn Node, take: &mut dyn FnMut(&str)) {
    match words {
        [] | [_] => COMMANDS.iter().for_each(|command| take(command.name)),
        [name, arguments @ .., _] => {
            if let Some(command) = find(name) {
                (command.offer)(arguments, node, take);
            }
        }
    }
}

fn offer_nothing(_: &[&str], _: &dyn Node, _: &mut dyn FnMut(&str)) {}

/// The `changes` of a command that only shows.
fn never(_: Arguments<'_>) -> bool {
    false
}

/// The `changes` of a command that does nothing else.
fn always(_: Arguments<'_>) -> bool {
    true
}

/// Writes how a command is used, each way behind the end of a line.
fn write_usage(command: &Command, out: &mut dyn Write) -> fmt::Result {
    for (i, usage) in command.usage.iter().enumerate() {
        let before = if i == 0 { "usage:" } else { "      " };
        let space = if usage.is_empty() { "" } else { " " };
        write!(out, "\n{before} {}{space}{usage}", command.name)?;
    }
    Ok(())
}

fn write_usage_after(command: &Command, problem: &Problem<'_>, out: &mut dyn Write) -> fmt::Result {
    match problem {
        Problem::Start(_) | Problem::Order(_) | Problem::Impossible(_) | Problem::Fault(_) | Problem::AddFault(_) => {
            Ok(())
        }
        _ => write_usage(command, out),
    }
}

fn write_unknown(name: &str, out: &mut dyn Write) -> fmt::Result {
    write!(out, "there is no command '{name}'")?;
    let nearest = COMMANDS.iter().map(|command| (distance(name, command.name), command.name)).min();
    if let Some((distance, nearest)) = nearest
        && distance <= 2
    {
        write!(out, "; did you mean '{nearest}'?")?;
    }
    out.write_str("\ncommands:")?;
    for command in COMMANDS {
        write!(out, " {}", command.name)?;
    }
    Ok(())
}

/// Returns how many letters have to be changed, added or taken away to make one word of the other (Levenshtein); the
/// longest words count as very different.
fn distance(a: &str, b: &str) -> usize {
    const LEN_MAX: usize = 24;
    if a.len() > LEN_MAX || b.len() > LEN_MAX {
        return LEN_MAX;
    }
    // Distances from the part of `a` seen so far to each beginning of `b`.
    let mut row: heapless::Vec<usize, { LEN_MAX + 1 }> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        if let Some(first) = row.first_mut() {
            *first = left;
        }
        for (cell, y) in row.iter_mut().skip(1).zip(b.bytes()) {
            let new = (diagonal + usize::from(x != y)).min(*cell + 1).min(left + 1);
            diagonal = *cell;
            *cell = new;
            left = new;
        }
    }
    row.last().copied().unwrap_or(LEN_MAX)
}

/// Shows the node as it is now to `look`, which may fail to write.
fn look(node: &dyn Node, mut look: impl FnMut(&Snapshot<'_>) -> fmt::Result) -> fmt::Result {
    let mut result = Ok(());
    node.look(&mut |snapshot| result = look(snapshot));
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_is_in_the_table() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/commands");
        let mut files: Vec<_> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
            .collect();
        files.sort();
        let mut names: Vec<_> = COMMANDS.iter().map(|command| command.name).collect();
        names.sort_unstable();
        assert_eq!(files, names);
    }

    #[test]
    fn distances_count_single_changes() {
        for (a, b, want) in [("", "", 0), ("top", "top", 0), ("tpo", "top", 2), ("stat", "status", 2), ("", "net", 3)] {
            assert_eq!(distance(a, b), want, "{a} {b}");
            assert_eq!(distance(b, a), want, "{b} {a}");
        }
        assert_eq!(distance(&"x".repeat(500), "top"), 24);
    }
}
