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
