//! Integers as Redis reads and writes them.

/// Digits and sign of the longest integer in bytes: `-9223372036854775808`.
pub const INTEGER_LEN_MAX: usize = 20;

/// Reads a signed 64-bit decimal number the one way it is written: no `+`, no leading zeros, no blanks.
#[must_use]
pub fn parse_integer(text: &[u8]) -> Option<i64> {
    let (is_negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    let well_formed = match digits {
        [b'0'] => !is_negative,
        [b'1'..=b'9', ..] => digits.len() < INTEGER_LEN_MAX,
        _ => false,
    };
    if !well_formed {
        return None;
    }
    // Counted downwards, because there is one more negative number than there are positive ones.
    digits
        .iter()
        .try_fold(0_i64, |number, digit| {
            let digit = i64::from(digit.checked_sub(b'0').filter(|digit| *digit < 10)?);
            number.checked_mul(10)?.checked_sub(digit)
        })
        .and_then(|number| if is_negative { Some(number) } else { number.checked_neg() })
}

/// A signed number as text.
#[derive(Clone, Copy, Debug)]
pub struct IntegerText {
    text: [u8; INTEGER_LEN_MAX],
    start: usize,
}

impl IntegerText {
    /// Writes `number`.
    #[must_use]
    pub fn new(number: i64) -> Self {
        let mut text = [b'0'; INTEGER_LEN_MAX];
        let mut start = INTEGER_LEN_MAX;
        let mut rest = number.unsigned_abs();
        for byte in text.iter_mut().rev() {
            // Below ten.
            *byte = b'0' + (rest % 10) as u8;
            start -= 1;
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        if number < 0 {
            start = start.saturating_sub(1);
            if let Some(byte) = text.get_mut(start) {
                *byte = b'-';
            }
        }
        Self { text, start }
    }

    /// Returns the text.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.text.get(self.start..).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let edges = [0, 1, -1, 9, 10, -10, 99, 100, i64::MAX, i64::MIN, i64::MAX - 1, i64::MIN + 1];
        for number in edges {
            let text = IntegerText::new(number);
            assert_eq!(text.as_bytes(), number.to_string().as_bytes());
            assert_eq!(parse_integer(text.as_bytes()), Some(number));
        }
    }

    #[test]
    fn other_spellings_are_no_integers() {
        for text in ["", "-", "+1", "01", "-0", "-01", " 1", "1 ", "1.0", "1e3", "0x1", "9223372036854775808"] {
            assert_eq!(parse_integer(text.as_bytes()), None, "{text}");
        }
        for text in ["-9223372036854775809", "99999999999999999999", "1\0", "é"] {
            assert_eq!(parse_integer(text.as_bytes()), None, "{text}");
        }
    }
}
