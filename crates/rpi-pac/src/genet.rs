//! GENET v5, the Ethernet controller of BCM2711: a UniMAC with its DMA. The descriptors are registers too.
//!
//! No datasheet of it is published (BCM2711 Peripherals leaves it out). Every offset and bit here is in at least two of
//! these, by the names used below:
//! - *Linux*: drivers/net/ethernet/broadcom/genet/bcmgenet.h and bcmgenet.c, the tables for GENET v4 and v5
//! - *U-Boot*: drivers/net/bcmgenet.c
//! - *OpenBSD*: sys/dev/ic/bcmgenet.c; NetBSD, FreeBSD and EDK2's BcmGenetDxe have the same register header
//! - *Zephyr*: drivers/ethernet/eth_bcm_genet.c
//!
//! What only one has is marked so.

use bitflags::bitflags;
use safe_mmio::fields::{ReadPure, ReadPureWrite, WriteOnly};
use safe_mmio::{UniqueMmioPointer, split_fields};

/// Descriptors in each direction (Linux TOTAL_DESC; U-Boot TOTAL_DESCS).
pub const DESCRIPTORS: usize = 256;
/// Rings in each direction: 16 with priorities, and the default one behind them (Linux DESC_INDEX; U-Boot DEFAULT_Q).
pub const RINGS: usize = 17;
/// The default ring: what no filter sends elsewhere is received on it (U-Boot DEFAULT_Q; OpenBSD GENET_DMA_DEFAULT_QUEUE).
pub const DEFAULT_RING: usize = 16;
/// Words of a descriptor: the unit of a ring's start and end (Linux words_per_bd = 3; U-Boot DMA_DESC_SIZE = 12 bytes).
pub const DESCRIPTOR_WORDS: u32 = 3;
/// Filters on destination addresses (Linux MAX_MDF_FILTER; OpenBSD GENET_MAX_MDF_FILTER).
pub const FILTERS: usize = 17;

/// Major revision of GENET v5 in `rev_ctrl`, bits 27:24 (U-Boot bcmgenet_eth_probe; Linux bcmgenet_set_hw_params).
pub const MAJOR_V5: u32 = 6;
/// `port_ctrl`: an external PHY for 1 Gbit/s (Linux PORT_MODE_EXT_GPHY; OpenBSD GENET_SYS_PORT_MODE_EXT_GPHY).
pub const PORT_MODE_EXT_GPHY: u32 = 3;
/// `rbuf_flush_ctrl`: empties the receive FIFO (Linux 6.12 bcmgenet_dma_disable with flush_rx, "BIT(0)").
pub const RBUF_FLUSH: u32 = 1 << 0;
/// `mdio.cfg`, bits 9:4: the bus runs at the reference divided by twice this plus one (Linux mdio-bcm-unimac.c
/// unimac_mdio_clk_set).
pub const MDIO_CLOCK_DIVIDER: u32 = 0x3f << 4;
/// `rbuf_flush_ctrl`: resets the MAC (Linux bcmgenet_umac_reset; OpenBSD GENET_SYS_RBUF_FLUSH_RESET).
pub const RBUF_FLUSH_RESET: u32 = 1 << 1;

/// `mdio.cmd`: 1 starts; 0 when done (Linux MDIO_START_BUSY; OpenBSD GENET_MDIO_START_BUSY).
pub const MDIO_START_BUSY: u32 = 1 << 29;
/// `mdio.cmd`: nobody answered (Linux and U-Boot MDIO_READ_FAIL).
pub const MDIO_READ_FAIL: u32 = 1 << 28;
/// `mdio.cmd`: read (Linux MDIO_RD; OpenBSD GENET_MDIO_READ).
pub const MDIO_READ: u32 = 2 << 26;
/// `mdio.cmd`: write (Linux MDIO_WR; OpenBSD GENET_MDIO_WRITE).
pub const MDIO_WRITE: u32 = 1 << 26;
/// `mdio.cmd`: where the PHY's address is.
pub const MDIO_PHY_SHIFT: u32 = 21;
/// `mdio.cmd`: where the register's number is.
pub const MDIO_REGISTER_SHIFT: u32 = 16;

