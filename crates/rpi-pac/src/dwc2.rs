//! The DesignWare Hi-Speed USB 2.0 OTG controller (DWC2) in host mode.
//!
//! At 0x7e98_0000 on the BCM2835 family (BCM2835 ARM Peripherals, chapter 15) and on the BCM2711. Synopsys's databook
//! is not public; names, offsets and bits are those of Linux `drivers/usb/dwc2/hw.h`, which agree with the public
//! register chapter of the RT3050 datasheet (Ralink, rev 2.0, section 3.19).

use bitflags::bitflags;
use safe_mmio::fields::{ReadPure, ReadPureWrite};

/// Most host channels that the register layout has room for.
pub const CHANNELS_MAX: usize = 16;

/// The controller's registers, without the FIFOs (which DMA mode does not use).
#[derive(Debug)]
#[repr(C, align(4))]
pub struct Registers {
    /// OTG control and status.
    pub gotgctl: ReadPureWrite<u32>,
    /// OTG interrupts.
    pub gotgint: ReadPureWrite<u32>,
    /// AHB configuration: [`Gahbcfg`].
    pub gahbcfg: ReadPureWrite<u32>,
    /// USB configuration: [`Gusbcfg`].
    pub gusbcfg: ReadPureWrite<u32>,
    /// Resets: [`Grstctl`].
    pub grstctl: ReadPureWrite<u32>,
    /// Interrupt status: [`Gint`].
    pub gintsts: ReadPureWrite<u32>,
    /// Interrupt mask: [`Gint`].
    pub gintmsk: ReadPureWrite<u32>,
    _receive_status: [u32; 2],
    /// Receive FIFO size in words.
    pub grxfsiz: ReadPureWrite<u32>,
    /// Non-periodic transmit FIFO: start in bits 15:0, size in words in bits 31:16.
    pub gnptxfsiz: ReadPureWrite<u32>,
    /// Non-periodic transmit queue status.
    pub gnptxsts: ReadPure<u32>,
    _i2c_phy_gpio: [u32; 3],
    /// User ID.
    pub guid: ReadPureWrite<u32>,
    /// Synopsys ID: "OT" and the release.
    pub gsnpsid: ReadPure<u32>,
    /// How the core was configured, 1: endpoint directions.
    pub ghwcfg1: ReadPure<u32>,
    /// How the core was configured, 2: [`Ghwcfg2`].
    pub ghwcfg2: ReadPure<u32>,
    /// How the core was configured, 3: counter widths and FIFO depth.
    pub ghwcfg3: ReadPure<u32>,
    /// How the core was configured, 4: device-mode FIFOs, descriptor DMA.
    pub ghwcfg4: ReadPure<u32>,
    _power: [u32; 43],
    /// Periodic transmit FIFO: start in bits 15:0, size in words in bits 31:16.
    pub hptxfsiz: ReadPureWrite<u32>,
    _device_fifos: [u32; 191],
    /// Host configuration: PHY clock of full and low speed in bits 1:0.
    pub hcfg: ReadPureWrite<u32>,
    /// Frame interval in PHY clocks.
    pub hfir: ReadPureWrite<u32>,
    /// Frame number in bits 15:0 (microframes at high speed), PHY clocks left of it in bits 31:16.
    pub hfnum: ReadPure<u32>,
    _host_40c: u32,
    /// Periodic transmit queue status.
    pub hptxsts: ReadPure<u32>,
    /// Channels with an interrupt, one bit each.
    pub haint: ReadPure<u32>,
    /// Mask of `haint`.
    pub haintmsk: ReadPureWrite<u32>,
    _host_41c: [u32; 9],
    /// The root port: [`Hprt0`].
    pub hprt0: ReadPureWrite<u32>,
    _host_444: [u32; 47],
    /// The host channels.
    pub channels: [ChannelRegisters; CHANNELS_MAX],
    _device: [u32; 448],
    /// Power and clock gating; 0 is everything on.
    pub pcgcctl: ReadPureWrite<u32>,
}

