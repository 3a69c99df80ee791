//! The `http` workload over sockets without a stack, in virtual time: what its clients receive.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::net::IpAddr;

use embassy_futures::join::join_array;
use embassy_futures::select::{Either, select, select3};
use embassy_time::{Duration, Instant, Timer, with_timeout};
use embedded_io_async::{Read, Write};
use sockets::{Network, SocketError, TcpSocket, loopback};
use telemetry::WorkloadState;
use testkit::time;
use workload::{BoxFuture, Env, Manager, PingFailure, Scratch, Which, run_core};

struct Node(&'static Network);

impl Env for Node {
    fn ping(&self, _: IpAddr, _: usize, _: Duration) -> BoxFuture<'_, Result<Duration, PingFailure>> {
        Box::pin(async { Err(PingFailure::NoNetwork) })
    }

    fn network(&self) -> &'static Network {
        self.0
    }
}

/// Runs the workload that `spec` says on core 1 beside `test`.
fn serve<T>(spec: &str, test: impl AsyncFnOnce(&'static Network, &Manager) -> T) -> T {
    let network: &'static Network = Box::leak(Box::new(Network::new()));
    let (node, manager) = (Node(network), Manager::new());
    let scratch = Scratch::new(vec![]);
    manager.start(spec, None).unwrap();
    time::run(async {
        match select3(test(network, &manager), run_core(1, &manager, &node, &scratch), loopback::run(network)).await {
            embassy_futures::select::Either3::First(result) => result,
            _ => panic!("the core or the network has ended"),
        }
    })
}

async fn connect(network: &'static Network) -> TcpSocket {
    let mut socket = TcpSocket::open(network, 4096, 4096).await.unwrap();
    // The server takes a moment to listen.
    for _ in 0..100 {
        match socket.connect((loopback::ADDRESS, 8080).into()).await {
            Ok(()) => return socket,
            Err(SocketError::Refused) => Timer::after_millis(10).await,
            Err(error) => panic!("{error}"),
        }
    }
    panic!("nobody listens")
}

/// A reply as its client sees it.
#[derive(Debug)]
struct Reply {
    status: u16,
    head: String,
    body: Vec<u8>,
}

async fn receive(socket: &mut TcpSocket, has_body: bool) -> Option<Reply> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if socket.read(&mut byte).await.ok()? == 0 {
            assert!(bytes.is_empty(), "{:?} and no more", String::from_utf8_lossy(&bytes));
            return None;
        }
        bytes.extend(byte);
    }
    let head = String::from_utf8(bytes).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let len = head.split("Content-Length: ").nth(1).map_or(0, |rest| rest.split('\r').next().unwrap().parse().unwrap());
    let mut body = vec![0; if has_body { len } else { 0 }];
    let mut done = 0;
    while done < body.len() {
        match socket.read(&mut body[done..]).await.ok()? {
            0 => panic!("{done} of {len} bytes of the body"),
            read => done += read,
        }
    }
    Some(Reply { status, head, body })
}

async fn ask(socket: &mut TcpSocket, request: &str) -> Option<Reply> {
    socket.write_all(request.as_bytes()).await.ok()?;
    receive(socket, !request.starts_with("HEAD")).await
}

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

/// Returns one of the workload's figures.
fn figure(manager: &Manager, name: &str) -> u64 {
    let views = manager.statuses();
    let (_, value) = views[0].figures().find(|(metric, _)| metric.name == format!("minipirack_http_{name}")).unwrap();
    value.to_string().parse().unwrap()
}

