//! Text of limited length that is cut rather than refused.

use core::fmt;

/// Up to `N` bytes of text. What is written beyond is left out, and writing never fails: a report is better cut short than
/// not made.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Text<const N: usize> {
    text: heapless::String<N>,
    is_full: bool,
}

impl<const N: usize> Text<N> {
    /// Returns a text with nothing in it.
    #[must_use]
    pub const fn new() -> Self {
        Self { text: heapless::String::new(), is_full: false }
    }

    /// Returns what `arguments` display as.
    #[must_use]
    pub fn format(arguments: fmt::Arguments<'_>) -> Self {
        let mut text = Self::new();
        // An implementation of Display may fail; what it wrote before is kept.
        let _ = fmt::write(&mut text, arguments);
        text
    }

    /// Returns the text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl<const N: usize> fmt::Write for Text<N> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            // Nothing is added behind a gap.
            self.is_full |= self.text.push(character).is_err();
            if self.is_full {
                break;
            }
        }
        Ok(())
    }
}

impl<const N: usize> From<&str> for Text<N> {
    fn from(text: &str) -> Self {
        Self::format(format_args!("{text}"))
    }
}

impl<const N: usize> fmt::Display for Text<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl<const N: usize> fmt::Debug for Text<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_cut_between_characters_and_stays_cut() {
        let text = Text::<8>::format(format_args!("{}{}{}", "12345", "äöü", "x"));
        assert_eq!(text.as_str(), "12345ä");
    }
}
