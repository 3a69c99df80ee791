//! One page of a node, asked for within a time. HTTP 1.0 (RFC 1945), which has neither chunks nor connections that stay.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::stream::Stream;

/// Longest answer: a node's longest, five minutes of history, has 60 kB.
const BODY_LEN_MAX: u64 = 8 << 20;
/// Longest head of an answer.
const HEAD_LEN_MAX: u64 = 16 << 10;

/// Asks for `path` and returns what follows the head.
///
/// # Errors
/// When the whole answer is not there within `timeout`, or its status is not 200.
pub(super) fn get(stream: Stream, path: &str, timeout: Duration) -> Result<Vec<u8>> {
    let mut timed = Timed::new(stream, timeout);
    request(&mut timed, path).map_err(|error| explained(&error, timeout))?;
    let mut reader = BufReader::new(timed);
    let head = Head::read(&mut reader, timeout)?;
    head.require_ok(path)?;
    let mut body = Vec::new();
    reader.take(BODY_LEN_MAX + 1).read_to_end(&mut body).map_err(|error| explained(&error, timeout))?;
    ensure!(body.len() as u64 <= BODY_LEN_MAX, "{path} has more than {BODY_LEN_MAX} bytes");
    if let Some(len) = head.len {
        ensure!(body.len() == len, "{path} ended after {} of {len} bytes", body.len());
    }
    Ok(body)
}

/// Asks for `path`, which has no end, and returns a reader of what follows the head. Each read then takes `timeout` at most.
///
/// # Errors
/// When there is no answer within `timeout`, or its status is not 200.
pub(super) fn follow(stream: Stream, path: &str, timeout: Duration) -> Result<BufReader<Stream>> {
    stream.set_timeout(Some(timeout))?;
    let mut reader = BufReader::new(stream);
    request(reader.get_mut(), path).map_err(|error| explained(&error, timeout))?;
    Head::read(&mut reader, timeout)?.require_ok(path)?;
    Ok(reader)
}

fn request(stream: &mut impl Write, path: &str) -> io::Result<()> {
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: node\r\nUser-Agent: rack\r\n\r\n").as_bytes())
}

fn explained(error: &io::Error, timeout: Duration) -> anyhow::Error {
    match error.kind() {
        // What a read timeout is, socket(7).
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
            anyhow::anyhow!("no answer within {:.1} s", timeout.as_secs_f64())
        }
        _ => anyhow::anyhow!("the connection broke: {error}"),
    }
}

/// What is known from the head of an answer.
#[derive(Debug, PartialEq, Eq)]
struct Head {
    status: u16,
    /// Bytes of the body, if it says so.
    len: Option<usize>,
}

impl Head {
    fn read(reader: &mut impl BufRead, timeout: Duration) -> Result<Self> {
        let mut reader = reader.take(HEAD_LEN_MAX);
        let mut line = || -> Result<String> {
            let mut line = Vec::new();
            let len = reader.read_until(b'\n', &mut line).map_err(|error| explained(&error, timeout))?;
            ensure!(len > 0, "it refuses the connection, or closed it without an answer");
            Ok(String::from_utf8_lossy(&line).trim_end().to_owned())
        };
        let first = line()?;
        let status = first.strip_prefix("HTTP/1.").and_then(|rest| rest.split(' ').nth(1)?.parse().ok());
        let status = status.with_context(|| format!("this is no answer of HTTP: {first:?}"))?;
        let mut len = None;
        loop {
            let field = line()?;
            if field.is_empty() {
                return Ok(Self { status, len });
            }
            if let Some((name, value)) = field.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                len = Some(value.trim().parse().context("a length that is no number")?);
            }
        }
    }

    fn require_ok(&self, path: &str) -> Result<()> {
        match self.status {
            200 => Ok(()),
            404 => bail!("it has no {path}: its configuration or another image version leaves that out"),
            503 => bail!("it has as many clients at {path} as it takes"),
            status => bail!("it answers {path} with status {status}"),
        }
    }
}

/// A stream that gives every read and write what is left of the time for all.
pub(super) struct Timed {
    stream: Stream,
    deadline: Instant,
}

impl Timed {
    /// Gives all reads and writes `timeout` together, from now on.
    pub(super) fn new(stream: Stream, timeout: Duration) -> Self {
        Self { stream, deadline: Instant::now() + timeout }
    }

    /// Gives all that come `timeout` together, from now on.
    pub(super) fn restart(&mut self, timeout: Duration) {
        self.deadline = Instant::now() + timeout;
    }

    fn arm(&self) -> io::Result<()> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.stream.set_timeout(Some(left))
    }
}

impl Read for Timed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.arm()?;
        self.stream.read(buffer)
    }
}

impl Write for Timed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.arm()?;
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use std::os::unix::net::UnixStream;
    use std::thread;

    use super::*;

    const SHORT: Duration = Duration::from_millis(200);

    /// Asks somebody who answers so, in pieces of one byte, and then closes or stays.
    fn ask(answer: &'static [u8], stays: bool) -> Result<Vec<u8>> {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let server = thread::spawn(move || {
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                theirs.read_exact(&mut byte).unwrap();
                request.extend(byte);
            }
            assert!(request.starts_with(b"GET /x HTTP/1.0\r\n"));
            for byte in answer {
                // The client may have had enough.
                let _ = theirs.write_all(&[*byte]);
            }
            if stays {
                thread::sleep(2 * SHORT);
            }
        });
        let got = get(Stream::Unix(ours), "/x", SHORT);
        server.join().unwrap();
        got
    }

    #[test]
    fn a_page_is_read_to_its_end() {
        let got = ask(b"HTTP/1.1 200 OK\r\nContent-Type: a\r\nContent-Length: 2\r\n\r\nok", false);
        assert_eq!(got.unwrap(), b"ok");
        assert_eq!(ask(b"HTTP/1.0 200 OK\r\n\r\nto the end", false).unwrap(), b"to the end");
    }

    #[test]
    fn whatever_is_no_whole_answer_is_an_error() {
        let error = |answer, stays| ask(answer, stays).unwrap_err().to_string();
        assert!(error(b"", false).contains("refuses the connection"));
        assert!(error(b"", true).contains("no answer within 0.2 s"));
        assert!(error(b"HTTP/1.1 200 OK\r\n\r\nwithout end", true).contains("no answer within"));
        assert!(error(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort", false).contains("5 of 9"));
        assert!(error(b"HTTP/1.1 404 Not Found\r\n\r\n", false).contains("has no /x"));
        assert!(error(b"SSH-2.0-x\r\n", false).contains("no answer of HTTP"));
        assert!(error(b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", false).contains("no number"));
    }

    #[test]
    fn a_head_without_end_is_given_up() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let server = thread::spawn(move || {
            let _ = theirs.write_all(b"HTTP/1.1 200 OK\r\n");
            while theirs.write_all(b"X: y\r\n").is_ok() {}
        });
        assert!(get(Stream::Unix(ours), "/", SHORT).is_err());
        server.join().unwrap();
    }
}
