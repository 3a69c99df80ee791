//! What clients asked a store, when, and what they were told.

use std::fmt;
use std::time::Duration;

use super::check::Value;

/// What was asked, and for reads the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Action {
    /// A value was written.
    Write(u64),
    /// A value was read, or that there is none.
    Read(Option<u64>),
}

impl Action {
    /// Returns what was written or read.
    pub(crate) fn value(self) -> Option<u64> {
        match self {
            Self::Write(value) => Some(value),
            Self::Read(value) => value,
        }
    }
}

/// An operation on a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Operation {
    /// Who asked.
    pub(crate) client: u16,
    /// Which register.
    pub(crate) key: u32,
    pub(crate) action: Action,
    /// When it was asked, since the history began.
    pub(crate) asked: Duration,
    /// When the answer was there; `None` when none came, and it is not known whether it has taken effect, or will.
    pub(crate) answered: Option<Duration>,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { client, key, asked, .. } = self;
        match self.action {
            Action::Write(value) => write!(f, "client {client} wrote {value} to register {key}")?,
            Action::Read(value) => write!(f, "client {client} read {} from register {key}", Value(value))?,
        }
        write!(f, " from {:.3}s to ", asked.as_secs_f64())?;
        match self.answered {
            Some(answered) => write!(f, "{:.3}s", answered.as_secs_f64()),
            None => f.write_str("a time that is not known"),
        }
    }
}