/// `hfb.ctrl` etc.: the block that sorts frames to rings is off when all are 0 (Linux bcmgenet_hfb_clear).
pub const HFB_OFF: u32 = 0;
/// `mib_ctrl`: sets all counters to 0 while set (Linux MIB_RESET_RX | MIB_RESET_RUNT | MIB_RESET_TX; U-Boot the same).
pub const MIB_RESET: u32 = 0b111;

/// `dma.ctrl`: the DMA runs (Linux DMA_EN).
pub const DMA_EN: u32 = 1 << 0;
/// `dma.ctrl`: ring 0 runs; ring n is n bits further (Linux DMA_RING_BUF_EN_SHIFT; U-Boot the same).
pub const DMA_RING_EN_SHIFT: u32 = 1;
/// Bits of `dma.ctrl` and `dma.status` that are in use: the status is the complement of what runs (measured on a Pi 4B
/// 1.5: ctrl 0x3 with status 0x3fffc, ctrl 0x3f with status 0x3ffc0; Linux bcmgenet_tdma_disable, since 6.15, waits for these bits).
pub const DMA_CTRL_MASK: u32 = (1 << (RINGS + 1)) - 1;
/// `dma.scb_burst_size` of BCM2711, whose bus takes no longer ones (Linux bcm2711 platform data; U-Boot
/// DMA_MAX_BURST_LENGTH).
pub const SCB_BURST_BCM2711: u32 = 8;
/// Bits of an index: it counts frames, and wraps (Linux DMA_P_INDEX_MASK, DMA_C_INDEX_MASK).
pub const INDEX_MASK: u32 = 0xffff;
/// RX `hw_index`: above this bit is how many frames had no buffer (Linux DMA_P_INDEX_DISCARD_CNT_SHIFT).
pub const DISCARD_SHIFT: u32 = 16;

/// Descriptor: where the length is (Linux DMA_BUFLENGTH_SHIFT).
pub const DESC_LEN_SHIFT: u32 = 16;
/// Descriptor: bits of the length (Linux DMA_BUFLENGTH_MASK; U-Boot the same).
pub const DESC_LEN_MASK: u32 = 0x0fff;
/// TX descriptor: the tag that means none (Linux DMA_TX_QTAG_SHIFT with qtag_mask 0x3f; U-Boot bcmgenet_gmac_eth_send).
pub const TX_NO_TAG: u32 = 0x3f << 7;

