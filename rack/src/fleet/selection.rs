//! Which nodes a command is about: those of virtual racks, as their supervisors list them, and those that answer on the network.
//! None is left out silently: one that has ended is there with its reason.

use std::net::{IpAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use config::RackSecret;

use super::lan;
use super::node::{Node, Origin};
use super::ssh::{Access, Hosts};
use crate::node_files::secret;
use crate::progress::{Progress, say};
use crate::virtual_rack::place::{Place, RackName};
use crate::virtual_rack::protocol::{self, NodeStatus, State, Status};

/// How long nodes of the network are waited for when nothing else is there,
const WAIT: Duration = Duration::from_millis(2500);
/// and when a virtual rack is up, which is meant most times.
const WAIT_BESIDE_RACKS: Duration = Duration::from_millis(600);
/// Above this, something is shown meanwhile.
const PATIENCE: Duration = Duration::from_secs(1);
/// Port of a node's HTTP server.
const HTTP: u16 = 80;

/// Which nodes there are.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Selection {
    /// Only the nodes of this virtual rack. Otherwise those of all virtual racks, and those on this machine's network.
    #[arg(long, value_name = "NAME", conflicts_with = "lan")]
    pub(crate) rack: Option<RackName>,
    /// Only nodes on this machine's network, found by mDNS.
    #[arg(long)]
    pub(crate) lan: bool,
    /// How long nodes on the network are waited for, in seconds; 0 does not look there. By default 2.5, or 0.6 beside a virtual rack.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) wait: Option<Duration>,
}

/// How to log in.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Login {
    /// The private key, if it is not the one that `up` has made, or one that your OpenSSH finds by itself.
    #[arg(long, value_name = "FILE")]
    pub(crate) identity: Option<PathBuf>,
    /// The rack secret of nodes on the network, as for `image`: a file, or `own`. Then only nodes that have it are spoken to.
    #[arg(long, value_name = "FILE|own")]
    pub(crate) rack_secret: Option<String>,
}

impl Selection {
    /// Finds all nodes.
    ///
    /// # Errors
    /// When the rack that was asked for is not up, or one does not answer; when the network can't be listened at and nothing else
    /// was found.
    pub(crate) fn all(&self, login: &Login) -> Result<Vec<Node>> {
        self.find(login, Voice::Loud, |_| false)
    }

    /// As [`all`](Self::all), without a word: for who has the whole screen.
    ///
    /// # Errors
    /// As there.
    pub(crate) fn all_silently(&self, login: &Login) -> Result<Vec<Node>> {
        self.find(login, Voice::Silent, |_| false)
    }

    /// Finds the nodes with these names, in this order; a name is also a number of a virtual rack's node, or an address. An
    /// address that nobody has announced is taken for a node's all the same.
    ///
    /// # Errors
    /// When one is not there, or more than one could be meant; as [`all`](Self::all).
    pub(crate) fn named(&self, names: &[String], login: &Login) -> Result<Vec<Node>> {
        let is_known = |nodes: &[Node]| names.iter().all(|name| nodes.iter().any(|node| node.is_called(name)));
        let nodes = self.find(login, Voice::Loud, is_known)?;
        let mut picked: Vec<Node> = Vec::new();
        for name in names {
            let node = match pick(&nodes, name)? {
                Some(node) => node.clone(),
                None if self.rack.is_none() => by_address(name, login).with_context(|| unknown(&nodes, name))?,
                None => bail!(unknown(&nodes, name)),
            };
            if !picked.iter().any(|other| other.address == node.address && other.origin == node.origin) {
                picked.push(node);
            }
        }
        Ok(picked)
    }

    fn find(&self, login: &Login, voice: Voice, is_enough: impl Fn(&[Node]) -> bool) -> Result<Vec<Node>> {
        let mut nodes = if self.lan { Vec::new() } else { self.virtual_nodes(login, voice)? };
        if self.rack.is_some() || is_enough(&nodes) {
            return Ok(nodes);
        }
        let wait = self.wait.unwrap_or(if nodes.is_empty() { WAIT } else { WAIT_BESIDE_RACKS });
        if wait.is_zero() {
            return Ok(nodes);
        }
        let access = Arc::new(lan_access(login)?);
        let is_enough_with = |others: &[Node]| {
            let all: Vec<Node> = nodes.iter().chain(others).cloned().collect();
            is_enough(&all)
        };
        let browse = || lan::browse(wait, &access, is_enough_with);
        let found = if wait > PATIENCE && voice == Voice::Loud {
            Progress::start("looking for nodes").follow(|_| browse())
        } else {
            browse()
        };
        match found {
            Ok(found) => nodes.extend(found),
            Err(error) if nodes.is_empty() => return Err(error),
            Err(error) => voice.warn(&format!("{error:#}; nodes on the network are not shown")),
        }
        Ok(nodes)
    }

