//! `ls`: every node there is, how it is, and what is wrong with the rack as a whole.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use config::RackSecret;
use serde_json::{Value, json};

use super::look::{Look, shown};
use super::node::{Node, Origin};
use super::parallel;
use super::selection::{self, Login, Selection};
use super::ssh;
use crate::node_files::secret;
use crate::progress::say;

/// What is listed.
#[derive(Clone, Debug, Args)]
pub(crate) struct Options {
    /// As JSON: an object with a list of nodes and a list of warnings.
    #[arg(long)]
    json: bool,
    /// Tells which nodes on the network belong to another rack, by this rack secret: a file, or `own`, which is also used if nothing is
    /// said and there is one.
    #[arg(long, value_name = "FILE|own")]
    rack_secret: Option<String>,
    #[command(flatten)]
    selection: Selection,
}

/// Lists nodes. Fails when there are none, or one does not answer.
pub(crate) fn ls(options: &Options) -> Result<ExitCode> {
    let nodes = options.selection.all(&Login::default())?;
    let looks: Vec<Seen> = parallel::map(&nodes, |node| Look::at(node).map_err(|error| format!("{error:#}")));
    let mut warnings = warnings(&nodes, &looks);
    warnings.extend(options.strangers(&nodes, &looks)?);
    let mut out = io::stdout().lock();
    if options.json {
        let list: Vec<Value> = nodes.iter().zip(&looks).map(|(node, look)| entry(node, look)).collect();
        writeln!(out, "{:#}", json!({ "nodes": list, "warnings": warnings }))?;
    } else if nodes.is_empty() {
        return Err(selection::nothing(&options.selection));
    } else {
        out.write_all(table(&nodes, &looks).as_bytes())?;
        out.flush()?;
        warnings.iter().for_each(|warning| say(&format!("warning: {warning}")));
    }
    let is_well = !looks.is_empty() && looks.iter().all(Result::is_ok);
    Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl Options {
    /// Returns what is to be said of nodes on the network whose host keys do not follow from this rack's secret.
    fn strangers(&self, nodes: &[Node], looks: &[Seen]) -> Result<Option<String>> {
        let own = || secret::has_own().then(|| "own".to_owned());
        let Some(choice) = self.rack_secret.clone().or_else(own) else { return Ok(None) };
        let pairs: Vec<(&Node, &Seen)> =
            nodes.iter().zip(looks).filter(|(node, _)| node.origin == Origin::Lan).collect();
        if pairs.is_empty() {
            return Ok(None);
        }
        let secret = RackSecret(secret::bytes(&choice)?);
        let is_stranger = parallel::map(&pairs, |(node, look)| {
            let Some(shown) = look.as_ref().ok().and_then(|look| look.host_key.as_ref()) else { return false };
            // Who has gone away meanwhile is no stranger.
            ssh::host_keys(node, &secret)
                .is_ok_and(|keys| keys.iter().all(|key| key.fingerprint().to_string() != *shown))
        });
        let pairs = pairs.iter().zip(is_stranger).filter(|(_, is_stranger)| *is_stranger);
        let names: Vec<&str> = pairs.map(|((node, _), _)| node.name.as_str()).collect();
        Ok((!names.is_empty()).then(|| strangers(&names, &choice)))
    }
}

fn strangers(names: &[&str], choice: &str) -> String {
    format!(
        "two racks on one network? The host key of {} does not follow from the rack secret ({choice}): of another rack, or started \
         without that secret",
        names.join(", ")
    )
}

/// What a node has said, or why it has not.
type Seen = std::result::Result<Look, String>;

fn entry(node: &Node, look: &Seen) -> Value {
    let mut entry = json!({
        "node": node.name,
        "address": node.address.ip(),
        "origin": node.origin.to_string(),
        "number": node.number,
        "board": node.board,
        "version": node.version,
        "error": look.as_ref().err(),
    });
    if let Ok(look) = look {
        entry["board"] = look.board.as_str().into();
        entry["version"] = look.version.as_str().into();
        entry["uptime_s"] = look.uptime.as_secs().into();
        entry["read_only"] = look.is_read_only.into();
        entry["valid"] = look.is_valid.into();
        entry["invalid_reasons"] = look.reasons.clone().into();
        entry["faults"] = look.faults.clone().into();
        let workloads = look.workloads.iter();
        entry["workloads"] =
            workloads.map(|w| json!({ "id": w.id, "spec": w.spec, "state": w.state, "reason": w.reason })).collect();
    }
    entry
}

fn table(nodes: &[Node], looks: &[Seen]) -> String {
    let heading = ["node", "where", "address", "board", "version", "up for", "health", "workloads"];
    let mut rows = vec![heading.map(str::to_owned).to_vec()];
    for (node, look) in nodes.iter().zip(looks) {
        let mut row = vec![node.name.clone(), node.origin.to_string(), node.address.ip().to_string()];
        row.extend(match look {
            Ok(look) => {
                [look.board.clone(), look.version.clone(), shown(look.uptime), look.health(), look.work()].to_vec()
            }
            Err(_) => {
                let version = node.version.clone().unwrap_or_else(|| "-".into());
                [node.board.clone(), version, "-".into(), "DOES NOT ANSWER".into(), "-".into()].to_vec()
            }
        });
        rows.push(row);
    }
    lined_up(&rows)
}

/// Returns rows with their columns below each other.
pub(super) fn lined_up(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let line = |row: &Vec<String>| {
        let cells: Vec<_> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        format!("{}\n", cells.join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}

/// Returns what a person should know, each with the nodes' names.
fn warnings(nodes: &[Node], looks: &[Seen]) -> Vec<String> {
    let mut warnings = Vec::new();
    for (node, look) in nodes.iter().zip(looks) {
        if let Err(error) = look {
            warnings.push(format!("{} ({}) does not answer: {error}", node.name, node.address.ip()));
        }
    }
    warnings.extend(other_images(nodes, looks));
    let mut names: BTreeMap<&str, Vec<&Node>> = BTreeMap::new();
    for node in nodes {
        names.entry(&node.name).or_default().push(node);
    }
    for (name, same) in names.iter().filter(|(_, same)| same.len() > 1) {
        let places: Vec<_> = same.iter().map(|node| format!("{} ({})", node.address.ip(), node.origin)).collect();
        let advice = if same.iter().filter(|node| node.origin == Origin::Lan).count() > 1 {
            "two racks on one network? Name them apart (name=), and till then say which by address"
        } else {
            "say which by --rack NAME or --lan"
        };
        warnings.push(format!("{} nodes are called {name}: {}; {advice}", same.len(), places.join(", ")));
    }
    warnings
}

/// Returns for each image that is not that of most nodes who runs it.
fn other_images(nodes: &[Node], looks: &[Seen]) -> Vec<String> {
    let mut versions: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (node, look) in nodes.iter().zip(looks) {
        if let Ok(look) = look {
            versions.entry(&look.version).or_default().push(&node.name);
        }
    }
    let Some(most) = versions.iter().max_by_key(|(_, names)| names.len()).map(|(version, _)| *version) else {
        return Vec::new();
    };
    let others = versions.iter().filter(|(version, _)| **version != most);
    others
        .map(|(version, names)| {
            let s = if names.len() == 1 { "s" } else { "" };
            format!(
                "{} run{s} another image, {version}, than most nodes, {most}: start it with the same",
                names.join(", ")
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::look::tests::look;
    use super::super::node::tests::node;
    use super::*;

    #[test]
    fn what_does_not_answer_is_listed_and_named() {
        let nodes = [node("pi-1", 1), node("pi-2", 2)];
        let looks = [Ok(look()), Err("no answer within 3.0 s".to_owned())];
        let text = table(&nodes, &looks);
        let expected = "\
node  where      address     board            version      up for  health           workloads
pi-1  rack test  10.77.0.11  Raspberry Pi 3B  0.1.0 (abc)  1m 1s   throttled        cpu load=5%; kv (failed)
pi-2  rack test  10.77.0.12  raspi3b          -            -       DOES NOT ANSWER  -
";
        assert_eq!(text, expected);
        assert_eq!(warnings(&nodes, &looks), ["pi-2 (10.77.0.12) does not answer: no answer within 3.0 s"]);
        let entry = entry(&nodes[1], &looks[1]);
        assert_eq!((&entry["node"], &entry["error"]), (&json!("pi-2"), &json!("no answer within 3.0 s")));
    }

    #[test]
    fn other_versions_and_equal_names_are_told() {
        let nodes = [node("pi-1", 1), node("pi-1", 2), node("pi-3", 3)];
        let other = || Look { version: "0.2.0".into(), ..look() };
        let looks = [Ok(look()), Ok(look()), Ok(other())];
        let expected = [
            "pi-3 runs another image, 0.2.0, than most nodes, 0.1.0 (abc): start it with the same",
            "2 nodes are called pi-1: 10.77.0.11 (rack test), 10.77.0.12 (rack test); say which by --rack NAME or --lan",
        ];
        assert_eq!(warnings(&nodes, &looks), expected);
        let lan = nodes.clone().map(|node| Node { origin: Origin::Lan, ..node });
        let said = warnings(&lan, &[Ok(look()), Ok(look()), Ok(look())]);
        assert!(
            said.len() == 1 && said[0].contains("10.77.0.11 (lan), 10.77.0.12 (lan); two racks on one network?"),
            "{said:?}"
        );
        assert!(
            strangers(&["pi-1", "pi-2"], "own")
                .contains("The host key of pi-1, pi-2 does not follow from the rack secret (own)")
        );
    }
}
