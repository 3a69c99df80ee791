//! The registers of Microchip's (once SMSC's) controllers, which are reached by vendor requests, and the PHY behind two of
//! them. Both families have the same requests and the same way to the PHY (LAN950x data sheet DS00001875, 5.3.3; LAN7800 data
//! sheet DS00001992; Linux smsc95xx.h and lan78xx.h, FreeBSD if_smscreg.h).

use embassy_time::{Duration, Instant, Timer};
use usb::device::Device;
use usb::setup::Setup;

use super::UsbNicError;
use crate::MacAddress;
use crate::mii::{self, Offers, bmcr, bmsr, register};

/// `bmRequestType` of vendor requests to the device.
const VENDOR_OUT: u8 = 0x40;
const VENDOR_IN: u8 = 0xC0;
/// Vendor requests (LAN950x data sheet, tables 5-32 to 5-37).
const WRITE: u8 = 0xA0;
const READ: u8 = 0xA1;
const GET_STATISTICS: u8 = 0xA2;
/// How long a bit that clears itself may take. Linux and FreeBSD allow 1 s; no data sheet gives a limit.
const READY_TIMEOUT: Duration = Duration::from_secs(1);
/// Rest between two looks at it: the first one sees most of them done.
const READY_REST: Duration = Duration::from_millis(1);
/// How long a PHY may take to answer after a reset of the controller. No data sheet gives a limit for the PHY inside; Linux
/// scans the bus once, later.
const PHY_ANSWER_TIMEOUT: Duration = Duration::from_millis(100);
/// MII access: the busy bit and the direction, in the same places in both families (Linux `MII_BUSY_`, `MII_WRITE_`;
/// FreeBSD `SMSC_MII_BUSY`, NetBSD `MUE_MII_ACCESS_BUSY`).
const MII_BUSY: u32 = 1;
const MII_WRITE: u32 = 1 << 1;
/// Address of the PHY inside (Linux `SMSC95XX_INTERNAL_PHY_ID`, FreeBSD `sc_phyno`; bcm283x-rpi-lan7515.dtsi,
/// `ethernet-phy@1`).
const PHY_ADDRESS: u32 = 1;

/// How long the bursts are that a controller is told to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bursts {
    /// Most bytes of a receive.
    pub(crate) receive_len: usize,
    /// Most bytes of a burst; `None` when there is only room for one frame.
    pub(crate) burst_len: Option<u32>,
}

impl Bursts {
    /// Most bytes of a receive that is worth a buffer: the FIFOs have 20 and 12 KiB.
    pub(crate) const RECEIVE_LEN_MAX: usize = 16 * 1024;
    /// By so much a burst may be longer than the controller was told, or by the frame that it was in the middle of. FreeBSD leaves
    /// 1,536 bytes (37 packets of 512 for buffers of 20,480 bytes in if_smsc.c).
    const MARGIN: usize = 2048;

    /// Makes the best of receive buffers of this length.
    pub(crate) fn new(buffer_len: usize) -> Self {
        let receive_len = buffer_len.min(Self::RECEIVE_LEN_MAX);
        let burst_len = receive_len.saturating_sub(Self::MARGIN);
        let is_worth_it = burst_len >= Self::MARGIN;
        Self { receive_len, burst_len: u32::try_from(burst_len).ok().filter(|_| is_worth_it) }
    }
}

/// What is known of a controller that has been started.
pub(crate) struct Started {
    /// Its address.
    pub(crate) mac: MacAddress,
    /// Chip and revision.
    pub(crate) chip_id: u32,
    /// The PHY's identifier.
    pub(crate) phy_id: u32,
}

/// A controller's registers.
#[derive(Clone, Copy)]
pub(crate) struct Registers<'d, 'b> {
    device: &'d Device<'b>,
}

impl<'d, 'b> Registers<'d, 'b> {
    pub(crate) fn new(device: &'d Device<'b>) -> Self {
        Self { device }
    }

