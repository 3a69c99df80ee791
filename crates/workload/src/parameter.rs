//! What can be set of a workload: typed, with a range, and read from text.

use core::fmt;
use core::net::IpAddr;

use crate::core_set::CoreSet;
use crate::distribution::{self, Distribution};
use crate::peer::Peer;
pub use crate::unit::Unit;
pub use crate::values::Values;

/// A parameter.
#[derive(Debug, PartialEq, Eq)]
pub struct Parameter {
    /// Its name: a lower-case word.
    pub name: &'static str,
    /// What it sets.
    pub help: &'static str,
    /// Its type and range.
    pub kind: Kind,
}

/// Type, range and default of a parameter.
#[derive(Debug, PartialEq, Eq)]
pub enum Kind {
    /// A whole number.
    Integer {
        /// The least allowed.
        min: u64,
        /// The greatest allowed.
        max: u64,
        /// If not given.
        default: u64,
        /// What the number counts.
        unit: Unit,
    },
    /// One of a few words; its value is the index.
    Choice {
        /// The words.
        of: &'static [&'static str],
        /// If not given: an index.
        default: u64,
    },
    /// An IP address, which must be given.
    Address,
    /// Whom to talk to: an address or the name of a node, perhaps with a port.
    Peer {
        /// Whether it must be given.
        is_required: bool,
    },
    /// Text without spaces.
    Text {
        /// The most bytes allowed.
        max_len: usize,
        /// If not given; without it, it must be given.
        default: Option<&'static str>,
    },
    /// Numbers with commas between them.
    Numbers {
        /// The least allowed.
        min: u64,
        /// The greatest allowed.
        max: u64,
        /// The most numbers allowed.
        max_count: usize,
        /// If not given; may be empty.
        default: &'static str,
        /// What the numbers count.
        unit: Unit,
    },
    /// Time spans that are not always the same.
    Distribution {
        /// The longest that may be written, in µs.
        max_us: u64,
        /// If not given.
        default: &'static str,
    },
    /// Some of the cores that run workloads; without them, one that is free.
    Cores,
    /// A name for a workload that runs.
    Id,
}

impl Kind {
    /// Returns whether `text` is a value that is allowed.
    #[must_use]
    pub fn accepts(&self, text: &str) -> bool {
        match self {
            Self::Integer { .. } | Self::Choice { .. } => self.number(text).is_some(),
            Self::Address => text.parse::<IpAddr>().is_ok(),
            Self::Peer { .. } => Peer::parse(text).is_some(),
            Self::Text { max_len, .. } => text.len() <= *max_len && text.bytes().all(|b| b.is_ascii_graphic()),
            Self::Numbers { min, max, unit, max_count, .. } => {
                let is_number = |part| unit.parse(part).is_some_and(|number| (min..=max).contains(&&number));
                text.is_empty() || text.split(',').all(is_number) && text.split(',').count() <= *max_count
            }
            Self::Distribution { max_us, .. } => Distribution::parse(text, *max_us).is_some(),
            Self::Cores => CoreSet::parse(text).is_some(),
            Self::Id => is_id(text),
        }
    }

    /// Returns the number that `text` means to an integer or a choice; `None` if it is not allowed.
    #[must_use]
    pub fn number(&self, text: &str) -> Option<u64> {
        match self {
            Self::Integer { min, max, unit, .. } => unit.parse(text).filter(|number| (min..=max).contains(&number)),
            Self::Choice { of, .. } => of.iter().position(|word| *word == text).map(|i| i as u64),
            _ => None,
        }
    }

    /// Shows what is allowed.
    pub fn allowed(&self) -> impl fmt::Display {
        fmt::from_fn(move |f| match self {
            Self::Integer { min, max, unit, .. } => write_range(f, *min, *max, *unit),
            Self::Choice { of, .. } => {
                for (i, word) in of.iter().enumerate() {
                    write!(f, "{}{word}", if i == 0 { "" } else { ", " })?;
                }
                Ok(())
            }
            Self::Address => f.write_str("an IPv4 or IPv6 address, such as 10.0.2.2 or fe80::1"),
            Self::Peer { .. } => {
                f.write_str("an address or a node's name, such as 10.0.2.2, pi-2:8080 or [fe80::1]:8080")
            }
            Self::Text { max_len, .. } => write!(f, "up to {max_len} characters without spaces"),
            Self::Numbers { min, max, unit, max_count, .. } => {
                write!(f, "up to {max_count} numbers, such as {0},{0}, each ", unit.show(*min))?;
                write_range(f, *min, *max, *unit)
            }
            Self::Distribution { max_us, .. } => {
                write!(f, "{}; times up to {}", distribution::FORMS, Unit::Time.show(*max_us))
            }
            Self::Cores => f.write_str("cores 1 to 3, such as 1, 1-3, 1+3 or all (core 0 runs drivers and network)"),
            Self::Id => write!(f, "a letter and up to {} letters, digits, - or _", ID_LEN_MAX - 1),
        })
    }

