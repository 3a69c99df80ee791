//! Telling the user what was not understood.

use core::ascii;
use core::fmt;

use heapless::String;
use thiserror::Error;

use crate::keys::{KEYS, Key, Kind};
use crate::nearest::nearest;

/// How much of the word is shown. Longer ones end in "...".
const EXCERPT_LEN: usize = 60;
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} ignored: {}", self.place, self.word, self.reason)?;
        match (self.allowed, self.nearest) {
            (Some(allowed), _) => write!(f, "; allowed: {allowed}"),
            (None, Some(nearest)) => write!(f, "; did you mean {nearest}?"),
            (None, None) => {
                f.write_str("; known keys:")?;
                KEYS.iter().try_for_each(|key| write!(f, " {}", key.name))
            }
        }
    }
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