    pub(crate) async fn read(&self, register: u16) -> Result<u32, UsbNicError> {
        let setup = Setup { request_type: VENDOR_IN, request: READ, value: 0, index: register };
        let mut bytes = [0; 4];
        if self.device.control_in(setup, &mut bytes).await? < bytes.len() {
            return Err(UsbNicError::Silent { command: register.into() });
        }
        Ok(u32::from_le_bytes(bytes))
    }

    pub(crate) async fn write(&self, register: u16, value: u32) -> Result<(), UsbNicError> {
        let setup = Setup { request_type: VENDOR_OUT, request: WRITE, value: 0, index: register };
        Ok(self.device.control_out(setup, &value.to_le_bytes()).await?)
    }

    /// Clears and then sets bits; returns the new value.
    pub(crate) async fn modify(&self, register: u16, clear: u32, set: u32) -> Result<u32, UsbNicError> {
        let value = self.read(register).await? & !clear | set;
        self.write(register, value).await?;
        Ok(value)
    }

    /// Waits until of the bits in `mask` those in `wanted` are set and the others clear.
    pub(crate) async fn wait(&self, register: u16, mask: u32, wanted: u32) -> Result<(), UsbNicError> {
        let deadline = Instant::now() + READY_TIMEOUT;
        loop {
            let value = self.read(register).await?;
            if value & mask == wanted {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(UsbNicError::NotReady { register, value });
            }
            Timer::after(READY_REST).await;
        }
    }

    /// Reads a block of statistics, and returns its length: words, little-endian.
    pub(crate) async fn read_statistics(&self, index: u16, bytes: &mut [u8]) -> Result<usize, UsbNicError> {
        let setup = Setup { request_type: VENDOR_IN, request: GET_STATISTICS, value: 0, index };
        Ok(self.device.control_in(setup, bytes).await?)
    }
}

/// The way to the PHY: a register for what is asked and one for its data.
#[derive(Clone, Copy)]
pub(crate) struct Phy<'d, 'b> {
    registers: Registers<'d, 'b>,
    access: u16,
    data: u16,
}

impl<'d, 'b> Phy<'d, 'b> {
    pub(crate) fn new(registers: Registers<'d, 'b>, access: u16, data: u16) -> Self {
        Self { registers, access, data }
    }

    pub(crate) async fn read(&self, register: u8) -> Result<u16, UsbNicError> {
        self.ask(register, 0).await?;
        let [low, high, ..] = self.registers.read(self.data).await?.to_le_bytes();
        Ok(u16::from_le_bytes([low, high]))
    }

    pub(crate) async fn write(&self, register: u8, value: u16) -> Result<(), UsbNicError> {
        self.registers.write(self.data, value.into()).await?;
        self.ask(register, MII_WRITE).await
    }

    /// One access; the way is free again when this returns, and nobody else uses it.
    async fn ask(&self, register: u8, direction: u32) -> Result<(), UsbNicError> {
        let what = PHY_ADDRESS << 11 | u32::from(register & 31) << 6 | direction | MII_BUSY;
        self.registers.write(self.access, what).await?;
        self.registers.wait(self.access, MII_BUSY, 0).await
    }

    /// Writes a register of a device inside the PHY (802.3, 22.2.4.3.11).
    pub(crate) async fn write_mmd(&self, device: u16, register: u16, value: u16) -> Result<(), UsbNicError> {
        const DATA: u16 = 1 << 14;
        self.write(register::MMD_CONTROL, device).await?;
        self.write(register::MMD_DATA, register).await?;
        self.write(register::MMD_CONTROL, DATA | device).await?;
        self.write(register::MMD_DATA, value).await
    }

