//! Measures of made-up runs.
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use serde_json::json;

use super::super::book::Kind as EntryKind;
use super::super::crew::Member;
use super::super::file::Experiment;
use super::super::series::Reading;
use super::*;
use crate::fleet::tests::{look, node};

const FILE: &str = r#"
name = "x"
[roles.sink]
workloads = ["pipeline stage=sink id=sink"]
[roles.worker]
count = 2
workloads = ["pipeline stage=worker from={sink} to={sink} id=worker"]
[roles.source]
workloads = ["pipeline to={sink} id=source"]
[[phases]]
name = "a"
for = "4s"
[[phases]]
name = "b"
for = "4s"
[expect]
that = ["lost == 0"]
"#;

/// A node whose workload does `rates[second]` operations in each second, each of them in 1 ms, or in 100 ms from the second phase on.
fn track(begin: Instant, id: &str, rates: &[u64], figures: impl Fn(u64) -> serde_json::Value) -> Track {
    let (mut track, mut done, mut slow) = (Track::default(), 0, 0);
    for second in 0..=rates.len() {
        let durations: Vec<u64> = [(1_000, done - slow), (98_304, slow)]
            .into_iter()
            .filter(|(_, n)| *n > 0)
            .flat_map(|(us, n)| [us, n])
            .collect();
        let state = if rates.get(second.saturating_sub(1)) == Some(&0) { "stopped" } else { "running" };
        let work = json!({"id": id, "state": state, "runs": 1, "operations": done, "figures": figures(done), "durations_us": durations});
        let reading = json!({"boots": 1, "sample_us": second, "workloads": [work]});
        track.add(begin + Duration::from_secs(second as u64), Reading::read(&reading).unwrap());
        let rate = rates.get(second).copied().unwrap_or(0);
        done += rate;
        slow += if second >= 4 { rate } else { 0 };
    }
    track
}

#[test]
fn every_measure_means_what_is_documented() {
    let experiment = Experiment::read(FILE).unwrap();
    let parts = [(0, 0), (1, 0), (1, 1), (2, 0)];
    let members = parts.iter().zip(1..).map(|((role, index), number)| Member {
        role: *role,
        index: *index,
        node: node("pi", number),
        look: look(),
    });
    let crew = Crew { experiment: &experiment, members: members.collect() };
    let begin = Instant::now();
    let at = |second| begin + Duration::from_secs(second);
    let tracks = [
        track(
            begin,
            "sink",
            &[1, 0, 0, 0, 0, 0, 0, 0],
            |done| json!({"minipirack_pipeline_delivered_total": done * 79, "minipirack_pipeline_missing": 1}),
        ),
        track(
            begin,
            "worker",
            &[10; 8],
            |done| json!({"minipirack_pipeline_delivered_total": done, "minipirack_pipeline_sent_total": done}),
        ),
        track(
            begin,
            "worker",
            &[10, 10, 10, 10, 0, 0, 0, 0],
            |done| json!({"minipirack_pipeline_lost_total": done.min(9)}),
        ),
        track(
            begin,
            "source",
            &[10; 8],
            |done| json!({"minipirack_pipeline_sent_total": done, "minipirack_pipeline_depth": done % 30}),
        ),
    ];
    let spans =
        [("a", 0, 4), ("b", 4, 8)].map(|(name, from, to)| Span { name: name.into(), from: at(from), to: at(to) });
    let disturbances = vec![Disturbance { from: at(4), text: "kill on worker[1]".into() }];
    let judge = Judge {
        crew: &crew,
        tracks: tracks.iter().collect(),
        spans: &spans,
        disturbances,
        finding: None,
        interval: Duration::from_secs(1),
    };
    let measure = |text: &str| {
        let file = FILE.replace("lost == 0", text);
        let experiment = Experiment::read(&file).unwrap();
        let expectation = &experiment.expectations[0];
        let measured = judge.measure(&expectation.measure, expectation.kind);
        (measured.value, holds(measured.value.unwrap_or(f64::NAN), expectation.comparison, expectation.value))
    };
    for (text, value, is_met) in [
        // Sinks have got 79 of the 80 that sources have sent; what stages in between count is theirs.
        ("delivered >= 98%", Some(79.0 / 80.0), true),
        ("delivered >= 100%", Some(79.0 / 80.0), false),
        ("lost == 0", None, false),
        ("lost of worker <= 9", Some(9.0), true),
        ("missing < 1", Some(1.0), false),
        ("sent in b == 40", Some(40.0), true),
        ("max sent == 10", Some(10.0), true),
        ("max depth in a == 20", Some(20.0), true),
        ("last depth == 20", Some(20.0), true),
        ("mean throughput of worker in a != 20/s", Some(20.0), false),
        ("throughput of worker >= 15/s", Some(15.0), true),
        ("min throughput of worker > 9/s", Some(10.0), true),
        ("size of worker == 1", Some(1.0), true),
        ("max size of worker in a == 2", Some(2.0), true),
        ("p50 of source in a <= 2ms", Some(0.001_016), true),
        ("p99 of source in b <= 50ms", Some(0.100_352), false),
        ("max p50 of source <= 200ms", Some(0.100_352), true),
        ("failover of worker <= 3s", Some(0.0), true),
        ("gap of worker <= 3s", Some(1.0), true),
        ("p50 of sink in b <= 1s", None, false),
    ] {
        assert_eq!(measure(text), (value, is_met), "{text}");
    }
}

