//! Bringing the chip up, and what it is told when the link changes.

use usb::device::Device;
use usb::host::Speed;

use super::NAME;
use super::framing::{HEADROOM, Lan95xxFraming, RX_OFFSET};
use super::registers::*;
use crate::events::NicEvent;
use crate::mii::{Negotiated, ability};
use crate::usbnet::{
    Block, BoardInfo, Bursts, Chip, Counted, Phy, Registers, Started, UsbNicError, mac_words, read_mac,
};

/// How long a burst waits for more frames, in units of 16.667 ns: see the module.
const BULK_IN_DELAY: u32 = 0x2000;
/// Most packets in a burst: of 64 bytes, at full speed, FreeBSD allows 128 (`smsc_chip_init`).
const BURST_CAP_MAX: u32 = 128;
/// EtherType of a VLAN tag (IEEE 802.1Q).
const VLAN: u32 = 0x8100;

/// The chip.
pub(super) struct Lan95xx<'d, 'b> {
    registers: Registers<'d, 'b>,
    phy: Phy<'d, 'b>,
    speed: Speed,
    /// MAC_CR as it was last written.
    mac_cr: u32,
    /// Room in the transmit FIFO when it is empty.
    tx_room: u32,
}

impl<'d, 'b> Lan95xx<'d, 'b> {
    pub(super) fn new(device: &'d Device<'b>) -> Self {
        let registers = Registers::new(device);
        Self { registers, phy: Phy::new(registers, MII_ADDR, MII_DATA), speed: device.speed(), mac_cr: 0, tx_room: 0 }
    }

    async fn start_phy(&self) -> Result<u32, UsbNicError> {
        let phy = self.phy;
        let id = phy.reset().await?;
        phy.read(PHY_INT_SOURCE).await?;
        phy.write(PHY_INT_MASK, PHY_INT_AUTONEG | PHY_INT_DOWN).await?;
        phy.negotiate(ability::ALL).await?;
        Ok(id)
    }
}

