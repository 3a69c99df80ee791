//! Disturbances on purpose, as sinks show them.

use core::fmt;

use fault::{State, Totals, View};

/// The faults of a node, and what they have done to frames since boot.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults<'a> {
    /// Those that wait, are, or are just over.
    pub views: &'a [View],
    /// What they, and those before them, have done.
    pub totals: Totals,
}

impl<'a> Faults<'a> {
    /// Returns those that are now.
    pub fn active(&self) -> impl Iterator<Item = &'a View> + use<'a> {
        self.in_state(State::Active)
    }

    /// Returns those in a state.
    pub fn in_state(&self, state: State) -> impl Iterator<Item = &'a View> + use<'a> {
        self.views.iter().filter(move |view| view.state == state)
    }

    /// Displays those that are now as a line: `2 faults: drop share=5%; delay time=5ms`. Without any, nothing.
    #[must_use]
    pub fn line(&self) -> impl fmt::Display + use<'a> {
        let (count, active) = (self.active().count(), *self);
        fmt::from_fn(move |f| {
            for (i, view) in active.active().enumerate() {
                let before = if i > 0 { "; " } else { "" };
                match i {
                    0 => write!(f, "{count} fault{}: {}", if count == 1 { "" } else { "s" }, view.text)?,
                    _ => write!(f, "{before}{}", view.text)?,
                }
            }
            Ok(())
        })
    }
}
