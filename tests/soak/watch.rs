//! A look at the node once a second, and what it has in use when nobody asks for anything.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use tests::http::HttpClient;
use tests::metrics::Metrics;
use tests::node::TestNode;
use tests::{shell, wait};

const HEAP: &str = "minipirack_memory_area_used_bytes";
const CONNECTIONS: &str = "minipirack_tcp_connections";
/// Parts of the time for which the least use of the heap is told.
const PARTS: usize = 6;
/// Longer than from one sample to the next.
const UNDISTURBED: Duration = Duration::from_millis(1500);
/// Samples in a row that have to say the same.
const STEADY: usize = 4;

/// What is in use.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Quiet {
    /// Bytes of the heap.
    pub(crate) heap: f64,
    /// Established TCP connections, that of the look included.
    pub(crate) connections: f64,
    /// Sockets of the stack.
    pub(crate) sockets: u64,
}

impl Quiet {
    /// Looks at a sample that was taken while nobody looked: a page of metrics takes memory as long as it is being sent, more
    /// than what is looked for.
    pub(crate) fn read(node: &TestNode) -> Result<Self> {
        std::thread::sleep(UNDISTURBED);
        let metrics = node.metrics()?;
        let net = shell::run(node, "net")?;
        // "sockets     34 open, 2 TCP connections"
        let words = net.iter().find_map(|line| line.strip_prefix("sockets")?.split_whitespace().next());
        let sockets = words.with_context(|| format!("no sockets in {net:?}"))?.parse()?;
        let heap = metrics.one(HEAP, &[("area", "heap")])?;
        Ok(Self { heap, connections: metrics.one(CONNECTIONS, &[])?, sockets })
    }

    /// Looks until the number of connections and sockets stays the same for some seconds, and is what it was `before`.
    pub(crate) fn wait(node: &TestNode, before: Option<Self>, deadline: Duration) -> Result<Self> {
        let mut last: Vec<Self> = Vec::new();
        wait::until("a quiet node", deadline, || {
            let now = Self::read(node)?;
            last.retain(|one| one.has_as_many(&now));
            last.push(now);
            // The least: what the node sends by itself takes memory for a moment, too.
            let least = last.iter().copied().min_by(|a, b| a.heap.total_cmp(&b.heap));
            Ok(least.filter(|least| last.len() >= STEADY && before.is_none_or(|before| least.has_as_many(&before))))
        })
    }

    fn has_as_many(&self, other: &Self) -> bool {
        self.connections == other.connections && self.sockets == other.sockets
    }
}

impl fmt::Display for Quiet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { heap, connections, sockets } = self;
        write!(f, "at rest {:.1} kB of heap, {sockets} sockets, {connections} connections", heap / 1e3)
    }
}

/// What was seen over the time.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    looks: u64,
    silence_max: Duration,
    heap: Vec<f64>,
    connections_max: f64,
    first: Option<Metrics>,
    last: Option<Metrics>,
    failure: Option<String>,
}

/// What counts how often something had to be started anew.
const STARTS: [&str; 4] = [
    "node_crashes_total",
    "minipirack_workload_restarts_total",
    "minipirack_workload_runs_total",
    "minipirack_network_restarts_total",
];

/// What counts frames and requests that came to nothing, or were out of the ordinary.
const INCIDENTS: [&str; 6] = [
    "minipirack_events_total",
    "minipirack_network_malformed_total",
    "node_network_receive_drop_total",
    "node_network_receive_errs_total",
    "node_network_transmit_drop_total",
    "node_network_transmit_errs_total",
];

/// Looks once a second, from a thread.
pub(crate) struct Watch {
    is_ending: Arc<AtomicBool>,
    thread: JoinHandle<Seen>,
}

impl Watch {
    pub(crate) fn start(node: &TestNode) -> Result<Self> {
        let is_ending = Arc::new(AtomicBool::new(false));
        let (ends, address) = (Arc::clone(&is_ending), node.tcp(80)?);
        let thread = std::thread::spawn(move || {
            let mut seen = Seen::default();
            let mut client = None;
            let mut answered = Instant::now();
            while !ends.load(Ordering::Relaxed) {
                match look(&mut client, address) {
                    Ok(metrics) => seen.add(metrics),
                    Err(error) => {
                        seen.failure.get_or_insert(format!("{error:#}"));
                        client = None;
                    }
                }
                seen.silence_max = seen.silence_max.max(answered.elapsed());
                answered = Instant::now();
                std::thread::sleep(Duration::from_secs(1));
            }
            seen
        });
        Ok(Self { is_ending, thread })
    }

