//! Load against services that behave, stall, refuse and lie.

use embassy_futures::join::join;
use embassy_time::{Duration, Instant, Timer};
use embedded_io_async::{Read, Write};
use sockets::{TcpSocket, UdpSocket};
use telemetry::WorkloadState;
use workload::Manager;

use super::{Node, figure, status, until, with_node};

const NAMES: [&str; 5] = ["offered", "completed", "timeouts", "overload", "bad_answers"];

/// Offered, completed, timed out, overload, bad answers.
fn counts(manager: &Manager) -> [u64; 5] {
    NAMES.map(|name| figure(manager, "load", &format!("minipirack_load_{name}_total")))
}

fn quantile_us(manager: &Manager, name: &str) -> u64 {
    figure(manager, "load", &format!("minipirack_load_{name}_seconds"))
}

/// Echoes, after what `delay` says.
async fn echo(node: &Node, port: u16, delay: impl AsyncFn()) -> ! {
    let mut socket = TcpSocket::open(node.0, 4096, 4096).await.unwrap();
    loop {
        socket.accept(port).await.unwrap();
        let mut buffer = [0; 4096];
        while let Ok(len @ 1..) = socket.read(&mut buffer).await {
            delay().await;
            if socket.write_all(&buffer[..len]).await.is_err() {
                break;
            }
        }
    }
}

/// Runs `test` beside two echoes.
async fn with_echoes<T>(node: &Node, delay: impl AsyncFn() + Copy, test: impl Future<Output = T>) -> T {
    let echoes = join(echo(node, 7, delay), echo(node, 7, delay));
    match embassy_futures::select::select(test, echoes).await {
        embassy_futures::select::Either::First(result) => result,
        embassy_futures::select::Either::Second((never, _)) => never,
    }
}

#[test]
fn a_stall_of_the_peer_is_in_the_latency_of_every_request_that_was_due_in_it() {
    let (node, manager) = (Node::new(), Manager::new());
    with_node(&node, &manager, async {
        let begin = Instant::now();
        // Answers at once, but from second 2 to second 3 not at all.
        let stall = async || {
            let at = begin.elapsed().as_millis();
            if (2000..3000).contains(&at) {
                Timer::after_millis(3000 - at).await;
            }
        };
        with_echoes(&node, &stall, async {
            manager.start("load:peer=127.0.0.1,rate=100,connections=2,duration=10s,timeout=5s", None).unwrap();
            until("it is done", async || status(&manager, "load").state == WorkloadState::Finished).await;
        })
        .await;
        assert_eq!(counts(&manager), [1000, 1000, 0, 0, 0]);
        // A hundred of a thousand were due in the stall, evenly over its second: the worst hundredth waited for 900 ms and
        // more. A closed loop would have seen two slow requests and a 99th percentile of nothing.
        let p99 = quantile_us(&manager, "p99");
        assert!((850_000..=930_000).contains(&p99), "{p99}");
        let p90 = quantile_us(&manager, "p90");
        assert!(p90 < 40_000, "{p90}");
        let longest = quantile_us(&manager, "longest");
        assert!((970_000..=1_020_000).contains(&longest), "{longest}");
    });
}

#[test]
fn a_constant_delay_is_measured_and_too_much_load_waits_times_out_and_is_dropped() {
    let (node, manager) = (Node::new(), Manager::new());
    with_node(&node, &manager, async {
        let delay = async || Timer::after_millis(20).await;
        with_echoes(&node, &delay, async {
            manager.start("load:peer=127.0.0.1,rate=50,arrivals=poisson,connections=2,duration=20s", None).unwrap();
            until("it is done", async || status(&manager, "load").state == WorkloadState::Finished).await;
            let [offered, completed, rest @ ..] = counts(&manager);
            assert!((880..1120).contains(&offered) && completed == offered && rest == [0; 3], "{offered} {completed}");
            let p50 = quantile_us(&manager, "p50");
            assert!((20_000..30_000).contains(&p50), "{p50}");
            // Two connections manage 100 per second: 2,000 per second are more.
            manager.start("load:peer=127.0.0.1,rate=2000,connections=2,duration=4s,timeout=1s,cores=1", None).unwrap();
            until("it is done", async || status(&manager, "load").state == WorkloadState::Finished).await;
        })
        .await;
        let [offered, completed, timeouts, overload, bad] = counts(&manager);
        assert_eq!((offered, completed + timeouts + overload, bad), (8000, 8000, 0));
        // What is sent has waited for nearly as long as it may: most of it comes back too late.
        assert!((80..=520).contains(&completed) && timeouts > 1000 && overload > 1000, "{:?}", counts(&manager));
        assert!(quantile_us(&manager, "longest") <= 1_000_000);
    });
}

