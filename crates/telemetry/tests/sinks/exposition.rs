//! A strict reader of the Prometheus text format: anything that its definition does not allow panics.

use std::collections::{BTreeMap, HashSet};
use std::io::Write;
use std::process::{Command, Stdio};

#[derive(Debug)]
pub(crate) struct Series {
    pub(crate) name: String,
    pub(crate) labels: Vec<(String, String)>,
    pub(crate) value: String,
}

#[derive(Debug)]
pub(crate) struct Family {
    pub(crate) help: String,
    pub(crate) kind: String,
    pub(crate) series: Vec<Series>,
}

/// Parses a whole exposition.
pub(crate) fn parse(text: &str) -> BTreeMap<String, Family> {
    assert!(text.ends_with('\n') && !text.contains("\n\n"), "lines must end, and none be empty");
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    let mut current = String::new();
    let mut lines = text.lines().peekable();
    let mut seen = HashSet::new();
    while let Some(line) = lines.next() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap();
            let kind = lines.next().and_then(|l| l.strip_prefix(&format!("# TYPE {name} "))).expect_type(line);
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            assert!(is_name(name), "{line}");
            current = name.to_owned();
            let family = Family { help: help.to_owned(), kind: kind.to_owned(), series: Vec::new() };
            assert!(families.insert(name.to_owned(), family).is_none(), "{name} is there twice");
            continue;
        }
        assert!(!line.starts_with('#'), "{line}");
        let series = parse_series(line);
        let family = families.get_mut(&current).unwrap();
        let suffixes: &[&str] = if family.kind == "histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
        let suffix = series.name.strip_prefix(&current).unwrap_or_else(|| panic!("{line} is not of {current}"));
        assert!(suffixes.contains(&suffix), "{line}");
        assert!(series.value.parse::<f64>().unwrap().is_finite(), "{line}");
        assert!(family.kind == "gauge" || !series.value.starts_with('-'), "{line}");
        let identity = line.rsplit_once(' ').unwrap().0.to_owned();
        assert!(seen.insert(identity), "{line} is there twice");
        family.series.push(series);
    }
    for (name, family) in &families {
        assert!(!family.series.is_empty(), "{name} has no value");
        assert_eq!(name.ends_with("_total"), family.kind == "counter", "{name}");
        if family.kind == "histogram" {
            check_histogram(name, family);
        }
    }
    families
}

/// Returns the value of the one series of `name` that has `labels` among its labels.
pub(crate) fn value<'a>(families: &'a BTreeMap<String, Family>, name: &str, labels: &[(&str, &str)]) -> &'a str {
    let family = families.get(name).unwrap_or_else(|| panic!("{name} is missing"));
    let mut found = family
        .series
        .iter()
        .filter(|s| labels.iter().all(|(n, v)| s.labels.iter().any(|(name, value)| name == n && value == v)));
    let series = found.next().unwrap_or_else(|| panic!("{name} has no {labels:?}: {:?}", family.series));
    assert!(found.next().is_none(), "{name} has several {labels:?}");
    &series.value
}

/// Returns whether `promtool check metrics` accepts `text`, and what it says; `None` if it is not installed.
pub(crate) fn promtool(text: &str) -> Option<(bool, String)> {
    let mut child = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .ok()?;
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    Some((output.status.success(), String::from_utf8(output.stderr).unwrap()))
}

trait ExpectType<'a> {
    fn expect_type(self, line: &str) -> &'a str;
}

impl<'a> ExpectType<'a> for Option<&'a str> {
    fn expect_type(self, line: &str) -> &'a str {
        self.unwrap_or_else(|| panic!("no TYPE follows {line}"))
    }
}

fn parse_series(line: &str) -> Series {
    let name_len = line.find(['{', ' ']).unwrap();
    let (name, mut rest) = line.split_at(name_len);
    assert!(is_name(name), "{line}");
    let mut labels: Vec<(String, String)> = Vec::new();
    if let Some(inner) = rest.strip_prefix('{') {
        rest = inner;
        loop {
            let (label, after) = rest.split_once("=\"").unwrap_or_else(|| panic!("{line}"));
            assert!(is_name(label) && !label.contains(':') && !label.starts_with("__"), "{line}");
            assert!(labels.iter().all(|(name, _)| name != label), "{line}");
            let (value, after) = quoted(after, line);
            labels.push((label.to_owned(), value));
            if let Some(after) = after.strip_prefix(',') {
                rest = after;
            } else {
                rest = after.strip_prefix('}').unwrap_or_else(|| panic!("{line}"));
                break;
            }
        }
    }
    let value = rest.strip_prefix(' ').unwrap_or_else(|| panic!("{line}"));
    assert!(!value.contains(' '), "{line}");
    Series { name: name.to_owned(), labels, value: value.to_owned() }
}

fn quoted<'a>(text: &'a str, line: &str) -> (String, &'a str) {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (value, &text[at + 1..]),
            '\\' => value.push(match chars.next() {
                Some((_, 'n')) => '\n',
                Some((_, c @ ('"' | '\\'))) => c,
                other => panic!("{line}: bad escape {other:?}"),
            }),
            c => value.push(c),
        }
    }
    panic!("{line}: a quote is missing");
}

fn is_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == ':')
}

fn check_histogram(name: &str, family: &Family) {
    let mut by_labels: BTreeMap<Vec<(String, String)>, Vec<&Series>> = BTreeMap::new();
    for series in &family.series {
        let labels = series.labels.iter().filter(|(n, _)| n != "le").cloned().collect();
        by_labels.entry(labels).or_default().push(series);
    }
    for (labels, series) in by_labels {
        let mut last = (f64::NEG_INFINITY, 0u64);
        let (mut sums, mut counts) = (0, Vec::new());
        for s in &series {
            match s.name.strip_prefix(name).unwrap() {
                "_bucket" => {
                    let le = &s.labels.iter().find(|(n, _)| n == "le").unwrap().1;
                    let le = if le == "+Inf" { f64::INFINITY } else { le.parse().unwrap() };
                    let count = s.value.parse().unwrap();
                    assert!(le > last.0 && count >= last.1, "{name} {labels:?} {le}");
                    last = (le, count);
                }
                "_sum" => sums += 1,
                _ => counts.push(s.value.parse::<u64>().unwrap()),
            }
        }
        assert_eq!(last.0, f64::INFINITY, "{name} {labels:?} does not end with +Inf");
        assert_eq!((sums, counts), (1, vec![last.1]), "{name} {labels:?}");
    }
}
