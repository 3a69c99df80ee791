//! The head of a request, as far as a server that gives the same answer to everything must understand it.

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;

use httparse::{EMPTY_HEADER, Error, Status as Progress};

use super::reply::Status;

/// Headers of a request.
const HEADERS_MAX: usize = 32;
/// Longest body of a request: it is read and thrown away.
pub(crate) const BODY_LEN_MAX: u64 = 16 << 20;

/// What matters of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    /// Whether the reply is to have no body.
    pub(crate) is_head: bool,
    /// Whether the client speaks HTTP/1.0.
    pub(crate) is_1_0: bool,
    /// Whether another request may follow on the same connection.
    pub(crate) keeps_alive: bool,
    /// Whether the client waits for word before it sends the body.
    pub(crate) expects_word: bool,
    /// Bytes that follow the head.
    pub(crate) body_len: u64,
}

/// What bytes from a client are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Parsed {
    /// The beginning of a head.
    Partial,
    /// A head of so many bytes.
    Request(Request, usize),
    /// Nothing that can be served: the connection ends with this reply.
    Bad(Status),
}

/// Reads the head of a request (RFC 9112) from the beginning of `bytes`.
pub(crate) fn parse(bytes: &[u8]) -> Parsed {
    let mut headers = [EMPTY_HEADER; HEADERS_MAX];
    let mut head = httparse::Request::new(&mut headers);
    let len = match head.parse(bytes) {
        Ok(Progress::Complete(len)) => len,
        Ok(Progress::Partial) => return Parsed::Partial,
        Err(Error::TooManyHeaders) => return Parsed::Bad(Status::HeadTooLarge),
        Err(_) => return Parsed::Bad(Status::BadRequest),
    };
    let is_1_0 = head.version == Some(0);
    let mut request = Request {
        is_head: head.method == Some("HEAD"),
        is_1_0,
        keeps_alive: !is_1_0,
        expects_word: false,
        body_len: 0,
    };
    let (mut has_host, mut has_len) = (false, false);
    for header in head.headers.iter() {
        let is = |name: &str| header.name.eq_ignore_ascii_case(name);
        if is("host") {
            has_host = true;
        } else if is("connection") {
            for option in header.value.split(|b| *b == b',').map(<[u8]>::trim_ascii) {
                if option.eq_ignore_ascii_case(b"close") {
                    request.keeps_alive = false;
                } else if option.eq_ignore_ascii_case(b"keep-alive") && is_1_0 {
                    request.keeps_alive = true;
                }
            }
        } else if is("content-length") {
            // Two that differ are how requests are smuggled past a proxy (RFC 9112, section 6.3).
            match number(header.value) {
                Some(len) if !has_len || len == request.body_len => request.body_len = len,
                _ => return Parsed::Bad(Status::BadRequest),
            }
            has_len = true;
        } else if is("transfer-encoding") {
            return Parsed::Bad(Status::NoChunks);
        } else if is("expect") {
            request.expects_word = header.value.eq_ignore_ascii_case(b"100-continue");
        }
    }
    if !has_host && !is_1_0 {
        return Parsed::Bad(Status::BadRequest);
    }
    if request.body_len > BODY_LEN_MAX {
        return Parsed::Bad(Status::BodyTooLarge);
    }
    Parsed::Request(request, len)
}

fn number(digits: &[u8]) -> Option<u64> {
    // `parse` would take a sign.
    let is_number = digits.iter().all(u8::is_ascii_digit);
    core::str::from_utf8(digits).ok()?.parse().ok().filter(|_| is_number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(text: &str) -> Request {
        match parse(text.as_bytes()) {
            Parsed::Request(request, len) if len == text.len() => request,
            other => panic!("{other:?} for {text:?}"),
        }
    }

    #[test]
    fn what_real_clients_send_is_understood() {
        // wrk 4.1.0
        let wrk = request("GET / HTTP/1.1\r\nHost: 10.77.0.2:8080\r\n\r\n");
        assert!(wrk.keeps_alive && !wrk.is_1_0 && !wrk.is_head && wrk.body_len == 0);
        // ab 2.3, without and with -k
        let ab = "Host: 10.77.0.2:8080\r\nUser-Agent: ApacheBench/2.3\r\nAccept: */*\r\n\r\n";
        assert!(!request(&format!("GET / HTTP/1.0\r\n{ab}")).keeps_alive);
        let kept = request(&format!("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n{ab}"));
        assert!(kept.keeps_alive && kept.is_1_0);
        // curl 7.88.1 -I, and --data with a large file
        assert!(request("HEAD /x HTTP/1.1\r\nHost: a\r\nUser-Agent: curl/7.88.1\r\nAccept: */*\r\n\r\n").is_head);
        let post = request("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2000000\r\nExpect: 100-continue\r\n\r\n");
        assert!(post.expects_word && post.body_len == 2_000_000);
        assert!(!request("GET / HTTP/1.1\r\nHost: a\r\nConnection: TE, close\r\n\r\n").keeps_alive);
        assert_eq!(request("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\ncontent-length: 5\r\n\r\n").body_len, 5);
    }

    #[test]
    fn what_can_not_be_served_is_told_why() {
        for (head, status) in [
            ("GET\r\n\r\n", Status::BadRequest),
            ("GET / HTTP/2.0\r\n\r\n", Status::BadRequest),
            ("GET / HTTP/1.1\r\n\r\n", Status::BadRequest),
            ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", Status::BadRequest),
            ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n", Status::BadRequest),
            ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", Status::BadRequest),
            ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n", Status::BadRequest),
            ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 16777217\r\n\r\n", Status::BodyTooLarge),
            ("GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", Status::NoChunks),
            ("\x16\x03\x01\x02\x00\x01\x00\x01\u{fc}\x03\x03", Status::BadRequest),
        ] {
            assert_eq!(parse(head.as_bytes()), Parsed::Bad(status), "{head:?}");
        }
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(33));
        assert_eq!(parse(many.as_bytes()), Parsed::Bad(Status::HeadTooLarge));
    }

    #[test]
    fn every_beginning_of_a_head_waits_for_more() {
        let whole = b"GET /index.html HTTP/1.1\r\nHost: a\r\nAccept: */*\r\n\r\nGET";
        for len in 0..whole.len() - 3 {
            assert_eq!(parse(&whole[..len]), Parsed::Partial, "{len}");
        }
        assert!(matches!(parse(whole), Parsed::Request(_, len) if len == whole.len() - 3));
    }

    #[test]
    fn no_bytes_make_it_panic() {
        let mut random = crate::Random::new(3);
        let pieces: [&[u8]; 12] = [
            b"GET",
            b" / ",
            b"HTTP/1.1",
            b"\r\n",
            b"\r\n",
            b"Host:",
            b"a",
            b"Content-Length: ",
            b"7",
            b"\0\xff",
            b"Connection: close",
            b": ",
        ];
        for _ in 0..50_000 {
            let bytes: Vec<u8> =
                (0..random.below(16)).flat_map(|_| pieces[random.below(12) as usize].iter().copied()).collect();
            if let Parsed::Request(request, len) = parse(&bytes) {
                assert!(len <= bytes.len() && request.body_len <= BODY_LEN_MAX);
            }
        }
    }
}