    /// Resets the PHY and returns its identifier.
    pub(crate) async fn reset(&self) -> Result<u32, UsbNicError> {
        // The way must be free before the first access; a reset leaves it so, but a firmware may not have.
        self.registers.wait(self.access, MII_BUSY, 0).await?;
        let id = self.read_id().await?;
        self.write(register::BMCR, bmcr::RESET).await?;
        // 802.3, 22.2.4.1.1: half a second at most.
        let deadline = Instant::now() + Duration::from_millis(500);
        while self.read(register::BMCR).await? & bmcr::RESET != 0 {
            if Instant::now() >= deadline {
                return Err(UsbNicError::NoPhy { id });
            }
            Timer::after(READY_REST).await;
        }
        Ok(id)
    }

    /// Reads the identifier as soon as the PHY, which may just have been reset, answers.
    async fn read_id(&self) -> Result<u32, UsbNicError> {
        let deadline = Instant::now() + PHY_ANSWER_TIMEOUT;
        loop {
            let upper = self.read(register::ID1).await?;
            let id = u32::from(upper) << 16 | u32::from(self.read(register::ID2).await?);
            // The second half may be the first that it answers.
            if mii::is_phy(id) && upper != u16::MAX {
                return Ok(id);
            }
            if Instant::now() >= deadline {
                return Err(UsbNicError::NoPhy { id });
            }
            Timer::after(READY_REST).await;
        }
    }

    /// Offers what this end can do, and negotiates anew.
    pub(crate) async fn negotiate(&self, offer: u16) -> Result<(), UsbNicError> {
        self.write(register::ANAR, offer).await?;
        self.write(register::BMCR, bmcr::AUTONEG | bmcr::RESTART).await
    }

    /// Returns whether the link is up now, and whether it was up all the time since the last call.
    pub(crate) async fn read_link(&self) -> Result<(bool, bool), UsbNicError> {
        let is_up = |status: u16| status & (bmsr::LINK | bmsr::AUTONEG_DONE) == bmsr::LINK | bmsr::AUTONEG_DONE;
        if is_up(self.read(register::BMSR).await?) {
            return Ok((true, true));
        }
        // The bit tells that the link was lost until it has been read.
        Ok((is_up(self.read(register::BMSR).await?), false))
    }

    /// Reads what both ends offer.
    pub(crate) async fn read_offers(&self, has_1000: bool) -> Result<Offers, UsbNicError> {
        let mut offers = Offers {
            own: self.read(register::ANAR).await?,
            partner: self.read(register::ANLPAR).await?,
            ..Offers::default()
        };
        if has_1000 {
            offers.own_1000 = self.read(register::CTRL1000).await?;
            offers.partner_1000 = self.read(register::STAT1000).await?;
        }
        Ok(offers)
    }
}

/// Returns the address in ADDRL and ADDRH; also the LAN7800's RX_ADDRL and RX_ADDRH.
pub(crate) fn read_mac(low: u32, high: u32) -> Option<MacAddress> {
    let ([a, b, c, d], [e, f, ..]) = (low.to_le_bytes(), high.to_le_bytes());
    Some(MacAddress([a, b, c, d, e, f])).filter(|mac| mac.is_station())
}

/// Returns ADDRL and ADDRH for an address.
pub(crate) fn mac_words(MacAddress([a, b, c, d, e, f]): MacAddress) -> (u32, u32) {
    (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, 0, 0]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bursts_leave_room_for_the_frame_that_they_end_in() {
        assert_eq!(Bursts::new(2048), Bursts { receive_len: 2048, burst_len: None });
        assert_eq!(Bursts::new(8192), Bursts { receive_len: 8192, burst_len: Some(6144) });
        assert_eq!(Bursts::new(1 << 20), Bursts { receive_len: 16_384, burst_len: Some(14_336) });
    }

    #[test]
    fn the_first_byte_of_an_address_is_the_lowest() {
        let mac = MacAddress([0xB8, 0x27, 0xEB, 1, 2, 3]);
        assert_eq!(mac_words(mac), (0x01EB_27B8, 0x0302));
        assert_eq!(read_mac(0x01EB_27B8, 0x0302), Some(mac));
        assert_eq!(read_mac(u32::MAX, 0xFFFF), None, "no EEPROM");
        assert_eq!(read_mac(0, 0), None);
    }
}
