//! Replies, written straight into the memory that is sent from.

use core::fmt::Write;

use heapless::String;

/// What a reply begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    /// As asked for.
    Ok,
    /// Nothing that HTTP allows, or not understood.
    BadRequest,
    /// The client was too slow.
    Timeout,
    /// The body is longer than we read.
    BodyTooLarge,
    /// The head is longer than there is room for.
    HeadTooLarge,
    /// The failure that this server was told to have.
    Failed,
    /// Bodies in chunks are not read.
    NoChunks,
    /// The queue is full.
    Busy,
}

impl Status {
    /// Returns the first line.
    fn line(self) -> &'static str {
        match self {
            Self::Ok => "HTTP/1.1 200 OK\r\n",
            Self::BadRequest => "HTTP/1.1 400 Bad Request\r\n",
            Self::Timeout => "HTTP/1.1 408 Request Timeout\r\n",
            Self::BodyTooLarge => "HTTP/1.1 413 Content Too Large\r\n",
            Self::HeadTooLarge => "HTTP/1.1 431 Request Header Fields Too Large\r\n",
            Self::Failed => "HTTP/1.1 500 Internal Server Error\r\n",
            Self::NoChunks => "HTTP/1.1 501 Not Implemented\r\n",
            Self::Busy => "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\n",
        }
    }
}

/// Tells a client that waits for it to send the body of its request.
pub(crate) const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// What is said about the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It stays, as HTTP/1.1 has it.
    Stays,
    /// It stays, which HTTP/1.0 has to be told.
    IsKept,
    /// It ends.
    Ends,
}

impl Fate {
    fn header(self) -> &'static str {
        match self {
            Self::Stays => "\r\n",
            Self::IsKept => "Connection: keep-alive\r\n\r\n",
            Self::Ends => "Connection: close\r\n\r\n",
        }
    }
}

/// What bodies are made of: over and over again.
const PATTERN: &[u8; 64] = b"MiniPiRack: a body of bytes, line after line, as many as asked.\n";

/// The headers of a body of a certain length.
#[derive(Clone, Debug)]
pub(crate) struct Body {
    headers: String<96>,
    len: usize,
}

impl Body {
    pub(crate) fn new(len: usize) -> Self {
        let mut headers = String::new();
        // There is room for any number.
        let _ = write!(headers, "Server: MiniPiRack\r\nContent-Type: text/plain\r\nContent-Length: {len}\r\n");
        Self { headers, len }
    }
}

/// A reply, and how much of it has been written.
pub(crate) struct Reply<'a> {
    pieces: [&'a [u8]; 3],
    body_len: usize,
    written: usize,
}

impl<'a> Reply<'a> {
    /// Makes a reply with `body`, or only with its headers.
    pub(crate) fn new(status: Status, body: &'a Body, fate: Fate, is_head: bool) -> Self {
        let pieces = [status.line().as_bytes(), body.headers.as_bytes(), fate.header().as_bytes()];
        Self { pieces, body_len: if is_head { 0 } else { body.len }, written: 0 }
    }

    /// Returns how many bytes it has.
    pub(crate) fn len(&self) -> usize {
        self.pieces.iter().map(|piece| piece.len()).sum::<usize>() + self.body_len
    }

    /// Returns whether all of it has been written.
    pub(crate) fn is_written(&self) -> bool {
        self.written >= self.len()
    }

    /// Writes as much of the rest as there is room for, and returns how much that was.
    pub(crate) fn fill(&mut self, room: &mut [u8]) -> usize {
        let mut done = 0;
        let mut start = 0;
        for piece in self.pieces {
            let at = (self.written + done).saturating_sub(start);
            done += copy(piece.get(at..).unwrap_or_default(), room.get_mut(done..).unwrap_or_default());
            start += piece.len();
        }
        let end = start + self.body_len;
        while self.written + done < end && done < room.len() && self.written + done >= start {
            let at = (self.written + done - start) % PATTERN.len();
            let left = end - self.written - done;
            let piece = PATTERN.get(at..).unwrap_or_default();
            let piece = piece.get(..piece.len().min(left)).unwrap_or_default();
            done += copy(piece, room.get_mut(done..).unwrap_or_default());
        }
        self.written += done;
        done
    }
}

fn copy(from: &[u8], to: &mut [u8]) -> usize {
    let len = from.len().min(to.len());
    if let (Some(from), Some(to)) = (from.get(..len), to.get_mut(..len)) {
        to.copy_from_slice(from);
    }
    len
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes a reply into rooms of `room` bytes.
    fn written(mut reply: Reply<'_>, room: usize) -> std::string::String {
        let mut all = Vec::new();
        while !reply.is_written() {
            let mut part = vec![0; room];
            let len = reply.fill(&mut part);
            assert!(len > 0);
            all.extend_from_slice(&part[..len]);
        }
        assert_eq!(all.len(), reply.len());
        std::string::String::from_utf8(all).unwrap()
    }

    #[test]
    fn a_reply_is_the_same_whatever_room_it_is_written_into() {
        let body = Body::new(200);
        let whole = written(Reply::new(Status::Ok, &body, Fate::Stays, false), 4096);
        let (head, text) = whole.split_once("\r\n\r\n").unwrap();
        assert_eq!(head, "HTTP/1.1 200 OK\r\nServer: MiniPiRack\r\nContent-Type: text/plain\r\nContent-Length: 200");
        assert_eq!((text.len(), text.matches("MiniPiRack").count()), (200, 3));
        for room in [1, 2, 7, 63, 64, 65, 100, 150] {
            assert_eq!(written(Reply::new(Status::Ok, &body, Fate::Stays, false), room), whole, "{room}");
        }
    }

    #[test]
    fn heads_and_empty_bodies_end_behind_the_headers() {
        let body = Body::new(usize::MAX);
        let head = written(Reply::new(Status::Busy, &body, Fate::Ends, true), 9);
        assert!(head.starts_with("HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\n"), "{head}");
        assert!(head.ends_with(&format!("Content-Length: {}\r\nConnection: close\r\n\r\n", usize::MAX)), "{head}");
        let empty = written(Reply::new(Status::Failed, &Body::new(0), Fate::IsKept, false), 9);
        assert!(empty.ends_with("Content-Length: 0\r\nConnection: keep-alive\r\n\r\n"), "{empty}");
    }
}
