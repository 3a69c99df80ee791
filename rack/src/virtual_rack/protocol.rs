//! What commands and the supervisor say to each other: one line of JSON each way. After a console or a port was granted, the connection
//! is the node's serial line, or the one to that port.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::place::Place;

/// Longest that the supervisor may take for an answer. Ending all nodes takes longest.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a supervisor that closed a connection without an answer may take to be gone.
const DEATH_TIMEOUT: Duration = Duration::from_secs(2);
/// Longest line that is read, in bytes: the status of 100 nodes has 60 kB.
const LINE_LEN_MAX: u64 = 1 << 20;

/// What a command wants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Request {
    /// Say how it is.
    Status,
    /// End everything; answered when that is done.
    Down,
    /// Connect to a node's console. It is named by number, name, address or MAC address.
    Console {
        /// The node.
        node: String,
    },
    /// Connect to a TCP port of a node. Whether it accepts shows when the connection is used: it ends if not.
    Connect {
        /// The node, as for its console.
        node: String,
        /// The port.
        port: u16,
    },
}

/// What the supervisor answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Answer {
    /// To [`Request::Status`].
    Status(Status),
    /// It is done, or goes on.
    Done,
    /// It can't be.
    Refused(String),
}

/// A rack.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Status {
    /// Its name.
    pub(crate) rack: String,
    /// The supervisor's process id.
    pub(crate) pid: u32,
    /// Since when it is there, in seconds.
    pub(crate) uptime_s: f64,
    /// QEMU's name of the nodes' board.
    pub(crate) board: String,
    /// The name of the nodes' NIC.
    pub(crate) nic: String,
    /// What the nodes are plugged into.
    pub(crate) network: Network,
    /// Where the traffic is recorded.
    pub(crate) pcap: Option<String>,
    /// Where nodes reach this machine.
    pub(crate) gateway: Ipv4Addr,
    /// By number.
    pub(crate) nodes: Vec<NodeStatus>,
}

/// What the nodes of a rack are plugged into.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Network {
    /// The supervisor's own switch.
    Switch,
    /// A bridge in the supervisor's network namespace.
    Bridge,
}

/// A node of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct NodeStatus {
    /// From 1.
    pub(crate) number: u8,
    /// As it calls itself.
    pub(crate) name: String,
    /// Its address, whether it has taken it or not.
    pub(crate) address: Ipv4Addr,
    /// Its Ethernet address.
    pub(crate) mac: String,
    /// What it does.
    pub(crate) state: State,
    /// Why it is not up, where that is known.
    pub(crate) error: Option<String>,
    /// QEMU's process id.
    pub(crate) pid: Option<u32>,
    /// How long it took from QEMU's start until it answered, in milliseconds.
    pub(crate) up_after_ms: Option<u64>,
    /// Share of one core of this machine that QEMU has used in the last seconds.
    pub(crate) cpu_percent: Option<f64>,
    /// Memory of this machine that QEMU occupies.
    pub(crate) rss_bytes: Option<u64>,
    /// Ports of this machine that lead to it.
    pub(crate) forwards: Vec<Forwarded>,
}

/// A port of this machine that leads to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Forwarded {
    /// The node's TCP port.
    pub(crate) node_port: u16,
    /// The address on this machine.
    pub(crate) host: SocketAddr,
}

/// What a node does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum State {
    /// Its turn to start has not come.
    Waiting,
    /// It boots, or has not answered yet.
    Starting,
    /// It has its address and answers; or did so when it had started.
    Up,
    /// Its QEMU has ended.
    Ended,
}

impl State {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Starting => "starting",
            Self::Up => "up",
            Self::Ended => "ended",
        }
    }
}

impl Status {
    /// Finds a node by number, name, address or MAC address.
    pub(crate) fn find(&self, wanted: &str) -> Option<&NodeStatus> {
        let name = wanted.trim_end_matches(".local");
        self.nodes.iter().find(|node| {
            let texts = [node.number.to_string(), node.address.to_string(), node.mac.clone()];
            node.name == name || texts.iter().any(|text| text == wanted)
        })
    }
}

