//! An acceptance test of the board: does it compute right, keep what it is told, stay cool, and reach the network?
//!
//! Every core computes and tests its memory, in turn and without a break, so that the board gets as warm as it ever will. The
//! first core also looks at the board and makes the certificate, which the telemetry sinks show.

use alloc::boxed::Box;

use embassy_futures::join::join;
use embassy_time::{Duration, Timer};
use telemetry::certificate::{Stage, Verdict};

use crate::certify::board::{self, Seen};
use crate::certify::compute::{Answers, Computed};
use crate::certify::judge;
use crate::certify::memory::MemoryTest;
use crate::certify::record::{CoreResult, Leading, Part};
use crate::parameter::{Kind, Unit, Values};
use crate::{BoxFuture, Context, CoreSet, Failure, Parameter, Workload};

static TIME: Parameter = Parameter {
    name: "time",
    help: "how long to test",
    kind: Kind::Integer { min: 2_000_000, max: 86_400_000_000, default: 60_000_000, unit: Unit::Time },
};

static SPEED: Parameter = Parameter {
    name: "speed",
    help: "Mbit/s that the link must have; 0 for any",
    kind: Kind::Integer { min: 0, max: 10_000, default: 0, unit: Unit::Count },
};

static MEMORY: Parameter = Parameter {
    name: "memory",
    help: "how much RAM to test, a third by each core; without it, all that the node does not need itself",
    kind: Kind::Integer { min: 1 << 20, max: MEMORY_MAX, default: MEMORY_MAX, unit: Unit::Bytes },
};

static PARAMETERS: &[&Parameter] = &[&TIME, &SPEED, &MEMORY];

/// More than any board has.
const MEMORY_MAX: u64 = 1 << 34;
/// Cores that test a share each.
const SHARES: u64 = 3;

/// How long to work before letting go of the core.
const SLICE: Duration = Duration::from_millis(5);
/// How long the other cores may take to come to their end after the first.
const STRAGGLERS: Duration = Duration::from_secs(2);
/// Chunks of memory between two rounds of computations: about as long.
const CHUNKS: usize = 4;

pub(super) static WORKLOAD: Certify = Certify;

pub(super) struct Certify;

impl Workload for Certify {
    fn name(&self) -> &'static str {
        "certify"
    }

    fn summary(&self) -> &'static str {
        "tests the board: cores, memory, link, temperature, power, clock"
    }

    fn operation(&self) -> &'static str {
        "a round of computations; bytes are those of memory written and read; a wrong answer or word is an error"
    }

    fn parameters(&self) -> &'static [&'static Parameter] {
        PARAMETERS
    }

    fn default_cores(&self) -> CoreSet {
        CoreSet::ALL
    }

    fn is_exclusive(&self) -> bool {
        true
    }

    fn run<'a>(&'a self, values: &'a Values, context: Context<'a>) -> BoxFuture<'a, Result<(), Failure>> {
        let length = Duration::from_micros(values.number(&TIME));
        let speed = values.number(&SPEED);
        let share = values.number(&MEMORY) / SHARES;
        Box::pin(async move {
            // Nothing else runs on this core.
            let Some(mut buffer) = context.take_buffer() else {
                return Err(Failure::MemoryTaken { core: context.core });
            };
            let memory = MemoryTest::new(buffer.regions().iter_mut().map(|words| &mut **words), share);
            let part = context.record().join(context.core, context.now(), length);
            if !part.is_leader {
                work(&context, part, memory).await;
                return Ok(());
            }
            let _leading = Leading { record: context.record(), part };
            lead(&context, part, memory, speed).await
        })
    }
}

/// Works like every core, looks at the board, and makes the certificate.
async fn lead(context: &Context<'_>, part: Part, memory: MemoryTest<'_>, speed: u64) -> Result<(), Failure> {
    let mut seen = Seen::default();
    join(work(context, part, memory), board::watch(context, part.end, &mut seen)).await;
    let deadline = context.now() + STRAGGLERS;
    let mut cores = context.record().cores(part);
    while cores.iter().flatten().any(|core| !core.is_done) && context.now() < deadline {
        Timer::after_millis(20).await;
        cores = context.record().cores(part);
    }
    let findings = judge::findings(&cores, &seen, speed);
    let mut verdict = Verdict::Incomplete;
    let ended = context.now();
    context.record().certify(part, |certificate| {
        certificate.started_unix_us = judge::started(&seen, certificate.started_us);
        certificate.findings = findings;
        certificate.ran_us = ended.as_micros().saturating_sub(certificate.started_us);
        certificate.stage = Stage::Done;
        verdict = certificate.verdict();
    });
    if verdict == Verdict::Fail { Err(Failure::Board) } else { Ok(()) }
}

/// Computes and tests memory until the end, and reports what it found.
async fn work(context: &Context<'_>, part: Part, mut memory: MemoryTest<'_>) {
    let known = Answers::known();
    let mut computed = Computed::default();
    let mut slice_began = context.now();
    while context.now() < part.end {
        let began = context.now();
        if !computed.round(&known) {
            context.add_errors(1);
        }
        context.add_operation(context.now().checked_duration_since(began).unwrap_or(Duration::MIN));
        for _ in 0..CHUNKS {
            let (bytes, wrong) = memory.step();
            context.add_bytes(bytes);
            if wrong > 0 {
                context.add_errors(wrong);
            }
        }
        let now = context.now();
        if now >= slice_began + SLICE {
            context.add_busy(now.checked_duration_since(slice_began).unwrap_or(Duration::MIN));
            context.record().report(part, context.core, CoreResult { computed, tested: memory.found().clone(), is_done: false });
            context.pause().await;
            slice_began = context.now();
        }
    }
    context.record().report(part, context.core, CoreResult { computed, tested: memory.found().clone(), is_done: true });
}
