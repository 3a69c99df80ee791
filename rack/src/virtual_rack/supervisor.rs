//! The process that owns a rack: network and nodes are its threads and children, and end with it, however it ends.

use std::fs;
use std::io::{self, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Args;
use nix::unistd::setsid;
use qemu::{Console, Qemu};

use super::members::{self, Members};
use super::place::{Place, RackName};
use super::plan::{GATEWAY, Plan};
use super::protocol::{self, Answer, Network, Request, State, Status};
use super::wiring::Wiring;

/// How long a client may take to say what it wants.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// Of a console's past, in bytes, shown to who connects.
const CONSOLE_PAST: usize = 2048;
/// How often a console's connection looks whether it is still wanted.
const CONSOLE_LOOK: Duration = Duration::from_secs(1);

/// How `up` starts the supervisor.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The rack.
    #[arg(long)]
    rack: RackName,
}

/// The hidden command that `up` starts in the background. Its standard input is the rack's lock.
pub(crate) fn supervise(options: &Options) -> Result<ExitCode> {
    // No terminal's Ctrl-C or end is ours.
    setsid().context("a session of its own")?;
    let orders = Orders::catch()?;
    let place = Place::of(&options.rack)?;
    let plan = Plan::read(&fs::read(place.plan())?)?;
    run(&place, plan, orders)?;
    Ok(ExitCode::SUCCESS)
}

/// What a rack is told: to end, by a signal, or by who waits at a stream for the answer.
pub(super) struct Orders {
    sender: Sender<Option<UnixStream>>,
    receiver: Receiver<Option<UnixStream>>,
}

impl Orders {
    /// Catches signals from now on. Once in a process.
    ///
    /// # Errors
    /// When they are caught already.
    pub(super) fn catch() -> Result<Self> {
        let (sender, receiver) = mpsc::channel();
        let signalled = sender.clone();
        ctrlc::set_handler(move || {
            // The other end is gone only when the program is ending anyway.
            let _ = signalled.send(None);
        })
        .context("signals can't be caught")?;
        Ok(Self { sender, receiver })
    }
}

/// Runs a rack until it is told to end: by a command, or a signal. Only for who has its lock; the directory is gone in the end.
///
/// # Errors
/// When the network can't be made. What happens to single nodes is in the status.
pub(super) fn run(place: &Place, plan: Plan, orders: Orders) -> Result<()> {
    let Orders { sender: end, receiver: ended } = orders;
    let qemu = Qemu::find()?;
    // First: what is started from here on is in the rack's network namespace, if it has one.
    let wiring = Wiring::new(place, &plan)?;
    let members = Members::new(plan.clone(), &wiring)?;
    let rack = Arc::new(Rack { begin: Instant::now(), place: place.clone(), plan, wiring, members });
    let listener = UnixListener::bind(place.control()).context("the control socket can't be bound")?;
    let server = rack.clone();
    thread::Builder::new().name("control".into()).spawn(move || serve(&listener, &server, &end))?;
    let starter = rack.clone();
    thread::Builder::new()
        .name("start".into())
        .spawn(move || starter.members.start(&qemu, &starter.place, &starter.wiring))?;
    let watcher = rack.clone();
    thread::Builder::new().name("watch".into()).spawn(move || watcher.members.watch(&watcher.wiring))?;

    let asker = ended.recv().context("nobody can end the rack")?;
    rack.members.end();
    let result = place.clear();
    if let Some(mut stream) = asker {
        let answer = match &result {
            Ok(()) => Answer::Done,
            Err(error) => Answer::Refused(format!("{error:#}")),
        };
        // Whoever asked may be gone.
        let _ = protocol::send(&mut stream, &answer);
    }
    result
}

struct Rack {
    begin: Instant,
    place: Place,
    plan: Plan,
    wiring: Wiring,
    members: Members,
}

/// Answers commands, each in a thread of its own.
fn serve(listener: &UnixListener, rack: &Arc<Rack>, end: &Sender<Option<UnixStream>>) {
    for stream in listener.incoming().flatten() {
        let (rack, end) = (rack.clone(), end.clone());
        // Who can't be answered sees an end.
        let _ = thread::Builder::new().name("client".into()).spawn(move || rack.answer(stream, &end));
    }
}

