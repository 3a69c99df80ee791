//! A circuit breaker: stops asking a peer that mostly fails, so that it can recover, and asks again a little at a time.
//!
//! Closed, it lets every try pass and counts what became of those of the last while. When too large a share has failed it opens:
//! nothing is sent any more, requests fail at once. After a time it is half-open: a few tries may pass; when all of them are
//! well it closes, when one is not it opens again (Nygard, "Release It!", chapter "Stability Patterns"; the parameters are
//! those that Polly's and resilience4j's breakers have).

use embassy_time::{Duration, Instant};

use crate::Parameter;
use crate::parameter::{Kind, Unit, Values};

pub(super) static BREAKER: Parameter = Parameter {
    name: "breaker",
    help: "share of failed tries that opens the circuit breaker, not for udp; 0% is none",
    kind: Kind::Integer { min: 0, max: 1_000_000, default: 0, unit: Unit::Share },
};

pub(super) static WINDOW: Parameter = Parameter {
    name: "breaker-window",
    help: "of the tries of how long",
    kind: Kind::Integer { min: 10_000, max: 600_000_000, default: 1_000_000, unit: Unit::Time },
};

pub(super) static MIN: Parameter = Parameter {
    name: "breaker-min",
    help: "if there were so many",
    kind: Kind::Integer { min: 1, max: 1_000_000, default: 20, unit: Unit::Count },
};

pub(super) static OPEN: Parameter = Parameter {
    name: "breaker-open",
    help: "how long it stays open, nothing is sent and requests fail at once; then it is half-open",
    kind: Kind::Integer { min: 1_000, max: 600_000_000, default: 1_000_000, unit: Unit::Time },
};

pub(super) static PROBES: Parameter = Parameter {
    name: "breaker-probes",
    help: "tries that are sent while it is half-open: if all are well it closes, else it opens",
    kind: Kind::Integer { min: 1, max: 1_000, default: 5, unit: Unit::Count },
};

/// Parts of the window: it moves on by one of them at a time.
const PARTS: usize = 10;

/// When it opens and closes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Share of failures in millionths.
    pub(super) share_ppm: u64,
    pub(super) window: Duration,
    pub(super) min: u64,
    pub(super) open: Duration,
    pub(super) probes: u64,
}

impl Limits {
    /// Reads the parameters; `None` when there is to be no breaker.
    pub(super) fn read(values: &Values) -> Option<Self> {
        let time = |parameter| Duration::from_micros(values.number(parameter));
        let share_ppm = values.number(&BREAKER);
        (share_ppm > 0).then(|| Self {
            share_ppm,
            window: time(&WINDOW),
            min: values.number(&MIN),
            open: time(&OPEN),
            probes: values.number(&PROBES),
        })
    }
}

/// Its state, with the number that telemetry shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Closed = 0,
    HalfOpen = 1,
    Open = 2,
}

/// Leave to send a try, which has to be told what became of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Ticket {
    /// What is told of tries that began before the last change of state is of no interest any more.
    edition: u32,
}

/// What became of the tries of a part of the window.
#[derive(Clone, Copy, Debug, Default)]
struct Part {
    number: u64,
    tries: u64,
    failures: u64,
}

/// The breaker.
pub(super) struct Breaker {
    limits: Limits,
    state: State,
    /// When it was opened, if it is.
    opened: Instant,
    edition: u32,
    parts: [Part; PARTS],
    /// While half-open: tries that have passed, and that were well.
    passed: u64,
    well: u64,
}