bitflags! {
    /// Lower half of a descriptor's `length_status`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Status: u32 {
        /// The frame ends here (Linux DMA_EOP).
        const EOP = 0x4000;
        /// The frame starts here (Linux DMA_SOP).
        const SOP = 0x2000;
        /// TX: the MAC adds the FCS (Linux DMA_TX_APPEND_CRC).
        const TX_APPEND_CRC = 0x0040;
        /// RX: to everybody (Linux DMA_RX_BRDCAST).
        const RX_BROADCAST = 0x0040;
        /// RX: to a group (Linux DMA_RX_MULT).
        const RX_MULTICAST = 0x0020;
        /// RX: longer than `max_frame_len` (Linux DMA_RX_LG; GENET calls it "length error").
        const RX_LENGTH = 0x0010;
        /// RX: bits left over (Linux DMA_RX_NO).
        const RX_ALIGNMENT = 0x0008;
        /// RX: the PHY said that it received rubbish (Linux DMA_RX_RXER).
        const RX_SYMBOL = 0x0004;
        /// RX: wrong FCS (Linux DMA_RX_CRC_ERROR).
        const RX_CRC = 0x0002;
        /// RX: the FIFO was full (Linux DMA_RX_OV).
        const RX_OVERRUN = 0x0001;
    }

    /// `umac.cmd` (Linux and U-Boot: CMD_*).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Command: u32 {
        /// Sends.
        const TX_EN = 1 << 0;
        /// Receives.
        const RX_EN = 1 << 1;
        /// Speed: 100 Mbit/s; with neither bit 10.
        const SPEED_100 = 1 << 2;
        /// Speed: 1 Gbit/s.
        const SPEED_1000 = 1 << 3;
        /// Brings frames for everybody.
        const PROMISC = 1 << 4;
        /// Brings the FCS too.
        const CRC_FWD = 1 << 6;
        /// Does not pause when the partner asks.
        const RX_PAUSE_IGNORE = 1 << 8;
        /// Half duplex.
        const HD_EN = 1 << 10;
        /// Resets the MAC while set.
        const SW_RESET = 1 << 13;
        /// Loops back inside the MAC, which also gives the receiver a clock while it is reset.
        const LCL_LOOP_EN = 1 << 15;
        /// Does not ask the partner to pause.
        const TX_PAUSE_IGNORE = 1 << 28;
    }

    /// `ext.rgmii_oob_ctrl` (Linux and U-Boot, same names).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct RgmiiOob: u32 {
        /// There is a link.
        const LINK = 1 << 4;
        /// Does not take link and speed from the signals between frames.
        const OOB_DISABLE = 1 << 5;
        /// The interface is RGMII.
        const MODE_EN = 1 << 6;
        /// The MAC adds no delay to its transmit clock.
        const ID_MODE_DIS = 1 << 16;
    }

    /// `rbuf.ctrl` (Linux, same names).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct RbufCtrl: u32 {
        /// A status block of 64 bytes is in front of each frame.
        const STATUS_64B_EN = 1 << 0;
        /// Two bytes are in front of each frame, so that what follows its header is aligned.
        const ALIGN_2B = 1 << 1;
        /// Drops frames with errors.
        const BAD_DIS = 1 << 2;
    }

    /// Interrupts of the first controller (Linux UMAC_IRQ_*; OpenBSD has the two that are used here).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Interrupts: u32 {
        /// RX of the default ring: as many frames as the threshold says.
        const RX_DONE = 1 << 13;
        /// TX of the default ring: as many frames as the threshold says.
        const TX_DONE = 1 << 16;
    }

    /// Bits of `umac.eee_ctrl`, `rbuf.energy_ctrl` and `tbuf.energy_ctrl` that let the MAC save energy (Linux
    /// bcmgenet_eee_enable_set).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Energy: u32 {
        /// `eee_ctrl`: Energy Efficient Ethernet.
        const EEE_EN = 1 << 3;
        /// `energy_ctrl`: Energy Efficient Ethernet.
        const BUFFER_EEE_EN = 1 << 0;
        /// `energy_ctrl`: power management.
        const BUFFER_PM_EN = 1 << 1;
    }
}

/// System block.
#[repr(C)]
pub struct Sys {
    /// 0x00: revision of GENET in 27:24 (major) and 19:16, of an internal PHY in 15:0.
    pub rev_ctrl: ReadPure<u32>,
    /// 0x04: what the MAC is connected to.
    pub port_ctrl: ReadPureWrite<u32>,
    /// 0x08: resets.
    pub rbuf_flush_ctrl: ReadPureWrite<u32>,
    /// 0x0c: empties the transmit FIFO.
    pub tbuf_flush_ctrl: ReadPureWrite<u32>,
    reserved_10: [u32; 28],
}

/// Block of the external interface.
///
/// Its power bits are left alone: the boot ROM's network boot and Linux both run an external PHY with `pwr_mgmt` bits 0
/// and 1 set (measured, Linux 6.12 with the link up: 0x051f02c3), and only Zephyr touches them.
#[repr(C)]
pub struct Ext {
    /// 0x80: power of the internal PHY and its interface.
    pub pwr_mgmt: ReadPureWrite<u32>,
    reserved_84: [u32; 2],
    /// 0x8c: RGMII.
    pub rgmii_oob_ctrl: ReadPureWrite<u32>,
    reserved_90: [u32; 92],
}

/// An interrupt controller. Its output is raised while an interrupt is in `stat` and not masked.
#[repr(C)]
pub struct Intrl2 {
    /// 0x00: interrupts that happened.
    pub stat: ReadPure<u32>,
    /// 0x04: a 1 makes one happen.
    pub set: WriteOnly<u32>,
    /// 0x08: a 1 forgets one.
    pub clear: WriteOnly<u32>,
    /// 0x0c: interrupts that are masked.
    pub mask_status: ReadPure<u32>,
    /// 0x10: a 1 masks one.
    pub mask_set: WriteOnly<u32>,
    /// 0x14: a 1 unmasks one.
    pub mask_clear: WriteOnly<u32>,
    reserved_18: [u32; 10],
}

