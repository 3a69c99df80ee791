//! Registers of the LAN7800, LAN7850 and LAN7515, as far as they are used.
//!
//! Names, offsets and bits: LAN7800 data sheet (DS00001992), chapter 15; compared with Linux drivers/net/usb/lan78xx.h
//! and NetBSD sys/dev/usb/if_muereg.h.

/// Identifier and revision.
pub(super) const ID_REV: u16 = 0x000;
/// Interrupt status; ones clear.
pub(super) const INT_STS: u16 = 0x00C;
/// How the chip behaves.
pub(super) const HW_CFG: u16 = 0x010;
/// Power, and the PHY's reset.
pub(super) const PMT_CTL: u16 = 0x014;
/// How it behaves towards USB.
pub(super) const USB_CFG0: u16 = 0x080;
/// Longest burst, in packets.
pub(super) const BURST_CAP: u16 = 0x090;
/// How long a burst waits for more frames.
pub(super) const BULK_IN_DLY: u16 = 0x094;
/// What the interrupt endpoint tells.
pub(super) const INT_EP_CTL: u16 = 0x098;
/// Which frames are taken.
pub(super) const RFE_CTL: u16 = 0x0B0;
/// The receive FIFO.
pub(super) const FCT_RX_CTL: u16 = 0x0C0;
/// The transmit FIFO.
pub(super) const FCT_TX_CTL: u16 = 0x0C4;
/// Last block of 512 bytes of the receive FIFO.
pub(super) const FCT_RX_FIFO_END: u16 = 0x0C8;
/// Last block of 512 bytes of the transmit FIFO.
pub(super) const FCT_TX_FIFO_END: u16 = 0x0CC;
/// When to ask for pauses.
pub(super) const FCT_FLOW: u16 = 0x0D0;
/// The MAC.
pub(super) const MAC_CR: u16 = 0x100;
/// Its receiver.
pub(super) const MAC_RX: u16 = 0x104;
/// Its transmitter.
pub(super) const MAC_TX: u16 = 0x108;
/// Pause frames.
pub(super) const FLOW: u16 = 0x10C;
/// Address, bytes 4 and 5: whose pause frames are these.
pub(super) const RX_ADDRH: u16 = 0x118;
/// Address, bytes 0 to 3, the first one lowest.
pub(super) const RX_ADDRL: u16 = 0x11C;
/// Way to the PHY.
pub(super) const MII_ACC: u16 = 0x120;
/// Its data.
pub(super) const MII_DATA: u16 = 0x124;
/// First entry of the perfect filter: bytes 4 and 5.
pub(super) const MAF_HI: u16 = 0x400;
/// First entry of the perfect filter: bytes 0 to 3.
pub(super) const MAF_LO: u16 = 0x404;

/// HW_CFG: the pins of LED 0 and LED 1 are LEDs.
pub(super) const HW_CFG_LEDS: u32 = 1 << 20 | 1 << 21;
/// HW_CFG: several frames in a transfer.
pub(super) const HW_CFG_MEF: u32 = 1 << 4;
/// HW_CFG: resets everything but the USB side; clears itself.
pub(super) const HW_CFG_LRST: u32 = 1 << 1;

/// PMT_CTL: the chip is ready.
pub(super) const PMT_CTL_READY: u32 = 1 << 7;
/// PMT_CTL: resets the PHY; clears itself.
pub(super) const PMT_CTL_PHY_RST: u32 = 1 << 4;

/// USB_CFG0: answers NAK, not an empty packet, when it has no frame.
pub(super) const USB_CFG0_BIR: u32 = 1 << 6;
/// USB_CFG0: BURST_CAP counts.
pub(super) const USB_CFG0_BCE: u32 = 1 << 5;

/// INT_STS, INT_EP_CTL and the interrupt endpoint's word: command words and bytes to send do not agree.
pub(super) const INT_TXE: u32 = 1 << 21;
/// The same: the PHY.
pub(super) const INT_PHY: u32 = 1 << 17;

/// RFE_CTL: takes frames to everybody.
pub(super) const RFE_CTL_BROADCAST: u32 = 1 << 10;
/// RFE_CTL: takes frames to every group.
pub(super) const RFE_CTL_MULTICAST: u32 = 1 << 9;
/// RFE_CTL: takes frames to the addresses in the perfect filter.
pub(super) const RFE_CTL_PERFECT: u32 = 1 << 1;
/// RFE_CTL: checksum offload, every address, VLAN filters and stripping, hashes: all off.
pub(super) const RFE_CTL_OFF: u32 = 0xF << 11 | 1 << 8 | 1 << 7 | 1 << 6 | 1 << 5 | 1 << 4 | 1 << 3 | 1 << 2;

/// FCT_RX_CTL and FCT_TX_CTL: on.
pub(super) const FCT_ON: u32 = 1 << 31;
/// FCT_TX_CTL: bytes in the FIFO.
pub(super) const FCT_USED: u32 = 0xFFFF;

/// MAC_CR: energy-efficient Ethernet.
pub(super) const MAC_CR_EEE: u32 = 1 << 17;
/// MAC_CR: takes speed and duplex from the PHY.
pub(super) const MAC_CR_AUTO: u32 = 1 << 12 | 1 << 11;

/// MAC_RX: longest frame with its FCS.
pub(super) const MAC_RX_MAX_SIZE: u32 = 0x3FFF << 16;
/// See [`MAC_RX_MAX_SIZE`].
pub(super) const MAC_RX_MAX_SIZE_SHIFT: u32 = 16;
/// MAC_RX: takes the FCS off.
pub(super) const MAC_RX_FCS_STRIP: u32 = 1 << 4;
/// MAC_RX, MAC_TX: on.
pub(super) const MAC_ON: u32 = 1;

/// FLOW: asks for pauses.
pub(super) const FLOW_TX: u32 = 1 << 30;
/// FLOW: pauses when asked.
pub(super) const FLOW_RX: u32 = 1 << 29;
/// FLOW: length of a pause that it asks for.
pub(super) const FLOW_PAUSE_TIME: u32 = 0xFFFF;

/// MAF_HI: the entry counts.
pub(super) const MAF_HI_VALID: u32 = 1 << 31;

/// PHY: what it interrupts for (Linux microchipphy.h, as the others of the PHY).
pub(super) const PHY_INT_MASK: u8 = 0x19;
/// PHY: why it interrupts; cleared by reading.
pub(super) const PHY_INT_STATUS: u8 = 0x1A;
/// PHY: what each LED shows, four bits for each.
pub(super) const PHY_LED_MODE: u8 = 0x1D;
/// PHY_INT_MASK: interrupts at all.
pub(super) const PHY_INT_ON: u16 = 1 << 15;
/// PHY_INT_MASK: the link came up or went down.
pub(super) const PHY_INT_LINK: u16 = 1 << 13;
