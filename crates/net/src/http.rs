//! A small HTTP/1.1 server for pages that are made when they are asked for: GET and HEAD, keep-alive, pipelining; pages
//! that come in parts, as chunks, among them those that never end.
//!
//! `picoserve` was weighed and left out: its router fixes the pages at compile time, while here the kernel supplies
//! them as one object; and what remains of HTTP for two methods without bodies is less code than the adapter. Requests
//! are parsed by `httparse`.

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;

use core::fmt::Write as _;

use alloc::string::String;
use embassy_time::{Duration, Instant, with_deadline, with_timeout};
use heapless::Vec;

use crate::backlog::Spare;
use crate::counters::Event;
use crate::socket::tcp::{TcpError, TcpSocket};
use crate::stack::Stack;

/// Port of the HTTP server.
pub const HTTP_PORT: u16 = 80;

/// Longest request in bytes, without a body: enough for a browser with its cookies turned away.
const REQUEST_LEN_MAX: usize = 4096;
const HEADERS_MAX: usize = 48;
const RX_LEN: usize = 4096;
/// A page of metrics fits in whole.
const TX_LEN: usize = 32 * 1024;
/// A client has this long for a whole request, from its first byte on: sending it in drops earns no more time.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// A connection may be idle between two requests for this long.
const IDLE_TIMEOUT: Duration = Duration::from_secs(15);
/// A client has this long to take an answer, or a part of one.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);

/// What a client asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted<'r> {
    /// The path, without the query.
    pub path: &'r str,
    /// What is behind the question mark; empty if there is none.
    pub query: &'r str,
    /// What the client calls itself.
    pub user_agent: Option<&'r str>,
    /// The last event that it saw of a stream that it wants to go on with.
    pub last_event_id: Option<&'r str>,
}

impl<'r> Wanted<'r> {
    /// Returns the value of a key of the query, as it stands there.
    #[must_use]
    pub fn parameter(&self, key: &str) -> Option<&'r str> {
        self.query
            .split('&')
            .find_map(|pair| pair.split_once('=').filter(|(name, _)| *name == key).map(|(_, value)| value))
    }
}

