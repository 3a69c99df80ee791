//! The fault plane of a node: its faults, and what becomes of each frame.

use alloc::vec::Vec;

use chance::Random;

use crate::Direction;
use crate::control::{Control, Port};
use crate::effect::{Effect, Holds, NodeFault, Passing};
use crate::held::Held;
use crate::packet::Packet;
use crate::rule::Rule;
use crate::spec::Spec;
use crate::view::View;

/// Most faults at once.
pub const RULES_MAX: usize = 32;

/// The faults of a node.
#[derive(Default)]
pub struct Plane {
    /// In the order in which they were added, which is the order in which a frame passes them.
    rules: Vec<Rule>,
    last_id: u32,
    control: Control,
    held: Held,
    totals: Totals,
}

/// What faults have done to frames since boot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Frames lost on purpose.
    pub dropped: u64,
    /// Frames that went on later.
    pub delayed: u64,
    /// Frames that went on twice.
    pub duplicated: u64,
    /// Frames with bits turned over.
    pub corrupted: u64,
    /// Frames lost because too many others were held: not what was asked for.
    pub overflowed: u64,
}

/// What becomes of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It goes on as it is.
    Pass,
    /// It does not go on now: it is lost, or a copy of it comes from [`Plane::take_due`].
    Gone,
}

/// Why a fault can't be added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddError {
    /// There are too many.
    #[error("there are {RULES_MAX} faults, and no room for more: 'fault clear' ends them")]
    Full,
    /// There is no memory for the frames that it would hold.
    #[error("there is no memory for the frames that it would hold")]
    NoMemory,
}

/// That a fault begins or ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The fault.
    pub view: View,
    /// Which of the two.
    pub moment: Moment,
    /// What is to be done or undone, if it is about the node.
    pub fault: Option<NodeFault>,
}

/// A beginning or an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// It begins.
    Began,
    /// It is over, because its time is.
    Healed,
    /// It is over, because somebody has ended it.
    Cleared,
}

impl Plane {
    /// Makes a plane without faults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Has a port count as control channel, beside those of [`crate::control::ALWAYS`]. Returns whether there was room.
    pub fn exempt(&mut self, port: Port) -> bool {
        self.control.add(port)
    }

    /// Adds a fault and returns its number.
    ///
    /// # Errors
    ///
    /// When there is no room.
    pub fn add(&mut self, spec: Spec, now_us: u64) -> Result<u32, AddError> {
        let bit = (0..RULES_MAX).map(|place| 1 << place).find(|bit| self.rules.iter().all(|rule| rule.bit != *bit));
        let bit = bit.ok_or(AddError::Full)?;
        let holds = match &spec.effect {
            Effect::Frames(effect) => effect.holds(),
            Effect::Node(_) => Holds::None,
        };
        if !self.held.reserve(holds) || self.rules.try_reserve(1).is_err() {
            self.tidy();
            return Err(AddError::NoMemory);
        }
        self.last_id += 1;
        self.rules.push(Rule::new(self.last_id, bit, spec, now_us));
        Ok(self.last_id)
    }

    /// Ends a fault, or all; returns how many.
    pub fn clear(&mut self, id: Option<u32>, now_us: u64) -> usize {
        let mut cleared = 0;
        for rule in &mut self.rules {
            if id.is_none_or(|id| id == rule.id) && !rule.has_ended(now_us) {
                rule.ends_us = now_us;
                rule.is_cleared = true;
                cleared += 1;
            }
        }
        self.tick(now_us);
        cleared
    }

    /// Lets what is over be over. To be called at [`next_change_us`](Self::next_change_us), and before frames are decided about.
    pub fn tick(&mut self, now_us: u64) {
        let Self { rules, held, .. } = self;
        for rule in rules.iter_mut().filter(|rule| rule.has_ended(now_us) && !rule.is_let_go) {
            rule.is_let_go = true;
            held.let_go(rule.bit, now_us);
        }
    }

    /// Returns the next beginning or end that was not told yet, and forgets a fault whose end was told: nobody who asks until
    /// there is none misses one.
    pub fn next_event(&mut self, now_us: u64) -> Option<Event> {
        self.tick(now_us);
        let event =
            |rule: &Rule, moment| Some(Event { view: rule.view(now_us), moment, fault: rule.node_fault().cloned() });
        let mut place = 0;
        while let Some(rule) = self.rules.get_mut(place) {
            if !rule.is_told && rule.begins_us <= now_us && rule.begins_us < rule.ends_us {
                rule.is_told = true;
                return event(rule, Moment::Began);
            }
            if rule.has_ended(now_us) {
                let rule = self.rules.remove(place);
                self.tidy();
                if rule.is_told {
                    return event(&rule, if rule.is_cleared { Moment::Cleared } else { Moment::Healed });
                }
                // One that never began is forgotten without a word.
                continue;
            }
            place += 1;
        }
        None
    }

    /// Gives memory back that no fault needs.
    fn tidy(&mut self) {
        let needs = |rule: &Rule| match &rule.spec.effect {
            Effect::Frames(effect) => effect.holds() != Holds::None,
            Effect::Node(_) => false,
        };
        if self.held.has_memory() && self.held.is_empty() && !self.rules.iter().any(needs) {
            self.held.release();
        }
    }

