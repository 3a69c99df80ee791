//! A thousand faults in a row on five nodes, of all kinds: no message is lost, and afterwards all nodes are as they were. Takes four minutes.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;

use serde_json::Value;

use super::Place;

const FAULTS: usize = 1000;
/// Faults per second.
const RATE: usize = 5;
/// Restarts among them, of each node that may restart. Nothing else is planned for a node that long after one.
const RESTARTS: usize = 4;
const RESTART_MS: usize = 12_000;
/// The nodes of the pipeline. Source and sink keep the books: with them, messages are forgotten, not lost.
const NODES: [(&str, &str); 5] =
    [("source", "source"), ("queue", "queue"), ("worker[0]", "worker"), ("worker[1]", "worker"), ("sink", "sink")];
const MAY_RESTART: [usize; 3] = [1, 2, 3];

/// A stream of pseudo-random numbers (xorshift64*; Vigna 2016).
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % end
    }

    /// Returns what is to happen to a node for a while.
    fn fault(&mut self, node: usize) -> String {
        let id = NODES[node].1;
        let for_ms = 100 + self.below(900);
        let words = match self.below(if MAY_RESTART.contains(&node) { 14 } else { 13 }) {
            0 => format!("drop share={}%", 1 + self.below(60)),
            1 => "partition".into(),
            2 => format!("partition dir={}", ["in", "out"][self.below(2)]),
            3 => format!("delay time={}ms jitter=5ms", 5 + self.below(50)),
            4 => format!("reorder share=20% time={}ms", 1 + self.below(20)),
            5 => format!("duplicate share={}%", 1 + self.below(50)),
            6 => format!("corrupt share=20% bits={} checksum=bad", 1 + self.below(8)),
            // What only the pipeline's own checksums can find.
            7 => "corrupt share=10% bits=3 checksum=fixed proto=tcp".into(),
            8 => format!("rate rate={}kbit/s", 200 + self.below(2000)),
            9 => format!("pause {id}"),
            10 => format!("stall core={}", 1 + self.below(3)),
            11 => format!("memory take={}M", 1 + self.below(32)),
            12 => format!("clock skew=-{}ms", 1 + self.below(3000)),
            _ => format!("kill {id}"),
        };
        format!("{words} for={for_ms}ms")
    }
}

/// Returns the kind of a restart: resets and crashes take turns.
/// Returns what the nodes of rack e say at a path of `/api/v1`, in order.
fn ask(place: &Place, what: &str) -> Vec<Value> {
    let racks: Value = serde_json::from_str(&place.say(&["ps", "--rack", "e", "--json"]).1).unwrap();
    let nodes = racks[0]["nodes"].as_array().unwrap();
    let answer = |node: &Value| {
        let address = node["forwards"][0]["host"].as_str().unwrap().parse().unwrap();
        serde_json::from_slice(&tests::http::get(address, &format!("/api/v1/{what}")).unwrap().body).unwrap()
    };
    nodes.iter().map(answer).collect()
}

/// Returns the starts and crashes that each node knows of.
fn lives(place: &Place) -> Vec<(u64, u64)> {
    let nodes = ask(place, "node");
    nodes.iter().map(|node| (node["boots"].as_u64().unwrap(), node["crashes"].as_u64().unwrap())).collect()
}

/// Returns the faults: when (in ms), on which node, and what.
fn faults() -> Vec<(usize, usize, String)> {
    let mut random = Random(7);
    let span = FAULTS * 1000 / RATE;
    // Restarts take turns, so that there is always one worker.
    let restarts = RESTARTS * MAY_RESTART.len();
    let restart = |number: usize| (number * span / restarts + 1000, MAY_RESTART[number % MAY_RESTART.len()]);
    let mut faults: Vec<_> = (0..restarts)
        .map(|number| {
            let (at, node) = restart(number);
            (at, node, if number % 2 == 0 { "reset".to_owned() } else { format!("crash core={}", number % 4) })
        })
        .collect();
    while faults.len() < FAULTS {
        let (at, node) = (random.below(span), random.below(NODES.len()));
        let is_away = |number| {
            let (from, who) = restart(number);
            who == node && (from.saturating_sub(1000)..from + RESTART_MS).contains(&at)
        };
        if !(0..restarts).any(is_away) {
            faults.push((at, node, random.fault(node)));
        }
    }
    faults.sort();
    faults
}

