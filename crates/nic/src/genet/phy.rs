//! The PHY: BCM54213PE (Pi 4B, 400) or BCM54210PE (CM4), at MDIO address 1 (Linux bcm2711-rpi-4-b.dts, phy1), on a
//! CM4 at 0 (bcm2711-rpi-cm4.dtsi).
//!
//! What the boot loader has negotiated is kept when it is what is wanted: renegotiating costs some seconds without link.

use thiserror::Error;

use super::mdio::{MdioBus, MdioError};
use crate::mii::{
    Negotiated, OFFER_1000_FULL, OFFER_1000_HALF, Offers, PARTNER_1000_FULL, PARTNER_1000_HALF, ability, bmcr, bmsr,
    is_phy, register,
};

/// Where most boards have their PHY; asked first.
const ADDRESS: u8 = 1;
/// Addresses of the bus.
const ADDRESSES: u8 = 32;
/// BCM54210E and its kin; the last digit is the revision (measured on a Pi 4B: 0x600d84a2; Linux PHY_ID_BCM54210E and
/// U-Boot broadcom.c: 0x600d84a0 with mask 0xfffffff0).
const FAMILY: u32 = 0x600d_84a0;
const FAMILY_MASK: u32 = 0xffff_fff0;

/// Register 0x18, auxiliary control: shadow registers; bits 2:0 select one for writing, bits 14:12 with the selector 7 one
/// for reading (Linux bcm54xx_auxctl_read and include/linux/brcmphy.h; U-Boot drivers/net/phy/broadcom.c, the same).
const AUXCTL: u8 = 0x18;
const AUXCTL_MISC: u16 = 0x7;
const AUXCTL_READ_MISC: u16 = AUXCTL_MISC << 12 | AUXCTL_MISC;
const AUXCTL_MISC_WRITE: u16 = 0x8000;
/// Delays the receive clock by 2 ns against the data.
const AUXCTL_MISC_RGMII_SKEW: u16 = 0x0100;
/// Register 0x1c: more shadow registers; bits 14:10 select one, bit 15 writes, bits 9:0 are its value (same sources).
const SHADOW: u8 = 0x1c;
const SHADOW_WRITE: u16 = 0x8000;
const SHADOW_VALUE: u16 = 0x03ff;
const SHADOW_CLOCK: u16 = 0x03 << 10;
/// Delays the transmit clock by 2 ns against the data.
const SHADOW_CLOCK_GTX_DELAY: u16 = 1 << 9;

/// `MMD_CONTROL`: what follows is data, not an address (IEEE 802.3, 22.2.4.3.11).
const MMD_DATA_ACCESS: u16 = 1 << 14;
/// Register 7.60: the speeds for which Energy Efficient Ethernet is offered (IEEE 802.3, 45.2.7.13).
const MMD_NEGOTIATION: u16 = 7;
const EEE_OFFER: u16 = 60;

/// Why there is no PHY to work with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum PhyError {
    /// The bus or the PHY failed.
    #[error(transparent)]
    Mdio(#[from] MdioError),
    /// No address of the bus has one.
    #[error("there is no PHY on its MDIO bus")]
    Missing,
}

/// What was found when the link was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Look {
    /// The mode, when the link is up.
    pub(crate) mode: Option<Negotiated>,
    /// Whether the link was down at some time since the last look.
    pub(crate) was_down: bool,
}

/// A PHY.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Phy {
    address: u8,
    /// Registers 2 and 3.
    pub(crate) id: u32,
}