impl Chip for Lan95xx<'_, '_> {
    type Framing = Lan95xxFraming;
    const NAME: &'static str = NAME;
    const TX_HEADROOM: usize = HEADROOM;
    const PHY_EVENT: u32 = INT_PHY;
    const TX_ERRORS: u32 = INT_TXE;
    const PHY_INTERRUPT_SOURCE: u8 = PHY_INT_SOURCE;
    const HAS_1000: bool = false;
    /// LAN950x data sheet, tables 5-38 and 5-39; LAN9730 data sheet (DS00001946), tables 4-37 to 4-39, for the index.
    const STATISTICS: &'static [Block] = &[
        Block {
            index: 0,
            len: 32,
            counters: &[
                (0x04, Counted::RxError(NicEvent::RxCrc)),
                (0x08, Counted::RxError(NicEvent::RxLength)),
                (0x0C, Counted::RxError(NicEvent::RxCrc)),
                (0x10, Counted::RxError(NicEvent::RxLength)),
                (0x14, Counted::RxError(NicEvent::RxLength)),
                (0x1C, Counted::RxDropped),
            ],
        },
        Block { index: 1, len: 40, counters: &[(0x00, Counted::Sent), (0x24, Counted::TxError)] },
    ];

    fn framing(receive_len: usize) -> Lan95xxFraming {
        Lan95xxFraming { receive_len }
    }

    /// Resets the chip and its PHY, sets both up and starts them. The order is that of FreeBSD `smsc_chip_init` and of Linux
    /// `smsc95xx_reset` (which up to 5.9 did the PHY's part, too), but what HW_CFG gets in two steps there it gets in one.
    async fn start(&mut self, board: &BoardInfo, bursts: Bursts) -> Result<Started, UsbNicError> {
        let registers = self.registers;
        let chip_id = registers.read(ID_REV).await?;
        // Before the reset: an EEPROM's address was put here at power-on. Without one it reads as all ones.
        let own = read_mac(registers.read(ADDRL).await?, registers.read(ADDRH).await?);
        registers.write(HW_CFG, HW_CFG_LRST).await?;
        registers.wait(HW_CFG, HW_CFG_LRST, 0).await?;
        registers.write(PM_CTRL, PM_CTRL_PHY_RST).await?;
        registers.wait(PM_CTRL, PM_CTRL_PHY_RST, 0).await?;
        let mac = board.address(own);
        let (low, high) = mac_words(mac);
        registers.write(ADDRL, low).await?;
        registers.write(ADDRH, high).await?;
        let packet_len = if self.speed == Speed::High { 512 } else { 64 };
        let burst_cap = bursts.burst_len.map_or(0, |len| (len / packet_len).min(BURST_CAP_MAX));
        registers.write(BURST_CAP, burst_cap).await?;
        registers.write(BULK_IN_DLY, BULK_IN_DELAY).await?;
        let offset = (RX_OFFSET as u32) << HW_CFG_RXDOFF_SHIFT;
        let many = if bursts.burst_len.is_some() { HW_CFG_MEF | HW_CFG_BCE } else { 0 };
        registers.modify(HW_CFG, HW_CFG_RXDOFF, HW_CFG_BIR | many | offset).await?;
        registers.write(INT_STS, u32::MAX).await?;
        registers.write(LED_GPIO_CFG, LED_GPIO_CFG_LEDS).await?;
        registers.write(FLOW, 0).await?;
        registers.write(AFC_CFG, AFC_CFG_LEVELS).await?;
        registers.write(VLAN1, VLAN).await?;
        registers.modify(COE_CR, COE_CR_ON, 0).await?;
        let phy_id = self.start_phy().await?;
        registers.modify(INT_EP_CTL, 0, INT_PHY | INT_TXE).await?;
        self.tx_room = registers.read(TX_FIFO_INF).await? & TX_FIFO_INF_FREE;
        self.mac_cr = registers.modify(MAC_CR, MAC_CR_FILTERS, MAC_CR_MCPAS | MAC_CR_TXEN).await?;
        registers.write(TX_CFG, TX_CFG_ON).await?;
        self.mac_cr |= MAC_CR_RXEN;
        registers.write(MAC_CR, self.mac_cr).await?;
        Ok(Started { mac, chip_id, phy_id })
    }

    fn registers(&self) -> Registers<'_, '_> {
        self.registers
    }

    fn phy(&self) -> Phy<'_, '_> {
        self.phy
    }

    /// As Linux `smsc95xx_mac_update_fullduplex` and `smsc95xx_phy_update_flowcontrol`, and FreeBSD `smsc_miibus_statchg`.
    async fn set_link(&mut self, link: Negotiated) -> Result<(), UsbNicError> {
        self.mac_cr &= !(MAC_CR_FDPX | MAC_CR_RCVOWN);
        self.mac_cr |= if link.is_full_duplex { MAC_CR_FDPX } else { MAC_CR_RCVOWN };
        self.registers.write(MAC_CR, self.mac_cr).await?;
        let pause_time = if link.may_send_pause { FLOW_PAUSE_TIME } else { 0 };
        let obey = if link.obeys_pause { FLOW_PAUSE_TIME | FLOW_FCEN } else { 0 };
        self.registers.write(FLOW, pause_time | obey).await?;
        // At half duplex the same bits make collisions, to the same end.
        let frames = if link.may_send_pause || !link.is_full_duplex { AFC_CFG_FRAMES } else { 0 };
        self.registers.write(AFC_CFG, AFC_CFG_LEVELS | frames).await
    }

    async fn read_unsent(&self) -> Result<u32, UsbNicError> {
        let room = self.registers.read(TX_FIFO_INF).await? & TX_FIFO_INF_FREE;
        Ok(self.tx_room.saturating_sub(room))
    }
}
