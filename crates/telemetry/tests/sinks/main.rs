//! What the sinks write, judged as their readers would.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod definitions;
mod exposition;
mod fixture;
mod html;
mod json;
mod mqtt;

use std::io::Write;

use fixture::Node;
use telemetry::metrics::{METRICS, Names};
use telemetry::sinks::{certificate, console, prometheus};

fn prometheus_text(node: &Node, names: Names) -> String {
    let mut text = String::new();
    node.show(|snapshot| prometheus::render(snapshot, names, &mut text)).unwrap();
    text
}

fn console_line(node: &Node) -> String {
    let mut line = String::new();
    node.show(|snapshot| console::render(snapshot, &mut line)).unwrap();
    let line = line.strip_suffix('\n').unwrap();
    assert!(!line.contains('\n'), "{line}");
    line.to_owned()
}

#[test]
fn every_metric_has_a_value_on_a_node_at_work() {
    let families = exposition::parse(&prometheus_text(&Node::at_work(12), Names::NodeExporter));
    for metric in Node::at_work(12).show(|snapshot| snapshot.metrics().collect::<Vec<_>>()) {
        let family = families.get(metric.name).unwrap_or_else(|| panic!("{} is missing", metric.name));
        assert_eq!(family.kind, metric.kind.name());
        assert_eq!(family.help, metric.help);
        for series in &family.series {
            let labels: Vec<_> = series.labels.iter().map(|(name, _)| name.as_str()).filter(|n| *n != "le").collect();
            assert_eq!(labels, metric.labels, "{}", metric.name);
        }
    }
    assert_eq!(families.len(), METRICS.iter().count() + 4, "those of the table and the memory workload's own");
}

#[test]
fn values_are_those_of_the_newest_sample() {
    let families = exposition::parse(&prometheus_text(&Node::at_work(12), Names::NodeExporter));
    let get = |name: &str, labels: &[(&str, &str)]| exposition::value(&families, name, labels);
    assert_eq!(get("node_cpu_seconds_total", &[("cpu", "1"), ("mode", "user")]), "6");
    assert_eq!(get("node_cpu_seconds_total", &[("cpu", "0"), ("mode", "system")]), "0.36");
    assert_eq!(get("node_cpu_seconds_total", &[("cpu", "0"), ("mode", "idle")]), "11.64");
    assert_eq!(get("node_memory_MemTotal_bytes", &[]), "1006632960");
    assert_eq!(get("node_memory_MemAvailable_bytes", &[]), (947u64 << 20).to_string());
    assert_eq!(get("minipirack_memory_area_peak_bytes", &[("area", "stack3")]), "9000");
    assert_eq!(get("node_network_receive_bytes_total", &[("device", "eth0")]), "18450000");
    assert_eq!(get("node_network_transmit_drop_total", &[("device", "eth0")]), "4");
    assert_eq!(get("node_network_speed_bytes", &[("device", "eth0")]), "12500000");
    assert_eq!(get("node_hwmon_temp_celsius", &[("sensor", "temp1")]), "48.234");
    assert_eq!(get("node_cpu_scaling_frequency_hertz", &[("cpu", "3")]), "1200000000");
    assert_eq!(get("node_boot_time_seconds", &[]), "1795360716");
    assert_eq!(get("node_time_seconds", &[]), "1795360728");
    assert_eq!(get("node_timex_maxerror_seconds", &[]), "0.0015");
    assert_eq!(get("minipirack_dhcp_lease_left_seconds", &[]), "3589");
    assert_eq!(get("minipirack_health", &[("reason", "under_voltage"), ("when", "since_boot")]), "1");
    assert_eq!(get("minipirack_health", &[("reason", "under_voltage"), ("when", "now")]), "0");
    assert_eq!(get("minipirack_health_sick_samples_total", &[("reason", "throttled")]), "1");
    assert_eq!(get("minipirack_sample_valid", &[]), "1");
    assert_eq!(get("minipirack_network_crc_errors_total", &[]), "7");
    assert_eq!(get("node_crashes_total", &[("reason", "panic")]), "1");
    assert_eq!(get("minipirack_network_malformed_total", &[("layer", "ipv4")]), "6");
    assert_eq!(get("minipirack_workload_busy_ratio", &[("core", "1"), ("workload", "cpu")]), "0.5");
    assert_eq!(get("minipirack_workload_errors_total", &[("core", "2")]), "3");
    let memory = [("core", "2"), ("workload", "memory"), ("id", "memory")];
    assert_eq!(get("minipirack_memory_passes_total", &memory), "7");
    assert_eq!(get("minipirack_memory_room_bytes", &memory), "4096");
    assert_eq!(get("minipirack_memory_rest_seconds", &memory), "1.5");
    assert_eq!(families["minipirack_memory_pass_seconds"].series.last().unwrap().value, "1000");
    assert_eq!(get("minipirack_workload_state", &[("core", "1"), ("state", "running")]), "1");
    assert_eq!(get("minipirack_workload_state", &[("core", "1"), ("state", "failed")]), "0");
    assert_eq!(get("minipirack_certificate_check", &[("check", "power"), ("outcome", "failed")]), "1");
    assert_eq!(get("minipirack_certificate_check", &[("check", "power"), ("outcome", "passed")]), "0");
    assert_eq!(get("minipirack_certificate_verdict", &[("verdict", "FAIL")]), "1");
    assert_eq!(get("node_uname_info", &[("nodename", "pi-123456"), ("machine", "aarch64")]), "1");
    assert_eq!(get("node_network_info", &[("address", "b8:27:eb:12:34:56"), ("duplex", "full")]), "1");
    assert_eq!(get("minipirack_network_address_info", &[("source", "dhcp")]), "1");
}

