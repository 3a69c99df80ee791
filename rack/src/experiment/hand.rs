//! A thread for each node that gives it orders, one after the other, over one login; and sees a node through a planned restart.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use workload::Spec;

use super::book::lock;
use super::file::fault_time;
use crate::fleet::{Node, Session};

/// How long a node may take to answer, the login included: an emulated one on a busy machine takes seconds for it.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a node may take from a planned restart until it answers.
const BACK_TIMEOUT: Duration = Duration::from_secs(60);
/// How long after a disturbance is over a node may still be seen to suffer from it.
const AFTERMATH: Duration = Duration::from_secs(5);
/// Between two looks at whether a node is back.
const LOOK: Duration = Duration::from_millis(100);

/// An order, and where its result goes.
struct Order {
    line: String,
    done: Sender<Told>,
}

/// What became of an order.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) sent: Instant,
    pub(super) answered: Instant,
    /// What the node has said; or why it did not do it.
    pub(super) said: Result<String>,
}

/// What a node is allowed to suffer, because the experiment says so.
#[derive(Debug, Default)]
pub(super) struct Planned {
    /// When it may be silent, or have lost its link.
    silences: Mutex<Vec<(Instant, Instant)>>,
    /// Restarts to come that nobody has seen yet.
    restarts: AtomicUsize,
    /// Why a node was not seen through a restart.
    failure: Mutex<Option<String>>,
}

impl Planned {
    pub(super) fn is_silence(&self, at: Instant) -> bool {
        lock(&self.silences).iter().any(|(from, to)| (*from..=*to).contains(&at))
    }

    /// Takes a restart that was seen for one that was to come; `false` if there was none.
    pub(super) fn take_restart(&self) -> bool {
        self.restarts.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| count.checked_sub(1)).is_ok()
    }

    /// Takes note of what a fault may do to its node.
    pub(super) fn expect(&self, fault: &str) {
        let now = Instant::now();
        let (after, lasts) = fault_time(fault);
        let kind = fault.split_ascii_whitespace().next().unwrap_or_default();
        let lasts = match kind {
            "reset" | "crash" => {
                self.restarts.fetch_add(1, Ordering::Relaxed);
                BACK_TIMEOUT
            }
            "nic-off" | "stall" => lasts,
            _ if fault.contains("control=yes") => lasts,
            _ => return,
        };
        lock(&self.silences).push((now, now + after + lasts + AFTERMATH));
    }

    /// Takes note of why the node was not seen through its restart.
    pub(super) fn fail(&self, reason: String) {
        *lock(&self.failure) = Some(reason);
    }

    /// Takes that, if there is something.
    pub(super) fn take_failure(&self) -> Option<String> {
        lock(&self.failure).take()
    }

    fn is_back(&self) {
        let now = Instant::now();
        lock(&self.silences).iter_mut().for_each(|(_, to)| *to = (*to).min(now + AFTERMATH));
    }
}

/// See the module. It ends, with its login, when this is dropped.
#[derive(Debug)]
pub(super) struct Hand {
    orders: Sender<Order>,
    pub(super) planned: Arc<Planned>,
    is_stopped: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Hand {
    /// Starts to log in.
    pub(super) fn of(node: &Node) -> Self {
        let (orders, received) = channel();
        let planned = Arc::new(Planned::default());
        let is_stopped = Arc::new(AtomicBool::new(false));
        let mut worker = Worker {
            node: node.clone(),
            session: None,
            works: BTreeMap::new(),
            planned: planned.clone(),
            is_stopped: is_stopped.clone(),
        };
        let thread = thread::spawn(move || worker.run(&received));
        Self { orders, planned, is_stopped, thread: Some(thread) }
    }

    /// Gives an order, and returns where its result will come.
    pub(super) fn order(&self, line: impl Into<String>) -> Receiver<Told> {
        let (done, result) = channel();
        // Without a thread there is no result, which is seen by who waits for it.
        let _ = self.orders.send(Order { line: line.into(), done });
        result
    }
}

impl Drop for Hand {
    fn drop(&mut self) {
        self.is_stopped.store(true, Ordering::Relaxed);
        self.orders = channel().0;
        // It notices within a moment.
        let _ = self.thread.take().map(thread::JoinHandle::join);
    }
}

/// Returns whether a fault is that its node restarts.
fn restarts(fault: &str) -> bool {
    matches!(fault.split_ascii_whitespace().next(), Some("reset" | "crash"))
}

struct Worker {
    node: Node,
    session: Option<Session>,
    /// What the node is to run: the words of `workload start` by id.
    works: BTreeMap<String, String>,
    planned: Arc<Planned>,
    is_stopped: Arc<AtomicBool>,
}

impl Worker {
    fn run(&mut self, orders: &Receiver<Order>) {
        while let Ok(order) = orders.recv() {
            if self.is_stopped.load(Ordering::Relaxed) {
                return;
            }
            let fault = order.line.strip_prefix("fault add ");
            if let Some(fault) = fault {
                self.planned.expect(fault);
            }
            let restart = fault.filter(|fault| restarts(fault));
            let sent = Instant::now();
            let mut told = self.tell(&order.line, restart.is_some());
            let is_told = told.is_ok();
            if is_told {
                self.remember(&order.line);
            }
            // Who gave it may not care.
            let answer = |told: Result<(Instant, String)>| {
                let (answered, said) = match told {
                    Ok((answered, said)) => (answered, Ok(said)),
                    Err(error) => (Instant::now(), Err(error)),
                };
                let _ = order.done.send(Told { sent, answered, said });
            };
            let Some(restart) = restart else {
                answer(told);
                continue;
            };
            if is_told {
                answer(told);
                if let Err(error) = self.see_through(restart, sent) {
                    self.planned.fail(format!("{error:#}"));
                }
                continue;
            }
            // A node that restarts at once may not get to answer: that it has restarted is the answer.
            if self.see_through(restart, sent).is_ok() {
                told = Ok((Instant::now(), String::new()));
            }
            answer(told);
        }
    }

