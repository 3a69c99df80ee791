//! As much of HTTP/1.1 as a client needs that asks for one thing again and again (RFC 9112).

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;

use heapless::Vec;

/// Longest head of an answer in bytes.
const HEAD_LEN_MAX: usize = 4096;
const HEADERS_MAX: usize = 32;

/// What is wrong with an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// It is no HTTP, or longer than there is room for.
    NoHttp,
    /// Its body has no length, so that where it ends only a lost connection would tell.
    NoLength,
}

/// A whole answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    /// Its status, such as 200.
    pub(super) status: u16,
    /// Whether the connection may be used again.
    pub(super) keeps_alive: bool,
}

/// Reads one answer after the other.
pub(super) struct Reader {
    head: Vec<u8, HEAD_LEN_MAX>,
    state: State,
}

#[derive(Clone, Copy)]
enum State {
    Head,
    /// Bytes of the body, or of a chunk, that are to come.
    Body { left: u64, answer: Answer, is_chunk: bool },
    /// The line that says how long the next chunk is; also what follows the last one.
    ChunkLine { answer: Answer, is_trailer: bool },
}

impl Reader {
    pub(super) const fn new() -> Self {
        Self { head: Vec::new(), state: State::Head }
    }

    /// Takes bytes; returns how many it has used, and the answer if it is complete.
    ///
    /// # Errors
    ///
    /// The connection is of no use any more.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Result<(usize, Option<Answer>), Fault> {
        let mut used = 0;
        loop {
            let rest = bytes.get(used..).unwrap_or_default();
            match self.state {
                State::Body { left: 0, answer, is_chunk: false } => {
                    self.state = State::Head;
                    return Ok((used, Some(answer)));
                }
                // Behind a chunk is the end of its line.
                State::Body { left: 0, answer, is_chunk: true } => {
                    self.state = State::ChunkLine { answer, is_trailer: false };
                }
                _ if rest.is_empty() => return Ok((used, None)),
                State::Body { left, answer, is_chunk } => {
                    let len = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
                    used += len;
                    self.state = State::Body { left: left - len as u64, answer, is_chunk };
                }
                State::Head => {
                    used += self.keep(rest, b"\r\n\r\n")?;
                    if self.head.ends_with(b"\r\n\r\n") {
                        self.state = self.read_head()?;
                        self.head.clear();
                    }
                }
                State::ChunkLine { answer, is_trailer } => {
                    used += self.keep(rest, b"\r\n")?;
                    if self.head.ends_with(b"\r\n") {
                        let line = self.head.get(..self.head.len() - 2).unwrap_or_default();
                        self.state = match (is_trailer, line) {
                            (true, []) => State::Body { left: 0, answer, is_chunk: false },
                            (true, _) => State::ChunkLine { answer, is_trailer },
                            (false, line) => match chunk_len(line)? {
                                0 => State::ChunkLine { answer, is_trailer: true },
                                len => State::Body { left: len + 2, answer, is_chunk: true },
                            },
                        };
                        self.head.clear();
                    }
                }
            }
        }
    }

    /// Keeps bytes up to and with `end`, and returns how many.
    fn keep(&mut self, bytes: &[u8], end: &[u8]) -> Result<usize, Fault> {
        for (index, byte) in bytes.iter().enumerate() {
            self.head.push(*byte).map_err(|_| Fault::NoHttp)?;
            if self.head.ends_with(end) {
                return Ok(index + 1);
            }
        }
        Ok(bytes.len())
    }

    fn read_head(&self) -> Result<State, Fault> {
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut response = httparse::Response::new(&mut headers);
        response.parse(&self.head).map_err(|_| Fault::NoHttp)?;
        let status = response.code.ok_or(Fault::NoHttp)?;
        let find = |name: &str| {
            response.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name)).map(|header| header.value)
        };
        let has_word = |name, word: &str| {
            let mut words = find(name).unwrap_or_default().split(|byte| *byte == b',');
            words.any(|part| part.trim_ascii().eq_ignore_ascii_case(word.as_bytes()))
        };
        let keeps_alive = match response.version {
            Some(1) => !has_word("connection", "close"),
            _ => has_word("connection", "keep-alive"),
        };
        let answer = Answer { status, keeps_alive };
        if (100..200).contains(&status) {
            // Another one follows.
            return Ok(State::Head);
        }
        if status == 204 || status == 304 {
            return Ok(State::Body { left: 0, answer, is_chunk: false });
        }
        if has_word("transfer-encoding", "chunked") {
            return Ok(State::ChunkLine { answer, is_trailer: false });
        }
        let len = find("content-length").ok_or(Fault::NoLength)?;
        let len = str::from_utf8(len).ok().and_then(|len| len.trim().parse().ok()).ok_or(Fault::NoHttp)?;
        Ok(State::Body { left: len, answer, is_chunk: false })
    }
}

/// Returns the length of a chunk: hexadecimal digits, perhaps with an extension behind a semicolon.
fn chunk_len(line: &[u8]) -> Result<u64, Fault> {
    let digits = line.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    let text = str::from_utf8(digits).map_err(|_| Fault::NoHttp)?;
    u64::from_str_radix(text, 16).ok().filter(|len| *len < 1 << 40).ok_or(Fault::NoHttp)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8], step: usize) -> Result<std::vec::Vec<Answer>, Fault> {
        let mut reader = Reader::new();
        let mut answers = std::vec::Vec::new();
        for piece in bytes.chunks(step) {
            let mut used = 0;
            loop {
                let (len, answer) = reader.feed(&piece[used..])?;
                used += len;
                match answer {
                    Some(answer) => answers.push(answer),
                    None => break,
                }
            }
            assert_eq!(used, piece.len());
        }
        Ok(answers)
    }

    #[test]
    fn answers_are_found_in_any_pieces() {
        let bytes = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello\
            HTTP/1.1 100 Continue\r\n\r\n\
            HTTP/1.1 503 Busy\r\nconnection: Close\r\ncontent-length: 0\r\n\r\n\
            HTTP/1.1 204 No Content\r\n\r\n\
            HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n1a;x=y\r\nabcdefghijklmnopqrstuvwxyz\r\n0\r\nT: x\r\n\r\n\
            HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nx";
        let expected = [(200, true), (503, false), (204, true), (200, true), (200, false)]
            .map(|(status, keeps_alive)| Answer { status, keeps_alive });
        for step in (1..40).chain([100, 1000]) {
            assert_eq!(read(bytes, step).unwrap(), expected, "pieces of {step}");
        }
    }

    #[test]
    fn what_is_no_answer_is_told() {
        for (bytes, fault) in [
            ("hello\r\n\r\n", Fault::NoHttp),
            ("HTTP/1.1 200 OK\r\n\r\n", Fault::NoLength),
            ("HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", Fault::NoHttp),
            ("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", Fault::NoHttp),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", Fault::NoHttp),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffff\r\n", Fault::NoHttp),
        ] {
            assert_eq!(read(bytes.as_bytes(), 7), Err(fault), "{bytes:?}");
        }
        assert_eq!(read(&[b'x'; 5000], 100), Err(Fault::NoHttp));
    }
}