/// What there is at a path.
pub enum Found<P> {
    /// A page, which was written as a whole. With its content type.
    Whole(&'static str),
    /// A page for browsers, which was written as a whole. With its content type and header lines of its own.
    Document(&'static str, &'static str),
    /// A page that comes in parts, as long as there are some. With its content type.
    Parts(&'static str, P),
    /// Nothing now: too many clients have it. With the seconds after which to try again.
    Busy(u32),
    /// Nothing, because of this setting of the node, like `metrics=off`.
    Off(&'static str),
    /// Nothing.
    Nothing,
}

/// The pages that the server offers.
pub trait Pages {
    /// A page that is written in parts.
    type Parts: Parts;

    /// Returns what is `wanted`; a page that comes as a whole is written into the empty `out`.
    fn find(&self, wanted: &Wanted<'_>, out: &mut String) -> Found<Self::Parts>;
}

/// A page that is written in parts, so that it needs no more memory than the longest of them; it may never end.
pub trait Parts {
    /// Waits for the next part and writes it into the empty `out`; nothing at the end.
    fn next(&mut self, out: &mut String) -> impl Future<Output = ()>;
}

/// Serves one client after the other, for ever. Run as many of these as clients are to be served at once.
pub async fn serve(stack: &'static Stack, port: u16, pages: &impl Pages) -> ! {
    let mut socket = TcpSocket::new(stack, RX_LEN, TX_LEN);
    // Keeps its capacity while a client is there: after the first few pages, answering allocates nothing.
    let mut page = String::new();
    loop {
        if socket.accept(port).await.is_ok() {
            let ended = converse(stack, &mut socket, pages, &mut page).await;
            // All servers together would hold as many pages.
            page = String::new();
            if ended.is_ok() {
                socket.close().await;
            }
        }
    }
}

/// What becomes of the connection after an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    KeepAlive,
    Close,
}

/// Answers one client's requests until one of the two has had enough.
async fn converse(
    stack: &Stack,
    socket: &mut TcpSocket,
    pages: &impl Pages,
    page: &mut String,
) -> Result<(), TcpError> {
    let mut input: Vec<u8, REQUEST_LEN_MAX> = Vec::new();
    let mut has_answered = false;
    loop {
        // When the request must be complete; known once its first byte was seen.
        let mut deadline = None;
        // Whether, and why, others may have the socket meanwhile. Sending a request in drops makes it no safer.
        let mut spare = None;
        // Requests that came together with the last one are answered first.
        let parsed = loop {
            match parse(&input) {
                Parsed::Partial if !input.is_full() => {}
                parsed => break parsed,
            }
            let now = Instant::now();
            let end =
                if input.is_empty() { now + IDLE_TIMEOUT } else { *deadline.get_or_insert(now + REQUEST_TIMEOUT) };
            let why = if has_answered && input.is_empty() { Spare::Idle } else { Spare::Stalled };
            if spare.replace(why) != Some(why) {
                socket.set_spare(spare);
            }
            match with_deadline(end, read_more(socket, &mut input)).await {
                Ok(Ok(true)) => {}
                Ok(Ok(false)) => return Ok(()),
                Ok(Err(error)) => return Err(error),
                Err(_) => {
                    if !input.is_empty() {
                        stack.counters().count(Event::HttpTimeout);
                    }
                    return Ok(());
                }
            }
        };
        socket.went_on();
        has_answered = true;
        let then = match parsed {
            Parsed::Request(request) => {
                stack.counters().count(Event::HttpRequest);
                let then = answer(socket, pages, page, &request).await;
                let len = request.len;
                // Moves what came behind the request to the front.
                input.copy_within(len.., 0);
                input.truncate(input.len() - len);
                then
            }
            Parsed::Bad | Parsed::Partial => {
                stack.counters().count(Event::HttpMalformed);
                let status = if input.is_full() { Status::TooLarge } else { Status::BadRequest };
                send_error(socket, page, status, Then::Close).await
            }
        };
        match then {
            Ok(Then::KeepAlive) => {}
            Ok(Then::Close) => return Ok(()),
            Err(Failure::Tcp(error)) => return Err(error),
            Err(Failure::Slow) => {
                stack.counters().count(Event::HttpTimeout);
                socket.abort();
                return Err(TcpError::ConnectionReset);
            }
        }
    }
}

/// Adds what has arrived to `input`; `false` when the client will send no more.
async fn read_more(socket: &mut TcpSocket, input: &mut Vec<u8, REQUEST_LEN_MAX>) -> Result<bool, TcpError> {
    let read = socket.read_with(|bytes| {
        let len = bytes.len().min(input.capacity() - input.len());
        // There is room for that many.
        let _ = input.extend_from_slice(bytes.get(..len).unwrap_or_default());
        (len, ())
    });
    Ok(read.await?.is_some())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Method {
    Get,
    Head,
    Other,
}

#[derive(Debug, PartialEq, Eq)]
struct Request<'i> {
    method: Method,
    wanted: Wanted<'i>,
    /// Whether the client understands an answer that comes in chunks.
    takes_chunks: bool,
    then: Then,
    /// Bytes of `input` that it took.
    len: usize,
}

#[derive(Debug, PartialEq, Eq)]
enum Parsed<'i> {
    Request(Request<'i>),
    /// There is more to come.
    Partial,
    Bad,
}

fn parse(input: &[u8]) -> Parsed<'_> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    let len = match request.parse(input) {
        Ok(httparse::Status::Complete(len)) => len,
        Ok(httparse::Status::Partial) => return Parsed::Partial,
        Err(_) => return Parsed::Bad,
    };
    let (Some(method), Some(target), Some(version)) = (request.method, request.path, request.version) else {
        return Parsed::Bad;
    };
    let method = match method {
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        _ => Method::Other,
    };
    let mut then = if version == 0 { Then::Close } else { Then::KeepAlive };
    let mut has_body = false;
    let mut has_host = false;
    let mut wanted = Wanted::default();
    for header in request.headers.iter() {
        let value = header.value.trim_ascii();
        if header.name.eq_ignore_ascii_case("connection") {
            let mut tokens = value.split(|c| *c == b',').map(<[u8]>::trim_ascii);
            if tokens.clone().any(|token| token.eq_ignore_ascii_case(b"close")) {
                then = Then::Close;
            } else if tokens.any(|token| token.eq_ignore_ascii_case(b"keep-alive")) {
                then = Then::KeepAlive;
            }
        }
        if header.name.eq_ignore_ascii_case("user-agent") {
            wanted.user_agent = str::from_utf8(value).ok();
        }
        if header.name.eq_ignore_ascii_case("last-event-id") {
            wanted.last_event_id = str::from_utf8(value).ok();
        }
        has_host |= header.name.eq_ignore_ascii_case("host");
        has_body |= header.name.eq_ignore_ascii_case("transfer-encoding")
            || header.name.eq_ignore_ascii_case("content-length") && value != b"0";
    }
    // RFC 9112, section 3.2: a request of version 1.1 without a host is bad.
    if version == 1 && !has_host {
        return Parsed::Bad;
    }
    if method == Method::Other {
        // Its body, if any, would be taken for the next request.
        then = Then::Close;
    } else if has_body {
        return Parsed::Bad;
    }
    let target = target.split('#').next().unwrap_or_default();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    // The absolute form of a proxy's request (RFC 9112, section 3.2.2).
    let path = match path.strip_prefix("http://") {
        Some(rest) => rest.find('/').and_then(|at| rest.get(at..)).unwrap_or("/"),
        None => path,
    };
    (wanted.path, wanted.query) = (path, query);
    Parsed::Request(Request { method, wanted, takes_chunks: version == 1, then, len })
}

/// Status codes (RFC 9110, section 15).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Status {
    Ok,
    BadRequest,
    NotFound,
    MethodNotAllowed,
    TooLarge,
    Busy,
}

