//! The HTTP server, as clients of good and bad manners see it.

use std::cell::Cell;
use std::rc::Rc;

use embassy_time::{Duration, Instant, Timer, with_timeout};
use embedded_io_async::{Read, Write};
use net::http::{Found, HTTP_PORT, Pages, Parts, Wanted, serve};
use net::{Event, TcpSocket};

use crate::lab::{self, Lab, Node, fixed, settings, wait_until};

const SECOND: Duration = Duration::from_secs(1);

/// Clients that get the page without an end at once.
const LISTENERS: usize = 2;

struct Site {
    listeners: Rc<Cell<usize>>,
}

impl Site {
    fn new() -> Self {
        Self { listeners: Rc::default() }
    }
}

impl Pages for Site {
    type Parts = Ticks;

    fn find(&self, wanted: &Wanted<'_>, out: &mut String) -> Found<Ticks> {
        match wanted.path {
            "/" => {
                out.push_str("home");
                Found::Whole("text/html")
            }
            "/document" => {
                out.push_str("<p>");
                Found::Document("text/html", "Content-Security-Policy: default-src 'none'\r\n")
            }
            "/agent" => {
                out.push_str(wanted.user_agent.unwrap_or("nobody"));
                Found::Whole("text/plain")
            }
            "/big" => {
                out.extend((0..100_000).map(|i| char::from(b'a' + (i % 26) as u8)));
                Found::Whole("text/plain")
            }
            "/ticks" if self.listeners.get() == LISTENERS => Found::Busy(7),
            "/ticks" => {
                let len = wanted.parameter("len").map_or(10, |len| len.parse().unwrap());
                let from = wanted.last_event_id.map_or(0, |id| id.parse().unwrap());
                let left = wanted.parameter("count").map_or(usize::MAX, |count| count.parse().unwrap());
                self.listeners.set(self.listeners.get() + 1);
                Found::Parts(
                    "text/event-stream",
                    Ticks { next: from, left, len, listeners: Rc::clone(&self.listeners) },
                )
            }
            _ => Found::Nothing,
        }
    }
}

/// A number every second, filled up to `len` bytes.
struct Ticks {
    next: usize,
    left: usize,
    len: usize,
    listeners: Rc<Cell<usize>>,
}

impl Parts for Ticks {
    async fn next(&mut self, out: &mut String) {
        if self.left > 0 {
            self.left -= 1;
            Timer::after(SECOND).await;
            out.push_str(&format!("{:<len$}", self.next, len = self.len));
            self.next += 1;
        }
    }
}

impl Drop for Ticks {
    fn drop(&mut self) {
        self.listeners.set(self.listeners.get() - 1);
    }
}

async fn pair(lab: &Lab, workers: usize) -> (Node, Node) {
    let server = lab.node(1, settings(fixed(1)));
    let client = lab.node(2, settings(fixed(2)));
    let site: &'static Site = Box::leak(Box::new(Site::new()));
    for _ in 0..workers {
        lab.tasks.spawn(serve(server.stack, HTTP_PORT, site));
    }
    wait_until(SECOND * 5, "addresses", || {
        server.stack.ipv4_address().is_some() && client.stack.ipv4_address().is_some()
    })
    .await;
    (server, client)
}

async fn connect(server: &Node, client: &Node) -> TcpSocket {
    let mut socket = TcpSocket::new(client.stack, 16 * 1024, 16 * 1024);
    socket.connect((server.stack.ipv4_address().unwrap(), HTTP_PORT).into()).await.unwrap();
    socket
}

/// Reads until the server closes the connection.
async fn read_all(socket: &mut TcpSocket) -> String {
    let mut all = vec![];
    let mut buffer = [0; 2048];
    loop {
        match with_timeout(SECOND * 60, socket.read(&mut buffer)).await.expect("an end") {
            Ok(0) => return String::from_utf8(all).unwrap(),
            Ok(len) => all.extend_from_slice(&buffer[..len]),
            Err(error) => panic!("{error} after {:?}", String::from_utf8_lossy(&all)),
        }
    }
}

async fn exchange(server: &Node, client: &Node, request: &str) -> String {
    let mut socket = connect(server, client).await;
    socket.write_all(request.as_bytes()).await.unwrap();
    let answer = read_all(&mut socket).await;
    socket.close().await;
    answer
}

