//! Numbers as people read them, without floating point.

use core::fmt;

/// A number with three or four digits and a decimal prefix: `999`, `1.0k`, `12.3M`, `123M`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Si(pub u64);

impl fmt::Display for Si {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut unit = 1u64;
        let mut prefix = "";
        for next in ["k", "M", "G", "T", "P", "E"] {
            if self.0 / unit < 1000 {
                break;
            }
            unit *= 1000;
            prefix = next;
        }
        let whole = self.0 / unit;
        if unit == 1 || whole >= 100 {
            write!(f, "{whole}{prefix}")
        } else {
            write!(f, "{whole}.{}{prefix}", self.0 % unit / (unit / 10))
        }
    }
}

/// Bytes in MiB with one decimal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MiB(pub u64);

impl fmt::Display for MiB {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0 >> 20, ((self.0 & 0xF_FFFF) * 10) >> 20)
    }
}

/// A share in thousandths as a whole percentage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Percent(pub u16);

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", (self.0 + 5) / 10)
    }
}

/// Thousandths with one decimal: 48,234 is `48.2`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Milli(pub i32);

impl fmt::Display for Milli {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let abs = self.0.unsigned_abs();
        write!(f, "{sign}{}.{}", abs / 1000, abs % 1000 / 100)
    }
}

/// A time span in µs in the unit that suits it: `850us`, `1.25ms`, `12.3ms`, `4.0s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Micros(pub u64);

impl fmt::Display for Micros {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            us @ 0..1_000 => write!(f, "{us}us"),
            us @ 1_000..10_000 => write!(f, "{}.{:02}ms", us / 1000, us % 1000 / 10),
            us @ 10_000..1_000_000 => write!(f, "{}.{}ms", us / 1000, us % 1000 / 100),
            us => write!(f, "{}.{}s", us / 1_000_000, us % 1_000_000 / 100_000),
        }
    }
}

/// A long time span in µs: `2d 03:04:05` or `03:04:05`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Uptime(pub u64);

impl fmt::Display for Uptime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let s = self.0 / 1_000_000;
        let days = s / 86_400;
        if days > 0 {
            write!(f, "{days}d ")?;
        }
        write!(f, "{:02}:{:02}:{:02}", s / 3600 % 24, s / 60 % 60, s % 60)
    }
}

/// µs since 1970 as UTC: `2026-11-22 17:18:36`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UtcTime(pub u64);

impl fmt::Display for UtcTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let s = self.0 / 1_000_000;
        let (year, month, day) = civil_from_days(s / 86_400);
        write!(f, "{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02}", s / 3600 % 24, s / 60 % 60, s % 60)
    }
}

/// Returns year, month and day of a day counted from 1970-01-01, by the proleptic Gregorian calendar.
///
/// Years are counted from March, so that the leap day is a year's last; 400 years have 146,097 days.
fn civil_from_days(days: u64) -> (u64, u64, u64) {
    const DAYS_TO_1970: u64 = 719_468; // from 0000-03-01
    let days = days + DAYS_TO_1970;
    let era = days / 146_097;
    let day_of_era = days % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimal_prefixes_keep_numbers_short() {
        let cases = [
            (0, "0"),
            (999, "999"),
            (1_000, "1.0k"),
            (12_345, "12.3k"),
            (123_456, "123k"),
            (999_999, "999k"),
            (12_345_678, "12.3M"),
            (u64::MAX, "18.4E"),
        ];
        for (number, text) in cases {
            assert_eq!(Si(number).to_string(), text);
        }
    }

    #[test]
    fn spans_choose_their_unit() {
        let cases = [
            (0, "0us"),
            (850, "850us"),
            (1_250, "1.25ms"),
            (12_345, "12.3ms"),
            (999_999, "999.9ms"),
            (4_000_000, "4.0s"),
        ];
        for (us, text) in cases {
            assert_eq!(Micros(us).to_string(), text);
        }
        assert_eq!(Uptime(11_045_000_000).to_string(), "03:04:05");
        assert_eq!(Uptime(183_845_999_999).to_string(), "2d 03:04:05");
    }

    #[test]
    fn temperatures_keep_their_sign() {
        assert_eq!(Milli(48_234).to_string(), "48.2");
        assert_eq!(Milli(-500).to_string(), "-0.5");
        assert_eq!(Milli(i32::MIN).to_string(), "-2147483.6");
    }

    #[test]
    fn bytes_and_percentages() {
        assert_eq!(MiB(4_300_000).to_string(), "4.1");
        assert_eq!(MiB(960 << 20).to_string(), "960.0");
        assert_eq!(Percent(495).to_string(), "50%");
        assert_eq!(Percent(1000).to_string(), "100%");
    }

    #[test]
    fn dates_match_the_calendar() {
        // From `date -u -d @N`.
        let cases = [
            (0, "1970-01-01 00:00:00"),
            (951_782_399, "2000-02-28 23:59:59"),
            (951_782_400, "2000-02-29 00:00:00"),
            (1_709_251_199, "2024-02-29 23:59:59"),
            (1_795_360_716, "2026-11-22 15:18:36"),
            (4_107_542_400, "2100-03-01 00:00:00"),
        ];
        for (s, text) in cases {
            assert_eq!(UtcTime(s * 1_000_000).to_string(), text);
        }
    }
}