/// One host channel.
#[derive(Debug)]
#[repr(C, align(4))]
pub struct ChannelRegisters {
    /// Endpoint, and enabling: [`Hcchar`].
    pub hcchar: ReadPureWrite<u32>,
    /// Split transactions: [`Hcsplt`].
    pub hcsplt: ReadPureWrite<u32>,
    /// What happened: [`Hcint`].
    pub hcint: ReadPureWrite<u32>,
    /// Mask of `hcint`.
    pub hcintmsk: ReadPureWrite<u32>,
    /// Transfer size, packet count and PID.
    pub hctsiz: ReadPureWrite<u32>,
    /// Bus address of the data, four-byte aligned.
    pub hcdma: ReadPureWrite<u32>,
    _reserved: u32,
    /// Address of the current descriptor buffer.
    pub hcdmab: ReadPure<u32>,
}

bitflags! {
    /// AHB configuration.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Gahbcfg: u32 {
        /// Interrupts reach the CPU.
        const GLOBAL_INTERRUPT = 1 << 0;
        /// Broadcom: wait for outstanding AXI writes before a transfer counts as done (Linux `dwc2_set_bcm_params`
        /// sets 0x10 and nothing else of the burst field).
        const WAIT_AXI_WRITES = 1 << 4;
        /// DMA instead of FIFOs that the CPU serves.
        const DMA = 1 << 5;
    }

    /// USB configuration.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Gusbcfg: u32 {
        /// The UTMI+ PHY has 16 data bits (else 8).
        const PHY_16_BIT = 1 << 3;
        /// ULPI instead of UTMI+.
        const ULPI = 1 << 4;
        /// SRP capable.
        const SRP = 1 << 8;
        /// HNP capable.
        const HNP = 1 << 9;
        /// ULPI drives VBUS externally.
        const ULPI_EXTERNAL_VBUS = 1 << 20;
        /// Term select D-line pulsing.
        const TERM_SELECT_PULSE = 1 << 22;
        /// Host mode whatever the ID pin says.
        const FORCE_HOST = 1 << 29;
        /// Device mode whatever the ID pin says.
        const FORCE_DEVICE = 1 << 30;
    }

    /// Resets.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Grstctl: u32 {
        /// Core soft reset; clears itself.
        const CORE_RESET = 1 << 0;
        /// Flush the receive FIFO; clears itself.
        const RX_FLUSH = 1 << 4;
        /// Flush the transmit FIFOs in bits 10:6; clears itself.
        const TX_FLUSH = 1 << 5;
        /// All transmit FIFOs.
        const TX_ALL = 0x10 << 6;
        /// The AHB master is idle.
        const AHB_IDLE = 1 << 31;
    }

    /// Interrupts of the whole core.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Gint: u32 {
        /// The core is a host (CURMODE); not an interrupt.
        const HOST_MODE = 1 << 0;
        /// The root port changed: look at [`Hprt0`].
        const PORT = 1 << 24;
        /// A channel has something: look at HAINT.
        const CHANNEL = 1 << 25;
        /// The device on the root port went away.
        const DISCONNECT = 1 << 29;
    }

    /// How the core was configured.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Ghwcfg2: u32 {
        /// 2 is internal DMA.
        const ARCHITECTURE = 3 << 3;
        /// Host channels, less one.
        const CHANNELS = 15 << 14;
    }

    /// The root port. Bits marked W1C are cleared by writing 1.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Hprt0: u32 {
        /// A device is connected.
        const CONNECTED = 1 << 0;
        /// The connection changed (W1C).
        const CONNECT_CHANGE = 1 << 1;
        /// The port is enabled; writing 1 disables it (W1C).
        const ENABLED = 1 << 2;
        /// The enabling changed (W1C).
        const ENABLE_CHANGE = 1 << 3;
        /// Too much current is drawn.
        const OVERCURRENT = 1 << 4;
        /// The over-current state changed (W1C).
        const OVERCURRENT_CHANGE = 1 << 5;
        /// Drives a reset while set.
        const RESET = 1 << 8;
        /// Power is on.
        const POWER = 1 << 12;
        /// Speed of the device: 0 high, 1 full, 2 low.
        const SPEED = 3 << 17;
        /// All the bits that are cleared by writing 1.
        const W1C = Self::CONNECT_CHANGE.bits()
            | Self::ENABLED.bits()
            | Self::ENABLE_CHANGE.bits()
            | Self::OVERCURRENT_CHANGE.bits();
    }

    /// The endpoint that a channel serves.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Hcchar: u32 {
        /// Largest packet in bytes, bits 10:0.
        const MAX_PACKET = 0x7FF;
        /// Endpoint number, bits 14:11.
        const ENDPOINT = 15 << 11;
        /// The endpoint is an IN endpoint.
        const IN = 1 << 15;
        /// The device has low speed.
        const LOW_SPEED = 1 << 17;
        /// Transfer type, bits 19:18, as in an endpoint descriptor.
        const KIND = 3 << 18;
        /// Packets per microframe, bits 21:20: at least 1.
        const MULTI_1 = 1 << 20;
        /// Device address, bits 28:22.
        const ADDRESS = 0x7F << 22;
        /// Odd frame: a periodic transfer happens in the next odd (micro)frame.
        const ODD_FRAME = 1 << 29;
        /// Stop the channel.
        const DISABLE = 1 << 30;
        /// Start the channel; set while it runs.
        const ENABLE = 1 << 31;
    }

    /// Split transactions.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Hcsplt: u32 {
        /// Port of the hub, bits 6:0.
        const PORT = 0x7F;
        /// Address of the hub, bits 13:7.
        const HUB = 0x7F << 7;
        /// All of the payload in one start-split.
        const POSITION_ALL = 3 << 14;
        /// Do a complete-split.
        const COMPLETE = 1 << 16;
        /// Do splits at all.
        const ENABLE = 1 << 31;
    }

    /// What happened on a channel. All bits are cleared by writing 1.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Hcint: u32 {
        /// The transfer is complete.
        const COMPLETE = 1 << 0;
        /// The channel stopped.
        const HALTED = 1 << 1;
        /// Error on the AHB: bad DMA address.
        const AHB_ERROR = 1 << 2;
        /// The endpoint is stalled.
        const STALL = 1 << 3;
        /// The device has nothing, or no room.
        const NAK = 1 << 4;
        /// The device, or the hub for a start-split, took it.
        const ACK = 1 << 5;
        /// Took it but has no room for more; for a complete-split: not yet.
        const NYET = 1 << 6;
        /// No answer, bad CRC, bit stuffing, bad PID.
        const TRANSACTION_ERROR = 1 << 7;
        /// The device sent more than it may.
        const BABBLE = 1 << 8;
        /// A periodic transfer did not fit in its frame.
        const FRAME_OVERRUN = 1 << 9;
        /// DATA0 where DATA1 was due, or the other way round.
        const TOGGLE_ERROR = 1 << 10;
    }
}

#[cfg(test)]
mod tests {
    use core::mem::{offset_of, size_of};

    use super::*;

    /// Offsets from Linux `drivers/usb/dwc2/hw.h`.
    #[test]
    fn registers_are_where_the_hardware_has_them() {
        assert_eq!(offset_of!(Registers, grxfsiz), 0x24);
        assert_eq!(offset_of!(Registers, guid), 0x3C);
        assert_eq!(offset_of!(Registers, gsnpsid), 0x40);
        assert_eq!(offset_of!(Registers, ghwcfg4), 0x50);
        assert_eq!(offset_of!(Registers, hptxfsiz), 0x100);
        assert_eq!(offset_of!(Registers, hcfg), 0x400);
        assert_eq!(offset_of!(Registers, haint), 0x414);
        assert_eq!(offset_of!(Registers, hprt0), 0x440);
        assert_eq!(offset_of!(Registers, channels), 0x500);
        assert_eq!(size_of::<ChannelRegisters>(), 0x20);
        assert_eq!(offset_of!(Registers, pcgcctl), 0xE00);
    }
}
