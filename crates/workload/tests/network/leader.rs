//! Candidates at a store, and who has the address.

use std::net::Ipv4Addr;

use embassy_time::{Duration, Instant, Timer};
use sockets::{AddressLoss, AddressState, Network};
use workload::{Manager, Which};

use super::{Client, Node, figure, status, until, with_node};

const SPEC: &str = "leader:kv=127.0.0.1,address=10.0.0.250,lease=1s,margin=200ms,renew=200ms,cores=1";
const EXTRA: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 250);

/// Returns until when the node has the address.
fn held(network: &Network) -> Option<Instant> {
    network.address_order(Instant::now()).filter(|order| order.address == EXTRA).map(|order| order.until)
}

fn leads(manager: &Manager) -> bool {
    figure(manager, "leader", "minipirack_leader_is_leader") == 1
}

#[test]
fn a_candidate_leads_renews_and_is_replaced_when_it_stands_still() {
    let (node, manager) = (Node::new(), Manager::new());
    with_node(&node, &manager, async {
        manager.start("kv:memory=1M,clients=4,cores=1", None).unwrap();
        let mut rival = Client::connect(&node, 6379).await;
        let began = Instant::now();
        manager.start(SPEC, None).unwrap();
        // A new store might be one that has forgotten a lease.
        Timer::after_millis(900).await;
        assert!(!leads(&manager) && held(node.0).is_none());
        until("it leads", async || leads(&manager)).await;
        assert!((1000..1500).contains(&began.elapsed().as_millis()), "{} ms", began.elapsed().as_millis());
        until("it has the address", async || {
            figure(&manager, "leader", "minipirack_leader_address_held") == 1 && held(node.0).is_some()
        })
        .await;
        assert_eq!(rival.ask("GET leader:term", 2).await, "$1\r\n1\r\n");
        Timer::after_secs(10).await;
        assert!(leads(&manager), "renewed, it lasts");
        assert_eq!(rival.ask("SET leader other NX PX 1000", 1).await, "$-1\r\n");
        assert_eq!(figure(&manager, "leader", "minipirack_leader_terms_total"), 1);
        // It stands still: the address goes before the lease does, and the lease can be had by another then.
        assert!(manager.pause("leader", true));
        let mut gone = None;
        until("the lease is free", async || {
            gone = gone.or_else(|| held(node.0).is_none().then(Instant::now));
            rival.ask("SET leader other NX PX 2000", 1).await == "+OK\r\n"
        })
        .await;
        let ahead = gone.map(|gone| gone.elapsed());
        assert!(ahead >= Some(Duration::from_millis(150)), "{ahead:?} is too late, and None is never");
        assert!(manager.pause("leader", false));
        Timer::after_millis(300).await;
        assert!(!leads(&manager) && held(node.0).is_none(), "it knows that it has lost");
        assert_eq!(rival.ask("GET leader", 2).await, "$5\r\nother\r\n", "and leaves the other alone");
        until("it leads again", async || leads(&manager)).await;
        assert_eq!(rival.ask("GET leader:term", 2).await, "$1\r\n2\r\n");
        assert_eq!(figure(&manager, "leader", "minipirack_leader_step_downs_total"), 1);
        // Stopped, it has nothing any more, at once.
        manager.stop(Which::parse("leader")).unwrap();
        Timer::after_millis(50).await;
        assert_eq!(held(node.0), None);
    });
}

#[test]
fn a_leader_outlives_a_new_start_of_the_store_but_not_its_absence() {
    let (node, manager) = (Node::new(), Manager::new());
    with_node(&node, &manager, async {
        manager.start("kv:memory=1M,clients=4,cores=1", None).unwrap();
        manager.start(SPEC, None).unwrap();
        until("it leads", async || leads(&manager)).await;
        manager.restart(Which::parse("kv")).unwrap();
        Timer::after_secs(3).await;
        assert!(leads(&manager) && held(node.0).is_some());
        assert_eq!(figure(&manager, "leader", "minipirack_leader_terms_total"), 1, "the same term");
        let mut client = Client::connect(&node, 6379).await;
        assert_eq!(client.ask("GET leader:term", 2).await, "$1\r\n1\r\n", "the new store knows it");
        manager.stop(Which::parse("kv")).unwrap();
        let stopped = Instant::now();
        until("it steps down", async || !leads(&manager)).await;
        assert!(stopped.elapsed() <= Duration::from_millis(850), "{} ms", stopped.elapsed().as_millis());
        assert_eq!(held(node.0), None);
        assert!(figure(&manager, "leader", "minipirack_leader_disconnects_total") >= 1);
        manager.start("kv:memory=1M,clients=4,cores=1", None).unwrap();
        until("it leads again", async || leads(&manager)).await;
        let mut client = Client::connect(&node, 6379).await;
        assert_eq!(client.ask("GET leader:term", 2).await, "$1\r\n2\r\n", "terms go on");
    });
}

#[test]
fn a_leader_on_a_node_that_is_not_in_the_network_yet_leads_again_when_it_is() {
    let (node, manager) = (Node::new(), Manager::new());
    with_node(&node, &manager, async {
        manager.start("kv:memory=1M,clients=4,cores=1", None).unwrap();
        manager.start(SPEC, None).unwrap();
        for (term, loss) in [AddressLoss::Elsewhere, AddressLoss::Own, AddressLoss::Router].into_iter().enumerate() {
            until("it leads", async || leads(&manager)).await;
            let order = node.0.address_order(Instant::now()).unwrap();
            node.0.report_address(order.number, AddressState::Lost(loss));
            until("it gives up", async || !leads(&manager)).await;
            assert_eq!(status(&manager, "leader").reason, "", "{loss}");
            assert_eq!(figure(&manager, "leader", "minipirack_leader_terms_total"), term as u64 + 1);
        }
        until("it leads again", async || leads(&manager) && held(node.0).is_some()).await;
        let order = node.0.address_order(Instant::now()).unwrap();
        node.0.report_address(order.number, AddressState::Lost(AddressLoss::NoStation));
        until("it has failed", async || status(&manager, "leader").reason.contains("means a network")).await;
    });
}

#[test]
fn what_does_not_fit_together_is_told() {
    let (node, manager) = (Node::new(), Manager::new());
    with_node(&node, &manager, async {
        for (spec, reason) in [
            ("leader:id=a,kv=127.0.0.1,address=fe80::1,cores=1", "has to be an IPv4 address"),
            ("leader:id=b,kv=127.0.0.1,address=10.0.0.9,margin=1500ms,cores=1", "more than half of lease"),
            ("leader:id=c,kv=127.0.0.1,address=10.0.0.9,renew=1s,cores=1", "a third of lease less margin"),
        ] {
            let id = manager.start(spec, None).unwrap().id;
            until("it has failed", async || !status(&manager, &id).reason.is_empty()).await;
            assert!(status(&manager, &id).reason.contains(reason), "{}", status(&manager, &id).reason);
        }
        // Two that want an address on one node.
        manager.start("kv:memory=1M,clients=4,cores=1", None).unwrap();
        let _other = node.0.claim_address([10, 0, 0, 9].into(), Instant::now() + Duration::from_secs(60)).unwrap();
        manager.stop(Which::All).unwrap();
        manager.start("kv:memory=1M,clients=4,cores=1", None).unwrap();
        manager.start(SPEC, None).unwrap();
        until("it has failed", async || status(&manager, "leader").reason.contains("another workload")).await;
    });
}
