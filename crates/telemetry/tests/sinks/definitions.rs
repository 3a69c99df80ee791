//! Figures that a sink names by hand: JSON, the console line, and the fields of a sample, which are the names in defmt frames.
//! Each is held against the metric that it is: the value must be the same, and the name must say the unit. A figure without
//! an entry here fails, so a new one has to be told what it is.

use std::collections::BTreeMap;

use serde_json::Value as Json;
use telemetry::metrics::{Label, METRICS, Metric, Output, Unit, Value};
use telemetry::sample::{Clock, Memory, NicCounts, SLOTS_PER_CORE, Sample, WorkloadCounts};
use telemetry::units::{MiB, Milli, Percent, Si};
use telemetry::{Histogram, Snapshot};

use crate::fixture::Node;

/// A figure, the metric that it is, and the labels' values that tell it from others of the metric.
type Entry = (&'static str, &'static str, &'static [&'static str]);

/// In the members `memory` and `network` of a sample and in a workload; `NAME_per_second` is the rate of a counter.
const MEMORY: [Entry; 9] = [
    ("total_bytes", "minipirack_memory_total_bytes", &[]),
    ("free_bytes", "minipirack_memory_free_bytes", &[]),
    ("available_bytes", "minipirack_memory_available_bytes", &[]),
    ("image_bytes", "minipirack_memory_area_size_bytes", &["image"]),
    ("heap_size_bytes", "minipirack_memory_area_size_bytes", &["heap"]),
    ("heap_used_bytes", "minipirack_memory_area_used_bytes", &["heap"]),
    ("heap_peak_bytes", "minipirack_memory_area_peak_bytes", &["heap"]),
    ("dma_size_bytes", "minipirack_memory_area_size_bytes", &["dma"]),
    ("dma_used_bytes", "minipirack_memory_area_used_bytes", &["dma"]),
];
const NETWORK: [Entry; 14] = [
    ("rx_bytes", "node_network_receive_bytes_total", &[]),
    ("rx_frames", "node_network_receive_packets_total", &[]),
    ("rx_errors", "node_network_receive_errs_total", &[]),
    ("rx_dropped", "node_network_receive_drop_total", &[]),
    ("tx_bytes", "node_network_transmit_bytes_total", &[]),
    ("tx_frames", "node_network_transmit_packets_total", &[]),
    ("tx_errors", "node_network_transmit_errs_total", &[]),
    ("tx_dropped", "node_network_transmit_drop_total", &[]),
    ("carrier_changes", "node_network_carrier_changes_total", &[]),
    ("link_flaps", "minipirack_network_link_flaps_total", &[]),
    ("looped_frames", "minipirack_network_looped_frames_total", &[]),
    ("crc_errors", "minipirack_network_crc_errors_total", &[]),
    ("tx_stalls", "minipirack_network_tx_stalls_total", &[]),
    ("restarts", "minipirack_network_restarts_total", &[]),
];
const LOST: [&str; 4] = ["rx_errors", "rx_dropped", "tx_errors", "tx_dropped"];
const SAMPLE: [Entry; 9] = [
    ("at_us", "minipirack_uptime_seconds", &[]),
    ("unix_us", "node_time_seconds", &[]),
    ("clock_error_us", "node_timex_maxerror_seconds", &[]),
    ("valid", "minipirack_sample_valid", &[]),
    ("interrupts", "node_intr_total", &[]),
    ("temperature_millicelsius", "node_hwmon_temp_celsius", &[]),
    ("temperature_millicelsius", "node_thermal_zone_temp", &[]),
    ("log_lines", "minipirack_log_lines_total", &[]),
    ("log_lines_dropped", "minipirack_log_lines_dropped_total", &[]),
];
const WORKLOAD: [Entry; 6] = [
    ("operations", "minipirack_workload_operations_total", &["memory"]),
    ("bytes", "minipirack_workload_bytes_total", &["memory"]),
    ("errors", "minipirack_workload_errors_total", &["memory"]),
    ("busy_us", "minipirack_workload_busy_seconds_total", &["memory"]),
    ("runs", "minipirack_workload_runs_total", &["2"]),
    ("restarts", "minipirack_workload_restarts_total", &["memory"]),
];

/// Takes the values of a metric.
#[derive(Default)]
struct Values(Vec<(Vec<String>, f64)>);

