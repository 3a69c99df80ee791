//! A rack on a bridge of Linux: its nodes have their addresses from dnsmasq, every command works as with the switch, and nothing is
//! left of it, however it ends.
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;
use serde_json::Value;
use tests::lab::say;
use tests::metrics::Metrics;
use tests::tool::{Racks, is_running, signal, until};

/// Returns the network namespace of a process, as the kernel names it.
fn namespace(process: &Path) -> Option<PathBuf> {
    fs::read_link(process.join("ns/net")).ok()
}

/// Returns whether a process is in a network namespace.
fn is_inhabited(wanted: &Path) -> bool {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    processes.into_iter().any(|process| namespace(&process.path()).is_some_and(|namespace| namespace == wanted))
}

/// Returns this machine's interfaces, as the test sees them.
fn links() -> String {
    fs::read_to_string("/proc/self/net/dev").unwrap().lines().filter_map(|line| line.split(':').next()).collect()
}

/// Returns where a TCP port of a node is reached from this machine.
fn forwarded(node: &Value, port: u16) -> String {
    let forwards = node["forwards"].as_array().unwrap();
    forwards.iter().find(|forward| forward["node_port"] == port).unwrap()["host"].as_str().unwrap().to_owned()
}

#[test]
fn a_rack_on_a_bridge_is_used_broken_and_leaves_nothing() {
    let racks = Racks::new(env!("CARGO_BIN_EXE_rack"));
    if let Err(missing) = qemu::bridge::require() {
        let errors = racks.fail(&["up", "1", "--bridge", "--no-build"]);
        assert!(errors.contains("a bridge needs") && !racks.place("default").exists(), "{errors}");
        return say(&format!("NOT TESTED ({missing:#}): a rack on a bridge"));
    }
    // Without a DHCP server it is told what to do, and nothing is started.
    let programs = racks.path("programs");
    fs::create_dir(&programs).unwrap();
    let ip = ["/usr/sbin/ip", "/sbin/ip", "/usr/bin/ip", "/bin/ip"].into_iter().find(|path| Path::new(path).exists());
    symlink(ip.unwrap(), programs.join("ip")).unwrap();
    let poor = racks.command(&["up", "1", "--bridge", "--no-build"]).env("PATH", &programs).output().unwrap();
    let errors = String::from_utf8_lossy(&poor.stderr).into_owned();
    assert!(poor.status.code() == Some(1) && errors.contains("apt install dnsmasq-base"), "{errors}");

    let before = links();
    // A server on this machine that the nodes report to.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let append = format!("syslog=tcp:10.77.0.1:{port} workload=ping:peer=10.77.0.11");
    let pcap = racks.path("pcap");
    let up = ["up", "2", "--rack", "b", "--name", "web", "--bridge", "--no-build", "--expose", &port];
    let printed = racks.succeed(&[&up[..], &["--append", &append, "--pcap", pcap.to_str().unwrap()]].concat());
    assert!(printed.contains("web-2  10.77.0.12"), "{printed}");
    let status = racks.status("b");
    let pid = &status["pid"];
    let network = namespace(&Path::new("/proc").join(pid.to_string())).unwrap();
    assert_ne!(Some(&network), namespace(Path::new("/proc/self")).as_ref());
    assert_eq!(status["network"], "bridge");
    let table = racks.succeed(&["ps", "--rack", "b"]);
    assert!(table.contains(&format!("on a bridge (`nsenter -t {pid} -n`")), "{table}");

    // Addresses are dnsmasq's.
    let leases = fs::read_to_string(racks.place("b").join("bridge/leases")).unwrap();
    for lease in ["52:54:00:12:34:56 10.77.0.11", "52:54:00:12:34:57 10.77.0.12"] {
        assert!(leases.contains(lease), "{leases}");
    }
    let said = racks.succeed(&["run", "--rack", "b", "--all", "status"]);
    assert!(said.contains("10.77.0.11/24 (dhcp)") && said.contains("10.77.0.12/24 (dhcp)"), "{said}");

    // From this machine to the nodes, and back.
    for node in racks.nodes("b") {
        let page = tests::http::get(forwarded(&node, 80).parse().unwrap(), "/health").unwrap();
        assert_eq!(page.status, 200, "{node}");
    }
    for _ in 0..2 {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(tests::tool::PATIENCE)).unwrap();
        stream.read_exact(&mut [0; 64]).unwrap();
    }
    // From node to node.
    until("answers to web-2's pings", || {
        let page = tests::http::get(forwarded(&racks.nodes("b")[1], 80).parse().unwrap(), "/metrics").ok()?;
        let metrics = Metrics::parse(&page.text()).unwrap();
        (metrics.sum("minipirack_workload_operations_total", &[]) > 3.0).then_some(())
    });
    for address in ["10.77.0.11", "10.77.0.12"] {
        let ping = ["--net", "--", "ping", "-n", "-c", "3", "-i", "0.2", "-W", "5", address];
        let output = Command::new("nsenter").args(["--target", &pid.to_string()]).args(ping).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }
    // As boards are found.
    let list = racks.inside(pid, &["ls", "--lan", "--json"]).output().unwrap();
    let list: Value = serde_json::from_slice(&list.stdout).unwrap();
    let found: Vec<_> =
        list["nodes"].as_array().unwrap().iter().map(|node| [&node["node"], &node["address"]]).collect();
    assert_eq!(found, [["web-1", "10.77.0.11"], ["web-2", "10.77.0.12"]], "{list}");

    // The commands.
    let list = racks.json(&["ls", "--rack", "b", "--json"]);
    assert!(list["nodes"].as_array().unwrap().iter().all(|node| node["error"].is_null()), "{list}");
    assert!(racks.succeed(&["top", "--rack", "b", "--once"]).contains("web-2"));
    assert!(racks.succeed(&["logs", "--rack", "b", "1"]).contains("booted in"));
    let mut console = racks.command(&["console", "--rack", "b", "2"]);
    let mut console = console.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    console.stdin.take().unwrap().write_all(b"status\n").unwrap();
    let said = String::from_utf8(console.wait_with_output().unwrap().stdout).unwrap();
    assert!(said.contains("10.77.0.12/24 (dhcp)"), "{said}");
    assert!(fs::metadata(pcap.join("web-1.pcap")).unwrap().len() > 1000, "nothing is recorded");

    // A node dies.
    signal(&racks.nodes("b")[1]["pid"], Signal::SIGKILL);
    until("the end of web-2", || (racks.nodes("b")[1]["state"] == "ended").then_some(()));
    let errors = racks.fail(&["run", "--rack", "b", "--all", "status"]);
    assert!(errors.contains("failed on 1 of 2 nodes: web-2"), "{errors}");

    racks.succeed(&["down", "--rack", "b"]);
    let is_gone = || racks.processes().is_empty() && !is_inhabited(&network) && !racks.place("b").exists();
    until("the end of all that belongs to the rack", || is_gone().then_some(()));

    // Its supervisor dies.
    racks.succeed(&["up", "2", "--rack", "b", "--bridge", "--no-build"]);
    let status = racks.status("b");
    let network = namespace(&Path::new("/proc").join(status["pid"].to_string())).unwrap();
    assert!(racks.processes().iter().any(|line| line.contains("dnsmasq")), "{:?}", racks.processes());
    signal(&status["pid"], Signal::SIGKILL);
    until("the end of QEMUs and dnsmasq", || (racks.processes().is_empty() && !is_inhabited(&network)).then_some(()));
    assert!(!is_running(&status["nodes"][0]["pid"]));
    assert!(racks.succeed(&["ps"]).contains("rack b has crashed"));
    // The next one finds nothing that is in its way.
    racks.succeed(&["up", "1", "--rack", "b", "--bridge", "--no-build"]);
    racks.succeed(&["down", "--rack", "b"]);
    until("the end of the last one", || (racks.processes().is_empty() && !racks.place("b").exists()).then_some(()));
    assert_eq!(links(), before, "this machine has other interfaces than before");
}
