//! Whether what was measured can be trusted: what kept the hardware from working as it should while a sample was taken.
//!
//! A sample covers the time since the one before. It is *sick* when something of [`Reason`] happened in that time, *well*
//! when all of them could be looked at and none had, and neither when some could not.

use crate::sample::{NicCounts, Sample, Throttled};

/// What can make a measurement worthless.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Reason {
    /// The supply voltage was too low.
    UnderVoltage,
    /// The firmware capped the cores' clock.
    FrequencyCapped,
    /// The firmware throttled the SoC.
    Throttled,
    /// The SoC was so warm that the firmware slowed it down.
    SoftTemperatureLimit,
    /// The link went down, or was down after it had been up.
    LinkLost,
    /// Frames arrived with a wrong checksum.
    CrcErrors,
    /// The network controller stopped sending, or had to be started anew.
    TxStall,
    /// Frames that the node had sent came back: a switch loops, or another station has its MAC address.
    NetworkLoop,
}

impl Reason {
    /// Every reason, in order; the first four in that of [`Throttled::NAMES`].
    pub const ALL: [Self; 8] = [
        Self::UnderVoltage,
        Self::FrequencyCapped,
        Self::Throttled,
        Self::SoftTemperatureLimit,
        Self::LinkLost,
        Self::CrcErrors,
        Self::TxStall,
        Self::NetworkLoop,
    ];

    /// Returns its name: lower-case words with underscores.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::UnderVoltage => "under_voltage",
            Self::FrequencyCapped => "frequency_capped",
            Self::Throttled => "throttled",
            Self::SoftTemperatureLimit => "soft_temperature_limit",
            Self::LinkLost => "link_lost",
            Self::CrcErrors => "crc_errors",
            Self::TxStall => "tx_stall",
            Self::NetworkLoop => "network_loop",
        }
    }

    /// Returns what is wrong then, for people.
    #[must_use]
    pub fn meaning(self) -> &'static str {
        match self {
            Self::UnderVoltage => "the supply voltage is too low",
            Self::FrequencyCapped => "the firmware caps the clock",
            Self::Throttled => "the firmware throttles the board",
            Self::SoftTemperatureLimit => "it is so warm that the firmware slows it down",
            Self::LinkLost => "the link was lost",
            Self::CrcErrors => "frames arrive damaged",
            Self::TxStall => "the network controller has stopped sending",
            Self::NetworkLoop => "its own frames come back: a switch loops, or another station has its MAC address",
        }
    }
}

/// A set of reasons.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(target_os = "none", derive(defmt::Format))]
pub struct Reasons(u16);

impl Reasons {
    /// None of them.
    pub const NONE: Self = Self(0);
    /// Those that only the firmware knows of.
    pub const FIRMWARE: Self = Self(0b1111);
    /// All of them.
    pub const ALL: Self = Self((1 << Reason::ALL.len()) - 1);

    /// Returns whether `reason` is one of them.
    #[must_use]
    pub fn has(self, reason: Reason) -> bool {
        self.0 & 1 << reason as usize != 0
    }

    /// Returns whether there are none.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Returns each of them, in order.
    pub fn iter(self) -> impl Iterator<Item = Reason> {
        Reason::ALL.into_iter().filter(move |reason| self.has(*reason))
    }

    /// Returns these and those.
    #[must_use]
    pub fn with(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }

    /// Returns these without those.
    #[must_use]
    pub fn without(self, others: Self) -> Self {
        Self(self.0 & !others.0)
    }

    fn add_if(&mut self, is_so: bool, reason: Reason) {
        self.0 |= u16::from(is_so) << reason as usize;
    }

    /// The low four bits of the firmware's answer are those of [`Self::FIRMWARE`].
    fn of_firmware(bits: u32) -> Self {
        // Four bits fit.
        Self((bits & 0xF) as u16)
    }
}

/// How far a measurement can be trusted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(target_os = "none", derive(defmt::Format))]
pub struct Health {
    /// What was wrong.
    pub sick: Reasons,
    /// What could be looked at.
    pub known: Reasons,
}

impl Health {
    /// Nothing was looked at.
    pub const UNKNOWN: Self = Self { sick: Reasons::NONE, known: Reasons::NONE };

    /// Returns whether the measurement is valid; `None` if that can't be known.
    #[must_use]
    pub fn is_valid(self) -> Option<bool> {
        match (self.sick.is_empty(), self.known == Reasons::ALL) {
            (false, _) => Some(false),
            (true, true) => Some(true),
            (true, false) => None,
        }
    }

    /// Returns what could not be looked at.
    #[must_use]
    pub fn unknown(self) -> Reasons {
        Reasons::ALL.without(self.known)
    }
}

/// Judges each sample, and keeps what has ever been wrong.
#[derive(Clone, Debug, Default)]
pub struct HealthLog {
    counts: [u64; Reason::ALL.len()],
    last_us: [Option<u64>; Reason::ALL.len()],
    /// What the network interface had counted in the sample before.
    nic: NicCounts,
    /// The firmware's last answer, and all that it has ever remembered (bits 16-19).
    answer: u32,
    remembered: u32,
    /// Whether the firmware was seen to forget when it was told to.
    forgets: bool,
}

