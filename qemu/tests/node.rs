//! QEMU with a tiny guest: the console, the machine protocol, the cable and the end of the process.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a failed unwrap is a failed test")]

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use qemu::{Network, Node, NodeConfig, Qemu, Serial};
use serde_json::json;

const SOON: Duration = Duration::from_secs(30);

/// A guest that prints "ready", then sends back every byte that it receives on the PL011 of the raspi3b.
const ECHO_GUEST: [u32; 18] = [
    0xd538_00a0, //       mrs  x0, mpidr_el1
    0x9240_1c00, //       and  x0, x0, #0xff
    0xb500_01c0, //       cbnz x0, park
    0xd2a7_e401, //       movz x1, #0x3f20, lsl #16
    0xf282_0001, //       movk x1, #0x1000
    0x1000_01a2, //       adr  x2, text
    0x3940_0043, // next: ldrb w3, [x2]
    0x3400_0083, //       cbz  w3, echo
    0xb900_0023, //       str  w3, [x1]         data register
    0x9100_0442, //       add  x2, x2, #1
    0x17ff_fffc, //       b    next
    0xb940_1824, // echo: ldr  w4, [x1, #0x18]  flag register
    0x3727_ffe4, //       tbnz w4, #4, echo     receive FIFO empty
    0xb940_0023, //       ldr  w3, [x1]
    0xb900_0023, //       str  w3, [x1]
    0x17ff_fffc, //       b    echo
    0xd503_207f, // park: wfi
    0x17ff_ffff, //       b    park
];
/// What is at `text`, behind the last instruction.
const TEXT: &[u8] = b"ready\r\n\0";

fn guest(directory: &Path) -> NodeConfig {
    let mut image: Vec<u8> = ECHO_GUEST.iter().flat_map(|word| word.to_le_bytes()).collect();
    image.extend(TEXT);
    let file = directory.join("guest.img");
    fs::write(&file, image).unwrap();
    NodeConfig::new(file)
}

fn qemu() -> Qemu {
    Qemu::find_or_install(&mut |line| eprintln_line(line)).unwrap()
}

#[expect(clippy::print_stderr, reason = "says why a test takes long")]
fn eprintln_line(line: &str) {
    eprintln!("{line}");
}

#[test]
fn a_node_talks_and_listens_on_its_console() {
    let directory = tempfile::tempdir().unwrap();
    let node = Node::start(&qemu(), guest(directory.path())).unwrap();
    assert_eq!(node.console().wait_for("ready", SOON).unwrap(), "ready");
    node.console().send_bytes(b"are you there?\n").unwrap();
    assert_eq!(node.console().wait_for("there", SOON).unwrap(), "are you there?");
    assert!(node.rss_bytes().unwrap() > 1 << 20);
    thread::sleep(Duration::from_millis(100));
    assert!(node.cpu_time().unwrap() > Duration::ZERO);
}

#[test]
fn a_reset_boots_again() {
    let directory = tempfile::tempdir().unwrap();
    let node = Node::start(&qemu(), guest(directory.path())).unwrap();
    for _boot in 0..3 {
        node.console().wait_for("ready", SOON).unwrap();
        node.reset().unwrap();
        node.machine_protocol().wait_for_event("RESET", SOON, |_| true).unwrap();
    }
    assert!(node.try_wait().unwrap().is_none());
    assert!(node.quit().unwrap().success());
}

#[test]
fn forwarded_ports_are_told() {
    let directory = tempfile::tempdir().unwrap();
    let mut config = guest(directory.path());
    config.network = Network::user().forward_tcp(80).forward_tcp(7).forward_udp(7);
    let node = Node::start(&qemu(), config).unwrap();
    let ports = [node.tcp_port(80).unwrap(), node.tcp_port(7).unwrap()];
    assert!(ports.iter().all(|port| *port != 0) && ports[0] != ports[1], "{ports:?}");
    assert_ne!(node.udp_port(7).unwrap(), 0);
    assert!(node.tcp_port(9).unwrap_err().to_string().contains("port 9/tcp of the node is not forwarded"));
    std::net::TcpStream::connect(("127.0.0.1", ports[0])).unwrap();
}

#[test]
fn the_nic_is_unplugged_and_plugged_in_again() {
    let directory = tempfile::tempdir().unwrap();
    for behind_hub in [false, true] {
        let mut config = guest(directory.path());
        config.nic = Some(qemu::UsbNet { behind_hub, ..qemu::UsbNet::default() });
        let node = Node::start(&qemu(), config).unwrap();
        node.console().wait_for("ready", SOON).unwrap();
        for _round in 0..3 {
            assert!(node.monitor("info usb").unwrap().contains("QEMU USB Network Interface"));
            node.unplug_nic().unwrap();
            assert!(!node.monitor("info usb").unwrap().contains("QEMU USB Network Interface"));
            node.plug_nic().unwrap();
        }
        assert!(node.plug_nic().is_err());
    }
}

