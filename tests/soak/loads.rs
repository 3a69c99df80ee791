//! Clients that ask again and again, each in a thread of its own, and what came of it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail};
use tests::lab::say;
use tests::node::TestNode;
use tests::openssh::User;

use crate::clients;

/// What a client does once; it may keep connections for the next time.
pub(crate) type Turn = Box<dyn FnMut() -> Result<()> + Send>;

/// What has become of a client's turns.
#[derive(Debug, Default)]
struct Tally {
    turns: u64,
    longest: Duration,
    failure: Option<String>,
}

struct Load {
    name: &'static str,
    tally: Arc<Mutex<Tally>>,
    thread: JoinHandle<()>,
}

/// Running clients.
pub(crate) struct Loads {
    is_ending: Arc<AtomicBool>,
    loads: Vec<Load>,
}

impl Loads {
    /// Starts all clients.
    pub(crate) fn start(node: &TestNode, user: &User) -> Result<Self> {
        let mut loads = Self { is_ending: Arc::new(AtomicBool::new(false)), loads: Vec::new() };
        for (name, pause, turn) in clients::all(node, user)? {
            loads.add(name, pause, turn);
        }
        Ok(loads)
    }

    fn add(&mut self, name: &'static str, pause: Duration, mut turn: Turn) {
        let (is_ending, tally) = (Arc::clone(&self.is_ending), Arc::new(Mutex::new(Tally::default())));
        let kept = Arc::clone(&tally);
        let thread = spawn(move || {
            while !is_ending.load(Ordering::Relaxed) {
                let start = Instant::now();
                let result = turn();
                let mut tally = kept.lock().unwrap_or_else(PoisonError::into_inner);
                tally.longest = tally.longest.max(start.elapsed());
                match result {
                    Ok(()) => tally.turns += 1,
                    Err(error) => {
                        tally.failure = Some(format!("{error:#}"));
                        return;
                    }
                }
                drop(tally);
                sleep(pause);
            }
        });
        self.loads.push(Load { name, tally, thread });
    }

    /// Returns whether a client has failed.
    pub(crate) fn has_failure(&self) -> bool {
        let failed = |load: &Load| load.tally.lock().unwrap_or_else(PoisonError::into_inner).failure.is_some();
        self.loads.iter().any(failed)
    }

    /// Ends all clients after their turn, and says what they did; an error if one has failed, or did nothing.
    pub(crate) fn end(self) -> Result<()> {
        self.is_ending.store(true, Ordering::Relaxed);
        let mut wrong = Vec::new();
        let mut text = Vec::new();
        for Load { name, tally, thread } in self.loads {
            thread.join().map_err(|_| anyhow!("the client of {name} panicked"))?;
            let tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
            text.push(format!("{name} {} (longest {:.2} s)", tally.turns, tally.longest.as_secs_f64()));
            if let Some(failure) = &tally.failure {
                wrong.push(format!("{name}, turn {}: {failure}", tally.turns + 1));
            } else if tally.turns == 0 {
                wrong.push(format!("{name} did nothing"));
            }
        }
        say(&format!("soak: {}", text.join(", ")));
        if !wrong.is_empty() {
            bail!("{}", wrong.join("\n"));
        }
        Ok(())
    }
}