#[test]
fn requests_are_answered_one_after_the_other_on_a_connection() {
    serve("http size=1000", async |network, manager| {
        let mut socket = connect(network).await;
        for _ in 0..10 {
            let reply = ask(&mut socket, GET).await.unwrap();
            assert_eq!((reply.status, reply.body.len()), (200, 1000));
            assert!(!reply.head.contains("Connection"), "{}", reply.head);
        }
        let head = ask(&mut socket, "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        assert!(head.head.contains("Content-Length: 1000"));
        let post = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10000\r\n\r\n{}", "x".repeat(10_000));
        assert_eq!(ask(&mut socket, &post).await.unwrap().status, 200);
        let kept = ask(&mut socket, "GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n").await.unwrap();
        assert!(kept.head.contains("Connection: keep-alive\r\n"), "{}", kept.head);
        let last = ask(&mut socket, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.unwrap();
        assert!(last.head.contains("Connection: close\r\n"), "{}", last.head);
        assert!(receive(&mut socket, true).await.is_none(), "the server hangs up");
        let old = ask(&mut connect(network).await, "GET / HTTP/1.0\r\n\r\n").await.unwrap();
        assert!(old.status == 200 && old.head.contains("Connection: close"), "{}", old.head);
        assert_eq!((manager.counts()[0].operations, manager.counts()[0].errors), (15, 0));
        assert_eq!((figure(manager, "connections_total"), figure(manager, "lost_total")), (2, 0));
    });
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    serve("http size=10 clients=2", async |network, _| {
        let mut socket = connect(network).await;
        let requests = [
            GET,
            "HEAD /x HTTP/1.1\r\nHost: a\r\n\r\n",
            GET,
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
            GET,
        ];
        socket.write_all(requests.concat().as_bytes()).await.unwrap();
        for request in requests {
            let reply = receive(&mut socket, !request.starts_with("HEAD")).await.unwrap();
            assert_eq!((reply.status, reply.body.is_empty()), (200, request.starts_with("HEAD")));
        }
        // A hundred at once, more than fit into any buffer.
        let many = GET.repeat(100);
        let (reader, writer) = (&mut 0, many.as_bytes());
        let mut sent = 0;
        while *reader < 100 {
            if sent < writer.len() {
                sent += socket.write(&writer[sent..]).await.unwrap();
            }
            let reply = receive(&mut socket, true).await.unwrap();
            assert_eq!(reply.body.len(), 10);
            *reader += 1;
        }
    });
}

#[test]
fn times_failures_and_work_are_as_asked_and_change_at_once() {
    serve("http delay=uniform:10ms-30ms errors=20%", async |network, manager| {
        let mut socket = connect(network).await;
        let (mut failed, mut times) = (0, Vec::new());
        for _ in 0..500 {
            let began = Instant::now();
            let reply = ask(&mut socket, GET).await.unwrap();
            times.push(began.elapsed().as_millis());
            failed += usize::from(reply.status == 500);
            assert!(reply.status == 200 || reply.status == 500);
        }
        assert!((60..=140).contains(&failed), "{failed} of 500 failed");
        assert_eq!(figure(manager, "failed_total"), failed as u64);
        assert!(times.iter().all(|ms| (10..=30).contains(ms)), "{times:?}");
        let mean = times.iter().sum::<u64>() / 500;
        assert!((18..=21).contains(&mean), "{mean} ms");
        let p50 = manager.statuses()[0].durations.summary().unwrap().p50_us;
        assert!((15_000..=25_000).contains(&p50), "{p50}");
        manager.set("http", "delay=100ms errors=0% work=3 size=5").unwrap();
        Timer::after_millis(1).await;
        let began = Instant::now();
        let reply = ask(&mut socket, GET).await.unwrap();
        assert_eq!((reply.status, reply.body.len(), began.elapsed().as_millis()), (200, 5, 100));
        assert_eq!(figure(manager, "wrong_total"), 0);
        assert_eq!(manager.counts()[0].runs, 1);
    });
}

#[test]
fn a_full_queue_is_refused_and_those_in_it_are_served() {
    serve("http delay=100ms concurrency=2 queue=3", async |network, manager| {
        let clients = [(); 8].map(|()| async {
            let mut socket = connect(network).await;
            Timer::at(Instant::from_ticks(0).max(Instant::now()) + Duration::from_millis(50)).await;
            let began = Instant::now();
            (ask(&mut socket, GET).await.unwrap().status, began.elapsed().as_millis())
        });
        let answers = select(join_array(clients), async {
            Timer::after_millis(100).await;
            assert_eq!((figure(manager, "in_service"), figure(manager, "queued")), (2, 3));
            core::future::pending::<()>().await;
        });
        let Either::First(mut answers) = answers.await else { panic!() };
        answers.sort_unstable();
        let (served, refused) = answers.split_at(5);
        let times: Vec<_> = served.iter().map(|(status, ms)| (*status, ms / 100)).collect();
        assert_eq!(times, [(200, 1), (200, 1), (200, 2), (200, 2), (200, 3)]);
        assert!(refused.iter().all(|(status, ms)| *status == 503 && *ms < 10), "{refused:?}");
        assert_eq!((figure(manager, "rejected_total"), figure(manager, "in_service")), (3, 0));
        let views = manager.statuses();
        let (_, wait) = views[0].histograms().next().unwrap();
        assert_eq!((wait.count(), wait.summary().unwrap().max_us / 100_000), (5, 2));
    });
}

#[test]
fn clients_that_do_not_get_on_are_told_and_make_room() {
    serve("http clients=4", async |network, manager| {
        // A byte a second: it has five for its head.
        let mut slow = connect(network).await;
        let began = Instant::now();
        let drip = async {
            for byte in GET.bytes().cycle() {
                if slow.write_all(&[byte]).await.is_err() || slow.is_closed() {
                    break;
                }
                Timer::after_secs(1).await;
            }
        };
        let _ = with_timeout(Duration::from_millis(5_500), drip).await;
        assert_eq!(receive(&mut slow, true).await.unwrap().status, 408);
        assert!(began.elapsed() < Duration::from_secs(6));
        // A head without end, and one that is none.
        let endless = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}", "x".repeat(5_000));
        assert_eq!(ask(&mut connect(network).await, &endless).await.unwrap().status, 431);
        assert_eq!(ask(&mut connect(network).await, "\0\0\0\r\n\r\n").await.unwrap().status, 400);
        let chunked = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert_eq!(ask(&mut connect(network).await, chunked).await.unwrap().status, 501);
        Timer::after_secs(5).await;
        assert_eq!((figure(manager, "late_total"), figure(manager, "refused_total")), (1, 3));
        // All seats taken by clients who say nothing, or too little, or nothing more: each time another is served within half a
        // second.
        let mut idle = Vec::new();
        for (number, say) in ["", "G", "", "GET / HTTP/1.1\r\n"].into_iter().enumerate() {
            let mut socket = connect(network).await;
            socket.write_all(say.as_bytes()).await.unwrap();
            idle.push(socket);
            assert_eq!(idle.len(), number + 1);
        }
        for _ in 0..20 {
            let began = Instant::now();
            let mut socket = connect(network).await;
            assert_eq!(ask(&mut socket, GET).await.unwrap().status, 200);
            assert!(began.elapsed() < Duration::from_millis(500), "{} ms", began.elapsed().as_millis());
            idle.push(socket);
        }
        assert!(figure(manager, "unseated_total") >= 16);
        // Those who stay silent are let go.
        Timer::after_secs(20).await;
        assert_eq!(figure(manager, "connections"), 0);
    });
}

#[test]
fn a_client_that_does_not_read_is_given_up() {
    serve("http size=1M clients=2", async |network, manager| {
        let mut socket = connect(network).await;
        socket.write_all(GET.as_bytes()).await.unwrap();
        // Ten seconds in which it takes nothing, however large the page is.
        Timer::after_secs(9).await;
        assert_eq!(figure(manager, "late_total"), 0);
        Timer::after_secs(5).await;
        assert_eq!((figure(manager, "late_total"), figure(manager, "connections")), (1, 0));
    });
}

#[test]
fn it_runs_as_long_as_nobody_asks_and_stops_in_time() {
    serve("http", async |network, manager| {
        for _ in 0..60 {
            Timer::after_secs(1).await;
            assert!(manager.check().is_empty());
        }
        let mut socket = connect(network).await;
        assert_eq!(ask(&mut socket, GET).await.unwrap().status, 200);
        manager.stop(Which::Id("http")).unwrap();
        Timer::after_millis(20).await;
        assert_eq!(manager.statuses()[0].status.state, WorkloadState::Stopped);
        assert!(ask(&mut socket, GET).await.is_none(), "connections end with it");
        assert_eq!(manager.counts()[0].operations, 1, "the figures stay");
        // Its sockets were given back.
        Timer::after_secs(20).await;
        assert_eq!(network.counts().open, 1);
    });
}
