//! What workloads on cores 1-3 ask of core 0: pings.
//!
//! Each core has one place for a question and one for its answer, because a workload waits for an answer before it asks
//! again. A workload that was stopped in between leaves an answer behind; the question's number tells.

use alloc::boxed::Box;
use core::net::IpAddr;
use core::sync::atomic::{AtomicU32, Ordering};

use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;
use embassy_sync::signal::Signal;
use embassy_time::Duration;
use net::{PingError, Stack};
use workload::BoxFuture;
use workload::{Env, PingFailure};

use crate::cpu::{CORES, current_core};

/// The node as workloads see it.
pub(crate) struct NodeEnv;

struct Question {
    number: u32,
    peer: IpAddr,
    len: usize,
    timeout: Duration,
}

struct Place {
    question: Signal<CriticalSectionRawMutex, Question>,
    answer: Signal<CriticalSectionRawMutex, (u32, Result<Duration, PingFailure>)>,
    asked: AtomicU32,
}

static PLACES: [Place; CORES] =
    [const { Place { question: Signal::new(), answer: Signal::new(), asked: AtomicU32::new(0) } }; CORES];

impl Env for NodeEnv {
    fn ping(&self, peer: IpAddr, len: usize, timeout: Duration) -> BoxFuture<'_, Result<Duration, PingFailure>> {
        Box::pin(async move {
            let Some(place) = PLACES.get(current_core()) else { return Err(PingFailure::Busy) };
            let number = place.asked.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
            place.question.signal(Question { number, peer, len, timeout });
            loop {
                let (answered, result) = place.answer.wait().await;
                if answered == number {
                    return result;
                }
            }
        })
    }
}

/// Answers the questions of one core, on core 0. Never returns.
pub(crate) async fn answer(stack: &Stack, core: usize) -> ! {
    let Some(place) = PLACES.get(core) else { core::future::pending().await };
    loop {
        let question = place.question.wait().await;
        let result = ping(stack, &question).await;
        place.answer.signal((question.number, result));
    }
}

async fn ping(stack: &Stack, question: &Question) -> Result<Duration, PingFailure> {
    stack.ping(question.peer, question.len, question.timeout).await.map_err(|error| match error {
        PingError::Timeout => PingFailure::Timeout,
        PingError::NoRoute => PingFailure::NoNetwork,
        PingError::Busy => PingFailure::Busy,
        PingError::TooLong => PingFailure::Unreachable,
    })
}
