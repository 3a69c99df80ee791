//! `logs`: the log lines of many nodes as one, in the order of time; and those to come, as they come.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Result, bail};
use clap::Args;
use serde::Deserialize;
use serde_json::json;

use super::events::{Event, Events};
use super::interrupt::{self, Interrupt};
use super::lan::plain;
use super::node::Node;
use super::parallel;
use super::selection::{self, Login, Selection};
use crate::progress::say;

/// Between two attempts to reach a node that is away.
const RETRY: Duration = Duration::from_secs(1);
/// Between two looks at whether the user has had enough.
const LOOK: Duration = Duration::from_millis(100);
/// The moments of a start that is seen twice differ by less than this, in µs,
const DELAY_US: u128 = 2_000_000;
/// and a part of the time in between: crystals are some 50 millionths off, and this machine's clock may be put right by as much again.
const DRIFT: u128 = 5_000;

/// Whose lines.
#[derive(Clone, Debug, Args)]
pub(crate) struct Options {
    /// The nodes; all if none is named.
    nodes: Vec<String>,
    /// Goes on with lines as they come, also of a node that was away. Ctrl-C ends it.
    #[arg(long, short)]
    follow: bool,
    /// How many lines of each node's past.
    #[arg(long, short = 'n', value_name = "COUNT", default_value_t = 20)]
    last: u16,
    /// Only lines of this level and worse ones.
    #[arg(long, value_name = "LEVEL", value_parser = ["error", "warn", "info", "debug", "trace"], default_value = "trace")]
    level: String,
    /// As JSON, an object a line: node, unix_ms, uptime_us, level, core, text.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    selection: Selection,
}

/// A line as the node tells it (`telemetry/src/sinks/json/log.rs`).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Line {
    /// When it was written, since the node's start.
    pub(super) at_us: u64,
    pub(super) level: String,
    core: u8,
    pub(super) text: String,
    /// Lines before it that are lost.
    #[serde(default)]
    pub(super) missed: u64,
}

#[derive(Deserialize)]
struct Page {
    lines: Vec<Line>,
    /// The number of the line that comes next.
    next: u64,
}

