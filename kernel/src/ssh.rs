//! The SSH server: who holds one of the node's keys has the console's commands from anywhere.

mod session;

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};
use core::net::IpAddr;

use ::ssh::guard::{Guard, PLACES};
use ::ssh::server::{End, Limits, serve};
use ::ssh::{Connection, HostKey, PublicKey, Random, SEED_LEN, Settings};
use config::Config;
use drivers::rng::Rng;
use embassy_futures::select::{Either, select};
use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use embassy_sync::signal::Signal;
use embassy_time::{Duration, Instant, Timer, with_timeout};
use heapless::String;
use log::{info, warn};
use net::{Event, Stack, TcpSocket};
use telemetry::Access;

use crate::facts::BoardFacts;
use crate::node::Node;
use crate::shell_node::CommandNode;
use session::Session;

/// Port of SSH (RFC 4253, section 4.1).
const PORT: u16 = 22;
/// Bytes of each socket's buffers: what is typed is little, what is shown some more.
const RX_LEN: usize = 4096;
const TX_LEN: usize = 8192;
/// How long a client may take to log in.
const LOGIN: Duration = Duration::from_secs(10);
/// How long a client may take to close its connection after we have.
const GOODBYE: Duration = Duration::from_millis(500);
/// What is said before a login when there can't be one.
const READ_ONLY_BANNER: &str =
    "this node is read-only: no SSH key was given (ssh-key=... on the command line or in node.toml)\n";

/// The server: what its connections share.
pub(crate) struct Server {
    settings: Settings,
    limits: Limits,
    guard: RefCell<Guard>,
    random: RefCell<Random>,
    /// Tells the connection at each place to go.
    leave: [Signal<NoopRawMutex, ()>; PLACES],
}

/// Makes the server that the configuration asks for, and tells who may change the node.
pub(crate) fn prepare(
    config: &Config,
    board: &BoardFacts,
    rng: Option<&mut Rng<'_>>,
    entry_ticks: u64,
) -> (Option<&'static Server>, Access) {
    if !config.ssh {
        return (None, Access::Off);
    }
    let mut random = start_random(config, board, rng, entry_ticks);
    let host_key = match &config.rack_secret {
        Some(secret) => {
            let name = config.name.as_deref().unwrap_or_default();
            HostKey::of_board(&secret.0, board.serial, board.mac.unwrap_or_default(), name)
        }
        None => HostKey::random(&mut random),
    };
    let fingerprint = host_key.public().fingerprint();
    let is_lasting = config.rack_secret.is_some();
    let until = if is_lasting { "" } else { " until the next start: no rack-secret=... was given" };
    info!("ssh: the host key is {fingerprint}{until}");
    let accepted: Vec<PublicKey> = config.ssh_keys.iter().map(|key| PublicKey(key.0)).collect();
    let access = if accepted.is_empty() {
        Access::NoKey
    } else {
        let mut shown = String::new();
        // A fingerprint has 50 characters.
        let _ = core::fmt::Write::write_fmt(&mut shown, format_args!("{fingerprint}"));
        Access::Keys { count: accepted.len(), host_key: shown, is_lasting }
    };
    let banner = if accepted.is_empty() { READ_ONLY_BANNER } else { "" };
    let server = Server {
        settings: Settings::new(host_key, accepted.leak(), banner),
        limits: Limits { login: LOGIN, idle: Duration::from_secs(config.ssh_idle_s.into()) },
        guard: RefCell::default(),
        random: RefCell::new(random),
        leave: [const { Signal::new() }; PLACES],
    };
    (Some(Box::leak(Box::new(server))), access)
}

/// Makes the generator of all secrets: from hardware random numbers, and all else that differs and few know.
fn start_random(config: &Config, board: &BoardFacts, rng: Option<&mut Rng<'_>>, entry_ticks: u64) -> Random {
    let mut seed = [0; SEED_LEN];
    let is_good = rng.is_some_and(|rng| rng.fill(&mut seed).is_ok());
    let secret = config.rack_secret.as_ref().map_or(&[][..], |secret| &secret.0);
    if !is_good && secret.is_empty() {
        warn!("ssh: what is said can be read by who guesses this node's random numbers: it has no generator for them");
    }
    let times = [entry_ticks.to_le_bytes(), Instant::now().as_ticks().to_le_bytes(), board.serial.to_le_bytes()];
    Random::from_parts(&[&seed, secret, times.as_flattened()])
}

