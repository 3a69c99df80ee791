//! What the cores that take part in a test tell each other, and what came of it.

use alloc::boxed::Box;
use core::cell::RefCell;

use embassy_sync::blocking_mutex::Mutex;
use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;
use embassy_time::{Duration, Instant};
use telemetry::certificate::{Certificate, Stage};
use telemetry::{CORES, sample::Sample};

use super::compute::Computed;
use super::memory::Tested;

/// A core that starts no later than this after the first one belongs to the same test.
const JOIN_WITHIN: Duration = Duration::from_secs(2);

/// The test that runs, or ran last. Any core may call it.
///
/// Boxed, so that an empty record is all zeros and takes no room in the image.
pub(crate) struct Record(Mutex<CriticalSectionRawMutex, RefCell<Option<Box<Run>>>>);

struct Run {
    number: u32,
    end: Instant,
    certificate: Certificate,
    cores: Cores,
}

/// What each core has found; `None` for a core that took no part.
pub(crate) type Cores = [Option<CoreResult>; CORES];

/// What a core has found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct CoreResult {
    pub(crate) computed: Computed,
    pub(crate) tested: Tested,
    /// Whether it came to its end.
    pub(crate) is_done: bool,
}

/// A core's part in a test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    number: u32,
    /// Whether it is the one that also looks at the board and makes the certificate.
    pub(crate) is_leader: bool,
    /// When the test ends.
    pub(crate) end: Instant,
}

impl Record {
    pub(crate) const fn new() -> Self {
        Self(Mutex::new(RefCell::new(None)))
    }

    /// Begins a test that takes `length` on `core`, or takes part in the one that another core has just begun.
    pub(crate) fn join(&self, core: u8, now: Instant, length: Duration) -> Part {
        self.0.lock(|run| {
            let run = &mut *run.borrow_mut();
            let number = run.as_ref().map_or(0, |run| run.number);
            if let Some(run) = run.as_mut().filter(|run| run.admits(core, now)) {
                run.put(core, CoreResult::default());
                return Part { number, is_leader: false, end: run.end };
            }
            let begun = run.insert(Box::new(Run {
                // It only has to differ from the last one's.
                number: number.wrapping_add(1),
                end: now + length,
                certificate: Certificate::begin(now.as_micros(), length.as_micros()),
                cores: Cores::default(),
            }));
            begun.put(core, CoreResult::default());
            Part { number: begun.number, is_leader: true, end: begun.end }
        })
    }

    /// Tells what `core` has found.
    pub(crate) fn report(&self, part: Part, core: u8, result: CoreResult) {
        self.change(part, |run| run.put(core, result));
    }

    /// Returns what the cores have found.
    pub(crate) fn cores(&self, part: Part) -> Cores {
        let mut cores = Cores::default();
        self.change(part, |run| cores.clone_from(&run.cores));
        cores
    }

    /// Changes the certificate.
    pub(crate) fn certify(&self, part: Part, change: impl FnOnce(&mut Certificate)) {
        self.change(part, |run| change(&mut run.certificate));
    }

    /// Returns the certificate of the test that runs, or ran last.
    pub(crate) fn certificate(&self) -> Option<Certificate> {
        self.0.lock(|run| run.borrow().as_ref().map(|run| run.certificate.clone()))
    }

    /// Changes the run, unless another one has taken its place.
    fn change(&self, part: Part, change: impl FnOnce(&mut Run)) {
        self.0.lock(|run| {
            if let Some(run) = run.borrow_mut().as_mut().filter(|run| run.number == part.number) {
                change(run);
            }
        });
    }
}

impl Run {
    fn admits(&self, core: u8, now: Instant) -> bool {
        let is_new = self.cores.get(usize::from(core)).is_some_and(Option::is_none);
        let age_us = now.as_micros().saturating_sub(self.certificate.started_us);
        self.certificate.stage == Stage::Running && is_new && age_us <= JOIN_WITHIN.as_micros()
    }

    fn put(&mut self, core: u8, result: CoreResult) {
        if let Some(slot) = self.cores.get_mut(usize::from(core)) {
            *slot = Some(result);
        }
    }
}

/// Notes that a test was stopped, unless it came to its end.
pub(crate) struct Leading<'a> {
    pub(crate) record: &'a Record,
    pub(crate) part: Part,
}

impl Drop for Leading<'_> {
    fn drop(&mut self) {
        self.record.certify(self.part, |certificate| {
            if certificate.stage == Stage::Running {
                certificate.stage = Stage::Stopped;
            }
        });
    }
}

/// Returns the cores that a sample shows as running, besides core 0.
pub(crate) fn running_cores(sample: &Sample) -> impl Iterator<Item = usize> {
    (1..CORES).filter(|core| sample.cores.get(*core).is_some_and(Option::is_some))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LENGTH: Duration = Duration::from_secs(10);

    fn at(ms: u64) -> Instant {
        Instant::from_millis(ms)
    }

    #[test]
    fn the_first_core_leads_and_the_others_help() {
        let record = Record::new();
        assert_eq!(record.certificate(), None);
        let leader = record.join(2, at(100), LENGTH);
        assert!(leader.is_leader && leader.end == at(10_100));
        for (core, ms) in [(1, 101), (3, 2_100)] {
            let helper = record.join(core, at(ms), LENGTH);
            assert_eq!((helper.is_leader, helper.end, helper.number), (false, leader.end, leader.number));
        }
        assert!(record.cores(leader)[1..].iter().all(Option::is_some));
        record.report(leader, 3, CoreResult { is_done: true, ..CoreResult::default() });
        assert!(record.cores(leader)[3].as_ref().unwrap().is_done);
    }

    #[test]
    fn a_core_that_is_late_or_starts_again_begins_another_test() {
        for (core, ms) in [(2, 2_101), (1, 200)] {
            let record = Record::new();
            let old = record.join(1, at(100), LENGTH);
            let new = record.join(core, at(ms), LENGTH);
            assert!(new.is_leader && new.number != old.number);
            // What belongs to the old test is ignored.
            record.report(old, 3, CoreResult::default());
            record.certify(old, |certificate| certificate.stage = Stage::Done);
            assert!(record.cores(new)[3].is_none() && record.certificate().unwrap().stage == Stage::Running);
        }
    }

    #[test]
    fn a_leader_that_is_dropped_leaves_a_note() {
        let record = Record::new();
        let part = record.join(1, at(0), LENGTH);
        drop(Leading { record: &record, part });
        assert_eq!(record.certificate().unwrap().stage, Stage::Stopped);
        assert!(record.join(2, at(1), LENGTH).is_leader, "nobody helps a test that was stopped");
        let part = record.join(3, at(5_000), LENGTH);
        record.certify(part, |certificate| certificate.stage = Stage::Done);
        drop(Leading { record: &record, part });
        assert_eq!(record.certificate().unwrap().stage, Stage::Done);
    }
}
