//! A fault, as it is shown.

use core::fmt;

use heapless::String;

use crate::spec::TEXT_MAX;

/// A fault, as it is shown. Times are in µs of the clock that the plane is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// Its number: no other fault has it until the node restarts.
    pub id: u32,
    /// Its kind.
    pub kind: &'static str,
    /// As it was given.
    pub text: String<TEXT_MAX>,
    /// Where it is in its life.
    pub state: State,
    /// When it begins, or has begun.
    pub begins_us: u64,
    /// When it ends.
    pub ends_us: u64,
    /// Whether it is about frames.
    pub is_of_frames: bool,
    /// Frames that it was about.
    pub matched: u64,
    /// Frames to which it has done something.
    pub hits: u64,
}

/// Where a fault is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It will begin.
    Waiting,
    /// It is.
    Active,
    /// It is over.
    Ended,
}

impl State {
    /// Returns its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Active => "active",
            Self::Ended => "ended",
        }
    }
}

impl View {
    /// Returns how long it still lasts, in µs.
    #[must_use]
    pub fn left_us(&self, now_us: u64) -> u64 {
        self.ends_us.saturating_sub(now_us.max(self.begins_us))
    }

    /// Displays where it is and how long that still lasts, in whole seconds.
    #[must_use]
    pub fn when(&self, now_us: u64) -> impl fmt::Display + use<> {
        let (state, left) = (self.state, self.left_us(now_us).div_ceil(1_000_000));
        let until = self.begins_us.saturating_sub(now_us).div_ceil(1_000_000);
        fmt::from_fn(move |f| match state {
            State::Waiting => write!(f, "in {until} s for {left} s"),
            State::Active => write!(f, "{left} s left"),
            State::Ended => f.write_str("over"),
        })
    }
}
