//! A writer of JSON (RFC 8259): text, whole numbers, exact decimal fractions.
//!
//! Kept serializers were weighed: `serde-json-core` writes into one buffer that must hold the whole answer, `serde_json`
//! without `std` into one string. Here parts of an answer are written as they are asked for, and there are no floats.

use core::fmt::{self, Display, Write};

/// Writes one value after the other; commas come by themselves. A key is the name of a member, or [`ITEM`] in an array.
pub struct Json<'o> {
    out: &'o mut dyn Write,
    needs_comma: bool,
}

/// The key of what has no name: an item of an array, or the outermost value.
pub const ITEM: &str = "";

impl<'o> Json<'o> {
    /// Writes to `out`.
    #[must_use]
    pub fn new(out: &'o mut dyn Write) -> Self {
        Self { out, needs_comma: false }
    }

    /// Goes on in the middle of an array or object that has members already if `needs_comma`.
    #[must_use]
    pub fn resume(out: &'o mut dyn Write, needs_comma: bool) -> Self {
        Self { out, needs_comma }
    }

    /// Returns whether the next member needs a comma before it, for [`Json::resume`].
    #[must_use]
    pub fn needs_comma(&self) -> bool {
        self.needs_comma
    }

    /// Begins an object (`{`) or an array (`[`).
    ///
    /// # Errors
    ///
    /// As everything here: those of the writer.
    pub fn open(&mut self, key: &str, bracket: char) -> fmt::Result {
        self.key(key)?;
        self.needs_comma = false;
        self.out.write_char(bracket)
    }

    /// Ends an object (`}`) or an array (`]`).
    pub fn close(&mut self, bracket: char) -> fmt::Result {
        self.needs_comma = true;
        self.out.write_char(bracket)
    }

    /// Writes text.
    pub fn text(&mut self, key: &str, text: &str) -> fmt::Result {
        self.shown(key, &text)
    }

    /// Writes as text whatever shows itself.
    pub fn shown(&mut self, key: &str, value: &dyn Display) -> fmt::Result {
        self.key(key)?;
        self.out.write_char('"')?;
        write!(Escaped(self.out), "{value}")?;
        self.out.write_char('"')
    }

    /// Writes a value whose text is JSON as it is, such as a number.
    pub fn raw(&mut self, key: &str, value: &dyn Display) -> fmt::Result {
        self.key(key)?;
        write!(self.out, "{value}")
    }

    /// Writes a whole number.
    pub fn number(&mut self, key: &str, number: u64) -> fmt::Result {
        self.raw(key, &number)
    }

    /// Writes a whole number, or `null` if it is not known.
    pub fn optional(&mut self, key: &str, number: Option<u64>) -> fmt::Result {
        match number {
            Some(number) => self.number(key, number),
            None => self.null(key),
        }
    }

    /// Writes yes or no, or `null` if it is not known.
    pub fn flag(&mut self, key: &str, is_set: Option<bool>) -> fmt::Result {
        self.raw(
            key,
            &match is_set {
                Some(true) => "true",
                Some(false) => "false",
                None => "null",
            },
        )
    }

    /// Writes that a value is not known.
    pub fn null(&mut self, key: &str) -> fmt::Result {
        self.raw(key, &"null")
    }

    fn key(&mut self, key: &str) -> fmt::Result {
        if self.needs_comma {
            self.out.write_char(',')?;
        }
        self.needs_comma = true;
        if key.is_empty() {
            return Ok(());
        }
        self.out.write_char('"')?;
        Escaped(self.out).write_str(key)?;
        self.out.write_str("\":")
    }
}

/// Writes text as it stands between quotation marks (RFC 8259, section 7).
struct Escaped<'o>(&'o mut dyn Write);

impl Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text;
        while let Some(at) = rest.find(|c: char| c < ' ' || c == '"' || c == '\\') {
            let (plain, special) = rest.split_at(at);
            self.0.write_str(plain)?;
            let byte = special.bytes().next().unwrap_or_default();
            match byte {
                b'\n' => self.0.write_str("\\n")?,
                0..b' ' => write!(self.0, "\\u{byte:04x}")?,
                _ => {
                    self.0.write_char('\\')?;
                    self.0.write_char(byte.into())?;
                }
            }
            // All of these are one byte long.
            rest = special.get(1..).unwrap_or_default();
        }
        self.0.write_str(rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commas_and_brackets_are_where_they_belong() {
        let mut text = String::new();
        let mut json = Json::new(&mut text);
        json.open(ITEM, '{').unwrap();
        json.number("a", 1).unwrap();
        json.open("b", '[').unwrap();
        json.open(ITEM, '[').unwrap();
        json.close(']').unwrap();
        json.flag(ITEM, Some(true)).unwrap();
        json.optional(ITEM, None).unwrap();
        let needs_comma = json.needs_comma();
        let mut json = Json::resume(&mut text, needs_comma);
        json.text(ITEM, "x").unwrap();
        json.close(']').unwrap();
        json.flag("c", None).unwrap();
        json.close('}').unwrap();
        assert_eq!(text, r#"{"a":1,"b":[[],true,null,"x"],"c":null}"#);
    }

    #[test]
    fn any_text_is_escaped() {
        let mut text = String::new();
        Json::new(&mut text).text("k\"", "a\"b\\c\nd\u{1}\u{7f}é").unwrap();
        assert_eq!(text, "\"k\\\"\":\"a\\\"b\\\\c\\nd\\u0001\u{7f}é\"");
    }
}
