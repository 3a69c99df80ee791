//! Clients that write and read, and keep an account of it.
//!
//! Each client talks to one store at a time. When that refuses, or does not answer in time, it goes on to the next one in the list
//! and stays there, as a program does that knows several addresses. It writes values that nobody else writes, so that a value says
//! which write it is from, and now and then a key of its own, once, to see afterwards whether it is still there.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use chance::Random;

use super::client::{Client, Trouble};
use super::operation::{Action, Operation};
use crate::fleet::Stream;

/// Values of each client: more than it writes in a day.
const VALUES: u64 = 1_000_000_000;

/// How to connect to a store.
pub(crate) type Dial = Arc<dyn Fn() -> io::Result<Stream> + Send + Sync>;

/// What is asked of the stores.
#[derive(Clone)]
pub(crate) struct Plan {
    /// Those that clients know, the usual one first.
    pub(crate) stores: Vec<Dial>,
    pub(crate) clients: u16,
    /// Registers that all clients write and read.
    pub(crate) keys: u32,
    /// Between two operations of a client.
    pub(crate) pace: Duration,
    /// How long an answer may take.
    pub(crate) timeout: Duration,
    pub(crate) seed: u64,
}

/// What clients have done and seen.
#[derive(Clone, Debug, Default)]
pub(crate) struct History {
    /// Operations on registers, those that were refused left out.
    pub(crate) operations: Vec<Operation>,
    /// Keys that were written once, and whose write was acknowledged, with their values.
    pub(crate) kept: Vec<(String, u64)>,
    /// Operations that were refused, and those without an answer.
    pub(crate) refused: u64,
    pub(crate) unknown: u64,
    /// The longest time without an answered operation on a register.
    pub(crate) silence: Duration,
    /// Why the last of them had none.
    pub(crate) trouble: Option<String>,
}

/// Clients at work.
pub(crate) struct Recorder {
    begin: Instant,
    is_over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<History>>,
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
    }
}

impl Recorder {
    /// Starts the clients.
    pub(crate) fn start(plan: &Plan) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let begin = Instant::now();
        // So that keys of an earlier history are not taken for those of this one.
        let name = std::time::SystemTime::UNIX_EPOCH.elapsed().map_or(0, |time| time.as_micros());
        let threads = (0..plan.clients).map(|number| {
            let worker = Worker {
                number,
                name: format!("history:{name:x}"),
                plan: plan.clone(),
                random: Random::new(plan.seed.wrapping_mul(1000).wrapping_add(number.into())),
                begin,
                is_over: is_over.clone(),
                store: 0,
                client: None,
                history: History::default(),
            };
            thread::spawn(move || worker.run())
        });
        let threads = threads.collect();
        Self { begin, is_over, threads }
    }

    /// Ends the clients and returns what they have seen.
    pub(crate) fn stop(mut self) -> History {
        self.is_over.store(true, Ordering::Relaxed);
        let mut all = History::default();
        for thread in self.threads.drain(..) {
            // A client that has panicked has said so.
            let Ok(one) = thread.join() else { continue };
            all.operations.extend(one.operations);
            all.kept.extend(one.kept);
            all.refused += one.refused;
            all.unknown += one.unknown;
            all.trouble = one.trouble.or(all.trouble);
        }
        all.silence = silence(&all.operations, self.begin.elapsed());
        all
    }
}

/// Returns the longest time without an answer, from the beginning to the end.
fn silence(operations: &[Operation], end: Duration) -> Duration {
    let mut answers: Vec<_> = operations.iter().filter_map(|operation| operation.answered).collect();
    answers.extend([Duration::ZERO, end]);
    answers.sort_unstable();
    answers.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
}

/// A client's thread.
struct Worker {
    number: u16,
    /// What its keys begin with.
    name: String,
    plan: Plan,
    random: Random,
    begin: Instant,
    is_over: Arc<AtomicBool>,
    /// Which store it talks to.
    store: usize,
    client: Option<Client>,
    history: History,
}

