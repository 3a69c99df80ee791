//! The reference architectures on virtual nodes, as a user runs them; the pipeline that loses its workers is among the usual tests. What
//! is expected stands in the files, the bad case of a pair included; here it is looked at what came of it besides.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::Value;

use super::Place;

/// Runs a reference architecture on a virtual rack of its own, and returns all that was measured.
#[expect(clippy::print_stdout, reason = "with CI's output it is known how far the limits were")]
fn run(place: &Place, name: &str, options: &[&str]) -> Value {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("experiments/{name}.toml"));
    let file = file.to_str().unwrap();
    let (status, out, errors) = place.say(&[&["experiment", "--no-build", "--json", "x.json", file], options].concat());
    println!("{out}");
    assert_eq!(status, Some(0), "{out}{errors}");
    serde_json::from_slice(&fs::read(place.path("x.json")).unwrap()).unwrap()
}

/// Returns what was measured for an expectation, by the beginning of its text.
fn measured(json: &Value, that: &str) -> f64 {
    let all = json["expectations"].as_array().unwrap();
    let found = all.iter().find(|one| one["that"].as_str().unwrap().starts_with(that));
    assert!(found.is_some(), "nobody expects {that}");
    found.unwrap()["value"].as_f64().unwrap()
}

/// Returns the last value of a figure of a workload.
fn last(json: &Value, part: &str, id: &str, figure: &str) -> f64 {
    let node = json["nodes"].as_array().unwrap().iter().find(|node| node["part"] == part).unwrap();
    node["series"]["workloads"][id].as_array().unwrap().last().unwrap()["figures"][figure].as_f64().unwrap()
}

#[test]
#[ignore = "the reference architectures take minutes: cargo test -p rack --test experiment -- --ignored"]
fn workers_come_and_go_with_the_load_and_nothing_is_lost() {
    let json = run(&Place::new(), "autoscale", &["--up"]);
    // 10 a second for 35 s, and 25 for 12 s.
    let sent = last(&json, "source", "source", "sent") + last(&json, "source", "surge", "sent");
    assert_eq!((sent, last(&json, "hub", "sink", "delivered")), (650.0, 650.0));
    let events = json["events"].as_array().unwrap();
    let count = |verb: &str| {
        let is_meant =
            |event: &&Value| event["kind"] == "controller" && event["text"].as_str().unwrap().starts_with(verb);
        events.iter().filter(is_meant).count()
    };
    assert!(count("add") >= 1 && count("remove") >= 1, "{events:?}");
}

#[test]
#[ignore = "the reference architectures take minutes: cargo test -p rack --test experiment -- --ignored"]
fn a_store_that_does_not_wait_for_its_replica_loses_acknowledged_writes_and_one_that_waits_does_not() {
    let place = Place::new();
    let json = run(&place, "kv-partition", &["--up"]);
    assert!(measured(&json, "lost_writes") >= 1.0 && measured(&json, "violations") >= 1.0);
    let json = run(&place, "kv-partition-acks", &["--up"]);
    assert_eq!((measured(&json, "lost_writes"), measured(&json, "violations")), (0.0, 0.0));
}

#[test]
#[ignore = "the reference architectures take minutes: cargo test -p rack --test experiment -- --ignored"]
fn a_retry_storm_outlives_its_cause_and_a_breaker_ends_it() {
    let place = Place::new();
    let storm = run(&place, "retry-storm", &["--up"]);
    let breaker = run(&place, "retry-storm-breaker", &["--up"]);
    let after = [&storm, &breaker].map(|json| measured(json, "throughput of client in after"));
    assert!(after[0] * 2.0 < after[1], "{after:?}");
    // The service worked all the time, in both: in the storm for nobody.
    let operations = [&storm, &breaker].map(|json| last(json, "service", "service", "operations"));
    assert!(operations[0] > operations[1] / 2.0, "{operations:?}");
}

const ADDRESS: [u8; 4] = [10, 77, 0, 250];
const ECHO: [u8; 2] = [0, 7];

#[test]
#[ignore = "the reference architectures take minutes: cargo test -p rack --test experiment -- --ignored"]
fn the_address_moves_with_the_lease_and_two_never_answer_for_it() {
    let place = Place::new();
    let pcap = place.path("pcap");
    let up = ["up", "5", "--rack", "e", "--no-build", "--precise", "--pcap", pcap.to_str().unwrap()];
    assert_eq!(place.say(&up).0, Some(0));
    let json = run(&place, "leader-election", &["--rack", "e"]);
    place.say(&["down", "--rack", "e"]);
    assert!((0.5..=6.0).contains(&measured(&json, "failover of client")));

    // On the wire: who has announced the address, and who has answered from it.
    let bytes = fs::read(pcap.join("all.pcap")).unwrap();
    let (mut holder, mut holders, mut answers) = (None, Vec::new(), BTreeMap::<[u8; 6], u32>::new());
    for frame in super::frames(&bytes) {
        let Some(station) = frame.get(6..).and_then(|frame| frame.first_chunk::<6>()).copied() else { continue };
        // ARP: sender and target are the address (RFC 5227, section 3).
        let is_announcement = frame.get(12..14) == Some(&[8, 6])
            && frame.get(28..32) == Some(&ADDRESS)
            && frame.get(38..42) == Some(&ADDRESS);
        // IPv4 without options, UDP, from port 7.
        let is_answer = frame.get(12..15) == Some(&[8, 0, 0x45])
            && frame.get(23) == Some(&17)
            && frame.get(26..30) == Some(&ADDRESS)
            && frame.get(34..36) == Some(&ECHO);
        if is_announcement && holder != Some(station) {
            holder = Some(station);
            holders.push(station);
        }
        if is_answer {
            assert_eq!(holder, Some(station), "answered after another had the address: {holders:02x?}");
            *answers.entry(station).or_default() += 1;
        }
    }
    // The first, the one after its reset, and the one after the partition.
    assert!(holders.len() >= 3 && answers.len() >= 2, "{holders:02x?} {answers:?}");
}
