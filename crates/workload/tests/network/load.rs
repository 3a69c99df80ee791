//! Load against services that behave, stall, refuse and lie.

use embassy_futures::join::join;
use embassy_time::{Duration, Instant, Timer};
use embedded_io_async::{Read, Write};
use sockets::{TcpSocket, UdpSocket};
use telemetry::{Second, WorkloadState};
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

/// Returns the seconds that are kept of the load.
fn seconds(manager: &Manager) -> Vec<Second> {
    let views = manager.statuses();
    let view = views.iter().find(|view| view.status.id == "load").unwrap();
    assert!(view.has_seconds);
    view.seconds.last(usize::MAX, 0).map(|(_, second)| second).collect()
}

/// Checks that seconds follow each other without a gap on the node's clock, and that nothing is lost between them.
fn check_seconds(manager: &Manager, seconds: &[Second]) {
    for pair in seconds.windows(2) {
        assert_eq!(pair[0].start_us + u64::from(pair[0].span_us), pair[1].start_us);
        assert!(pair[1].start_us % 1_000_000 < 2_000, "{pair:?}");
    }
    let sum = |of: fn(&Second) -> u32| seconds.iter().map(|second| u64::from(of(second))).sum::<u64>();
    let [offered, completed, timeouts, overload, bad] = counts(manager);
    let sent = figure(manager, "load", "minipirack_load_sent_total");
    assert_eq!([sum(|s| s.offered), sum(|s| s.completed)], [offered, completed]);
    assert_eq!([sum(|s| s.sent), sum(|s| s.failed)], [sent, timeouts + overload + bad]);
}

/// Returns the rate that each second had; the first of them is short.
fn rates(seconds: &[Second]) -> Vec<u32> {
    seconds.iter().skip(1).map(|second| second.offered).collect()
}

/// Whether rates are as wanted, but for one request that may fall into the second before or after.
fn is_near(rates: &[u32], wanted: &[u32]) -> bool {
    rates.len() >= wanted.len() && rates.iter().zip(wanted).all(|(rate, wanted)| rate.abs_diff(*wanted) <= 1)
}

#[test]
fn steps_are_seen_second_by_second() {
    let (node, manager) = (Node::new(), Manager::new());
    with_node(&node, &manager, async {
        // Just after a whole second, so that steps and seconds begin together.
        Timer::at(Instant::from_millis(Instant::now().as_secs() * 1000 + 2_000 - 20)).await;
        let delay = async || Timer::after_millis(5).await;
        with_echoes(&node, &delay, async {
            let steps = "load:peer=127.0.0.1,connections=2,steps=20,60,10,step=3s,duration=10s";
            manager.start(steps, None).unwrap();
            Timer::after_millis(5_500).await;
            assert!((59..=61).contains(&figure(&manager, "load", "minipirack_load_last_offered")));
            until("it is done", async || status(&manager, "load").state == WorkloadState::Finished).await;
        })
        .await;
        // Ten a second go on after the last step: 20 · 3 + 60 · 3 + 10 · 4.
        assert_eq!(counts(&manager), [280, 280, 0, 0, 0]);
        let seconds = seconds(&manager);
        check_seconds(&manager, &seconds);
        assert!(is_near(&rates(&seconds), &[20, 20, 20, 60, 60, 60, 10, 10, 10, 10]), "{seconds:#?}");
        let is_slow = |second: &&Second| (5_000..20_000).contains(&second.p50_us) && second.p99_us >= second.p50_us;
        assert_eq!(seconds.iter().filter(is_slow).count(), 10, "{seconds:#?}");
    });
}

#[test]
fn load_that_comes_and_goes_is_seen_second_by_second_and_a_new_run_begins_with_none() {
    let (node, manager) = (Node::new(), Manager::new());
    with_node(&node, &manager, async {
        let start = Instant::from_secs(Instant::now().as_secs() + 1);
        let server = async {
            let mut socket = UdpSocket::bind(node.0, 7, 32, 32).await.unwrap();
            let mut buffer = [0; 1500];
            loop {
                let datagram = socket.recv_from(&mut buffer).await;
                // Nothing is answered in the second second.
                if !(1_000..2_000).contains(&(Instant::now() - start).as_millis()) {
                    socket.send_to(&buffer[..datagram.len], datagram.peer).await.unwrap();
                }
            }
        };
        let test = async {
            Timer::at(start).await;
            let text = "load:peer=127.0.0.1,proto=udp,rate=50,on=2s,off=3s,duration=10s,timeout=500ms";
            manager.start(text, None).unwrap();
            until("it is done", async || status(&manager, "load").state == WorkloadState::Finished).await;
            let first = seconds(&manager);
            check_seconds(&manager, &first);
            assert!(
                is_near(&rates(&first), &[50, 0, 0, 0, 50, 50]) && first[0].offered.abs_diff(50) <= 1,
                "{first:#?}"
            );
            // What was not answered fails half a second later, and in no other second.
            let failed: Vec<_> = first.iter().map(|second| second.failed).collect();
            let is_right = failed[1] + failed[2] > 45 && failed[1] > 20 && failed[2] > 20;
            assert!(is_right && failed[0] == 0 && failed[3..].iter().all(|failed| *failed == 0), "{first:#?}");
            assert_eq!(counts(&manager)[0], 200);
            manager.start("load:peer=127.0.0.1,proto=udp,rate=10", None).unwrap();
            Timer::after_millis(2_500).await;
            let second = seconds(&manager);
            assert!(second.len() <= 3 && second[0].start_us > first.last().unwrap().start_us, "{second:#?}");
            // A run that goes on keeps its last two minutes.
            Timer::after_secs(200).await;
            let long = seconds(&manager);
            assert_eq!(long.len(), 120);
            assert!(long.iter().all(|second| (9..=11).contains(&second.completed)), "{long:#?}");
        };
        embassy_futures::select::select(test, server).await;
    });
}