#[test]
fn of_what_an_action_has_started_only_ends_of_the_pipeline_count_too() {
    let action = "[[actions]]\nat = \"a\"\non = \"worker[1]\"\nstart = \"pipeline stage=worker from={sink} to={sink} id=more\"\n";
    let second = "[[actions]]\nat = \"a\"\non = \"source\"\nstart = \"pipeline to={sink} id=surge\"\n[expect]";
    let experiment = Experiment::read(&FILE.replace("[expect]", &format!("{action}{second}"))).unwrap();
    let members = (1..).zip([(1, 1), (2, 0)]).map(|(number, (role, index))| Member {
        role,
        index,
        node: node("pi", number),
        look: look(),
    });
    let crew = Crew { experiment: &experiment, members: members.collect() };
    let begin = Instant::now();
    let passed_on = |done| json!({"minipirack_pipeline_delivered_total": done, "minipirack_pipeline_sent_total": done});
    let sent = |done| json!({"minipirack_pipeline_sent_total": done});
    let tracks = [track(begin, "more", &[10; 4], passed_on), track(begin, "surge", &[10; 4], sent)];
    let spans = [Span { name: "a".into(), from: begin, to: begin + Duration::from_secs(4) }];
    let judge = Judge {
        crew: &crew,
        tracks: tracks.iter().collect(),
        spans: &spans,
        disturbances: Vec::new(),
        finding: None,
        interval: Duration::from_secs(1),
    };
    let sum = |text: &str| {
        let experiment = Experiment::read(&FILE.replace("lost == 0", text)).unwrap();
        judge.measure(&experiment.expectations[0].measure, Kind::Plain).value
    };
    // A worker's are none of the pipeline's as a whole, whoever has started it; the surge is.
    assert_eq!((sum("delivered == 0"), sum("sent == 40")), (None, Some(40.0)));
    assert_eq!(sum("delivered of worker == 40"), Some(40.0));
}

#[test]
fn levels_of_several_nodes_are_not_those_of_different_times() {
    let experiment = Experiment::read(FILE).unwrap();
    let members = (1..).zip([(1, 0), (1, 1)]).map(|(number, (role, index))| Member {
        role,
        index,
        node: node("pi", number),
        look: look(),
    });
    let crew = Crew { experiment: &experiment, members: members.collect() };
    let begin = Instant::now();
    // The first has one until it falls silent, at 1 s. The second has one from 4 s on.
    let mut tracks = [Track::default(), Track::default()];
    for second in 0..8_u64 {
        let mut tell = |at: usize, depth: u32| {
            let figures = json!({"minipirack_pipeline_depth": depth});
            let work = json!({"id": "worker", "state": "running", "runs": 1, "figures": figures, "durations_us": []});
            let reading = json!({"boots": 1, "sample_us": second, "workloads": [work]});
            tracks[at].add(begin + Duration::from_secs(second), Reading::read(&reading).unwrap());
        };
        if !(2..=6).contains(&second) {
            tell(0, u32::from(second < 2));
        }
        tell(1, u32::from(second > 3));
    }
    let spans = [Span { name: "a".into(), from: begin, to: begin + Duration::from_secs(7) }];
    let judge = Judge {
        crew: &crew,
        tracks: tracks.iter().collect(),
        spans: &spans,
        disturbances: Vec::new(),
        finding: None,
        interval: Duration::from_secs(1),
    };
    for (text, value) in [("max depth <= 1", 1.0), ("last depth <= 1", 1.0), ("min depth <= 1", 1.0)] {
        let experiment = Experiment::read(&FILE.replace("lost == 0", text)).unwrap();
        let measured = judge.measure(&experiment.expectations[0].measure, Kind::Plain);
        assert_eq!(measured.value, Some(value), "{text}");
    }
}

#[test]
fn only_faults_that_were_there_disturb() {
    let experiment = Experiment::read(FILE).unwrap();
    let crew = Crew {
        experiment: &experiment,
        members: vec![Member { role: 1, index: 1, node: node("pi", 1), look: look() }],
    };
    let fault = Entry::new(EntryKind::Fault, Some(0), "drop share=5%");
    let failed = Entry { error: Some("no".into()), ..fault.clone() };
    let found = disturbances(&[fault, failed, Entry::new(EntryKind::Phase, None, "a")], &crew);
    assert_eq!(found.iter().map(|found| found.text.as_str()).collect::<Vec<_>>(), ["drop on worker[1]"]);
}
