//! Requests: an array of strings, or a line of words (an inline command).
//!
//! [`parse`] looks at what has come so far and either finds a whole request, whose arguments are then ranges of that input,
//! or says how many bytes it takes to look again. It keeps nothing between two calls: while a request is incomplete its
//! beginning is read again, which is bounded, because the caller's buffer is.

use heapless::Vec;

use crate::integer::parse_integer;

/// Most arguments of a request, its name included. Redis has 1,048,576; a node keeps a request in a buffer of fixed size.
pub const ARGUMENTS_MAX: usize = 1024;
/// Longest inline command in bytes (Redis: 65,536).
pub const INLINE_LEN_MAX: usize = 4096;
/// Longest string in bytes, as Redis' `proto-max-bulk-len`.
pub const BULK_LEN_MAX: usize = 512 << 20;
/// Longest line that announces a number: type, sign, digits.
const NUMBER_LINE_MAX: usize = 32;

/// Where an argument is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Argument {
    /// In the input.
    Range {
        /// Offset of its first byte.
        start: usize,
        /// Its length in bytes.
        len: usize,
    },
    /// With the caller, who took it away while it arrived: the n-th of the offsets that [`parse`] was told.
    Held(usize),
}

/// The arguments of a request.
pub type Arguments = Vec<Argument, ARGUMENTS_MAX>;

/// What is in the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// A request of `used` bytes. One without arguments (an empty line, an empty array) wants no reply.
    Request {
        /// Its length in bytes.
        used: usize,
    },
    /// The beginning of one.
    Partial {
        /// Bytes that the input must have at least before another look can tell more.
        needed: usize,
    },
    /// As `Partial`: a string of more than the caller's limit is arriving, which the caller may take away.
    Large {
        /// Offset of its first byte, at most the input's length.
        start: usize,
        /// Its length in bytes.
        len: usize,
    },
}

/// What is wrong with a request. Whoever sent it is out of step: tell it, and close the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// The array's length is no number, or more than [`ARGUMENTS_MAX`].
    #[error("ERR Protocol error: invalid multibulk length")]
    ArrayLength,
    /// The array's length has no end.
    #[error("ERR Protocol error: too big mbulk count string")]
    ArrayLine,
    /// An element is no string.
    #[error("ERR Protocol error: expected '$', got '{}'", char::from(*.0))]
    NoString(u8),
    /// A string's length is no number, negative, or more than [`BULK_LEN_MAX`].
    #[error("ERR Protocol error: invalid bulk length")]
    BulkLength,
    /// A string's length has no end.
    #[error("ERR Protocol error: too big bulk count string")]
    BulkLine,
    /// An inline command is too long, or has too many words.
    #[error("ERR Protocol error: too big inline request")]
    InlineLength,
    /// A quotation mark has no partner, or is in the middle of a word.
    #[error("ERR Protocol error: unbalanced quotes in request")]
    Quotes,
}

/// Reads the request at the beginning of `input` and puts its arguments into `arguments`.
///
/// Strings longer than `large` bytes that are not all there are reported as [`Parsed::Large`]. The caller may then cut the
/// string's bytes out of its input (those that are there and those that come, but not the line break behind them), and
/// names its offset in `held`, in the order of the input, from the next call on.
///
/// # Errors
///
/// When it can't become a request any more.
pub fn parse(input: &[u8], large: usize, held: &[usize], arguments: &mut Arguments) -> Result<Parsed, ProtocolError> {
    arguments.clear();
    match input.first() {
        None => Ok(Parsed::Partial { needed: 1 }),
        Some(b'*') => parse_array(input, large, held, arguments),
        Some(_) => parse_inline(input, arguments),
    }
}