    /// Returns what stands for the value in a description: `ADDRESS`.
    #[must_use]
    pub fn placeholder(&self) -> &'static str {
        match self {
            Self::Integer { .. } => "NUMBER",
            Self::Choice { .. } => "WORD",
            Self::Address => "ADDRESS",
            Self::Peer { .. } => "PEER",
            Self::Text { .. } => "TEXT",
            Self::Numbers { .. } => "NUMBERS",
            Self::Distribution { .. } => "TIMES",
            Self::Cores => "CORES",
            Self::Id => "NAME",
        }
    }

    /// Returns whether it must be given.
    #[must_use]
    pub fn is_required(&self) -> bool {
        matches!(self, Self::Address | Self::Peer { is_required: true } | Self::Text { default: None, .. })
    }

    /// Shows the default; `None` if the parameter has none.
    #[must_use]
    pub fn default(&self) -> Option<impl fmt::Display> {
        let has_default = match self {
            Self::Integer { .. } | Self::Choice { .. } | Self::Distribution { .. } => true,
            Self::Text { default, .. } => default.is_some_and(|text| !text.is_empty()),
            Self::Numbers { default, .. } => !default.is_empty(),
            Self::Address | Self::Peer { .. } | Self::Cores | Self::Id => false,
        };
        has_default.then_some(fmt::from_fn(move |f| match self {
            Self::Integer { default, unit, .. } => write!(f, "{}", unit.show(*default)),
            Self::Choice { of, default } => f.write_str(of.get(*default as usize).unwrap_or(&"")),
            other => f.write_str(other.default_text()),
        }))
    }

    /// Returns the default of the kinds whose default is text.
    pub(crate) fn default_text(&self) -> &'static str {
        match self {
            Self::Text { default, .. } => default.unwrap_or(""),
            Self::Numbers { default, .. } | Self::Distribution { default, .. } => default,
            _ => "",
        }
    }
}

fn write_range(f: &mut fmt::Formatter<'_>, min: u64, max: u64, unit: Unit) -> fmt::Result {
    if max == u64::MAX {
        return write!(f, "{} or more", unit.show(min));
    }
    write!(f, "{} to {}", unit.show(min), unit.show(max))
}

/// Longest name that a user can give; one made by the manager, such as `pipeline#12`, is shorter than there is room for.
const ID_LEN_MAX: usize = 16;

/// Returns whether `text` can be a name: nothing that could be taken for a set of cores.
fn is_id(text: &str) -> bool {
    text.len() <= ID_LEN_MAX
        && text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
        && text != "all"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builtin::WORKLOADS;

    #[test]
    fn defaults_are_allowed() {
        for parameter in WORKLOADS.iter().flat_map(|workload| workload.parameters()) {
            if let Some(default) = parameter.kind.default() {
                let text = default.to_string();
                assert!(parameter.kind.accepts(&text), "{}={text}", parameter.name);
                assert!(!parameter.kind.is_required(), "{}", parameter.name);
                if let Some(number) = parameter.kind.number(&text) {
                    assert_eq!(number, Values::default().number(parameter), "{}", parameter.name);
                }
            }
        }
    }

    #[test]
    fn addresses_are_checked() {
        for bad in ["", "10.0.2", "10.0.2.256", "pi-123456.local", "fe80::1%1", "10.0.2.2/24", " 10.0.2.2"] {
            assert!(!Kind::Address.accepts(bad), "{bad}");
        }
        for good in ["10.0.2.2", "fe80::1"] {
            assert!(Kind::Address.accepts(good));
        }
    }

    #[test]
    fn text_numbers_and_names_are_checked() {
        let text = Kind::Text { max_len: 5, default: None };
        assert!(text.accepts("a=b,c") && !text.accepts("a=b,cd") && !text.accepts("a b") && !text.accepts("\u{e9}"));
        let numbers = Kind::Numbers { min: 1_000, max: 9_000, max_count: 3, default: "", unit: Unit::Time };
        assert!(numbers.accepts("") && numbers.accepts("1ms") && numbers.accepts("1ms,9ms,1.5ms"));
        for bad in ["0ms", "10ms", "1ms,", ",1ms", "1ms,1ms,1ms,1ms", "1"] {
            assert!(!numbers.accepts(bad), "{bad}");
        }
        assert_eq!(numbers.allowed().to_string(), "up to 3 numbers, such as 1ms,1ms, each 1ms to 9ms");
        assert!(["web", "w", "a-1_b", "abcdefghijklmnop"].into_iter().all(is_id));
        assert!(!["", "1", "1-3", "all", "a b", "a#2", "abcdefghijklmnopq", "\u{e9}"].into_iter().any(is_id));
    }
}
