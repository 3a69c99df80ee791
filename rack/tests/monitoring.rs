//! The files of docs/monitoring, held against what nodes offer: a metric that is called otherwise than in the dashboard is a
//! plot that stays empty.
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use telemetry::metrics::{Kind, METRICS};

/// Labels that Prometheus and `rack targets` put to every series.
const FROM_OUTSIDE: [&str; 4] = ["instance", "job", "board", "rack"];

fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/monitoring").join(name)
}

/// Returns every query of the dashboard, with the title of its panel.
fn queries() -> Vec<(String, String)> {
    let dashboard: Value = serde_json::from_str(&fs::read_to_string(file("grafana.json")).unwrap()).unwrap();
    let targets = |panel: &Value| {
        let title = panel["title"].as_str().unwrap().to_owned();
        let targets = panel["targets"].as_array().cloned().unwrap_or_default();
        targets.into_iter().map(move |target| (title.clone(), target["expr"].as_str().unwrap().to_owned()))
    };
    dashboard["panels"].as_array().unwrap().iter().flat_map(targets).collect()
}

fn is_of_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// Returns the series of a query: each name, and the labels that it is selected by.
fn series(query: &str) -> Vec<(&str, Vec<&str>)> {
    let mut series = Vec::new();
    for (at, _) in query.match_indices(|c: char| is_of_name(c)) {
        let is_start = !query[..at].ends_with(is_of_name);
        let rest = &query[at..];
        let name = &rest[..rest.find(|c| !is_of_name(c)).unwrap_or(rest.len())];
        if !is_start || !(name.starts_with("node_") || name.starts_with("minipirack_") || name == "up") {
            continue;
        }
        let selector = rest[name.len()..].strip_prefix('{').and_then(|rest| rest.split('}').next()).unwrap_or("");
        let labels = selector.split(',').filter(|part| !part.is_empty());
        series.push((name, labels.map(|part| part.split(['=', '!']).next().unwrap()).collect()));
    }
    series
}

#[test]
fn the_dashboard_asks_for_nothing_that_nodes_do_not_have() {
    let queries = queries();
    assert!(queries.len() > 20, "{queries:?}");
    for (title, query) in &queries {
        let series = series(query);
        assert!(!series.is_empty(), "{title}: {query}");
        for (name, labels) in series {
            if name == "up" {
                continue;
            }
            let stem = ["_bucket", "_sum", "_count"].iter().find_map(|part| name.strip_suffix(part));
            let histogram = stem.and_then(|stem| METRICS.find(stem)).filter(|metric| metric.kind == Kind::Histogram);
            let metric = histogram.or_else(|| METRICS.find(name));
            assert!(metric.is_some(), "{title}: no node has {name}");
            let metric = metric.unwrap();
            assert_eq!(metric.kind == Kind::Histogram, histogram.is_some(), "{title}: {name} is a distribution");
            let is_known = |label: &&str| metric.labels.contains(label) || FROM_OUTSIDE.contains(label);
            assert!(labels.iter().all(is_known), "{title}: {name} has no such label: {labels:?}");
            // What only grows shows by its rate.
            let has_rate = query.contains(&format!("rate({name}")) || query.contains(&format!("increase({name}"));
            let is_shown_whole = query.starts_with(&format!("sum({name}"));
            assert!(metric.kind != Kind::Counter || has_rate || is_shown_whole, "{title}: {query}");
        }
    }
}

#[test]
fn names_and_labels_are_found_in_queries() {
    let query = r#"sum by (le) (rate(node_a_total{cpu="0",mode!="idle"}[5m])) / minipirack_b + up{job="rack"}"#;
    let expected = [("node_a_total", vec!["cpu", "mode"]), ("minipirack_b", vec![]), ("up", vec!["job"])];
    assert_eq!(series(query), expected);
}

/// Has promtool look at a file, where there is one.
fn promtool(arguments: &[&str], file: &Path) {
    let Ok(output) = Command::new("promtool").args(arguments).arg(file).output() else {
        let what = arguments.join(" ");
        // When standard error is closed, nobody listens.
        let _ = writeln!(io::stderr(), "NOT TESTED (needs the package prometheus): promtool {what}");
        return;
    };
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&said));
}

#[test]
fn prometheus_understands_its_configuration_and_every_query() {
    promtool(&["check", "config"], &file("prometheus.yml"));
    // As rules, which promtool parses.
    let rule = |(number, (_, query)): (usize, &(String, String))| {
        let query = query.replace("$__rate_interval", "1m").replace("$instance", ".*");
        format!("  - record: q{number}\n    expr: '{query}'\n")
    };
    let rules: String = queries().iter().enumerate().map(rule).collect();
    let rules = format!("groups:\n- name: dashboard\n  rules:\n{rules}");
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("rules.yml");
    fs::write(&path, rules).unwrap();
    promtool(&["check", "rules"], &path);
}
