//! What is known of a node that is followed: sees when it is gone, was started anew, is another, or is not well.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use telemetry::health::Reason;

use super::book::{Book, Entry, Kind};
use super::crew::Crew;
use super::hand::Planned;
use super::sample::PULSE;
use super::series::{Ailments, Reading};
use crate::fleet::Look;

/// A node that has been silent for so long, and may not be, is lost.
const LOST_AFTER: Duration = Duration::from_secs(8);

/// See the module.
pub(super) struct Watch<'a> {
    at: usize,
    crew: &'a Crew<'a>,
    planned: &'a Planned,
    book: &'a Book,
    last: Option<Reading>,
    heard: Instant,
    ailments: Option<Ailments>,
    /// What was told of it: once is enough.
    told: BTreeSet<String>,
}

impl<'a> Watch<'a> {
    pub(super) fn new(at: usize, crew: &'a Crew<'a>, planned: &'a Planned, book: &'a Book) -> Self {
        Self { at, crew, planned, book, last: None, heard: Instant::now(), ailments: None, told: BTreeSet::new() }
    }

    /// Takes note that the node has not answered.
    pub(super) fn hear_nothing(&mut self, now: Instant) {
        if self.planned.is_silence(now) {
            self.heard = now;
        }
        if now.duration_since(self.heard) < LOST_AFTER {
            return;
        }
        self.trouble("lost", format!("has not answered for {LOST_AFTER:?}"));
    }

    /// Takes note of what the node has told. Returns whether it may be another by now: then [`compare`](Self::compare) it.
    pub(super) fn hear(&mut self, reading: &Reading) -> bool {
        let is_reboot = self.last.as_ref().is_some_and(|last| reading.is_after_reboot(last));
        let was_silent = self.heard.elapsed() > 2 * PULSE;
        self.last = Some(reading.clone());
        self.heard = Instant::now();
        if is_reboot {
            // Its counts begin anew.
            self.ailments = Some(Ailments::default());
            if self.planned.take_restart() {
                let entry = Entry::new(Kind::Seen, Some(self.at), "is up again");
                self.book.note(entry, &self.crew.label(self.at));
            } else {
                self.trouble("rebooted", "was started anew, which was not planned".into());
            }
        }
        for (id, reason) in reading.failed() {
            self.trouble("failed", format!("workload {id} has failed: {reason}"));
        }
        is_reboot || was_silent
    }

    /// Takes note of what the node is now.
    pub(super) fn compare(&mut self, look: &Look) {
        let Some(member) = self.crew.members.get(self.at) else { return };
        if look.version != member.look.version {
            self.trouble("version", format!("now runs {}, and ran {} before", look.version, member.look.version));
        }
    }

    /// Returns whether the node has just answered.
    pub(super) fn is_heard(&self) -> bool {
        self.last.is_some() && self.heard.elapsed() < 2 * PULSE
    }

    /// Notes what the hardware makes worthless: now, or since the look before. `at` is when that was asked. A count that has become
    /// less is that of another life.
    pub(super) fn feel(&mut self, ailments: Ailments, at: Instant) {
        for ailment in &ailments.0 {
            let reason = &ailment.reason;
            let is_more = self.ailments.as_ref().is_some_and(|before| ailment.count > before.count(reason));
            // The cable was pulled on purpose.
            let is_planned = || {
                reason == "link_lost" && at.checked_sub(ailment.ago).is_some_and(|last| self.planned.is_silence(last))
            };
            if !(ailment.is_now || is_more) || is_planned() {
                continue;
            }
            // A newer image may have more of them.
            let meaning = Reason::ALL.iter().find(|known| known.name() == reason).map_or("?", |known| known.meaning());
            self.trouble(reason, format!("has {}: {meaning}", reason.replace('_', " ")));
        }
        self.ailments = Some(ailments);
    }