fn parse_array(input: &[u8], large: usize, held: &[usize], arguments: &mut Arguments) -> Result<Parsed, ProtocolError> {
    let Some((count, mut at)) = number_line(input, 0).map_err(|error| match error {
        LineError::TooLong => ProtocolError::ArrayLine,
        LineError::NoNumber => ProtocolError::ArrayLength,
    })?
    else {
        return Ok(Parsed::Partial { needed: input.len() + 1 });
    };
    // An array of no elements is a request of nothing.
    let count = usize::try_from(count).unwrap_or(0);
    if count > ARGUMENTS_MAX {
        return Err(ProtocolError::ArrayLength);
    }
    for _ in 0..count {
        match input.get(at) {
            None => return Ok(Parsed::Partial { needed: at + 1 }),
            Some(b'$') => {}
            Some(other) => return Err(ProtocolError::NoString(*other)),
        }
        let Some((len, start)) = number_line(input, at).map_err(|error| match error {
            LineError::TooLong => ProtocolError::BulkLine,
            LineError::NoNumber => ProtocolError::BulkLength,
        })?
        else {
            return Ok(Parsed::Partial { needed: input.len() + 1 });
        };
        let len = usize::try_from(len).ok().filter(|len| *len <= BULK_LEN_MAX).ok_or(ProtocolError::BulkLength)?;
        let (argument, end) = match held.iter().position(|offset| *offset == start) {
            Some(index) => (Argument::Held(index), start),
            None => (Argument::Range { start, len }, start + len),
        };
        // The line break behind a string is skipped unseen, as Redis does.
        at = end + 2;
        if at > input.len() {
            if matches!(argument, Argument::Range { .. }) && len > large && start <= input.len() {
                return Ok(Parsed::Large { start, len });
            }
            return Ok(Parsed::Partial { needed: at });
        }
        arguments.push(argument).map_err(|_| ProtocolError::ArrayLength)?;
    }
    Ok(Parsed::Request { used: at })
}

enum LineError {
    TooLong,
    NoNumber,
}

/// Reads the number of the line at `at`, behind a byte for the type, and returns it with the offset behind the line.
fn number_line(input: &[u8], at: usize) -> Result<Option<(i64, usize)>, LineError> {
    let line = input.get(at + 1..).unwrap_or_default();
    let line = line.get(..NUMBER_LINE_MAX).unwrap_or(line);
    let Some(len) = line.iter().position(|byte| *byte == b'\r') else {
        return if line.len() == NUMBER_LINE_MAX { Err(LineError::TooLong) } else { Ok(None) };
    };
    let end = at + 1 + len + 2;
    if end > input.len() {
        return Ok(None);
    }
    let number = parse_integer(line.get(..len).unwrap_or_default()).ok_or(LineError::NoNumber)?;
    Ok(Some((number, end)))
}

/// Reads a line of words. A word in quotation marks may contain blanks; unlike with Redis, a backslash in it is a backslash.
fn parse_inline(input: &[u8], arguments: &mut Arguments) -> Result<Parsed, ProtocolError> {
    let window = input.get(..INLINE_LEN_MAX).unwrap_or(input);
    let Some(end) = window.iter().position(|byte| *byte == b'\n') else {
        return if window.len() == INLINE_LEN_MAX {
            Err(ProtocolError::InlineLength)
        } else {
            Ok(Parsed::Partial { needed: input.len() + 1 })
        };
    };
    let line = window.get(..end).unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let mut at = 0;
    while let Some(byte) = line.get(at) {
        if byte.is_ascii_whitespace() || *byte == 0 {
            at += 1;
            continue;
        }
        let rest = line.get(at..).unwrap_or_default();
        let (start, len, next) = if let b'"' | b'\'' = byte {
            let inside = rest.get(1..).unwrap_or_default();
            let len = inside.iter().position(|other| other == byte).ok_or(ProtocolError::Quotes)?;
            let next = at + 1 + len + 1;
            if line.get(next).is_some_and(|byte| !byte.is_ascii_whitespace()) {
                return Err(ProtocolError::Quotes);
            }
            (at + 1, len, next)
        } else {
            let len = rest.iter().position(|byte| byte.is_ascii_whitespace() || *byte == 0).unwrap_or(rest.len());
            (at, len, at + len)
        };
        arguments.push(Argument::Range { start, len }).map_err(|_| ProtocolError::InlineLength)?;
        at = next;
    }
    Ok(Parsed::Request { used: end + 1 })
}