impl HealthLog {
    /// A reason that has not been there for so long is news again.
    const NEWS_AFTER_US: u64 = 60_000_000;

    /// Makes one that knows of nothing.
    #[must_use]
    pub const fn new() -> Self {
        const N: usize = Reason::ALL.len();
        Self { counts: [0; N], last_us: [None; N], nic: NicCounts::EMPTY, answer: 0, remembered: 0, forgets: false }
    }

    /// Judges the next sample: fills in its health and what the firmware has held back since boot.
    ///
    /// `answer` is that of the firmware to "get throttled" (see [`Throttled`]), if it has one, which was told to forget what
    /// it remembers with the same question. So what it remembers happened since it was asked before, even when it was over
    /// in an instant. A firmware that does not forget remembers everything; then only what is new counts.
    ///
    /// An emulator's answer (`is_emulated`) says nothing about hardware, so the sample is then neither well nor sick by it.
    ///
    /// Returns the reasons that are news: those that no sample of the last minute had.
    pub fn judge(&mut self, sample: &mut Sample, answer: Option<u32>, is_emulated: bool) -> Reasons {
        let mut health = Health { sick: network(&self.nic, &sample.nic), known: Reasons::ALL };
        self.nic = sample.nic;
        sample.throttled = answer.map(|answer| {
            health.sick = health.sick.with(self.in_interval(answer));
            Throttled(answer & 0xF | self.remembered)
        });
        if answer.is_none() || is_emulated {
            health.known = Reasons::ALL.without(Reasons::FIRMWARE);
        }
        let mut news = Reasons::NONE;
        for reason in health.sick.iter() {
            let is_old = |us| us + Self::NEWS_AFTER_US < sample.at_us;
            news.add_if(self.last_us(reason).is_none_or(is_old), reason);
            if let (Some(count), Some(last)) =
                (self.counts.get_mut(reason as usize), self.last_us.get_mut(reason as usize))
            {
                *count += 1;
                *last = Some(sample.at_us);
            }
        }
        sample.health = health;
        news
    }

    /// Returns what happened since the firmware was last asked.
    fn in_interval(&mut self, answer: u32) -> Reasons {
        const MEMORY: u32 = 0xF_0000;
        let (before, now) = (self.answer & MEMORY, answer & MEMORY);
        self.forgets |= before & !now != 0;
        let happened = if self.forgets { now } else { now & !before };
        self.answer = answer;
        self.remembered |= now | (answer & 0xF) << 16;
        Reasons::of_firmware(answer | happened >> 16)
    }

    /// Returns how many samples were sick for `reason`.
    #[must_use]
    pub fn count(&self, reason: Reason) -> u64 {
        self.counts.get(reason as usize).copied().unwrap_or_default()
    }

    /// Returns when the last sample was taken that was sick for `reason`, in µs since boot.
    #[must_use]
    pub fn last_us(&self, reason: Reason) -> Option<u64> {
        self.last_us.get(reason as usize).copied().flatten()
    }

    /// Returns what was wrong at any time after `start_us`.
    #[must_use]
    pub fn since(&self, start_us: u64) -> Reasons {
        let mut sick = Reasons::NONE;
        for reason in Reason::ALL {
            sick.add_if(self.last_us(reason).is_some_and(|us| us > start_us), reason);
        }
        sick
    }
}

