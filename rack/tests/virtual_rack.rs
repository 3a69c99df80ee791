//! Racks of virtual nodes by the commands that a user has: up, ps, console, down, and what is left when something is killed.
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::process::Stdio;
use std::thread;

use nix::sys::signal::Signal;
use serde_json::Value;
use tests::tool::{PATIENCE, Racks, Session, is_running, signal, until};

fn connect(node: &Value, port: u16) -> TcpStream {
    let forwards = node["forwards"].as_array().unwrap();
    let forward = forwards.iter().find(|forward| forward["node_port"] == port).unwrap();
    let stream = TcpStream::connect(forward["host"].as_str().unwrap()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

fn get(node: &Value, path: &str) -> String {
    let mut stream = connect(node, 80);
    write!(stream, "GET {path} HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// Returns whether an ICMP packet from one address to another is in a capture.
fn has_ping(file: &Path, from: Ipv4Addr, to: Ipv4Addr) -> bool {
    let bytes = fs::read(file).unwrap();
    assert_eq!(bytes[..4], 0xa1b2_c3d4_u32.to_ne_bytes(), "no capture");
    let mut rest = &bytes[24..];
    while let Some((header, frames)) = rest.split_at_checked(16) {
        let len = u32::from_ne_bytes(header[8..12].try_into().unwrap()) as usize;
        // The switch may be writing the last one.
        let Some((frame, next)) = frames.split_at_checked(len) else { break };
        let is_ping = frame.len() >= 34 && frame[12..14] == [8, 0] && frame[23] == 1;
        if is_ping && frame[26..30] == from.octets() && frame[30..34] == to.octets() {
            return true;
        }
        rest = next;
    }
    false
}

#[test]
fn a_rack_is_started_used_broken_and_ended() {
    let racks = Racks::new(env!("CARGO_BIN_EXE_rack"));
    let pcap = racks.path("pcap");
    let pcap_text = pcap.to_str().unwrap();

    // A server on this machine that the nodes report to.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let append = format!("syslog=tcp:10.77.0.1:{port} workload=ping:peer=10.77.0.11");
    let options = ["--no-build", "--forward", "80,7", "--name", "web", "--pcap", pcap_text];
    let arguments = [&["up", "3", "--rack", "a", "--append", &append, "--expose", &port], &options[..]].concat();
    let printed = racks.succeed(&arguments);
    assert!(printed.contains("web-3  10.77.0.13"), "{printed}");
    assert!(racks.fail(&arguments).contains("rack a is up already"));

    let nodes = racks.nodes("a");
    assert_eq!(nodes.len(), 3);
    for (node, number) in nodes.iter().zip(1..) {
        assert_eq!((&node["number"], &node["state"]), (&Value::from(number), &Value::from("up")), "{node}");
        assert!(get(node, "/health").starts_with("HTTP/1.1 200"), "{node}");
        assert!(get(node, "/api/v1/node").contains(&format!("\"web-{number}\"")), "{node}");
    }
    // As many connections as there are nodes: the syslog of each.
    let reported: Vec<_> = (0..3)
        .map(|_| {
            let (mut stream, _) = listener.accept().unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            let mut bytes = vec![0; 64];
            stream.read_exact(&mut bytes).unwrap();
            String::from_utf8_lossy(&bytes).into_owned()
        })
        .collect();
    for number in 1..=3 {
        assert!(reported.iter().any(|text| text.contains(&format!(" web-{number} "))), "{reported:?}");
    }

    // Much, through a forward and back.
    let mut echo = connect(&nodes[1], 7);
    let sent: Vec<u8> = (0..2_000_000_u32).map(|i| (i ^ (i >> 8)) as u8).collect();
    let (mut writer, copy) = (echo.try_clone().unwrap(), sent.clone());
    let sender = thread::spawn(move || {
        writer.write_all(&copy).unwrap();
        writer.shutdown(Shutdown::Write).unwrap();
    });
    let mut got = Vec::new();
    echo.read_to_end(&mut got).unwrap();
    sender.join().unwrap();
    assert!(got == sent, "{} of {} bytes, or not the same", got.len(), sent.len());

    // The switch: who talks to whom, and who sees it.
    let address = |number: u8| Ipv4Addr::new(10, 77, 0, 10 + number);
    for file in ["web-1.pcap", "web-2.pcap", "all.pcap"] {
        until(file, || has_ping(&pcap.join(file), address(2), address(1)).then_some(()));
        until(file, || has_ping(&pcap.join(file), address(1), address(2)).then_some(()));
    }
    until("web-3.pcap", || has_ping(&pcap.join("web-3.pcap"), address(1), address(3)).then_some(()));
    assert!(!has_ping(&pcap.join("web-3.pcap"), address(1), address(2)), "what was not for web-3 came to it");

    let mut console = racks.command(&["console", "--rack", "a", "web-2"]);
    let mut console = console.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    console.stdin.take().unwrap().write_all(b"status\n").unwrap();
    let said = console.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(said.contains("10.77.0.12/24 (dhcp)"), "{said}");
    assert!(racks.fail(&["console", "--rack", "a", "4"]).contains("there are web-1, web-2, web-3"));

    // A node dies.
    signal(&nodes[2]["pid"], Signal::SIGKILL);
    until("the end of web-3", || (racks.nodes("a")[2]["state"] == "ended").then_some(()));
    let table = racks.succeed(&["ps", "--rack", "a"]);
    assert!(table.contains("web-3: QEMU ended with signal: 9"), "{table}");
    assert!(racks.fail(&["console", "--rack", "a", "3"]).contains("it is ended: QEMU ended"));
    assert_eq!(racks.nodes("a")[1]["state"], "up");

    // Another rack beside it, with another NIC; its supervisor dies.
    racks.succeed(&["up", "2", "--rack", "b", "--nic", "lan9514", "--no-build"]);
    let other = racks.status("b");
    let qemu = &other["nodes"][0]["pid"];
    assert_eq!([0, 1].map(|at| other["nodes"][at]["name"].as_str().unwrap()), ["pi-123456", "pi-123457"]);
    assert!(is_running(qemu));
    signal(&other["pid"], Signal::SIGKILL);
    until("the end of rack b's QEMU", || (!is_running(qemu)).then_some(()));
    assert!(racks.succeed(&["ps"]).contains("rack b has crashed"));
    let (status, _, said) = racks.say(&["down", "--rack", "b"]);
    assert!(status == Some(0) && said.contains("had crashed"), "{said}");

    // The first one is still there, and ends with all it has.
    let left = racks.status("a");
    assert!(get(&left["nodes"][0], "/health").starts_with("HTTP/1.1 200"));
    let pids = [&left["pid"], &left["nodes"][0]["pid"], &left["nodes"][1]["pid"]];
    racks.succeed(&["down", "--rack", "a"]);
    for pid in pids {
        until("the end of rack a", || (!is_running(pid)).then_some(()));
    }
    assert!(!racks.place("a").exists());
    let (status, _, said) = racks.say(&["down", "--rack", "a"]);
    assert!(status == Some(0) && said.contains("rack a is not up"), "{said}");
    assert!(racks.fail(&["ps", "--rack", "a"]).contains("rack a is not up"));
}

#[test]
fn a_rack_has_the_board_that_was_asked_for() {
    let racks = Racks::new(env!("CARGO_BIN_EXE_rack"));
    if !qemu::Qemu::find().unwrap().machines.contains(&qemu::Machine::Raspi4b) {
        return tests::lab::say("NOT TESTED (needs QEMU 9): a rack of Raspberry Pi 4");
    }
    let options = ["up", "2", "--rack", "d", "--board", "raspi4b", "--no-build"];
    racks.succeed(&options);
    for node in racks.nodes("d") {
        let said = get(&node, "/api/v1/node");
        assert!(said.contains("Raspberry Pi 4"), "{said}");
    }
    racks.succeed(&["run", "--rack", "d", "--all", "status"]);
}

#[test]
fn ctrl_c_while_a_rack_starts_leaves_nothing() {
    let racks = Racks::new(env!("CARGO_BIN_EXE_rack"));
    for moment in ["the directory", "the supervisor", "a QEMU", "a node that is up"] {
        let mut session = Session::start(&mut racks.command(&["up", "3", "--rack", "c", "--no-build"]));
        let has_come = || match moment {
            "the directory" => racks.place("c").exists(),
            "the supervisor" => racks.place("c").join("control").exists(),
            "a QEMU" => racks.processes().iter().any(|line| line.contains("kernel8.img")),
            _ => ["1 of 3 nodes", "2 of 3 nodes"].iter().any(|text| session.screen().contains(text)),
        };
        until(moment, || has_come().then_some(()));
        session.signal(Signal::SIGINT);
        let (status, said) = session.end();
        assert_eq!(status.code(), Some(130), "at {moment}: {said}");
        assert!(said.contains("rack c is down") && !said.contains("console: cargo run"), "at {moment}: {said}");
        assert!(racks.processes().is_empty(), "at {moment}: {:?}", racks.processes());
        assert!(!racks.place("c").exists(), "at {moment}: its directory is left");
        assert!(racks.fail(&["ps", "--rack", "c"]).contains("rack c is not up"));
    }
    // Its name is free.
    racks.succeed(&["up", "1", "--rack", "c", "--no-build"]);
    racks.succeed(&["down", "--rack", "c"]);
    until("the end of rack c", || racks.processes().is_empty().then_some(()));
}
