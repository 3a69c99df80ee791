//! What workloads on cores 1-3 ask of core 0: pings, the state of the board, the time.
//!
//! Each core has one place for a question and one for its answer, because a workload waits for an answer before it asks
//! again. A workload that was stopped in between leaves an answer behind; the question's number tells.

use alloc::boxed::Box;
use core::net::IpAddr;
use core::sync::atomic::{AtomicU32, Ordering};

use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;
use embassy_sync::signal::Signal;
use embassy_time::Duration;
use net::time::{self, MeasureError};
use net::{PingError, Stack};
use sockets::Network;
use workload::{BoxFuture, Env, Observation, PingFailure, TimeFailure, TimeReading};

use crate::cpu::{CORES, current_core};
use crate::node::Node;

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
}

static PLACES: [Place; CORES] =
    [const { Place { question: Signal::new(), answer: Signal::new(), asked: AtomicU32::new(0) } }; CORES];

/// Asks core 0 from the running core; `None` if this is no core that may.
async fn ask(question: Question) -> Option<Answer> {
    let place = PLACES.get(current_core())?;
    let number = place.asked.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
    place.question.signal((number, question));
    loop {
        let (answered, answer) = place.answer.wait().await;
        if answered == number {
            return Some(answer);
        }
    }
}

/// The network, as cores 1-3 have it.
pub(crate) static NETWORK: Network = Network::new();

impl Env for NodeEnv {
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

/// Answers the questions of one core, on core 0. Never returns.
pub(crate) async fn answer(node: &Node, stack: &'static Stack, core: usize) -> ! {
    let Some(place) = PLACES.get(core) else { core::future::pending().await };
    loop {
        let (number, question) = place.question.wait().await;
        let answer = match question {
            Question::Ping { peer, len, timeout } => Answer::Ping(ping(stack, peer, len, timeout).await),
            Question::Look => Answer::Look(look(node)),
            Question::Time => Answer::Time(time(stack).await),
        };
        place.answer.signal((number, answer));
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