    /// Notes what makes the run void, if it does.
    fn trouble(&mut self, condition: &str, what: String) {
        if !self.told.insert(condition.to_owned()) {
            return;
        }
        let label = self.crew.label(self.at);
        if self.crew.experiment.void.contains(&condition) {
            self.book.void(Some(self.at), format!("{label} {what}"));
        } else {
            self.book.note(Entry::new(Kind::Seen, Some(self.at), what), &label);
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use serde_json::json;

    use super::super::crew::Member;
    use super::super::file::Experiment;
    use super::*;
    use crate::fleet::tests::{look, node};

    const FILE: &str = "name = \"x\"\n[roles.a]\nworkloads = [\"cpu load=10%\"]\n[[phases]]\nname = \"run\"\nfor = \"9s\"\n\
        [expect]\nthat = [\"errors == 0\"]\n";

    /// Watches a node called pi, and returns what makes the run void.
    fn watch(file: &str, planned: &Planned, story: impl FnOnce(&mut Watch<'_>)) -> Vec<String> {
        let experiment = Experiment::read(file).unwrap();
        let members = vec![Member { role: 0, index: 0, node: node("pi", 1), look: look() }];
        let crew = Crew { experiment: &experiment, members };
        let book = Book::default();
        story(&mut Watch::new(0, &crew, planned, &book));
        book.read().1
    }

    fn life(boots: u64) -> Reading {
        Reading::read(&json!({"boots": boots, "sample_us": 1, "workloads": []})).unwrap()
    }

    /// What a node says of its hardware: whether something is wrong now, in how many samples it was, and the last time of it, of which
    /// the newest sample is 100 s behind its start.
    fn health(reason: &str, now: bool, count: u64, last_s: u64) -> Ailments {
        let condition = json!({"reason": reason, "now": now, "sick_samples": count, "last_us": last_s * 1_000_000});
        Ailments::read(&json!({"at_us": 100_000_000, "conditions": [condition]})).unwrap()
    }

    #[test]
    fn another_image_makes_a_run_void_also_after_a_planned_restart() {
        let other = Look { version: "9.9.9".into(), ..look() };
        let planned = Planned::default();
        planned.expect("reset");
        let void = watch(FILE, &planned, |watch| {
            assert!(!watch.hear(&life(1)), "nothing has changed");
            assert!(watch.hear(&life(2)), "it may be another");
            watch.compare(&look());
            watch.compare(&other);
            watch.compare(&other);
        });
        assert_eq!(void, [format!("a (pi) now runs 9.9.9, and ran {} before", look().version)]);
        let without = FILE.replace("[expect]", "[expect]\nvoid = [\"rebooted\"]");
        assert_eq!(watch(&without, &planned, |watch| watch.compare(&other)), [""; 0]);
    }

    #[test]
    fn a_restart_that_was_not_planned_makes_a_run_void() {
        let planned = Planned::default();
        let story = |watch: &mut Watch<'_>| (1..4).for_each(|boots| _ = watch.hear(&life(boots)));
        assert_eq!(watch(FILE, &planned, story), ["a (pi) was started anew, which was not planned"]);
        planned.expect("crash core=1");
        planned.expect("reset");
        assert_eq!(watch(FILE, &planned, story), [""; 0]);
    }

    #[test]
    fn a_workload_that_fails_makes_a_run_void() {
        let reading = |state: &str, reason: &str| {
            let work =
                json!({"id": "cpu", "state": state, "reason": reason, "runs": 1, "figures": {}, "durations_us": []});
            Reading::read(&json!({"boots": 1, "sample_us": 1, "workloads": [work]})).unwrap()
        };
        let story = |watch: &mut Watch<'_>| {
            ["running", "failed", "failed"].into_iter().for_each(|state| _ = watch.hear(&reading(state, "no memory")));
        };
        assert_eq!(watch(FILE, &Planned::default(), story), ["a (pi) workload cpu has failed: no memory"]);
        let without = FILE.replace("[expect]", "[expect]\nvoid = [\"lost\"]");
        assert_eq!(watch(&without, &Planned::default(), story), [""; 0]);
        let well = |watch: &mut Watch<'_>| {
            ["running", "stalled", "finished", "stopped"]
                .into_iter()
                .for_each(|state| _ = watch.hear(&reading(state, "")));
        };
        assert_eq!(watch(FILE, &Planned::default(), well), [""; 0]);
    }

    #[test]
    fn silence_makes_a_run_void_unless_it_was_planned() {
        let story = |watch: &mut Watch<'_>| {
            let begin = Instant::now();
            (0..20).for_each(|second| watch.hear_nothing(begin + Duration::from_secs(second)));
        };
        assert_eq!(watch(FILE, &Planned::default(), story), ["a (pi) has not answered for 8s"]);
        let planned = Planned::default();
        planned.expect("nic-off for=15s");
        assert_eq!(watch(FILE, &planned, story), [""; 0]);
    }