    /// Returns when the next fault begins or ends.
    #[must_use]
    pub fn next_change_us(&self, now_us: u64) -> Option<u64> {
        let times = self.rules.iter().flat_map(|rule| [rule.begins_us, rule.ends_us]);
        times.filter(|time| *time > now_us).min()
    }

    /// Returns whether frames must be shown to the plane.
    #[must_use]
    pub fn is_busy(&self, now_us: u64) -> bool {
        !self.held.is_empty() || self.rules.iter().any(|rule| rule.is_of_frames() && rule.is_active(now_us))
    }

    /// Returns whether the stack is to see the link down.
    #[must_use]
    pub fn is_off(&self, now_us: u64) -> bool {
        self.rules.iter().any(|rule| rule.node_fault() == Some(&NodeFault::NicOff) && rule.is_active(now_us))
    }

    /// Returns what faults have done.
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// Shows every fault that is not forgotten.
    pub fn views(&self, now_us: u64) -> impl Iterator<Item = View> {
        self.rules.iter().map(move |rule| rule.view(now_us))
    }

    /// Decides about a frame, from the destination address to the end of the payload, without FCS.
    pub fn decide(&mut self, direction: Direction, bytes: &[u8], now_us: u64) -> Fate {
        let packet = Packet::read(bytes);
        let is_control = self.control.has(&packet, bytes, direction);
        let mut frame = Passing {
            bytes,
            packet: &packet,
            direction,
            at_us: now_us,
            is_lost: false,
            is_doubled: false,
            damage: None,
            is_hit: false,
        };
        let (mut holders, mut must_wait) = (0, false);
        for rule in self.rules.iter_mut().filter(|rule| rule.is_active(now_us)) {
            if !rule.spec.matcher.matches(&packet, direction, is_control) {
                continue;
            }
            let stream = rule.spec.stream;
            let line = *rule.line(direction);
            let Effect::Frames(effect) = &mut rule.spec.effect else { continue };
            let before_us = frame.at_us;
            frame.is_hit = false;
            effect.alter(&mut frame, &mut random(stream, direction, line.matched));
            let keeps_order = effect.keeps_order();
            rule.hits += u64::from(frame.is_hit);
            rule.line(direction).matched += 1;
            if frame.is_lost {
                self.totals.dropped += 1;
                return Fate::Gone;
            }
            if keeps_order {
                if line.held > 0 {
                    must_wait = true;
                    frame.at_us = frame.at_us.max(line.last_us);
                }
                rule.line(direction).last_us = frame.at_us;
            }
            if keeps_order || frame.at_us > before_us {
                holders |= rule.bit;
            }
        }
        let (at_us, damage, copies) = (frame.at_us, frame.damage, 1 + usize::from(frame.is_doubled));
        self.totals.delayed += u64::from(at_us > now_us);
        self.totals.corrupted += u64::from(damage.is_some());
        self.totals.duplicated += u64::from(copies > 1);
        let is_kept = must_wait || at_us > now_us || damage.is_some();
        for _ in usize::from(!is_kept)..copies {
            let change = |copy: &mut [u8]| {
                if let Some(damage) = &damage {
                    damage.apply(copy);
                }
            };
            if self.held.put(direction, at_us, holders, bytes, change) {
                self.count_held(holders, direction, |held| held.saturating_add(1));
            } else {
                self.totals.overflowed += 1;
            }
        }
        if is_kept { Fate::Gone } else { Fate::Pass }
    }

    /// Returns when the next frame in this direction goes on.
    #[must_use]
    pub fn next_due_us(&self, direction: Direction) -> Option<u64> {
        self.held.next_us(direction)
    }

    /// Takes the next frame that goes on now. Its memory should come back, to [`give_back`](Self::give_back).
    pub fn take_due(&mut self, direction: Direction, now_us: u64) -> Option<Vec<u8>> {
        let (frame, holders) = self.held.take(direction, now_us)?;
        self.count_held(holders, direction, |held| held.saturating_sub(1));
        Some(frame)
    }

    /// Takes the memory of a frame back.
    pub fn give_back(&mut self, frame: Vec<u8>) {
        self.held.give_back(frame);
        self.tidy();
    }

    /// Loses all frames that are held, as a cable does that is pulled.
    pub fn lose_held(&mut self) {
        self.totals.dropped += self.held.lose_all() as u64;
        self.rules.iter_mut().flat_map(|rule| &mut rule.lines).for_each(|line| line.held = 0);
        self.tidy();
    }

    fn count_held(&mut self, holders: u32, direction: Direction, change: impl Fn(u16) -> u16) {
        for rule in self.rules.iter_mut().filter(|rule| rule.bit & holders != 0) {
            let line = rule.line(direction);
            line.held = change(line.held);
        }
    }
}

/// Makes the generator for one decision: it depends on these and nothing else.
fn random(stream: u64, direction: Direction, number: u64) -> Random {
    // The finalizer of MurmurHash3 (Appleby), so that neighbours have nothing in common.
    let mut x = stream ^ (number << 1 | direction as u64).wrapping_mul(0xD6E8_FEB8_6659_FD93);
    x = (x ^ x >> 33).wrapping_mul(0xFF51_AFD7_ED55_8CCD);
    x = (x ^ x >> 33).wrapping_mul(0xC4CE_B9FE_1A85_EC53);
    Random::new(x ^ x >> 33)
}

#[cfg(test)]
mod tests;
