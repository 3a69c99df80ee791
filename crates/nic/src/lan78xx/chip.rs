//! Bringing the chip up, and what it is told when the link changes.

use usb::device::Device;
use usb::host::Speed;

use super::NAME;
use super::framing::{HEADROOM, Lan78xxFraming, RX_LEN_MAX};
use super::registers::*;
use crate::events::NicEvent;
use crate::mii::{Negotiated, OFFER_1000_FULL, ability, register};
use crate::usbnet::{
    Block, BoardInfo, Bursts, Chip, Counted, Phy, Registers, Started, UsbNicError, mac_words, read_mac,
};

/// How long a burst waits for more frames, in units of 16.667 ns: see the module.
const BULK_IN_DELAY: u32 = 0x0800;
/// Both FIFOs, and the longest burst (Linux `MAX_RX_FIFO_SIZE`, `MAX_TX_FIFO_SIZE`, `DEFAULT_BURST_CAP_SIZE`; NetBSD
/// `MUE_7800_MAX_RX_FIFO_SIZE`, `MUE_7800_MAX_TX_FIFO_SIZE`).
const FIFO_LEN: u32 = 12 * 1024;
/// Blocks of 512 bytes in the receive FIFO from which on, and down to which, the other end is asked to pause, at high
/// speed (Linux `lan78xx_update_flowcontrol`, NetBSD `mue_miibus_statchg`).
const FLOW_LEVELS: u32 = 0x0211;
/// LED 0 is for 1,000 Mbit/s and activity, LED 1 for 10 or 100 Mbit/s and activity, the others are off
/// (dt-bindings/net/microchip-lan78xx.h: 1, 6, 14).
const LED_MODES: u16 = 0xEE61;
/// Device and register of the PHY that offer energy-efficient Ethernet (802.3, table 45-200: 7.60).
const MMD_AUTONEG: u16 = 7;
const EEE_OFFER: u16 = 60;

/// The chip.
pub(super) struct Lan78xx<'d, 'b> {
    registers: Registers<'d, 'b>,
    phy: Phy<'d, 'b>,
    speed: Speed,
}

impl<'d, 'b> Lan78xx<'d, 'b> {
    pub(super) fn new(device: &'d Device<'b>) -> Self {
        let registers = Registers::new(device);
        Self { registers, phy: Phy::new(registers, MII_ACC, MII_DATA), speed: device.speed() }
    }

    async fn start_phy(&self) -> Result<u32, UsbNicError> {
        let phy = self.phy;
        let id = phy.reset().await?;
        phy.write(PHY_LED_MODE, LED_MODES).await?;
        phy.write_mmd(MMD_AUTONEG, EEE_OFFER, 0).await?;
        phy.read(PHY_INT_STATUS).await?;
        phy.write(PHY_INT_MASK, PHY_INT_ON | PHY_INT_LINK).await?;
        phy.write(register::CTRL1000, OFFER_1000_FULL).await?;
        phy.negotiate(ability::ALL).await?;
        Ok(id)
    }
}