impl Output for Values {
    fn value(&mut self, labels: &[Label<'_>], value: Value) -> std::fmt::Result {
        let labels = labels.iter().map(|label| match label {
            Label::Text(text) => (*text).to_owned(),
            Label::Number(number) => number.to_string(),
            Label::Shown(shown) => shown.to_string(),
        });
        self.0.push((labels.collect(), value.to_string().parse().unwrap()));
        Ok(())
    }

    fn histogram(&mut self, _: &[Label<'_>], _: &Histogram) -> std::fmt::Result {
        Ok(())
    }
}

fn find(name: &str) -> &'static Metric {
    METRICS.find(name).unwrap_or_else(|| panic!("there is no metric {name}"))
}

/// Returns what the table says, in the metric's unit; `None` if it can't be known.
fn told(s: &Snapshot<'_>, name: &str, labels: &[&str]) -> Option<f64> {
    let mut values = Values::default();
    find(name).read(s, &mut values).unwrap();
    let has = |own: &[String]| labels.iter().all(|label| own.iter().any(|own| own == label));
    let found: Vec<_> = values.0.iter().filter(|(own, _)| has(own)).map(|(_, value)| *value).collect();
    assert!(found.len() <= 1, "{name} {labels:?} is {found:?}");
    found.first().copied()
}

/// Returns how many of what the name of a figure says are one of the metric's unit.
fn scale(figure: &str, metric: &str) -> f64 {
    let ends = |ends: &[&str]| ends.iter().any(|end| figure.ends_with(end));
    match find(metric).unit {
        Unit::Seconds if ends(&["_us"]) => 1e6,
        Unit::Celsius if ends(&["_mc", "_millicelsius"]) => 1e3,
        Unit::Hertz if ends(&["_hz"]) => 1.0,
        Unit::Bytes if ends(&["bytes"]) => 1.0,
        Unit::Count if !ends(&["_us", "_mc", "_millicelsius", "_hz", "bytes", "_permille"]) => 1.0,
        unit => panic!("{figure} does not say that {metric} is in {}", unit.name()),
    }
}

/// Checks a figure against its metric.
fn check(s: &Snapshot<'_>, figure: &str, value: Option<f64>, (metric, labels): (&str, &[&str])) {
    let wanted = told(s, metric, labels).map(|told| told * scale(figure, metric));
    let is_same = match (value, wanted) {
        (Some(value), Some(wanted)) => (value - wanted).abs() <= 1e-9 * wanted.abs(),
        (value, wanted) => value.is_none() && wanted.is_none(),
    };
    assert!(is_same, "{figure} is {value:?}, and {metric} {labels:?} {wanted:?}");
}

/// Takes the numbers and flags out of a JSON object, and leaves what is no figure.
fn figures(object: &mut Json) -> BTreeMap<String, Option<f64>> {
    let object = object.as_object_mut().unwrap();
    let is_figure = |value: &Json| value.is_number() || value.is_boolean() || value.is_null();
    let names: Vec<_> = object.iter().filter(|(_, value)| is_figure(value)).map(|(name, _)| name.clone()).collect();
    let number = |value: &Json| value.as_f64().or(value.as_bool().map(|is_so| f64::from(u8::from(is_so))));
    names.into_iter().map(|name| (name.clone(), number(&object.remove(&name).unwrap()))).collect()
}

/// Checks each figure of an object against the entries, and the rates against what counters have grown by in a second.
fn check_object(
    before: &Snapshot<'_>,
    now: &Snapshot<'_>,
    entries: &[Entry],
    mut figures: BTreeMap<String, Option<f64>>,
) {
    for (name, metric, labels) in entries {
        let value = *figures.get(*name).unwrap_or_else(|| panic!("there is no {name}"));
        check(now, name, value, (metric, labels));
        if let Some(rate) = figures.remove(&format!("{name}_per_second")) {
            let grown = told(now, metric, labels).zip(told(before, metric, labels)).map(|(now, before)| now - before);
            assert_eq!(rate, grown, "{name}_per_second");
        }
    }
    entries.iter().for_each(|(name, ..)| _ = figures.remove(*name));
    assert!(figures.is_empty(), "of what metrics are {figures:?}?");
}

#[test]
fn every_figure_of_a_json_sample_is_its_metric() {
    let (old, node) = (Node::at_work(11), Node::at_work(12));
    let (mut sample, _) = crate::json::get(&node, "sample", 1);
    old.show(|old| {
        node.show(|s| {
            check_object(old, s, &SAMPLE, figures(&mut sample));
            check_object(old, s, &MEMORY, figures(&mut sample["memory"]));
            let mut network = figures(&mut sample["network"]);
            let lost = |s: &Snapshot<'_>| -> f64 {
                let lost = NETWORK.iter().filter(|(name, ..)| LOST.contains(name));
                lost.map(|(_, metric, labels)| told(s, metric, labels).unwrap()).sum()
            };
            assert_eq!(network.remove("lost_frames_per_second"), Some(Some(lost(s) - lost(old))));
            check_object(old, s, &NETWORK, network);
            for (clock, hz) in figures(&mut sample["clocks_hz"]) {
                check(s, "clocks_hz", hz, ("minipirack_clock_hertz", &[&clock]));
            }
            for core in 0..4 {
                let (number, stack) = (core.to_string(), format!("stack{core}"));
                let mut times = figures(&mut sample["cores"][core]);
                let cpu = "node_cpu_seconds_total";
                check(s, "idle_us", times.remove("idle_us").unwrap(), (cpu, &[&number, "idle"]));
                let mode = if core == 0 { "system" } else { "user" };
                check(s, "busy_us", times.remove("busy_us").unwrap(), (cpu, &[&number, mode]));
                assert!(times.is_empty(), "{times:?}");
                let busy = told(s, cpu, &[&number, mode]).unwrap() - told(old, cpu, &[&number, mode]).unwrap();
                assert_eq!(sample["cores_busy_permille"][core].as_f64().unwrap(), (busy * 1e3).round());
                let peak = sample["memory"]["stacks_peak_bytes"][core].as_f64();
                check(s, "stacks_peak_bytes", peak, ("minipirack_memory_area_peak_bytes", &[&stack]));
            }
            let left: Vec<_> = sample.as_object().unwrap().iter().filter(|(_, value)| value.is_array()).collect();
            let left: Vec<_> = left.iter().map(|(name, _)| name.as_str()).collect();
            assert_eq!(left, ["cores", "cores_busy_permille", "invalid_reasons", "unknown_reasons"]);
        });
    });
}