impl Worker {
    fn run(mut self) -> History {
        let mut next = Instant::now();
        let mut count = 0;
        while !self.is_over.load(Ordering::Relaxed) {
            count += 1;
            // No other write has this value.
            let value = (u64::from(self.number) + 1) * VALUES + count;
            if count % 5 == 0 {
                self.keep(value);
            } else {
                self.touch(value);
            }
            next = (next + self.plan.pace).max(Instant::now());
            thread::sleep(next.saturating_duration_since(Instant::now()));
        }
        self.history
    }

    /// Writes a key of its own.
    fn keep(&mut self, value: u64) {
        let key = format!("{}:{value}", self.name);
        if self.ask(|client| client.set(&key, value)).is_ok() {
            self.history.kept.push((key, value));
        }
    }

    /// Writes or reads a register.
    fn touch(&mut self, value: u64) {
        let key = u32::try_from(self.random.below(self.plan.keys.into())).unwrap_or(0);
        let name = format!("{}:register:{key}", self.name);
        let is_write = self.random.below(2) == 0;
        // A connection that has to be made is no part of the operation.
        let is_ready = self.connect();
        let asked = self.begin.elapsed();
        let result = if !is_ready {
            Err(false)
        } else if is_write {
            self.ask(|client| client.set(&name, value)).map(|()| Action::Write(value))
        } else {
            self.ask(|client| client.get(&name)).map(Action::Read)
        };
        let (action, answered) = match result {
            Ok(action) => (action, Some(self.begin.elapsed())),
            Err(true) if is_write => (Action::Write(value), None),
            Err(_) => return,
        };
        self.history.operations.push(Operation { client: self.number, key, action, asked, answered });
    }

    /// Sees to it that there is a connection; returns whether there is.
    fn connect(&mut self) -> bool {
        if self.client.is_none() {
            let Some(dial) = self.plan.stores.get(self.store) else { return false };
            match dial().and_then(|stream| Client::new(stream, self.plan.timeout)) {
                Ok(client) => self.client = Some(client),
                Err(error) => {
                    // Nothing was sent.
                    self.history.refused += 1;
                    self.go_on(error.to_string());
                }
            }
        }
        self.client.is_some()
    }

    /// Asks the store.
    ///
    /// # Errors
    /// Whether it may have happened all the same.
    fn ask<T>(&mut self, action: impl FnOnce(&mut Client) -> Result<T, Trouble>) -> Result<T, bool> {
        if !self.connect() {
            return Err(false);
        }
        let Some(client) = &mut self.client else { return Err(false) };
        match action(client) {
            Ok(value) => Ok(value),
            Err(Trouble::Refused(why)) => {
                self.history.refused += 1;
                self.go_on(why);
                Err(false)
            }
            Err(Trouble::Unknown(why)) => {
                self.history.unknown += 1;
                self.go_on(why);
                Err(true)
            }
        }
    }

    /// Turns to the next store.
    fn go_on(&mut self, why: String) {
        self.client = None;
        self.store = (self.store + 1) % self.plan.stores.len().max(1);
        self.history.trouble = Some(why);
    }
}

/// Looks for all keys whose writes were acknowledged, and returns those that are not there with their value.
///
/// # Errors
/// When the store does not answer.
pub(crate) fn lost(history: &History, store: &Dial, timeout: Duration) -> io::Result<Vec<String>> {
    let mut client = Client::new(store()?, timeout)?;
    let mut lost = Vec::new();
    for (key, value) in &history.kept {
        match client.get(key) {
            Ok(found) if found == Some(*value) => {}
            Ok(_) => lost.push(key.clone()),
            Err(Trouble::Refused(why) | Trouble::Unknown(why)) => return Err(io::Error::other(why)),
        }
    }
    Ok(lost)
}

#[cfg(test)]
mod tests;
