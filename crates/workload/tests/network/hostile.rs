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

/// Asks for a page and returns how many bytes came until the connection was closed.
async fn fetch(node: &Node, port: u16) -> usize {
    let mut client = Client::connect(node, port).await;
    client.0.write_all(b"GET / HTTP/1.1\r\nHost: n\r\nConnection: close\r\n\r\n").await.unwrap();
    let (mut len, mut buffer) = (0, [0; 4096]);
    while let Ok(more @ 1..) = client.0.read(&mut buffer).await {
        len += more;
    }
    len
}

#[test]
fn pages_are_served_among_more_clients_that_read_none_than_places() {
    let (node, manager) = (Node::new(), Manager::new());
    with_node(&node, &manager, async {
        manager.start("http:clients=8,size=60k", None).unwrap();
        let whole = fetch(&node, 8080).await;
        let kinds: [(Kind, &[u8]); 4] = [
            (Kind::Greedy, b"GET / HTTP/1.1\r\nHost: n\r\n\r\n"),
            (Kind::Greedy, b"GET / HTTP/1.1\r\nHost: n\r\n\r\n"),
            // Is told to go on with a body for which there is all the time of the world, and takes no answer.
            (Kind::Greedy, b"POST / HTTP/1.1\r\nHost: n\r\nExpect: 100-continue\r\nContent-Length: 0\r\n\r\n"),
            (Kind::Dripping, b"GET / HTTP/1.1\r\nX: "),
        ];
        among(node.0, 8080, kinds, async {
            for number in 0..20 {
                let began = Instant::now();
                assert_eq!(fetch(&node, 8080).await, whole);
                let took = began.elapsed();
                assert!(took < Duration::from_secs(2), "client {number} was served after {} ms", took.as_millis());
                Timer::after_millis(100).await;
            }
        })
        .await;
        assert!(figure(&manager, "http", "minipirack_http_unseated_total") > 20);
    });
}

#[test]
fn a_client_that_reads_nothing_has_to_go_however_large_its_page_is() {
    let (node, manager) = (Node::new(), Manager::new());
    with_node(&node, &manager, async {
        // At 10 kB/s, which is slow enough to be cut off, it would take 28 minutes.
        manager.start("http:clients=2,size=16M", None).unwrap();
        let mut client = Client::connect(&node, 8080).await;
        client.0.write_all(b"GET / HTTP/1.1\r\nHost: n\r\n\r\n").await.unwrap();
        let began = Instant::now();
        until("it is served", async || figure(&manager, "http", "minipirack_http_connections") == 1).await;
        until("it is gone", async || figure(&manager, "http", "minipirack_http_connections") == 0).await;
        let seconds = began.elapsed().as_secs();
        assert!((10..=13).contains(&seconds), "after {seconds} s");
        assert_eq!(figure(&manager, "http", "minipirack_http_late_total"), 1);
    });
}

/// How one who only says that it is a replica goes on.
#[derive(Clone, Copy, Debug)]
enum Fake {
    /// Reads nothing and says nothing.
    Deaf,
    /// Reads all, and confirms nothing.
    Silent,
    /// Says that it has what it was never told.
    Lying,
}

/// Poses as a replica for as long as it is let, and comes again at once, for ever.
async fn pose(network: &'static Network, port: u16, fake: Fake) {
    let mut socket = TcpSocket::open(network, 2048, 2048).await.unwrap();
    loop {
        if socket.connect((loopback::ADDRESS, port).into()).await.is_ok() {
            let stay = async {
                let _ = socket.write_all(b"REPLICATE 1\r\n").await;
                let mut buffer = [0; 512];
                match fake {
                    // Notices its end without reading.
                    Fake::Deaf => {
                        while !socket.is_closed() {
                            Timer::after_millis(100).await;
                        }
                    }
                    Fake::Silent => while !matches!(socket.read(&mut buffer).await, Ok(0) | Err(_)) {},
                    Fake::Lying => {
                        let _ = socket.write_all(&u64::MAX.to_be_bytes()).await;
                        while !matches!(socket.read(&mut buffer).await, Ok(0) | Err(_)) {}
                    }
                }
            };
            stay.await;
        }
        socket.abort();
        Timer::after_millis(100).await;
    }
}

#[test]
fn who_only_says_that_it_is_a_replica_keeps_none_from_being_one() {
    for fake in [Fake::Deaf, Fake::Silent, Fake::Lying] {
        let (node, manager) = (Node::new(), Manager::new());
        with_node(&node, &manager, async {
            manager.start("kv:id=a,memory=4M,clients=8,acks=1,cores=1", None).unwrap();
            let fakes = join_array([pose(node.0, 6379, fake), pose(node.0, 6379, fake)]);
            let test = async {
                Timer::after_secs(3).await;
                // Nobody confirms; what a liar says does not count.
                let mut client = Client::connect(&node, 6379).await;
                client.0.write_all(b"SET k 1\r\n").await.unwrap();
                assert!(matches!(client.0.read(&mut [0; 8]).await, Ok(0) | Err(_)), "{fake:?}");
                manager
                    .start("kv:id=b,port=6380,memory=4M,clients=2,acks=1,replica-of=127.0.0.1:6379,cores=1", None)
                    .unwrap();
                let began = Instant::now();
                until("a true replica is in", async || {
                    let mut client = Client::connect(&node, 6379).await;
                    client.0.write_all(b"INCR n\r\n").await.unwrap();
                    matches!(client.0.read(&mut [0; 8]).await, Ok(1..))
                })
                .await;
                let took = began.elapsed().as_millis();
                assert!(took < 6000, "{fake:?}: a true replica has a place after {took} ms");
                // It keeps it, and everything is answered, however often the others come.
                let mut client = Client::connect(&node, 6379).await;
                for number in 0..300 {
                    assert!(client.ask("INCR m", 1).await == format!(":{}\r\n", number + 1), "{fake:?} {number}");
                    Timer::after_millis(100).await;
                }
                assert_eq!(figure(&manager, "b", "minipirack_kv_copies_total"), 1, "{fake:?}");
                assert!(figure(&manager, "a", "minipirack_kv_cut_off_total") >= 2, "{fake:?}");
                assert!(figure(&manager, "a", "minipirack_kv_replicas") <= 2, "{fake:?}");
            };
            if let Either::Second(_) = select(test, fakes).await {
                panic!("{fake:?}: it has given up");
            }
        });
    }
}
