//! Telling the user what was not understood.

use core::ascii;
use core::fmt::{self, Write};

use heapless::String;
use thiserror::Error;

use crate::keys::{KEYS, Key, Kind, Section};
use crate::nearest::nearest;

/// How much of the word is shown. Longer ones end in "...".
const EXCERPT_LEN: usize = 80;
const ELLIPSIS: &str = "...";

/// A word that was not understood. Displays as one line, which never has a secret in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// Where it stands.
    pub place: Place,
    /// The word, printable and shortened.
    word: String<EXCERPT_LEN>,
    /// What is allowed for its key.
    allowed: Option<&'static str>,
    /// The key that may have been meant.
    nearest: Option<&'static str>,
    /// What is wrong with it.
    pub reason: Reason,
}

/// Where a word stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// On the command line.
    CommandLine,
    /// In a file.
    File {
        /// Its name.
        name: &'static str,
        /// The line, counted from 1.
        line: usize,
    },
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CommandLine => f.write_str("command line"),
            Self::File { name, line } => write!(f, "{name}, line {line}"),
        }
    }
}

/// What is wrong with a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Reason {
    /// There is no such key.
    #[error("unknown key")]
    UnknownKey,
    /// The key stands alone.
    #[error("no value")]
    NoValue,
    /// The value is not UTF-8.
    #[error("not text")]
    NotText,
    /// The value is not a name.
    #[error("not a valid name")]
    Name,
    /// The value is not the address of a machine.
    #[error("not the address of a machine")]
    Address,
    /// The prefix is missing, not a number, or leaves no room for two machines.
    #[error("the prefix length is not 1 to 30")]
    Prefix,
    /// The gateway is not the address of another machine in the same network.
    #[error("the gateway is not another machine's address in the same network")]
    Gateway,
    /// The value is not a port, or 0.
    #[error("not a port from 1 to 65535")]
    Port,
    /// The value is none of those there are.
    #[error("no such choice")]
    Choice,
    /// The value is not a number, or out of range.
    #[error("not a number in this range")]
    Number,
    /// The value is empty or too long.
    #[error("not a workload")]
    Workload,
    /// The key belongs into another table of the file.
    #[error("it belongs into the table [{0}]")]
    Misplaced(Section),
    /// The key was set before.
    #[error("set a second time")]
    Twice,
    /// There is a list where one value is expected.
    #[error("a list, where one value is expected")]
    List,
    /// A parameter of a workload has what separates parameters.
    #[error("a comma in a workload's parameter")]
    Comma,
    /// A workload has no name.
    #[error("a workload without a name")]
    NoName,
    /// There is no such table.
    #[error("unknown table")]
    UnknownTable,
    /// The line is no TOML.
    #[error("no TOML")]
    Syntax,
    /// The file is too long.
    #[error("the file has more than 32 KiB")]
    FileLength,
    /// The file is not UTF-8 from here on.
    #[error("not UTF-8 text")]
    FileText,
    /// There are more workloads than can be run.
    #[error("one workload too many")]
    TooManyWorkloads,
    /// The value is not a public Ed25519 key.
    #[error("not a public Ed25519 key")]
    SshKey,
    /// The value is neither the name nor the address of another machine.
    #[error("not the name or address of a machine")]
    Peer,
    /// The value is empty or too long.
    #[error("empty or too long")]
    Length,
    /// The value has wildcards.
    #[error("not a topic")]
    Topic,
    /// The value is not 32 bytes in hexadecimal digits.
    #[error("not a rack secret")]
    Secret,
    /// The value has control characters.
    #[error("control characters in it")]
    Control,
    /// There are more keys than are kept.
    #[error("one SSH key too many")]
    TooManySshKeys,
}

impl Warning {
    /// `value` is `None` for a word that has no `=`.
    pub(crate) fn new(place: Place, key: &[u8], value: Option<&[u8]>, reason: Reason) -> Self {
        let known = Key::find(key);
        let nearest = if known.is_none() { nearest(key, KEYS.iter().map(|key| key.name)) } else { None };
        let mut word = String::new();
        excerpt(key, &mut word);
        if let Some(value) = value {
            let is_secret =
                known.or_else(|| Key::find(nearest?.as_bytes())).is_some_and(|key| key.kind == Kind::Secret);
            excerpt(b"=", &mut word);
            excerpt(if is_secret { ELLIPSIS.as_bytes() } else { value }, &mut word);
        }
        Self { place, word, allowed: known.map(|key| key.allowed), nearest, reason }
    }

    /// About a file as a whole, from a line on.
    pub(crate) fn note(place: Place, reason: Reason) -> Self {
        Self { place, word: String::new(), allowed: None, nearest: None, reason }
    }

    pub(crate) fn of_table(place: Place, name: &str, nearest: Option<&'static str>) -> Self {
        let mut warning = Self { nearest, ..Self::note(place, Reason::UnknownTable) };
        for part in ["[", name, "]"] {
            excerpt(part.as_bytes(), &mut warning.word);
        }
        warning
    }

    /// About what is no TOML. The line itself is not shown: there may be a secret on it.
    pub(crate) fn of_syntax(place: Place, column: usize, what: &str) -> Self {
        let mut warning = Self::note(place, Reason::Syntax);
        // What is too long is cut off.
        let _ = write!(warning.word, "column {column}: ");
        excerpt(what.as_bytes(), &mut warning.word);
        warning
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.reason {
            Reason::Syntax => return write!(f, "{}, {}; the line is ignored", self.place, self.word),
            Reason::FileLength => return write!(f, "{}: {}; it is ignored", self.place, self.reason),
            Reason::FileText => return write!(f, "{}: {}; the rest is ignored", self.place, self.reason),
            reason => write!(f, "{}: {} ignored: {reason}", self.place, self.word)?,
        }
        match (self.reason, self.allowed, self.nearest) {
            (Reason::Misplaced(_) | Reason::Twice | Reason::List | Reason::Comma, ..) => Ok(()),
            (Reason::UnknownTable, _, None) => list(f, "tables", Section::ALL.into_iter().map(Section::name)),
            (_, _, Some(nearest)) => write!(f, "; did you mean {nearest}?"),
            (_, Some(allowed), _) => write!(f, "; allowed: {allowed}"),
            (_, None, None) => list(f, "keys", KEYS.iter().map(|key| key.name)),
        }
    }
}

fn list(f: &mut fmt::Formatter<'_>, what: &str, mut names: impl Iterator<Item = &'static str>) -> fmt::Result {
    write!(f, "; known {what}:")?;
    names.try_for_each(|name| write!(f, " {name}"))
}

/// Adds what there is room for; a text that ends in "..." is full.
fn excerpt(word: &[u8], text: &mut String<EXCERPT_LEN>) {
    for &byte in word {
        let shown = if byte == b'"' { ascii::escape_default(b'\'') } else { ascii::escape_default(byte) };
        let len = text.len();
        for byte in shown.take(EXCERPT_LEN) {
            if text.len() + ELLIPSIS.len() >= EXCERPT_LEN {
                text.truncate(len);
                // There is room for it: just checked.
                let _ = text.push_str(ELLIPSIS);
                return;
            }
            // As above.
            let _ = text.push(byte.into());
        }
    }
}
