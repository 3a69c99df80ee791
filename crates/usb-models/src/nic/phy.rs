//! The PHYs inside of the chips: management registers, autonegotiation, link partner.
//!
//! Facts: IEEE 802.3 clause 22.2.4 (registers 0 to 15) and 28 (autonegotiation); for the vendor's registers LAN950x data
//! sheet DS00001875A with Linux smsc95xx.h and smscphy.h; LAN7800's with Linux microchipphy.h and FreeBSD if_mugereg.h.

use super::Mistakes;

/// Which PHY.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PhyKind {
    /// 10/100, in the LAN9514.
    Fast,
    /// 10/100/1000, in the LAN7800.
    Gigabit,
}

/// Whom the cable leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Partner {
    /// Its highest speed in Mbit/s: 10, 100 or 1000.
    pub speed_mbps: u32,
    /// Whether it can send and receive at once.
    pub is_full_duplex: bool,
    /// Whether it understands PAUSE frames.
    pub has_pause: bool,
}

impl Default for Partner {
    /// A gigabit switch.
    fn default() -> Self {
        Self { speed_mbps: 1000, is_full_duplex: true, has_pause: true }
    }
}

/// A link that is up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkState {
    /// In Mbit/s.
    pub speed_mbps: u32,
    /// Whether both sides may send at once.
    pub is_full_duplex: bool,
    /// When it came up, in the model's time.
    pub since_us: u64,
}

const RESET: u16 = 1 << 15;
const LOOPBACK: u16 = 1 << 14;
const SPEED_100: u16 = 1 << 13;
const NEGOTIATE: u16 = 1 << 12;
const POWER_DOWN: u16 = 1 << 11;
const ISOLATE: u16 = 1 << 10;
const RESTART: u16 = 1 << 9;
const FULL_DUPLEX: u16 = 1 << 8;
const SPEED_1000: u16 = 1 << 6;

/// Ability bits of registers 4 and 5, best first, with what they mean.
const ABILITIES: [(u16, u32, bool); 4] =
    [(1 << 8, 100, true), (1 << 7, 100, false), (1 << 6, 10, true), (1 << 5, 10, false)];
const PAUSE: u16 = 1 << 10;
/// Bits of register 9 and, two higher, of register 10.
const GIGABIT_FULL: u16 = 1 << 9;

/// LAN950x: PHY interrupts (Linux smsc95xx.h `PHY_INT_SRC_*`).
const FAST_ENERGY_ON: u16 = 1 << 7;
const FAST_NEGOTIATED: u16 = 1 << 6;
const FAST_LINK_DOWN: u16 = 1 << 4;
/// LAN7800: PHY interrupts (Linux microchipphy.h `LAN88XX_INT_STS_*`).
const GIGABIT_ENABLE: u16 = 1 << 15;
const GIGABIT_LINK_CHANGE: u16 = 1 << 13;
const GIGABIT_NEGOTIATED: u16 = 1 << 10;

/// IEEE 802.3, 22.2.4.1.1 allows half a second; a millisecond makes drivers wait, too.
const RESET_US: u64 = 1000;
/// Fast link pulses, parallel detection and training: about this long on a real wire.
const NEGOTIATION_US: u64 = 1_500_000;

#[derive(Debug)]
pub(crate) struct Phy {
    kind: PhyKind,
    negotiation_us: u64,
    now_us: u64,
    partner: Option<Partner>,
    link: Option<LinkState>,
    /// When the link will come up.
    up_at_us: Option<u64>,
    resetting_until_us: Option<u64>,
    is_link_loss_latched: bool,
    interrupts: u16,
    /// Registers as they were written, 0 to 31.
    registers: [u16; 32],
    /// Registers 16 to 30 of the LAN7800's other pages are only kept.
    paged: std::collections::HashMap<(u16, u8), u16>,
}

impl Phy {
    pub(crate) fn new(kind: PhyKind) -> Self {
        let mut phy = Self {
            kind,
            negotiation_us: NEGOTIATION_US,
            now_us: 0,
            partner: Some(Partner::default()),
            link: None,
            up_at_us: None,
            resetting_until_us: None,
            is_link_loss_latched: true,
            interrupts: 0,
            registers: [0; 32],
            paged: std::collections::HashMap::new(),
        };
        phy.reset();
        phy
    }

