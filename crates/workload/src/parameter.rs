//! What can be set of a workload: typed, with a range, and read from text.

use core::fmt;
use core::net::IpAddr;

use heapless::Vec;

use crate::core_set::CoreSet;

/// Most parameters of a workload.
pub const PARAMETERS_MAX: usize = 8;

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
    /// Some of the cores that run workloads; without them, one that is free.
    Cores,
}

/// What a number counts, and how it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Things: `100`.
    Count,
    /// Hundredths: `50%`.
    Percent,
    /// Microseconds: `10ms`.
    Time,
    /// Bytes: `2M`.
    Bytes,
}

impl Unit {
    /// Returns the suffixes and what each multiplies by, the largest first. An empty one makes the suffix optional.
    fn suffixes(self) -> &'static [(&'static str, u64)] {
        match self {
            Self::Count => &[("", 1)],
            Self::Percent => &[("%", 1), ("", 1)],
            Self::Time => &[("h", 3_600_000_000), ("m", 60_000_000), ("s", 1_000_000), ("ms", 1_000), ("us", 1)],
            Self::Bytes => &[("G", 1 << 30), ("M", 1 << 20), ("k", 1 << 10), ("", 1)],
        }
    }

    /// Returns the number that `text` means.
    #[must_use]
    pub fn parse(self, text: &str) -> Option<u64> {
        let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (digits, suffix) = text.split_at_checked(digits)?;
        let (_, unit) = self.suffixes().iter().find(|(s, _)| *s == suffix)?;
        digits.parse::<u64>().ok()?.checked_mul(*unit)
    }

    /// Shows a number as it could be typed.
    pub fn show(self, number: u64) -> impl fmt::Display {
        fmt::from_fn(move |f| {
            // The largest unit that shows it as a whole number; zero is shown in the smallest.
            let fits = |unit: u64| number.is_multiple_of(unit) && (unit == 1 || number >= unit);
            let (suffix, unit) = self.suffixes().iter().find(|(_, unit)| fits(*unit)).copied().unwrap_or(("", 1));
            write!(f, "{}{suffix}", number / unit)
        })
    }
}

impl Kind {
    /// Returns the value that `text` means; `None` if it is not allowed.
    #[must_use]
    pub fn parse(&self, text: &str) -> Option<Value> {
        match self {
            Self::Integer { min, max, unit, .. } => {
                unit.parse(text).filter(|number| (min..=max).contains(&number)).map(Value::Number)
            }
            Self::Choice { of, .. } => of.iter().position(|word| *word == text).map(|i| Value::Number(i as u64)),
            Self::Address => text.parse().ok().map(Value::Address),
            Self::Cores => CoreSet::parse(text).map(Value::Cores),
        }
    }

    /// Shows what is allowed.
    pub fn allowed(&self) -> impl fmt::Display {
        fmt::from_fn(move |f| match self {
            Self::Integer { min, max, unit, .. } if *max == u64::MAX => write!(f, "{} or more", unit.show(*min)),
            Self::Integer { min, max, unit, .. } => write!(f, "{} to {}", unit.show(*min), unit.show(*max)),
            Self::Choice { of, .. } => {
                for (i, word) in of.iter().enumerate() {
                    write!(f, "{}{word}", if i == 0 { "" } else { ", " })?;
                }
                Ok(())
            }
            Self::Address => f.write_str("an IPv4 or IPv6 address, such as 10.0.2.2 or fe80::1"),
            Self::Cores => f.write_str("cores 1 to 3, such as 1, 1-3, 1+3 or all (core 0 runs drivers and network)"),
        })
    }

    /// Returns whether there is no default.
    #[must_use]
    pub fn is_required(&self) -> bool {
        matches!(self, Self::Address)
    }

    /// Shows the default; `None` if the parameter has none.
    #[must_use]
    pub fn default(&self) -> Option<impl fmt::Display> {
        if matches!(self, Self::Address | Self::Cores) {
            return None;
        }
        Some(fmt::from_fn(move |f| match self {
            Self::Integer { default, unit, .. } => write!(f, "{}", unit.show(*default)),
            Self::Choice { of, default } => f.write_str(of.get(*default as usize).unwrap_or(&"")),
            Self::Address | Self::Cores => Ok(()),
        }))
    }
}

/// A value that was found good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    /// A number in the parameter's unit, or the index of a choice.
    Number(u64),
    /// An address.
    Address(IpAddr),
    /// Cores.
    Cores(CoreSet),
}