#[test]
fn the_load_is_how_many_cores_are_awake() {
    let families = exposition::parse(&prometheus_text(&Node::at_work(100), Names::Strict));
    assert_eq!(exposition::value(&families, "node_load1", &[]), "1.53");
}

#[test]
fn what_is_not_known_is_left_out() {
    let text = prometheus_text(&Node::just_started(), Names::NodeExporter);
    let families = exposition::parse(&text);
    for name in ["node_time_seconds", "node_boot_time_seconds", "node_hwmon_temp_celsius", "node_cpu_seconds_total"] {
        assert!(!families.contains_key(name), "{name}");
    }
    assert_eq!(exposition::value(&families, "node_timex_sync_status", &[]), "0");
    assert_eq!(exposition::value(&families, "node_network_up", &[]), "0");
}

#[test]
fn a_label_may_contain_anything() {
    let mut node = Node::at_work(2);
    node.info.board = "a\"b\\c\nd é".try_into().unwrap();
    let families = exposition::parse(&prometheus_text(&node, Names::Strict));
    assert_eq!(exposition::value(&families, "minipirack_board_info", &[("model", "a\"b\\c\nd é")]), "1");
}

#[test]
fn promtool_accepts_the_metrics() {
    for node in [Node::at_work(400), Node::at_all_work(400), Node::just_started()] {
        let text = prometheus_text(&node, Names::Strict);
        let Some((is_success, complaints)) = exposition::promtool(&text) else {
            // Not by `eprintln!`, which the test harness keeps to itself when a test passes.
            let text = b"promtool is not installed (Debian: prometheus): only the built-in check was made\n";
            std::io::stderr().write_all(text).unwrap();
            return;
        };
        assert!(is_success, "promtool complains:\n{complaints}\nabout\n{text}");
        // node_exporter's own names for memory are in camel case, which is the only thing it may dislike.
        let text = prometheus_text(&node, Names::NodeExporter);
        let (_, complaints) = exposition::promtool(&text).unwrap();
        for line in complaints.lines() {
            assert!(line.starts_with("node_") && line.ends_with("not 'camelCase'"), "{line}");
        }
    }
}

#[test]
fn the_console_line_says_it_all() {
    assert_eq!(
        console_line(&Node::at_work(12)),
        "12.0s cpu 3% 50% 100% 0% mem 13.0/960.0MB rx 12.3Mb/s 1.0kpkt/s tx 1.1Mb/s 900pkt/s 48.2C 1.2GHz \
         FAULTS 1 workload cpu 50% ok workload memory 100% 1.2GB/s 3 errors ok"
    );
}

#[test]
fn the_console_line_says_what_is_wrong() {
    let mut node = Node::at_work(3);
    node.net.link = telemetry::net_info::Link::Down;
    node.workloads[0].0.state = telemetry::WorkloadState::Stalled;
    let mut sample = *node.history.newest().unwrap();
    sample.at_us += 1_000_000;
    sample.cores[3] = None;
    node.push(sample, Some(0x1_0001));
    let line = console_line(&node);
    assert!(line.starts_with("4.0s cpu - - - - "), "{line}");
    assert!(
        line.contains(" link down ") && line.contains(" UNDER VOLTAGE ") && line.contains(" cpu 0% stalled"),
        "{line}"
    );
}

#[test]
fn the_console_line_of_a_node_that_knows_nothing_is_short() {
    assert_eq!(console_line(&Node::just_started()), "0.0s mem 0.0/0.0MB link no controller");
}

#[test]
fn a_certificate_is_a_report_that_can_be_sent() {
    let mut text = String::new();
    let mut node = Node::at_work(12);
    node.info.is_emulated = true;
    node.show(|snapshot| certificate::render(snapshot, &mut text)).unwrap();
    let wanted = "\
MiniPiRack 0.1.0 (abcdef0), pi-123456
board        Raspberry Pi 3 Model B, revision a02082, serial 0000123456789abc, BCM2837, 960.0 MiB
             emulated: this says nothing about a real board
network      cdc_ether b8:27:eb:12:34:56
test         of 60 s, begun 2 s after power-on
cores        pass         what was seen of cores
core0        pass         what was seen of core0
memory       pass         what was seen of memory
link         pass         what was seen of link
frames       pass         what was seen of frames
temperature  pass         what was seen of temperature
power        FAIL         what was seen of power
clock        NOT CHECKED  what was seen of clock
verdict      FAIL; failed: power; not checked: clock
";
    assert_eq!(text, wanted);
}

#[test]
fn without_a_certificate_the_report_says_how_to_get_one() {
    let mut text = String::new();
    Node::just_started().show(|snapshot| certificate::render(snapshot, &mut text)).unwrap();
    assert!(text.contains("workload start certify") && text.ends_with('\n'), "{text}");
}