/// Receive buffer.
#[repr(C)]
pub struct Rbuf {
    /// 0x300: what is put in front of frames.
    pub ctrl: ReadPureWrite<u32>,
    reserved_04: [u32; 4],
    /// 0x314: checksums.
    pub chk_ctrl: ReadPureWrite<u32>,
    reserved_18: [u32; 31],
    /// 0x394: frames for which the FIFO had no room; stops at its largest value, and a 0 starts it again (Linux
    /// RBUF_OVFL_CNT_V3PLUS; up to version 2 it was elsewhere).
    pub overflows: ReadPureWrite<u32>,
    /// 0x398: frames lost to errors of the FIFO; the same (Linux RBUF_ERR_CNT_V3PLUS).
    pub errors: ReadPureWrite<u32>,
    /// 0x39c: saving energy.
    pub energy_ctrl: ReadPureWrite<u32>,
    reserved_a0: [u32; 5],
    /// 0x3b4: shares the FIFO memory between the directions; 1 (Linux init_umac, U-Boot bcmgenet_umac_reset).
    pub tbuf_size_ctrl: ReadPureWrite<u32>,
    reserved_b8: [u32; 146],
}

/// Transmit buffer (Linux hw_params.tbuf_offset = 0x600; OpenBSD does not use it).
#[repr(C)]
pub struct Tbuf {
    /// 0x600: what is in front of frames.
    pub ctrl: ReadPureWrite<u32>,
    reserved_04: [u32; 4],
    /// 0x614: saving energy.
    pub energy_ctrl: ReadPureWrite<u32>,
    reserved_18: [u32; 122],
}

/// Counters of the MAC that are of use here (Linux bcmgenet_mib_counters; offsets from the register block's start). They
/// wrap.
#[repr(C)]
pub struct Mib {
    reserved_400: [u32; 10],
    /// 0xc28: frames received, good or bad.
    pub rx_frames: ReadPure<u32>,
    reserved_42c: [u32; 3],
    /// 0xc38: frames with a wrong FCS.
    pub rx_fcs: ReadPure<u32>,
    reserved_43c: [u32; 10],
    /// 0xc64: frames received without an error.
    pub rx_good: ReadPure<u32>,
    reserved_468: [u32; 16],
    /// 0xca8: frames sent, or tried.
    pub tx_frames: ReadPure<u32>,
    reserved_4ac: [u32; 4],
    /// 0xcbc: frames sent with a wrong FCS, on purpose or because the memory was too slow.
    pub tx_fcs: ReadPure<u32>,
    reserved_4c0: [u32; 5],
    /// 0xcd4: frames given up after a late collision.
    pub tx_late_collisions: ReadPure<u32>,
    /// 0xcd8: frames given up after too many collisions.
    pub tx_excessive_collisions: ReadPure<u32>,
    reserved_4dc: [u32; 4],
    /// 0xcec: frames sent without an error.
    pub tx_good: ReadPure<u32>,
    reserved_4f0: [u32; 4],
    /// 0xd00: received frames that were too short.
    pub rx_runts: ReadPure<u32>,
    reserved_504: [u32; 31],
}

/// The MAC.
#[repr(C)]
pub struct Umac {
    reserved_00: [u32; 2],
    /// 0x808: what the MAC does.
    pub cmd: ReadPureWrite<u32>,
    /// 0x80c: the first four bytes of the address, the first one in 31:24.
    pub mac0: ReadPureWrite<u32>,
    /// 0x810: the last two.
    pub mac1: ReadPureWrite<u32>,
    /// 0x814: bytes of the longest frame, with FCS.
    pub max_frame_len: ReadPureWrite<u32>,
    reserved_18: [u32; 19],
    /// 0x864: Energy Efficient Ethernet.
    pub eee_ctrl: ReadPureWrite<u32>,
    reserved_68: [u32; 179],
    /// 0xb34: a 1 empties the transmit side.
    pub tx_flush: ReadPureWrite<u32>,
    reserved_338: [u32; 50],
    /// 0xc00: counters.
    pub mib: Mib,
    /// 0xd80: resets them.
    pub mib_ctrl: ReadPureWrite<u32>,
    reserved_584: [u32; 36],
}