impl Breaker {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            state: State::Closed,
            opened: Instant::MIN,
            edition: 0,
            parts: [Part::default(); PARTS],
            passed: 0,
            well: 0,
        }
    }

    /// Returns its state at this time.
    pub(super) fn state(&mut self, now: Instant) -> State {
        if self.state == State::Open && self.opened + self.limits.open <= now {
            (self.passed, self.well) = (0, 0);
            self.change(State::HalfOpen);
        }
        self.state
    }

    /// Asks for leave to send a try; `None` when it is not to be sent.
    pub(super) fn admit(&mut self, now: Instant) -> Option<Ticket> {
        let may_pass = match self.state(now) {
            State::Closed => true,
            State::HalfOpen => self.passed < self.limits.probes,
            State::Open => false,
        };
        self.passed += u64::from(may_pass);
        may_pass.then_some(Ticket { edition: self.edition })
    }

    /// Notes what became of a try; returns whether that has opened the breaker.
    pub(super) fn note(&mut self, ticket: Ticket, is_well: bool, now: Instant) -> bool {
        if ticket.edition != self.edition {
            return false;
        }
        let is_bad = match self.state(now) {
            State::Closed => self.count(is_well, now),
            State::HalfOpen => {
                self.well += u64::from(is_well);
                !is_well
            }
            State::Open => false,
        };
        if is_bad {
            self.opened = now;
            self.change(State::Open);
        } else if self.state == State::HalfOpen && self.well >= self.limits.probes {
            self.parts = [Part::default(); PARTS];
            self.change(State::Closed);
        }
        is_bad
    }

    fn change(&mut self, state: State) {
        self.state = state;
        // Only has to differ from those of tries that are under way.
        self.edition = self.edition.wrapping_add(1);
    }

    /// Counts a try in the window; returns whether too many have failed.
    fn count(&mut self, is_well: bool, now: Instant) -> bool {
        let part_us = (self.limits.window.as_micros() / PARTS as u64).max(1);
        let number = now.as_micros() / part_us;
        if let Some(part) = self.parts.get_mut((number % PARTS as u64) as usize) {
            if part.number != number {
                *part = Part { number, ..Part::default() };
            }
            part.tries += 1;
            part.failures += u64::from(!is_well);
        }
        let recent = self.parts.iter().filter(|part| part.number + PARTS as u64 > number);
        let (tries, failures) = recent.fold((0, 0), |(tries, failures), part| (tries + part.tries, failures + part.failures));
        tries >= self.limits.min && failures * 1_000_000 >= tries * self.limits.share_ppm
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        share_ppm: 500_000,
        window: Duration::from_millis(1000),
        min: 10,
        open: Duration::from_millis(500),
        probes: 3,
    };

    fn ms(ms: u64) -> Instant {
        Instant::from_millis(ms)
    }

    /// Sends a try that has become known at once; returns whether it was let pass.
    fn send(breaker: &mut Breaker, at: u64, is_well: bool) -> bool {
        let ticket = breaker.admit(ms(at));
        ticket.is_some_and(|ticket| {
            breaker.note(ticket, is_well, ms(at));
            true
        })
    }

    fn opened(at: u64) -> Breaker {
        let mut breaker = Breaker::new(LIMITS);
        (0..10).for_each(|_| assert!(send(&mut breaker, at, false)));
        assert_eq!(breaker.state(ms(at)), State::Open);
        breaker
    }

    #[test]
    fn it_opens_at_its_share_of_enough_tries_and_not_before() {
        let mut breaker = Breaker::new(LIMITS);
        (0..9).for_each(|_| assert!(send(&mut breaker, 0, false)));
        assert_eq!(breaker.state(ms(0)), State::Closed, "nine are too few to tell");
        assert!(send(&mut breaker, 0, true));
        assert_eq!(breaker.state(ms(0)), State::Open, "nine of ten");
        let mut breaker = Breaker::new(LIMITS);
        for n in 0..100 {
            assert!(send(&mut breaker, n * 10, n % 5 < 3));
        }
        assert_eq!(breaker.state(ms(1000)), State::Closed, "40 % is less than half");
    }

    #[test]
    fn failures_are_forgotten_after_the_window() {
        let mut breaker = Breaker::new(LIMITS);
        (0..9).for_each(|_| assert!(send(&mut breaker, 50, false)));
        // The part of the window from 0 to 100 ms is out of it at 1000 ms.
        assert!(send(&mut breaker, 1000, false));
        assert_eq!(breaker.state(ms(1000)), State::Closed);
        (0..9).for_each(|_| assert!(send(&mut breaker, 1001, false)));
        assert_eq!(breaker.state(ms(1001)), State::Open);
    }

    #[test]
    fn open_it_lets_nothing_pass_then_a_few_and_closes_when_all_are_well() {
        let mut breaker = opened(0);
        assert!(!send(&mut breaker, 0, true) && !send(&mut breaker, 499, true));
        let tickets: Vec<_> = (0..5).filter_map(|_| breaker.admit(ms(500))).collect();
        assert_eq!((tickets.len(), breaker.state(ms(500))), (3, State::HalfOpen));
        for ticket in tickets {
            assert_eq!(breaker.state(ms(510)), State::HalfOpen);
            assert!(!breaker.note(ticket, true, ms(510)));
        }
        assert_eq!(breaker.state(ms(510)), State::Closed);
        (0..9).for_each(|_| assert!(send(&mut breaker, 511, false)));
        assert_eq!(breaker.state(ms(511)), State::Closed, "what was before it opened is forgotten");
    }

    #[test]
    fn a_failed_probe_opens_it_again_and_old_tries_change_nothing() {
        let mut breaker = Breaker::new(LIMITS);
        let old = breaker.admit(ms(0)).unwrap();
        (0..10).for_each(|_| assert!(send(&mut breaker, 0, false)));
        assert!(!breaker.note(old, false, ms(100)), "it is open already");
        let (first, second) = (breaker.admit(ms(500)).unwrap(), breaker.admit(ms(500)).unwrap());
        assert!(!breaker.note(old, false, ms(510)) && breaker.state(ms(510)) == State::HalfOpen);
        assert!(breaker.note(second, false, ms(520)));
        assert!(!breaker.note(first, true, ms(521)));
        assert_eq!((breaker.state(ms(1019)), breaker.state(ms(1020))), (State::Open, State::HalfOpen));
    }
}
