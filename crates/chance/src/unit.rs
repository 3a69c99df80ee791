//! What a number counts, and how it is written.

use core::fmt;

/// What a number counts, and how it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Things: `100`.
    Count,
    /// Hundredths: `50%`.
    Percent,
    /// Microseconds: `10ms`, `1.5s`.
    Time,
    /// Bytes: `2M`.
    Bytes,
    /// Millionths: `0.5%`.
    Share,
    /// Thousandths of events per second: `200/s`, `1.5k/s`, or without the `/s`.
    Rate,
    /// Bits per second: `10M`, `2.5Gbit/s`.
    BitRate,
    /// Thousandths: `0.25`.
    Decimal,
}

impl Unit {
    /// Returns the suffixes and what each multiplies by, the largest first. An empty one makes the suffix optional.
    fn suffixes(self) -> &'static [(&'static str, u64)] {
        match self {
            Self::Count => &[("", 1)],
            Self::Percent => &[("%", 1), ("", 1)],
            Self::Time => &[("h", 3_600_000_000), ("m", 60_000_000), ("s", 1_000_000), ("ms", 1_000), ("us", 1)],
            Self::Bytes => &[("G", 1 << 30), ("M", 1 << 20), ("k", 1 << 10), ("", 1)],
            Self::Share => &[("%", 10_000)],
            Self::Rate => &[
                ("M/s", 1_000_000_000),
                ("k/s", 1_000_000),
                ("/s", 1_000),
                ("M", 1_000_000_000),
                ("k", 1_000_000),
                ("", 1_000),
            ],
            Self::BitRate => &[
                ("Gbit/s", 1_000_000_000),
                ("Mbit/s", 1_000_000),
                ("kbit/s", 1_000),
                ("bit/s", 1),
                ("G", 1_000_000_000),
                ("M", 1_000_000),
                ("k", 1_000),
                ("", 1),
            ],
            Self::Decimal => &[("", 1_000)],
        }
    }

    /// Returns the number that `text` means: digits, perhaps with a decimal point between them, and a suffix. What would
    /// not be a whole number of this unit is refused.
    #[must_use]
    pub fn parse(self, text: &str) -> Option<u64> {
        let len = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.').len();
        let (digits, suffix) = text.split_at_checked(len)?;
        let (_, unit) = self.suffixes().iter().find(|(s, _)| *s == suffix)?;
        let (whole, fraction) = match digits.split_once('.') {
            Some((whole, fraction)) => (whole, Some(fraction)),
            None => (digits, None),
        };
        let number = whole.parse::<u64>().ok()?.checked_mul(*unit)?;
        let Some(fraction) = fraction else { return Some(number) };
        let scale = 10u64.checked_pow(u32::try_from(fraction.len()).ok()?)?;
        let part = fraction.parse::<u64>().ok()?.checked_mul(*unit)?;
        if !part.is_multiple_of(scale) {
            return None;
        }
        number.checked_add(part / scale)
    }

    /// Shows a number as it could be typed.
    pub fn show(self, number: u64) -> impl fmt::Display {
        fmt::from_fn(move |f| {
            // The largest unit that shows it as a whole number; else, and for zero, the smallest.
            let fits = |unit: u64| number.is_multiple_of(unit) && number >= unit;
            let smallest = || self.suffixes().iter().min_by_key(|(_, unit)| *unit);
            let found = self.suffixes().iter().find(|(_, unit)| fits(*unit)).or_else(smallest);
            let (suffix, unit) = found.copied().unwrap_or(("", 1));
            write!(f, "{}", number / unit)?;
            let (mut rest, mut mark) = (number % unit, ".");
            while rest > 0 {
                // Units are powers of ten where a rest can be left, so this ends.
                let digit = u128::from(rest) * 10 / u128::from(unit);
                write!(f, "{mark}{digit}")?;
                rest = (u128::from(rest) * 10 % u128::from(unit)) as u64;
                mark = "";
            }
            f.write_str(suffix)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_with_their_unit() {
        let cases = [
            (Unit::Percent, "50%", Some(50)),
            (Unit::Percent, "50", Some(50)),
            (Unit::Percent, "%", None),
            (Unit::Time, "10ms", Some(10_000)),
            (Unit::Time, "1s", Some(1_000_000)),
            (Unit::Time, "1.5s", Some(1_500_000)),
            (Unit::Time, "0.1us", None),
            (Unit::Time, "2m", Some(120_000_000)),
            (Unit::Time, "10", None),
            (Unit::Bytes, "2M", Some(2 << 20)),
            (Unit::Bytes, "64k", Some(65_536)),
            (Unit::Bytes, "0.5k", Some(512)),
            (Unit::Bytes, "100", Some(100)),
            (Unit::Bytes, "18446744073709551615", Some(u64::MAX)),
            (Unit::Bytes, "18446744073709551616", None),
            (Unit::Bytes, "99999999999G", None),
            (Unit::Count, "-1", None),
            (Unit::Count, "+1", None),
            (Unit::Count, "1.5", None),
            (Unit::Count, "1.0", Some(1)),
            (Unit::Count, "1.", None),
            (Unit::Count, ".5", None),
            (Unit::Count, "1.2.3", None),
            (Unit::Count, "1.00000000000000000000000000", None),
            (Unit::Count, "", None),
            (Unit::Count, "1é", None),
            (Unit::Share, "0.5%", Some(5_000)),
            (Unit::Share, "100%", Some(1_000_000)),
            (Unit::Share, "5", None),
            (Unit::Rate, "200/s", Some(200_000)),
            (Unit::Rate, "200", Some(200_000)),
            (Unit::Rate, "1.5k/s", Some(1_500_000)),
            (Unit::Rate, "1.5k", Some(1_500_000)),
            (Unit::Rate, "0.1/s", Some(100)),
            (Unit::BitRate, "2.5Gbit/s", Some(2_500_000_000)),
            (Unit::BitRate, "10M", Some(10_000_000)),
            (Unit::Decimal, "0.25", Some(250)),
            (Unit::Decimal, "0.2501", None),
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
            (Unit::Share, 5_000, "0.5%"),
            (Unit::Share, 30_000, "3%"),
            (Unit::Rate, 200_000, "200/s"),
            (Unit::Rate, 50, "0.05/s"),
            (Unit::BitRate, 10_000_000, "10Mbit/s"),
            (Unit::Decimal, 250, "0.25"),
        ];
        for (unit, number, text) in cases {
            assert_eq!(unit.show(number).to_string(), text);
            assert_eq!(unit.parse(text), Some(number), "{text}");
        }
    }
}