#[test]
fn pages_are_served() {
    lab::run(|lab| async move {
        let (server, client) = pair(&lab, 2).await;
        let answer = exchange(&server, &client, "GET / HTTP/1.0\r\n\r\n").await;
        assert_eq!(
            answer,
            "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 4\r\nCache-Control: no-store\r\n\
             X-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\nhome"
        );
        let head = exchange(&server, &client, "HEAD / HTTP/1.0\r\n\r\n").await;
        assert_eq!(head, answer.strip_suffix("home").unwrap());
        let document = exchange(&server, &client, "GET /document HTTP/1.0\r\n\r\n").await;
        let (headers, body) = document.split_once("\r\n\r\n").unwrap();
        assert!(headers.ends_with("\r\nConnection: close\r\nContent-Security-Policy: default-src 'none'"), "{headers}");
        assert!(headers.contains("\r\nContent-Length: 3\r\n") && body == "<p>", "{document}");
        let agent = exchange(&server, &client, "GET /agent HTTP/1.0\r\nUser-Agent:  curl/8 \r\n\r\n").await;
        assert!(agent.ends_with("\r\n\r\ncurl/8"), "{agent}");
        let missing = exchange(&server, &client, "GET /nothing HTTP/1.0\r\n\r\n").await;
        assert!(missing.starts_with("HTTP/1.1 404 Not Found\r\n") && missing.contains("/nothing"), "{missing}");
        let post = exchange(&server, &client, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx").await;
        assert!(post.starts_with("HTTP/1.1 405 Method Not Allowed\r\nAllow: GET, HEAD\r\n"), "{post}");
        let big = exchange(&server, &client, "GET /big HTTP/1.0\r\n\r\n").await;
        let body = big.split_once("\r\n\r\n").unwrap().1;
        assert_eq!(body.len(), 100_000);
        assert!(body.bytes().enumerate().all(|(i, c)| c == b'a' + (i % 26) as u8));
        assert_eq!(server.stack.counters().get(Event::HttpRequest), 7);
        assert_eq!(server.stack.counters().get(Event::HttpMalformed), 0);
    });
}

#[test]
fn requests_that_come_together_are_answered_in_order() {
    lab::run(|lab| async move {
        let (server, client) = pair(&lab, 1).await;
        let mut requests = "GET / HTTP/1.1\r\nHost: a\r\n\r\n".repeat(50);
        requests.push_str("GET /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        let mut socket = connect(&server, &client).await;
        // In pieces that end anywhere.
        for piece in requests.as_bytes().chunks(97) {
            socket.write_all(piece).await.unwrap();
            Timer::after_millis(1).await;
        }
        let answers = read_all(&mut socket).await;
        assert_eq!(answers.matches("\r\n\r\nhome").count(), 50);
        assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 50);
        assert!(answers.rfind("404").unwrap() > answers.rfind("home").unwrap());
    });
}

#[test]
fn nonsense_is_refused_and_counted() {
    lab::run(|lab| async move {
        let (server, client) = pair(&lab, 2).await;
        for (number, bad) in ["\0\0\0\0\n", "GET /\r\n\r\n", "GET / HTTP/1.1\r\n\r\n"].iter().enumerate() {
            let answer = exchange(&server, &client, bad).await;
            assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{answer}");
            assert_eq!(server.stack.counters().get(Event::HttpMalformed), number as u64 + 1);
        }
        let long = format!("GET / HTTP/1.1\r\nHost: {}", "a".repeat(4096));
        let answer = exchange(&server, &client, &long[..4096]).await;
        assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
        assert!(exchange(&server, &client, "GET / HTTP/1.0\r\n\r\n").await.ends_with("home"));
    });
}

#[test]
fn slow_and_idle_clients_do_not_hold_the_server() {
    lab::run(|lab| async move {
        let (server, client) = pair(&lab, 1).await;
        // Half a request.
        let mut slow = connect(&server, &client).await;
        slow.write_all(b"GET / HT").await.unwrap();
        let start = Instant::now();
        assert_eq!(read_all(&mut slow).await, "");
        assert!((4..=6).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
        slow.close().await;
        assert_eq!(server.stack.counters().get(Event::HttpTimeout), 1);
        // Nothing at all.
        let mut idle = connect(&server, &client).await;
        let start = Instant::now();
        assert_eq!(read_all(&mut idle).await, "");
        assert!((14..=16).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
        idle.close().await;
        // A client that asks and never reads.
        let mut greedy = TcpSocket::new(client.stack, 64, 1024);
        greedy.connect((server.stack.ipv4_address().unwrap(), HTTP_PORT).into()).await.unwrap();
        greedy.write_all(b"GET /big HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        Timer::after(SECOND * 25).await;
        assert_eq!(server.stack.status().tcp_connections, 0);
        assert!(exchange(&server, &client, "GET / HTTP/1.0\r\n\r\n").await.ends_with("home"));
    });
}

#[test]
fn a_request_that_comes_in_drops_does_not_hold_the_server() {
    lab::run(|lab| async move {
        let (server, client) = pair(&lab, 1).await;
        let mut socket = connect(&server, &client).await;
        // The second request's time starts when its first byte is seen, together with the first request.
        for (number, before) in ["", "GET / HTTP/1.1\r\nHost: a\r\n\r\nG"].into_iter().enumerate() {
            if number > 0 {
                socket.connect((server.stack.ipv4_address().unwrap(), HTTP_PORT).into()).await.unwrap();
            }
            Timer::after(SECOND * 10).await;
            let start = Instant::now();
            socket.write_all(before.as_bytes()).await.unwrap();
            // One byte every two seconds, while anybody listens.
            let drip = async {
                for byte in b"GET / HTTP/1.1\r\nHost: a\r\nX: ".iter().skip(usize::from(!before.is_empty())) {
                    if socket.write_all(&[*byte]).await.is_err() || server.stack.status().tcp_connections == 0 {
                        return;
                    }
                    Timer::after(SECOND * 2).await;
                }
            };
            drip.await;
            assert!((5..=14).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
            assert_eq!(server.stack.counters().get(Event::HttpTimeout), number as u64 + 1);
            socket.abort();
        }
        assert!(exchange(&server, &client, "GET / HTTP/1.0\r\n\r\n").await.ends_with("home"));
        assert_eq!(server.stack.counters().get(Event::HttpRequest), 2);
    });
}

#[test]
fn a_peer_that_vanishes_is_forgotten() {
    lab::run(|lab| async move {
        let (server, client) = pair(&lab, 1).await;
        let mut socket = connect(&server, &client).await;
        socket.write_all(b"GET /big HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        client.plug(false);
        wait_until(SECOND * 60, "the connection is given up", || server.stack.status().tcp_connections == 0).await;
        server.assert_no_leak();
    });
}

#[test]
fn a_page_in_parts_comes_in_chunks_and_keeps_the_connection() {
    lab::run(|lab| async move {
        let (server, client) = pair(&lab, 1).await;
        let answer = exchange(
            &server,
            &client,
            "GET /ticks?count=2 HTTP/1.1\r\nHost: a\r\nLast-Event-ID: 8\r\n\r\n\
             GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        )
        .await;
        assert!(
            answer.starts_with(
                "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\
                 Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n\r\n\
                 a\r\n8         \r\na\r\n9         \r\n0\r\n\r\nHTTP/1.1 200 OK"
            ),
            "{answer}"
        );
        // A client that does not know chunks sees the end by the connection's.
        let answer = exchange(&server, &client, "GET /ticks?count=2&len=1 HTTP/1.0\r\n\r\n").await;
        assert!(answer.ends_with("Connection: close\r\n\r\n01") && !answer.contains("chunked"), "{answer}");
        let head = exchange(&server, &client, "HEAD /ticks HTTP/1.0\r\n\r\n").await;
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && head.ends_with("\r\n\r\n"), "{head}");
        server.assert_no_leak();
    });
}

#[test]
fn endless_pages_leave_servers_for_others() {
    lab::run(|lab| async move {
        let (server, client) = pair(&lab, LISTENERS + 1).await;
        let mut listeners = vec![];
        for _ in 0..LISTENERS {
            let mut socket = connect(&server, &client).await;
            socket.write_all(b"GET /ticks HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
            listeners.push(socket);
        }
        Timer::after(SECOND * 3).await;
        let refused = exchange(&server, &client, "GET /ticks HTTP/1.0\r\n\r\n").await;
        assert!(refused.starts_with("HTTP/1.1 503 Service Unavailable\r\n"), "{refused}");
        assert!(refused.contains("\r\nRetry-After: 7\r\n"), "{refused}");
        assert!(exchange(&server, &client, "GET / HTTP/1.0\r\n\r\n").await.ends_with("home"));
        // One that leaves makes room for another.
        listeners.pop().unwrap().abort();
        Timer::after(SECOND * 2).await;
        let answer = exchange(&server, &client, "GET /ticks?count=1 HTTP/1.0\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    });
}

#[test]
fn a_listener_that_does_not_read_is_dropped_and_holds_up_nobody() {
    lab::run(|lab| async move {
        let (server, client) = pair(&lab, 3).await;
        let mut slow = TcpSocket::new(client.stack, 64, 1024);
        slow.connect((server.stack.ipv4_address().unwrap(), HTTP_PORT).into()).await.unwrap();
        slow.write_all(b"GET /ticks?len=20000 HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        let mut quick = connect(&server, &client).await;
        quick.write_all(b"GET /ticks?count=40 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.unwrap();
        let start = Instant::now();
        let all = read_all(&mut quick).await;
        // Not held up: forty numbers in forty seconds.
        assert!(all.contains("\r\n39 ") && start.elapsed() < SECOND * 42, "{:?}", start.elapsed());
        assert_eq!(server.stack.counters().get(Event::HttpTimeout), 1);
        quick.close().await;
        assert_eq!(server.stack.status().tcp_connections, 0);
    });
}