    /// Ends it; returns what was seen.
    pub(crate) fn end(self) -> Seen {
        self.is_ending.store(true, Ordering::Relaxed);
        let failure = |_| Seen { failure: Some("the watch panicked".into()), ..Seen::default() };
        self.thread.join().unwrap_or_else(failure)
    }
}

fn look(client: &mut Option<HttpClient>, address: std::net::SocketAddr) -> Result<Metrics> {
    let mut connected = match client.take() {
        Some(connected) => connected,
        None => HttpClient::connect(address)?,
    };
    let metrics = Metrics::parse(&connected.get("/metrics")?.text())?;
    *client = Some(connected);
    Ok(metrics)
}

impl Seen {
    fn add(&mut self, metrics: Metrics) {
        self.looks += 1;
        self.heap.push(metrics.sum(HEAP, &[("area", "heap")]));
        self.connections_max = self.connections_max.max(metrics.sum(CONNECTIONS, &[]));
        self.first.get_or_insert_with(|| metrics.clone());
        self.last = Some(metrics);
    }

    /// Checks that the node was there all the time, and returns what it said at first.
    pub(crate) fn check(self, silence_max: Duration) -> Result<Metrics> {
        if let Some(failure) = self.failure {
            return Err(anyhow!("the node was not there: {failure}"));
        }
        ensure!(self.silence_max <= silence_max, "the node answered nothing for {:?}", self.silence_max);
        self.first.context("never looked")
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { looks, silence_max, heap, connections_max, first, last, .. } = self;
        write!(f, "looked {looks} times, at most {:.2} s apart; ", silence_max.as_secs_f64())?;
        // A leak would show in what is in use at least.
        let least = |part: &[f64]| format!("{:.0}", part.iter().copied().fold(f64::INFINITY, f64::min) / 1e3);
        let parts: Vec<_> = heap.chunks(heap.len().div_ceil(PARTS).max(1)).map(least).collect();
        let most = heap.iter().copied().fold(0.0, f64::max) / 1e3;
        write!(f, "heap at least {} and at most {most:.0} kB, {connections_max} connections", parts.join(", "))?;
        let (Some(first), Some(last)) = (first, last) else { return Ok(()) };
        for (what, metric) in [
            ("frames in", "node_network_receive_packets_total"),
            ("frames out", "node_network_transmit_packets_total"),
            ("operations of workloads", "minipirack_workload_operations_total"),
        ] {
            write!(f, ", {} {what}", last.sum(metric, &[]) - first.sum(metric, &[]))?;
        }
        for sample in last.samples.iter().filter(|sample| INCIDENTS.contains(&sample.name.as_str())) {
            let is_same = |other: &&tests::metrics::Sample| other.name == sample.name && other.labels == sample.labels;
            let more = sample.value - first.samples.iter().find(is_same).map_or(0.0, |before| before.value);
            if more > 0.0 {
                let is_event = sample.name == INCIDENTS[0];
                let label = sample.labels.first().filter(|_| is_event).map_or(&sample.name, |(_, value)| value);
                write!(f, ", {more} {label}")?;
            }
        }
        Ok(())
    }
}

/// Checks that the node, its NIC and its workloads are still those that there were when `first` was read.
pub(crate) fn nothing_was_started_anew(node: &TestNode, first: &Metrics) -> Result<()> {
    let now = node.metrics()?;
    for name in STARTS {
        let (before, after) = (first.sum(name, &[]), now.sum(name, &[]));
        ensure!(before == after, "{name} went from {before} to {after}; {}", node.last_words());
    }
    let uptime = "minipirack_uptime_seconds";
    ensure!(now.one(uptime, &[])? > first.one(uptime, &[])?, "the node was started anew");
    Ok(())
}
