//! Registers of the LAN7800, with their reset values.
//!
//! Names and addresses: LAN7800 data sheet DS00001992, chapter on registers, and Linux lan78xx.h, which agree with FreeBSD
//! if_mugereg.h and NetBSD if_muereg.h. Reset values that no driver relies on are zero here.

use std::ops::RangeInclusive;

pub(super) const ID_REV: u16 = 0x000;
pub(super) const INT_STS: u16 = 0x00C;
pub(super) const HW_CFG: u16 = 0x010;
pub(super) const PMT_CTL: u16 = 0x014;
pub(super) const DP_SEL: u16 = 0x024;
pub(super) const DP_CMD: u16 = 0x028;
pub(super) const DP_ADDR: u16 = 0x02C;
pub(super) const DP_DATA: u16 = 0x030;
pub(super) const E2P_CMD: u16 = 0x040;
pub(super) const E2P_DATA: u16 = 0x044;
pub(super) const USB_CFG0: u16 = 0x080;
pub(super) const BURST_CAP: u16 = 0x090;
pub(super) const BULK_IN_DLY: u16 = 0x094;
pub(super) const INT_EP_CTL: u16 = 0x098;
pub(super) const RFE_CTL: u16 = 0x0B0;
pub(super) const FCT_RX_CTL: u16 = 0x0C0;
pub(super) const FCT_TX_CTL: u16 = 0x0C4;
pub(super) const MAC_CR: u16 = 0x100;
pub(super) const MAC_RX: u16 = 0x104;
pub(super) const MAC_TX: u16 = 0x108;
pub(super) const ERR_STS: u16 = 0x114;
pub(super) const RX_ADDRH: u16 = 0x118;
pub(super) const RX_ADDRL: u16 = 0x11C;
pub(super) const MII_ACC: u16 = 0x120;
pub(super) const MII_DATA: u16 = 0x124;
pub(super) const MAF: u16 = 0x400;
/// Perfect address filters.
pub(super) const MAF_COUNT: u16 = 33;
pub(super) const OTP_STATUS: u16 = 0x1030;

/// Registers that are memory, as far as reading and writing goes.
pub(super) const PLAIN: [RangeInclusive<u16>; 24] = [
    HW_CFG..=HW_CFG,
    // GPIO.
    0x018..=0x020,
    DP_ADDR..=DP_DATA,
    E2P_DATA..=E2P_DATA,
    // Attributes of descriptors.
    0x050..=0x068,
    0x080..=0x098,
    0x09C..=0x0AC,
    0x0B4..=0x0B4,
    // FIFO ends, flow control thresholds.
    0x0C8..=0x0D0,
    // Latency tolerance messages.
    0x0E0..=0x0F4,
    RFE_CTL..=RFE_CTL,
    MAC_CR..=MAC_CR,
    // FLOW, RAND_SEED.
    0x10C..=0x110,
    RX_ADDRH..=RX_ADDRL,
    // RGMII, energy efficient Ethernet.
    0x128..=0x138,
    // Wake-up.
    0x140..=0x144,
    0x150..=0x1CC,
    0x200..=0x3FC,
    MAF..=MAF + MAF_COUNT * 8 - 4,
    0x600..=0x600,
    0x610..=0x6C4,
    0x700..=0x70C,
    // One-time programmable memory: blank.
    0x1000..=0x102C,
    0x1034..=0x10F0,
];

/// Those whose reset value is not zero.
pub(super) const RESET_VALUES: [(u16, u32); 5] = [
    (BULK_IN_DLY, 0x0800),
    // FIFOs of 12 KiB, in units of 512 bytes, less one (Linux MAX_RX_FIFO_SIZE, MAX_TX_FIFO_SIZE).
    (0x0C8, 0x17),
    (0x0CC, 0x17),
    (RX_ADDRH, 0xFFFF),
    (RX_ADDRL, 0xFFFF_FFFF),
];

/// HW_CFG.
pub(super) const MEF: u32 = 1 << 4;
pub(super) const LRST: u32 = 1 << 1;
pub(super) const SRST: u32 = 1;

