//! The registers that every PHY has, and what two ends of a cable agree on (IEEE 802.3-2018).

/// Register numbers (22.2.4, table 22-6).
pub mod register {
    /// Control.
    pub const BMCR: u8 = 0;
    /// Status.
    pub const BMSR: u8 = 1;
    /// Identifier, upper and lower half.
    pub const ID1: u8 = 2;
    /// See [`ID1`].
    pub const ID2: u8 = 3;
    /// What this end offers.
    pub const ANAR: u8 = 4;
    /// What the other end offers.
    pub const ANLPAR: u8 = 5;
    /// What this end offers at 1,000 Mbit/s.
    pub const CTRL1000: u8 = 9;
    /// What the other end offers at 1,000 Mbit/s.
    pub const STAT1000: u8 = 10;
    /// Way to the registers of a device in the PHY: which and how (22.2.4.3.11).
    pub const MMD_CONTROL: u8 = 13;
    /// Its address or data.
    pub const MMD_DATA: u8 = 14;
}

/// Bits of BMCR (table 22-7).
pub mod bmcr {
    /// Resets the PHY; clears itself.
    pub const RESET: u16 = 1 << 15;
    /// Sends back what it is given.
    pub const LOOPBACK: u16 = 1 << 14;
    /// Negotiates.
    pub const AUTONEG: u16 = 1 << 12;
    /// Is switched off.
    pub const POWER_DOWN: u16 = 1 << 11;
    /// Is cut off from the MAC.
    pub const ISOLATE: u16 = 1 << 10;
    /// Negotiates anew; clears itself.
    pub const RESTART: u16 = 1 << 9;
}

/// Bits of BMSR (table 22-8).
pub mod bmsr {
    /// Negotiation is over.
    pub const AUTONEG_DONE: u16 = 1 << 5;
    /// The link is up. Once it was down, this stays 0 until it is read.
    pub const LINK: u16 = 1 << 2;
}

/// Bits of ANAR and ANLPAR (28.2.4.1.3 and annex 28B).
pub mod ability {
    /// IEEE 802.3.
    pub const SELECTOR: u16 = 1;
    /// 10BASE-T.
    pub const T10: u16 = 1 << 5;
    /// 10BASE-T full duplex.
    pub const T10_FULL: u16 = 1 << 6;
    /// 100BASE-TX.
    pub const T100: u16 = 1 << 7;
    /// 100BASE-TX full duplex.
    pub const T100_FULL: u16 = 1 << 8;
    /// Pause frames both ways.
    pub const PAUSE: u16 = 1 << 10;
    /// Pause frames one way.
    pub const ASYMMETRIC_PAUSE: u16 = 1 << 11;
    /// Everything that a controller with pause frames can do at 10 and 100 Mbit/s.
    pub const ALL: u16 = SELECTOR | T10 | T10_FULL | T100 | T100_FULL | PAUSE | ASYMMETRIC_PAUSE;
}

/// Bit of CTRL1000: 1000BASE-T full duplex (40.5.1.1, table 40-3).
pub const OFFER_1000_FULL: u16 = 1 << 9;
/// Bit of CTRL1000: 1000BASE-T half duplex.
pub const OFFER_1000_HALF: u16 = 1 << 8;
/// Bit of STAT1000: the other end's 1000BASE-T full duplex.
pub const PARTNER_1000_FULL: u16 = 1 << 11;

/// Bit of STAT1000: the other end's 1000BASE-T half duplex.
pub const PARTNER_1000_HALF: u16 = 1 << 10;

/// What both ends offer: ANAR, ANLPAR, CTRL1000 and STAT1000.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offers {
    /// ANAR.
    pub own: u16,
    /// ANLPAR.
    pub partner: u16,
    /// CTRL1000; 0 for a PHY that has none.
    pub own_1000: u16,
    /// STAT1000; 0 for a PHY that has none.
    pub partner_1000: u16,
}

/// What a link has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Negotiated {
    /// Bit rate in Mbit/s.
    pub speed_mbps: u32,
    /// Whether both ends may send at once.
    pub is_full_duplex: bool,
    /// Whether this end may ask the other to pause.
    pub may_send_pause: bool,
    /// Whether this end pauses when asked.
    pub obeys_pause: bool,
}

