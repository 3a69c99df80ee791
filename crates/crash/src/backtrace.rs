//! Walking the frame records on a stack.
//!
//! Code for AArch64 that keeps frame pointers (`-C force-frame-pointers`) has, at the address in x29, a record of two
//! words: the caller's x29, and the address to return to (Procedure Call Standard for the Arm 64-bit Architecture,
//! section 6.4.6, "The Frame Pointer"). The outermost record has 0 for the caller's x29.

use core::fmt;
use core::ops::Range;

use heapless::Vec;

/// How many addresses a backtrace has at most.
pub const MAX_DEPTH: usize = 32;

/// Addresses, innermost first.
pub type Backtrace = Vec<u64, MAX_DEPTH>;

/// Bytes of a frame record.
const RECORD_LEN: u64 = 16;
/// Bytes of a word.
const WORD: u64 = 8;

/// Where things may be. What is outside is not followed: the stack may be what is broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// The stack that is in use.
    pub stack: Range<u64>,
    /// The code.
    pub text: Range<u64>,
}

/// Returns the addresses that a backtrace shows.
///
/// `pc` is where it happened, if that is known: it is shown wherever it points, since a jump into nowhere is worth
/// knowing. `fp` is x29 at that moment. `read` reads a word of memory, of which only aligned ones in the stack are asked
/// for.
#[must_use]
pub fn walk(pc: Option<u64>, fp: u64, bounds: &Bounds, mut read: impl FnMut(u64) -> Option<u64>) -> Backtrace {
    let mut backtrace: Backtrace = pc.into_iter().collect();
    let mut record = fp;
    while !backtrace.is_full() && is_record(record, bounds) {
        let (Some(caller), Some(return_address)) = (read(record), read(record + WORD)) else { break };
        if !bounds.text.contains(&return_address) {
            break;
        }
        // There is room: checked above.
        let _ = backtrace.push(return_address);
        // Stacks grow down, so callers' records are above. This also ends every loop.
        if caller <= record {
            break;
        }
        record = caller;
    }
    backtrace
}

fn is_record(address: u64, bounds: &Bounds) -> bool {
    let Some(end) = address.checked_add(RECORD_LEN) else { return false };
    address.is_multiple_of(WORD) && address >= bounds.stack.start && end <= bounds.stack.end
}

/// Displays addresses as lines that the host tool puts names to. A run of the same address, which is what deep recursion
/// leaves, is one line.
#[derive(Clone, Copy, Debug)]
pub struct Lines<'a>(pub &'a [u64]);

impl fmt::Display for Lines<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut index = 0;
        for run in self.0.chunk_by(|address, caller| address == caller) {
            if let Some(address) = run.first() {
                write!(f, "  #{index} {address:#018x}")?;
            }
            index += run.len();
            if run.len() > 1 {
                write!(f, " and the same up to #{}", index - 1)?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STACK: u64 = 0x10_0000;

    fn bounds() -> Bounds {
        Bounds { stack: STACK..STACK + 0x100, text: 0x8_0000..0x9_0000 }
    }

    /// A stack with these words at these offsets; reading what the walk has no business with fails the test.
    fn read(words: &[(u64, u64)]) -> impl FnMut(u64) -> Option<u64> {
        |address| {
            assert!((STACK..STACK + 0x100).contains(&address) && address % 8 == 0, "{address:#x}");
            Some(words.iter().find(|(offset, _)| STACK + offset == address).map_or(0, |(_, word)| *word))
        }
    }

    #[test]
    fn callers_are_found_up_to_the_outermost() {
        let words = [
            (0x20, STACK + 0x40),
            (0x28, 0x8_0010),
            (0x40, STACK + 0x80),
            (0x48, 0x8_0020),
            (0x80, 0),
            (0x88, 0x8_0030),
        ];
        let trace = walk(Some(0x8_0004), STACK + 0x20, &bounds(), read(&words));
        assert_eq!(trace, [0x8_0004, 0x8_0010, 0x8_0020, 0x8_0030]);
    }

    #[test]
    fn a_wild_pc_is_shown_and_a_wild_frame_pointer_is_not_followed() {
        for fp in [0, 7, STACK - 8, STACK + 0xf8, STACK + 0x24, u64::MAX, u64::MAX - 7] {
            assert_eq!(walk(Some(0xdead), fp, &bounds(), read(&[])), [0xdead], "{fp:#x}");
        }
    }

    #[test]
    fn a_return_address_outside_the_code_ends_the_walk() {
        let words = [(0x20, STACK + 0x40), (0x28, 0x8_0010), (0x40, STACK + 0x80), (0x48, 0x1234)];
        assert_eq!(walk(None, STACK + 0x20, &bounds(), read(&words)), [0x8_0010]);
    }

    #[test]
    fn a_loop_of_records_ends() {
        for caller in [STACK + 0x20, STACK + 0x10] {
            let words = [(0x20, caller), (0x28, 0x8_0010), (0x10, STACK + 0x20), (0x18, 0x8_0020)];
            assert_eq!(walk(None, STACK + 0x20, &bounds(), read(&words)), [0x8_0010]);
        }
    }

    #[test]
    fn memory_that_cannot_be_read_ends_the_walk() {
        assert!(walk(None, STACK + 0x20, &bounds(), |_| None).is_empty());
    }

    #[test]
    fn the_depth_is_limited() {
        let deep = Bounds { stack: 0..u64::MAX, text: 0..u64::MAX };
        let endless = walk(Some(1), 0x20, &deep, |address| Some(if address % 16 == 0 { address + 16 } else { 0x42 }));
        assert_eq!(endless.len(), MAX_DEPTH);
    }

    #[test]
    fn lines_have_sixteen_digits() {
        assert_eq!(Lines(&[0x81234, u64::MAX]).to_string(), "  #0 0x0000000000081234\n  #1 0xffffffffffffffff\n");
    }

    #[test]
    fn recursion_takes_one_line() {
        assert_eq!(
            Lines(&[1, 2, 2, 2, 3]).to_string(),
            "  #0 0x0000000000000001\n  #1 0x0000000000000002 and the same up to #3\n  #4 0x0000000000000003\n"
        );
    }
}