impl Phy {
    /// Looks for a PHY: where it should be, then everywhere.
    pub(crate) async fn find(bus: &mut MdioBus<'_>) -> Result<Self, PhyError> {
        let others = (0..ADDRESSES).filter(|address| *address != ADDRESS);
        for address in core::iter::once(ADDRESS).chain(others) {
            match Self::identify(bus, address).await {
                Ok(Some(phy)) => return Ok(phy),
                Ok(None) | Err(MdioError::Silent { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(PhyError::Missing)
    }

    async fn identify(bus: &mut MdioBus<'_>, address: u8) -> Result<Option<Self>, MdioError> {
        let high = bus.read(address, register::ID1).await?;
        let low = bus.read(address, register::ID2).await?;
        let id = u32::from(high) << 16 | u32::from(low);
        Ok(is_phy(id).then_some(Self { address, id }))
    }

    /// Returns whether this is a PHY of the kind that the boards have, whose clock delays are known.
    pub(crate) fn is_known(&self) -> bool {
        self.id & FAMILY_MASK == FAMILY
    }

    /// Sets the clock delays and what is offered to the partner; negotiates anew if that was something else.
    pub(crate) async fn configure(&self, bus: &mut MdioBus<'_>) -> Result<(), MdioError> {
        if self.is_known() {
            self.set_delays(bus).await?;
        }
        let mut is_changed = self.set(bus, register::ANAR, u16::MAX, ability::ALL).await?;
        // An offer of half duplex stays if it is there: no switch takes it, and a change would cost the link.
        is_changed |= self.set(bus, register::CTRL1000, OFFER_1000_FULL, OFFER_1000_FULL).await?;
        is_changed |= self.stop_saving_energy(bus).await?;
        let control = bus.read(self.address, register::BMCR).await?;
        let off = bmcr::RESET | bmcr::LOOPBACK | bmcr::POWER_DOWN | bmcr::ISOLATE;
        if is_changed || control & off != 0 || control & bmcr::AUTONEG == 0 {
            bus.write(self.address, register::BMCR, bmcr::AUTONEG | bmcr::RESTART).await?;
        }
        Ok(())
    }

    /// `rgmii-rxid`: the PHY delays the receive clock and not the transmit clock, which the MAC delays (Linux
    /// bcm54xx_config_clock_delay; U-Boot the same; measured with Linux: misc 0x71e7).
    async fn set_delays(&self, bus: &mut MdioBus<'_>) -> Result<(), MdioError> {
        bus.write(self.address, AUXCTL, AUXCTL_READ_MISC).await?;
        let misc = bus.read(self.address, AUXCTL).await?;
        if misc & AUXCTL_MISC_RGMII_SKEW == 0 {
            let misc = misc | AUXCTL_MISC | AUXCTL_MISC_WRITE | AUXCTL_MISC_RGMII_SKEW;
            bus.write(self.address, AUXCTL, misc).await?;
        }
        bus.write(self.address, SHADOW, SHADOW_CLOCK).await?;
        let clock = bus.read(self.address, SHADOW).await? & SHADOW_VALUE;
        if clock & SHADOW_CLOCK_GTX_DELAY != 0 {
            let clock = SHADOW_WRITE | SHADOW_CLOCK | clock & !SHADOW_CLOCK_GTX_DELAY;
            bus.write(self.address, SHADOW, clock).await?;
        }
        Ok(())
    }

    /// Offers no Energy Efficient Ethernet: waking up costs latency, and the MAC's part of it has a history of hanging.
    async fn stop_saving_energy(&self, bus: &mut MdioBus<'_>) -> Result<bool, MdioError> {
        bus.write(self.address, register::MMD_CONTROL, MMD_NEGOTIATION).await?;
        bus.write(self.address, register::MMD_DATA, EEE_OFFER).await?;
        bus.write(self.address, register::MMD_CONTROL, MMD_DATA_ACCESS | MMD_NEGOTIATION).await?;
        // All ones are no offer, but a PHY without this register.
        let offer = match bus.read(self.address, register::MMD_DATA).await {
            Err(MdioError::Silent { .. }) => 0,
            offer => offer?,
        };
        if offer != 0 {
            bus.write(self.address, register::MMD_DATA, 0).await?;
        }
        Ok(offer != 0)
    }

    /// Changes the bits `mask` of a register to `value`. Returns whether they were different.
    async fn set(&self, bus: &mut MdioBus<'_>, register: u8, mask: u16, value: u16) -> Result<bool, MdioError> {
        let old = bus.read(self.address, register).await?;
        let new = old & !mask | value;
        if new != old {
            bus.write(self.address, register, new).await?;
        }
        Ok(new != old)
    }

    /// Looks at the link. `is_up` says whether the last look found it up: then the mode is read again only if it went
    /// down in between, and `mode` is `last` otherwise.
    pub(crate) async fn look(&self, bus: &mut MdioBus<'_>, last: Option<Negotiated>) -> Result<Look, MdioError> {
        const UP: u16 = bmsr::LINK | bmsr::AUTONEG_DONE;
        let mut status = bus.read(self.address, register::BMSR).await?;
        let was_down = status & bmsr::LINK == 0;
        if was_down {
            // The bit tells of the past: the second reading is how it is now.
            status = bus.read(self.address, register::BMSR).await?;
        }
        if status & UP != UP {
            return Ok(Look { mode: None, was_down: true });
        }
        if last.is_some() && !was_down {
            return Ok(Look { mode: last, was_down });
        }
        let offers = Offers {
            own: bus.read(self.address, register::ANAR).await?,
            partner: bus.read(self.address, register::ANLPAR).await?,
            own_1000: bus.read(self.address, register::CTRL1000).await?,
            partner_1000: bus.read(self.address, register::STAT1000).await?,
        };
        let is_1000_half = offers.own_1000 & OFFER_1000_HALF != 0
            && offers.partner_1000 & (PARTNER_1000_FULL | PARTNER_1000_HALF) == PARTNER_1000_HALF;
        // Half duplex at 1 Gbit/s is the one mode that no GENET can.
        Ok(Look { mode: (!is_1000_half).then(|| offers.resolve()), was_down })
    }
}