/// The values that were given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Values(Vec<(&'static str, Value), PARAMETERS_MAX>);

impl Values {
    /// Returns whether a value for `parameter` was given.
    #[must_use]
    pub fn is_given(&self, parameter: &Parameter) -> bool {
        self.get(parameter).is_some()
    }

    /// Returns the number given for `parameter`, or its default.
    #[must_use]
    pub fn number(&self, parameter: &Parameter) -> u64 {
        match (self.get(parameter), &parameter.kind) {
            (Some(Value::Number(number)), _) => *number,
            (_, Kind::Integer { default, .. } | Kind::Choice { default, .. }) => *default,
            (_, Kind::Address | Kind::Cores) => 0,
        }
    }

    /// Returns the address given for `parameter`; a [`Spec`](crate::Spec) is only made when there is one.
    #[must_use]
    pub fn address(&self, parameter: &Parameter) -> Option<IpAddr> {
        match self.get(parameter) {
            Some(Value::Address(address)) => Some(*address),
            _ => None,
        }
    }

    /// Stores a value. A workload with more parameters than there is room for fails the test below.
    pub(crate) fn set(&mut self, parameter: &'static Parameter, value: Value) {
        let _ = self.0.push((parameter.name, value));
    }

    fn get(&self, parameter: &Parameter) -> Option<&Value> {
        self.0.iter().find_map(|(name, value)| (*name == parameter.name).then_some(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builtin::WORKLOADS;

    #[test]
    fn there_is_room_for_the_parameters_of_every_workload() {
        for workload in WORKLOADS {
            assert!(workload.parameters().len() <= PARAMETERS_MAX, "{}", workload.name());
        }
    }

    #[test]
    fn numbers_are_read_with_their_unit() {
        let cases = [
            (Unit::Percent, "50%", Some(50)),
            (Unit::Percent, "50", Some(50)),
            (Unit::Percent, "%", None),
            (Unit::Time, "10ms", Some(10_000)),
            (Unit::Time, "1s", Some(1_000_000)),
            (Unit::Time, "2m", Some(120_000_000)),
            (Unit::Time, "10", None),
            (Unit::Bytes, "2M", Some(2 << 20)),
            (Unit::Bytes, "64k", Some(65_536)),
            (Unit::Bytes, "100", Some(100)),
            (Unit::Bytes, "18446744073709551615", Some(u64::MAX)),
            (Unit::Bytes, "18446744073709551616", None),
            (Unit::Bytes, "99999999999G", None),
            (Unit::Count, "-1", None),
            (Unit::Count, "+1", None),
            (Unit::Count, "1.5", None),
            (Unit::Count, "", None),
            (Unit::Count, "1é", None),
        ];
        for (unit, text, number) in cases {
            assert_eq!(unit.parse(text), number, "{unit:?} {text}");
        }
    }

    #[test]
    fn numbers_are_shown_as_they_are_typed() {
        let cases = [
            (Unit::Percent, 0, "0%"),
            (Unit::Percent, 50, "50%"),
            (Unit::Time, 10_000, "10ms"),
            (Unit::Time, 1_500_000, "1500ms"),
            (Unit::Time, 0, "0us"),
            (Unit::Bytes, 2 << 20, "2M"),
            (Unit::Bytes, 56, "56"),
            (Unit::Bytes, 0, "0"),
            (Unit::Count, 0, "0"),
        ];
        for (unit, number, text) in cases {
            assert_eq!(unit.show(number).to_string(), text);
            assert_eq!(unit.parse(text), Some(number), "{text}");
        }
    }

    #[test]
    fn defaults_are_allowed() {
        for parameter in WORKLOADS.iter().flat_map(|workload| workload.parameters()) {
            if let Some(default) = parameter.kind.default() {
                let value = parameter.kind.parse(&default.to_string()).unwrap();
                assert_eq!(value, Value::Number(Values::default().number(parameter)), "{}", parameter.name);
            }
        }
    }

    #[test]
    fn addresses_are_checked() {
        for bad in ["", "10.0.2", "10.0.2.256", "pi-123456.local", "fe80::1%1", "10.0.2.2/24", " 10.0.2.2"] {
            assert_eq!(Kind::Address.parse(bad), None, "{bad}");
        }
        for good in ["10.0.2.2", "fe80::1"] {
            assert_eq!(Kind::Address.parse(good), Some(Value::Address(good.parse().unwrap())));
        }
    }
}