/// Returns what happened to the network interface from `old` to `new`.
fn network(old: &NicCounts, new: &NicCounts) -> Reasons {
    let mut sick = Reasons::NONE;
    // The first change is that from no link to one, which every node has. From then on an even number is a link that is down.
    let has_changed = new.carrier_changes != old.carrier_changes || new.link_flaps != old.link_flaps;
    sick.add_if(new.carrier_changes > 1 && (has_changed || new.carrier_changes.is_multiple_of(2)), Reason::LinkLost);
    sick.add_if(new.link_flaps != old.link_flaps, Reason::LinkLost);
    sick.add_if(new.crc_errors != old.crc_errors, Reason::CrcErrors);
    sick.add_if(new.tx_stalls != old.tx_stalls || new.restarts != old.restarts, Reason::TxStall);
    sick.add_if(new.looped_frames != old.looped_frames, Reason::NetworkLoop);
    sick
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Judges samples of which `change` makes the next one, a second apart.
    fn next(log: &mut HealthLog, last: &Sample, answer: Option<u32>, change: impl FnOnce(&mut Sample)) -> Sample {
        let mut sample = Sample { at_us: last.at_us + 1_000_000, ..*last };
        change(&mut sample);
        log.judge(&mut sample, answer, false);
        sample
    }

    /// Returns what the samples with these answers are sick for.
    fn sick(answers: &[u32]) -> Vec<Vec<&'static str>> {
        let (mut log, mut last) = (HealthLog::new(), Sample::EMPTY);
        let mut sick = Vec::new();
        for answer in answers {
            last = next(&mut log, &last, Some(*answer), |_| ());
            sick.push(last.health.sick.iter().map(Reason::name).collect());
        }
        sick
    }

    #[test]
    fn names_are_those_of_the_firmwares_bits() {
        for (reason, name) in Reason::ALL.into_iter().zip(Throttled::NAMES) {
            assert_eq!(reason.name(), name);
        }
        for (index, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index);
        }
    }

    #[test]
    fn a_weak_supply_makes_a_sample_invalid_while_it_lasts() {
        // Under-voltage now, then only remembered, then forgotten: as a firmware answers that is told to forget.
        assert_eq!(sick(&[0, 0x1_0001, 0x1_0000, 0, 0]), [vec![], vec!["under_voltage"], vec![], vec![], vec![]]);
        // Once it was seen to forget, what it remembers is new, however short it was.
        assert_eq!(
            sick(&[0x1_0000, 0, 0x1_0000, 0x1_0000, 0]),
            [vec!["under_voltage"], vec![], vec!["under_voltage"], vec!["under_voltage"], vec![]]
        );
    }

    #[test]
    fn a_firmware_that_never_forgets_does_not_make_every_sample_sick() {
        assert_eq!(sick(&[0x5_0005, 0x5_0000, 0x5_0000]), [vec!["under_voltage", "throttled"], vec![], vec![]]);
        assert_eq!(sick(&[0x1_0000, 0x9_0000]), [vec!["under_voltage"], vec!["soft_temperature_limit"]]);
    }

    #[test]
    fn what_the_firmware_forgot_is_remembered_here() {
        let mut log = HealthLog::new();
        let first = next(&mut log, &Sample::EMPTY, Some(0x2_0002), |_| ());
        let second = next(&mut log, &first, Some(0), |_| ());
        assert_eq!((first.throttled, second.throttled), (Some(Throttled(0x2_0002)), Some(Throttled(0x2_0000))));
        assert_eq!((first.health.is_valid(), second.health.is_valid()), (Some(false), Some(true)));
        assert_eq!((log.count(Reason::FrequencyCapped), log.count(Reason::Throttled)), (1, 0));
        assert!(log.since(0).has(Reason::FrequencyCapped));
        assert!(log.since(1_000_000).is_empty());
    }

    #[test]
    fn without_an_answer_it_is_unknown_whether_a_sample_is_valid() {
        let mut log = HealthLog::new();
        let sample = next(&mut log, &Sample::EMPTY, None, |_| ());
        assert_eq!((sample.throttled, sample.health.is_valid()), (None, None));
        assert_eq!(sample.health.unknown(), Reasons::FIRMWARE);
        let mut emulated = sample;
        log.judge(&mut emulated, Some(0), true);
        assert_eq!((emulated.throttled, emulated.health.is_valid()), (Some(Throttled(0)), None));
        let sample = next(&mut log, &sample, None, |s| s.nic.crc_errors = 1);
        assert_eq!(sample.health.is_valid(), Some(false), "what is known to be wrong is enough");
    }

    #[test]
    fn a_link_that_comes_up_is_well_and_one_that_goes_down_is_not() {
        let (mut log, mut last) = (HealthLog::new(), Sample::EMPTY);
        // Up, stays up, down, stays down, up again, stays up.
        for (changes, is_sick) in [(1, false), (1, false), (2, true), (2, true), (3, true), (3, false)] {
            last = next(&mut log, &last, Some(0), |s| s.nic.carrier_changes = changes);
            assert_eq!(last.health.sick.has(Reason::LinkLost), is_sick, "{changes}");
        }
        last = next(&mut log, &last, Some(0), |s| s.nic.link_flaps = 1);
        assert!(last.health.sick.has(Reason::LinkLost));
    }

    #[test]
    fn damaged_frames_and_stalls_are_told() {
        let (mut log, mut last) = (HealthLog::new(), Sample::EMPTY);
        last = next(&mut log, &last, Some(0), |s| (s.nic.crc_errors, s.nic.tx_stalls) = (3, 1));
        assert_eq!(last.health.sick.iter().collect::<Vec<_>>(), [Reason::CrcErrors, Reason::TxStall]);
        last = next(&mut log, &last, Some(0), |s| s.nic.restarts = 1);
        assert_eq!(last.health.sick.iter().collect::<Vec<_>>(), [Reason::TxStall]);
        last = next(&mut log, &last, Some(0), |_| ());
        assert_eq!(last.health.is_valid(), Some(true));
    }

    #[test]
    fn a_loop_is_told_and_is_news_when_there_was_none_for_a_minute() {
        let (mut log, mut sample) = (HealthLog::new(), Sample::EMPTY);
        for (second, is_news) in [(1, true), (2, false), (60, false), (121, true)] {
            (sample.at_us, sample.nic.looped_frames) = (second * 1_000_000, second);
            assert_eq!(log.judge(&mut sample, Some(0), false).has(Reason::NetworkLoop), is_news, "{second}");
            assert_eq!(sample.health.sick.iter().collect::<Vec<_>>(), [Reason::NetworkLoop]);
        }
        assert!(log.judge(&mut sample, Some(0), false).is_empty() && sample.health.is_valid() == Some(true));
    }
}