/// Shows lines. Fails when a node does not answer, and there was no waiting for it.
pub(crate) fn logs(options: &Options) -> Result<ExitCode> {
    let login = Login::default();
    let nodes = match options.nodes.as_slice() {
        [] => options.selection.all(&login)?,
        names => options.selection.named(names, &login)?,
    };
    if nodes.is_empty() {
        return Err(selection::nothing(&options.selection));
    }
    let interrupt = Interrupt::catch()?;
    let pages = parallel::map(&nodes, |node| past(node, options.last));
    let printer = Printer::new(&nodes, options);
    let mut past: Vec<(u128, usize, &Line)> = Vec::new();
    for (index, page) in pages.iter().enumerate() {
        match page {
            Ok((page, boot)) => past.extend(page.lines.iter().map(|line| (boot.at(line), index, line))),
            Err(error) => say(&format!("{}: error: {error:#}", nodes[index].name)),
        }
    }
    past.sort_by_key(|(at, ..)| *at);
    past.iter().try_for_each(|(at, index, line)| printer.print(&nodes[*index], *at, line))?;
    if !options.follow {
        return Ok(if pages.iter().all(Result::is_ok) { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    for (node, page) in nodes.iter().zip(&pages) {
        let next = page.as_ref().ok().map(|(page, boot)| (page.next, *boot));
        let (node, printer) = (node.clone(), printer.clone());
        thread::Builder::new().name(node.name.clone()).spawn(move || follow(&node, next, &printer))?;
    }
    while !interrupt.is_set() && !printer.is_closed() {
        thread::sleep(LOOK);
    }
    Ok(if interrupt.is_set() { ExitCode::from(interrupt::STATUS) } else { ExitCode::SUCCESS })
}

/// When a node was started, by this machine's clock: nodes have times of their own, and some know none.
#[derive(Clone, Copy, Debug)]
struct Boot {
    unix_us: u128,
    /// When it was asked.
    asked_us: u128,
}

impl Boot {
    /// Asks the node how long it has been up.
    fn of(node: &Node) -> Result<Self> {
        let begin = Instant::now();
        let who = node.api("node")?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let Some(uptime_us) = who["uptime_us"].as_u64() else { bail!("it does not tell how long it has been up") };
        // The answer was made some time in between.
        let answered = now.saturating_sub(begin.elapsed() / 2);
        let asked_us = answered.as_micros();
        Ok(Self { unix_us: asked_us.saturating_sub(uptime_us.into()), asked_us })
    }

    /// Returns whether this is the start that was seen earlier: two looks at the same differ by the network's delay, and by how the two
    /// clocks have drifted apart in between.
    fn is(self, earlier: Self) -> bool {
        let drift = self.asked_us.saturating_sub(earlier.asked_us) / DRIFT;
        self.unix_us.abs_diff(earlier.unix_us) < DELAY_US + drift
    }

    /// Returns when a line was written, in microseconds since 1970.
    fn at(self, line: &Line) -> u128 {
        self.unix_us + u128::from(line.at_us)
    }
}

fn past(node: &Node, last: u16) -> Result<(Page, Boot)> {
    if let Some(trouble) = &node.trouble {
        bail!("{trouble}");
    }
    let boot = Boot::of(node)?;
    let page = node.api(&format!("log?last={last}"))?;
    Ok((serde_json::from_value(page)?, boot))
}

/// Shows a node's lines for ever. `next` is the number of the line that comes next in this life of the node, if it is known.
fn follow(node: &Node, mut next: Option<(u64, Boot)>, printer: &Printer) {
    let mut is_away = next.is_none();
    loop {
        let result = listen(node, &mut next, &mut is_away, printer);
        if printer.is_closed() {
            return;
        }
        if let (Err(error), false) = (&result, is_away) {
            say(&format!("{}: away: {error:#}", node.name));
            is_away = true;
        }
        thread::sleep(RETRY);
    }
}

/// Shows a node's lines until it is away.
fn listen(node: &Node, next: &mut Option<(u64, Boot)>, is_away: &mut bool, printer: &Printer) -> Result<()> {
    let now = Boot::of(node)?;
    // A node that was started anew counts from 0 again.
    let is_same = next.is_some_and(|(_, boot)| now.is(boot));
    let after = next.filter(|_| is_same).map_or(0, |(number, _)| number);
    let mut events = Events::new(node.events(&format!("/api/v1/events?after={after}"))?);
    if *is_away {
        say(&format!("{}: {}", node.name, if is_same { "is back" } else { "is there" }));
    } else if next.is_some() && !is_same {
        say(&format!("{}: was started anew", node.name));
    }
    *is_away = false;
    *next = Some((after, now));
    loop {
        if let Some((number, line)) = line_of(&events.next()?) {
            *next = Some((number.or(next.map(|(number, _)| number)).unwrap_or(after), now));
            printer.print(node, now.at(&line), &line)?;
        }
    }
}

/// Returns the log line that an event tells of, and the number of the one behind it.
pub(super) fn line_of(event: &Event) -> Option<(Option<u64>, Line)> {
    (event.name == "log").then_some(())?;
    Some((event.id, serde_json::from_str(&event.data).ok()?))
}

/// Standard output, whoever speaks.
#[derive(Clone, Debug)]
struct Printer(std::sync::Arc<Inner>);

#[derive(Debug)]
struct Inner {
    width: usize,
    level: usize,
    is_json: bool,
    /// Whether nobody listens any more.
    is_closed: Mutex<bool>,
}

const LEVELS: [&str; 5] = ["error", "warn", "info", "debug", "trace"];

fn rank(level: &str) -> usize {
    LEVELS.iter().position(|name| *name == level).unwrap_or(0)
}

impl Printer {
    fn new(nodes: &[Node], options: &Options) -> Self {
        let width = nodes.iter().map(|node| node.name.chars().count()).max().unwrap_or(0);
        let (level, is_json) = (rank(&options.level), options.json);
        Self(std::sync::Arc::new(Inner { width, level, is_json, is_closed: Mutex::new(false) }))
    }

    fn is_closed(&self) -> bool {
        self.0.is_closed.lock().map_or(true, |closed| *closed)
    }

    fn print(&self, node: &Node, unix_us: u128, line: &Line) -> Result<()> {
        let Ok(mut is_closed) = self.0.is_closed.lock() else { bail!("a thread has failed") };
        if rank(&line.level) > self.0.level {
            return Ok(());
        }
        let text =
            if self.0.is_json { as_json(node, unix_us, line) } else { as_text(node, unix_us, line, self.0.width) };
        let written = io::stdout().write_all(text.as_bytes()).and_then(|()| io::stdout().flush());
        *is_closed = written.is_err();
        Ok(written?)
    }
}

fn as_json(node: &Node, unix_us: u128, line: &Line) -> String {
    let unix_ms = u64::try_from(unix_us / 1000).unwrap_or(u64::MAX);
    let Line { at_us, level, core, text, missed } = line;
    let entry: BTreeMap<&str, serde_json::Value> = [
        ("node", json!(node.name)),
        ("unix_ms", json!(unix_ms)),
        ("uptime_us", json!(at_us)),
        ("level", json!(level)),
        ("core", json!(core)),
        ("text", json!(text)),
        ("missed", json!(missed)),
    ]
    .into();
    format!("{}\n", json!(entry))
}

fn as_text(node: &Node, unix_us: u128, line: &Line, width: usize) -> String {
    let (seconds, ms) = (unix_us / 1_000_000 % 86_400, unix_us / 1000 % 1000);
    let time = format!("{:02}:{:02}:{:02}.{ms:03}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    let missed = match line.missed {
        0 => String::new(),
        count => format!("({count} lines before this one are lost) "),
    };
    format!("{time}Z {:width$} {:5} {missed}{}\n", node.name, plain(&line.level), plain(&line.text))
}

#[cfg(test)]
mod tests {
    use super::super::node::tests::node;
    use super::*;

    #[test]
    fn a_log_line_is_shown_with_its_time_and_node() {
        let data = r#"{"at_us":5,"level":"warn","core":0,"text":"net: x","missed":2}"#;
        let event = |name: &str, data: &str| Event { name: name.into(), id: Some(8), data: data.into() };
        assert_eq!([line_of(&event("sample", data)), line_of(&event("log", "{broken"))], [None, None]);
        let line = Line { at_us: 5, level: "warn".into(), core: 0, text: "net: x".into(), missed: 2 };
        assert_eq!(line_of(&event("log", data)), Some((Some(8), line.clone())));
        let text = as_text(&node("pi-1", 1), 3_723_004_000, &line, 6);
        assert_eq!(text, "01:02:03.004Z pi-1   warn  (2 lines before this one are lost) net: x\n");
        assert!(as_json(&node("pi-1", 1), 3_000, &line).contains("\"unix_ms\":3"));
    }

    #[test]
    fn clocks_that_drift_apart_are_no_restart() {
        let hour = 3_600_000_000;
        let first = Boot { unix_us: 100 * hour, asked_us: 101 * hour };
        // A day later, 50 millionths slower: 4.3 s.
        assert!(Boot { unix_us: 100 * hour + 4_320_000, asked_us: 125 * hour }.is(first));
        // Started anew after a minute.
        assert!(!Boot { unix_us: first.asked_us + 60_000_000, asked_us: 125 * hour }.is(first));
        assert!(!Boot { unix_us: first.unix_us + 3_000_000, asked_us: first.asked_us + 3_000_000 }.is(first));
    }

    #[test]
    fn worse_levels_come_first() {
        assert!(rank("error") < rank("warn") && rank("info") < rank("trace"));
    }
}
