//! How exact the timers of the nodes' QEMUs are. QEMU's USB controller wakes the main thread a thousand times a second and more
//! for as long as a NIC is plugged in (see [`Node::set_timer_slack`]). That is most of what a virtual node costs: 15 nodes that log
//! somebody in at the same time take 1 to 2 s of two cores when their timers may be 4 ms late, and 23 s when they are exact.
//!
//! [`Node::set_timer_slack`]: qemu::Node::set_timer_slack

use std::time::Duration;

/// How late timers may be that need not be exact.
const SLACK: Duration = Duration::from_millis(4);
/// A node has something to do when in so many looks in a row
const BUSY_LOOKS: u32 = 4;
/// there were more frames than this at its port, in both directions: an idle rack says something now and then,
const IDLE_FRAMES: u64 = 4;
/// or it used more than this time of a core: QEMU takes 10 ms for nothing on a quiet machine, and three times that on a busy one.
const IDLE_CPU: Duration = Duration::from_millis(50);
/// It has nothing to do any more after so many looks without.
const IDLE_LOOKS: u32 = 8;
/// Nodes with exact timers, for each core of this machine. With more of them all wait for each other, and none is exact.
const EXACT_PER_CORE: usize = 2;

/// What a node has done lately.
#[derive(Debug, Default)]
pub(super) struct Activity {
    frames: u64,
    used: Duration,
    /// Looks in a row that have seen something, and that have not.
    looks: (u32, u32),
    is_busy: bool,
    /// What its timers were set to.
    slack: Option<Duration>,
}

impl Activity {
    /// Takes a look: how many frames there have been at its port, and how much of a core it has used, since it was started.
    pub(super) fn look(&mut self, frames: u64, used: Duration) {
        let is_quiet = frames.saturating_sub(self.frames) <= IDLE_FRAMES && used.saturating_sub(self.used) <= IDLE_CPU;
        (self.frames, self.used) = (frames, used);
        let (busy, quiet) = self.looks;
        self.looks = if is_quiet { (0, quiet.saturating_add(1)) } else { (busy.saturating_add(1), 0) };
        self.is_busy = if self.is_busy { self.looks.1 < IDLE_LOOKS } else { self.looks.0 >= BUSY_LOOKS };
    }

    /// Returns whether it has something to do.
    pub(super) fn is_busy(&self) -> bool {
        self.is_busy
    }

    /// Returns how late its timers may be, if they are to be set anew; `busy` is how many nodes have something to do on this
    /// machine, which has so many `cores`.
    pub(super) fn set(&mut self, busy: usize, cores: usize) -> Option<Duration> {
        let is_exact = self.is_busy && busy <= EXACT_PER_CORE * cores;
        let slack = if is_exact { Duration::ZERO } else { SLACK };
        (self.slack.replace(slack) != Some(slack)).then_some(slack)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CPU: Duration = Duration::from_millis(30);

    /// Looks `count` times at a node that has `frames` frames between two looks.
    fn look(activity: &mut Activity, count: u32, frames: u64) {
        for _ in 0..count {
            activity.look(activity.frames + frames, activity.used + CPU);
        }
    }

    #[test]
    fn a_node_is_busy_when_it_stays_so_and_idle_when_it_stays_so() {
        let mut activity = Activity::default();
        assert_eq!(activity.set(0, 2), Some(SLACK));
        // Somebody logs in.
        look(&mut activity, BUSY_LOOKS - 1, 30);
        look(&mut activity, 1, 0);
        assert!(!activity.is_busy());
        look(&mut activity, BUSY_LOOKS, 30);
        assert_eq!((activity.is_busy(), activity.set(1, 2), activity.set(1, 2)), (true, Some(Duration::ZERO), None));
        // A pause.
        look(&mut activity, IDLE_LOOKS - 1, IDLE_FRAMES);
        look(&mut activity, 1, IDLE_FRAMES + 1);
        assert!(activity.is_busy());
        look(&mut activity, IDLE_LOOKS, IDLE_FRAMES);
        assert_eq!((activity.is_busy(), activity.set(0, 2)), (false, Some(SLACK)));
    }

    #[test]
    fn who_computes_is_busy_without_any_frame() {
        let mut activity = Activity::default();
        for _ in 0..BUSY_LOOKS {
            activity.look(0, activity.used + 2 * IDLE_CPU);
        }
        assert!(activity.is_busy());
    }

    #[test]
    fn with_too_many_busy_nodes_none_is_exact() {
        let mut activity = Activity::default();
        look(&mut activity, BUSY_LOOKS, 30);
        assert_eq!(activity.set(4, 2), Some(Duration::ZERO));
        assert_eq!(activity.set(5, 2), Some(SLACK));
        assert_eq!(activity.set(5, 4), Some(Duration::ZERO));
    }
}
