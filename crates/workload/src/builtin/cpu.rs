//! Keeps a core busy for a set share of time, with work whose result is checked.
//!
//! Time is cut into slices. In each the core works for its share and sleeps for the rest. What a slice worked too long or
//! too short is made up for in the next, so the load is kept over time whatever a block of work takes.

use alloc::boxed::Box;
use core::hint::black_box;

use embassy_time::{Duration, Instant};

use crate::parameter::{Kind, Unit, Values};
use crate::stride::Stride;
use crate::{BoxFuture, Context, Failure, Parameter, Workload};

static LOAD: Parameter = Parameter {
    name: "load",
    help: "share of the core's time to work",
    kind: Kind::Integer { min: 0, max: 100, default: 100, unit: Unit::Percent },
};

static SLICE: Parameter = Parameter {
    name: "slice",
    help: "time in which the load is kept",
    kind: Kind::Integer { min: 1_000, max: 20_000, default: 10_000, unit: Unit::Time },
};

/// Steps of a block: some ten µs of a Cortex-A53, so that a slice ends in time.
const STEPS: u32 = 2_000;

static PARAMETERS: &[&Parameter] = &[&LOAD, &SLICE];

pub(super) static WORKLOAD: Cpu = Cpu;

pub(super) struct Cpu;

impl Workload for Cpu {
    fn name(&self) -> &'static str {
        "cpu"
    }

    fn summary(&self) -> &'static str {
        "computes for a set share of time, and checks the results"
    }

    fn operation(&self) -> &'static str {
        "a block of 2,000 integer and 2,000 floating-point steps; a wrong result is an error"
    }

    fn parameters(&self) -> &'static [&'static Parameter] {
        PARAMETERS
    }

    fn follows(&self, _: &Parameter) -> bool {
        true
    }

    fn run<'a>(&'a self, values: &'a Values, context: Context<'a>) -> BoxFuture<'a, Result<(), Failure>> {
        let read = |values: &Values| (values.number(&LOAD), Duration::from_micros(values.number(&SLICE)));
        let (mut load, mut slice) = read(values);
        Box::pin(async move {
            let expected = Blocks::expected(STEPS);
            let mut blocks = Blocks::default();
            let mut stride = Stride::default();
            let mut debt = Debt::default();
            let mut began = context.now();
            let mut next = began + slice;
            // How long the slice before took with the rest after it; it may be many slices on a host that holds a core.
            let mut period = slice;
            loop {
                let due = debt.due(period, slice, load);
                let ended = work(&context, &mut blocks, &expected, &mut stride, began, due);
                let worked = ended.checked_duration_since(began).unwrap_or(Duration::MIN);
                debt.settle(worked, slice);
                context.add_busy(worked);
                context.sleep_until(next).await;
                let now = context.now();
                period = now.checked_duration_since(began).unwrap_or(slice);
                began = now;
                if context.has_changed() {
                    (load, slice) = read(&context.values());
                }
                // Slices keep their times even if one begins late; one that was missed altogether is not caught up with.
                next = (next + slice).max(began);
            }
        })
    }
}

/// Works from `began` for `due` and returns when it ended.
fn work(
    context: &Context<'_>,
    blocks: &mut Blocks,
    expected: &Blocks,
    stride: &mut Stride,
    began: Instant,
    due: Duration,
) -> Instant {
    let end = began + due;
    let mut now = began;
    while now < end {
        let count = stride.steps(end - now);
        for _ in 0..count {
            *blocks = Blocks::compute(black_box(STEPS));
            if *blocks != *expected {
                context.add_errors(1);
            }
        }
        let before = core::mem::replace(&mut now, context.now());
        let took = now.checked_duration_since(before).unwrap_or(Duration::MIN);
        stride.note(count, took);
        context.add_operations(count, took);
    }
    now
}

/// What earlier slices worked too little (positive) or too much, in µs; at most a slice of the one, and a second of the
/// other: an emulator's host may hold a core that works for many slices.
#[derive(Default)]
struct Debt(i64);