/// The bus to the PHY's registers.
#[repr(C)]
pub struct Mdio {
    /// 0xe14: command, answer and state.
    pub cmd: ReadPureWrite<u32>,
    /// 0xe18: clock; see [`MDIO_CLOCK_DIVIDER`].
    pub cfg: ReadPureWrite<u32>,
}

/// An address that is let through.
#[repr(C)]
pub struct Filter {
    /// First two bytes, the first one in 15:8.
    pub high: ReadPureWrite<u32>,
    /// The other four, the third one in 31:24.
    pub low: ReadPureWrite<u32>,
}

/// Filter on destination addresses, and how many frames it stopped.
#[repr(C)]
pub struct Mdf {
    reserved_61c: [u32; 7],
    /// 0xe38: frames that the filter threw away (Linux UMAC_MDF_ERR_CNT).
    pub filtered: ReadPureWrite<u32>,
    reserved_63c: [u32; 5],
    /// 0xe50: filter n is on when bit 16 - n is set; 0 turns the block off (OpenBSD genet_setup_rxfilter; EDK2
    /// GenetEnableBroadcastFilter).
    pub ctrl: ReadPureWrite<u32>,
    /// 0xe54: the filters.
    pub filters: [Filter; FILTERS],
    reserved_6dc: [u32; 1097],
}

/// A descriptor: one buffer.
#[repr(C)]
pub struct Descriptor {
    /// Length in 27:16, [`Status`] below.
    pub length_status: ReadPureWrite<u32>,
    /// Where the buffer is, bits 31:0.
    pub address_lo: ReadPureWrite<u32>,
    /// Bits 39:32.
    pub address_hi: ReadPureWrite<u32>,
}

/// A ring. *hw* is the side that the controller advances: it fills (RX: producer) or empties (TX: consumer) descriptors.
/// *sw* is the driver's (RX: consumer, TX: producer).
#[repr(C)]
pub struct Ring {
    /// 0x00: word of the descriptor that the controller is at (Linux RDMA_WRITE_PTR, TDMA_READ_PTR).
    pub hw_ptr: ReadPureWrite<u32>,
    /// 0x04: its upper half.
    pub hw_ptr_hi: ReadPureWrite<u32>,
    /// 0x08: frames that the controller is done with, and for RX above [`DISCARD_SHIFT`] those without a buffer (Linux
    /// RDMA_PROD_INDEX, TDMA_CONS_INDEX). The controller's own while the ring runs.
    pub hw_index: ReadPureWrite<u32>,
    /// 0x0c: frames that the driver has handed over (Linux RDMA_CONS_INDEX, TDMA_PROD_INDEX).
    pub sw_index: ReadPureWrite<u32>,
    /// 0x10: descriptors in 31:16, bytes of a buffer in 15:0.
    pub buf_size: ReadPureWrite<u32>,
    /// 0x14: first word of the first descriptor.
    pub start: ReadPureWrite<u32>,
    /// 0x18: its upper half.
    pub start_hi: ReadPureWrite<u32>,
    /// 0x1c: last word of the last descriptor.
    pub end: ReadPureWrite<u32>,
    /// 0x20: its upper half.
    pub end_hi: ReadPureWrite<u32>,
    /// 0x24: frames per interrupt.
    pub done_threshold: ReadPureWrite<u32>,
    /// 0x28: RX: free descriptors below which the partner is asked to pause (31:16) and above which no more (15:0). TX:
    /// limits the rate.
    pub flow: ReadPureWrite<u32>,
    /// 0x2c: word of the descriptor that the driver is at (Linux RDMA_READ_PTR, TDMA_WRITE_PTR).
    pub sw_ptr: ReadPureWrite<u32>,
    /// 0x30: its upper half.
    pub sw_ptr_hi: ReadPureWrite<u32>,
    reserved_34: [u32; 3],
}

