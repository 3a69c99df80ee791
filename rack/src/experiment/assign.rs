//! Which node plays which part.

use std::collections::BTreeMap;

use anyhow::{Result, bail};

use super::crew::{Crew, Member, address};
use super::file::{Experiment, Health, Role};
use crate::fleet::{Look, Node, in_parallel};

/// A node that could take part, and how it is.
#[derive(Debug)]
pub(super) struct Candidate {
    node: Node,
    /// What it says of itself, or why it does not.
    look: Result<Look, String>,
}

/// Asks nodes how they are.
pub(super) fn ask(nodes: Vec<Node>) -> Vec<Candidate> {
    let looks = in_parallel(&nodes, |node| Look::at(node).map_err(|error| format!("{error:#}")));
    nodes.into_iter().zip(looks).map(|(node, look)| Candidate { node, look }).collect()
}

/// Gives every part to a node. All are of one network: one virtual rack, or this machine's.
///
/// # Errors
/// When there are not enough nodes, with the roles and why nodes were not taken; when several racks could be meant.
pub(super) fn assign<'e>(experiment: &'e Experiment, candidates: &[Candidate]) -> Result<Crew<'e>> {
    let mut networks: BTreeMap<String, Vec<&Candidate>> = BTreeMap::new();
    for candidate in candidates {
        networks.entry(candidate.node.origin.to_string()).or_default().push(candidate);
    }
    let mut found = Vec::new();
    let mut missing = Vec::new();
    for (name, nodes) in &networks {
        match cast(experiment, nodes) {
            Ok(members) => found.push((name, members)),
            Err(what) => missing.push(if networks.len() > 1 { format!("{name}: {what}") } else { what }),
        }
    }
    if found.len() > 1 {
        let names: Vec<_> = found.iter().map(|(name, _)| name.as_str()).collect();
        bail!("the nodes of {} could be meant: say which by --rack NAME or --lan", names.join(" or "));
    }
    match found.pop() {
        Some((_, members)) => Ok(Crew { experiment, members }),
        None => {
            let count = experiment.node_count();
            bail!(
                "there are not enough nodes:\n  {}\n`--up` runs it on a virtual rack of its own, of {count} nodes",
                missing.join("\n  ")
            )
        }
    }
}

/// Finds a node for each part; what is missing if there is none.
fn cast(experiment: &Experiment, candidates: &[&Candidate]) -> Result<Vec<Member>, String> {
    let parts: Vec<(usize, usize)> = experiment
        .roles
        .iter()
        .enumerate()
        .flat_map(|(at, role)| (0..role.count).map(move |index| (at, index)))
        .collect();
    let fits = |part: usize, candidate: &Candidate| why_not(&experiment.roles[parts[part].0], candidate).is_none();
    // Each part in turn takes a node that is free, or has whoever has one that fits take another.
    let mut taken: Vec<Option<usize>> = vec![None; candidates.len()];
    let mut lacking: BTreeMap<usize, usize> = BTreeMap::new();
    for (part, (role, _)) in parts.iter().enumerate() {
        let mut seen = vec![false; candidates.len()];
        if !place(part, candidates, &fits, &mut seen, &mut taken) {
            *lacking.entry(*role).or_default() += 1;
        }
    }
    if !lacking.is_empty() {
        let explain = |(at, missing): (&usize, &usize)| lack(&experiment.roles[*at], *missing, candidates);
        return Err(lacking.iter().map(explain).collect::<Vec<_>>().join("\n  "));
    }
    let mut members: Vec<Member> = Vec::new();
    for (part, (role, index)) in parts.iter().enumerate() {
        let candidate = taken.iter().position(|owner| *owner == Some(part)).and_then(|at| candidates.get(at));
        let Some((node, look)) = candidate.and_then(|c| Some((c.node.clone(), c.look.clone().ok()?))) else { continue };
        members.push(Member { role: *role, index: *index, node, look });
    }
    Ok(members)
}

fn place(
    part: usize,
    candidates: &[&Candidate],
    fits: &dyn Fn(usize, &Candidate) -> bool,
    seen: &mut [bool],
    taken: &mut [Option<usize>],
) -> bool {
    let free = (0..candidates.len()).find(|at| taken[*at].is_none() && fits(part, candidates[*at]));
    if let Some(at) = free {
        taken[at] = Some(part);
        return true;
    }
    for at in 0..candidates.len() {
        if seen[at] || !fits(part, candidates[at]) {
            continue;
        }
        seen[at] = true;
        if taken[at].is_some_and(|owner| place(owner, candidates, fits, seen, taken)) {
            taken[at] = Some(part);
            return true;
        }
    }
    false
}

/// Returns why a node can't play a role; `None` if it can.
fn why_not(role: &Role, candidate: &Candidate) -> Option<String> {
    if !role.nodes.is_empty() && !role.nodes.iter().any(|name| candidate.node.is_called(name)) {
        return Some("is none of those that are named".into());
    }
    let look = match &candidate.look {
        Ok(look) => look,
        Err(error) => return Some(format!("does not answer: {error}")),
    };
    if let Some(board) = &role.board
        && !look.board.to_lowercase().contains(&board.to_lowercase())
    {
        return Some(format!("is a {}, not a {board}", look.board));
    }
    if look.is_read_only {
        return Some("is read-only: it was given no key at its start".into());
    }
    if address(&candidate.node).is_none() {
        return Some("has no IPv4 address".into());
    }
    match (role.health, look.is_valid) {
        (Health::Any, _) | (_, Some(true)) | (Health::Well, None) => None,
        (_, Some(false)) => Some(format!("is not well: {}", look.reasons.join(", "))),
        (Health::Known, None) => Some("does not know how well it is".into()),
    }
}

fn lack(role: &Role, missing: usize, candidates: &[&Candidate]) -> String {
    let why: Vec<String> = candidates
        .iter()
        .filter_map(|candidate| Some(format!("{} {}", candidate.node.name, why_not(role, candidate)?)))
        .collect();
    let why = if why.is_empty() { String::new() } else { format!(" ({})", why.join("; ")) };
    format!("role {} needs {} nodes, and {missing} are missing{why}", role.name, role.count)
}

#[cfg(test)]
mod tests;
