//! Server-sent events (WHATWG HTML, "Server-sent events") as nodes send them at `/api/v1/events`: each has one line of data.

use std::io::{self, BufRead, BufReader, Read};

use super::stream::Stream;

/// Longest line: four workloads on each of three cores, with all their figures, have 40 kB.
const LINE_LEN_MAX: u64 = 1 << 20;

/// An event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Event {
    /// What it is about: `sample`, `workloads`, `log`.
    pub(super) name: String,
    /// Its number; of a log line that of the one behind it.
    pub(super) id: Option<u64>,
    /// What it says, as JSON.
    pub(super) data: String,
}

/// The events of a node.
#[derive(Debug)]
pub(super) struct Events<R = BufReader<Stream>> {
    reader: R,
    name: String,
    id: Option<u64>,
}

impl<R: BufRead> Events<R> {
    /// Takes what follows the head of the answer.
    pub(super) fn new(reader: R) -> Self {
        Self { reader, name: String::new(), id: None }
    }

    /// Waits for the next event.
    ///
    /// # Errors
    /// When the stream ends or breaks, when a line is longer than a node's, and those of time-outs.
    pub(super) fn next(&mut self) -> io::Result<Event> {
        loop {
            let mut line = Vec::new();
            let read = self.reader.by_ref().take(LINE_LEN_MAX).read_until(b'\n', &mut line);
            let len = read.map_err(|error| match error.kind() {
                // What a read timeout is, socket(7).
                io::ErrorKind::WouldBlock => io::Error::new(io::ErrorKind::TimedOut, "it has fallen silent"),
                _ => error,
            })?;
            if len == 0 {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it closed the connection"));
            }
            if !line.ends_with(b"\n") {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "it sent half a line, or one without end"));
            }
            match String::from_utf8_lossy(&line).trim_end().split_once(": ") {
                Some(("event", name)) => (self.name, self.id) = (name.to_owned(), None),
                Some(("id", id)) => self.id = id.parse().ok(),
                Some(("data", data)) => {
                    return Ok(Event { name: self.name.clone(), id: self.id, data: data.to_owned() });
                }
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::*;

    #[test]
    fn events_are_read_one_by_one() {
        let stream = "retry: 2000\n\nevent: sample\ndata: {\"at_us\":1}\n\nevent: log\nid: 8\ndata: {\"text\":\"a: b\"}\n\n\
                      event: log\ndata: {}\n\nevent: wor";
        let mut events = Events::new(stream.as_bytes());
        let event = |name: &str, id, data: &str| Event { name: name.into(), id, data: data.into() };
        assert_eq!(events.next().unwrap(), event("sample", None, "{\"at_us\":1}"));
        assert_eq!(events.next().unwrap(), event("log", Some(8), "{\"text\":\"a: b\"}"));
        assert_eq!(events.next().unwrap(), event("log", None, "{}"));
        assert_eq!(events.next().unwrap_err().kind(), io::ErrorKind::InvalidData);
        assert_eq!(events.next().unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn a_line_without_end_is_given_up() {
        let mut events = Events::new(BufReader::new(io::repeat(b'x')));
        assert_eq!(events.next().unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