/// The DMA of one direction.
#[repr(C)]
pub struct Dma {
    /// 0x000: descriptors.
    pub descriptors: [Descriptor; DESCRIPTORS],
    /// 0xc00: rings with priorities.
    pub rings: [Ring; RINGS - 1],
    /// 0x1000: the default ring.
    pub default_ring: Ring,
    /// 0x1040: bit n: ring n has descriptors.
    pub ring_cfg: ReadPureWrite<u32>,
    /// 0x1044: what runs.
    pub ctrl: ReadPureWrite<u32>,
    /// 0x1048: what stands still.
    pub status: ReadPure<u32>,
    /// 0x104c: words in a burst on the bus.
    pub scb_burst_size: ReadPureWrite<u32>,
    reserved_10: [u32; 7],
    /// 0x106c: RX: how long each ring waits for more frames before it interrupts, in 8.192 µs (Linux DMA_RING0_TIMEOUT).
    /// TX: 0 arbitration, 1-3 priorities (Linux DMA_ARB_CTRL).
    pub per_ring: [ReadPureWrite<u32>; RINGS - 1],
    /// 0x10ac: the same for the default ring (Linux DMA_RING16_TIMEOUT).
    pub default_wait: ReadPureWrite<u32>,
    /// 0x10b0: RX: rings of the frames that the filter block sorts out (Linux DMA_INDEX2RING_0).
    pub index_to_ring: [ReadPureWrite<u32>; 8],
    reserved_90: [u32; 972],
}

/// The block that sorts received frames to rings (Linux hw_params.hfb_reg_offset = 0xfc00).
#[repr(C)]
pub struct Hfb {
    /// 0xfc00: on or off.
    pub ctrl: ReadPureWrite<u32>,
    /// 0xfc04: which filters are on.
    pub enable: [ReadPureWrite<u32>; 2],
}

/// The register block.
#[repr(C, align(4))]
pub struct Registers {
    /// 0x0000.
    pub sys: Sys,
    /// 0x0080.
    pub ext: Ext,
    /// 0x0200: interrupt line A: default rings, MDIO, link of an internal PHY.
    pub intrl2_0: Intrl2,
    /// 0x0240: interrupt line B: the other rings.
    pub intrl2_1: Intrl2,
    reserved_0280: [u32; 32],
    /// 0x0300.
    pub rbuf: Rbuf,
    /// 0x0600.
    pub tbuf: Tbuf,
    /// 0x0800.
    pub umac: Umac,
    /// 0x0e14.
    pub mdio: Mdio,
    /// 0x0e1c.
    pub mdf: Mdf,
    /// 0x2000.
    pub rdma: Dma,
    /// 0x4000.
    pub tdma: Dma,
    reserved_6000: [u32; 9984],
    /// 0xfc00.
    pub hfb: Hfb,
}

/// The parts of a [`Registers`], for owners who work side by side.
pub struct Parts<'a> {
    /// System block.
    pub sys: UniqueMmioPointer<'a, Sys>,
    /// Block of the external interface.
    pub ext: UniqueMmioPointer<'a, Ext>,
    /// Interrupt line A.
    pub intrl2_0: UniqueMmioPointer<'a, Intrl2>,
    /// Interrupt line B.
    pub intrl2_1: UniqueMmioPointer<'a, Intrl2>,
    /// Receive buffer.
    pub rbuf: UniqueMmioPointer<'a, Rbuf>,
    /// Transmit buffer.
    pub tbuf: UniqueMmioPointer<'a, Tbuf>,
    /// MAC.
    pub umac: UniqueMmioPointer<'a, Umac>,
    /// Bus to the PHY.
    pub mdio: UniqueMmioPointer<'a, Mdio>,
    /// Address filter.
    pub mdf: UniqueMmioPointer<'a, Mdf>,
    /// Receive DMA.
    pub rdma: UniqueMmioPointer<'a, Dma>,
    /// Transmit DMA.
    pub tdma: UniqueMmioPointer<'a, Dma>,
    /// Sorting of received frames.
    pub hfb: UniqueMmioPointer<'a, Hfb>,
}

impl<'a> Parts<'a> {
    /// Takes the block apart.
    #[must_use]
    pub fn new(registers: UniqueMmioPointer<'a, Registers>) -> Self {
        // SAFETY: no field is named twice.
        let (sys, ext, intrl2_0, intrl2_1, rbuf, tbuf, umac, mdio, mdf, rdma, tdma, hfb) = unsafe {
            split_fields!(registers, sys, ext, intrl2_0, intrl2_1, rbuf, tbuf, umac, mdio, mdf, rdma, tdma, hfb)
        };
        Self { sys, ext, intrl2_0, intrl2_1, rbuf, tbuf, umac, mdio, mdf, rdma, tdma, hfb }
    }
}