    #[test]
    fn what_the_hardware_says_makes_a_run_void_unless_it_was_planned() {
        for (reason, said) in [
            ("throttled", "has throttled: the firmware throttles the board"),
            ("under_voltage", "has under voltage: the supply voltage is too low"),
            ("link_lost", "has link lost: the link was lost"),
            (
                "network_loop",
                "has network loop: its own frames come back: a switch loops, or another station has its MAC address",
            ),
        ] {
            let now = |watch: &mut Watch<'_>| {
                (1..4).for_each(|count| watch.feel(health(reason, true, count, 100), Instant::now()));
            };
            // It was over before it was looked at; and what was before the run does not count.
            let meanwhile = |watch: &mut Watch<'_>| {
                [7, 7, 8].into_iter().for_each(|count| watch.feel(health(reason, false, count, 99), Instant::now()));
            };
            let without = FILE.replace("[expect]", "[expect]\nvoid = []");
            assert_eq!(watch(FILE, &Planned::default(), now), [format!("a (pi) {said}")]);
            assert_eq!(watch(FILE, &Planned::default(), meanwhile), [format!("a (pi) {said}")]);
            assert_eq!(watch(&without, &Planned::default(), now), [""; 0]);
            assert_eq!(watch(&without, &Planned::default(), meanwhile), [""; 0]);
            let before = |watch: &mut Watch<'_>| {
                // In the second life it begins anew.
                [7, 7, 0, 0].into_iter().for_each(|count| watch.feel(health(reason, false, count, 9), Instant::now()));
            };
            assert_eq!(watch(FILE, &Planned::default(), before), [""; 0]);
        }
        // In the second life it was over before the first look.
        let planned = Planned::default();
        planned.expect("reset");
        let reset = |watch: &mut Watch<'_>| {
            watch.hear(&life(1));
            watch.feel(health("under_voltage", false, 5, 9), Instant::now());
            watch.hear(&life(2));
            watch.feel(health("under_voltage", false, 3, 9), Instant::now());
        };
        assert_eq!(watch(FILE, &planned, reset), ["a (pi) has under voltage: the supply voltage is too low"]);
        // The cable was pulled on purpose. That does not explain a weak power supply, nor that it had been out before.
        let planned = Planned::default();
        planned.expect("nic-off for=5s");
        let story = |reason: &'static str, last_s| {
            move |watch: &mut Watch<'_>| {
                watch.feel(health(reason, false, 0, 0), Instant::now());
                watch.feel(health(reason, false, 2, last_s), Instant::now() + Duration::from_secs(6));
            }
        };
        assert_eq!(watch(FILE, &planned, story("link_lost", 99)), [""; 0]);
        assert_eq!(watch(FILE, &planned, story("link_lost", 90)), ["a (pi) has link lost: the link was lost"]);
        let void = watch(FILE, &planned, story("under_voltage", 99));
        assert_eq!(void, ["a (pi) has under voltage: the supply voltage is too low"]);
    }
}