    /// Power-on values, and a new negotiation.
    pub(crate) fn reset(&mut self) {
        self.registers = [0; 32];
        self.paged.clear();
        self.registers[0] = SPEED_100 | NEGOTIATE;
        self.registers[4] = 0x01E1;
        if self.kind == PhyKind::Gigabit {
            self.registers[0] = SPEED_1000 | NEGOTIATE | FULL_DUPLEX;
            // 1000BASE-T, half and full duplex.
            self.registers[9] = 0x0300;
        }
        self.interrupts = 0;
        self.restart();
    }

    pub(crate) fn set_partner(&mut self, partner: Option<Partner>) {
        self.partner = partner;
        self.restart();
    }

    /// Counts for a negotiation that is under way, too.
    pub(crate) fn set_negotiation_time(&mut self, time_us: u64) {
        self.negotiation_us = time_us;
        self.up_at_us = self.up_at_us.map(|_| self.now_us + time_us);
    }

    pub(crate) fn link(&self) -> Option<LinkState> {
        self.link
    }

    /// Returns when something happens next.
    pub(crate) fn on_time(&mut self, now_us: u64) -> Option<u64> {
        self.now_us = now_us;
        if self.resetting_until_us.is_some_and(|until| now_us >= until) {
            self.resetting_until_us = None;
            self.reset();
        }
        if self.up_at_us.is_some_and(|at| now_us >= at) {
            self.up_at_us = None;
            self.link = self.resolve();
            if self.link.is_some() {
                self.interrupts |= match self.kind {
                    PhyKind::Fast => FAST_NEGOTIATED | FAST_ENERGY_ON,
                    PhyKind::Gigabit => GIGABIT_LINK_CHANGE | GIGABIT_NEGOTIATED,
                };
            }
        }
        [self.up_at_us, self.resetting_until_us].into_iter().flatten().min()
    }

    /// Says whether the interrupt line to the MAC is asserted.
    pub(crate) fn has_interrupt(&self) -> bool {
        match self.kind {
            PhyKind::Fast => self.interrupts & self.registers[30] != 0,
            PhyKind::Gigabit => {
                self.registers[25] & GIGABIT_ENABLE != 0 && self.interrupts & self.registers[25] & !GIGABIT_ENABLE != 0
            }
        }
    }

    pub(crate) fn read(&mut self, register: u8, mistakes: &mut Mistakes) -> u16 {
        let is_paged = self.kind == PhyKind::Gigabit && self.registers[31] != 0 && (16..=30).contains(&register);
        if is_paged {
            return self.paged.get(&(self.registers[31], register)).copied().unwrap_or(0);
        }
        match (self.kind, register) {
            (_, 0) => self.registers[0] | if self.resetting_until_us.is_some() { RESET } else { 0 },
            (_, 1) => self.read_status(),
            // OUI 00:80:0F. The LAN9514's PHY calls itself LAN8700 (Linux smsc.c 0x0007c0c0), the LAN7800's LAN88xx
            // (Linux microchip.c 0x0007c132).
            (_, 2) => 0x0007,
            (PhyKind::Fast, 3) => 0xC0C3,
            (PhyKind::Gigabit, 3) => 0xC132,
            (_, 5) => self.partner_abilities(),
            // The partner can negotiate, and a page was received.
            (_, 6) => {
                if self.is_negotiated() {
                    0b11
                } else {
                    0
                }
            }
            (PhyKind::Gigabit, 10) => self.gigabit_status(),
            // 1000BASE-T full and half duplex.
            (PhyKind::Gigabit, 15) => 0x3000,
            // ENERGYON.
            (PhyKind::Fast, 17) => self.registers[17] & !2 | if self.partner.is_some() { 2 } else { 0 },
            (PhyKind::Fast, 29) | (PhyKind::Gigabit, 26) => std::mem::take(&mut self.interrupts),
            (PhyKind::Fast, 31) => self.fast_special_status(),
            (PhyKind::Fast, 4 | 18 | 26 | 27 | 30) | (PhyKind::Gigabit, 4 | 7 | 9 | 16..=25 | 27..=31) => {
                self.registers[usize::from(register)]
            }
            _ => {
                mistakes.add(|| format!("PHY register {register} read, which does not exist"));
                0
            }
        }
    }

