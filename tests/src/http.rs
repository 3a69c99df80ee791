//! A small HTTP/1.1 client (RFC 9112) that keeps its connection.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail};

/// Longest that a node may take for anything.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the node answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// For instance 200.
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// The whole body.
    pub body: Vec<u8>,
}

impl Response {
    /// Returns the value of a header field.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Returns the body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// A connection over which requests can follow each other.
pub struct HttpClient {
    stream: BufReader<TcpStream>,
    /// Whether the node wants to keep the connection.
    is_kept: bool,
    address: SocketAddr,
    user_agent: &'static str,
}

impl HttpClient {
    /// Connects.
    ///
    /// # Errors
    /// When the node does not accept.
    pub fn connect(address: SocketAddr) -> Result<Self> {
        Self::connect_as(address, "minipirack-tests")
    }

    /// Connects as a client of another name.
    ///
    /// # Errors
    /// When the node does not accept.
    pub fn connect_as(address: SocketAddr, user_agent: &'static str) -> Result<Self> {
        let stream =
            TcpStream::connect_timeout(&address, PATIENCE).with_context(|| format!("connecting to {address}"))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self { stream: BufReader::with_capacity(1 << 16, stream), is_kept: true, address, user_agent })
    }

    /// Sends GET and returns the whole answer; connects anew if the node closed after the last one.
    ///
    /// # Errors
    /// When the node does not answer with HTTP.
    pub fn get(&mut self, path: &str) -> Result<Response> {
        if !self.is_kept {
            *self = Self::connect_as(self.address, self.user_agent)?;
        }
        let (address, user_agent) = (self.address, self.user_agent);
        let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nUser-Agent: {user_agent}\r\n\r\n");
        self.stream.get_mut().write_all(request.as_bytes()).context("sending a request")?;
        let line = self.line()?;
        let status = line.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5)).and_then(|code| code.parse().ok());
        let Some(status) = status else { bail!("not a status line: {line:?}") };
        let mut response = Response { status, headers: Vec::new(), body: Vec::new() };
        loop {
            let line = self.line()?;
            if line.is_empty() {
                break;
            }
            let Some((name, value)) = line.split_once(':') else { bail!("not a header field: {line:?}") };
            response.headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        self.is_kept = !response.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
        if response.header("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked")) {
            self.chunks(&mut response.body)?;
        } else if let Some(len) = response.header("content-length") {
            response.body = vec![0; len.parse().with_context(|| format!("content-length {len:?}"))?];
            self.stream.read_exact(&mut response.body).context("reading the body")?;
        } else {
            self.is_kept = false;
            self.stream.read_to_end(&mut response.body).context("reading the body")?;
        }
        Ok(response)
    }

    fn chunks(&mut self, body: &mut Vec<u8>) -> Result<()> {
        loop {
            let line = self.line()?;
            let digits = line.split(';').next().unwrap_or_default().trim();
            let len = usize::from_str_radix(digits, 16).with_context(|| format!("chunk of {line:?} bytes"))?;
            let start = body.len();
            body.resize(start + len, 0);
            self.stream.read_exact(&mut body[start..]).context("reading a chunk")?;
            if !self.line()?.is_empty() {
                bail!("a chunk of {len} bytes does not end where it said");
            }
            if len == 0 {
                return Ok(());
            }
        }
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        if self.stream.read_line(&mut line).context("reading a line")? == 0 {
            bail!("the node closed the connection in the middle of an answer");
        }
        Ok(line.trim_end_matches(['\r', '\n']).to_owned())
    }
}

/// Fetches one page over a connection of its own.
///
/// # Errors
/// Like [`HttpClient::get`].
pub fn get(address: SocketAddr, path: &str) -> Result<Response> {
    HttpClient::connect(address)?.get(path)
}
