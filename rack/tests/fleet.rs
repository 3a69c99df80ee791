//! Many nodes by the commands that a user has: found, asked, told; and named when they do not answer.
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;

use nix::sys::signal::Signal;
use serde_json::Value;
use tests::lab::say;
use tests::tool::{PATIENCE, Racks, signal, until};

#[test]
fn a_rack_is_listed_told_and_its_dead_are_named() {
    let racks = Racks::new(env!("CARGO_BIN_EXE_rack"));
    racks.succeed(&["up", "3", "--rack", "a", "--name", "web", "--no-build", "--append", "workload=cpu:load=5%"]);

    let list = racks.json(&["ls", "--rack", "a", "--json"]);
    assert_eq!(list["warnings"], Value::Array(vec![]), "{list}");
    let nodes = list["nodes"].as_array().unwrap();
    let names: Vec<_> = nodes.iter().map(|node| node["node"].as_str().unwrap()).collect();
    assert_eq!(names, ["web-1", "web-2", "web-3"]);
    for node in nodes {
        assert_eq!((&node["error"], &node["read_only"]), (&Value::Null, &Value::Bool(false)), "{node}");
        assert_eq!(node["workloads"][0]["spec"], "cpu load=5%", "{node}");
    }

    // The key that `up` has made is this user's alone.
    let key = racks.place("a").join("ssh_key");
    assert_eq!(std::fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
    racks.succeed(&["run", "--rack", "a", "--all", "workload", "stop", "cpu"]);
    let out = racks.succeed(&["run", "--rack", "a", "--all", "status"]);
    for name in ["web-1", "web-2", "web-3"] {
        let line = out.lines().find(|line| line.starts_with(name) && line.contains("| name")).unwrap();
        assert!(line.ends_with(name), "{out}");
    }
    let (status, _, errors) = racks.say(&["run", "--rack", "a", "2", "nonsense"]);
    assert_eq!(status, Some(1), "{errors}");
    let (status, _, errors) = racks.say(&["run", "--rack", "a", "web-9", "status"]);
    assert!(status == Some(1) && errors.contains("there are web-1, web-2, web-3"), "{errors}");

    racks.run(&["run", "--rack", "a", "1", "note", "for the log"]);
    let (status, out, errors) = racks.say(&["logs", "--rack", "a", "web-1"]);
    assert!(status == Some(0) && out.contains("note: for the log") && !out.contains("web-2"), "{out}{errors}");

    let targets = racks.json(&["targets", "--rack", "a"]);
    assert_eq!(targets.as_array().unwrap().len(), 3, "{targets}");
    assert_eq!(targets[0]["labels"]["instance"], "web-1");
    // Prometheus understands what is written for it.
    let monitoring = racks.path("monitoring");
    std::fs::create_dir(&monitoring).unwrap();
    let configuration = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/monitoring/prometheus.yml");
    std::fs::copy(configuration, monitoring.join("prometheus.yml")).unwrap();
    racks.run(&["targets", "--rack", "a", "--output", monitoring.join("nodes.json").to_str().unwrap()]);
    let promtool =
        Command::new("promtool").args(["check", "config", "prometheus.yml"]).current_dir(&monitoring).output();
    if let Ok(checked) = promtool {
        let said = String::from_utf8_lossy(&[checked.stdout, checked.stderr].concat()).into_owned();
        assert!(checked.status.success() && !said.contains("does not exist"), "{said}");
    } else {
        say("NOT TESTED (needs the package prometheus): its configuration with the targets of a rack");
    }

    // A host key that is not the rack's is refused.
    let known = racks.place("a").join("known_hosts");
    let good = std::fs::read_to_string(&known).unwrap();
    std::fs::write(&known, good.replace("web-1 ", "web-0 ").replace("web-2 ", "web-1 ")).unwrap();
    let (status, _, errors) = racks.say(&["run", "--rack", "a", "1", "status"]);
    assert!(status == Some(1) && errors.contains("web-1: error: its host key is another one"), "{errors}");
    std::fs::write(&known, good).unwrap();

    // A node dies: it is named, and the others are served.
    signal(&racks.nodes("a")[2]["pid"], Signal::SIGKILL);
    until("the end of web-3", || (racks.nodes("a")[2]["state"] == "ended").then_some(()));
    let (status, out, errors) = racks.say(&["run", "--rack", "a", "--all", "status"]);
    assert_eq!(status, Some(1));
    assert!(
        errors.contains("web-3: error: QEMU ended") && errors.contains("failed on 1 of 3 nodes: web-3"),
        "{errors}"
    );
    assert!(out.contains("web-1 |") && out.contains("web-2 |"), "{out}");
    let (status, out, errors) = racks.say(&["ls", "--rack", "a"]);
    assert!(status == Some(1) && out.contains("DOES NOT ANSWER"), "{out}");
    assert!(errors.contains("web-3 (10.77.0.13) does not answer: QEMU ended"), "{errors}");

    racks.run(&["down", "--rack", "a"]);
    assert!(!key.exists());
    racks.succeed(&["up", "1", "--rack", "b", "--read-only", "--no-build"]);
    let (status, _, errors) = racks.say(&["run", "--rack", "b", "1", "status"]);
    assert!(status == Some(1) && errors.contains("read-only"), "{errors}");
    assert!(racks.say(&["run", "--rack", "a", "1", "status"]).2.contains("rack a is not up"));
}

#[test]
fn a_log_is_followed_through_a_restart_and_an_led_blinks() {
    let racks = Racks::new(env!("CARGO_BIN_EXE_rack"));
    racks.succeed(&["up", "1", "--rack", "f", "--name", "web", "--no-build"]);
    let said = racks.json(&["run", "--rack", "f", "--all", "--json", "status"]);
    assert!(said.to_string().contains("web-1"), "{said}");
    racks.succeed(&["blink", "--rack", "f", "1", "--time", "1"]);
    assert!(racks.succeed(&["completions", "bash"]).contains("experiment"));

    let mut follower = racks.command(&["logs", "--rack", "f", "-f", "--json"]).stdout(Stdio::piped()).spawn().unwrap();
    let (lines, heard) = mpsc::channel();
    let out = BufReader::new(follower.stdout.take().unwrap());
    let reader = thread::spawn(move || out.lines().map_while(Result::ok).try_for_each(|line| lines.send(line)));
    let wait_for = |text: &str| {
        let found = std::iter::from_fn(|| heard.recv_timeout(PATIENCE).ok())
            .map(|line| serde_json::from_str::<Value>(&line).unwrap())
            .find(|line| line["text"].as_str().unwrap().contains(text));
        assert!(found.is_some_and(|line| line["node"] == "web-1"), "no {text:?} of web-1");
    };
    racks.succeed(&["run", "--rack", "f", "1", "note", "before"]);
    wait_for("note: before");
    racks.succeed(&["run", "--rack", "f", "1", "reboot"]);
    let note = ["run", "--rack", "f", "1", "note", "afterwards"];
    // While it starts it takes no orders.
    until("the node again", || (racks.say(&note).0 == Some(0)).then_some(()));
    wait_for("note: afterwards");
    signal(&follower.id().into(), Signal::SIGINT);
    follower.wait().unwrap();
    assert!(reader.join().unwrap().is_ok());
}
