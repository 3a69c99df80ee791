//! Split transactions (USB 2.0, 11.14 to 11.20): how a high-speed hub talks to slower devices for the host.
//!
//! Each packet becomes a start-split, which hands the transaction to the hub, and complete-splits, which fetch its outcome.
//! The hub answers a complete-split with NYET while it is not through. This is the order of the two, without
//! registers. Tested here; not on a board.

use rpi_pac::dwc2::{Hcint, Hcsplt};

use crate::host::{Kind, Translator};

/// Complete-splits of a periodic transaction that may be answered with NYET: the outcome must be there within the frame
/// (USB 2.0, 11.18.4), and each takes a microframe.
const PERIODIC_NYETS_MAX: u16 = 8;
/// The same for bulk and control, where the hub has all the time it needs: 100 ms of microframes, then it is an error.
const BULK_NYETS_MAX: u16 = 800;

/// Which half is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Half {
    Start,
    Complete { nyets: u16 },
}

/// The state of one packet's split transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Split {
    translator: Translator,
    is_periodic: bool,
    half: Half,
}

/// What a halt during a split means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Do the next half at once.
    Next,
    /// Do the next half in the next microframe.
    NextMicroframe,
    /// The packet is through, or failed: the channel's bits say how.
    Over,
    /// The hub lost the transaction: count it as an error and begin again.
    Lost,
}

impl Split {
    /// Begins the transaction of one packet.
    #[must_use]
    pub fn new(translator: Translator, kind: Kind) -> Self {
        let is_periodic = matches!(kind, Kind::Interrupt | Kind::Isochronous);
        Self { translator, is_periodic, half: Half::Start }
    }

    /// Begins anew, for the next packet or another attempt.
    pub fn restart(&mut self) {
        self.half = Half::Start;
    }

    /// Returns whether a complete-split is due.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.half != Half::Start
    }

    /// Returns the value of HCSPLT for the half that is due.
    #[must_use]
    pub fn hcsplt(&self) -> u32 {
        let complete = if self.half == Half::Start { Hcsplt::empty() } else { Hcsplt::COMPLETE };
        let bits = (Hcsplt::ENABLE | Hcsplt::POSITION_ALL | complete).bits();
        bits | u32::from(self.translator.hub & 0x7F) << 7 | u32::from(self.translator.port & 0x7F)
    }

    /// Takes in how the channel halted.
    pub fn on_halt(&mut self, hcint: Hcint) -> Step {
        match self.half {
            // ACK: the hub has it. Anything else (NAK: it is busy; no answer) ends this attempt.
            Half::Start if hcint.contains(Hcint::ACK) && !hcint.intersects(Hcint::NAK | Hcint::TRANSACTION_ERROR) => {
                self.half = Half::Complete { nyets: 0 };
                // The outcome of a periodic transaction is there two microframes later at the earliest
                // (USB 2.0, 11.18.4).
                if self.is_periodic { Step::NextMicroframe } else { Step::Next }
            }
            Half::Start => Step::Over,
            Half::Complete { nyets } if hcint.contains(Hcint::NYET) => {
                let limit = if self.is_periodic { PERIODIC_NYETS_MAX } else { BULK_NYETS_MAX };
                if nyets >= limit {
                    self.half = Half::Start;
                    return Step::Lost;
                }
                self.half = Half::Complete { nyets: nyets + 1 };
                Step::NextMicroframe
            }
            Half::Complete { .. } => {
                self.half = Half::Start;
                Step::Over
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Translator = Translator { hub: 5, port: 3 };

    #[test]
    fn a_packet_is_a_start_and_a_complete() {
        let mut split = Split::new(AT, Kind::Bulk);
        assert_eq!(split.hcsplt(), 1 << 31 | 3 << 14 | 5 << 7 | 3);
        assert_eq!(split.on_halt(Hcint::HALTED | Hcint::ACK), Step::Next);
        assert_eq!(split.hcsplt(), 1 << 31 | 1 << 16 | 3 << 14 | 5 << 7 | 3);
        assert_eq!(split.on_halt(Hcint::HALTED | Hcint::NYET), Step::NextMicroframe);
        assert_eq!(split.on_halt(Hcint::HALTED | Hcint::COMPLETE | Hcint::ACK), Step::Over);
        assert_eq!(split.hcsplt() & 1 << 16, 0, "the next packet begins with a start-split");
    }

    #[test]
    fn a_busy_hub_ends_the_attempt() {
        let mut split = Split::new(AT, Kind::Control);
        assert_eq!(split.on_halt(Hcint::HALTED | Hcint::NAK), Step::Over);
        assert_eq!(split.on_halt(Hcint::HALTED | Hcint::TRANSACTION_ERROR), Step::Over);
    }

    #[test]
    fn a_transaction_that_the_hub_lost_begins_again() {
        for (kind, limit) in [(Kind::Interrupt, PERIODIC_NYETS_MAX), (Kind::Bulk, BULK_NYETS_MAX)] {
            let mut split = Split::new(AT, kind);
            let _ = split.on_halt(Hcint::HALTED | Hcint::ACK);
            for _ in 0..limit {
                assert_eq!(split.on_halt(Hcint::HALTED | Hcint::NYET), Step::NextMicroframe);
            }
            assert_eq!(split.on_halt(Hcint::HALTED | Hcint::NYET), Step::Lost);
            assert_eq!(split.hcsplt() & 1 << 16, 0);
        }
    }
}