impl Status {
    fn line(self) -> &'static str {
        match self {
            Self::Ok => "200 OK",
            Self::BadRequest => "400 Bad Request",
            Self::NotFound => "404 Not Found",
            Self::MethodNotAllowed => "405 Method Not Allowed\r\nAllow: GET, HEAD",
            Self::TooLarge => "431 Request Header Fields Too Large",
            Self::Busy => "503 Service Unavailable",
        }
    }
}

const TEXT: &str = "text/plain; charset=utf-8";

async fn answer(
    socket: &mut TcpSocket,
    pages: &impl Pages,
    page: &mut String,
    request: &Request<'_>,
) -> Result<Then, Failure> {
    page.clear();
    if request.method == Method::Other {
        return send_error(socket, page, Status::MethodNotAllowed, request.then).await;
    }
    let is_head = request.method == Method::Head;
    match pages.find(&request.wanted, page) {
        Found::Whole(content_type) => {
            let body = if is_head { "" } else { page.as_str() };
            within(socket, async |socket| send(socket, Status::Ok, content_type, page.len(), body, request.then).await)
                .await
        }
        Found::Document(content_type, headers) => {
            let length = Length::Known(page.len());
            within(socket, async |socket| {
                send_head(socket, Status::Ok, content_type, length, headers, request.then).await?;
                embedded_io_async::Write::write_all(socket, if is_head { b"" } else { page.as_bytes() }).await
            })
            .await?;
            Ok(request.then)
        }
        Found::Parts(content_type, _) if is_head => {
            within(socket, async |socket| {
                send_head(socket, Status::Ok, content_type, Length::Open, "", request.then).await
            })
            .await?;
            Ok(request.then)
        }
        Found::Parts(content_type, parts) => send_parts(socket, page, content_type, parts, request).await,
        Found::Busy(retry_s) => {
            page.clear();
            // Can't fail: a string grows.
            let _ = writeln!(page, "Too many clients have this already. Try again in {retry_s} s.");
            within(socket, async |socket| {
                send_head(socket, Status::Busy, TEXT, Length::Retry(page.len(), retry_s), "", request.then).await?;
                embedded_io_async::Write::write_all(socket, if is_head { b"" } else { page.as_bytes() }).await
            })
            .await?;
            Ok(request.then)
        }
        found @ (Found::Off(_) | Found::Nothing) => {
            page.clear();
            // Can't fail: a string grows.
            let _ = match found {
                Found::Off(setting) => writeln!(page, "This node was started with {setting}."),
                _ => writeln!(page, "There is no page {}. Try /", request.wanted.path),
            };
            let body = if is_head { "" } else { page.as_str() };
            within(socket, async |socket| send(socket, Status::NotFound, TEXT, page.len(), body, request.then).await)
                .await
        }
    }
}