    /// Has the node do something, and returns when it had; logs in before, if need be. What must not happen twice is told `once`,
    /// also when it is not known whether the node has heard.
    fn tell(&mut self, line: &str, once: bool) -> Result<(Instant, String)> {
        let is_stopped = self.is_stopped.clone();
        loop {
            if self.session.as_mut().is_some_and(Session::has_ended) {
                self.session = None;
            }
            let is_new = self.session.is_none();
            if is_new {
                self.session = Some(Session::open(&self.node)?);
            }
            let session = self.session.as_mut().context("there is no login")?;
            match session.tell(&self.node, line, ANSWER_TIMEOUT, &|| is_stopped.load(Ordering::Relaxed)) {
                Ok((answered, Ok(said))) => return Ok((answered, said)),
                Ok((_, Err(said))) => bail!("it refuses '{line}': {said}"),
                Err(error) => {
                    // A login that had ended before is made anew. Without an answer nobody knows what was done.
                    let had_ended = session.has_ended();
                    self.session = None;
                    if once || is_new || !had_ended || is_stopped.load(Ordering::Relaxed) {
                        return Err(error);
                    }
                }
            }
        }
    }

    /// Keeps in mind what the node is to run.
    fn remember(&mut self, line: &str) {
        let mut words = line.splitn(3, ' ');
        let (verb, rest) = match (words.next(), words.next(), words.next()) {
            (Some("workload"), Some(verb), rest) => (verb, rest.unwrap_or_default()),
            _ => return,
        };
        match verb {
            "start" => {
                if let Some(id) = Spec::parse(rest).ok().and_then(|spec| spec.id().map(str::to_owned)) {
                    self.works.insert(id, rest.to_owned());
                }
            }
            "stop" if rest.is_empty() || rest == "all" => self.works.clear(),
            "stop" => _ = self.works.remove(rest),
            "set" => {
                let (id, changes) = rest.split_once(' ').unwrap_or((rest, ""));
                if let Some(old) = self.works.get_mut(id)
                    && let Ok(spec) = Spec::parse(old)
                    && let Ok((new, _)) = spec.changed(changes)
                {
                    *old = new.values.as_str().to_owned();
                }
            }
            _ => {}
        }
    }

    /// Waits until the node is back after a restart that was ordered at `since`, and starts anew what it ran.
    fn see_through(&mut self, fault: &str, since: Instant) -> Result<()> {
        self.session = None;
        let due = since + fault_time(fault).0;
        let deadline = due + BACK_TIMEOUT;
        while !self.is_anew(due) {
            if self.is_stopped.load(Ordering::Relaxed) {
                bail!("interrupted");
            }
            if Instant::now() >= deadline {
                return Err(anyhow!("{} is not back {BACK_TIMEOUT:?} after a restart", self.node.name));
            }
            thread::sleep(LOOK);
        }
        for line in self.works.values().cloned().collect::<Vec<_>>() {
            self.tell(&format!("workload start {line}"), false)?;
        }
        self.planned.is_back();
        Ok(())
    }

    /// Returns whether the node has started after `due`.
    fn is_anew(&self, due: Instant) -> bool {
        let asked = Instant::now();
        let uptime = self.node.api("node").ok().and_then(|who| who["uptime_us"].as_u64());
        uptime.is_some_and(|us| asked.checked_sub(Duration::from_micros(us)).is_some_and(|start| start > due))
    }
}