#[cfg(test)]
mod tests {
    use core::mem::offset_of;

    use super::*;

    /// Offsets as U-Boot and OpenBSD spell them out; those of the counters from Linux.
    #[test]
    fn registers_are_where_the_other_drivers_have_them() {
        assert_eq!(offset_of!(Registers, ext.rgmii_oob_ctrl), 0x8c);
        assert_eq!(offset_of!(Registers, intrl2_0.mask_clear), 0x214);
        assert_eq!(offset_of!(Registers, intrl2_1.stat), 0x240);
        assert_eq!(offset_of!(Registers, rbuf.ctrl), 0x300);
        assert_eq!(offset_of!(Registers, rbuf.chk_ctrl), 0x314);
        assert_eq!(offset_of!(Registers, rbuf.overflows), 0x394);
        assert_eq!(offset_of!(Registers, rbuf.errors), 0x398);
        assert_eq!(offset_of!(Registers, rbuf.energy_ctrl), 0x39c);
        assert_eq!(offset_of!(Registers, rbuf.tbuf_size_ctrl), 0x3b4);
        assert_eq!(offset_of!(Registers, tbuf.energy_ctrl), 0x614);
        assert_eq!(offset_of!(Registers, umac.cmd), 0x808);
        assert_eq!(offset_of!(Registers, umac.max_frame_len), 0x814);
        assert_eq!(offset_of!(Registers, umac.eee_ctrl), 0x864);
        assert_eq!(offset_of!(Registers, umac.tx_flush), 0xb34);
        assert_eq!(offset_of!(Registers, umac.mib.rx_frames), 0x800 + 0x428);
        assert_eq!(offset_of!(Registers, umac.mib.rx_fcs), 0x800 + 0x438);
        assert_eq!(offset_of!(Registers, umac.mib.rx_good), 0x800 + 0x464);
        assert_eq!(offset_of!(Registers, umac.mib.tx_frames), 0x800 + 0x4a8);
        assert_eq!(offset_of!(Registers, umac.mib.tx_fcs), 0x800 + 0x4bc);
        assert_eq!(offset_of!(Registers, umac.mib.tx_late_collisions), 0x800 + 0x4d4);
        assert_eq!(offset_of!(Registers, umac.mib.tx_good), 0x800 + 0x4ec);
        assert_eq!(offset_of!(Registers, umac.mib.rx_runts), 0x800 + 0x500);
        assert_eq!(offset_of!(Registers, umac.mib_ctrl), 0xd80);
        assert_eq!(offset_of!(Registers, mdio.cmd), 0xe14);
        assert_eq!(offset_of!(Registers, mdio.cfg), 0xe18);
        assert_eq!(offset_of!(Registers, mdf.filtered), 0xe38);
        assert_eq!(offset_of!(Registers, mdf.ctrl), 0xe50);
        assert_eq!(offset_of!(Registers, mdf.filters), 0xe54);
        assert_eq!(offset_of!(Registers, rdma.descriptors), 0x2000);
        assert_eq!(offset_of!(Registers, rdma.rings), 0x2c00);
        assert_eq!(offset_of!(Registers, rdma.ring_cfg), 0x3040);
        assert_eq!(offset_of!(Registers, rdma.scb_burst_size), 0x304c);
        assert_eq!(offset_of!(Registers, rdma.default_ring), 0x3000);
        assert_eq!(offset_of!(Registers, rdma.per_ring), 0x306c);
        assert_eq!(offset_of!(Registers, rdma.default_wait), 0x30ac);
        assert_eq!(offset_of!(Registers, rdma.index_to_ring), 0x30b0);
        assert_eq!(offset_of!(Registers, tdma), 0x4000);
        assert_eq!(size_of::<Descriptor>(), 12);
        assert_eq!(size_of::<Ring>(), 0x40);
        assert_eq!(offset_of!(Ring, flow), 0x28);
        assert_eq!(offset_of!(Registers, hfb), 0xfc00);
    }
}
