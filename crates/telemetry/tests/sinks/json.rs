//! The JSON resources, read by a reader that is not ours.

use serde_json::Value;
use telemetry::log_ring::LogLines;
use telemetry::sinks::json::writer::Json;
use telemetry::sinks::json::{self, Ask, RESOURCES, events};

use crate::fixture::Node;

/// Asks for all parts of a resource, and returns it with the length of its longest part.
pub(crate) fn get(node: &Node, name: &str, last: usize) -> (Value, usize) {
    let resource = json::find(&format!("/api/v1/{name}")).unwrap();
    let (mut text, mut longest, mut from, mut needs_comma) = (String::new(), 0, 0, false);
    loop {
        let mut part = String::new();
        let mut json = Json::resume(&mut part, needs_comma);
        let next = node.show(|s| (resource.write)(s, Ask { last, from }, &mut json)).unwrap();
        needs_comma = json.needs_comma();
        longest = longest.max(part.len());
        text.push_str(&part);
        match next {
            Some(next) => from = next,
            None => return (serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e} in {text}")), longest),
        }
    }
}

#[test]
fn every_resource_is_json_on_every_node_and_comes_in_small_parts() {
    for resource in RESOURCES {
        for node in [Node::at_work(400), Node::at_work(1), Node::just_started()] {
            let (_, longest) = get(&node, resource.name, 300);
            assert!(longest < 16_384, "{}: a part has {longest} bytes", resource.name);
        }
    }
    let mut index = String::new();
    json::write_index(&mut index).unwrap();
    let index: Value = serde_json::from_str(&index).unwrap();
    assert_eq!(index["resources"].as_array().unwrap().len(), RESOURCES.len() + 1);
    assert_eq!(index["resources"][0]["path"], "/api/v1/node");
    assert!(json::find("/api/v1/nothing").is_none() && json::find("/api/v1").is_none());
}

#[test]
fn samples_have_every_figure() {
    let (sample, _) = get(&Node::at_work(12), "sample", 1);
    assert_eq!(sample["at_us"], 12_000_000);
    assert_eq!((&sample["valid"], &sample["invalid_reasons"]), (&Value::Bool(true), &serde_json::json!([])));
    assert_eq!(sample["cores_busy_permille"], serde_json::json!([30, 500, 1000, 0]));
    assert_eq!(sample["network"]["rx_bytes_per_second"], 1_537_500);
    assert_eq!(sample["network"]["crc_errors"], 7);
    assert_eq!(sample["memory"]["available_bytes"], 947u64 << 20);
    assert_eq!(sample["temperature_millicelsius"], 48_234);
    assert_eq!(sample["clocks_hz"]["arm"], 1_200_000_000);
    assert_eq!(sample["clocks_hz"]["sdram"], Value::Null);
}

#[test]
fn the_last_samples_are_whole_and_in_order() {
    let node = Node::at_work(400);
    for (last, count) in [(0, 0), (1, 1), (7, 7), (60, 60), (300, 300), (usize::MAX, 300)] {
        let (all, _) = get(&node, "samples", last);
        let samples = all["samples"].as_array().unwrap();
        let times: Vec<_> = samples.iter().map(|sample| sample["at_us"].as_u64().unwrap() / 1_000_000).collect();
        assert_eq!(times, (401 - count..=400).collect::<Vec<_>>(), "{last}");
        let known = samples.iter().filter(|sample| sample["cores_busy_permille"] != Value::Null).count() as u64;
        assert_eq!(known, count.min(299), "the oldest that is kept has nothing before it");
    }
}