/// Serves one client after the other. Never returns. There is one of this for each place.
pub(crate) async fn run(
    server: &'static Server,
    place: usize,
    node: &'static Node,
    stack: &'static Stack,
    has_led: bool,
) -> ! {
    let mut socket = TcpSocket::new(stack, RX_LEN, TX_LEN);
    loop {
        if socket.accept(PORT).await.is_err() {
            // Only for a port of 0.
            continue;
        }
        let Some(peer) = socket.peer() else { continue };
        if let Some(leave) = server.leave.get(place) {
            leave.reset();
        }
        let victim = server.guard.borrow_mut().enter(place, peer.ip(), Instant::now());
        if let Some(victim) = victim {
            server.tell_to_leave(victim);
        }
        let commands = CommandNode { node, stack, has_led, may_change: true, order: Cell::new(None) };
        let mut visit = Visit { server, stack, place, from: peer.ip(), has_failed: false, is_admitted: false };
        let served = async {
            let end = visit.serve(&mut socket, commands).await;
            visit.conclude(end);
            // A client that does not say good-bye is not waited for.
            let _ = with_timeout(GOODBYE, socket.close()).await;
        };
        if let Either::Second(()) = select(served, server.told_to_leave(place)).await {
            stack.counters().count(Event::SshDropped);
            server.guard.borrow_mut().fail(peer.ip(), Instant::now());
        }
        socket.abort();
        server.guard.borrow_mut().leave(place);
    }
}

impl Server {
    fn tell_to_leave(&self, place: usize) {
        if let Some(leave) = self.leave.get(place) {
            leave.signal(());
        }
    }

    async fn told_to_leave(&self, place: usize) {
        match self.leave.get(place) {
            Some(leave) => leave.wait().await,
            None => core::future::pending().await,
        }
    }
}

/// One client's connection.
struct Visit {
    server: &'static Server,
    stack: &'static Stack,
    place: usize,
    from: IpAddr,
    /// Whether an attempt to log in has failed.
    has_failed: bool,
    is_admitted: bool,
}

impl Visit {
    async fn serve(&mut self, socket: &mut TcpSocket, commands: CommandNode) -> End {
        let delay = self.server.guard.borrow().delay(self.from, Instant::now());
        Timer::after(delay).await;
        let random = self.server.random.borrow_mut().fork();
        let mut connection = match Connection::new(&self.server.settings, random) {
            Ok(connection) => Box::new(connection),
            Err(error) => return End::Broken(error),
        };
        let limits = self.server.limits;
        let mut session = Session::new(commands, self);
        let (mut reader, mut writer) = socket.split();
        serve(&mut reader, &mut writer, &mut connection, &mut session, limits).await
    }

    fn admit(&mut self, key: PublicKey) -> bool {
        self.is_admitted = self.server.guard.borrow_mut().admit(self.place);
        if self.is_admitted {
            self.stack.counters().count(Event::SshLogin);
            info!("ssh: {} has logged in with key {}", self.from, key.fingerprint());
        } else {
            self.stack.counters().count(Event::SshDropped);
            warn!("ssh: no session for {}: there are too many", self.from);
        }
        self.is_admitted
    }

    fn deny(&mut self) -> Duration {
        self.stack.counters().count(Event::SshDenied);
        self.fail(&"wrong key");
        self.server.guard.borrow().delay(self.from, Instant::now())
    }

    fn fail(&mut self, why: &dyn core::fmt::Display) {
        self.has_failed = true;
        let failures = self.server.guard.borrow_mut().fail(self.from, Instant::now());
        // Ever more seldom: nobody may flood the log from outside.
        if failures.is_power_of_two() {
            warn!("ssh: {} was not let in ({why}), {failures} times now", self.from);
        }
    }

    fn conclude(&mut self, end: End) {
        match end {
            End::TooSlow | End::Idle => self.stack.counters().count(Event::SshTimeout),
            End::Broken(error) if error.is_malformed() => self.stack.counters().count(Event::SshMalformed),
            _ => {}
        }
        match end {
            _ if self.is_admitted => info!("ssh: {} has left", self.from),
            _ if self.has_failed || end == End::Full => {}
            End::Broken(error) => self.fail(&error),
            End::TooSlow => self.fail(&"too slow"),
            _ => self.fail(&"gone before the login"),
        }
    }
}