/// PMT_CTL.
pub(super) const PHY_RST: u32 = 1 << 4;
pub(super) const READY: u32 = 1 << 7;

/// DP_SEL and DP_CMD.
pub(super) const DPRDY: u32 = 1 << 31;
pub(super) const DP_WRITE: u32 = 1;
/// RAM of the VLAN and destination address filters, and where the hash table is in it.
pub(super) const RAM_FILTER: u32 = 1;
pub(super) const HASH_TABLE: usize = 128;

/// E2P_CMD.
pub(super) const EPC_BUSY: u32 = 1 << 31;

/// USB_CFG0.
pub(super) const BIR: u32 = 1 << 6;
pub(super) const BCE: u32 = 1 << 5;
pub(super) const STALL_BO_DIS: u32 = 1;

/// INT_STS and the interrupt endpoint.
pub(super) const INT_TX_DIS: u32 = 1 << 19;
pub(super) const INT_RX_DIS: u32 = 1 << 18;
pub(super) const INT_TXE: u32 = 1 << 21;
pub(super) const INT_RDFO: u32 = 1 << 22;
pub(super) const INT_PHY: u32 = 1 << 17;
pub(super) const INT_EP_ALWAYS: u32 = 1 << 31;

/// RFE_CTL.
pub(super) const TCPUDP_COE: u32 = 1 << 12;
pub(super) const IP_COE: u32 = 1 << 11;
pub(super) const BCAST_EN: u32 = 1 << 10;
pub(super) const MCAST_EN: u32 = 1 << 9;
pub(super) const UCAST_EN: u32 = 1 << 8;
pub(super) const MCAST_HASH: u32 = 1 << 3;
pub(super) const DA_HASH: u32 = 1 << 2;
pub(super) const DA_PERFECT: u32 = 1 << 1;
pub(super) const RFE_RST: u32 = 1;

/// FCT_RX_CTL and FCT_TX_CTL.
pub(super) const FCT_EN: u32 = 1 << 31;
pub(super) const FCT_RST: u32 = 1 << 30;
/// Frames with errors are kept (receive only).
pub(super) const FCT_SBF: u32 = 1 << 25;
pub(super) const FCT_OVFL: u32 = 1 << 24;
pub(super) const FCT_NOT_EMPTY: u32 = 1 << 22;
pub(super) const FCT_EMPTY: u32 = 1 << 21;
pub(super) const FCT_DIS: u32 = 1 << 20;

/// MAC_CR.
pub(super) const AUTO_DUPLEX: u32 = 1 << 12;
pub(super) const AUTO_SPEED: u32 = 1 << 11;
pub(super) const FULL_DUPLEX: u32 = 1 << 3;
pub(super) const MAC_RST: u32 = 1;

/// MAC_RX and MAC_TX: enable, and disabling is done.
pub(super) const MAC_EN: u32 = 1;
pub(super) const MAC_DISABLED: u32 = 2;
pub(super) const FCS_STRIP: u32 = 1 << 4;

/// RX command A.
pub(super) const RX_ICE: u32 = 1 << 31;
pub(super) const RX_TCE: u32 = 1 << 30;
pub(super) const RX_BAM: u32 = 1 << 25;
pub(super) const RX_MAM: u32 = 1 << 24;
pub(super) const RX_PFF: u32 = 1 << 26;
pub(super) const RX_RED: u32 = 1 << 22;
pub(super) const RX_LONG: u32 = 1 << 19;
pub(super) const RX_RXE: u32 = 1 << 18;
pub(super) const RX_FCS: u32 = 1 << 16;
/// The checksum was not looked at.
pub(super) const RX_ICSM: u32 = 1 << 14;

/// TX command A.
pub(super) const TX_LSO: u32 = 1 << 27;
pub(super) const TX_IPE: u32 = 1 << 26;
pub(super) const TX_TPE: u32 = 1 << 25;
pub(super) const TX_IVTG: u32 = 1 << 24;
pub(super) const TX_RVTG: u32 = 1 << 23;
pub(super) const TX_FCS: u32 = 1 << 22;
pub(super) const TX_LEN: u32 = 0xF_FFFF;
pub(super) const TX_RESERVED: u32 = 0xC030_0000;