/// Sends a page part by part. A client may wait for a part as long as it takes to come; it must not take long to accept it.
async fn send_parts(
    socket: &mut TcpSocket,
    page: &mut String,
    content_type: &str,
    mut parts: impl Parts,
    request: &Request<'_>,
) -> Result<Then, Failure> {
    use embedded_io_async::Write;
    // A client of version 1.0 sees the end when the connection ends.
    let (then, length) =
        if request.takes_chunks { (request.then, Length::Chunks) } else { (Then::Close, Length::Open) };
    within(socket, async |socket| send_head(socket, Status::Ok, content_type, length, "", then).await).await?;
    loop {
        page.clear();
        parts.next(page).await;
        if !request.takes_chunks {
            if page.is_empty() {
                return Ok(then);
            }
            within(socket, async |socket| socket.write_all(page.as_bytes()).await).await?;
            continue;
        }
        // The last chunk is the one without bytes (RFC 9112, section 7.1).
        let mut head: heapless::String<20> = heapless::String::new();
        // Fits: 16 digits at most.
        let _ = write!(head, "{:x}\r\n", page.len());
        within(socket, async |socket| {
            socket.write_all(head.as_bytes()).await?;
            socket.write_all(page.as_bytes()).await?;
            socket.write_all(b"\r\n").await
        })
        .await?;
        if page.is_empty() {
            return Ok(then);
        }
    }
}

/// Why an answer was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Failure {
    /// The connection is gone.
    Tcp(TcpError),
    /// The client was too slow.
    Slow,
}

/// Gives a client the time to take something. If it takes long, others may have the socket.
async fn within<T>(
    socket: &mut TcpSocket,
    send: impl AsyncFnOnce(&mut TcpSocket) -> Result<T, TcpError>,
) -> Result<T, Failure> {
    socket.set_spare(Some(Spare::Slow));
    let sent = with_timeout(ANSWER_TIMEOUT, send(socket)).await;
    socket.set_spare(None);
    match sent {
        Ok(sent) => sent.map_err(Failure::Tcp),
        Err(_) => Err(Failure::Slow),
    }
}

async fn send_error(socket: &mut TcpSocket, page: &mut String, status: Status, then: Then) -> Result<Then, Failure> {
    page.clear();
    page.push_str(status.line().lines().next().unwrap_or_default());
    page.push('\n');
    within(socket, async |socket| send(socket, status, TEXT, page.len(), page, then).await).await
}

async fn send(
    socket: &mut TcpSocket,
    status: Status,
    content_type: &str,
    len: usize,
    body: &str,
    then: Then,
) -> Result<Then, TcpError> {
    send_head(socket, status, content_type, Length::Known(len), "", then).await?;
    embedded_io_async::Write::write_all(socket, body.as_bytes()).await?;
    Ok(then)
}

/// How a client knows where the body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Length {
    Known(usize),
    /// Known; and the client should come back after so many seconds.
    Retry(usize, u32),
    Chunks,
    /// It is told nothing.
    Open,
}

