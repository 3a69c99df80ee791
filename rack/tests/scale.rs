//! Fifteen nodes on a small machine: how soon they are up, what they cost when they have nothing to do, how soon they answer. Takes a
//! minute, and wants the machine for itself.
//!
//! Time on the clock is what a person waits, but other programs and other guests of the host take their part of it. So a time is
//! held against its limit divided by the share of the processors that was left to the rack, which is 1 on an idle machine; and the
//! best of several rounds counts, except for starting. What nodes cost is processor time, which nobody else takes part in.
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use nix::unistd::{SysconfVar, sysconf};
use serde_json::Value;
use tests::lab::say;
use tests::tool::Racks;

const NODES: usize = 15;
const UP_MAX: Duration = Duration::from_secs(30);
/// Of one core, all nodes and their supervisor together.
const IDLE_MAX: f64 = 0.4;
/// All together.
const MEMORY_MAX_BYTES: u64 = 4_000_000_000;
const LIST_MAX: Duration = Duration::from_secs(3);
const RUN_MAX: Duration = Duration::from_secs(2);
const ROUNDS: usize = 3;
/// How long idle nodes are looked at,
const IDLE_LOOK: Duration = Duration::from_secs(12);
/// and how often, until they have settled: after a start they announce themselves, and their timers are still exact.
const IDLE_LOOKS: usize = 4;

/// Processor time until now, in seconds.
#[derive(Clone, Copy)]
struct Used {
    /// What the test, what it has waited for, and the rack have used.
    ours: f64,
    /// What was used in all, with what other guests of the host have taken.
    all: f64,
    at: Instant,
}

fn seconds(ticks: u64) -> f64 {
    ticks as f64 / sysconf(SysconfVar::CLK_TCK).unwrap().unwrap() as f64
}

/// Returns what a process and the children that it has waited for have used (fields 14 to 17 of proc_pid_stat(5)).
fn used_by(pid: &str) -> f64 {
    // It may have ended.
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace();
    seconds(fields.skip(11).take(4).map(|field| field.parse::<u64>().unwrap()).sum())
}

impl Used {
    fn look(racks: &Racks) -> Self {
        let processes = racks.pids();
        let ours = used_by("self") + processes.iter().map(|pid| used_by(&pid.to_string())).sum::<f64>();
        let stat = fs::read_to_string("/proc/stat").unwrap();
        let figures = stat.lines().next().unwrap().split_whitespace().skip(1);
        let figures: Vec<u64> = figures.map(|figure| figure.parse().unwrap()).collect();
        // user nice system idle iowait irq softirq steal; what follows is in user and nice already (proc_stat(5)).
        let all = [0, 1, 2, 5, 6, 7].map(|index| figures[index]).iter().sum();
        Self { ours, all: seconds(all), at: Instant::now() }
    }
}

/// What happened in between.
struct Took {
    time: Duration,
    /// Share of all processors that others have not used.
    free: f64,
}

impl Took {
    fn measure<T>(racks: &Racks, action: impl FnOnce() -> T) -> (Self, T) {
        let before = Used::look(racks);
        let result = action();
        let after = Used::look(racks);
        let time = after.at - before.at;
        let cores = thread::available_parallelism().unwrap().get() as f64;
        let others = (after.all - before.all) - (after.ours - before.ours);
        let free = 1.0 - (others / (time.as_secs_f64() * cores)).clamp(0.0, 0.9);
        (Self { time, free }, result)
    }

    /// Returns the time as a share of what was allowed.
    fn of(&self, limit: Duration) -> f64 {
        self.time.as_secs_f64() * self.free / limit.as_secs_f64()
    }

    fn tell(&self, what: &str, limit: Duration) {
        let Self { time, free } = self;
        say(&format!("scale: {what}: {time:.1?} (limit {limit:?}); {:.0} % of the machine were free", free * 100.0));
    }
}

/// Does something several times, and holds the best of them against a limit.
fn best(racks: &Racks, what: &str, limit: Duration, action: impl Fn()) {
    let rounds = (0..ROUNDS).map(|_| Took::measure(racks, &action).0);
    let best = rounds.min_by(|a, b| a.of(limit).total_cmp(&b.of(limit))).unwrap();
    best.tell(what, limit);
    assert!(best.of(limit) <= 1.0, "{what}: {:?}", best.time);
}

fn names_of(list: &Value) -> Vec<String> {
    let nodes = list["nodes"].as_array().unwrap();
    let well = nodes.iter().filter(|node| node["error"].is_null());
    let mut names: Vec<String> = well.map(|node| node["node"].as_str().unwrap().to_owned()).collect();
    names.sort();
    names
}

/// Returns the memory that processes occupy, in bytes; what several share counts once (proc_pid_smaps(5), `Pss`).
fn memory(racks: &Racks) -> u64 {
    let pss = |pid: &u32| {
        let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
        let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:")).unwrap().to_owned();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    };
    racks.pids().iter().map(pss).sum()
}

#[test]
#[ignore = "takes a minute; .ci/run runs it"]
fn fifteen_nodes_are_up_soon_cost_little_and_answer_at_once() {
    let racks = Racks::new(env!("CARGO_BIN_EXE_rack"));
    let mut names: Vec<String> = (1..=NODES).map(|number| format!("n-{number}")).collect();
    names.sort();
    let up = ["up", "15", "--rack", "s", "--name", "n", "--no-build"];
    let (took, _) = Took::measure(&racks, || racks.succeed(&up));
    took.tell("up 15", UP_MAX);
    assert!(took.of(UP_MAX) <= 1.0, "{:?}", took.time);

    let mut least = f64::INFINITY;
    for _ in 0..IDLE_LOOKS {
        let before = Used::look(&racks);
        thread::sleep(IDLE_LOOK);
        let after = Used::look(&racks);
        let share = (after.ours - before.ours) / (after.at - before.at).as_secs_f64();
        least = least.min(share);
        if least <= IDLE_MAX {
            break;
        }
    }
    say(&format!("scale: idle: {:.1} % of a core (limit {:.0} %)", least * 100.0, IDLE_MAX * 100.0));
    assert!(least <= IDLE_MAX, "{least}");
    let bytes = memory(&racks);
    say(&format!("scale: memory: {} MB (limit {} MB)", bytes / 1_000_000, MEMORY_MAX_BYTES / 1_000_000));
    assert!(bytes <= MEMORY_MAX_BYTES, "{bytes}");

    best(&racks, "ls", LIST_MAX, || assert_eq!(names_of(&racks.json(&["ls", "--rack", "s", "--json"])), names));
    best(&racks, "run --all status", RUN_MAX, || {
        let said = racks.succeed(&["run", "--rack", "s", "--all", "status"]);
        assert!(names.iter().all(|name| said.contains(&format!("name      {name}\n"))), "{said}");
    });
    racks.succeed(&["down", "--rack", "s"]);

    // By mDNS, as boards are found: on a network that others can enter.
    if let Err(missing) = qemu::bridge::require() {
        return say(&format!("NOT TESTED ({missing:#}): fifteen nodes found by mDNS"));
    }
    let (took, _) = Took::measure(&racks, || racks.succeed(&[&up[..], &["--bridge"]].concat()));
    took.tell("up 15 --bridge", UP_MAX);
    assert!(took.of(UP_MAX) <= 1.0, "{:?}", took.time);
    let pid = racks.status("s")["pid"].clone();
    best(&racks, "ls by mDNS", LIST_MAX, || {
        let output = racks.inside(&pid, &["ls", "--lan", "--json"]).output().unwrap();
        let list: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(names_of(&list), names);
    });
}
