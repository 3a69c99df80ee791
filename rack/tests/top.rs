//! `top` over two virtual nodes: on a terminal as a user has it, and as a table for scripts.
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use nix::sys::signal::Signal;
use serde_json::Value;
use tests::tool::{Racks, SCREEN_GIVEN_BACK, Session, signal, until};

/// Waits for the end, when the screen is given back. Returns the exit status.
fn leave(session: &mut Session) -> Option<i32> {
    let (status, _) = session.end();
    session.wait_for(&[SCREEN_GIVEN_BACK]);
    status.code()
}

#[test]
fn a_rack_is_watched_and_the_terminal_given_back() {
    let racks = Racks::new(env!("CARGO_BIN_EXE_rack"));
    racks.succeed(&["up", "2", "--rack", "t", "--name", "web", "--no-build", "--append", "workload=cpu:load=5%"]);

    // For programs; a node that has just been started has no rates yet.
    let nodes = until("rates", || {
        let nodes = racks.json(&["top", "--rack", "t", "--json", "--sort", "name"]);
        let has_rates = |node: &Value| node["operations_per_second"].as_u64() > Some(0);
        nodes.as_array().unwrap().iter().all(has_rates).then_some(nodes)
    });
    for (node, name) in nodes.as_array().unwrap().iter().zip(["web-1", "web-2"]) {
        assert_eq!((&node["node"], &node["error"]), (&Value::from(name), &Value::Null));
        assert!(node["cpu_percent"].as_f64() > Some(0.0) && node["temperature_celsius"].is_number(), "{node}");
        assert_eq!(node["workloads"][0]["spec"], "cpu load=5%");
    }
    let table = racks.succeed(&["top", "--rack", "t", "--once"]);
    let lines: Vec<&str> = table.lines().collect();
    assert!(lines.len() == 3 && lines[0].contains("cpu v") && lines[1].ends_with("cpu load=5%"), "{table}");
    assert!(racks.fail(&["top", "--rack", "t"]).contains("needs a terminal"));

    let mut session = Session::start(&mut racks.command(&["top", "--rack", "t", "--sort", "name"]));
    session.wait_for(&["2 nodes, all answer", "web-1", "web-2", "cpu load=5%", "p99", "q quit"]);
    session.press(b"h");
    session.wait_for(&["choose a node"]);
    session.press(b" l");
    session.wait_for(&["log of", "booted in"]);
    // The console, of the second one.
    session.press(b"jc");
    session.wait_for(&[SCREEN_GIVEN_BACK, "Ctrl-] leaves"]);
    session.press(b"status\r");
    session.wait_for(&["name      web-2", "Raspberry Pi 3 Model B"]);
    session.press(b"\x1d");
    session.wait_for(&["\u{1b}[?1049h", "web-1", "web-2", "q quit"]);
    // It dies, and the screen says so.
    signal(&racks.nodes("t")[1]["pid"], Signal::SIGKILL);
    session.wait_for(&["DOES NOT ANSWER"]);
    session.press(b"q");
    assert_eq!(leave(&mut session), Some(0));

    let mut session = Session::start(&mut racks.command(&["top", "--rack", "t"]));
    session.wait_for(&["q quit"]);
    session.press(b"\x03");
    assert_eq!(leave(&mut session), Some(0));
    let mut session = Session::start(&mut racks.command(&["top", "--rack", "t"]));
    session.wait_for(&["q quit"]);
    session.signal(Signal::SIGTERM);
    assert_eq!(leave(&mut session), Some(130));

    let (status, table, _) = racks.say(&["top", "--rack", "t", "--once"]);
    assert!(status == Some(1) && table.lines().last().unwrap().contains("QEMU ended"), "{table}");
}
