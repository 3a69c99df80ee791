//! Whose turn it is in a conversation: what the seats' watchman is told while a client lets the store wait.
//!
//! Time is given for a request, not for a byte: a client that sends one now and then is as good as silent.

use embassy_time::{Duration, Instant};

use crate::seat::{Pace, Wait};

/// What the client has done last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Last {
    /// It has connected.
    Come,
    /// It has begun a request.
    Begun,
    /// It has taken the replies to all that it has asked for.
    Served,
}

/// The client's turn.
#[derive(Clone, Copy, Debug)]
pub(super) struct Turn {
    last: Last,
    pace: Pace,
}

impl Turn {
    /// A client has come.
    pub(super) fn new(now: Instant) -> Self {
        Self { last: Last::Come, pace: Pace::new(now) }
    }

    /// The client has sent `len` bytes that ask for nothing yet; `is_begun` says whether a request has begun and not ended.
    pub(super) fn heard(&mut self, len: usize, is_begun: bool, now: Instant) {
        match self.last {
            Last::Begun => self.pace.add(len, now),
            // Empty lines are no request.
            Last::Served if !is_begun => {}
            Last::Come | Last::Served => *self = Self { last: Last::Begun, pace: Pace::new(now) },
        }
    }

    /// The client has taken replies; `is_begun` says whether another request has begun.
    pub(super) fn answered(&mut self, is_begun: bool, now: Instant) {
        *self = Self { last: if is_begun { Last::Begun } else { Last::Served }, pace: Pace::new(now) };
    }

    /// Returns what is waited for now, and until when. Who has not begun a request may be silent for so long as `idle` says.
    pub(super) fn wait(&self, idle: Option<Duration>) -> (Instant, Wait) {
        let since = self.pace.since;
        let deadline = match self.last {
            Last::Begun => self.pace.deadline,
            Last::Come | Last::Served => idle.map_or(Instant::MAX, |idle| since + idle),
        };
        (deadline, if self.last == Last::Served { Wait::Idle(since) } else { Wait::Stalled(since) })
    }

    /// Returns whether a request has begun.
    pub(super) fn is_begun(&self) -> bool {
        self.last == Last::Begun
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDLE: Duration = Duration::from_secs(300);

    fn at(ms: u64) -> Instant {
        Instant::from_millis(1_000_000 + ms)
    }

    #[test]
    fn a_byte_a_second_is_no_reason_to_wait_for_longer() {
        let mut turn = Turn::new(at(0));
        assert_eq!(turn.wait(Some(IDLE)), (at(300_000), Wait::Stalled(at(0))));
        for second in 1..=60 {
            turn.heard(1, true, at(1000 * second));
        }
        let (deadline, wait) = turn.wait(Some(IDLE));
        assert!(deadline < at(11_010), "ten seconds since the first byte, at {deadline}");
        assert!(matches!(wait, Wait::Stalled(since) if since < at(1001)), "{wait:?}");
    }

    #[test]
    fn who_sends_a_long_request_as_fast_as_it_can_keeps_its_seat() {
        let mut turn = Turn::new(at(0));
        for ms in 1..=60_000 {
            turn.heard(1460, true, at(ms));
        }
        let (deadline, wait) = turn.wait(Some(IDLE));
        assert!(deadline > at(60_000));
        assert_eq!(wait, Wait::Stalled(at(60_000)));
    }

    #[test]
    fn who_was_served_may_idle_and_empty_lines_change_nothing() {
        let mut turn = Turn::new(at(0));
        turn.answered(false, at(5000));
        assert_eq!(turn.wait(Some(IDLE)), (at(305_000), Wait::Idle(at(5000))));
        assert_eq!(turn.wait(None).0, Instant::MAX);
        turn.heard(2, false, at(6000));
        assert_eq!(turn.wait(Some(IDLE)), (at(305_000), Wait::Idle(at(5000))));
        // The time of a request begins with its first byte, also after a long rest.
        turn.heard(1, true, at(200_000));
        assert_eq!(turn.wait(Some(IDLE)), (at(210_000), Wait::Stalled(at(200_000))));
        turn.answered(true, at(201_000));
        assert!(turn.is_begun());
        assert_eq!(turn.wait(Some(IDLE)), (at(211_000), Wait::Stalled(at(201_000))));
    }
}