#[test]
#[ignore = "takes four minutes: cargo test -p rack --test experiment -- --ignored"]
fn a_thousand_faults_lose_no_message_and_leave_nothing() {
    let place = Place::new();
    let seconds = FAULTS / RATE;
    let mut file = format!(
        r#"
        name = "thousand"
        [roles.sink]
        workloads = ["pipeline stage=sink id=sink"]
        [roles.queue]
        workloads = ["pipeline stage=queue timeout=1s id=queue"]
        [roles.worker]
        count = 2
        workloads = ["pipeline stage=worker from={{queue}} to={{sink}} id=worker"]
        [roles.source]
        start = "run"
        workloads = ["pipeline to={{queue}} rate=20 duration={seconds}s timeout=1s id=source"]
        [[phases]]
        name = "run"
        for = "{}s"
        [[phases]]
        name = "drain"
        for = "60s"
        until = "source"
        [expect]
        that = ["delivered >= 100%", "lost == 0"]
        "#,
        seconds + 5
    );
    for (at, node, fault) in faults() {
        let on = NODES[node].0;
        writeln!(file, "[[faults]]\nat = \"{at}ms\"\non = \"{on}\"\nfault = \"{fault}\"").unwrap();
    }
    fs::write(place.path("thousand.toml"), file).unwrap();
    let (status, _, errors) = place.say(&["up", "5", "--rack", "e", "--forward", "80", "--no-build"]);
    assert_eq!(status, Some(0), "{errors}");
    let before = lives(&place);
    let run = ["experiment", "--rack", "e", "--no-build", "--json", "x.json", "thousand.toml"];
    let (status, out, errors) = place.say(&run);
    // What the nodes know about a failure.
    let log = if status == Some(0) { String::new() } else { place.say(&["run", "--rack", "e", "--all", "log"]).1 };
    assert_eq!(status, Some(0), "{out}{errors}{log}");

    // All of them have been, and every node is what it was before.
    let json: Value = serde_json::from_slice(&fs::read(place.path("x.json")).unwrap()).unwrap();
    let events = json["events"].as_array().unwrap();
    let obeyed =
        events.iter().filter(|event| event["kind"] == "fault" && !event["done"].is_null() && event["error"].is_null());
    assert_eq!(obeyed.count(), FAULTS);
    let (status, out, errors) = place.say(&["run", "--rack", "e", "--all", "fault", "list"]);
    assert_eq!((status, out.matches("no faults").count()), (Some(0), NODES.len()), "{out}{errors}");
    let (status, out, errors) = place.say(&["ls", "--rack", "e", "--json"]);
    assert_eq!(status, Some(0), "{out}{errors}");

    // The nodes have restarted as often as they were told to, and crashed no more often than that.
    let mut ordered: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for event in events.iter().filter(|event| event["kind"] == "fault") {
        let count = ordered.entry(event["node"].as_str().unwrap()).or_default();
        let kind = event["text"].as_str().unwrap().split(' ').next().unwrap();
        count.0 += u64::from(["reset", "crash"].contains(&kind));
        count.1 += u64::from(kind == "crash");
    }
    // By name, which is how those of the rack are counted, too.
    let mut nodes: Vec<_> = json["nodes"].as_array().unwrap().iter().collect();
    nodes.sort_by_key(|node| node["node"].as_str().unwrap());
    let lived = lives(&place).into_iter().zip(before).map(|(now, before)| (now.0 - before.0, now.1 - before.1));
    let wanted: Vec<_> = nodes.iter().map(|node| ordered[node["part"].as_str().unwrap()]).collect();
    assert_eq!(lived.collect::<Vec<_>>(), wanted, "starts and crashes");
    // Nothing runs or has failed. Nodes forget what has ended when they are started anew; those that never were do not.
    for (node, works) in nodes.iter().zip(ask(&place, "workloads")) {
        for work in works.as_array().unwrap() {
            assert!(["stopped", "finished"].iter().any(|state| work["state"] == *state), "{}: {work}", node["node"]);
        }
    }
}