    fn virtual_nodes(&self, login: &Login, voice: Voice) -> Result<Vec<Node>> {
        let places = match &self.rack {
            Some(name) => vec![Place::of(name)?],
            None => Place::all()?,
        };
        let mut nodes = Vec::new();
        for place in &places {
            match protocol::status(place)? {
                Some(status) => nodes.extend(nodes_of(place, &status, login)),
                None if self.rack.is_some() => {
                    bail!("rack {} is not up; `cargo run -- ps` lists those that are", place.name())
                }
                None => voice.warn(&format!("rack {0} has crashed; `down --rack {0}` cleans up", place.name())),
            }
        }
        Ok(nodes)
    }
}

/// Whether the user is told what happens meanwhile.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Voice {
    Loud,
    Silent,
}

impl Voice {
    fn warn(self, what: &str) {
        if self == Self::Loud {
            say(&format!("warning: {what}"));
        }
    }
}

/// Says that there is nothing, and what to do.
pub(crate) fn nothing(selection: &Selection) -> anyhow::Error {
    let wait = match selection.wait {
        Some(wait) if wait.is_zero() => "no virtual rack is up".to_owned(),
        _ => "no virtual rack is up, and nobody on this network answers to mDNS".to_owned(),
    };
    anyhow::anyhow!("there are no nodes: {wait}; `cargo run -- up 3` starts a virtual rack, --wait 10 waits longer")
}

fn nodes_of(place: &Place, status: &Status, login: &Login) -> Vec<Node> {
    let own = |path: PathBuf| path.exists().then_some(path);
    let access = Arc::new(Access {
        identity: login.identity.clone().or_else(|| own(place.user_key())),
        hosts: match own(place.known_hosts()) {
            Some(file) => Hosts::Known(file),
            None => Hosts::OnFirstUse(place.directory().join("first_hosts")),
        },
    });
    let node = |node: &NodeStatus| Node {
        name: node.name.clone(),
        address: (node.address, HTTP).into(),
        board: status.board.clone(),
        version: None,
        number: Some(node.number),
        origin: Origin::Rack(place.name().clone()),
        trouble: match node.state {
            State::Up | State::Starting => None,
            State::Waiting => Some("it has not been started yet".into()),
            State::Ended => Some(node.error.clone().unwrap_or_else(|| "its QEMU has ended".into())),
        },
        access: access.clone(),
    };
    status.nodes.iter().map(node).collect()
}

fn lan_access(login: &Login) -> Result<Access> {
    let hosts = match &login.rack_secret {
        Some(choice) => Hosts::OfSecret(RackSecret(secret::bytes(choice)?)),
        None => Hosts::OnFirstUse(secret::directory()?.join("known_hosts")),
    };
    Ok(Access { identity: login.identity.clone(), hosts })
}

fn pick<'a>(nodes: &'a [Node], name: &str) -> Result<Option<&'a Node>> {
    let mut called = nodes.iter().filter(|node| node.is_called(name));
    let Some(node) = called.next() else { return Ok(None) };
    let others: Vec<String> = called.map(|other| format!("{} ({})", other.address.ip(), other.origin)).collect();
    if !others.is_empty() {
        let first = format!("{} ({})", node.address.ip(), node.origin);
        bail!("{name} could be {first} or {}: say which by --rack NAME, --lan or its address", others.join(" or "));
    }
    Ok(Some(node))
}

fn unknown(nodes: &[Node], name: &str) -> String {
    let names: Vec<&str> = nodes.iter().map(|node| node.name.as_str()).collect();
    match names.as_slice() {
        [] => format!("there is no node {name:?}, nor any other: `cargo run -- up 3` starts a virtual rack"),
        names => format!("there is no node {name:?}; there are {}", names.join(", ")),
    }
}

/// Takes a host that nobody has announced at its word.
fn by_address(name: &str, login: &Login) -> Result<Node> {
    let is_address = name.parse::<IpAddr>().is_ok() || name.contains('.');
    let resolved = if is_address { (name, HTTP).to_socket_addrs().ok().and_then(|mut all| all.next()) } else { None };
    let address = resolved.context("it is no address either")?;
    let access = Arc::new(lan_access(login)?);
    Ok(Node {
        name: name.trim_end_matches(".local").to_owned(),
        address,
        board: String::new(),
        version: None,
        number: None,
        origin: Origin::Lan,
        trouble: None,
        access,
    })
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse::<f64>().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    seconds.filter(|time| *time <= Duration::from_secs(3600)).ok_or_else(|| "seconds from 0 to 3600".to_owned())
}
