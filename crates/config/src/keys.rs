//! The one table of keys: what a node can be told, on its command line and in node.toml.

use core::fmt;

use crate::{Config, Reason, value};

mod linux;
mod table;

pub use linux::is_for_linux;
pub use table::KEYS;

/// A key. Documentation, warnings and both parsers come from it.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// What stands before the `=`, on the command line as in the file.
    pub name: &'static str,
    /// The table of node.toml that it is in.
    pub section: Section,
    /// What kind of value it has.
    pub kind: Kind,
    /// What the value may be.
    pub allowed: &'static str,
    /// What counts without it.
    pub default: &'static str,
    /// What it does.
    pub help: &'static str,
    /// A value, as on the command line.
    pub example: &'static str,
    /// Reads a value.
    pub(crate) set: fn(&mut Config, &str) -> Result<(), Reason>,
}

/// A table of node.toml.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    /// The node itself.
    Node,
    /// How it gets onto the network.
    Network,
    /// Who may change it.
    Access,
    /// What it offers on the network.
    Services,
    /// Where its telemetry and log go.
    Sinks,
    /// `[[workload]]`: what it runs. Each has a name and parameters of its own.
    Workload,
}

impl Section {
    /// All of them, in the order of the documentation.
    pub const ALL: [Self; 6] = [Self::Node, Self::Network, Self::Access, Self::Services, Self::Sinks, Self::Workload];

    /// Returns what stands in the brackets.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Network => "network",
            Self::Access => "access",
            Self::Services => "services",
            Self::Sinks => "sinks",
            Self::Workload => "workload",
        }
    }
}

impl fmt::Display for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What kind of value a key has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A text: in quotes in the file.
    Text,
    /// A text that no message shows.
    Secret,
    /// A text, or in the file a list of texts. On the command line the key can be repeated.
    Texts,
    /// A number: without quotes in the file.
    Number,
    /// `on` or `off`; in the file also `true` or `false`.
    Switch,
}

impl Kind {
    /// Returns its name for the documentation.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Secret => "secret text",
            Self::Texts => "texts",
            Self::Number => "number",
            Self::Switch => "switch",
        }
    }
}

impl Key {
    /// Returns the key of this name.
    #[must_use]
    pub fn find(name: &[u8]) -> Option<&'static Self> {
        KEYS.iter().find(|key| key.name.as_bytes() == name)
    }

    pub(crate) fn read(&self, config: &mut Config, value: &[u8]) -> Result<(), Reason> {
        let text = str::from_utf8(value).map_err(|_| Reason::NotText)?;
        value::no_controls(text)?;
        (self.set)(config, text)
    }
}