    pub(crate) fn write(&mut self, register: u8, value: u16, mistakes: &mut Mistakes) {
        if self.resetting_until_us.is_some() {
            mistakes.add(|| format!("PHY register {register} written while the PHY resets itself"));
            return;
        }
        if self.kind == PhyKind::Gigabit && self.registers[31] != 0 && (16..=30).contains(&register) {
            self.paged.insert((self.registers[31], register), value);
            return;
        }
        let slot = &mut self.registers[usize::from(register)];
        match (self.kind, register) {
            (_, 0) if value & RESET != 0 => {
                self.lose_link();
                self.up_at_us = None;
                self.resetting_until_us = Some(self.now_us + RESET_US);
            }
            (_, 0) => {
                let changes = *slot ^ value;
                *slot = value & !RESTART;
                let matters = NEGOTIATE | SPEED_100 | SPEED_1000 | FULL_DUPLEX | POWER_DOWN | ISOLATE | LOOPBACK;
                if value & RESTART != 0 || changes & matters != 0 {
                    self.restart();
                }
            }
            // A new advertisement counts from the next negotiation on.
            (_, 4)
            | (PhyKind::Gigabit, 7 | 9 | 13 | 14 | 16..=25 | 27..=31)
            | (PhyKind::Fast, 17 | 18 | 27 | 30 | 31) => {
                *slot = value;
            }
            _ => mistakes.add(|| format!("PHY register {register} written, which can't be")),
        }
    }

    fn lose_link(&mut self) {
        if self.link.take().is_some() {
            self.is_link_loss_latched = true;
            self.interrupts |= match self.kind {
                PhyKind::Fast => FAST_LINK_DOWN,
                PhyKind::Gigabit => GIGABIT_LINK_CHANGE,
            };
        }
    }

    fn restart(&mut self) {
        self.lose_link();
        let is_off = self.registers[0] & (POWER_DOWN | ISOLATE) != 0;
        self.up_at_us = (self.partner.is_some() && !is_off).then_some(self.now_us + self.negotiation_us);
    }

    fn is_negotiated(&self) -> bool {
        self.link.is_some() && self.registers[0] & NEGOTIATE != 0
    }

    /// Bits of register 1. The link bit latches low: it shows a loss until it has been read once.
    fn read_status(&mut self) -> u16 {
        let abilities = if self.kind == PhyKind::Gigabit { 0x7949 } else { 0x7809 };
        let is_up = self.link.is_some() && !self.is_link_loss_latched;
        self.is_link_loss_latched = false;
        abilities | u16::from(self.is_negotiated()) << 5 | u16::from(is_up) << 2
    }

    fn partner_abilities(&self) -> u16 {
        let Some(partner) = self.partner.filter(|_| self.is_negotiated()) else { return 0 };
        let can = |(_, speed, is_full): &&(u16, u32, bool)| {
            *speed <= partner.speed_mbps && (!is_full || partner.is_full_duplex)
        };
        let abilities = ABILITIES.iter().filter(can).fold(0, |bits, (bit, ..)| bits | bit);
        // IEEE 802.3 selector, acknowledged.
        abilities | 1 | 1 << 14 | if partner.has_pause { PAUSE } else { 0 }
    }

    /// Register 10: what the partner can at 1000 Mbit/s, and both receivers are fine.
    fn gigabit_status(&self) -> u16 {
        match self.partner {
            Some(partner) if self.is_negotiated() && partner.speed_mbps >= 1000 => 0x3C00,
            _ => 0,
        }
    }

    /// Register 31 of the LAN950x's PHY: negotiation done, and the speed that came of it (Linux `PHY_SPECIAL_SPD_*`).
    fn fast_special_status(&self) -> u16 {
        let Some(link) = self.link else { return 0 };
        let speed = if link.speed_mbps == 100 { 2 } else { 1 };
        u16::from(self.is_negotiated()) << 12 | u16::from(link.is_full_duplex) << 4 | speed << 2
    }

