//! Registers of the LAN9514's Ethernet function, with their reset values.
//!
//! Names and addresses: LAN950x data sheet DS00001875A, chapter 7 (the LAN9514's own data sheet has only the hub and the
//! pins), and Linux smsc95xx.h, which agree with FreeBSD if_smscreg.h. Reset values: the data sheet, where this
//! comment does not say otherwise.

/// A register: address, reset value, bits that can be written.
pub(super) type Register = (u16, u32, u32);

pub(super) const ID_REV: u16 = 0x00;
pub(super) const INT_STS: u16 = 0x08;
pub(super) const RX_CFG: u16 = 0x0C;
pub(super) const TX_CFG: u16 = 0x10;
pub(super) const HW_CFG: u16 = 0x14;
pub(super) const RX_FIFO_INF: u16 = 0x18;
pub(super) const TX_FIFO_INF: u16 = 0x1C;
pub(super) const PM_CTRL: u16 = 0x20;
pub(super) const E2P_CMD: u16 = 0x30;
pub(super) const BURST_CAP: u16 = 0x38;
pub(super) const INT_EP_CTL: u16 = 0x68;
pub(super) const BULK_IN_DLY: u16 = 0x6C;
pub(super) const MAC_CR: u16 = 0x100;
pub(super) const ADDRH: u16 = 0x104;
pub(super) const ADDRL: u16 = 0x108;
pub(super) const HASHH: u16 = 0x10C;
pub(super) const HASHL: u16 = 0x110;
pub(super) const MII_ADDR: u16 = 0x114;
pub(super) const MII_DATA: u16 = 0x118;
pub(super) const COE_CR: u16 = 0x130;

/// Registers that are memory, as far as reading and writing goes.
pub(super) const PLAIN: [Register; 26] = [
    (HW_CFG, 0, 0x1FF6),
    (0x24, 0, 0x0111_1FFF),
    (0x28, 0x001F_0000, 0xFFFF_FFFF),
    // AFC_CFG.
    (0x2C, 0, 0x00FF_FFFF),
    (0x34, 0, 0xFF),
    (BURST_CAP, 0, 0xFF),
    // STRAP_STATUS: read only.
    (0x3C, 0x10, 0),
    (0x40, 0x8000_0000, 0xF),
    (0x44, 0, 1),
    (0x48, 0, 0x7FFF),
    (0x4C, 0, 0xFFFF_FFFF),
    (0x50, 0, 0xFFFF_FFFF),
    (0x64, 0, 0x07FF_07FF),
    (INT_EP_CTL, 0, 0x800F_FFFF),
    // 34 us in units of 16.667 ns (5.3.1.1).
    (BULK_IN_DLY, 0x0800, 0xFFFF),
    // Promiscuous after a reset, as in the LAN9118 family.
    (MAC_CR, 0x0004_0000, 0xFFFF_FFFF),
    (ADDRH, 0xFFFF, 0xFFFF),
    (ADDRL, 0xFFFF_FFFF, 0xFFFF_FFFF),
    (HASHH, 0, 0xFFFF_FFFF),
    (HASHL, 0, 0xFFFF_FFFF),
    // FLOW, VLAN1, VLAN2.
    (0x11C, 0, 0xFFFF_FFFF),
    (0x120, 0xFFFF, 0xFFFF),
    (0x124, 0xFFFF, 0xFFFF),
    // WUFF, WUCSR.
    (0x128, 0, 0xFFFF_FFFF),
    (0x12C, 0, 0xFFFF_FFFF),
    (COE_CR, 0, 0x1_0003),
];

/// HW_CFG.
pub(super) const BIR: u32 = 1 << 12;
pub(super) const SBP: u32 = 1 << 8;
pub(super) const DRP: u32 = 1 << 6;
pub(super) const MEF: u32 = 1 << 5;
pub(super) const LRST: u32 = 1 << 3;
pub(super) const BCE: u32 = 1 << 1;
pub(super) const SRST: u32 = 1;

/// PM_CTRL.
pub(super) const PHY_RST: u32 = 1 << 4;
pub(super) const DEV_RDY: u32 = 1 << 7;

/// TX_CFG.
pub(super) const TX_ON: u32 = 1 << 2;
pub(super) const TX_STOP: u32 = 1 << 1;

/// E2P_CMD.
pub(super) const EPC_BUSY: u32 = 1 << 31;
pub(super) const EPC_TIMEOUT: u32 = 1 << 10;

/// INT_STS and the interrupt endpoint.
pub(super) const INT_TX_STOP: u32 = 1 << 17;
pub(super) const INT_PHY: u32 = 1 << 15;
pub(super) const INT_TXE: u32 = 1 << 14;
pub(super) const INT_RXDF: u32 = 1 << 11;
pub(super) const INT_EP_RX_FIFO: u32 = 1 << 18;
pub(super) const INT_EP_ALWAYS: u32 = 1 << 31;

/// MAC_CR.
pub(super) const RXALL: u32 = 1 << 31;
pub(super) const FDPX: u32 = 1 << 20;
pub(super) const MCPAS: u32 = 1 << 19;
pub(super) const PRMS: u32 = 1 << 18;
pub(super) const INVFILT: u32 = 1 << 17;
pub(super) const HFILT: u32 = 1 << 15;
pub(super) const HPFILT: u32 = 1 << 13;
pub(super) const BCAST: u32 = 1 << 11;
pub(super) const TXEN: u32 = 1 << 3;
pub(super) const RXEN: u32 = 1 << 2;

/// COE_CR.
pub(super) const TX_COE: u32 = 1 << 16;
pub(super) const RX_COE: u32 = 1;

/// RX status word (5.4.1.2).
pub(super) const STS_FILTER_FAIL: u32 = 1 << 30;
pub(super) const STS_ERROR: u32 = 1 << 15;
pub(super) const STS_BROADCAST: u32 = 1 << 13;
pub(super) const STS_MULTICAST: u32 = 1 << 10;
pub(super) const STS_TOO_LONG: u32 = 1 << 7;
pub(super) const STS_TYPE: u32 = 1 << 5;
pub(super) const STS_MII: u32 = 1 << 3;
pub(super) const STS_CRC: u32 = 1 << 1;

/// TX command A and B (5.4.2.1).
pub(super) const CMD_A_FIRST: u32 = 1 << 13;
pub(super) const CMD_A_LAST: u32 = 1 << 12;
pub(super) const CMD_A_RESERVED: u32 = !(0x7FF | CMD_A_FIRST | CMD_A_LAST | 3 << 16);
pub(super) const CMD_B_CHECKSUM: u32 = 1 << 14;
pub(super) const CMD_B_NO_CRC: u32 = 1 << 13;
pub(super) const CMD_B_NO_PADDING: u32 = 1 << 12;
pub(super) const CMD_B_RESERVED: u32 = !(0x7FF | CMD_B_CHECKSUM | CMD_B_NO_CRC | CMD_B_NO_PADDING);
