//! Registers of the LAN9512, LAN9514 and their relatives, as far as they are used.
//!
//! Names, offsets and bits: LAN950x data sheet (DS00001875), chapter 7; compared with Linux drivers/net/usb/smsc95xx.h and
//! FreeBSD sys/dev/usb/net/if_smscreg.h.

/// Identifier and revision.
pub(super) const ID_REV: u16 = 0x00;
/// Interrupt status; ones clear.
pub(super) const INT_STS: u16 = 0x08;
/// Transmitter; see [`TX_CFG_ON`].
pub(super) const TX_CFG: u16 = 0x10;
/// How it behaves towards USB.
pub(super) const HW_CFG: u16 = 0x14;
/// Room in the transmit FIFO.
pub(super) const TX_FIFO_INF: u16 = 0x1C;
/// Power, and the PHY's reset.
pub(super) const PM_CTRL: u16 = 0x20;
/// Pins of the LEDs.
pub(super) const LED_GPIO_CFG: u16 = 0x24;
/// When to ask for pauses.
pub(super) const AFC_CFG: u16 = 0x2C;
/// Longest burst, in packets.
pub(super) const BURST_CAP: u16 = 0x38;
/// What the interrupt endpoint tells.
pub(super) const INT_EP_CTL: u16 = 0x68;
/// How long a burst waits for more frames.
pub(super) const BULK_IN_DLY: u16 = 0x6C;
/// The MAC.
pub(super) const MAC_CR: u16 = 0x100;
/// Address, bytes 4 and 5.
pub(super) const ADDRH: u16 = 0x104;
/// Address, bytes 0 to 3, the first one lowest.
pub(super) const ADDRL: u16 = 0x108;
/// Way to the PHY.
pub(super) const MII_ADDR: u16 = 0x114;
/// Its data.
pub(super) const MII_DATA: u16 = 0x118;
/// Pause frames.
pub(super) const FLOW: u16 = 0x11C;
/// EtherType of the first VLAN tag.
pub(super) const VLAN1: u16 = 0x120;
/// Checksum offload.
pub(super) const COE_CR: u16 = 0x130;

/// TX_CFG: on.
pub(super) const TX_CFG_ON: u32 = 1 << 2;

/// HW_CFG: answers NAK, not an empty packet, when it has no frame.
pub(super) const HW_CFG_BIR: u32 = 1 << 12;
/// HW_CFG: bytes between the status word and the frame.
pub(super) const HW_CFG_RXDOFF: u32 = 3 << 9;
/// See [`HW_CFG_RXDOFF`].
pub(super) const HW_CFG_RXDOFF_SHIFT: u32 = 9;
/// HW_CFG: several frames in a transfer.
pub(super) const HW_CFG_MEF: u32 = 1 << 5;
/// HW_CFG: resets everything but the USB side; clears itself.
pub(super) const HW_CFG_LRST: u32 = 1 << 3;
/// HW_CFG: BURST_CAP counts.
pub(super) const HW_CFG_BCE: u32 = 1 << 1;

/// TX_FIFO_INF: bytes of room.
pub(super) const TX_FIFO_INF_FREE: u32 = 0xFFFF;

/// PM_CTRL: resets the PHY; clears itself.
pub(super) const PM_CTRL_PHY_RST: u32 = 1 << 4;

/// LED_GPIO_CFG: the three pins are LEDs for speed, link and activity, and full duplex.
pub(super) const LED_GPIO_CFG_LEDS: u32 = 1 << 24 | 1 << 20 | 1 << 16;

/// AFC_CFG: asks for a pause, or makes collisions at half duplex, when the FIFO holds 15.5 KB, until it is down to 3 KB;
/// for 350 µs. Linux and FreeBSD: `AFC_CFG_DEFAULT`, without its lowest bit, which is one of those below.
pub(super) const AFC_CFG_LEVELS: u32 = 0x00F8_30A0;
/// AFC_CFG: on any frame.
pub(super) const AFC_CFG_FRAMES: u32 = 0xF;

/// INT_STS, INT_EP_CTL and the interrupt endpoint's word: the PHY.
pub(super) const INT_PHY: u32 = 1 << 15;
/// The same: command words and bytes to send do not agree.
pub(super) const INT_TXE: u32 = 1 << 14;

/// MAC_CR: does not hear itself, for half duplex.
pub(super) const MAC_CR_RCVOWN: u32 = 1 << 23;
/// MAC_CR: full duplex.
pub(super) const MAC_CR_FDPX: u32 = 1 << 20;
/// MAC_CR: takes frames to every group.
pub(super) const MAC_CR_MCPAS: u32 = 1 << 19;
/// MAC_CR: promiscuous, inverse, bad frames, hash only, hash and perfect, no broadcast: all off.
pub(super) const MAC_CR_FILTERS: u32 = 1 << 18 | 1 << 17 | 1 << 16 | 1 << 15 | 1 << 13 | 1 << 11;
/// MAC_CR: sends.
pub(super) const MAC_CR_TXEN: u32 = 1 << 3;
/// MAC_CR: receives.
pub(super) const MAC_CR_RXEN: u32 = 1 << 2;

/// FLOW: length of a pause that it asks for.
pub(super) const FLOW_PAUSE_TIME: u32 = 0xFFFF << 16;
/// FLOW: pauses when asked.
pub(super) const FLOW_FCEN: u32 = 1 << 1;

/// COE_CR: offload when sending, when receiving.
pub(super) const COE_CR_ON: u32 = 1 << 16 | 1;

/// PHY: why it interrupts; cleared by reading.
pub(super) const PHY_INT_SOURCE: u8 = 29;
/// PHY: what it interrupts for.
pub(super) const PHY_INT_MASK: u8 = 30;
/// PHY: negotiation is over.
pub(super) const PHY_INT_AUTONEG: u16 = 1 << 6;
/// PHY: the link went down.
pub(super) const PHY_INT_DOWN: u16 = 1 << 4;
