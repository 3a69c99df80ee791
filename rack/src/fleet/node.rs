//! One node, and the ways to it. The same for a board on the network and for a virtual node, which is reached through its rack's
//! supervisor.

use std::fmt;
use std::io::{self, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

use super::http;
use super::ssh::{self, Access, Output};
use super::stream::Stream;
use crate::virtual_rack::place::{Place, RackName};
use crate::virtual_rack::protocol::{self, Request};

/// How long a node of the network may take to accept a connection: a SYN that is lost is sent again after a second.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(2500);
/// How long a page may take.
const PAGE_TIMEOUT: Duration = Duration::from_secs(3);
/// Port of a node's HTTP server.
const HTTP: u16 = 80;

/// Where a node is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// On this machine's network.
    Lan,
    /// In a virtual rack.
    Rack(RackName),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lan => f.write_str("lan"),
            Self::Rack(name) => write!(f, "rack {name}"),
        }
    }
}

/// See the module. A value of this says that the node was found, and not that it answers.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    /// Its name, without `.local`.
    pub(crate) name: String,
    /// Its address; the port is that of HTTP.
    pub(crate) address: SocketAddr,
    /// Its board, as it calls it, or for a virtual one as QEMU does.
    pub(crate) board: String,
    /// Its image version, where that was told when it was found.
    pub(crate) version: Option<String>,
    /// Its number in its virtual rack, from 1.
    pub(crate) number: Option<u8>,
    /// Where it is.
    pub(crate) origin: Origin,
    /// Why it can't answer, where that is known already: its QEMU has ended.
    pub(crate) trouble: Option<String>,
    /// How to log in.
    pub(crate) access: Arc<Access>,
}

impl Node {
    /// Returns whether a user may mean this node: by name, with or without `.local`, number or address.
    pub(crate) fn is_called(&self, wanted: &str) -> bool {
        let is_number = self.number.is_some_and(|number| wanted == number.to_string());
        let is_name = wanted.trim_end_matches(".local").eq_ignore_ascii_case(&self.name);
        is_number || is_name || wanted == self.address.ip().to_string()
    }

    /// Connects to a TCP port. Whether a virtual node accepts shows when the stream is used: it ends if not.
    ///
    /// # Errors
    /// When it can't be reached, with the reason.
    pub(crate) fn dial(&self, port: u16) -> io::Result<Stream> {
        self.require_address().map_err(io::Error::other)?;
        match &self.origin {
            Origin::Lan => {
                let stream = TcpStream::connect_timeout(&SocketAddr::new(self.address.ip(), port), CONNECT_TIMEOUT)?;
                stream.set_nodelay(true)?;
                Ok(Stream::Tcp(stream))
            }
            // By its address: another node could have been given the same name.
            Origin::Rack(rack) => dial_virtual(rack, &self.address.ip().to_string(), port).map_err(io::Error::other),
        }
    }

    /// Returns an error for a node of the network that has not told its address: none (0.0.0.0) would lead to this machine itself.
    ///
    /// # Errors
    /// What is known of the reason.
    pub(super) fn require_address(&self) -> Result<(), String> {
        if self.origin == Origin::Lan && self.address.ip().is_unspecified() {
            return Err(self.trouble.clone().unwrap_or_else(|| "it does not tell its address".into()));
        }
        Ok(())
    }

    /// Asks for a page over HTTP and returns it: `/metrics`, `/api/v1/node`.
    ///
    /// # Errors
    /// When the whole page is not there within 3 seconds, or the node has none; without the node's name.
    pub(crate) fn get(&self, path: &str) -> Result<Vec<u8>> {
        http::get(self.dial(HTTP)?, path, PAGE_TIMEOUT)
    }

    /// Asks for a page of JSON, below `/api/v1/`: `node`, `workloads`, `samples?last=5`.
    ///
    /// # Errors
    /// As [`get`](Self::get), and when it is no JSON.
    pub(crate) fn api(&self, what: &str) -> Result<Value> {
        let page = self.get(&format!("/api/v1/{what}"))?;
        serde_json::from_slice(&page).with_context(|| format!("what it says at /api/v1/{what} is no JSON"))
    }

    /// Asks for server-sent events, `/api/v1/events`, and returns what follows the head of the answer. A second without any is
    /// unusual; each read may take three.
    ///
    /// # Errors
    /// When there is no answer within 3 seconds, or the node has as many clients as it takes.
    pub(crate) fn events(&self, path: &str) -> Result<BufReader<Stream>> {
        http::follow(self.dial(HTTP)?, path, PAGE_TIMEOUT)
    }

    /// Runs a command of the node's shell over SSH. A command that fails is no error here: see [`Output::status`].
    ///
    /// # Errors
    /// When it can't be run, with the reason; when it has not ended within `timeout`.
    pub(crate) fn ssh(&self, command: &str, timeout: Duration) -> Result<Output> {
        self.ssh_unless(command, timeout, &|| false)
    }

    /// As [`ssh`](Self::ssh); gives up as soon as `is_cancelled`, which is asked every 20 ms.
    ///
    /// # Errors
    /// As there, and when it is cancelled.
    pub(crate) fn ssh_unless(
        &self,
        command: &str,
        timeout: Duration,
        is_cancelled: &dyn Fn() -> bool,
    ) -> Result<Output> {
        ssh::run(self, command, timeout, is_cancelled, &|_, _| ())
    }
}

/// Connects to a port of a node of a virtual rack, which is named as its console would be.
///
/// # Errors
/// When rack or node are not up.
pub(super) fn dial_virtual(rack: &RackName, node: &str, port: u16) -> Result<Stream> {
    let request = Request::Connect { node: node.into(), port };
    let asked = protocol::ask(&Place::of(rack)?, &request)?;
    let (_, stream) = asked.with_context(|| format!("rack {rack} is not up"))?;
    Ok(Stream::Unix(stream))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Returns a node of a virtual rack that is not there.
    pub(crate) fn node(name: &str, number: u8) -> Node {
        Node {
            name: name.into(),
            address: ([10, 77, 0, 10 + number], HTTP).into(),
            board: "raspi3b".into(),
            version: None,
            number: Some(number),
            origin: "test".parse().map_or(Origin::Lan, Origin::Rack),
            trouble: None,
            access: Arc::default(),
        }
    }

    #[test]
    fn a_node_without_an_address_is_not_this_machine() {
        let trouble = Some("it announces itself without an address".to_owned());
        let nowhere = Node { origin: Origin::Lan, address: ([0, 0, 0, 0], HTTP).into(), trouble, ..node("pi-1", 1) };
        let error = nowhere.dial(22).err().map(|error| error.to_string());
        assert_eq!(error.as_deref(), Some("it announces itself without an address"));
        let error = nowhere.ssh("status", CONNECT_TIMEOUT).err().map(|error| error.to_string());
        assert_eq!(error.as_deref(), Some("it announces itself without an address"));
    }

    #[test]
    fn a_node_has_many_names() {
        let node = node("pi-1", 2);
        assert!(["pi-1", "PI-1", "pi-1.local", "2", "10.77.0.12"].iter().all(|name| node.is_called(name)));
        assert!(!["pi-2", "1", "", ".local"].iter().any(|name| node.is_called(name)));
    }
}
