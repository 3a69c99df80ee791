//! The table of figures, with Linux's beside them, and the history.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};

/// What a figure should be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Goal {
    /// There is none.
    None,
    /// This or less.
    AtMost(f64),
    /// This or more.
    AtLeast(f64),
}

impl Goal {
    fn is_met(self, value: f64) -> bool {
        match self {
            Self::None => true,
            Self::AtMost(bound) => value <= bound,
            Self::AtLeast(bound) => value >= bound,
        }
    }
}

/// One measured figure.
#[derive(Debug)]
struct Figure {
    name: &'static str,
    unit: &'static str,
    value: f64,
    goal: Goal,
    /// arm64 Linux on the same virtual board, the better of its two USB drivers; in brackets if that was measured in
    /// another run.
    linux: String,
}

/// All figures of a run.
#[derive(Debug, Default)]
pub(crate) struct Report {
    figures: Vec<Figure>,
    /// What could not be measured, and why.
    missing: Vec<String>,
}

impl Report {
    /// Adds a figure, and Linux's from an earlier run (empty if there is none).
    pub(crate) fn add(&mut self, name: &'static str, unit: &'static str, value: f64, goal: Goal, linux: &str) {
        let linux = if linux.is_empty() { String::new() } else { format!("({linux})") };
        self.figures.push(Figure { name, unit, value, goal, linux });
    }

    /// Adds a figure, and Linux's from the same run.
    pub(crate) fn add_beside(&mut self, name: &'static str, unit: &'static str, value: f64, goal: Goal, linux: f64) {
        self.figures.push(Figure { name, unit, value, goal, linux: number(linux) });
    }

    /// Notes that something was not measured: the report has to say so.
    pub(crate) fn not_measured(&mut self, what: &str, why: &str) {
        self.missing.push(format!("NOT MEASURED: {what}: {why}"));
    }

    /// Returns the names of figures that are not what they should be.
    pub(crate) fn not_met(&self) -> impl Iterator<Item = &str> {
        self.figures.iter().filter(|figure| !figure.goal.is_met(figure.value)).map(|figure| figure.name.trim_start())
    }

    /// Prints the table.
    pub(crate) fn print(&self) {
        let mut out = std::io::stdout().lock();
        // Nobody reads the table if standard output is gone.
        let _ = writeln!(out, "{:<44} {:>12} {:<8} {:>10} {:<8} {:>14}", "", "MiniPiRack", "", "goal", "", "Linux");
        for Figure { name, unit, value, goal, linux } in &self.figures {
            let (sign, bound) = match *goal {
                Goal::None => ("", String::new()),
                Goal::AtMost(bound) => ("<=", number(bound)),
                Goal::AtLeast(bound) => (">=", number(bound)),
            };
            let verdict = match *goal {
                Goal::None => "",
                goal if goal.is_met(*value) => "met",
                _ => "NOT MET",
            };
            let value = number(*value);
            let _ = writeln!(out, "{name:<44} {value:>12} {unit:<8} {sign:>2}{bound:>8} {verdict:<8} {linux:>14}");
        }
        let _ = writeln!(out, "(Linux in brackets: measured in another run)");
        for line in &self.missing {
            let _ = writeln!(out, "{line}");
        }
    }

    /// Adds this run to the history, and returns its file.
    pub(crate) fn append_to_history(&self) -> Result<PathBuf> {
        let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
        let target = target.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"));
        let file = target.join("bench-history.jsonl");
        // What is indented belongs to the row above.
        let mut above = "";
        let name = |figure: &Figure| {
            if figure.name.starts_with(' ') {
                return format!("{above}: {} [{}]", figure.name.trim_start(), figure.unit);
            }
            above = figure.name;
            format!("{above} [{}]", figure.unit)
        };
        let figures: Map<_, _> =
            self.figures.iter().map(name).zip(self.figures.iter().map(|figure| json!(figure.value))).collect();
        let unix_time_s = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        let commit = std::process::Command::new("git").args(["describe", "--always", "--dirty"]).output();
        let commit = commit.ok().filter(|output| output.status.success());
        let commit = commit.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
        let line: Value = json!({ "unix_time_s": unix_time_s, "commit": commit, "figures": figures });
        let mut history = std::fs::OpenOptions::new().create(true).append(true).open(&file);
        let history = history.as_mut().map_err(|error| anyhow::anyhow!("{}: {error}", file.display()))?;
        writeln!(history, "{line}").with_context(|| format!("writing {}", file.display()))?;
        Ok(file)
    }
}

/// Returns the middle one.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    percentile(&mut values, 50)
}

/// Returns the value that `percent` of the values do not exceed; sorts them.
pub(crate) fn percentile(values: &mut [f64], percent: usize) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get((values.len() * percent / 100).min(values.len().saturating_sub(1))).copied().unwrap_or(f64::NAN)
}

fn number(value: f64) -> String {
    match value.abs() {
        0.0..10.0 => format!("{value:.2}"),
        10.0..1000.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}
