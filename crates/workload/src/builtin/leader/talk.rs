//! Questions to the store as bytes, and its answers (RESP2).

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;

use embedded_io_async::{Read, Write};
use heapless::Vec;
use resp::{IntegerText, Sink};
use sockets::{SocketError, TcpSocket};

use super::rules::{Answer, Question};

/// Longest name of the lease.
pub(super) const KEY_LEN_MAX: usize = 64;
/// What stands behind the name of the lease in that of the key with the number of the last term.
const TERM: &str = ":term";
/// What a lease is set to that is nobody's.
const NOBODY: &[u8] = b"nobody";
const REQUEST_LEN: usize = 512;
/// The longest reply is an error; what it says behind this is not read.
const REPLY_LEN: usize = 128;
/// A lease that is given back ends after this time: a key can't be deleted by its value, but its end can be set by it.
const AT_ONCE_MS: u64 = 1;

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum TalkError {
    #[error(transparent)]
    Socket(#[from] SocketError),
    #[error("the store refused")]
    Refused,
    #[error("this is no store")]
    Malformed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reply {
    Done,
    Nothing,
    Number(u64),
}

/// A lease at a store.
#[derive(Clone, Copy)]
pub(super) struct Lease<'a> {
    pub(super) key: &'a str,
    pub(super) ms: u64,
}

struct Bytes(Vec<u8, REQUEST_LEN>);

impl Sink for Bytes {
    fn put(&mut self, bytes: &[u8]) {
        // There is room: the longest request has three times the key.
        let _ = self.0.extend_from_slice(bytes);
    }
}

impl Bytes {
    fn command(&mut self, words: &[&[u8]]) {
        resp::array(self, words.len());
        words.iter().for_each(|word| resp::bulk(self, word));
    }
}

impl Lease<'_> {
    /// Asks the store.
    ///
    /// # Errors
    ///
    /// When the connection is lost, or the store refuses or says what it should not: it is of no use any more then.
    pub(super) async fn ask(&self, socket: &mut TcpSocket, question: Question) -> Result<Answer, TalkError> {
        let request = self.request(question);
        socket.write_all(&request.0).await?;
        let mut reader = Reader { bytes: Vec::new() };
        let mut answer = Answer::default();
        let (has_number_first, has_set, has_number_last) = match question {
            Question::Meet | Question::Lift { .. } => (true, false, false),
            Question::Take { .. } => (false, true, true),
            Question::Confirm { .. } => (true, true, false),
            Question::Found { .. } | Question::Extend { .. } | Question::Release { .. } => (false, true, false),
        };
        if has_number_first {
            answer.term = number(reader.next(socket).await?)?;
        }
        if has_set {
            answer.is_set = is_set(reader.next(socket).await?)?;
        }
        if has_number_last {
            answer.term = number(reader.next(socket).await?)?;
        }
        if let Question::Found { .. } = question {
            // Whether the term was there already does not matter.
            is_set(reader.next(socket).await?)?;
        }
        Ok(answer)
    }

    fn request(&self, question: Question) -> Bytes {
        let mut out = Bytes(Vec::new());
        let key = self.key.as_bytes();
        let mut term: Vec<u8, { KEY_LEN_MAX + TERM.len() }> = Vec::new();
        // There is room: the name is that short.
        let _ = term.extend_from_slice(key).and_then(|()| term.extend_from_slice(TERM.as_bytes()));
        let lasts = decimal(self.ms);
        let lasts = lasts.as_bytes();
        let prolong = |out: &mut Bytes, value: u64, lasts: &[u8]| {
            let value = hex(value);
            out.command(&[b"SET", key, &value, b"IFEQ", &value, b"PX", lasts]);
        };
        match question {
            Question::Meet => out.command(&[b"GET", &term]),
            Question::Found { value, term: number } => {
                let own = value.map(hex);
                let value = own.as_ref().map_or(NOBODY, |own| own.as_slice());
                out.command(&[b"SET", key, value, b"NX", b"PX", lasts]);
                out.command(&[b"SET", &term, decimal(number).as_bytes(), b"NX"]);
            }
            Question::Lift { by } => out.command(&[b"INCRBY", &term, decimal(by).as_bytes()]),
            Question::Take { value } => {
                out.command(&[b"SET", key, &hex(value), b"NX", b"PX", lasts]);
                out.command(&[b"GET", &term]);
            }
            Question::Confirm { value } => {
                out.command(&[b"INCR", &term]);
                prolong(&mut out, value, lasts);
            }
            Question::Extend { value } => prolong(&mut out, value, lasts),
            Question::Release { value } => prolong(&mut out, value, decimal(AT_ONCE_MS).as_bytes()),
        }
        out
    }
}

fn decimal(number: u64) -> IntegerText {
    IntegerText::new(i64::try_from(number).unwrap_or(i64::MAX))
}

fn hex(value: u64) -> [u8; 16] {
    core::array::from_fn(|at| {
        let digit = (value >> (60 - 4 * at)) as u8 & 15;
        if digit < 10 { b'0' + digit } else { b'a' + digit - 10 }
    })
}

fn is_set(reply: Reply) -> Result<bool, TalkError> {
    match reply {
        Reply::Done => Ok(true),
        Reply::Nothing => Ok(false),
        Reply::Number(_) => Err(TalkError::Malformed),
    }
}

