//! Text that passes through, with the names put to its code addresses.
//!
//! A node's crash report writes code addresses, and nothing else, as `0x` and sixteen digits (crate `crash`). Every byte
//! is passed on at once, so that a prompt or an echoed key is never held back; what is known about a line's addresses is
//! written just before the line ends.

use std::io::{self, Read, Write};

use crate::symbols::Lookup;

/// Digits of a code address.
const DIGITS: usize = 16;
/// Longest line that is looked at: a report's lines are shorter, and a stream without line ends must not fill memory.
const LINE_LEN_MAX: usize = 4096;

/// Puts names to the addresses of a stream.
pub(crate) struct Annotator<L> {
    lookup: Option<L>,
    line: Vec<u8>,
    /// The address of the report's own `pc`, where something happened rather than a place to return to.
    pc: Option<u64>,
}

impl<L: Lookup> Annotator<L> {
    /// Makes one that knows nothing about earlier text. Without a `lookup` everything passes as it is.
    pub(crate) fn new(lookup: Option<L>) -> Self {
        Self { lookup, line: Vec::new(), pc: None }
    }

    /// Returns `bytes` with the descriptions added.
    pub(crate) fn pass(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut passed = Vec::with_capacity(bytes.len());
        for &byte in bytes {
            if matches!(byte, b'\r' | b'\n') {
                passed.extend(self.end_line());
            } else if self.line.len() < LINE_LEN_MAX {
                self.line.push(byte);
            }
            passed.push(byte);
        }
        passed
    }

    /// Returns what belongs to the line that ends here.
    fn end_line(&mut self) -> Vec<u8> {
        let line = std::mem::take(&mut self.line);
        let Some(lookup) = &self.lookup else { return Vec::new() };
        let text = String::from_utf8_lossy(&line);
        let mut descriptions = Vec::new();
        for (address, is_frame) in addresses(&text) {
            // A frame holds the address behind the call, which may be the next line or even the next function; only the
            // first one may be the very instruction.
            let place = if is_frame && self.pc.take() != Some(address) { address.wrapping_sub(1) } else { address };
            if !is_frame {
                self.pc = Some(address);
            }
            descriptions.extend(lookup.describe(place));
        }
        if descriptions.is_empty() { Vec::new() } else { format!("  {}", descriptions.join("; ")).into_bytes() }
    }
}

/// Copies `from` to `to` with the descriptions added, until `from` ends.
pub(crate) fn copy<L: Lookup>(
    from: &mut impl Read,
    to: &mut impl Write,
    annotator: &mut Annotator<L>,
) -> io::Result<()> {
    let mut chunk = [0; 4096];
    loop {
        let len = match from.read(&mut chunk) {
            Ok(0) => break,
            Ok(len) => len,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        to.write_all(&annotator.pass(&chunk[..len]))?;
        to.flush()?;
    }
    // The last line of a file may have no end.
    to.write_all(&annotator.end_line())?;
    to.flush()
}

/// Returns the addresses of a line, and whether each is a frame of a backtrace: `#1 0x…`. The report of the last life has
/// the log's time in front of it.
fn addresses(line: &str) -> impl Iterator<Item = (u64, bool)> {
    line.match_indices("0x").filter_map(|(at, _)| {
        let digits = line.get(at + 2..)?;
        let len = digits.bytes().take_while(u8::is_ascii_hexdigit).count();
        let address = (len == DIGITS).then(|| u64::from_str_radix(&digits[..len], 16).ok())??;
        let is_frame = line[..at].split_whitespace().next_back().is_some_and(|word| word.starts_with('#'));
        Some((address, is_frame))
    })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::*;

    /// Code from 0x80000 to 0x80fff.
    struct Fake;

    impl Lookup for Fake {
        fn describe(&self, address: u64) -> Option<String> {
            (0x80000..0x81000).contains(&address).then(|| format!("f+{:#x}", address - 0x80000))
        }
    }

    fn pass(text: &str) -> String {
        String::from_utf8(Annotator::new(Some(Fake)).pass(text.as_bytes())).unwrap()
    }

    #[test]
    fn descriptions_stand_at_the_end_of_the_line() {
        assert_eq!(pass("pc 0x0000000000080010\r\nnext\r\n"), "pc 0x0000000000080010  f+0x10\r\nnext\r\n");
    }

    #[test]
    fn return_addresses_are_looked_up_where_the_call_is() {
        assert_eq!(pass("  #0 0x0000000000080010\n"), "  #0 0x0000000000080010  f+0xf\n");
    }

    #[test]
    fn a_report_that_comes_as_log_lines_is_read_the_same() {
        assert_eq!(
            pass("  2.186773 warn  |   #4 0x0000000000080010\n"),
            "  2.186773 warn  |   #4 0x0000000000080010  f+0xf\n"
        );
    }

    #[test]
    fn the_first_frame_of_an_exception_is_where_it_happened() {
        let report = "abort, pc 0x0000000000080010\nbacktrace:\n  #0 0x0000000000080010\n  #1 0x0000000000080010\n";
        let lines: Vec<String> = pass(report).lines().map(str::to_owned).collect();
        assert_eq!(lines[2], "  #0 0x0000000000080010  f+0x10");
        assert_eq!(lines[3], "  #1 0x0000000000080010  f+0xf");
    }

    #[test]
    fn other_numbers_stay_alone() {
        for line in ["x0 0000000000080010\n", "0x80010\n", "0x00000000000800100\n", "at 0x00000000deadbeef\n", "0x\n"] {
            assert_eq!(pass(line), line);
        }
    }

    #[test]
    fn several_addresses_of_a_line_are_all_described() {
        assert_eq!(
            pass("0x0000000000080001 0x0000000000080002\n"),
            "0x0000000000080001 0x0000000000080002  f+0x1; f+0x2\n"
        );
    }

    #[test]
    fn nothing_is_held_back_and_pieces_make_no_difference() {
        let text = "> he\x08l\r\x1b[Kpc 0x0000000000080010\r\n\u{e4}\r\n  #1 0x0000000000080020\n> ";
        let whole = pass(text);
        for size in 1..text.len() {
            let mut annotator = Annotator::new(Some(Fake));
            let mut pieces = Vec::new();
            for piece in text.as_bytes().chunks(size) {
                let passed = annotator.pass(piece);
                assert!(passed.len() >= piece.len());
                pieces.extend(passed);
            }
            assert_eq!(String::from_utf8(pieces).unwrap(), whole, "{size}");
        }
    }

    #[test]
    fn a_last_line_without_an_end_is_described_too() {
        let mut out = Vec::new();
        copy(&mut &b"pc 0x0000000000080010"[..], &mut out, &mut Annotator::new(Some(Fake))).unwrap();
        assert_eq!(out, b"pc 0x0000000000080010  f+0x10");
    }

    #[test]
    fn an_endless_line_takes_no_memory() {
        let mut annotator = Annotator::new(Some(Fake));
        for _ in 0..100 {
            annotator.pass(&[b'x'; 4096]);
        }
        assert!(annotator.line.len() <= LINE_LEN_MAX);
    }
}
