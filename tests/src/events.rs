//! A client of a node's live events.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::node::PATIENCE;

/// A client of `/api/v1/events`.
pub struct Listener {
    stream: BufReader<TcpStream>,
    head: String,
}

impl Listener {
    /// Asks for events; `query` is empty or begins with `?`.
    ///
    /// # Errors
    /// When the node does not answer.
    pub fn open(address: SocketAddr, query: &str) -> Result<Self> {
        let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        // Of version 1.0, so that the answer has no chunks.
        write!(stream, "GET /api/v1/events{query} HTTP/1.0\r\n\r\n")?;
        let mut this = Self { stream: BufReader::new(stream), head: String::new() };
        loop {
            let line = this.line()?;
            if line.is_empty() {
                return Ok(this);
            }
            this.head.push_str(&line);
            this.head.push('\n');
        }
    }

    /// Returns the answer's status line and header fields, a line each.
    #[must_use]
    pub fn head(&self) -> &str {
        &self.head
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        ensure!(self.stream.read_line(&mut line).context("waiting for an event")? > 0, "the stream ended");
        Ok(line.trim_end().to_owned())
    }

    /// Returns name, id and data of the next event.
    ///
    /// # Errors
    /// When none comes in time, or the node has closed the connection.
    pub fn event(&mut self) -> Result<(String, Option<u64>, Value)> {
        let (mut name, mut id) = (String::new(), None);
        loop {
            let line = self.line()?;
            match line.split_once(": ") {
                Some(("event", value)) => name = value.to_owned(),
                Some(("id", value)) => id = Some(value.parse()?),
                Some(("data", value)) => return Ok((name, id, serde_json::from_str(value)?)),
                _ => {}
            }
        }
    }

    /// Returns id and data of the next event of this name.
    ///
    /// # Errors
    /// As [`Listener::event`]; when only others come.
    pub fn next(&mut self, wanted: &str) -> Result<(Option<u64>, Value)> {
        let start = Instant::now();
        loop {
            let (name, id, data) = self.event()?;
            if name == wanted {
                return Ok((id, data));
            }
            ensure!(start.elapsed() < PATIENCE, "waited {PATIENCE:?} in vain for an event {wanted}");
        }
    }
}
