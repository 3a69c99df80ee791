//! How much to do between two looks at the clock.
//!
//! On a board a look costs next to nothing. QEMU takes the lock of all its devices for each (its target/arm/helper.c: the generic
//! timer's counter is `ARM_CP_IO`), so a core that looks with every step holds up core 0 at its NIC: with a look every 50 to 100 µs
//! on one core, a fifth to a third of the throughput was gone, with one every 2 ms nothing that could be measured
//! (`cargo bench -p tests -- workers`).

use embassy_time::Duration;

/// How long to work between two looks.
const BETWEEN_LOOKS: Duration = Duration::from_millis(2);
/// Most steps between two looks, should the clock stand still. A board, where a step takes some ten µs, looks a little more often for it.
const STEPS_MAX: u64 = 64;

/// Adapts itself to how long a step takes.
#[derive(Debug, Default)]
pub(crate) struct Stride {
    /// How long a step took the last time; nothing before the first.
    step_ns: u64,
    /// How many there were.
    steps: u64,
}

impl Stride {
    /// Returns how many steps to do now, at least one, when there is no more time than `left` for them.
    pub(crate) fn steps(&self, left: Duration) -> u64 {
        let time_ns = BETWEEN_LOOKS.min(left).as_micros() * 1000;
        // No more than four times as many as before: not all steps take as long as the last ones.
        time_ns.checked_div(self.step_ns).unwrap_or(u64::MAX).clamp(1, (self.steps * 4).clamp(1, STEPS_MAX))
    }

    /// Notes how long so many steps have taken.
    pub(crate) fn note(&mut self, steps: u64, took: Duration) {
        *self = Self { step_ns: took.as_micros().saturating_mul(1000) / steps.max(1), steps };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Does steps for so long, and returns how many looks at the clock that took, and how long it worked.
    fn work(stride: &mut Stride, step_ns: u64, due_us: u64) -> (u64, u64) {
        let (mut worked_ns, mut looks) = (0, 0);
        while worked_ns < due_us * 1000 {
            let steps = stride.steps(Duration::from_micros(due_us - worked_ns / 1000));
            let before_us = worked_ns / 1000;
            worked_ns += steps * step_ns;
            stride.note(steps, Duration::from_micros(worked_ns / 1000 - before_us));
            looks += 1;
        }
        (looks, worked_ns / 1000)
    }

    #[test]
    fn the_clock_is_looked_at_every_two_milliseconds_and_in_the_end() {
        for step_ns in [32_000, 90_000, 600_000] {
            let mut stride = Stride::default();
            work(&mut stride, step_ns, 10_000);
            let (looks, worked_us) = work(&mut stride, step_ns, 10_000);
            assert!((5..=17).contains(&looks), "steps of {step_ns} ns: {looks} looks in 10 ms");
            // It may be a step too long.
            assert!((10_000..=10_001 + step_ns / 1000).contains(&worked_us), "steps of {step_ns} ns: {worked_us} µs");
        }
    }

    #[test]
    fn a_step_during_which_the_core_was_held_is_forgotten() {
        let mut stride = Stride::default();
        work(&mut stride, 13_000, 10_000);
        let usual = stride.steps(Duration::MAX);
        stride.note(usual, Duration::from_millis(100));
        assert_eq!(stride.steps(Duration::MAX), 1);
        for _ in 0..5 {
            work(&mut stride, 13_000, 1_000);
        }
        assert!(stride.steps(Duration::MAX) >= usual / 2);
    }
}