#[test]
fn the_history_has_a_row_for_each_second_and_says_which_are_invalid() {
    let mut node = Node::at_work(20);
    let sample = telemetry::Sample { at_us: 21_000_000, ..*node.history.newest().unwrap() };
    node.push(sample, Some(0x1_0001));
    let (history, _) = get(&node, "history", 5);
    let rows = history["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 5);
    assert!(rows.iter().all(|row| row.as_array().unwrap().len() == history["columns"].as_array().unwrap().len()));
    let mut operations = [0; telemetry::sample::WORKLOAD_SLOTS];
    operations[node.workloads[0].0.slot] = 50;
    assert_eq!(
        rows[3],
        serde_json::json!([20_000_000, true, [30, 500, 1000, 0], 1_537_500, 137_500, 48_234, operations])
    );
    assert_eq!(rows[4][1], Value::Bool(false));
}

#[test]
fn every_second_of_a_load_can_be_had_until_two_minutes_later() {
    let node = Node::at_work(400);
    for (last, count) in [(0, 0), (1, 1), (32, 32), (33, 33), (64, 64), (120, 120), (usize::MAX, 120)] {
        let (all, longest) = get(&node, "seconds", last);
        let [load] = &all["workloads"].as_array().unwrap()[..] else { panic!("only one has them: {all}") };
        assert_eq!((&load["id"], &load["core"], &load["valid"]), (&"memory".into(), &2.into(), &false.into()));
        let (columns, rows) = (load["columns"].as_array().unwrap(), load["rows"].as_array().unwrap());
        assert!(rows.iter().all(|row| row.as_array().unwrap().len() == columns.len()));
        let starts: Vec<_> = rows.iter().map(|row| row[0].as_u64().unwrap() / 1_000_000).collect();
        assert_eq!(starts, (401 - count..=400).collect::<Vec<_>>());
        assert!(longest < 4_096, "{longest}");
    }
    let (all, _) = get(&node, "seconds", 1);
    let row = serde_json::json!([[400_000_000, 1_000_000, 10, 11, 12, 13, 14, 15, u32::MAX]]);
    assert_eq!(all["workloads"][0]["rows"], row);
    assert_eq!(all["workloads"][0]["columns"].as_array().unwrap()[..3], ["start_us", "span_us", "offered"]);
    assert_eq!(get(&Node::just_started(), "seconds", 120).0["workloads"], serde_json::json!([]));
}

#[test]
fn a_workload_that_goes_while_its_seconds_are_read_leaves_whole_json() {
    let mut node = Node::at_work(400);
    let resource = json::find("/api/v1/seconds").unwrap();
    let (mut text, mut from, mut needs_comma) = (String::new(), 0, false);
    loop {
        let mut json = Json::resume(&mut text, needs_comma);
        let next = node.show(|s| (resource.write)(s, Ask { last: 120, from }, &mut json)).unwrap();
        needs_comma = json.needs_comma();
        node.workloads.clear();
        let Some(next) = next else { break };
        from = next;
    }
    let all: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(all["workloads"][0]["rows"].as_array().unwrap().len(), 32);
}

#[test]
fn every_metric_is_there_with_its_values() {
    let (all, _) = get(&Node::at_work(12), "metrics", 0);
    let metrics = all["metrics"].as_array().unwrap();
    let names: Vec<_> = metrics.iter().map(|metric| metric["name"].as_str().unwrap()).collect();
    assert_eq!(names, Node::at_work(12).show(|s| s.metrics().map(|metric| metric.name).collect::<Vec<_>>()));
    let find = |name| metrics.iter().find(|metric| metric["name"] == name).unwrap();
    let temperature = find("node_hwmon_temp_celsius");
    assert_eq!((&temperature["unit"], &temperature["type"]), (&"celsius".into(), &"gauge".into()));
    assert_eq!(temperature["values"][0]["value"], 48.234);
    assert_eq!(temperature["values"][0]["labels"]["sensor"], "temp1");
    let durations = &find("minipirack_workload_operation_duration_seconds")["values"][0];
    assert_eq!((&durations["count"], &durations["labels"]["workload"]), (&1000.into(), &"cpu".into()));
}

#[test]
fn a_workload_that_ran_on_a_sick_board_says_so() {
    let mut node = Node::at_work(12);
    node.workloads[1].0.started_us = 5_000_000;
    let (workloads, _) = get(&node, "workloads", 0);
    // The supply was weak after one second.
    assert_eq!(workloads[0]["valid"], Value::Bool(false));
    assert_eq!(workloads[0]["invalid_reasons"], serde_json::json!(["under_voltage", "throttled"]));
    assert_eq!(workloads[1]["valid"], Value::Bool(true));
    assert_eq!(workloads[1]["bytes_per_second"], 1_250_000_000);
    assert_eq!(workloads[0]["operation_duration"]["count"], 1000);
    node.info.is_emulated = true;
    let sample = telemetry::Sample { at_us: 13_000_000, ..*node.history.newest().unwrap() };
    node.push(sample, Some(0));
    assert_eq!(get(&node, "workloads", 0).0[1]["valid"], Value::Null);
    assert_eq!(get(&node, "health", 0).0["unknown_reasons"][0], "under_voltage");
}

#[test]
fn crashes_come_with_report_and_log() {
    let (past, _) = get(&Node::at_work(2), "crashes", 0);
    assert_eq!(
        (&past["boots"], &past["last_reset"], &past["counts"]["panic"]),
        (&3.into(), &"watchdog".into(), &1.into())
    );
    let crash = &past["crashes"][0];
    assert_eq!((&crash["boot"], &crash["kind"], &crash["core"]), (&2.into(), &"panic".into(), &2.into()));
    assert_eq!(crash["message"], "asked for, \"provoke.rs\":9");
    assert_eq!(crash["backtrace"][0], "0x0000000000081234");
    assert!(crash["report"].as_str().unwrap().contains("panic on core 2 after 8.5"));
    assert_eq!(past["last_life_log"].as_array().unwrap().len(), 40);
    assert_eq!(past["last_life_log"][39]["text"], "the end is near");
}

#[test]
fn faults_come_with_what_they_have_done() {
    let json = get(&Node::at_work(3), "faults", 0).0;
    let [now, later] = &json["faults"].as_array().unwrap()[..] else { panic!("{json}") };
    assert_eq!((now["id"].as_u64(), now["state"].as_str()), (Some(3), Some("active")));
    assert_eq!((now["fault"].as_str(), now["frames_hit"].as_u64()), (Some("drop share=5% peer=10.0.0.7"), Some(51)));
    assert_eq!(later["state"].as_str(), Some("waiting"));
    assert_eq!(json["frames"]["dropped"].as_u64(), Some(7));
    let sample = get(&Node::at_work(3), "sample", 0).0;
    assert_eq!(sample["faults"].as_str(), Some("1 fault: drop share=5% peer=10.0.0.7"));
    assert!(get(&Node::at_work(3), "samples", 5).0["samples"][0].get("faults").is_none());
}

#[test]
fn network_node_and_certificate_say_what_the_other_sinks_say() {
    let node = Node::at_work(2);
    let (network, _) = get(&node, "network", 0);
    assert_eq!(network["addresses"][0], serde_json::json!({"address": "10.0.2.15/24", "source": "dhcp"}));
    assert_eq!((&network["link_bits_per_second"], &network["malformed"]["ipv4"]), (&100_000_000.into(), &6.into()));
    let (who, _) = get(&node, "node", 0);
    assert_eq!((&who["name"], &who["read_only"]), (&"pi-123456".into(), &Value::Bool(true)));
    assert_eq!(get(&node, "certify", 0).0["verdict"], "FAIL");
    assert_eq!(get(&Node::just_started(), "certify", 0).0, Value::Null);
}

#[test]
fn what_is_live_has_every_duration() {
    let node = Node::at_work(2);
    let (live, _) = get(&node, "live", 0);
    let workloads = live["workloads"].as_array().unwrap();
    assert_eq!((workloads.len(), &live["sample_us"]), (2, &2_000_000.into()));
    for workload in workloads {
        let numbers: Vec<u64> =
            workload["durations_us"].as_array().unwrap().iter().map(|n| n.as_u64().unwrap()).collect();
        let (starts, counts): (Vec<u64>, Vec<u64>) = numbers.chunks(2).map(|pair| (pair[0], pair[1])).unzip();
        assert!(starts.is_sorted() && counts.iter().all(|count| *count > 0), "{numbers:?}");
        assert_eq!((counts.iter().sum::<u64>(), &workload["operations"]), (1000, &1000.into()));
    }
    assert_eq!(workloads[1]["figures"].as_object().unwrap().len(), 3, "{live}");
    assert_eq!(get(&Node::just_started(), "live", 0).0["workloads"], serde_json::json!([]));
}

#[test]
fn the_log_can_be_read_on_where_it_ended() {
    let mut node = Node::at_work(2);
    (0..40).for_each(|n| node.log.push(n, telemetry::Level::Info, 0, format_args!("\"{n}\"")));
    let (log, _) = get(&node, "log", 20);
    assert_eq!(log["lines"].as_array().unwrap().len(), 20);
    assert_eq!((&log["lines"][19]["text"], &log["next"]), (&"\"39\"".into(), &41.into()));

    let mut text = String::new();
    let mut cursor = node.log.cursor_at(38);
    assert_eq!(events::write_log(&*node.log, &mut cursor, 2, &mut text), Ok(2));
    assert_eq!(events::write_log(&*node.log, &mut cursor, 2, &mut text), Ok(1));
    let ids: Vec<_> = text.lines().filter(|line| line.starts_with("id: ")).collect();
    assert_eq!(ids, ["id: 39", "id: 40", "id: 41"]);
}

#[test]
fn an_event_is_one_line_of_json() {
    let mut text = String::new();
    Node::at_work(3).show(|s| events::write_sample(s, &mut text)).unwrap();
    let events: Vec<_> = text.split_terminator("\n\n").collect();
    assert_eq!(events.len(), 2);
    for (event, name) in events.iter().zip(["sample", "workloads"]) {
        let (first, data) = event.split_once('\n').unwrap();
        assert_eq!(first, format!("event: {name}"));
        serde_json::from_str::<Value>(data.strip_prefix("data: ").unwrap()).unwrap();
    }
}