async fn send_head(
    socket: &mut TcpSocket,
    status: Status,
    content_type: &str,
    length: Length,
    headers: &str,
    then: Then,
) -> Result<(), TcpError> {
    use embedded_io_async::Write;
    let mut head: heapless::String<320> = heapless::String::new();
    // All of it fits: the content types are ours and short.
    let _ = write!(head, "HTTP/1.1 {}\r\nContent-Type: {content_type}\r\n", status.line());
    let _ = match length {
        Length::Known(len) => write!(head, "Content-Length: {len}\r\n"),
        Length::Retry(len, seconds) => write!(head, "Content-Length: {len}\r\nRetry-After: {seconds}\r\n"),
        Length::Chunks => write!(head, "Transfer-Encoding: chunked\r\n"),
        Length::Open => Ok(()),
    };
    let connection = if then == Then::Close { "Connection: close\r\n" } else { "" };
    // A browser must not guess another type than the one that is told.
    let _ = write!(head, "Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n{connection}");
    if headers.is_empty() {
        let _ = head.push_str("\r\n");
        return socket.write_all(head.as_bytes()).await;
    }
    for part in [&head, headers, "\r\n"] {
        socket.write_all(part.as_bytes()).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(input: &str) -> Request<'_> {
        match parse(input.as_bytes()) {
            Parsed::Request(request) => request,
            other => panic!("{other:?} from {input:?}"),
        }
    }

    #[test]
    fn requests_are_parsed() {
        let plain = request("GET /metrics HTTP/1.1\r\nHost: pi\r\n\r\nGET");
        assert_eq!(
            plain,
            Request {
                method: Method::Get,
                wanted: Wanted { path: "/metrics", ..Wanted::default() },
                takes_chunks: true,
                then: Then::KeepAlive,
                len: 35
            }
        );
        assert!(!request("HEAD / HTTP/1.0\r\n\r\n").takes_chunks);
        let stream = request("GET /e?a=1&after=2#x HTTP/1.0\r\nLast-Event-ID: 7\r\n\r\n").wanted;
        assert_eq!((stream.path, stream.last_event_id), ("/e", Some("7")));
        assert_eq!(
            (stream.parameter("after"), stream.parameter("a"), stream.parameter("x")),
            (Some("2"), Some("1"), None)
        );
        assert_eq!(request("HEAD / HTTP/1.0\r\n\r\n").method, Method::Head);
        assert_eq!(request("GET /a?b=c HTTP/1.0\r\n\r\n").wanted.path, "/a");
        assert_eq!(request("GET http://pi/a HTTP/1.0\r\n\r\n").wanted.path, "/a");
        assert_eq!(request("GET http://pi HTTP/1.0\r\n\r\n").wanted.path, "/");
        assert_eq!(request("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc").method, Method::Other);
    }

    #[test]
    fn the_connection_header_decides() {
        assert_eq!(request("GET / HTTP/1.0\r\n\r\n").then, Then::Close);
        assert_eq!(request("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n").then, Then::KeepAlive);
        assert_eq!(request("GET / HTTP/1.1\r\nHost: a\r\nConnection: x, close\r\n\r\n").then, Then::Close);
        assert_eq!(request("PUT / HTTP/1.1\r\nHost: a\r\n\r\n").then, Then::Close);
    }

    #[test]
    fn bad_requests_are_refused() {
        for bad in [
            "GET / HTTP/1.1\r\n\r\n",
            "GET / HTTP/2.0\r\n\r\n",
            "\x16\x03\x01\x02",
            "GET  / HTTP/1.0\r\n\r\n",
            "GET / HTTP/1.0\r\nContent-Length: 5\r\n\r\nabcde",
            "GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
            "GET / HTTP/1.0\r\nNo colon\r\n\r\n",
        ] {
            assert_eq!(parse(bad.as_bytes()), Parsed::Bad, "{bad:?}");
        }
        assert_eq!(parse(b""), Parsed::Partial);
        assert_eq!(parse(b"GET / HTT"), Parsed::Partial);
    }
}
