//! `ps`: which racks are there, and how their nodes are.

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::{Result, anyhow};
use clap::Args;
use serde_json::{Value, json};

use super::place::{Place, RackName};
use super::protocol::{self, Network, NodeStatus, Status};

/// What is listed.
#[derive(Clone, Debug, Args)]
pub(crate) struct Options {
    /// Only this rack; fails when it is not up.
    #[arg(long, value_name = "NAME")]
    rack: Option<RackName>,
    /// As JSON: a list of racks.
    #[arg(long)]
    json: bool,
}

/// Lists racks.
pub(crate) fn ps(options: &Options) -> Result<ExitCode> {
    let places = match &options.rack {
        Some(name) => vec![Place::of(name)?],
        None => Place::all()?,
    };
    let mut racks = Vec::new();
    for place in &places {
        racks.push((place, protocol::status(place)?));
    }
    let mut out = io::stdout().lock();
    if options.json {
        let list = racks.iter().map(|(place, status)| match status {
            Some(status) => Ok(serde_json::to_value(status)?),
            None => Ok(json!({ "rack": place.name().to_string(), "error": gone(place) })),
        });
        writeln!(out, "{:#}", Value::from(list.collect::<Result<Vec<_>>>()?))?;
    } else {
        for (place, status) in &racks {
            match status {
                Some(status) => writeln!(out, "{}{}", heading(status), table(status))?,
                None => writeln!(out, "{}", gone(place))?,
            }
        }
        if racks.is_empty() {
            writeln!(out, "no rack is up; `cargo run -- up 3` starts one")?;
        }
    }
    match (&options.rack, racks.first()) {
        (Some(name), Some((_, None))) => Err(anyhow!("rack {name} is not up")),
        _ => Ok(ExitCode::SUCCESS),
    }
}

fn gone(place: &Place) -> String {
    let name = place.name();
    if place.exists() {
        format!("rack {name} has crashed or is just starting; `down --rack {name}` cleans up")
    } else {
        format!("rack {name} is not up")
    }
}

fn heading(status: &Status) -> String {
    let Status { rack, pid, uptime_s, board, nic, network, pcap, .. } = status;
    let bridge = match network {
        Network::Switch => String::new(),
        Network::Bridge => format!(", on a bridge (`nsenter -t {pid} -n` enters its network)"),
    };
    let pcap = pcap.as_ref().map(|directory| format!(", recorded in {directory}")).unwrap_or_default();
    format!("rack {rack}: {board} with {nic}, for {uptime_s:.0} s, process {pid}{bridge}{pcap}\n")
}

/// Returns the nodes, one a line, and below what is wrong with them.
pub(super) fn table(status: &Status) -> String {
    let ports = status.nodes.first().map(|node| node.forwards.iter().map(|forward| forward.node_port));
    let ports: Vec<u16> = ports.into_iter().flatten().collect();
    let mut rows = vec![["#", "node", "address", "mac", "state", "cpu", "memory"].map(str::to_owned).to_vec()];
    rows[0].extend(ports.iter().map(|port| format!("port {port}")));
    rows.extend(status.nodes.iter().map(row));
    let widths: Vec<usize> =
        (0..rows[0].len()).map(|column| rows.iter().map(|row| row[column].len()).max().unwrap_or(0)).collect();
    let lines = rows.iter().map(|row| {
        let cells: Vec<_> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        format!("{}\n", cells.join("  ").trim_end())
    });
    let wrong = status.nodes.iter().filter_map(|node| Some(format!("{}: {}\n", node.name, node.error.as_ref()?)));
    lines.chain(wrong).collect()
}

fn row(node: &NodeStatus) -> Vec<String> {
    let or_nothing = |text: Option<String>| text.unwrap_or_else(|| "-".into());
    let mut cells = vec![
        node.number.to_string(),
        node.name.clone(),
        node.address.to_string(),
        node.mac.clone(),
        node.state.name().into(),
        or_nothing(node.cpu_percent.map(|percent| format!("{percent:.1}%"))),
        or_nothing(node.rss_bytes.map(|bytes| format!("{} MB", bytes / 1_000_000))),
    ];
    cells.extend(node.forwards.iter().map(|forward| forward.host.to_string()));
    cells
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::super::protocol::{Forwarded, State};
    use super::*;

    #[test]
    fn the_table_lines_up_and_names_what_is_wrong() {
        let node = |number: u8, state, error: Option<&str>| NodeStatus {
            number,
            name: format!("pi-{number}"),
            address: Ipv4Addr::new(10, 77, 0, 10 + number),
            mac: "52:54:00:12:34:56".into(),
            state,
            error: error.map(str::to_owned),
            pid: None,
            up_after_ms: None,
            cpu_percent: (state == State::Up).then_some(4.0),
            rss_bytes: (state == State::Up).then_some(70_000_000),
            forwards: vec![Forwarded { node_port: 80, host: ([127, 0, 0, 1], 4000).into() }],
        };
        let status = Status {
            rack: "default".into(),
            pid: 1,
            uptime_s: 2.0,
            board: "raspi3b".into(),
            nic: "usb-net".into(),
            network: Network::Switch,
            pcap: None,
            gateway: Ipv4Addr::new(10, 77, 0, 1),
            nodes: vec![node(1, State::Up, None), node(2, State::Ended, Some("QEMU ended with signal: 9"))],
        };
        let expected = "\
#  node  address     mac                state  cpu   memory  port 80
1  pi-1  10.77.0.11  52:54:00:12:34:56  up     4.0%  70 MB   127.0.0.1:4000
2  pi-2  10.77.0.12  52:54:00:12:34:56  ended  -     -       127.0.0.1:4000
pi-2: QEMU ended with signal: 9
";
        assert_eq!(table(&status), expected);
        for wanted in ["2", "pi-2", "pi-2.local", "10.77.0.12"] {
            assert_eq!(status.find(wanted).map(|node| node.number), Some(2), "{wanted}");
        }
        assert!(status.find("3").is_none());
    }
}
