//! The iperf3 workload as a server and as a client, against each other, in virtual time. Against the real program it is
//! tested in the image.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on should panic")]

use std::net::IpAddr;

use embassy_futures::select::{Either, Either4, select, select4};
use embassy_time::{Duration, Instant, Timer};
use embedded_io_async::{Read, Write};
use sockets::{Network, TcpSocket, UdpSocket, loopback};
use telemetry::sample::WorkloadCounts;
use telemetry::{WorkloadState, WorkloadStatus};
use testkit::time;
use workload::{BoxFuture, Env, Manager, PingFailure, Scratch, run_core};

struct Node(&'static Network);

impl Env for Node {
    fn ping(&self, _: IpAddr, _: usize, _: Duration) -> BoxFuture<'_, Result<Duration, PingFailure>> {
        Box::pin(async { Err(PingFailure::NoNetwork) })
    }

    fn network(&self) -> &'static Network {
        self.0
    }

    /// Reading the clock takes time, so that work does.
    fn now(&self) -> Instant {
        time::spend(Duration::from_micros(10));
        Instant::now()
    }
}

/// Runs `test` beside a network with two nodes: on one there is a server.
fn run<T>(server: &Manager, client: &Manager, test: impl AsyncFnOnce(&'static Network) -> T) -> T {
    let network: &'static Network = Box::leak(Box::new(Network::new()));
    let node = Node(network);
    let scratch = [(); 2].map(|()| Scratch::new(vec![vec![0; 1024].leak()]));
    time::run(async {
        let cores = (run_core(1, server, &node, &scratch[0]), run_core(1, client, &node, &scratch[1]));
        server.start("iperf3", None).unwrap();
        match select4(test(network), cores.0, cores.1, loopback::run(network)).await {
            Either4::First(result) => result,
            Either4::Second(never) | Either4::Third(never) | Either4::Fourth(never) => never,
        }
    })
}

fn status(manager: &Manager) -> WorkloadStatus {
    manager.statuses().into_iter().map(|view| view.status).max_by_key(|status| status.started_us).unwrap()
}

fn counts(manager: &Manager) -> WorkloadCounts {
    manager.counts()[status(manager).slot]
}

/// Does a test; returns what the client and what the server has moved by it.
async fn test(server: &Manager, client: &Manager, spec: &str) -> (u64, u64) {
    Timer::after_millis(20).await;
    let before = counts(server).bytes;
    client.start(&format!("iperf3:client=127.0.0.1,cores=1,{spec}"), None).unwrap();
    for _ in 0..100 {
        Timer::after_millis(500).await;
        let status = status(client);
        match status.state {
            WorkloadState::Finished => break,
            WorkloadState::Failed => panic!("{spec}: {}", status.reason),
            _ => {}
        }
    }
    assert_eq!(status(client).state, WorkloadState::Finished, "{spec}");
    assert_eq!(counts(client).operations, 1, "{spec}");
    (counts(client).bytes, counts(server).bytes - before)
}

#[test]
fn a_server_does_one_test_after_the_other_in_every_mode() {
    let (server, client) = (Manager::new(), Manager::new());
    run(&server, &client, async |network| {
        let mut tests = 0;
        for direction in ["send", "receive", "both"] {
            for parallel in [1, 3, 8] {
                let spec = format!("protocol=tcp,bytes=5M,direction={direction},parallel={parallel}");
                let (ours, theirs) = test(&server, &client, &spec).await;
                assert!(ours >= 5 << 20, "{spec}: {ours}");
                // The client's blocks, and what is under way when it ends.
                assert!(theirs.abs_diff(ours) <= parallel * (1 << 20), "{spec}: {ours}, {theirs}");
                // Ten megabits per second and stream for two seconds.
                let spec = format!("protocol=udp,time=2s,rate=1M,direction={direction},parallel={parallel}");
                let (ours, theirs) = test(&server, &client, &spec).await;
                let streams = if direction == "both" { 2 * parallel } else { parallel };
                let expected = streams * 250_000;
                assert!(ours.abs_diff(expected) <= expected / 20 + 3000, "{spec}: {ours} of {expected}");
                assert!(theirs.abs_diff(ours) <= expected / 20 + 3000, "{spec}: {ours}, {theirs}");
                tests += 2;
            }
        }
        test(&server, &client, "time=1s").await;
        Timer::after_millis(10).await;
        assert_eq!((counts(&server).operations, counts(&server).errors), (tests + 1, 0));
        // Four sockets of the server are left, which listen all the time.
        assert_eq!(network.counts().open, 4);
    });
}

#[test]
fn a_second_client_is_told_that_the_server_is_busy() {
    let (server, client) = (Manager::new(), Manager::new());
    run(&server, &client, async |network| {
        Timer::after_millis(1).await;
        let mut first = TcpSocket::open(network, 4096, 4096).await.unwrap();
        first.connect((loopback::ADDRESS, 5201).into()).await.unwrap();
        first.write_all(&[b'a'; 37]).await.unwrap();
        let mut state = [0];
        first.read_exact(&mut state).await.unwrap();
        assert_eq!(state, [9]);
        client.start("iperf3:client=127.0.0.1,cores=1", None).unwrap();
        Timer::after_secs(1).await;
        assert_eq!(status(&client).state, WorkloadState::Failed);
        assert!(status(&client).reason.contains("busy"), "{}", status(&client).reason);
        // The first gives up; the next is served.
        drop(first);
        test(&server, &client, "bytes=1M").await;
        assert_eq!(counts(&server).errors, 1);
    });
}

#[test]
fn who_says_nothing_or_moves_nothing_keeps_nobody_from_testing() {
    let (server, client) = (Manager::new(), Manager::new());
    run(&server, &client, async |network| {
        // Late enough for `omit` to lead beyond what a clock can show.
        Timer::after_secs(1).await;
        let mut silent = TcpSocket::open(network, 4096, 4096).await.unwrap();
        silent.connect((loopback::ADDRESS, 5201).into()).await.unwrap();
        test(&server, &client, "bytes=1M").await;
        // One that agrees to a test of a gigabyte, which nobody sends.
        let connect = async || {
            let mut socket = TcpSocket::open(network, 4096, 4096).await.unwrap();
            socket.connect((loopback::ADDRESS, 5201).into()).await.unwrap();
            socket.write_all(&[b'a'; 37]).await.unwrap();
            socket
        };
        let mut idle = connect().await;
        let json = r#"{"tcp":true,"parallel":1,"num":1000000000,"omit":18446744073709}"#;
        idle.write_all(&[&(json.len() as u32).to_be_bytes(), json.as_bytes()].concat()).await.unwrap();
        let mut state = [0; 2];
        idle.read_exact(&mut state).await.unwrap();
        assert_eq!(state, [9, 10]);
        let _stream = connect().await;
        idle.read_exact(&mut state).await.unwrap();
        assert_eq!(state, [1, 2]);
        let began = Instant::now();
        assert!(matches!(idle.read(&mut state).await, Ok(0) | Err(_)));
        assert!((119..125).contains(&began.elapsed().as_secs()), "{} s", began.elapsed().as_secs());
        test(&server, &client, "bytes=1M").await;
        // One that agrees to eight streams over UDP, and greets for the first of them again and again.
        let mut busy = connect().await;
        let json = r#"{"udp":true,"parallel":8}"#;
        busy.write_all(&[&(json.len() as u32).to_be_bytes(), json.as_bytes()].concat()).await.unwrap();
        busy.read_exact(&mut state).await.unwrap();
        assert_eq!(state, [9, 10]);
        let mut socket = UdpSocket::bind(network, 0, 8, 8).await.unwrap();
        let greet = async {
            loop {
                socket.send_to(b"9876", (loopback::ADDRESS, 5201).into()).await.unwrap();
                Timer::after_secs(1).await;
            }
        };
        let began = Instant::now();
        let end = async { assert!(matches!(busy.read(&mut [0; 2]).await, Ok(0) | Err(_))) };
        assert!(matches!(select(end, select(greet, Timer::after_secs(60))).await, Either::First(())), "kept for ever");
        assert!(began.elapsed().as_secs() < 15, "{} s", began.elapsed().as_secs());
        test(&server, &client, "bytes=1M").await;
    });
}

#[test]
fn nonsense_and_silence_cost_a_server_no_more_than_their_time() {
    let (server, client) = (Manager::new(), Manager::new());
    run(&server, &client, async |network| {
        let mut cookie = [b'x'; 37].to_vec();
        let frame = |json: &str| [&(json.len() as u32).to_be_bytes(), json.as_bytes()].concat();
        let mut attempts: Vec<Vec<u8>> = vec![vec![], b"GET / HTTP/1.1\r\n\r\n".to_vec(), vec![0xFF; 5000]];
        for json in ["", "{}", "{\"parallel\":-1}", "[1,2", "{\"tcp\":true,\"parallel\":17}", "\u{e9}"] {
            attempts.push([cookie.clone(), frame(json)].concat());
        }
        attempts.push([cookie.clone(), frame("{\"udp\":true,\"parallel\":1,\"len\":65507}")].concat());
        // Agrees, and makes no streams.
        attempts.push([cookie.clone(), frame("{\"tcp\":true,\"parallel\":8}")].concat());
        attempts.push([cookie.clone(), frame("{\"udp\":true,\"parallel\":8}")].concat());
        cookie.extend(u32::MAX.to_be_bytes());
        attempts.push(cookie);
        for (number, attempt) in attempts.iter().enumerate() {
            Timer::after_millis(20).await;
            let mut socket = TcpSocket::open(network, 4096, 8192).await.unwrap();
            socket.connect((loopback::ADDRESS, 5201).into()).await.unwrap();
            // The server may have seen enough before the end.
            let _ = socket.write_all(attempt).await;
            let listen = async { while !matches!(socket.read(&mut [0; 64]).await, Ok(0) | Err(_)) {} };
            match select(listen, Timer::after_secs(25)).await {
                Either::First(()) => {}
                Either::Second(()) => panic!("attempt {number} is never ended"),
            }
        }
        test(&server, &client, "bytes=1M").await;
        assert_eq!(counts(&server).errors, attempts.len() as u64);
        assert_eq!(status(&server).state, WorkloadState::Running);
        assert_eq!(network.counts().open, 4);
    });
}
