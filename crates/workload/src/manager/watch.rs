//! Sees that workloads get on: tells of those that do not, and starts them anew.

use core::fmt;

use embassy_time::{Duration, Instant};
use heapless::{String, Vec};
use telemetry::WorkloadState;
use telemetry::sample::WORKLOAD_SLOTS;
use telemetry::workload_status::{ID_LEN_MAX, REASON_LEN_MAX};

use super::table::core_of;
use super::{Manager, Order};
use crate::context::shortened;

/// A workload that has shown no progress for this long is stalled. The longest that a healthy one is silent is the time-out
/// of a ping, 4 s.
pub const STALL: Duration = Duration::from_secs(6);
/// A stalled workload is started anew at once; the next time, if that is soon, after a second, then two, four …
const BACKOFF_MAX: Duration = Duration::from_secs(60);
/// A workload that has been well for so long is taken to be well.
const PROBATION: Duration = Duration::from_secs(120);

/// Something that the node's log should have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Which workload.
    pub id: String<ID_LEN_MAX>,
    /// Where.
    pub core: u8,
    /// What.
    pub what: What,
}

/// What has happened to a workload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// It did all it was told to do.
    Finished,
    /// It gave up.
    Failed(String<REASON_LEN_MAX>),
    /// It makes no progress; it will be started anew after the delay.
    Stalled {
        /// The delay.
        restart_in: Duration,
    },
    /// It was started anew, so many times by now.
    Restarted(u32),
    /// Its core takes no orders: something on it does not let go.
    Stuck,
}

impl Event {
    /// Returns whether it is as it should be.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.what == What::Finished
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, core, what } = self;
        write!(f, "workload {id} on core {core} ")?;
        match what {
            What::Finished => f.write_str("has finished"),
            What::Failed(reason) => write!(f, "has failed: {reason}"),
            What::Stalled { restart_in } => {
                write!(f, "makes no progress; it is started anew in {} s", restart_in.as_secs())
            }
            What::Restarted(times) => write!(f, "was started anew for want of progress ({times})"),
            What::Stuck => f.write_str("can't be stopped: something on that core never lets go"),
        }
    }
}

impl Manager {
    /// Looks at every workload, starts anew what is stalled, and returns what there is to tell. To be called once a second.
    pub fn check(&self) -> Vec<Event, WORKLOAD_SLOTS> {
        let now = Instant::now();
        let mut events = Vec::new();
        self.with_table(|table| {
            for (index, slot) in self.slots.iter().enumerate() {
                let number = table.next_number();
                let Some(run) = table.get_mut(index) else { continue };
                let mut silence = run.observe(slot.figures.progress(), now);
                if slot.pause.is_on() {
                    // On purpose. What was silent until then has another chance afterwards.
                    run.progress_at = now;
                    silence = Duration::MIN;
                }
                let what = match run.state {
                    WorkloadState::Finished if !run.is_told => What::Finished,
                    WorkloadState::Failed if !run.is_told => What::Failed(run.reason.clone()),
                    // Its core has taken orders before, but not this one.
                    _ if run.is_ordered() && slot.is_attached() => {
                        if run.is_told || silence <= STALL {
                            continue;
                        }
                        What::Stuck
                    }
                    WorkloadState::Running if silence > STALL => {
                        let well = now.checked_duration_since(run.started_at).unwrap_or(Duration::MIN);
                        run.strikes = if well > PROBATION { 0 } else { run.strikes };
                        let restart_in = backoff(run.strikes);
                        run.state = WorkloadState::Stalled;
                        run.reason = shortened(format_args!("no progress for {} s", silence.as_secs()));
                        run.restart_at = Some(now + restart_in);
                        What::Stalled { restart_in }
                    }
                    WorkloadState::Stalled if silence <= STALL => {
                        run.state = WorkloadState::Running;
                        run.reason.clear();
                        run.restart_at = None;
                        continue;
                    }
                    WorkloadState::Stalled if run.restart_at.is_some_and(|at| at <= now) => {
                        run.begin(WorkloadState::Starting);
                        run.number = number;
                        run.restarts = run.restarts.saturating_add(1);
                        run.strikes = run.strikes.saturating_add(1);
                        slot.order.signal(Order::Start(number));
                        What::Restarted(run.restarts)
                    }
                    _ => continue,
                };
                run.is_told = !matches!(what, What::Restarted(_));
                // There is room for one of each slot.
                let _ = events.push(Event { id: run.id.clone(), core: core_of(index), what });
            }
        });
        events
    }
}

fn backoff(strikes: u32) -> Duration {
    match strikes {
        0 => Duration::MIN,
        _ => Duration::from_secs(1 << (strikes - 1).min(6)).min(BACKOFF_MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn restarts_come_ever_later_but_do_come() {
        let seconds: std::vec::Vec<_> = (0..10).map(|strikes| backoff(strikes).as_secs()).collect();
        assert_eq!(seconds, [0, 1, 2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!(backoff(u32::MAX), BACKOFF_MAX);
    }
}
