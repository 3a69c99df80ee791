//! The key-value store with clients, and with a replica.

use embassy_time::{Instant, Timer};
use workload::{Manager, Which};

use super::{Client, Node, figure, until, with_node};

#[test]
fn clients_share_a_store_and_one_that_is_slow_holds_up_nobody() {
    let (node, manager) = (Node::new(), Manager::new());
    with_node(&node, &manager, async {
        manager.start("kv:memory=4M,clients=3", None).unwrap();
        let (mut one, mut two) = (Client::connect(&node, 6379).await, Client::connect(&node, 6379).await);
        assert_eq!(one.ask("SET k v1", 1).await, "+OK\r\n");
        assert_eq!(two.ask("GET k", 2).await, "$2\r\nv1\r\n");
        // A client that asks for megabytes and reads nothing.
        let value = "x".repeat(3000);
        assert_eq!(one.ask(&format!("SET large {value}"), 1).await, "+OK\r\n");
        let mut slow = Client::connect(&node, 6379).await;
        let many = "GET large\r\n".repeat(300);
        let write = embedded_io_async::Write::write_all(&mut slow.0, many.as_bytes());
        let _ = embassy_time::with_timeout(embassy_time::Duration::from_secs(1), write).await;
        for number in 0..200 {
            assert_eq!(two.ask("INCR n", 1).await, format!(":{}\r\n", number + 1));
        }
        until("the slow one is cut off", async || figure(&manager, "kv", "minipirack_kv_cut_off_total") == 1).await;
        assert_eq!(figure(&manager, "kv", "minipirack_kv_clients"), 2);
        assert_eq!(two.ask("GET k", 2).await, "$2\r\nv1\r\n");
        // Its place is free again.
        assert_eq!(Client::connect(&node, 6379).await.ask("GET n", 2).await, "$3\r\n200\r\n");
    });
}

#[test]
fn a_silent_client_is_cut_off_and_keys_end_without_being_asked_for() {
    let (node, manager) = (Node::new(), Manager::new());
    with_node(&node, &manager, async {
        manager.start("kv:memory=1M,clients=1,idle=2s", None).unwrap();
        let mut client = Client::connect(&node, 6379).await;
        assert_eq!(client.ask("SET k v PX 700", 1).await, "+OK\r\n");
        Timer::after_millis(500).await;
        assert_eq!(client.ask("GET k", 2).await, "$1\r\nv\r\n");
        Timer::after_secs(3).await;
        assert_eq!(figure(&manager, "kv", "minipirack_kv_clients"), 0);
        assert_eq!(figure(&manager, "kv", "minipirack_kv_keys"), 0);
        assert_eq!(Client::connect(&node, 6379).await.ask("EXISTS k", 1).await, ":0\r\n");
    });
}

#[test]
fn a_replica_follows_its_source_loses_it_and_finds_it_again() {
    let (node, manager) = (Node::new(), Manager::new());
    with_node(&node, &manager, async {
        manager.start("kv:id=a,memory=4M,clients=4,cores=1", None).unwrap();
        manager.start("kv:id=b,port=6380,memory=4M,clients=2,replica-of=127.0.0.1:6379,cores=1", None).unwrap();
        let mut source = Client::connect(&node, 6379).await;
        for number in 0..500 {
            assert_eq!(source.ask(&format!("SET key:{number} value-{number}"), 1).await, "+OK\r\n");
        }
        let mut replica = Client::connect(&node, 6380).await;
        until("the copy is there", async || replica.ask("DBSIZE", 1).await == ":500\r\n").await;
        assert_eq!(replica.ask("SET a b", 1).await, "-READONLY You can't write against a read only replica.\r\n");
        let changed = Instant::now();
        source.ask("RPUSH list a b c", 1).await;
        until("a change is there", async || replica.ask("LLEN list", 1).await == ":3\r\n").await;
        assert!(changed.elapsed().as_millis() < 100, "{} ms", changed.elapsed().as_millis());
        until("it is shown", async || figure(&manager, "a", "minipirack_kv_replicas") == 1).await;
        until("it is confirmed", async || figure(&manager, "a", "minipirack_kv_replica_lag_bytes") == 0).await;
        // The source is started anew, empty; the replica becomes what the source is.
        manager.stop(Which::parse("a")).unwrap();
        until("it is noticed", async || figure(&manager, "b", "minipirack_kv_source_up") == 0).await;
        assert_eq!(replica.ask("DBSIZE", 1).await, ":501\r\n", "what it has it keeps");
        manager.start("kv:id=a,memory=4M,clients=4,cores=1", None).unwrap();
        let mut source = Client::connect(&node, 6379).await;
        source.ask("SET fresh 1", 1).await;
        until("it has begun anew", async || replica.ask("DBSIZE", 1).await == ":1\r\n").await;
        until("it is counted", async || figure(&manager, "b", "minipirack_kv_copies_total") == 2).await;
    });
}

