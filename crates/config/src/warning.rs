//! Telling the user what on the command line was not understood.

use core::ascii;
use core::fmt;

use heapless::String;
use thiserror::Error;

use crate::keys::KEYS;
use crate::words;

/// How much of the word is shown. Longer ones end in "...".
const EXCERPT_LEN: usize = 60;
const ELLIPSIS: &str = "...";

/// A word that was not understood. Displays as one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// The word, printable and shortened.
    word: String<EXCERPT_LEN>,
    /// What is allowed for its key.
    allowed: Option<&'static str>,
    /// What is wrong with it.
    pub reason: Reason,
}

/// What is wrong with a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Reason {
    /// There is no such key.
    #[error("unknown key")]
    UnknownKey,
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
    /// The port is 0.
    #[error("port 0 can't be used")]
    Port,
    /// The value is none of those there are.
    #[error("no such choice")]
    Choice,
    /// The value is not a number, or out of range.
    #[error("not a number in this range")]
    Number,
    /// The value is empty, too long, or has control characters.
    #[error("not a workload")]
    Workload,
    /// There are more workloads than can be run.
    #[error("one workload too many")]
    TooManyWorkloads,
    /// The value is not a public Ed25519 key.
    #[error("not a public Ed25519 key")]
    SshKey,
    /// There are more keys than are kept.
    #[error("one SSH key too many")]
    TooManySshKeys,
}

impl Warning {
    pub(crate) fn new(word: &[u8], reason: Reason) -> Self {
        let (key, _) = words::key_and_value(word);
        let allowed = KEYS.iter().find(|known| known.name.as_bytes() == key).map(|known| known.allowed);
        Self { word: excerpt(word), allowed, reason }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "command line: {} ignored: {}", self.word, self.reason)?;
        if let Some(allowed) = self.allowed {
            return write!(f, "; allowed: {allowed}");
        }
        f.write_str("; known keys:")?;
        KEYS.iter().try_for_each(|key| write!(f, " {}", key.name))
    }
}

fn excerpt(word: &[u8]) -> String<EXCERPT_LEN> {
    let mut text = String::new();
    for &byte in word {
        let shown = if byte == b'"' { ascii::escape_default(b'\'') } else { ascii::escape_default(byte) };
        let len = text.len();
        for byte in shown.take(EXCERPT_LEN) {
            if text.len() + ELLIPSIS.len() >= EXCERPT_LEN {
                text.truncate(len);
                // There is room for it: just checked.
                let _ = text.push_str(ELLIPSIS);
                return text;
            }
            // As above.
            let _ = text.push(byte.into());
        }
    }
    text
}
