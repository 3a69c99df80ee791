//! The nodes of a rack: started a few at a time, watched, ended together.

use std::collections::VecDeque;
use std::net::SocketAddrV4;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use qemu::{Machine, NicKind, Node, NodeConfig, Qemu, Target, UsbNet};

use super::activity::Activity;
use super::place::Place;
use super::plan::{Plan, mac_text};
use super::probe;
use super::protocol::{Forwarded, NodeStatus, State};
use super::wiring::Wiring;

/// How long a node may take from QEMU's start until it answers, on a machine that is busy with fifteen others.
const START_TIMEOUT: Duration = Duration::from_secs(90);
/// Between two looks at the lease of a node that starts: a QEMU that has ended shows there, too.
const LOOK: Duration = Duration::from_millis(50);
/// Between two looks at whether QEMUs still run.
const WATCH: Duration = Duration::from_millis(250);
/// The share of a core that a node uses is that of so many looks, or of up to twice as many.
const SAMPLE_LOOKS: u32 = 20;
/// Of a console's past, in bytes, kept for who connects.
const CONSOLE_KEPT: usize = 64 * 1024;
/// What is shown of why QEMU ended.
const MESSAGE_LINES: usize = 10;

/// See the module.
pub(super) struct Members {
    plan: Plan,
    nodes: Vec<Member>,
    is_ending: AtomicBool,
    /// Read from before a QEMU is started until it is where [`end`](Self::end) finds it.
    launch: RwLock<()>,
}

struct Member {
    number: u8,
    forwards: Vec<Forwarded>,
    life: Mutex<Life>,
}

struct Life {
    state: State,
    node: Option<Arc<Node>>,
    up_after: Option<Duration>,
    error: Option<String>,
    /// Processor time used, and when that was looked at: earlier, and last.
    samples: [Option<(Duration, Instant)>; 2],
    activity: Activity,
}

impl Members {
    /// Opens the ports that lead to the nodes; none of these is started yet.
    ///
    /// # Errors
    /// When the system has no more ports.
    pub(super) fn new(plan: Plan, wiring: &Wiring) -> Result<Self> {
        let nodes = plan.numbers().map(|number| {
            let forward = |port: &u16| {
                let host = wiring.forward(target(number, *port))?;
                Ok(Forwarded { node_port: *port, host })
            };
            let forwards = plan.forward.iter().map(forward).collect::<Result<_>>()?;
            let (state, samples, activity) = (State::Waiting, [None, None], Activity::default());
            let life = Mutex::new(Life { state, node: None, up_after: None, error: None, samples, activity });
            Ok(Member { number, forwards, life })
        });
        let nodes = nodes.collect::<Result<_>>()?;
        Ok(Self { plan, nodes, is_ending: AtomicBool::new(false), launch: RwLock::new(()) })
    }

    /// Starts all nodes, as many at a time as this machine has cores: a node that boots needs one. Returns when each is up, or
    /// has failed, or the rack ends.
    pub(super) fn start(&self, qemu: &Qemu, place: &Place, wiring: &Wiring) {
        let queue: Mutex<VecDeque<&Member>> = Mutex::new(self.nodes.iter().collect());
        let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        thread::scope(|scope| {
            for _ in 0..cores().max(2) {
                scope.spawn(|| {
                    while let Some(member) = next().filter(|_| !self.is_ending()) {
                        if let Err(error) = self.start_one(member, qemu, place, wiring) {
                            let mut life = member.life();
                            life.error.get_or_insert(format!("{error:#}"));
                            life.state = if life.node.is_some() { State::Starting } else { State::Ended };
                        }
                    }
                });
            }
        });
    }

    fn start_one(&self, member: &Member, qemu: &Qemu, place: &Place, wiring: &Wiring) -> Result<()> {
        member.life().state = State::Starting;
        let begin = Instant::now();
        let node = {
            let _launch = self.launch.read().unwrap_or_else(PoisonError::into_inner);
            if self.is_ending() {
                return Ok(());
            }
            let node = Arc::new(Node::start(qemu, self.config(member.number, place, wiring)?)?);
            node.console().keep(CONSOLE_KEPT);
            member.life().node = Some(node.clone());
            node
        };
        let deadline = begin + START_TIMEOUT;
        let may_go_on = || !self.is_ending() && matches!(node.try_wait(), Ok(None));
        let mut has_address = false;
        while !has_address && may_go_on() && Instant::now() < deadline {
            has_address = wiring.wait_for_address(member.number, LOOK)?;
        }
        if has_address && probe::wait(wiring, target(member.number, 0), deadline, may_go_on) {
            let mut life = member.life();
            life.up_after = Some(begin.elapsed());
            life.state = State::Up;
            return Ok(());
        }
        if may_go_on() {
            let what = if has_address { "does not answer" } else { "has asked for no address" };
            let lines = node.console().last_lines(MESSAGE_LINES).join("\n  | ");
            anyhow::bail!("it {what} after {START_TIMEOUT:?}; its console says:\n  | {lines}");
        }
        // An end is told by `watch`.
        Ok(())
    }

