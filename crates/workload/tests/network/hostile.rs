//! More hostile clients than places, all the time: who behaves is served, and peers keep their places.

use embassy_futures::join::join_array;
use embassy_time::{Duration, Instant, with_timeout};

use super::*;

/// How a hostile client keeps a place, if it can.
#[derive(Clone, Copy)]
enum Kind {
    Silent,
    /// Sends a byte a second.
    Dripping,
    /// Asks for something once, and then sends empty lines.
    Resting,
    /// Asks for much, and reads none of it.
    Greedy,
}

/// Keeps a place for as long as it is let, and comes again a second later, for ever.
async fn crowd(network: &'static Network, port: u16, kind: Kind, begin: &[u8]) {
    let mut socket = TcpSocket::open(network, 2048, 4096).await.unwrap();
    loop {
        if socket.connect((loopback::ADDRESS, port).into()).await.is_err() {
            Timer::after_millis(10).await;
            continue;
        }
        let stay = async {
            match kind {
                Kind::Silent => {}
                Kind::Dripping => {
                    for byte in begin.iter().chain([b'x'; 100_000].iter()) {
                        if socket.write_all(&[*byte]).await.is_err() {
                            return;
                        }
                        Timer::after_secs(1).await;
                    }
                }
                Kind::Resting => {
                    let _ = socket.write_all(begin).await;
                    while socket.write_all(b"\r\n").await.is_ok() {
                        Timer::after_millis(100).await;
                    }
                    return;
                }
                Kind::Greedy => while socket.write_all(begin).await.is_ok() {},
            }
            while !matches!(socket.read(&mut [0; 64]).await, Ok(0) | Err(_)) {}
        };
        stay.await;
        socket.abort();
        Timer::after_secs(1).await;
    }
}

/// Runs `test` among clients of all `kinds`, twelve in all, when they are there.
async fn among(network: &'static Network, port: u16, kinds: [(Kind, &[u8]); 4], test: impl Future<Output = ()>) {
    let hostile = core::array::from_fn::<_, 12, _>(|number| {
        let (kind, begin) = kinds[number % kinds.len()];
        crowd(network, port, kind, begin)
    });
    let test = async {
        Timer::after_secs(3).await;
        test.await;
    };
    if let Either::Second(_) = select(test, join_array(hostile)).await {
        panic!("hostile clients have given up");
    }
}

#[test]
fn a_store_serves_who_behaves_among_more_hostile_clients_than_places() {
    let (node, manager) = (Node::new(), Manager::new());
    with_node(&node, &manager, async {
        manager.start("kv:id=a,memory=4M,clients=8,cores=1", None).unwrap();
        manager.start("kv:id=b,port=6380,memory=4M,clients=2,replica-of=127.0.0.1:6379,cores=1", None).unwrap();
        let mut first = Client::connect(&node, 6379).await;
        first.ask(&format!("SET large {}", "x".repeat(9000)), 1).await;
        drop(first);
        until("it is a replica", async || figure(&manager, "a", "minipirack_kv_replicas") == 1).await;
        let kinds: [(Kind, &[u8]); 4] = [
            (Kind::Silent, b""),
            (Kind::Dripping, b"*2\r\n$3\r\nGET\r\n$100000\r\n"),
            (Kind::Resting, b"PING\r\n"),
            (Kind::Greedy, b"GET large\r\n"),
        ];
        among(node.0, 6379, kinds, async {
            for number in 0..30 {
                let began = Instant::now();
                let mut client = Client::connect(&node, 6379).await;
                assert_eq!(client.ask("PING", 1).await, "+PONG\r\n");
                assert_eq!(client.ask("INCR n", 1).await, format!(":{}\r\n", number + 1));
                let took = began.elapsed();
                assert!(took < Duration::from_secs(1), "client {number} was served after {} ms", took.as_millis());
                Timer::after_millis(100).await;
            }
        })
        .await;
        assert!(figure(&manager, "a", "minipirack_kv_unseated_total") > 30);
        // The replica has never had to leave, and has it all.
        assert_eq!(figure(&manager, "b", "minipirack_kv_copies_total"), 1);
        assert_eq!(Client::connect(&node, 6380).await.ask("GET n", 2).await, "$2\r\n30\r\n");
    });
}

#[test]
fn a_store_that_has_places_lets_clients_rest() {
    let (node, manager) = (Node::new(), Manager::new());
    with_node(&node, &manager, async {
        manager.start("kv:memory=1M,clients=2", None).unwrap();
        let (mut one, mut two) = (Client::connect(&node, 6379).await, Client::connect(&node, 6379).await);
        for _ in 0..3 {
            assert_eq!(one.ask("PING", 1).await, "+PONG\r\n");
            assert_eq!(two.ask("PING", 1).await, "+PONG\r\n");
            Timer::after_secs(100).await;
        }
        // One more takes the place of who has rested for longest.
        let mut three = Client::connect(&node, 6379).await;
        assert_eq!(three.ask("PING", 1).await, "+PONG\r\n");
        until("somebody had to leave", async || figure(&manager, "kv", "minipirack_kv_unseated_total") == 1).await;
        assert_eq!(two.ask("PING", 1).await, "+PONG\r\n");
        assert!(matches!(one.0.read(&mut [0; 8]).await, Ok(0) | Err(_)));
    });
}

#[test]
fn stages_are_taken_among_more_hostile_clients_than_places() {
    let (node, manager) = (Node::new(), Manager::new());
    with_node(&node, &manager, async {
        manager.start("pipeline:id=sink,stage=sink,clients=6,timeout=30s,cores=1", None).unwrap();
        until("it listens", async || {
            let mut socket = TcpSocket::open(node.0, 64, 64).await.unwrap();
            socket.connect((loopback::ADDRESS, 7702).into()).await.is_ok()
        })
        .await;
        let kinds: [(Kind, &[u8]); 4] =
            [(Kind::Silent, b""), (Kind::Dripping, b""), (Kind::Silent, b""), (Kind::Dripping, b"MPR")];
        among(node.0, 7702, kinds, async {
            manager.start("pipeline:id=src,stage=source,to=127.0.0.1:7702,rate=200,count=1000,cores=1", None).unwrap();
            let delivered = until("all is delivered", async || {
                figure(&manager, "sink", "minipirack_pipeline_delivered_total") == 1000
            });
            with_timeout(Duration::from_secs(8), delivered).await.unwrap();
        })
        .await;
        assert_eq!(
            figure(&manager, "src", "minipirack_pipeline_connects_total"),
            1,
            "once it has a place, it keeps it"
        );
    });
}
