//! Replies, written piece by piece to whatever takes bytes.

use crate::integer::IntegerText;

/// Takes the bytes of replies in order. What it can't take it has to remember: a reply that lacks a part would put the
/// client out of step.
pub trait Sink {
    /// Takes all of `bytes`.
    fn put(&mut self, bytes: &[u8]);
}

/// Writes a status such as `OK`, which has no line break.
pub fn simple(sink: &mut impl Sink, text: &str) {
    line(sink, b"+", text.as_bytes());
}

/// Writes an error: its kind in capitals, a blank, and what is wrong, without line breaks (`ERR no such key`).
pub fn error(sink: &mut impl Sink, text: &str) {
    line(sink, b"-", text.as_bytes());
}

/// Writes a number.
pub fn integer(sink: &mut impl Sink, number: i64) {
    line(sink, b":", IntegerText::new(number).as_bytes());
}

/// Writes a string of any bytes.
pub fn bulk(sink: &mut impl Sink, bytes: &[u8]) {
    bulk_header(sink, bytes.len());
    sink.put(bytes);
    sink.put(b"\r\n");
}

/// Writes what stands before the `len` bytes of a string; the caller puts those and `\r\n` behind them.
pub fn bulk_header(sink: &mut impl Sink, len: usize) {
    line(sink, b"$", IntegerText::new(len as i64).as_bytes());
}

/// Writes the string that is none.
pub fn null(sink: &mut impl Sink) {
    sink.put(b"$-1\r\n");
}

/// Writes what stands before the `len` elements of an array, each a reply of its own.
pub fn array(sink: &mut impl Sink, len: usize) {
    line(sink, b"*", IntegerText::new(len as i64).as_bytes());
}

fn line(sink: &mut impl Sink, kind: &[u8], text: &[u8]) {
    sink.put(kind);
    sink.put(text);
    sink.put(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Sink for Vec<u8> {
        fn put(&mut self, bytes: &[u8]) {
            self.extend_from_slice(bytes);
        }
    }

    #[test]
    fn replies_are_those_of_the_specification() {
        let mut out = Vec::new();
        simple(&mut out, "OK");
        error(&mut out, "ERR unknown command");
        integer(&mut out, -42);
        bulk(&mut out, b"he\r\nllo");
        bulk(&mut out, b"");
        null(&mut out);
        array(&mut out, 2);
        integer(&mut out, 1);
        integer(&mut out, 2);
        let expected = "+OK\r\n-ERR unknown command\r\n:-42\r\n$7\r\nhe\r\nllo\r\n$0\r\n\r\n$-1\r\n*2\r\n:1\r\n:2\r\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
