//! What has to be before the first phase: nodes of one version that nobody else uses, and workloads that run.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use serde_json::Value;

use super::crew::Crew;
use super::hand::{Hand, Told};
use super::stop::Stop;
use crate::fleet::{Node, in_parallel, plain};

/// How long workloads may take until they run.
const READY_TIMEOUT: Duration = Duration::from_secs(30);
/// How long an order may take, with those before it: a login, or a planned restart.
const ORDER_TIMEOUT: Duration = Duration::from_secs(75);
/// How long a node may take until nothing runs any more.
const CLEAN_TIMEOUT: Duration = Duration::from_secs(20);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(100);

/// Refuses nodes that run different images, or are in use.
///
/// # Errors
/// Which nodes, and what to do.
pub(super) fn check(crew: &Crew<'_>, is_forced: bool) -> Result<()> {
    let mut versions: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for member in &crew.members {
        versions.entry(&member.look.version).or_default().push(&member.node.name);
    }
    if versions.len() > 1 {
        let lines: Vec<String> =
            versions.iter().map(|(version, names)| format!("{version}: {}", names.join(", "))).collect();
        bail!("the nodes run different images: give all the same\n  {}", lines.join("\n  "));
    }
    let found = in_parallel(&crew.members, |member| what_runs(&member.node));
    let mut busy = Vec::new();
    for (at, found) in found.into_iter().enumerate() {
        let found = found.with_context(|| format!("{} can't be asked", crew.label(at)))?;
        if !found.is_empty() {
            busy.push(format!("{}: {}", crew.label(at), found.join(", ")));
        }
    }
    if !busy.is_empty() && !is_forced {
        bail!("nodes are in use; --force ends what runs on them\n  {}", busy.join("\n  "));
    }
    Ok(())
}

/// Returns the workloads that run on a node, and the faults that disturb it, or will.
///
/// # Errors
/// When it does not answer as it should.
pub(super) fn what_runs(node: &Node) -> Result<Vec<String>> {
    let strange = "it answers otherwise than this version";
    let faults = node.api("faults")?;
    let workloads = node.api("workloads")?;
    let text = |value: &Value| plain(value.as_str().unwrap_or_default());
    let mut found = Vec::new();
    for fault in faults["faults"].as_array().context(strange)? {
        if fault["state"] != "ended" {
            found.push(format!("fault {} ({})", text(&fault["fault"]), text(&fault["state"])));
        }
    }
    for workload in workloads.as_array().context(strange)? {
        if ["running", "starting", "stalled"].iter().any(|state| workload["state"] == *state) {
            found.push(format!("workload {}", text(&workload["id"])));
        }
    }
    Ok(found)
}

/// Ends everything on every node, and sees that it has ended. Returns what could not be ended, by node.
pub(super) fn clean(crew: &Crew<'_>, hands: &[Hand]) -> Vec<String> {
    let all: Vec<(usize, &Hand)> = hands.iter().enumerate().collect();
    let ends = in_parallel(&all, |(at, hand)| {
        let node = &crew.members.get(*at)?.node;
        clean_one(node, hand).err().map(|error| format!("{}: {error:#}", crew.label(*at)))
    });
    ends.into_iter().flatten().collect()
}

fn clean_one(node: &Node, hand: &Hand) -> Result<()> {
    let mut deadline = None;
    loop {
        for line in ["fault clear all", "workload stop all"] {
            told(&hand.order(line).recv_timeout(ORDER_TIMEOUT).map_err(|_| anyhow!("it has not obeyed '{line}'"))?)?;
        }
        // The end of a fault may start a workload that it had ended.
        thread::sleep(LOOK);
        let left = what_runs(node)?;
        if left.is_empty() {
            return Ok(());
        }
        if Instant::now() >= *deadline.get_or_insert_with(|| Instant::now() + CLEAN_TIMEOUT) {
            bail!("still there: {}", left.join(", "));
        }
    }
}

/// Starts workloads: the words of `workload start` for members.
///
/// # Errors
/// Which could not be started, and why.
pub(super) fn start(crew: &Crew<'_>, hands: &[Hand], works: &[(usize, String)]) -> Result<()> {
    let orders: Vec<_> = works
        .iter()
        .filter_map(|(at, words)| Some((*at, hands.get(*at)?.order(format!("workload start {words}")))))
        .collect();
    let mut errors = Vec::new();
    for (at, order) in orders {
        let result =
            order.recv_timeout(ORDER_TIMEOUT).map_err(|_| anyhow!("it has not answered")).and_then(|done| told(&done));
        errors.extend(result.err().map(|error| format!("{}: {error:#}", crew.label(at))));
    }
    if errors.is_empty() { Ok(()) } else { bail!("workloads can't be started\n  {}", errors.join("\n  ")) }
}

fn told(told: &Told) -> Result<()> {
    told.said.as_ref().map(|_| ()).map_err(|error| anyhow!("{error:#}"))
}

/// Waits until the workloads of these members run, or have finished already.
///
/// # Errors
/// Which do not.
pub(super) fn wait_until_ready(crew: &Crew<'_>, members: &[usize], stop: &Stop) -> Result<()> {
    let mut waiting = members.to_vec();
    let deadline = Instant::now() + READY_TIMEOUT;
    loop {
        let states = in_parallel(&waiting, |at| (*at, not_ready(crew, *at)));
        let rest: Vec<(usize, String)> = states.into_iter().filter_map(|(at, state)| Some((at, state?))).collect();
        if rest.is_empty() {
            return Ok(());
        }
        let show = |(at, state): &(usize, String)| format!("{}: {state}", crew.label(*at));
        let shown = || rest.iter().map(show).collect::<Vec<_>>().join("\n  ");
        if rest.iter().any(|(_, state)| state.contains(" failed")) {
            bail!("workloads have failed\n  {}", shown());
        }
        if Instant::now() >= deadline {
            bail!("workloads are not ready after {READY_TIMEOUT:?}\n  {}", shown());
        }
        if stop.is_set() {
            bail!("interrupted");
        }
        waiting = rest.into_iter().map(|(at, _)| at).collect();
        thread::sleep(LOOK);
    }
}

/// Returns what a member still waits for; `None` when all of its workloads run.
fn not_ready(crew: &Crew<'_>, at: usize) -> Option<String> {
    let live = match crew.members.get(at)?.node.api("live") {
        Ok(live) => live,
        Err(error) => return Some(format!("{error:#}")),
    };
    let views = live["workloads"].as_array().map(Vec::as_slice).unwrap_or_default();
    let text = |view: &Value, key: &str| plain(view[key].as_str().unwrap_or_default());
    let late = |(id, _): (String, String)| {
        let mut own = views.iter().filter(|view| view["id"] == *id).peekable();
        if own.peek().is_none() {
            return Some(format!("{id} is not there"));
        }
        let is_late = |view: &&Value| !["running", "finished"].iter().any(|state| view["state"] == *state);
        own.find(is_late)
            .map(|view| format!("{id} is {} {}", text(view, "state"), text(view, "reason")).trim_end().to_owned())
    };
    let late: Vec<String> = crew.workloads(at).into_iter().filter_map(late).collect();
    if late.is_empty() { None } else { Some(late.join(", ")) }
}
