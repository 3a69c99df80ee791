//! A file is read as it is meant, and what is wrong with one is told with its place.
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use super::*;

const GOOD: &str = r#"
name = "lost worker"
seed = 7

[roles.sink]
workloads = ["pipeline stage=sink"]

[roles.queue]
workloads = ["pipeline stage=queue id=queue"]

[roles.worker]
count = 2
workloads = "pipeline stage=worker from={queue} to={sink} seed={index} id=worker"

[roles.source]
start = "warm-up"
workloads = ["pipeline to={queue} rate=100 id=source"]

[[phases]]
name = "warm-up"
for = "2s"

[[phases]]
name = "run"
for = "8s"
until = "source"

[[faults]]
at = "run+2s"
on = "worker[1]"
fault = "drop share=5% peer={sink} for=2s"

[[actions]]
at = "3s"
on = "source"
set = "source rate=200"

[expect]
that = ["delivered >= 99.9%", "lost == 0", "p99 of source in run <= 50ms", "failover <= 2s", "max depth of queue < 10"]
"#;

fn mistakes(text: &str) -> Vec<String> {
    Experiment::read(text).unwrap_err().iter().map(|mistake| mistake.show("x.toml", text)).collect()
}

/// Returns what is said about the good file with one change.
fn changed(from: &str, to: &str) -> String {
    assert!(GOOD.contains(from), "{from}");
    let all = mistakes(&GOOD.replacen(from, to, 1));
    all.join("\n")
}

#[test]
fn a_name_that_no_report_can_have_is_told_before_the_run() {
    let said = changed("lost worker", "a/b");
    assert!(said.contains("x.toml:2:9") && said.contains("'a/b' can't be the name of an experiment"), "{said}");
    assert!(changed("lost worker", "").contains("'' can't be the name"));
}

#[test]
fn a_file_is_read() {
    let experiment = Experiment::read(GOOD).unwrap();
    let names: Vec<_> = experiment.roles.iter().map(|role| (role.name.as_str(), role.count)).collect();
    assert_eq!(names, [("sink", 1), ("queue", 1), ("worker", 2), ("source", 1)]);
    assert_eq!((experiment.node_count(), experiment.length()), (5, Duration::from_secs(10)));
    let at: Vec<_> = experiment.events.iter().map(|event| event.at.as_secs()).collect();
    assert_eq!(at, [0, 3, 4]);
    let Deed::Fault(fault) = &experiment.events[2].what else { unreachable!("the last is a fault") };
    assert_eq!(fault.sample(), "drop share=5% peer=10.254.254.254 for=2s seed=7000");
    assert_eq!(experiment.events[2].on, Target { role: "worker".into(), index: Some(1) });
    assert_eq!(experiment.roles[0].workloads[0].template.sample(), "pipeline stage=sink id=pipeline");
    assert_eq!(
        (experiment.phases[1].start, experiment.phases[1].length),
        (Duration::from_secs(2), Duration::from_secs(8))
    );
    assert_eq!(experiment.expectations[2].measure.to_string(), "p99 of source in run");
    assert!(experiment.void.contains(&"under_voltage") && experiment.void.contains(&"rebooted"));
}

#[test]
fn nodes_of_a_role_are_taken_in_turn() {
    let experiment = Experiment::read(&GOOD.replace("[roles.queue]\n", "[roles.queue]\ncount = 2\n")).unwrap();
    let template = &experiment.roles[2].workloads[0].template;
    let fill = |index| {
        let address = |role: &str, index: usize| {
            Some(std::net::Ipv4Addr::new(10, 0, if role == "queue" { 1 } else { 2 }, u8::try_from(index).unwrap()))
        };
        template.fill(index, &address, &|role| if role == "queue" { 2 } else { 1 })
    };
    assert_eq!(fill(0), "pipeline stage=worker from=10.0.1.0 to=10.0.2.0 seed=0 id=worker");
    assert_eq!(fill(1), "pipeline stage=worker from=10.0.1.1 to=10.0.2.0 seed=1 id=worker");
}

