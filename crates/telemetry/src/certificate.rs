//! The result of an acceptance test of the board, as plain data. The workload `certify` makes it.

use core::fmt;

use heapless::String;

/// Longest reason of a finding.
pub const FINDING_LEN_MAX: usize = 160;

/// What was tested, when, and what was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// When the test began, in µs since boot.
    pub started_us: u64,
    /// The same moment in µs since 1970, if the node knew.
    pub started_unix_us: Option<u64>,
    /// How long it was to take, in µs.
    pub asked_us: u64,
    /// How long it took, in µs; 0 before its end.
    pub ran_us: u64,
    /// How far it is.
    pub stage: Stage,
    /// What was found, in the order of [`Subject::ALL`].
    pub findings: [Finding; Subject::ALL.len()],
}

/// How far a test is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It runs.
    Running,
    /// It was stopped before its end.
    Stopped,
    /// It came to its end.
    Done,
}

/// What is tested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// The cores that run workloads compute what is known to be right.
    Cores,
    /// The core that runs drivers and network answers in time.
    Core0,
    /// Memory keeps what was written.
    Memory,
    /// The network interface has a link, and keeps it.
    Link,
    /// Frames arrive whole.
    Frames,
    /// The SoC stays cool enough under load.
    Temperature,
    /// The power supply suffices, and the firmware holds nothing back.
    Power,
    /// The clock goes as fast as the time server's.
    Clock,
}

impl Subject {
    /// Every subject.
    pub const ALL: [Self; 8] =
        [Self::Cores, Self::Core0, Self::Memory, Self::Link, Self::Frames, Self::Temperature, Self::Power, Self::Clock];

    /// Returns its name: a lower-case word.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Cores => "cores",
            Self::Core0 => "core0",
            Self::Memory => "memory",
            Self::Link => "link",
            Self::Frames => "frames",
            Self::Temperature => "temperature",
            Self::Power => "power",
            Self::Clock => "clock",
        }
    }
}

/// What was found about a subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Whether it is as it should be.
    pub outcome: Outcome,
    /// What was seen, in one line.
    pub reason: String<FINDING_LEN_MAX>,
}

impl Finding {
    /// Nothing was tested yet.
    pub const NONE: Self = Self { outcome: Outcome::NotChecked, reason: String::new() };

    /// Makes a finding; a reason that is too long is cut.
    #[must_use]
    pub fn new(outcome: Outcome, reason: fmt::Arguments<'_>) -> Self {
        let mut finding = Self { outcome, reason: String::new() };
        let mut cut = Cut(&mut finding.reason);
        // It cuts instead of failing.
        let _ = fmt::write(&mut cut, reason);
        finding
    }
}

/// Takes as much text as there is room for.
struct Cut<'a>(&'a mut String<FINDING_LEN_MAX>);

impl fmt::Write for Cut<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            if self.0.push(character).is_err() {
                break;
            }
        }
        Ok(())
    }
}

/// Whether a subject is as it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nobody knows.
    NotChecked,
    /// It is.
    Passed,
    /// It is not.
    Failed,
}

impl Outcome {
    /// Every outcome.
    pub const ALL: [Self; 3] = [Self::NotChecked, Self::Passed, Self::Failed];

    /// Returns it as one word.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::NotChecked => "not_checked",
            Self::Passed => "passed",
            Self::Failed => "failed",
        }
    }

    /// Returns it as it stands in a report.
    #[must_use]
    pub fn shown(self) -> &'static str {
        match self {
            Self::NotChecked => "NOT CHECKED",
            Self::Passed => "pass",
            Self::Failed => "FAIL",
        }
    }
}

/// What a test comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is not at its end yet.
    Running,
    /// Everything was checked, and is as it should be.
    Pass,
    /// Something is not as it should be.
    Fail,
    /// Nothing was found wrong, but not everything was checked.
    Incomplete,
}

impl Verdict {
    /// Returns it as it stands in a report.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Running => "RUNNING",
            Self::Pass => "PASS",
            Self::Fail => "FAIL",
            Self::Incomplete => "INCOMPLETE",
        }
    }
}

impl Certificate {
    /// Makes the certificate of a test that begins now.
    #[must_use]
    pub const fn begin(started_us: u64, asked_us: u64) -> Self {
        Self {
            started_us,
            started_unix_us: None,
            asked_us,
            ran_us: 0,
            stage: Stage::Running,
            findings: [const { Finding::NONE }; Subject::ALL.len()],
        }
    }

    /// Returns each subject with what was found.
    pub fn findings(&self) -> impl Iterator<Item = (Subject, &Finding)> {
        Subject::ALL.into_iter().zip(&self.findings)
    }

    /// Returns what it comes to.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        let any = |outcome| self.findings.iter().any(|finding| finding.outcome == outcome);
        match self.stage {
            Stage::Running => Verdict::Running,
            _ if any(Outcome::Failed) => Verdict::Fail,
            Stage::Done if !any(Outcome::NotChecked) => Verdict::Pass,
            _ => Verdict::Incomplete,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate(outcomes: [Outcome; 8]) -> Certificate {
        let findings = outcomes.map(|outcome| Finding::new(outcome, format_args!("seen")));
        Certificate { stage: Stage::Done, findings, ..Certificate::begin(0, 0) }
    }

    #[test]
    fn one_failure_fails_and_one_gap_is_incomplete() {
        use Outcome::{Failed, NotChecked, Passed};
        let mut outcomes = [Passed; 8];
        assert_eq!(certificate(outcomes).verdict(), Verdict::Pass);
        assert_eq!(Certificate { stage: Stage::Running, ..certificate(outcomes) }.verdict(), Verdict::Running);
        assert_eq!(Certificate { stage: Stage::Stopped, ..certificate(outcomes) }.verdict(), Verdict::Incomplete);
        for i in 0..8 {
            outcomes = [Passed; 8];
            outcomes[i] = NotChecked;
            assert_eq!(certificate(outcomes).verdict(), Verdict::Incomplete);
            outcomes[(i + 1) % 8] = Failed;
            assert_eq!(certificate(outcomes).verdict(), Verdict::Fail);
            assert_eq!(Certificate { stage: Stage::Stopped, ..certificate(outcomes) }.verdict(), Verdict::Fail);
        }
    }

    #[test]
    fn a_reason_that_is_too_long_is_cut() {
        let finding = Finding::new(Outcome::Failed, format_args!("{}é", "x".repeat(FINDING_LEN_MAX - 1)));
        assert_eq!(finding.reason, "x".repeat(FINDING_LEN_MAX - 1).as_str());
    }
}