#[test]
fn every_figure_of_a_json_workload_is_its_metric() {
    let (old, node) = (Node::at_work(11), Node::at_work(12));
    let (mut all, _) = crate::json::get(&node, "workloads", 0);
    let mut own = figures(&mut all[1]);
    // No metrics: where it is, and since when.
    ["slot", "core", "started_us", "valid"].iter().for_each(|name| _ = own.remove(*name).unwrap());
    old.show(|old| {
        node.show(|s| {
            let busy = told(s, "minipirack_workload_busy_ratio", &["memory"]).unwrap() * 1e3;
            assert_eq!(own.remove("busy_permille"), Some(Some(busy)));
            check_object(old, s, &WORKLOAD, own);
        });
    });
}

#[test]
fn every_field_of_a_sample_is_its_metric() {
    let node = Node::at_work(12);
    // Whole: a new field does not compile before it has been told what it is. Names are those that defmt-print shows.
    let Sample {
        at_us,
        unix_us,
        clock_error_us,
        cores,
        memory,
        nic,
        interrupts,
        temperature_mc,
        throttled: _,
        health,
        clocks_hz,
        workloads,
        log_lines,
        log_lines_dropped,
    } = *node.history.newest().unwrap();
    let Memory { total, free, image, heap, dma, stacks } = memory;
    let NicCounts {
        rx_frames,
        rx_bytes,
        rx_errors,
        rx_dropped,
        tx_frames,
        tx_bytes,
        tx_errors,
        tx_dropped,
        carrier_changes,
        restarts,
        crc_errors,
        tx_stalls,
        link_flaps,
        looped_frames,
    } = nic;
    // Its progress is a sign of life and no figure.
    let WorkloadCounts { runs, operations, bytes, errors, busy_us, progress: _ } = workloads[SLOTS_PER_CORE];
    let nic = [
        rx_bytes,
        rx_frames,
        rx_errors,
        rx_dropped,
        tx_bytes,
        tx_frames,
        tx_errors,
        tx_dropped,
        carrier_changes,
        link_flaps,
        looped_frames,
        crc_errors,
        tx_stalls,
        restarts,
    ];
    node.show(|s| {
        let check = |figure: &str, value: u64, metric: &str, labels: &[&str]| {
            check(s, figure, Some(value as f64), (metric, labels));
        };
        check("at_us", at_us, "minipirack_uptime_seconds", &[]);
        check("unix_us", unix_us.unwrap(), "node_time_seconds", &[]);
        check("clock_error_us", clock_error_us.unwrap(), "node_timex_maxerror_seconds", &[]);
        check("interrupts", interrupts.unwrap(), "node_intr_total", &[]);
        check("temperature_mc", temperature_mc.unwrap().try_into().unwrap(), "node_hwmon_temp_celsius", &[]);
        check("log_lines", log_lines, "minipirack_log_lines_total", &[]);
        check("log_lines_dropped", log_lines_dropped, "minipirack_log_lines_dropped_total", &[]);
        check("health", health.is_valid().unwrap().into(), "minipirack_sample_valid", &[]);
        for (core, (time, stack)) in cores.iter().zip(stacks).enumerate() {
            let (number, mode) = (core.to_string(), if core == 0 { "system" } else { "user" });
            check("idle_us", time.unwrap().idle_us, "node_cpu_seconds_total", &[&number, "idle"]);
            check("busy_us", time.unwrap().busy_us, "node_cpu_seconds_total", &[&number, mode]);
            check("stacks bytes", stack.peak, "minipirack_memory_area_peak_bytes", &[&format!("stack{core}")]);
        }
        // Memory is in bytes, as its type says.
        check("total bytes", total, "minipirack_memory_total_bytes", &[]);
        check("free bytes", free, "minipirack_memory_free_bytes", &[]);
        check("image bytes", image, "minipirack_memory_area_size_bytes", &["image"]);
        for (name, area) in [("heap", heap), ("dma", dma)] {
            check("size bytes", area.size, "minipirack_memory_area_size_bytes", &[name]);
            check("used bytes", area.used, "minipirack_memory_area_used_bytes", &[name]);
            check("peak bytes", area.peak, "minipirack_memory_area_peak_bytes", &[name]);
        }
        for ((figure, metric, labels), value) in NETWORK.iter().zip(nic) {
            check(figure, value, metric, labels);
        }
        for (clock, hz) in Clock::ALL.iter().zip(clocks_hz) {
            let clock = [clock.name()];
            assert_eq!(hz.map(f64::from), told(s, "minipirack_clock_hertz", &clock));
        }
        // Operations are read as they are at the moment in `workloads`, and from the sample in the metrics.
        for ((figure, metric, labels), value) in WORKLOAD.iter().zip([operations, bytes, errors, busy_us, runs]) {
            check(figure, value, metric, labels);
        }
    });
}