/// Most time that was worked too much and is rested from, in µs.
const OVERRUN_MAX: i64 = 1_000_000;

impl Debt {
    /// Returns how long the next slice has to work, when the last one took `period` from its beginning to that of this one.
    fn due(&mut self, period: Duration, slice: Duration, load: u64) -> Duration {
        let limit = slice.as_micros() as i64;
        self.0 = (self.0 + (period.as_micros() * load / 100) as i64).min(limit);
        Duration::from_micros(self.0.max(0) as u64)
    }

    /// Notes how long it did work.
    fn settle(&mut self, worked: Duration, slice: Duration) {
        let limit = slice.as_micros() as i64;
        self.0 = (self.0 - worked.as_micros() as i64).clamp(-OVERRUN_MAX, limit);
    }
}

/// The results of a block.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Blocks {
    pub(crate) integer: u64,
    pub(crate) float: f64,
}

/// Multiplier and increment of a linear congruential generator, by Knuth (MMIX).
const A: u64 = 6_364_136_223_846_793_005;
const C: u64 = 1_442_695_040_888_963_407;

impl Blocks {
    /// Computes step by step.
    pub(crate) fn compute(steps: u32) -> Self {
        let (mut integer, mut float, mut x) = (1u64, 0.0f64, 0.5f64);
        for _ in 0..steps {
            // Wraps: arithmetic is modulo 2^64.
            integer = integer.wrapping_mul(A).wrapping_add(C);
            // Halves and quarters of small integers: every result is exact, in any order and on any hardware.
            float += x * x;
            x += 1.0;
        }
        Self { integer, float }
    }

    /// Finds the same by another way: the generator jumps by repeated squaring, the sum has a closed form.
    pub(crate) fn expected(steps: u32) -> Self {
        // n steps are x → m·x + c; doing it twice is x → m²·x + (m + 1)·c.
        let (mut m, mut c) = (A, C);
        let (mut multiplier, mut increment) = (1u64, 0u64);
        let mut rest = steps;
        while rest > 0 {
            if rest & 1 == 1 {
                multiplier = multiplier.wrapping_mul(m);
                increment = increment.wrapping_mul(m).wrapping_add(c);
            }
            c = m.wrapping_add(1).wrapping_mul(c);
            m = m.wrapping_mul(m);
            rest >>= 1;
        }
        // Σ (k + ½)² for k < n is n(4n² − 1)/12.
        let n = u64::from(steps);
        let twelfths = n * (4 * n * n - 1);
        Self { integer: multiplier.wrapping_add(increment), float: twelfths as f64 / 12.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_give_the_same_result() {
        assert_eq!(Blocks::compute(STEPS), Blocks::expected(STEPS));
        assert_ne!(Blocks::compute(STEPS - 1), Blocks::expected(STEPS));
    }

    #[test]
    fn debt_keeps_the_load_over_time() {
        let slice = Duration::from_micros(10_000);
        for load in [0, 1, 7, 50, 99, 100] {
            for block in [1, 90, 900, 7_000, 170_000] {
                let mut debt = Debt::default();
                let (mut worked_us, mut began_us, mut next_us, mut period) = (0, 0, slice.as_micros(), slice);
                for _ in 0..1_000 {
                    let due = debt.due(period, slice, load);
                    // A block is worked to its end.
                    let worked = due.as_micros().div_ceil(block) * block;
                    debt.settle(Duration::from_micros(worked), slice);
                    worked_us += worked;
                    // As the loop does.
                    let now_us = (began_us + worked).max(next_us);
                    next_us = (next_us + slice.as_micros()).max(now_us);
                    period = Duration::from_micros(now_us - began_us);
                    began_us = now_us;
                }
                let wanted = began_us * load / 100;
                assert!(worked_us.abs_diff(wanted) <= 10_000 + block, "{load} % by {block} µs: {worked_us}");
            }
        }
    }
}
