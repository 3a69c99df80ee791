//! What every node says, as it comes: a thread for each listens to its events, and one looks for nodes that are new.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Result, bail};

use super::super::events::Events;
use super::super::lan::{NODES_MAX, plain};
use super::super::logs::{self, Line};
use super::super::node::Node;
use super::super::selection::{Login, Selection};
use super::figures::{self, Figures};

/// Between two attempts to reach a node that is away.
const RETRY: Duration = Duration::from_secs(1);
/// Between two looks for nodes that are new.
const REDISCOVER: Duration = Duration::from_secs(10);
/// Log lines of a node that are kept.
const LINES_KEPT: usize = 300;

/// A node and what is known of it.
#[derive(Clone, Debug)]
pub(super) struct Watched {
    pub(super) node: Node,
    pub(super) state: State,
    /// Its last log lines.
    pub(super) log: VecDeque<Line>,
}

/// How it is.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum State {
    /// It has been asked.
    Asked,
    /// It answers.
    Live(Box<Figures>),
    /// It does not, for a reason.
    Away(String),
}

impl Watched {
    /// Returns a node of which nothing is known yet.
    pub(super) fn new(node: Node) -> Self {
        Self { node, state: State::Asked, log: VecDeque::new() }
    }

    /// Returns what it has said, if it answers.
    pub(super) fn figures(&self) -> Option<&Figures> {
        match &self.state {
            State::Live(figures) => Some(figures),
            State::Asked | State::Away(_) => None,
        }
    }

    /// Returns whether this is the same node: the same place, by whatever name.
    fn is(&self, node: &Node) -> bool {
        self.node.origin == node.origin && self.node.address == node.address
    }
}

/// What has been heard of a life of a node.
#[derive(Default)]
struct Past {
    uptime: Duration,
    /// The number of the log line that comes next.
    next_line: u64,
}

/// All nodes.
#[derive(Clone, Debug, Default)]
pub(super) struct Feed(Arc<Mutex<Vec<Watched>>>);

impl Feed {
    /// Listens to these nodes from now on, and if `selection` is given to those that will be found by it.
    ///
    /// # Errors
    /// When the system has no more threads.
    pub(super) fn start(nodes: Vec<Node>, selection: Option<Selection>) -> Result<Self> {
        let feed = Self::default();
        feed.add(nodes)?;
        if let Some(selection) = selection {
            let feed = feed.clone();
            thread::Builder::new().name("discovery".into()).spawn(move || {
                loop {
                    thread::sleep(REDISCOVER);
                    // Those that are known say themselves when they are away.
                    if let Ok(nodes) = selection.all_silently(&Login::default()) {
                        // Without a thread it is not there; later there may be one.
                        let _ = feed.add(nodes);
                    }
                }
            })?;
        }
        Ok(feed)
    }

    /// Returns all nodes as they are now.
    pub(super) fn look(&self) -> Vec<Watched> {
        self.nodes().clone()
    }

    fn nodes(&self) -> MutexGuard<'_, Vec<Watched>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, nodes: Vec<Node>) -> io::Result<()> {
        for node in nodes {
            let mut known = self.nodes();
            if known.iter().any(|watched| watched.is(&node)) {
                continue;
            }
            // Somebody could announce others again and again; each has a thread.
            if known.len() >= NODES_MAX {
                break;
            }
            let (feed, index) = (self.clone(), known.len());
            let followed = node.clone();
            thread::Builder::new().name(node.name.clone()).spawn(move || feed.follow(index, &followed))?;
            known.push(Watched::new(node));
        }
        Ok(())
    }

    /// Listens to a node for ever.
    fn follow(&self, index: usize, node: &Node) {
        let mut past = Past::default();
        loop {
            if let Err(error) = self.listen(index, node, &mut past) {
                self.set(index, State::Away(plain(&format!("{error:#}"))));
            }
            thread::sleep(RETRY);
        }
    }

    /// Listens to a node until it is away, or begins a new life.
    fn listen(&self, index: usize, node: &Node, past: &mut Past) -> Result<()> {
        let events = match node.events(&format!("/api/v1/events?after={}", past.next_line)) {
            Ok(events) => events,
            // It may only have enough listeners: then it is asked now and then, and its log stays as it is.
            Err(error) => {
                let figures = Figures::of(node).map_err(|_| error)?;
                self.set(index, State::Live(Box::new(figures)));
                return Ok(());
            }
        };
        let mut events = Events::new(events);
        let mut newest = Figures::default();
        loop {
            let event = events.next()?;
            match event.name.as_str() {
                "sample" => {
                    newest = Figures::read(&event.data)?;
                    if newest.uptime < past.uptime {
                        // Its lines are counted from 0 again.
                        *past = Past::default();
                        bail!("it was started anew");
                    }
                    past.uptime = newest.uptime;
                }
                "workloads" => {
                    newest.workloads = figures::read_workloads(&event.data)?;
                    self.set(index, State::Live(Box::new(newest.clone())));
                }
                _ => {
                    if let Some((number, line)) = logs::line_of(&event) {
                        past.next_line = number.unwrap_or(past.next_line);
                        self.write(index, line);
                    }
                }
            }
        }
    }

    fn set(&self, index: usize, state: State) {
        if let Some(watched) = self.nodes().get_mut(index) {
            watched.state = state;
        }
    }

    fn write(&self, index: usize, line: Line) {
        if let Some(watched) = self.nodes().get_mut(index) {
            if watched.log.len() == LINES_KEPT {
                watched.log.pop_front();
            }
            watched.log.push_back(line);
        }
    }
}