#[test]
fn every_kind_of_cable_is_accepted() {
    let directory = tempfile::tempdir().unwrap();
    let mut config = guest(directory.path());
    config.network = Network::Peer;
    config.pcap = Some(directory.path().join("frames.pcap"));
    let node = Node::start(&qemu(), config).unwrap();
    let peer = node.peer().unwrap();
    assert!(peer.is_connected());
    peer.send(&[0xff; 60]).unwrap();
    // The guest has no driver, so nothing comes back; what matters is that QEMU took the frame.
    assert_eq!(peer.receive(Duration::from_millis(50)).unwrap(), None);
    node.quit().unwrap();
    let pcap = fs::metadata(directory.path().join("frames.pcap")).unwrap().len();
    assert_eq!(pcap, 24 + 16 + 60, "a pcap header and one frame");

    let socket = directory.path().join("switch");
    let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let mut config = guest(directory.path());
    config.network = Network::Stream { path: socket };
    let _node = Node::start(&qemu(), config).unwrap();
    listener.accept().unwrap();
}

#[test]
fn a_wrong_option_is_reported_in_the_words_of_qemu() {
    let directory = tempfile::tempdir().unwrap();
    let mut config = guest(directory.path());
    config.extra = vec!["-device".into(), "flux-capacitor".into()];
    let error = format!("{:#}", Node::start(&qemu(), config).unwrap_err());
    assert!(error.contains("QEMU says") && error.contains("flux-capacitor"), "{error}");
}

#[test]
fn a_missing_image_is_reported_with_the_way_to_make_it() {
    let error = Node::start(&qemu(), NodeConfig::new("/nowhere/kernel8.img")).unwrap_err().to_string();
    assert!(error.contains("/nowhere/kernel8.img") && error.contains("cargo run -- build"), "{error}");
}

#[test]
fn a_dropped_node_is_gone() {
    let directory = tempfile::tempdir().unwrap();
    let node = Node::start(&qemu(), guest(directory.path())).unwrap();
    let proc = format!("/proc/{}", node.pid());
    assert!(Path::new(&proc).exists());
    drop(node);
    assert!(!Path::new(&proc).exists());
}

#[test]
fn a_node_outlives_the_thread_that_started_it() {
    let directory = tempfile::tempdir().unwrap();
    let config = guest(directory.path());
    let node = thread::spawn(move || Node::start(&qemu(), config).unwrap()).join().unwrap();
    node.console().wait_for("ready", SOON).unwrap();
    node.console().send_bytes(b"still here\n").unwrap();
    node.console().wait_for("still here", SOON).unwrap();
}

#[test]
fn the_end_of_qemu_is_told_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let node = Node::start(&qemu(), guest(directory.path())).unwrap();
    node.console().wait_for("ready", SOON).unwrap();
    Command::new("kill").args(["-9", &node.pid().to_string()]).status().unwrap();
    let error = node.console().wait_for("more", SOON).unwrap_err().to_string();
    assert!(error.contains("the node ended before \"more\"") && error.ends_with("| ready"), "{error}");
    assert!(!node.wait(SOON).unwrap().success());
    assert!(node.qmp("query-status", json!({})).is_err());
}

/// Run as a child of the next test: starts a node and says so, then waits to be killed.
#[test]
#[ignore = "a part of qemu_dies_with_a_killed_owner"]
fn owner() {
    let directory = tempfile::tempdir().unwrap();
    let node = Node::start(&qemu(), guest(directory.path())).unwrap();
    fs::write(std::env::var_os("NODE_PID_FILE").expect("set by the test"), node.pid().to_string()).unwrap();
    thread::sleep(Duration::from_secs(120));
}

#[test]
fn qemu_dies_with_a_killed_owner() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("pid");
    let mut owner = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "owner"])
        .env("NODE_PID_FILE", &file)
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let pid = until(|| fs::read_to_string(&file).ok().filter(|pid| !pid.is_empty()));
    let proc = format!("/proc/{pid}/stat");
    assert!(Path::new(&proc).exists());
    owner.kill().unwrap();
    owner.wait().unwrap();
    // A zombie that nobody has reaped yet is dead as well.
    until(|| fs::read_to_string(&proc).map_or(true, |stat| stat.contains(") Z ")).then_some(()));
}

fn until<T>(mut look: impl FnMut() -> Option<T>) -> T {
    for _ in 0..3000 {
        if let Some(value) = look() {
            return value;
        }
        thread::sleep(Duration::from_millis(10));
    }
    unreachable!("it did not happen within 30 s")
}

#[test]
fn a_terminal_node_hands_its_output_to_the_caller() {
    let directory = tempfile::tempdir().unwrap();
    let mut config = guest(directory.path());
    config.serial = Serial::Terminal;
    let mut node = Node::start(&qemu(), config).unwrap();
    let mut stdout = node.take_stdout().unwrap();
    let mut first = [0; 5];
    std::io::Read::read_exact(&mut stdout, &mut first).unwrap();
    assert_eq!(&first, b"ready");
}