#[test]
fn an_address_of_the_nodes_network_is_filled_in() {
    let experiment = Experiment::read(&GOOD.replacen("to={sink} seed", "to={net.250} seed", 1)).unwrap();
    let address = |_: &str, _| Some(std::net::Ipv4Addr::new(192, 168, 7, 31));
    let filled = experiment.roles[2].workloads[0].template.fill(1, &address, &|_| 1);
    assert_eq!(filled, "pipeline stage=worker from=192.168.7.31 to=192.168.7.250 seed=1 id=worker");
    for number in ["0", "255", "x", ""] {
        let said = mistakes(&changed("to={sink} seed", &format!("to={{net.{number}}} seed"))).join("\n");
        assert!(said.contains("write {net.250}"), "{said}");
    }
}

#[test]
fn mistakes_have_a_place_and_a_suggestion() {
    let cases = [
        ("seed = 7", "sede = 7", "there is no key 'sede'", "x.toml:3:1", "did you mean 'seed'?"),
        ("seed = 7", "seed = -7", "seed is a whole number", "x.toml:3:8", ""),
        (
            "on = \"worker[1]\"",
            "on = \"wroker[1]\"",
            "there is no role 'wroker'",
            "x.toml:30:7",
            "did you mean 'worker'?",
        ),
        ("on = \"worker[1]\"", "on = \"worker[2]\"", "there is no node 2 of role worker", "x.toml:30:14", "0 to 1"),
        ("to={sink}", "to={sunk}", "there is no role 'sunk'", "x.toml:13:53", "did you mean 'sink'?"),
        ("to={sink}", "to={sink", "there is no role", "x.toml:13", ""),
        ("stage=sink", "stge=sink", "pipeline has no parameter 'stge'", "x.toml:6:24", "did you mean 'stage'?"),
        ("stage=sink", "stage=snk", "stage=snk is not allowed", "x.toml:6:24", ""),
        ("pipeline stage=sink", "pipelin stage=sink", "there is no workload 'pipelin'", "x.toml:6:15", "'pipeline'?"),
        ("drop share", "dorp share", "there is no fault 'dorp'", "x.toml:31:10", "did you mean 'drop'?"),
        ("share=5%", "share=105%", "share= is", "x.toml:31:15", ""),
        ("share=5%", "shar=5%", "drop has no 'shar'", "x.toml:31:15", ""),
        (
            "drop share=5% peer={sink} for=2s",
            "reset after=5s",
            "a restart comes at once in an experiment",
            "x.toml:31:16",
            "say when with at = \"…\"",
        ),
        (
            "drop share=5% peer={sink} for=2s",
            "crash core=1 after=5s",
            "a restart comes at once",
            "x.toml:31:23",
            "at =",
        ),
        ("run+2s", "rum+2s", "there is no phase 'rum'", "x.toml:29:7", "did you mean 'run'?"),
        ("run+2s", "run+20s", "this is after the end", "x.toml:29:7", ""),
        ("run+2s", "run+2", "'2' is no time", "x.toml:29:11", "such as"),
        ("for = \"8s\"", "for = \"8\"", "'8' is no time", "x.toml:25:8", "500ms"),
        ("for = \"8s\"", "for = 8", "this is a text in quotes, not a integer", "x.toml:25:7", ""),
        ("until = \"source\"", "until = \"sauce\"", "there is no role 'sauce'", "x.toml:26", "source"),
        ("start = \"warm-up\"", "start = \"warmup\"", "there is no phase 'warmup'", "x.toml:16:10", "'warm-up'?"),
        (
            "set = \"source rate",
            "set = \"sorce rate",
            "there is no workload of that role 'sorce'",
            "x.toml:36:8",
            "'source'?",
        ),
        ("rate=200", "rat=200", "pipeline has no parameter 'rat'", "x.toml:36:15", "did you mean 'rate'?"),
        ("set = ", "ste = ", "there is no key 'ste'", "x.toml:36:1", "did you mean 'set'?"),
        ("delivered >=", "deliverd >=", "nothing is called 'deliverd' here", "x.toml:39:10", "'delivered'?"),
        ("delivered >=", "delivered =>", "'=' is not understood", "x.toml:39:20", ""),
        ("delivered >= 99.9%", "delivered", "a comparison is missing", "x.toml:39:10", "such as"),
        ("p99 of source in run", "p99 in run", "p99 of what?", "x.toml:39", "p99 of ROLE"),
        ("<= 50ms", "<= 50", "'50' can't be compared with p99 of source in run", "x.toml:39", "write a time"),
        ("depth of queue < 10", "depth of queue < 10%", "'10%' can't be compared", "x.toml:39", "no share"),
        ("in run <=", "in rnu <=", "there is no phase 'rnu'", "x.toml:39", "did you mean 'run'?"),
    ];
    let mut wrong = Vec::new();
    for (from, to, what, place, help) in cases {
        let said = changed(from, to);
        for part in [what, place, help] {
            if !said.contains(part) {
                wrong.push(format!("{from} -> {to}: no {part:?} in\n{said}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn all_mistakes_are_told_at_once_and_in_order() {
    let text =
        GOOD.replace("seed = 7", "sede = 7").replace("drop share", "dorp share").replace("lost == 0", "lst == 0");
    let said = mistakes(&text);
    assert_eq!(said.len(), 3, "{said:?}");
    assert!(said[0].contains("sede") && said[1].contains("dorp") && said[2].contains("lst"));
}

#[test]
fn broken_toml_has_a_place() {
    for (text, place) in
        [("name = ", "x:1:"), ("name = \"a\"\nname = \"b\"\n", "x:2:1"), ("[roles\n", "x:1:"), ("\u{0}", "x:1:")]
    {
        let all = Experiment::read(text).unwrap_err();
        let shown = all[0].show("x", text);
        assert!(shown.contains(place), "{shown}");
    }
}

#[test]
fn an_empty_file_says_what_is_missing() {
    let said = mistakes("").join("\n");
    for part in ["name is missing", "there is no phase", "there is no role", "nothing is expected"] {
        assert!(said.contains(part), "no {part:?} in\n{said}");
    }
}

#[test]
fn mangled_files_never_panic() {
    let bytes = GOOD.as_bytes();
    for at in 0..bytes.len() {
        for byte in [b'"', b'{', b'}', b'[', b'\n', b'=', b' '] {
            let mut mangled = bytes.to_vec();
            mangled[at] = byte;
            let text = String::from_utf8(mangled).unwrap();
            if let Err(all) = Experiment::read(&text) {
                all.iter().for_each(|mistake| assert!(mistake.show("x", &text).contains("--> x:")));
            }
        }
        let _ = Experiment::read(&GOOD[..at]);
    }
}

#[test]
fn what_a_history_says_needs_one_and_is_about_all_of_it() {
    let expect = |what: &str, history: &str| {
        let text = GOOD.replacen("lost == 0", what, 1).replacen("[expect]", &format!("{history}\n[expect]"), 1);
        Experiment::read(&text).map_err(|_| mistakes(&text).join("\n"))
    };
    let history = "[history]\nstores = [\"worker[1]\", \"sink\"]\npace = \"5ms\"\n";
    let read = expect("violations == 0", history).unwrap().history.unwrap();
    assert_eq!(read.stores[0], Target { role: "worker".into(), index: Some(1) });
    assert_eq!((read.clients, read.keys, read.pace), (4, 4, Duration::from_millis(5)));
    assert!(expect("violations == 0", "").unwrap_err().contains("there is no history for violations"));
    assert!(expect("lost_writes of sink == 0", history).unwrap_err().contains("one number, of the whole history"));
    assert!(expect("silence <= 5", history).unwrap_err().contains("write a time"));
    assert!(
        expect("violations == 0", "[history]\nstores = [\"wurker\"]\n").unwrap_err().contains("did you mean 'worker'")
    );
}
