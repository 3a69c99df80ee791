//! A BCM54213PE on the MDIO bus: link that latches low, negotiation that takes its time, shadow registers.

use embassy_time::{Duration, Instant};

/// Identity (measured on a Pi 4B).
const ID: [u16; 2] = [0x600d, 0x84a2];
/// BMSR of a Pi 4B without link; 0x24 more with it (measured: 7949, 796d).
const BMSR: u16 = 0x7949;
const BMSR_LINK: u16 = 1 << 2;
const BMSR_NEGOTIATED: u16 = 1 << 5;
const BMCR_RESET: u16 = 1 << 15;
const BMCR_AUTONEGOTIATE: u16 = 1 << 12;
const BMCR_POWER_DOWN: u16 = 1 << 11;
const BMCR_ISOLATE: u16 = 1 << 10;
const BMCR_RESTART: u16 = 1 << 9;

/// What the other end of the cable can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Partner {
    /// Register 5.
    pub abilities: u16,
    /// Register 10, partner's bits.
    pub gigabit: u16,
}

impl Partner {
    /// A gigabit switch (measured: ANLPAR c5e1, STAT1000 0800).
    pub const GIGABIT: Self = Self { abilities: 0xc5e1, gigabit: 0x0800 };
    /// A switch for 100 Mbit/s, full duplex, that knows nothing of pauses.
    pub const FAST: Self = Self { abilities: 0x41e1, gigabit: 0 };
    /// A hub for 10 Mbit/s, half duplex.
    pub const HUB: Self = Self { abilities: 0x0021, gigabit: 0 };
}

/// The PHY.
#[derive(Debug)]
pub struct Phy {
    /// Whether it answers.
    pub is_present: bool,
    /// Its address.
    pub address: u8,
    /// How long negotiation takes.
    pub negotiation: Duration,
    control: u16,
    offer: u16,
    gigabit_offer: u16,
    aux_misc: u16,
    aux_select: u16,
    shadow_clock: u16,
    shadow_select: u16,
    mmd_control: u16,
    mmd_address: u16,
    eee_offer: u16,
    partner: Option<Partner>,
    /// When the link comes up, if it does.
    up_at: Option<Instant>,
    was_down: bool,
    /// What a driver did that it must not.
    pub(super) errors: Vec<String>,
    /// How often negotiation was started by the driver.
    pub restarts: u32,
}

impl Phy {
    /// As the boot loader leaves it: negotiating everything, delays at their reset values.
    pub(super) fn new() -> Self {
        Self {
            is_present: true,
            address: 1,
            negotiation: Duration::from_millis(2500),
            control: 0x1140,
            offer: 0x0de1,
            gigabit_offer: 0x0200,
            aux_misc: 0x70e7,
            aux_select: 0,
            shadow_clock: 0x0200,
            shadow_select: 0,
            mmd_control: 0,
            mmd_address: 0,
            eee_offer: 0x0006,
            partner: None,
            up_at: None,
            was_down: true,
            errors: vec![],
            restarts: 0,
        }
    }

    /// Plugs a cable in.
    pub fn plug(&mut self, partner: Partner) {
        self.unplug();
        self.partner = Some(partner);
        self.negotiate();
    }

    /// Pulls the cable.
    pub fn unplug(&mut self) {
        self.partner = None;
        self.up_at = None;
        self.was_down = true;
    }

    /// Loses the link for a moment; it is back before anybody looks.
    pub fn glitch(&mut self) {
        self.was_down = true;
    }

    /// Returns the negotiated speed in Mbit/s and whether it is full duplex, while the link is up.
    #[must_use]
    pub fn link(&self) -> Option<(u32, bool)> {
        let partner = self.partner.filter(|_| self.up_at.is_some_and(|at| Instant::now() >= at))?;
        let both = self.offer & partner.abilities;
        Some(if self.gigabit_offer & 0x200 != 0 && partner.gigabit & 0x800 != 0 {
            (1000, true)
        } else if both & 0x180 != 0 {
            (100, both & 0x100 != 0)
        } else {
            (10, both & 0x40 != 0)
        })
    }

    /// Returns whether the receive clock comes late by 2 ns and the transmit clock does not, as `rgmii-rxid` asks for.
    #[must_use]
    pub fn has_delays_right(&self) -> bool {
        self.aux_misc & 0x100 != 0 && self.shadow_clock & 0x200 == 0
    }

    /// Returns whether Energy Efficient Ethernet is offered.
    #[must_use]
    pub fn offers_eee(&self) -> bool {
        self.eee_offer != 0
    }

    /// Changes what the boot loader has left: control, offer and gigabit offer.
    pub fn leave(&mut self, control: u16, offer: u16, gigabit_offer: u16, eee_offer: u16) {
        (self.control, self.offer, self.gigabit_offer, self.eee_offer) = (control, offer, gigabit_offer, eee_offer);
    }

    fn negotiate(&mut self) {
        self.was_down = true;
        let is_on = self.control & (BMCR_POWER_DOWN | BMCR_ISOLATE) == 0;
        self.up_at = (self.partner.is_some() && is_on).then(|| Instant::now() + self.negotiation);
    }

    pub(super) fn read(&mut self, register: u8) -> u16 {
        let link = self.link();
        match register {
            0 => self.control,
            1 => {
                let is_up = link.is_some() && !self.was_down;
                // The bit tells the truth again once it was read.
                self.was_down = link.is_none();
                let negotiated = if link.is_some() { BMSR_NEGOTIATED } else { 0 };
                BMSR | negotiated | if is_up { BMSR_LINK } else { 0 }
            }
            2 => ID[0],
            3 => ID[1],
            4 => self.offer,
            5 => link.and(self.partner).map_or(0, |partner| partner.abilities),
            9 => self.gigabit_offer,
            10 => link.and(self.partner).map_or(0, |partner| partner.gigabit),
            13 => self.mmd_control,
            14 if self.mmd_control == 0x4007 && self.mmd_address == 60 => self.eee_offer,
            0x18 if self.aux_select == 0x7007 => self.aux_misc,
            0x1c if self.shadow_select == 3 => 3 << 10 | self.shadow_clock,
            _ => {
                self.errors.push(format!("read of PHY register {register:#x} without selecting one that exists"));
                0
            }
        }
    }

    pub(super) fn write(&mut self, register: u8, value: u16) {
        match register {
            0 => {
                if value & BMCR_RESET != 0 {
                    *self = Self { partner: self.partner, address: self.address, ..Self::new() };
                    return;
                }
                self.control = value & !BMCR_RESTART;
                if value & BMCR_RESTART != 0 && value & BMCR_AUTONEGOTIATE != 0 {
                    self.restarts += 1;
                    self.negotiate();
                }
            }
            4 => self.offer = value,
            9 => self.gigabit_offer = value,
            13 => self.mmd_control = value,
            14 if self.mmd_control & 0xc000 == 0 => self.mmd_address = value,
            14 if self.mmd_control == 0x4007 && self.mmd_address == 60 => self.eee_offer = value,
            0x18 if value & 0x8007 == 0x8007 => self.aux_misc = value & 0x0fff | 0x7000,
            0x18 if value & 0x8000 == 0 => self.aux_select = value,
            0x1c if value & 0x8000 == 0 => self.shadow_select = value >> 10 & 0x1f,
            0x1c if value >> 10 & 0x1f == 3 => self.shadow_clock = value & 0x3ff,
            _ => self.errors.push(format!("write of {value:#06x} to PHY register {register:#x}")),
        }
    }
}