impl Chip for Lan78xx<'_, '_> {
    type Framing = Lan78xxFraming;
    const NAME: &'static str = NAME;
    const TX_HEADROOM: usize = HEADROOM;
    const PHY_EVENT: u32 = INT_PHY;
    const TX_ERRORS: u32 = INT_TXE;
    const PHY_INTERRUPT_SOURCE: u8 = PHY_INT_STATUS;
    const HAS_1000: bool = true;
    /// Linux `struct lan78xx_statstage`.
    const STATISTICS: &'static [Block] = &[Block {
        index: 0,
        len: 4 * 47,
        counters: &[
            (0, Counted::RxError(NicEvent::RxCrc)),
            (4, Counted::RxError(NicEvent::RxCrc)),
            (4 * 2, Counted::RxError(NicEvent::RxFragment)),
            (4 * 3, Counted::RxError(NicEvent::RxLength)),
            (4 * 4, Counted::RxError(NicEvent::RxLength)),
            (4 * 5, Counted::RxError(NicEvent::RxLength)),
            (4 * 6, Counted::RxDropped),
            (4 * 23, Counted::TxError),
            (4 * 24, Counted::TxError),
            (4 * 25, Counted::TxError),
            (4 * 29, Counted::TxError),
            (4 * 30, Counted::TxError),
            (4 * 34, Counted::Sent),
            (4 * 35, Counted::Sent),
            (4 * 36, Counted::Sent),
        ],
    }];

    fn framing(receive_len: usize) -> Lan78xxFraming {
        Lan78xxFraming { receive_len }
    }

    /// Resets the chip and its PHY, sets both up and starts them. The order is that of Linux `lan78xx_reset` and
    /// `lan78xx_open`. Where data gets to next is started first: the MAC's transmitter before the transmit FIFO, the receive
    /// FIFO before the MAC's receiver, of which it would otherwise get a part of a frame (Linux `lan78xx_start_tx_path`,
    /// `lan78xx_start_rx_path`; NetBSD `mue_chip_init` and then `mue_setmtu`).
    async fn start(&mut self, board: &BoardInfo, bursts: Bursts) -> Result<Started, UsbNicError> {
        let registers = self.registers;
        let chip_id = registers.read(ID_REV).await?;
        // Before the reset: an address from OTP memory or an EEPROM was put here at power-on.
        let own = read_mac(registers.read(RX_ADDRL).await?, registers.read(RX_ADDRH).await?);
        registers.modify(HW_CFG, 0, HW_CFG_LRST).await?;
        registers.wait(HW_CFG, HW_CFG_LRST, 0).await?;
        let mac = board.address(own);
        let (low, high) = mac_words(mac);
        registers.write(RX_ADDRL, low).await?;
        registers.write(RX_ADDRH, high).await?;
        registers.write(MAF_LO, low).await?;
        registers.write(MAF_HI, high | MAF_HI_VALID).await?;
        let packet_len = if self.speed == Speed::High { 512 } else { 64 };
        let burst_cap = bursts.burst_len.map_or(0, |len| len.min(FIFO_LEN) / packet_len);
        registers.write(BURST_CAP, burst_cap).await?;
        registers.write(BULK_IN_DLY, BULK_IN_DELAY).await?;
        let (many, capped) = if bursts.burst_len.is_some() { (HW_CFG_MEF, USB_CFG0_BCE) } else { (0, 0) };
        registers.modify(HW_CFG, 0, many | HW_CFG_LEDS).await?;
        registers.modify(USB_CFG0, 0, USB_CFG0_BIR | capped).await?;
        registers.write(FCT_RX_FIFO_END, FIFO_LEN / 512 - 1).await?;
        registers.write(FCT_TX_FIFO_END, FIFO_LEN / 512 - 1).await?;
        registers.write(INT_STS, u32::MAX).await?;
        registers.write(FLOW, 0).await?;
        registers.write(FCT_FLOW, 0).await?;
        let accept = RFE_CTL_BROADCAST | RFE_CTL_MULTICAST | RFE_CTL_PERFECT;
        registers.modify(RFE_CTL, RFE_CTL_OFF, accept).await?;
        registers.modify(PMT_CTL, 0, PMT_CTL_PHY_RST).await?;
        registers.wait(PMT_CTL, PMT_CTL_PHY_RST | PMT_CTL_READY, PMT_CTL_READY).await?;
        let phy_id = self.start_phy().await?;
        registers.modify(INT_EP_CTL, 0, INT_PHY | INT_TXE).await?;
        registers.modify(MAC_CR, MAC_CR_EEE, MAC_CR_AUTO).await?;
        registers.modify(MAC_TX, 0, MAC_ON).await?;
        registers.modify(FCT_TX_CTL, 0, FCT_ON).await?;
        // The longest frame may only be set while the receiver is off.
        let off = MAC_RX_MAX_SIZE | MAC_RX_FCS_STRIP | MAC_ON;
        registers.modify(MAC_RX, off, (RX_LEN_MAX as u32) << MAC_RX_MAX_SIZE_SHIFT).await?;
        registers.modify(FCT_RX_CTL, 0, FCT_ON).await?;
        registers.modify(MAC_RX, 0, MAC_ON).await?;
        Ok(Started { mac, chip_id, phy_id })
    }

    fn registers(&self) -> Registers<'_, '_> {
        self.registers
    }

    fn phy(&self) -> Phy<'_, '_> {
        self.phy
    }

    /// Speed and duplex the MAC takes from the PHY by itself. The levels come before what uses them (NetBSD
    /// `mue_miibus_statchg`).
    async fn set_link(&mut self, link: Negotiated) -> Result<(), UsbNicError> {
        let levels = if self.speed == Speed::High { FLOW_LEVELS } else { 0 };
        self.registers.write(FCT_FLOW, levels).await?;
        let send = if link.may_send_pause { FLOW_TX | FLOW_PAUSE_TIME } else { 0 };
        let obey = if link.obeys_pause { FLOW_RX } else { 0 };
        self.registers.write(FLOW, send | obey).await
    }

    async fn read_unsent(&self) -> Result<u32, UsbNicError> {
        Ok(self.registers.read(FCT_TX_CTL).await? & FCT_USED)
    }
}