#[test]
fn datagrams_that_are_lost_and_changed_are_told_apart() {
    let (node, manager) = (Node::new(), Manager::new());
    with_node(&node, &manager, async {
        let server = async {
            let mut socket = UdpSocket::bind(node.0, 7, 32, 32).await.unwrap();
            let mut buffer = [0; 1500];
            for number in 0u64.. {
                let datagram = socket.recv_from(&mut buffer).await;
                let data = &mut buffer[..datagram.len];
                match number % 10 {
                    3 => continue,
                    5 => data[20] ^= 1,
                    7 => socket.send_to(data, datagram.peer).await.unwrap(),
                    _ => {}
                }
                socket.send_to(data, datagram.peer).await.unwrap();
            }
        };
        let test = async {
            manager.start("load:peer=127.0.0.1,proto=udp,rate=100,size=100,duration=10s,timeout=500ms", None).unwrap();
            until("it is done", async || status(&manager, "load").state == WorkloadState::Finished).await;
        };
        embassy_futures::select::select(test, server).await;
        assert_eq!(counts(&manager), [1000, 800, 100, 0, 100]);
        assert_eq!(figure(&manager, "load", "minipirack_load_late_total"), 100, "what came twice");
        assert_eq!(figure(&manager, "load", "minipirack_load_sent_total"), 1000);
    });
}

#[test]
fn pages_are_got_over_connections_that_stay_and_errors_are_counted() {
    let (node, manager) = (Node::new(), Manager::new());
    with_node(&node, &manager, async {
        let server = async {
            let mut socket = TcpSocket::open(node.0, 4096, 4096).await.unwrap();
            let mut number = 0;
            loop {
                socket.accept(80).await.unwrap();
                let mut buffer = [0; 4096];
                let mut request = Vec::new();
                while let Ok(len @ 1..) = socket.read(&mut buffer).await {
                    request.extend_from_slice(&buffer[..len]);
                    if !request.ends_with(b"\r\n\r\n") {
                        continue;
                    }
                    assert!(request.starts_with(b"GET /x?y HTTP/1.1\r\nHost: 127.0.0.1\r\n"));
                    request.clear();
                    number += 1;
                    let answer: &[u8] = match number % 10 {
                        4 => b"HTTP/1.1 503 Busy\r\nContent-Length: 2\r\n\r\nno",
                        7 => b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
                        _ => b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
                    };
                    socket.write_all(answer).await.unwrap();
                    if number % 10 == 7 {
                        socket.close().await;
                        break;
                    }
                }
            }
        };
        let test = async {
            manager.start("load:peer=127.0.0.1,proto=http,path=/x?y,rate=20,connections=1,duration=5s", None).unwrap();
            until("it is done", async || status(&manager, "load").state == WorkloadState::Finished).await;
        };
        embassy_futures::select::select(test, server).await;
        assert_eq!(counts(&manager), [100, 90, 0, 0, 10]);
        let connections = figure(&manager, "load", "minipirack_load_connections_total");
        assert!((10..=12).contains(&connections), "{connections}");
    });
}

#[test]
fn a_peer_that_is_not_there_yet_is_found_when_it_comes() {
    let (node, manager) = (Node::new(), Manager::new());
    with_node(&node, &manager, async {
        manager.start("load:peer=127.0.0.1,rate=100,connections=2,timeout=300ms,duration=10s", None).unwrap();
        Timer::after_secs(5).await;
        let [offered, completed, timeouts, ..] = counts(&manager);
        assert!(offered > 450 && completed == 0 && timeouts > 400, "{offered} {completed} {timeouts}");
        assert!(figure(&manager, "load", "minipirack_load_refused_total") > 2);
        let nothing = async || Timer::after(Duration::MIN).await;
        with_echoes(&node, &nothing, async {
            until("it is done", async || status(&manager, "load").state == WorkloadState::Finished).await;
        })
        .await;
        let [offered, completed, timeouts, ..] = counts(&manager);
        assert!(offered == 1000 && completed > 250 && completed + timeouts == 1000, "{completed} {timeouts}");
    });
}
