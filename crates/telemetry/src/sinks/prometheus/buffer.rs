//! Text on its way to a writer.
//!
//! A page of metrics is many short pieces: a name, a quote, a number. They are put together here, and the writer, which is
//! reached through a table of functions and may have to grow, is called once for each kilobyte. Numbers are written without
//! `core::fmt`. Together that takes half the instructions.

use core::fmt::{self, Write};

use crate::metrics::Value;

/// Bytes that are put together.
const LEN: usize = 1024;
/// Digits of the greatest number.
const DIGITS: usize = 20;

/// See the module. Nothing is lost only if [`Buffer::flush`] is called at the end.
pub(super) struct Buffer<'a> {
    out: &'a mut dyn Write,
    bytes: [u8; LEN],
    len: usize,
}

impl<'a> Buffer<'a> {
    pub(super) fn new(out: &'a mut dyn Write) -> Self {
        Self { out, bytes: [0; LEN], len: 0 }
    }

    /// Writes what is there to the writer.
    pub(super) fn flush(&mut self) -> fmt::Result {
        let bytes = self.bytes.get(..self.len).unwrap_or_default();
        self.len = 0;
        // Only whole texts are put in.
        self.out.write_str(str::from_utf8(bytes).map_err(|_| fmt::Error)?)
    }

    pub(super) fn text(&mut self, text: &str) -> fmt::Result {
        if self.put(text.as_bytes()) {
            return Ok(());
        }
        self.flush()?;
        if self.put(text.as_bytes()) { Ok(()) } else { self.out.write_str(text) }
    }

    /// Writes a label's value: backslash, quote and line feed are escaped.
    pub(super) fn escaped(&mut self, text: &str) -> fmt::Result {
        if !text.bytes().any(is_special) {
            return self.text(text);
        }
        let mut rest = text;
        while let Some(at) = rest.bytes().position(is_special) {
            let (plain, special) = rest.split_at(at);
            self.text(plain)?;
            self.text(match special.as_bytes().first() {
                Some(b'\n') => "\\n",
                Some(b'"') => "\\\"",
                _ => "\\\\",
            })?;
            // All three are one byte long.
            rest = special.get(1..).unwrap_or_default();
        }
        self.text(rest)
    }

    /// Writes a number, which [`Value`] also does, but slowly.
    pub(super) fn value(&mut self, value: Value) -> fmt::Result {
        match value {
            Value::Count(n) => self.decimal(n, 0),
            Value::Micros(n) => self.decimal(n, 6),
            Value::Millis(n) => {
                if n < 0 {
                    self.text("-")?;
                }
                self.decimal(n.unsigned_abs(), 3)
            }
            Value::Flag(is_set) => self.text(if is_set { "1" } else { "0" }),
        }
    }

    /// Writes `n` with a decimal point in front of its last `places` digits, and no needless zeros.
    pub(super) fn decimal(&mut self, mut n: u64, places: usize) -> fmt::Result {
        let mut digits = [b'0'; DIGITS];
        let mut used = 0;
        for digit in digits.iter_mut().rev() {
            *digit = b'0' + (n % 10) as u8;
            n /= 10;
            used += 1;
            if n == 0 {
                break;
            }
        }
        let (whole, fraction) = digits.split_at(DIGITS - places);
        // One digit at least stands in front of the point.
        let whole = whole.get(DIGITS - used.max(places + 1)..).unwrap_or_default();
        let zeros = fraction.iter().rev().take_while(|digit| **digit == b'0').count();
        let fraction = fraction.get(..places - zeros).unwrap_or_default();
        if LEN - self.len <= DIGITS {
            self.flush()?;
        }
        // There is room now.
        let is_whole = self.put(whole) && (fraction.is_empty() || self.put(b".") && self.put(fraction));
        if is_whole { Ok(()) } else { Err(fmt::Error) }
    }

    /// Puts all of `bytes` in, or nothing if there is no room.
    fn put(&mut self, bytes: &[u8]) -> bool {
        let Some(room) = self.bytes.get_mut(self.len..).and_then(|room| room.get_mut(..bytes.len())) else {
            return false;
        };
        room.copy_from_slice(bytes);
        self.len += bytes.len();
        true
    }
}

impl Write for Buffer<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.text(text)
    }
}

fn is_special(byte: u8) -> bool {
    matches!(byte, b'\\' | b'"' | b'\n')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut Buffer<'_>) -> fmt::Result) -> String {
        let mut text = String::new();
        let mut buffer = Buffer::new(&mut text);
        write(&mut buffer).unwrap();
        buffer.flush().unwrap();
        text
    }

    #[test]
    fn values_are_written_as_they_show_themselves() {
        let powers = (0..20).map(|power| 10u64.pow(power));
        let numbers = powers.flat_map(|n| [n - 1, n, n + 1, n / 10 * 12, n / 2]).chain([u64::MAX, 1 << 24, 48_234]);
        for n in numbers {
            let signed = i64::try_from(n).unwrap_or(i64::MIN);
            for value in [Value::Count(n), Value::Micros(n), Value::Millis(signed), Value::Millis(signed.wrapping_neg())] {
                assert_eq!(written(|out| out.value(value)), value.to_string());
            }
        }
        assert_eq!(written(|out| out.value(Value::Flag(true))), "1");
    }

    #[test]
    fn texts_of_any_length_come_out_whole_and_in_order() {
        for len in [0, 1, 7, LEN - 1, LEN, LEN + 1, 3 * LEN] {
            let long = "ä".repeat(len / 2) + &"x".repeat(len % 2);
            let all = written(|out| {
                out.text("before ")?;
                out.text(&long)?;
                (0..400).try_for_each(|n| out.value(Value::Count(n)))?;
                write!(out, " after {len}")
            });
            let numbers: String = (0..400).map(|n| n.to_string()).collect();
            assert_eq!(all, format!("before {long}{numbers} after {len}"));
        }
    }

    #[test]
    fn what_is_special_in_a_label_is_escaped() {
        for (text, shown) in [("", ""), ("plain", "plain"), ("\"", "\\\""), ("a\"b\\c\nd é", "a\\\"b\\\\c\\nd é")] {
            assert_eq!(written(|out| out.escaped(text)), shown);
        }
    }
}
