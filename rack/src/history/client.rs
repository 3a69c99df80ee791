//! A client of a store that speaks RESP2 (redis.io, "Redis serialization protocol specification"): SET and GET, one at a time.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::time::Duration;

use crate::fleet::Stream;

/// Longest value that is taken.
const VALUE_LEN_MAX: usize = 1024;

/// A connection.
pub(super) struct Client(BufReader<Stream>);

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The store has refused: nothing has happened.
    Refused(String),
    /// The connection was lost, or nothing came in time: what has happened is not known.
    Unknown(String),
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::Unknown(error.to_string())
    }
}

impl Client {
    /// Speaks over a connection; each read and write may take `timeout`.
    pub(super) fn new(stream: Stream, timeout: Duration) -> io::Result<Self> {
        stream.set_timeout(Some(timeout))?;
        Ok(Self(BufReader::new(stream)))
    }

    /// Gives a key a value.
    pub(super) fn set(&mut self, key: &str, value: u64) -> Result<(), Trouble> {
        match self.ask(&["SET", key, &value.to_string()])? {
            Reply::Done => Ok(()),
            reply => Err(reply.strange()),
        }
    }

    /// Returns the value of a key, if it has one.
    pub(super) fn get(&mut self, key: &str) -> Result<Option<u64>, Trouble> {
        match self.ask(&["GET", key])? {
            Reply::Bulk(None) => Ok(None),
            Reply::Bulk(Some(text)) => match text.parse() {
                Ok(value) => Ok(Some(value)),
                Err(_) => Err(Reply::Bulk(Some(text)).strange()),
            },
            reply => Err(reply.strange()),
        }
    }

    fn ask(&mut self, words: &[&str]) -> Result<Reply, Trouble> {
        let mut request = format!("*{}\r\n", words.len());
        for word in words {
            request += &format!("${}\r\n{word}\r\n", word.len());
        }
        self.0.get_mut().write_all(request.as_bytes())?;
        Reply::read(&mut self.0)
    }
}

/// What a store says.
#[derive(Debug)]
enum Reply {
    /// `OK`.
    Done,
    Bulk(Option<String>),
}

impl Reply {
    fn read(stream: &mut impl BufRead) -> Result<Self, Trouble> {
        let line = line(stream)?;
        let (kind, rest) = line.split_at_checked(1).unwrap_or(("", ""));
        match kind {
            "+" if rest == "OK" => Ok(Self::Done),
            "-" => Err(Trouble::Refused(rest.into())),
            "$" if rest == "-1" => Ok(Self::Bulk(None)),
            "$" => {
                let len = rest.parse().ok().filter(|len| *len <= VALUE_LEN_MAX);
                let len = len.ok_or_else(|| Trouble::Unknown(format!("a value of {rest} bytes")))?;
                let mut value = vec![0; len + 2];
                stream.read_exact(&mut value)?;
                value.truncate(len);
                Ok(Self::Bulk(Some(String::from_utf8_lossy(&value).into_owned())))
            }
            _ => Err(Trouble::Unknown(format!("it does not speak RESP: {line:?}"))),
        }
    }

    fn strange(self) -> Trouble {
        Trouble::Unknown(format!("an answer that does not fit: {self:?}"))
    }
}

/// Reads a line, without its end.
fn line(stream: &mut impl BufRead) -> Result<String, Trouble> {
    let mut line = Vec::new();
    stream.take(VALUE_LEN_MAX as u64).read_until(b'\n', &mut line)?;
    let text = line.strip_suffix(b"\r\n").ok_or_else(|| Trouble::Unknown("the connection has ended".into()))?;
    Ok(String::from_utf8_lossy(text).into_owned())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::panic, reason = "a test that cannot go on should panic")]

    use super::*;

    #[test]
    fn replies_are_read_and_what_is_none_is_unknown() {
        let read = |text: &str| Reply::read(&mut text.as_bytes());
        assert!(matches!(read("+OK\r\n"), Ok(Reply::Done)));
        assert!(matches!(read("$2\r\n17\r\n"), Ok(Reply::Bulk(Some(text))) if text == "17"));
        assert!(matches!(read("$-1\r\n"), Ok(Reply::Bulk(None))));
        let Err(Trouble::Refused(why)) = read("-READONLY no\r\n") else { panic!("an error is a refusal") };
        assert_eq!(why, "READONLY no");
        let long = format!("+{}\r\n", "x".repeat(2000));
        for bad in ["", "+OK", "+PONG\r\n", "$5\r\n17\r\n", "$99999999\r\n", "$-2\r\n", "HTTP/1.1 400\r\n", &long] {
            assert!(matches!(read(bad), Err(Trouble::Unknown(_))), "{bad}");
        }
    }
}
