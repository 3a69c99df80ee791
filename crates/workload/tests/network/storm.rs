//! A retry storm: a service that was slow for two seconds stays useless because its clients try again, unless they stop.

use embassy_time::Timer;
use workload::Manager;

use super::{Node, figure, with_node};

/// What a client got out of a service in each of a number of seconds, and of its figures at the end.
struct Run {
    /// Requests answered, by second.
    goodput: Vec<u64>,
    retries: u64,
    rejected: u64,
    openings: u64,
}

/// A service for 200 requests per second is asked for 120, and is so slow that it manages 10 from second 3 to second 5.
fn run(client: &str) -> Run {
    let (node, manager) = (Node::new(), Manager::new());
    with_node(&node, &manager, async {
        manager.start("http:concurrency=2,delay=10ms,queue=40,clients=60,cores=1", None).unwrap();
        let load = "load:peer=127.0.0.1:8080,proto=http,rate=120,connections=32,timeout=1s,try-timeout=100ms,cores=1";
        manager.start(&format!("{load},{client}"), None).unwrap();
        let completed = || figure(&manager, "load", "minipirack_load_completed_total");
        let (mut goodput, mut before) = (Vec::new(), 0);
        for second in 0..20 {
            let slow = match second {
                3 => Some("delay=200ms"),
                5 => Some("delay=10ms"),
                _ => None,
            };
            if let Some(delay) = slow {
                manager.set("http", delay).unwrap();
            }
            Timer::after_secs(1).await;
            let now = completed();
            goodput.push(now - before);
            before = now;
        }
        let total = |name: &str| figure(&manager, "load", &format!("minipirack_load_{name}_total"));
        let ends =
            ["timeouts", "overload", "bad_answers", "lost", "rejected", "completed"].map(total).iter().sum::<u64>();
        let under_way = figure(&manager, "load", "minipirack_load_under_way");
        assert!(total("offered").abs_diff(ends + under_way) <= 30, "every request has one end");
        Run { goodput, retries: total("retries"), rejected: total("rejected"), openings: total("breaker_openings") }
    })
}

#[test]
fn retries_keep_a_service_down_that_was_slow_for_a_moment_and_a_breaker_lets_it_recover() {
    // Nobody tries again: when it is over it is over.
    let calm = run("retries=0");
    assert!(calm.goodput[11..].iter().all(|n| *n > 110), "{:?}", calm.goodput);
    assert_eq!((calm.retries, calm.rejected, calm.openings), (0, 0, 0));
    // Everybody tries again at once: the queue stays so long that each answer comes too late, long after the cause is gone.
    let storm = run("retries=10");
    assert!(storm.goodput[1..3].iter().all(|n| *n > 110), "{:?}", storm.goodput);
    assert!(storm.goodput[11..].iter().all(|n| *n < 60), "{:?}", storm.goodput);
    // The same clients, with a circuit breaker: they stop, the queue empties, and they go on.
    let broken = run("retries=10,breaker=50%,breaker-open=1s");
    assert!(broken.goodput[11..].iter().all(|n| *n > 110), "{:?}", broken.goodput);
    assert!(broken.openings >= 1 && broken.rejected > 0 && broken.retries < storm.retries / 4);
}