    /// What both sides can, best first (IEEE 802.3, annex 28B.3), or what the driver forces.
    fn resolve(&self) -> Option<LinkState> {
        let partner = self.partner?;
        let state = |speed_mbps, is_full_duplex| LinkState { speed_mbps, is_full_duplex, since_us: self.now_us };
        if self.registers[0] & NEGOTIATE == 0 {
            let speed = match self.registers[0] & (SPEED_1000 | SPEED_100) {
                SPEED_1000 => 1000,
                0 => 10,
                _ => 100,
            };
            return (speed <= partner.speed_mbps).then(|| state(speed, self.registers[0] & FULL_DUPLEX != 0));
        }
        let is_gigabit = self.registers[9] & GIGABIT_FULL != 0 && partner.speed_mbps >= 1000;
        if self.kind == PhyKind::Gigabit && is_gigabit {
            return Some(state(1000, true));
        }
        let best = ABILITIES.iter().find(|(bit, speed, is_full)| {
            self.registers[4] & bit != 0 && *speed <= partner.speed_mbps && (!is_full || partner.is_full_duplex)
        });
        best.map(|(_, speed, is_full)| state(*speed, *is_full))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ready(kind: PhyKind) -> (Phy, Mistakes) {
        let mut phy = Phy::new(kind);
        phy.on_time(2_000_000);
        (phy, Mistakes::default())
    }

    #[test]
    fn a_lost_link_is_seen_by_one_read_even_when_it_is_back() {
        let (mut phy, mut mistakes) = ready(PhyKind::Fast);
        assert_eq!(phy.read(1, &mut mistakes) & 4, 0, "down since power-on");
        assert_eq!(phy.read(1, &mut mistakes), 0x782D);
        phy.set_partner(None);
        phy.set_partner(Some(Partner::default()));
        phy.on_time(4_000_000);
        assert_eq!(phy.read(1, &mut mistakes) & 4, 0);
        assert_eq!(phy.read(1, &mut mistakes) & 4, 4);
        assert_eq!(mistakes.count(), 0);
    }

    #[test]
    fn the_best_common_speed_is_negotiated() {
        let (mut phy, mut mistakes) = ready(PhyKind::Gigabit);
        assert_eq!(phy.link().map(|link| link.speed_mbps), Some(1000));
        phy.set_partner(Some(Partner { speed_mbps: 100, is_full_duplex: false, has_pause: false }));
        phy.on_time(4_000_000);
        let link = phy.link();
        assert_eq!(link.map(|link| (link.speed_mbps, link.is_full_duplex)), Some((100, false)));
        assert_eq!(phy.read(5, &mut mistakes), 0x40A1);
        // The driver does without 100 Mbit/s.
        phy.write(4, 0x0061, &mut mistakes);
        phy.write(0, NEGOTIATE | RESTART, &mut mistakes);
        phy.on_time(6_000_000);
        assert_eq!(phy.link().map(|link| link.speed_mbps), Some(10));
    }

    #[test]
    fn a_reset_takes_its_time_and_refuses_writes_meanwhile() {
        let (mut phy, mut mistakes) = ready(PhyKind::Fast);
        phy.write(0, RESET, &mut mistakes);
        assert_eq!(phy.read(0, &mut mistakes) & RESET, RESET);
        phy.write(4, 0x0DE1, &mut mistakes);
        assert_eq!(mistakes.count(), 1);
        phy.on_time(2_001_000);
        assert_eq!(phy.read(0, &mut mistakes), SPEED_100 | NEGOTIATE);
        assert_eq!(phy.link(), None);
        assert_eq!(phy.on_time(2_001_000), Some(3_501_000));
    }

    #[test]
    fn interrupts_are_masked_and_cleared_by_reading() {
        let (mut phy, mut mistakes) = ready(PhyKind::Fast);
        assert!(!phy.has_interrupt());
        phy.write(30, FAST_LINK_DOWN | FAST_NEGOTIATED, &mut mistakes);
        assert!(phy.has_interrupt());
        assert_eq!(phy.read(29, &mut mistakes), FAST_NEGOTIATED | FAST_ENERGY_ON);
        assert!(!phy.has_interrupt());
        phy.set_partner(None);
        assert!(phy.has_interrupt());
    }
}
