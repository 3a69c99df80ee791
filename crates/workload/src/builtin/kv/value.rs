//! What goes into the store, and why it may be refused.

use super::cells::{Chain, Full};
use super::store::KEY_LEN_MAX;

/// Types of values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    String = 0,
    List = 1,
}

impl Kind {
    /// Returns its name, as the command TYPE gives it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::List => "list",
        }
    }
}

/// Why a command is refused. The texts are Redis' where it has one, because clients look at them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error("OOM command not allowed when used memory > 'maxmemory'.")]
    Memory,
    #[error("WRONGTYPE Operation against a key holding the wrong kind of value")]
    Type,
    #[error("ERR value is not an integer or out of range")]
    Integer,
    #[error("ERR increment or decrement would overflow")]
    Overflow,
    #[error("ERR syntax error")]
    Syntax,
    #[error("ERR key is longer than {KEY_LEN_MAX} bytes")]
    KeyLength,
    #[error("ERR index out of range")]
    Index,
    #[error("ERR invalid expire time in '{0}' command")]
    ExpireTime(&'static str),
    #[error("ERR wrong number of arguments for '{0}' command")]
    ArgumentCount(&'static str),
    #[error("ERR this argument is too long")]
    ArgumentLength,
    #[error("ERR more than {0} elements at once would hold up other clients; ask for fewer (LRANGE in steps, SCAN)")]
    TooMany(usize),
    #[error("ERR invalid cursor")]
    Cursor,
    #[error("ERR DB index is out of range")]
    Database,
    #[error("READONLY You can't write against a read only replica.")]
    ReadOnly,
    #[error("READONLY This replica answers for no keys: 'acks' is set.")]
    Follower,
    #[error("NOPROTO unsupported protocol version")]
    Protocol,
    #[error("ERR unknown subcommand")]
    Subcommand,
    #[error("ERR all places for replicas are taken")]
    Replicas,
}

impl From<Full> for Refusal {
    fn from(_: Full) -> Self {
        Self::Memory
    }
}

/// A string from a client.
#[derive(Clone, Copy, Debug)]
pub(super) enum Value<'a> {
    /// In its request.
    Bytes(&'a [u8]),
    /// In cells already; they go to whoever takes the value.
    Chain(Chain),
}

impl Value<'_> {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::Chain(chain) => chain.len,
        }
    }
}

/// What becomes of a key's end when its value is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expiry {
    Never,
    At(u64),
    Keep,
}