/// Asks a rack's supervisor; `None` when there is none.
///
/// # Errors
/// When it refuses, or does not answer in time.
pub(crate) fn ask(place: &Place, request: &Request) -> Result<Option<(Answer, UnixStream)>> {
    let mut stream = match UnixStream::connect(place.control()) {
        Ok(stream) => stream,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            return Ok(None);
        }
        Err(error) => return Err(error).context("the rack's supervisor can't be reached"),
    };
    match exchange(&mut stream, request) {
        Ok(Answer::Refused(reason)) => Err(anyhow!(reason)),
        Ok(answer) => Ok(Some((answer, stream))),
        // A dying process still accepts connections, until its sockets' turn to be closed has come.
        Err(_) if place.is_free_within(DEATH_TIMEOUT)? => Ok(None),
        Err(error) => Err(error).context("the rack's supervisor does not answer"),
    }
}

fn exchange(stream: &mut UnixStream, request: &Request) -> Result<Answer> {
    stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
    send(stream, request)?;
    let answer = receive(stream)?;
    stream.set_read_timeout(None)?;
    Ok(answer)
}

/// Returns a rack's status; `None` when no supervisor is there.
///
/// # Errors
/// As [`ask`].
pub(crate) fn status(place: &Place) -> Result<Option<Status>> {
    match ask(place, &Request::Status)? {
        Some((Answer::Status(status), _)) => Ok(Some(status)),
        Some(_) => bail!("the rack's supervisor answers something else: is it of another version?"),
        None => Ok(None),
    }
}

/// Writes a line.
///
/// # Errors
/// When the other side is gone.
pub(crate) fn send(stream: &mut UnixStream, message: &impl Serialize) -> Result<()> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    Ok(stream.write_all(&line)?)
}

/// Reads a line, and nothing of what is behind it.
///
/// # Errors
/// When none comes, or it is no such message.
pub(crate) fn receive<T: DeserializeOwned>(stream: &mut UnixStream) -> Result<T> {
    let mut line = Vec::new();
    // Byte by byte: what follows a line is not ours to read.
    BufReader::with_capacity(1, stream.take(LINE_LEN_MAX)).read_until(b'\n', &mut line)?;
    Ok(serde_json::from_slice(&line)?)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use std::os::unix::net::UnixListener;
    use std::thread;

    use super::*;

    #[test]
    fn a_connection_that_a_dying_supervisor_closes_is_no_supervisor() {
        let directory = tempfile::tempdir().unwrap();
        let place = Place::at(directory.path().join("a"));
        place.make().unwrap();
        for is_alive in [false, true] {
            let mut lock = place.lock().unwrap();
            let listener = UnixListener::bind(place.control()).unwrap();
            let supervisor = thread::spawn(move || {
                // What is asked is left unread: the other end sees a reset.
                drop(listener.accept().unwrap());
                thread::sleep(Duration::from_millis(50));
                lock.take_if(|_| !is_alive);
                lock
            });
            let answer = ask(&place, &Request::Status);
            assert_eq!(answer.is_err(), is_alive, "{answer:?}");
            drop(supervisor.join().unwrap());
            std::fs::remove_file(place.control()).unwrap();
        }
    }

    #[test]
    fn lines_arrive_and_nothing_behind_them_is_taken() {
        let (mut a, mut b) = UnixStream::pair().unwrap();
        send(&mut a, &Request::Console { node: "1".into() }).unwrap();
        a.write_all(b"help\r").unwrap();
        assert_eq!(receive::<Request>(&mut b).unwrap(), Request::Console { node: "1".into() });
        let mut typed = [0; 5];
        b.read_exact(&mut typed).unwrap();
        assert_eq!(&typed, b"help\r");
        a.write_all(b"{\"status\n").unwrap();
        assert!(receive::<Request>(&mut b).is_err());
        drop(a);
        assert!(receive::<Request>(&mut b).is_err());
    }
}