fn number(reply: Reply) -> Result<Option<u64>, TalkError> {
    match reply {
        Reply::Number(number) => Ok(Some(number)),
        Reply::Nothing => Ok(None),
        Reply::Done => Err(TalkError::Malformed),
    }
}

/// What has come of the replies.
struct Reader {
    bytes: Vec<u8, REPLY_LEN>,
}

impl Reader {
    async fn next(&mut self, socket: &mut TcpSocket) -> Result<Reply, TalkError> {
        loop {
            if let Some((reply, len)) = parse(&self.bytes)? {
                self.bytes.drain(..len);
                return Ok(reply);
            }
            let mut part = [0; REPLY_LEN];
            let room = part.get_mut(..REPLY_LEN - self.bytes.len()).filter(|room| !room.is_empty());
            let room = room.ok_or(TalkError::Malformed)?;
            let len = socket.read(room).await?;
            if len == 0 {
                return Err(SocketError::ConnectionReset.into());
            }
            // There is room for no more.
            let _ = self.bytes.extend_from_slice(part.get(..len).unwrap_or_default());
        }
    }
}

/// Reads the reply at the beginning of `input`, and its length; `None` if it is not all there.
fn parse(input: &[u8]) -> Result<Option<(Reply, usize)>, TalkError> {
    let Some(len) = input.windows(2).position(|end| end == b"\r\n") else { return Ok(None) };
    let line = input.get(..len).unwrap_or_default();
    let number = |digits| resp::parse_integer(digits).ok_or(TalkError::Malformed);
    let positive = |digits| u64::try_from(number(digits)?).map_err(|_| TalkError::Malformed);
    match line.split_first() {
        Some((b'+', _)) => Ok(Some((Reply::Done, len + 2))),
        Some((b':', digits)) => Ok(Some((Reply::Number(positive(digits)?), len + 2))),
        Some((b'$', digits)) if number(digits)? == -1 => Ok(Some((Reply::Nothing, len + 2))),
        Some((b'$', digits)) => {
            let text_len = usize::try_from(positive(digits)?).unwrap_or(usize::MAX);
            if text_len > REPLY_LEN / 2 {
                return Err(TalkError::Malformed);
            }
            let Some(text) = input.get(len + 2..len + 2 + text_len + 2) else { return Ok(None) };
            let text = text.get(..text_len).unwrap_or_default();
            Ok(Some((Reply::Number(positive(text)?), len + 2 + text_len + 2)))
        }
        Some((b'-', _)) => Err(TalkError::Refused),
        _ => Err(TalkError::Malformed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_commands_of_redis() {
        let lease = Lease { key: "lead", ms: 2000 };
        let text = |question| {
            let request = lease.request(question).0;
            let text = String::from_utf8(request.to_vec()).unwrap();
            // Without what announces lengths.
            text.split("\r\n").filter(|word| !word.starts_with(['*', '$'])).collect::<std::vec::Vec<_>>().join(" ")
        };
        let value = 0x00ab_cdef_0123_4567;
        assert_eq!(text(Question::Meet), "GET lead:term ");
        assert_eq!(text(Question::Take { value }), "SET lead 00abcdef01234567 NX PX 2000 GET lead:term ");
        assert_eq!(
            text(Question::Confirm { value }),
            "INCR lead:term SET lead 00abcdef01234567 IFEQ 00abcdef01234567 PX 2000 "
        );
        assert_eq!(text(Question::Release { value }), "SET lead 00abcdef01234567 IFEQ 00abcdef01234567 PX 1 ");
        assert_eq!(text(Question::Found { value: None, term: 3 }), "SET lead nobody NX PX 2000 SET lead:term 3 NX ");
        assert_eq!(text(Question::Lift { by: 5 }), "INCRBY lead:term 5 ");
        assert_eq!(
            lease.request(Question::Meet).0,
            b"*2\r\n$3\r\nGET\r\n$9\r\nlead:term\r\n"[..],
            "as an array of strings"
        );
        let long = Lease { key: &"k".repeat(KEY_LEN_MAX), ms: u64::MAX };
        let request = long.request(Question::Found { value: Some(1), term: u64::MAX }).0;
        assert!(request.ends_with(b"NX\r\n") && request.len() < REQUEST_LEN);
    }

    #[test]
    fn replies_are_read_when_they_are_all_there_and_nonsense_is_told() {
        for (text, expected) in [
            ("+OK\r\n", Reply::Done),
            ("$-1\r\n", Reply::Nothing),
            (":42\r\n", Reply::Number(42)),
            ("$2\r\n17\r\n", Reply::Number(17)),
        ] {
            for len in 0..text.len() {
                assert_eq!(parse(&text.as_bytes()[..len]), Ok(None), "{text:?} up to {len}");
            }
            assert_eq!(parse(text.as_bytes()), Ok(Some((expected, text.len()))));
        }
        assert_eq!(parse(b"-READONLY no\r\n"), Err(TalkError::Refused));
        for text in ["\r\n", "x\r\n", ":-1\r\n", ":x\r\n", "$2\r\nab\r\n", "$-2\r\n", "$999\r\n", "$x\r\n", "*1\r\n"] {
            assert_eq!(parse(text.as_bytes()), Err(TalkError::Malformed), "{text:?}");
        }
    }
}
