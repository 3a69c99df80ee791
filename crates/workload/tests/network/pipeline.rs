//! All stages of a pipeline on one node, with faults between them: what is sent must be delivered, or lost for a reason.

mod proxy;

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use embassy_futures::select::{Either, Either4, select, select4};
use embassy_time::{Duration, Timer};
use embedded_io_async::{Read, Write};
use sockets::{Network, TcpSocket, loopback};
use telemetry::WorkloadState;
use telemetry::histogram::Summary;
use testkit::time;
use workload::manager::Which;
use workload::{BoxFuture, Env, Manager, PingFailure, Scratch, run_core};

use super::{figure, status, until};
use proxy::{Proxy, proxy};

/// A node whose random numbers differ from each other, as everywhere but in other tests.
struct Node(&'static Network, AtomicU64);

impl Env for Node {
    fn ping(&self, _: IpAddr, _: usize, _: Duration) -> BoxFuture<'_, Result<Duration, PingFailure>> {
        Box::pin(async { Err(PingFailure::NoNetwork) })
    }

    fn network(&self) -> &'static Network {
        self.0
    }

    fn seed(&self) -> u64 {
        self.1.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed)
    }
}

/// Runs `test` beside cores 1 and 2, and the network.
fn run(test: impl AsyncFnOnce(&'static Network, &Manager)) {
    let node = Node(Box::leak(Box::new(Network::new())), AtomicU64::new(77));
    let manager = Manager::new();
    let scratch = [Scratch::new(vec![vec![0; 64].leak()]), Scratch::new(vec![vec![0; 64].leak()])];
    time::run(async {
        let cores = (run_core(1, &manager, &node, &scratch[0]), run_core(2, &manager, &node, &scratch[1]));
        match select4(test(node.0, &manager), cores.0, cores.1, loopback::run(node.0)).await {
            Either4::First(()) => {}
            Either4::Second(never) | Either4::Third(never) | Either4::Fourth(never) => never,
        }
    });
}

/// Returns a figure of a stage.
fn of(manager: &Manager, id: &str, name: &str) -> u64 {
    let counter = format!("minipirack_pipeline_{name}_total");
    let gauge = format!("minipirack_pipeline_{name}");
    let views = manager.statuses();
    let view = views.iter().find(|view| view.status.id == id).unwrap();
    let is_counter = view.figures.iter().any(|metric| metric.name == counter);
    figure(manager, id, if is_counter { &counter } else { &gauge })
}

/// Returns how long messages were on their way to the sink.
fn latency(manager: &Manager) -> Summary {
    let views = manager.statuses();
    views.iter().find(|view| view.status.id == "sink").and_then(|view| view.durations.summary()).unwrap()
}

fn start(manager: &Manager, spec: &str) {
    manager.start(&format!("pipeline {spec}"), None).unwrap_or_else(|error| panic!("{spec}: {error}"));
}

/// Waits until the source has heard the end of every message.
async fn finish(manager: &Manager) {
    for _ in 0..10_000 {
        let source = status(manager, "source");
        if source.state == WorkloadState::Finished {
            return;
        }
        assert_ne!(source.state, WorkloadState::Failed, "{:?}", source.reason);
        Timer::after_millis(100).await;
    }
    let figures = ["sent", "delivered", "lost", "in_flight"].map(|name| (name, of(manager, "source", name)));
    panic!("the source is not done: {figures:?}");
}

/// Asserts that every message is accounted for, and that both ends say the same; returns sent, delivered and lost.
fn balance(manager: &Manager) -> (u64, u64, u64) {
    let source = |name| of(manager, "source", name);
    let (sent, delivered, lost) = (source("sent"), source("delivered"), source("lost"));
    assert_eq!(sent, delivered + lost + source("in_flight"), "sent = delivered + lost + in flight");
    assert_eq!(source("in_flight"), 0);
    assert_eq!(lost, source("lost_connection") + source("lost_worker") + source("lost_corrupted"), "each has a reason");
    assert_eq!((of(manager, "sink", "delivered"), of(manager, "sink", "lost")), (delivered, lost), "the sink's counts");
    (sent, delivered, lost)
}

#[test]
fn every_message_goes_through_all_stages_once_and_in_order() {
    run(async |_, manager| {
        start(manager, "id=sink stage=sink cores=1");
        start(manager, "id=queue stage=queue cores=1");
        start(manager, "id=worker stage=worker from=127.0.0.1 to=127.0.0.1 time=2ms cores=2");
        start(manager, "id=source to=127.0.0.1 rate=200 arrivals=poisson count=2000 size=300 cores=1");
        finish(manager).await;
        assert_eq!(balance(manager), (2000, 2000, 0));
        for figure in ["duplicates", "reordered", "corrupted", "late", "missing", "untimed", "uncertainty_seconds"] {
            assert_eq!(of(manager, "sink", figure), 0, "{figure}");
        }
        assert_eq!(of(manager, "source", "again") + of(manager, "queue", "again"), 0);
        assert_eq!((of(manager, "queue", "sent"), of(manager, "worker", "sent")), (2000, 2000));
        // 2 ms of work, and the wait behind others: a queue with random arrivals and a load of 0.4.
        let latency = latency(manager);
        assert_eq!(latency.count, 2000);
        assert!(
            latency.min_us >= 2000 && (2000..3500).contains(&latency.p50_us) && latency.max_us < 60_000,
            "{latency:?}"
        );
    });
}

/// Stages with a proxy on each of their three connections.
fn start_with_proxies(manager: &Manager, source: &str) {
    start(manager, "id=sink stage=sink port=7702 timeout=2s cores=1");
    start(manager, "id=queue stage=queue port=7701 capacity=200 timeout=2s cores=1");
    start(
        manager,
        "id=worker stage=worker from=127.0.0.1:8702 to=127.0.0.1:8703 prefetch=3 timeout=2s connections=2 cores=2",
    );
    start(manager, &format!("id=source to=127.0.0.1:8701 size=200 timeout=2s cores=2 {source}"));
}

/// Runs `test` beside proxies on all connections.
async fn with_proxies(network: &'static Network, faults: &Proxy, test: impl Future<Output = ()>) {
    let proxies = [
        proxy(network, (8701, 7701), faults),
        proxy(network, (8702, 7701), faults),
        proxy(network, (8703, 7702), faults),
    ];
    match select(test, embassy_futures::join::join_array(proxies)).await {
        Either::First(()) => {}
        Either::Second(_) => unreachable!(),
    }
}

#[test]
fn at_least_once_loses_nothing_over_a_thousand_cuts() {
    run(async |network, manager| {
        let faults = Proxy::new(11);
        faults.bytes_to_cut.set(10_000);
        with_proxies(network, &faults, async {
            start_with_proxies(manager, "rate=100 duration=150s connections=2");
            finish(manager).await;
            let (sent, delivered, lost) = balance(manager);
            assert!(faults.cuts.get() > 1000, "only {} cuts", faults.cuts.get());
            assert_eq!((sent, delivered, lost), (15_000, 15_000, 0));
            assert_eq!(of(manager, "sink", "missing"), 0);
            // They were cut in the middle of frames, too, and nothing was damaged by that.
            assert!(of(manager, "source", "again") > 100 && of(manager, "sink", "duplicates") > 10);
            assert_eq!(of(manager, "sink", "corrupted") + of(manager, "sink", "protocol_errors"), 0);
        })
        .await;
    });
}

#[test]
fn at_most_once_loses_messages_to_cuts_and_accounts_for_each() {
    run(async |network, manager| {
        let faults = Proxy::new(12);
        faults.bytes_to_cut.set(10_000);
        with_proxies(network, &faults, async {
            start_with_proxies(manager, "rate=100 duration=60s delivery=at-most-once connections=2");
            finish(manager).await;
            let (sent, delivered, lost) = balance(manager);
            assert_eq!(sent, 6_000);
            assert!(
                lost > 50 && delivered > 3_000,
                "{delivered} delivered, {lost} lost over {} cuts",
                faults.cuts.get()
            );
            assert_eq!(of(manager, "sink", "duplicates"), 0, "nothing is sent twice");
            assert_eq!(of(manager, "source", "again"), 0);
        })
        .await;
    });
}

#[test]
fn damaged_bytes_are_found_and_cost_nothing_or_are_counted() {
    for delivery in ["at-least-once", "at-most-once"] {
        run(async |network, manager| {
            let faults = Proxy::new(13);
            faults.bytes_to_damage.set(4_000);
            with_proxies(network, &faults, async {
                start_with_proxies(manager, &format!("rate=100 duration=30s delivery={delivery}"));
                finish(manager).await;
                let (sent, _, lost) = balance(manager);
                let found: u64 = ["queue", "worker", "sink"].map(|id| of(manager, id, "corrupted")).iter().sum();
                let ended: u64 =
                    ["source", "queue", "worker", "sink"].map(|id| of(manager, id, "protocol_errors")).iter().sum();
                assert!(faults.damaged.get() > 300 && found > 50 && ended > 30, "{found} {ended}");
                assert_eq!(sent, 3_000);
                if delivery == "at-least-once" {
                    assert_eq!(lost, 0);
                } else {
                    assert!(of(manager, "source", "lost_corrupted") > 50, "{lost} lost");
                }
            })
            .await;
        });
    }
}

#[test]
fn what_a_lost_worker_had_is_given_out_again_or_counted_as_lost_with_it() {
    for delivery in ["at-least-once", "at-most-once"] {
        run(async |_, manager| {
            start(manager, "id=sink stage=sink cores=1");
            start(manager, "id=queue stage=queue cores=1");
            for id in ["one", "two"] {
                start(
                    manager,
                    &format!(
                        "id={id} stage=worker from=127.0.0.1 to=127.0.0.1 time=15ms connections=2 prefetch=4 cores=2"
                    ),
                );
            }
            start(
                manager,
                &format!("id=source to=127.0.0.1 rate=150 count=3000 delivery={delivery} timeout=1s cores=1"),
            );
            for _ in 0..5 {
                Timer::after_millis(1500).await;
                assert!(of(manager, "one", "in_flight") > 0, "it has something to lose");
                manager.stop(Which::Id("one")).unwrap();
                Timer::after_millis(700).await;
                manager.restart(Which::Id("one")).unwrap();
            }
            finish(manager).await;
            let (sent, delivered, lost) = balance(manager);
            assert_eq!(sent, 3000);
            if delivery == "at-least-once" {
                assert_eq!(lost, 0);
                assert!(of(manager, "queue", "again") >= 5);
            } else {
                assert!(
                    lost >= 5 && lost == of(manager, "source", "lost_worker"),
                    "{delivered} delivered, {lost} lost"
                );
            }
        });
    }
}

#[test]
fn a_queue_or_sink_that_is_started_anew_loses_nothing_at_least_once() {
    run(async |_, manager| {
        start(manager, "id=sink stage=sink cores=1");
        start(manager, "id=queue stage=queue cores=1");
        start(manager, "id=worker stage=worker from=127.0.0.1 to=127.0.0.1 time=4ms cores=2");
        start(manager, "id=source to=127.0.0.1 rate=300 count=6000 timeout=1s cores=1");
        for _ in 0..4 {
            Timer::after_millis(2500).await;
            assert!(of(manager, "queue", "depth") > 20, "there is something in it");
            manager.restart(Which::Id("queue")).unwrap();
        }
        finish(manager).await;
        assert_eq!(balance(manager), (6000, 6000, 0));
        assert!(of(manager, "source", "again") > 80);
        // The sink's record is lost with it: what it had not answered comes again, and counts for the new one.
        start(manager, "id=source to=127.0.0.1 rate=200 count=2000 timeout=1s cores=1");
        Timer::after_secs(3).await;
        manager.restart(Which::Id("sink")).unwrap();
        finish(manager).await;
        assert_eq!((of(manager, "source", "delivered"), of(manager, "source", "lost")), (2000, 0));
        assert_eq!(of(manager, "sink", "missing"), 0);
    });
}

#[test]
fn at_most_once_a_lost_queue_is_accounted_for() {
    run(async |_, manager| {
        start(manager, "id=sink stage=sink cores=1");
        start(manager, "id=queue stage=queue cores=1");
        start(manager, "id=worker stage=worker from=127.0.0.1 to=127.0.0.1 time=4ms cores=2");
        start(manager, "id=source to=127.0.0.1 rate=300 count=3000 delivery=at-most-once timeout=1s cores=1");
        Timer::after_millis(2500).await;
        let depth = of(manager, "queue", "depth");
        manager.restart(Which::Id("queue")).unwrap();
        finish(manager).await;
        let (sent, _, lost) = balance(manager);
        assert_eq!((sent, lost), (3000, of(manager, "source", "lost_connection")));
        assert!(lost >= depth && lost < depth + 100, "{lost} lost, the queue had {depth}");
    });
}

#[test]
fn a_slow_sink_fills_the_queue_and_then_the_source_waits() {
    run(async |_, manager| {
        start(manager, "id=sink stage=sink time=10ms cores=1");
        start(manager, "id=queue stage=queue capacity=50 cores=1");
        start(manager, "id=worker stage=worker from=127.0.0.1 to=127.0.0.1 cores=2");
        start(manager, "id=source to=127.0.0.1 rate=300 count=1500 cores=1");
        Timer::after_secs(4).await;
        let in_queue = of(manager, "queue", "depth") + of(manager, "queue", "in_flight");
        assert!((40..=50).contains(&in_queue), "{in_queue} of 50 places");
        let backlog = of(manager, "source", "backlog");
        assert!((600..900).contains(&backlog), "{backlog}: 800 more are due than the sink can take");
        assert!(of(manager, "source", "in_flight") < 120);
        finish(manager).await;
        assert_eq!(balance(manager), (1500, 1500, 0));
        // The wait before they were sent is part of the latency: the last was due after 5 s, and came after 15.
        let latency = latency(manager);
        assert!((9_500_000..11_000_000).contains(&latency.max_us), "{latency:?}");
    });
}

#[test]
fn more_workers_take_from_one_queue_and_a_queue_can_follow_a_worker() {
    run(async |_, manager| {
        start(manager, "id=sink stage=sink cores=1");
        start(manager, "id=first stage=queue cores=1");
        start(manager, "id=second stage=queue port=7703 cores=1");
        start(
            manager,
            "id=a stage=worker from=127.0.0.1 to=127.0.0.1:7703 time=uniform:5ms-15ms connections=4 cores=2",
        );
        start(manager, "id=b stage=worker from=127.0.0.1:7703 to=127.0.0.1 time=exponential:5ms connections=3 cores=2");
        start(manager, "id=source to=127.0.0.1 rate=300 count=3000 connections=3 cores=1");
        finish(manager).await;
        assert_eq!(balance(manager), (3000, 3000, 0));
        assert_eq!((of(manager, "a", "delivered"), of(manager, "b", "delivered")), (3000, 3000));
        assert!(of(manager, "sink", "reordered") > 300 && of(manager, "sink", "duplicates") == 0);
        // What the workers do at once keeps up with 300 per second.
        assert!(of(manager, "first", "depth") + of(manager, "second", "depth") == 0);
    });
}

/// Starts a stage that must fail, and returns why it has.
async fn reason(manager: &Manager, spec: &str) -> String {
    start(manager, &format!("id=wrong cores=2 {spec}"));
    until("it has failed", async || status(manager, "wrong").state == WorkloadState::Failed).await;
    status(manager, "wrong").reason.to_string()
}

#[test]
fn who_is_wrong_is_told_what_is_wrong() {
    run(async |network, manager| {
        let stranger = async {
            let mut socket = TcpSocket::open(network, 4096, 4096).await.unwrap();
            loop {
                socket.accept(80).await.unwrap();
                let _ = socket.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").await;
                socket.close().await;
            }
        };
        let test = async {
            start(manager, "id=sink stage=sink size=100 cores=1");
            start(manager, "id=queue stage=queue cores=1");
            for (spec, why) in [
                (
                    "stage=worker from=127.0.0.1:7702 to=127.0.0.1 size=100",
                    "127.0.0.1:7702 is a sink, which gives nothing",
                ),
                ("to=127.0.0.1:7702 size=101", "takes or sends other sizes (100 there, 101 here)"),
                ("stage=worker from=127.0.0.1 to=127.0.0.1 size=100", "other sizes (1024 there, 100 here)"),
                ("to=127.0.0.1:80", "127.0.0.1:80 is no stage of a pipeline"),
                ("rate=5", "a source needs to=NODE"),
                ("stage=worker to=127.0.0.1", "a worker needs from=NODE"),
                ("stage=sink rate=5", "a sink has no rate"),
            ] {
                let reason = reason(manager, spec).await;
                assert!(reason.contains(why), "{spec}: {reason}");
            }
        };
        match select(test, stranger).await {
            Either::First(()) => {}
            Either::Second(never) => never,
        }
    });
}

#[test]
fn noise_and_lies_cost_their_own_connection_and_nobody_elses() {
    run(async |network, manager| {
        start(manager, "id=sink stage=sink cores=1");
        start(manager, "id=queue stage=queue timeout=1s cores=1");
        start(manager, "id=worker stage=worker from=127.0.0.1 to=127.0.0.1 cores=2");
        start(manager, "id=source to=127.0.0.1 rate=100 count=1000 cores=1");
        let mut random = workload::Random::new(3);
        let mut socket = TcpSocket::open(network, 4096, 4096).await.unwrap();
        // A greeting of a source as docs/pipeline.md describes it, made without the code under test.
        let mut hello = b"MPPL\x01\x01\x01\x00\x00\x00\x04\x00".to_vec();
        hello.extend([7; 8]);
        hello.extend([0, 0, 0, 0, 0, 0, 0x13, 0x88]);
        hello.extend(crc32c(&hello).to_be_bytes());
        for round in 0..60u32 {
            let address = (loopback::ADDRESS, [7701, 7702][round as usize % 2]).into();
            until("a connection", async || socket.connect(address).await.is_ok()).await;
            if round % 3 > 0 {
                socket.write_all(&hello).await.unwrap();
                let mut answer = [0; 32];
                socket.read_exact(&mut answer).await.unwrap();
                assert_eq!((&answer[..5], answer[7]), (b"MPPL\x01".as_slice(), 0), "not refused");
            }
            if round % 3 == 2 {
                // Messages without end, whatever credit was given.
                let mut frame = vec![1, 0, 0, 56, 0, 0, 0, 0];
                frame.extend([7; 48]);
                frame.extend([0; 8]);
                frame[16..24].fill(0);
                frame[24..32].fill(0);
                let check = crc32c(&frame);
                frame[4..8].copy_from_slice(&check.to_be_bytes());
                for _ in 0..3000 {
                    if socket.write_all(&frame).await.is_err() {
                        break;
                    }
                }
            } else {
                let noise: Vec<u8> = (0..200).map(|_| random.bits() as u8).collect();
                let _ = socket.write_all(&noise).await;
            }
            let mut rest = [0; 500];
            let ended =
                select(async { while let Ok(1..) = socket.read(&mut rest).await {} }, Timer::after_secs(8)).await;
            assert!(matches!(ended, Either::First(())), "round {round} was not ended");
        }
        finish(manager).await;
        let source = |name| of(manager, "source", name);
        assert_eq!((source("sent"), source("delivered"), source("cuts")), (1000, 1000, 0));
        assert!(of(manager, "queue", "protocol_errors") + of(manager, "sink", "protocol_errors") > 15);
        assert!(of(manager, "queue", "refused") > 5);
    });
}

/// CRC-32C, bit by bit.
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 1 { (crc >> 1) ^ 0x82f6_3b78 } else { crc >> 1 })
    })
}