impl Offers {
    /// Returns the best that both ends can do (28.3.2, annex 28B.3 and its table 28B-3 for pause).
    ///
    /// An end that does not negotiate shows nothing but the speed at which it was heard, at half duplex (28.2.3.1).
    #[must_use]
    pub fn resolve(self) -> Negotiated {
        let common = self.own & self.partner;
        let is_1000 = self.own_1000 & OFFER_1000_FULL != 0 && self.partner_1000 & PARTNER_1000_FULL != 0;
        let (speed_mbps, is_full_duplex) = if is_1000 {
            (1000, true)
        } else if common & ability::T100_FULL != 0 {
            (100, true)
        } else if common & ability::T100 != 0 {
            (100, false)
        } else {
            (10, common & ability::T10_FULL != 0)
        };
        let both = common & ability::PAUSE != 0;
        let one_way = common & ability::ASYMMETRIC_PAUSE != 0;
        Negotiated {
            speed_mbps,
            is_full_duplex,
            may_send_pause: is_full_duplex && (both || one_way && self.partner & ability::PAUSE != 0),
            obeys_pause: is_full_duplex && (both || one_way && self.own & ability::PAUSE != 0),
        }
    }
}

/// Returns whether an identifier is one that a PHY has: a bus on which nobody answers reads as all ones or zeros.
#[must_use]
pub fn is_phy(id: u32) -> bool {
    id != 0 && id != u32::MAX
}

#[cfg(test)]
mod tests {
    use super::ability::{ALL, ASYMMETRIC_PAUSE, PAUSE, SELECTOR, T10, T10_FULL, T100, T100_FULL};
    use super::*;

    fn resolve(partner: u16) -> Negotiated {
        Offers { own: ALL, partner, ..Offers::default() }.resolve()
    }

    #[test]
    fn the_best_common_offer_wins() {
        for (partner, speed, is_full) in [
            (ALL, 100, true),
            (SELECTOR | T100 | T10_FULL | T10, 100, false),
            (SELECTOR | T10_FULL | T10, 10, true),
            (SELECTOR | T10, 10, false),
            // Heard at 100 Mbit/s, without negotiation.
            (T100, 100, false),
            (0, 10, false),
        ] {
            let link = resolve(partner);
            assert_eq!((link.speed_mbps, link.is_full_duplex), (speed, is_full), "{partner:#x}");
        }
        let offers = Offers { own: ALL, partner: ALL, own_1000: OFFER_1000_FULL, partner_1000: PARTNER_1000_FULL };
        assert_eq!(offers.resolve().speed_mbps, 1000);
        assert_eq!(Offers { partner_1000: 0, ..offers }.resolve().speed_mbps, 100);
        assert_eq!(Offers { own_1000: OFFER_1000_HALF, ..offers }.resolve().speed_mbps, 100);
    }

    /// Table 28B-3.
    #[test]
    fn pause_is_resolved_as_in_the_standards_table() {
        let full = SELECTOR | T100_FULL;
        for (own, partner, sends, obeys) in [
            (0, PAUSE | ASYMMETRIC_PAUSE, false, false),
            (ASYMMETRIC_PAUSE, PAUSE, false, false),
            (ASYMMETRIC_PAUSE, PAUSE | ASYMMETRIC_PAUSE, true, false),
            (PAUSE, PAUSE, true, true),
            (PAUSE | ASYMMETRIC_PAUSE, ASYMMETRIC_PAUSE, false, true),
            (PAUSE | ASYMMETRIC_PAUSE, PAUSE, true, true),
            (PAUSE | ASYMMETRIC_PAUSE, 0, false, false),
        ] {
            let link = Offers { own: full | own, partner: full | partner, ..Offers::default() }.resolve();
            assert_eq!((link.may_send_pause, link.obeys_pause), (sends, obeys), "{own:#x} {partner:#x}");
        }
        let half = resolve(SELECTOR | T100 | PAUSE);
        assert!(!half.may_send_pause && !half.obeys_pause, "pause frames are for full duplex");
    }
}