#[test]
fn the_console_line_is_made_of_metrics() {
    let (old, node) = (Node::at_work(11), Node::at_work(12));
    let line = crate::console_line(&node);
    old.show(|old| {
        node.show(|s| {
            let told = |name: &str, labels: &[&str]| told(s, name, labels).unwrap_or_else(|| panic!("{name}"));
            let grown = |name: &str, labels: &[&str]| told(name, labels) - self::told(old, name, labels).unwrap();
            let whole = |value: f64| Si(value.round() as u64);
            let permille = |share: f64| Percent((share * 1e3).round() as u16);
            let mut wanted = format!("{:.1}s cpu", told("minipirack_uptime_seconds", &[]));
            for (core, mode) in [("0", "system"), ("1", "user"), ("2", "user"), ("3", "user")] {
                wanted += &format!(" {}", permille(grown("node_cpu_seconds_total", &[core, mode])));
            }
            let total = told("minipirack_memory_total_bytes", &[]);
            let used = total - told("minipirack_memory_available_bytes", &[]);
            wanted += &format!(" mem {}/{}MB", MiB(used as u64), MiB(total as u64));
            for (name, direction) in [("rx", "receive"), ("tx", "transmit")] {
                let of = |what: &str| grown(&format!("node_network_{direction}_{what}_total"), &[]);
                wanted += &format!(" {name} {}b/s {}pkt/s", whole(of("bytes") * 8.0), whole(of("packets")));
            }
            let celsius = Milli((told("node_hwmon_temp_celsius", &[]) * 1e3).round() as i32);
            wanted += &format!(" {celsius}C {}Hz", whole(told("node_cpu_scaling_frequency_hertz", &["0"])));
            wanted += &format!(" FAULTS {}", told("minipirack_faults", &["active"]));
            for id in ["cpu", "memory"] {
                let now = |what: &str| told(&format!("minipirack_workload_{what}"), &[id]);
                let rate = |what: &str| grown(&format!("minipirack_workload_{what}"), &[id]);
                wanted += &format!(" workload {id} {}", permille(now("busy_ratio")));
                if rate("bytes_total") > 0.0 {
                    wanted += &format!(" {}B/s", whole(rate("bytes_total")));
                }
                if now("errors_total") > 0.0 {
                    wanted += &format!(" {} errors", whole(now("errors_total")));
                }
                wanted += " ok";
            }
            assert_eq!(line, wanted);
        });
    });
}
