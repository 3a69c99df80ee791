//! A fault that was added: what was asked for, when it is, and what it has done.

use crate::Direction;
use crate::effect::{Effect, NodeFault};
use crate::spec::Spec;
use crate::view::{State, View};

/// A fault that was added.
pub(crate) struct Rule {
    pub(crate) id: u32,
    /// Stands for it among those that hold a frame.
    pub(crate) bit: u32,
    pub(crate) spec: Spec,
    pub(crate) begins_us: u64,
    pub(crate) ends_us: u64,
    pub(crate) lines: [Line; 2],
    pub(crate) hits: u64,
    /// Whether its beginning was told.
    pub(crate) is_told: bool,
    pub(crate) is_cleared: bool,
    /// Whether what it held was let go.
    pub(crate) is_let_go: bool,
}

/// What a fault has seen in one direction.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Line {
    /// Frames that it matched.
    pub(crate) matched: u64,
    /// Frames that it holds.
    pub(crate) held: u16,
    /// When the last of them goes on.
    pub(crate) last_us: u64,
}

impl Rule {
    pub(crate) fn new(id: u32, bit: u32, spec: Spec, now_us: u64) -> Self {
        let begins_us = now_us.saturating_add(spec.after_us);
        Self {
            id,
            bit,
            begins_us,
            ends_us: begins_us.saturating_add(spec.for_us),
            spec,
            lines: [Line::default(); 2],
            hits: 0,
            is_told: false,
            is_cleared: false,
            is_let_go: false,
        }
    }

    pub(crate) fn is_active(&self, now_us: u64) -> bool {
        (self.begins_us..self.ends_us).contains(&now_us)
    }

    pub(crate) fn has_ended(&self, now_us: u64) -> bool {
        self.ends_us <= now_us
    }

    pub(crate) fn is_of_frames(&self) -> bool {
        matches!(self.spec.effect, Effect::Frames(_))
    }

    pub(crate) fn node_fault(&self) -> Option<&NodeFault> {
        match &self.spec.effect {
            Effect::Frames(_) => None,
            Effect::Node(fault) => Some(fault),
        }
    }

    pub(crate) fn line(&mut self, direction: Direction) -> &mut Line {
        let [inward, outward] = &mut self.lines;
        if direction == Direction::In { inward } else { outward }
    }

    pub(crate) fn view(&self, now_us: u64) -> View {
        View {
            id: self.id,
            kind: self.spec.kind.name,
            text: self.spec.text.clone(),
            state: if self.is_active(now_us) {
                State::Active
            } else if self.has_ended(now_us) {
                State::Ended
            } else {
                State::Waiting
            },
            begins_us: self.begins_us,
            ends_us: self.ends_us,
            is_of_frames: self.is_of_frames(),
            matched: self.lines.iter().map(|line| line.matched).sum(),
            hits: self.hits,
        }
    }
}
