//! What workloads on cores 1-3 ask of core 0: pings, the state of the board, the time. And the watch over them.
//!
//! There is a place for a question and its answer for each workload that can run. Whoever asks takes one that is free. A
//! workload that was stopped in between leaves an answer behind; the question's number tells.

use alloc::boxed::Box;
use core::net::IpAddr;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use embassy_futures::select::{Either, select};
use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;
use embassy_sync::signal::Signal;
use embassy_time::{Duration, Ticker};
use log::{error, info, warn};
use net::time::{self, MeasureError};
use net::{PingError, Stack};
use sockets::Network;
use telemetry::sample::WORKLOAD_SLOTS;
use workload::manager::What;
use workload::{BoxFuture, Env, Observation, PingFailure, TimeFailure, TimeReading};

use crate::node::{MANAGER, Node};
use crate::supervisor;

/// The node as workloads see it.
pub(crate) struct NodeEnv;

enum Question {
    Ping { peer: IpAddr, len: usize, timeout: Duration },
    Look,
    Time,
}

enum Answer {
    Ping(Result<Duration, PingFailure>),
    Look(Box<Observation>),
    Time(Result<TimeReading, TimeFailure>),
}

struct Place {
    question: Signal<CriticalSectionRawMutex, (u32, Question)>,
    answer: Signal<CriticalSectionRawMutex, (u32, Answer)>,
    asked: AtomicU32,
    is_taken: AtomicBool,
}

/// Places for questions.
pub(crate) const ASKERS: usize = WORKLOAD_SLOTS;

static PLACES: [Place; ASKERS] = [const {
    Place { question: Signal::new(), answer: Signal::new(), asked: AtomicU32::new(0), is_taken: AtomicBool::new(false) }
}; ASKERS];

/// A place that is in use until this is dropped.
struct Taken(&'static Place);

impl Drop for Taken {
    fn drop(&mut self) {
        // Release: what was done with the place is seen by whoever takes it next.
        self.0.is_taken.store(false, Ordering::Release);
    }
}

/// Asks core 0; `None` if too many ask at the same time.
async fn ask(question: Question) -> Option<Answer> {
    // Acquire: see `Taken`.
    let place = PLACES.iter().find(|place| !place.is_taken.swap(true, Ordering::Acquire)).map(Taken)?;
    let number = place.0.asked.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
    place.0.question.signal((number, question));
    loop {
        let (answered, answer) = place.0.answer.wait().await;
        if answered == number {
            return Some(answer);
        }
    }
}

/// The network, as cores 1-3 have it.
pub(crate) static NETWORK: Network = Network::new();

/// Where [`Env::seed`] goes on.
static SEED: AtomicU64 = AtomicU64::new(0);

/// Begins the sequence of seeds for workloads, once, at boot.
pub(crate) fn set_seed(seed: u64) {
    // Not the numbers that the network stack makes of the same seed.
    SEED.store(seed ^ 0x776f_726b_6c6f_6164, Ordering::Relaxed);
}

impl Env for NodeEnv {
    fn seed(&self) -> u64 {
        // SplitMix64 (Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators", figure 16).
        const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;
        let mut z = SEED.fetch_add(GAMMA, Ordering::Relaxed).wrapping_add(GAMMA);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn network(&self) -> &'static Network {
        &NETWORK
    }

    fn ping(&self, peer: IpAddr, len: usize, timeout: Duration) -> BoxFuture<'_, Result<Duration, PingFailure>> {
        Box::pin(async move {
            match ask(Question::Ping { peer, len, timeout }).await {
                Some(Answer::Ping(result)) => result,
                _ => Err(PingFailure::Busy),
            }
        })
    }

    fn look(&self) -> BoxFuture<'_, Option<Box<Observation>>> {
        Box::pin(async {
            match ask(Question::Look).await {
                Some(Answer::Look(observation)) => Some(observation),
                _ => None,
            }
        })
    }

    fn ask_time(&self) -> BoxFuture<'_, Result<TimeReading, TimeFailure>> {
        Box::pin(async {
            match ask(Question::Time).await {
                Some(Answer::Time(result)) => result,
                _ => Err(TimeFailure::NoAnswer),
            }
        })
    }
}

/// Answers the questions in one place, on core 0. Never returns.
pub(crate) async fn answer(node: &Node, stack: &'static Stack, place: usize) -> ! {
    let Some(place) = PLACES.get(place) else { core::future::pending().await };
    let mut next = place.question.wait().await;
    loop {
        let (number, question) = next;
        let work = async {
            match question {
                Question::Ping { peer, len, timeout } => Answer::Ping(ping(stack, peer, len, timeout).await),
                Question::Look => Answer::Look(look(node)),
                Question::Time => Answer::Time(time(stack).await),
            }
        };
        // Another question while there is work: nobody waits for the answer any more.
        next = match select(place.question.wait(), work).await {
            Either::First(next) => next,
            Either::Second(answer) => {
                place.answer.signal((number, answer));
                place.question.wait().await
            }
        };
    }
}

/// Watches over the workloads: logs how they end, has those that make no progress started anew, and restarts the node
/// when a core does not let go. On core 0; never returns.
pub(crate) async fn watch() -> ! {
    let mut ticker = Ticker::every(Duration::from_secs(1));
    loop {
        ticker.next().await;
        for event in MANAGER.check() {
            match event.what {
                What::Stuck => {
                    error!("{event}; the node restarts");
                    supervisor::expose(event.core.into());
                }
                _ if event.is_good() => info!("{event}"),
                _ => warn!("{event}"),
            }
        }
    }
}

async fn ping(stack: &Stack, peer: IpAddr, len: usize, timeout: Duration) -> Result<Duration, PingFailure> {
    stack.ping(peer, len, timeout).await.map_err(|error| match error {
        PingError::Timeout => PingFailure::Timeout,
        PingError::NoRoute => PingFailure::NoNetwork,
        PingError::Busy => PingFailure::Busy,
        PingError::TooLong => PingFailure::Unreachable,
    })
}

fn look(node: &Node) -> Box<Observation> {
    node.with_snapshot(|now| Box::new(Observation { sample: *now.sample, net: now.net.clone() }))
}

async fn time(stack: &'static Stack) -> Result<TimeReading, TimeFailure> {
    match time::measure(stack).await {
        Ok(time::Reading { at, unix_micros, error_micros }) => {
            Ok(TimeReading { at, unix_us: unix_micros, error_us: error_micros })
        }
        Err(MeasureError::NoServer) => Err(TimeFailure::NoServer),
        Err(MeasureError::NoAnswer) => Err(TimeFailure::NoAnswer),
    }
}