#[test]
fn a_replica_of_a_store_that_is_only_read_keeps_what_it_has() {
    let (node, manager) = (Node::new(), Manager::new());
    with_node(&node, &manager, async {
        manager.start("kv:id=a,memory=1M,clients=4,cores=1", None).unwrap();
        manager.start("kv:id=b,port=6380,memory=1M,clients=2,replica-of=127.0.0.1:6379,cores=1", None).unwrap();
        let mut source = Client::connect(&node, 6379).await;
        assert_eq!(source.ask("SET k v", 1).await, "+OK\r\n");
        let mut replica = Client::connect(&node, 6380).await;
        until("the copy is there", async || replica.ask("DBSIZE", 1).await == ":1\r\n").await;
        // A replica that has heard nothing for five seconds begins anew, and one that has said nothing for ten is cut off.
        for _ in 0..110 {
            assert_eq!(source.ask("GET k", 2).await, "$1\r\nv\r\n");
            Timer::after_millis(100).await;
        }
        assert_eq!(figure(&manager, "b", "minipirack_kv_copies_total"), 1);
        assert_eq!(figure(&manager, "a", "minipirack_kv_cut_off_total"), 0);
    });
}

#[test]
fn a_store_that_needs_a_replica_answers_when_that_has_it_and_not_before() {
    let (node, manager) = (Node::new(), Manager::new());
    with_node(&node, &manager, async {
        manager.start("kv:id=a,memory=1M,clients=4,acks=1,cores=1", None).unwrap();
        // What is about no key is answered at once; what is has nobody to confirm it, and is never answered.
        let mut lonely = Client::connect(&node, 6379).await;
        assert_eq!(lonely.ask("PING", 1).await, "+PONG\r\n");
        let began = Instant::now();
        embedded_io_async::Write::write_all(&mut lonely.0, b"SET k 1\r\n").await.unwrap();
        let mut reply = [0; 100];
        assert!(matches!(embedded_io_async::Read::read(&mut lonely.0, &mut reply).await, Ok(0) | Err(_)));
        assert!((1900..2200).contains(&began.elapsed().as_millis()), "{}", began.elapsed().as_millis());
        until("it is counted", async || figure(&manager, "a", "minipirack_kv_unconfirmed_total") == 1).await;
        manager.start("kv:id=b,port=6380,memory=1M,clients=2,acks=1,replica-of=127.0.0.1:6379,cores=1", None).unwrap();
        let mut replica = Client::connect(&node, 6380).await;
        assert!(replica.ask("GET k", 1).await.starts_with("-READONLY This replica"));
        // One more write, and a read, of several clients at once: each is answered within a round trip to the replica.
        let (mut one, mut two) = (Client::connect(&node, 6379).await, Client::connect(&node, 6379).await);
        assert_eq!(one.ask("INCR n", 1).await, ":1\r\n");
        let began = Instant::now();
        for number in 0..100 {
            let (first, second) = embassy_futures::join::join(one.ask("INCR n", 1), two.ask("GET k", 2)).await;
            assert_eq!((first, second), (format!(":{}\r\n", number + 2), "$1\r\n1\r\n".into()));
        }
        assert!(began.elapsed().as_millis() < 2000, "{} ms for 100", began.elapsed().as_millis());
        // Without its replica it falls silent again.
        manager.stop(Which::parse("b")).unwrap();
        embedded_io_async::Write::write_all(&mut two.0, b"GET n\r\n").await.unwrap();
        assert!(matches!(embedded_io_async::Read::read(&mut two.0, &mut reply).await, Ok(0) | Err(_)));
    });
}

#[test]
fn a_replica_becomes_the_source_with_what_it_has_and_the_source_its_replica() {
    let (node, manager) = (Node::new(), Manager::new());
    with_node(&node, &manager, async {
        manager.start("kv:id=a,memory=1M,clients=3,acks=1,cores=1", None).unwrap();
        manager.start("kv:id=b,port=6380,memory=1M,clients=3,acks=1,replica-of=127.0.0.1:6379,cores=1", None).unwrap();
        let mut old = Client::connect(&node, 6379).await;
        assert_eq!(old.ask("SET k 1", 1).await, "+OK\r\n");
        // The replica takes over, alone at first. The other one does not know, and is not believed: it answers nothing.
        manager.set("b", "replica-of=none acks=0").unwrap();
        let mut new = Client::connect(&node, 6380).await;
        until("it is a source", async || new.ask("SET k 2", 1).await == "+OK\r\n").await;
        embedded_io_async::Write::write_all(&mut old.0, b"GET k\r\n").await.unwrap();
        let mut reply = [0; 100];
        assert!(matches!(embedded_io_async::Read::read(&mut old.0, &mut reply).await, Ok(0) | Err(_)));
        // It comes back as a replica, and the new source wants its word from then on.
        manager.set("a", "replica-of=127.0.0.1:6380").unwrap();
        manager.set("b", "acks=1").unwrap();
        let mut new = Client::connect(&node, 6380).await;
        assert_eq!(new.ask("GET k", 2).await, "$1\r\n2\r\n");
        assert_eq!(new.ask("INCR k", 1).await, ":3\r\n");
        until("it is shown", async || figure(&manager, "b", "minipirack_kv_replicas") == 1).await;
        // None of it was a restart: what they had they kept.
        manager.set("a", "acks=0").unwrap();
        let mut old = Client::connect(&node, 6379).await;
        assert_eq!(old.ask("GET k", 2).await, "$1\r\n3\r\n");
    });
}