    fn config(&self, number: u8, place: &Place, wiring: &Wiring) -> Result<NodeConfig> {
        let mut config = NodeConfig::new(&self.plan.image);
        config.machine = self.plan.board.parse::<Machine>()?;
        let kind: NicKind = self.plan.nic.parse().map_err(anyhow::Error::msg)?;
        config.nic = Some(UsbNet { kind, mac: Plan::mac(number), ..UsbNet::default() });
        config.command_line = self.plan.node_command_line(number);
        config.initramfs = self.plan.archive.clone();
        config.has_slack = !self.plan.is_precise;
        config.run_parent = Some(place.directory().to_owned());
        wiring.plug(number, &mut config, place, &self.plan)?;
        Ok(config)
    }

    /// Watches QEMUs until the rack ends.
    pub(super) fn watch(&self, wiring: &Wiring) {
        for look in 0_u32.. {
            if self.is_ending() {
                return;
            }
            if !self.plan.is_precise {
                self.set_timers(wiring);
            }
            for member in &self.nodes {
                let mut life = member.life();
                let Some(node) = life.node.clone().filter(|_| life.state != State::Ended) else { continue };
                if let Ok(Some(status)) = node.try_wait() {
                    life.error = Some(format!("QEMU ended with {status}{}", last_words(&node.messages())));
                    life.state = State::Ended;
                } else if look.is_multiple_of(SAMPLE_LOOKS) {
                    life.samples = [life.samples[1], node.cpu_time().ok().map(|used| (used, Instant::now()))];
                }
            }
            thread::sleep(WATCH);
        }
    }

    /// Has the timers of nodes that are up be as exact as [`activity`](super::activity) wants them.
    fn set_timers(&self, wiring: &Wiring) {
        let frames_of = wiring.frames();
        let mut up = Vec::new();
        for member in &self.nodes {
            let mut life = member.life();
            if let (State::Up, Some(node)) = (life.state, life.node.clone()) {
                life.activity.look(frames_of(member.number), node.cpu_time().unwrap_or_default());
                up.push((member, node, life.activity.is_busy()));
            }
        }
        let busy = up.iter().filter(|(.., is_busy)| *is_busy).count();
        for (member, node, _) in up {
            if let Some(slack) = member.life().activity.set(busy, cores()) {
                // Where the system does not allow it, nodes cost more.
                let _ = node.set_timer_slack(slack);
            }
        }
    }

    /// Returns how each node is.
    pub(super) fn status(&self) -> Vec<NodeStatus> {
        self.nodes.iter().map(|member| self.status_of(member)).collect()
    }

    fn status_of(&self, member: &Member) -> NodeStatus {
        let life = member.life();
        let running = life.node.as_ref().filter(|_| life.state != State::Ended);
        let cpu_percent = running.and_then(|node| {
            let (used, since) = life.samples[0].or(life.samples[1])?;
            let used = node.cpu_time().ok()?.saturating_sub(used);
            Some((used.as_secs_f64() / since.elapsed().as_secs_f64() * 1000.0).round() / 10.0)
        });
        NodeStatus {
            number: member.number,
            name: self.plan.name(member.number),
            address: Plan::address(member.number),
            mac: mac_text(Plan::mac(member.number)),
            state: life.state,
            error: life.error.clone(),
            pid: running.map(|node| node.pid()),
            up_after_ms: life.up_after.and_then(|after| u64::try_from(after.as_millis()).ok()),
            cpu_percent: cpu_percent.filter(|percent| percent.is_finite()),
            rss_bytes: running.and_then(|node| node.rss_bytes().ok()),
            forwards: member.forwards.clone(),
        }
    }

    /// Returns a node that has been started.
    pub(super) fn node(&self, number: u8) -> Option<Arc<Node>> {
        let member = self.nodes.iter().find(|member| member.number == number)?;
        member.life().node.clone()
    }

    /// Ends every node, all at the same time, and keeps others from being started. One that is just being started is waited for:
    /// its QEMU would be left, and write to a directory that is gone.
    pub(super) fn end(&self) {
        self.is_ending.store(true, Ordering::Release);
        let _launch = self.launch.write().unwrap_or_else(PoisonError::into_inner);
        thread::scope(|scope| {
            for member in &self.nodes {
                let node = member.life().node.take();
                if let Some(node) = node {
                    // One that does not obey is killed when the last of its handles goes, at the latest with this process.
                    scope.spawn(move || node.quit());
                }
            }
        });
    }

    fn is_ending(&self) -> bool {
        // What must not be missed is ordered by `launch`.
        self.is_ending.load(Ordering::Acquire)
    }
}

impl Member {
    fn life(&self) -> MutexGuard<'_, Life> {
        self.life.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns where a port of a node is.
pub(super) fn target(number: u8, port: u16) -> Target {
    Target { mac: Plan::mac(number), address: SocketAddrV4::new(Plan::address(number), port) }
}

fn cores() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

fn last_words(messages: &str) -> String {
    let lines: Vec<&str> = messages.trim().lines().collect();
    let lines = lines[lines.len().saturating_sub(MESSAGE_LINES)..].join("\n");
    if lines.is_empty() { lines } else { format!(": {lines}") }
}