impl Rack {
    fn answer(&self, mut stream: UnixStream, end: &Sender<Option<UnixStream>>) -> Result<()> {
        stream.set_read_timeout(Some(REQUEST_TIMEOUT))?;
        stream.set_write_timeout(Some(REQUEST_TIMEOUT))?;
        match protocol::receive(&mut stream)? {
            Request::Status => protocol::send(&mut stream, &Answer::Status(self.status())),
            Request::Down => Ok(end.send(Some(stream))?),
            Request::Console { node } => {
                let status = self.status();
                let console = status.find(&node).and_then(|found| {
                    let is_there = matches!(found.state, State::Starting | State::Up);
                    self.members.node(found.number).filter(|_| is_there)
                });
                let Some(node) = console else {
                    return protocol::send(&mut stream, &refusal(&status, &node, "console"));
                };
                protocol::send(&mut stream, &Answer::Done)?;
                stream.set_read_timeout(None)?;
                attach(stream, node.console())
            }
            Request::Connect { node, port } => {
                let status = self.status();
                let running = status.find(&node).filter(|found| matches!(found.state, State::Starting | State::Up));
                let Some(found) = running else {
                    return protocol::send(&mut stream, &refusal(&status, &node, "network"));
                };
                protocol::send(&mut stream, &Answer::Done)?;
                self.wiring.join(stream, members::target(found.number, port))
            }
        }
    }

    fn status(&self) -> Status {
        let pcap: Option<PathBuf> = self.plan.pcap.clone();
        Status {
            rack: self.place.name().to_string(),
            pid: std::process::id(),
            uptime_s: (self.begin.elapsed().as_secs_f64() * 10.0).round() / 10.0,
            board: self.plan.board.clone(),
            nic: self.plan.nic.clone(),
            network: if self.plan.is_bridged { Network::Bridge } else { Network::Switch },
            pcap: pcap.map(|directory| directory.display().to_string()),
            gateway: GATEWAY,
            nodes: self.members.status(),
        }
    }
}

/// Says why a node's console or network can't be had.
fn refusal(status: &Status, wanted: &str, what: &str) -> Answer {
    let names = || status.nodes.iter().map(|node| node.name.as_str()).collect::<Vec<_>>().join(", ");
    Answer::Refused(match status.find(wanted) {
        Some(node) => {
            let why = node.error.as_ref().map(|error| format!(": {error}")).unwrap_or_default();
            format!("{} has no {what} now, it is {}{why}", node.name, node.state.name())
        }
        None => format!("there is no node {wanted:?}; there are {}, also by number or address", names()),
    })
}

/// Moves bytes between a client and a console until either ends.
fn attach(stream: UnixStream, console: &Console) -> Result<()> {
    let mut reader = stream.try_clone()?;
    let typist = console.clone();
    thread::Builder::new().name("keys".into()).spawn(move || {
        let mut chunk = [0; 256];
        loop {
            match io::Read::read(&mut reader, &mut chunk) {
                Ok(len) if len > 0 && typist.send_bytes(&chunk[..len]).is_ok() => {}
                _ => break,
            }
        }
        // Its other half notices.
        let _ = reader.shutdown(Shutdown::Both);
    })?;
    let mut position = console.position_before_end(CONSOLE_PAST);
    let mut writer = &stream;
    while let Some(bytes) = console.read_from(&mut position, CONSOLE_LOOK) {
        if bytes.is_empty() && is_closed(&stream) {
            break;
        }
        writer.write_all(&bytes)?;
    }
    Ok(stream.shutdown(Shutdown::Both)?)
}

/// Returns whether the other half has closed the stream.
fn is_closed(stream: &UnixStream) -> bool {
    use std::os::fd::AsFd;

    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    let mut fds = [PollFd::new(stream.as_fd(), PollFlags::empty())];
    poll(&mut fds, PollTimeout::ZERO).is_err() || fds[0].any().unwrap_or(true)
}
