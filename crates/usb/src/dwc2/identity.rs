//! Which DWC2 this is. The only place that tells QEMU's from a real one.

use rpi_pac::dwc2::{CHANNELS_MAX, Ghwcfg2};

use super::registers::{Register, RegisterAccess};

/// What the ID registers say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// Number of host channels.
    pub channels: usize,
    /// Whether it moves data by itself.
    pub has_dma: bool,
    /// Whether this is QEMU's model (hw/usb/hcd-dwc2.c) and not silicon.
    ///
    /// The model differs in ways that decide speed by a factor of forty and, once, over its life:
    ///
    /// - It moves data inside the write that enables a channel, at most HCCHAR.MPS bytes per round when HCTSIZ.XFERSIZE
    ///   is 1,536 or less (`dwc2_enable_chan`), and rounds after the first come from a timer of 250 µs. Otherwise HCCHAR.MPS
    ///   only serves to count packets (`dwc2_handle_packet`). So it is told the largest packet that fits the field, and
    ///   every transfer is one round.
    /// - After a NAK from an endpoint that HCCHAR says is bulk or control it tries again every 250 µs, for ever: also after
    ///   the channel was disabled, with whatever is in the registers by then, and when the device has meanwhile been
    ///   unplugged it dies of an assertion (`dwc2_work_bh` → `usb_ep_get(NULL)`). After a NAK from an interrupt endpoint
    ///   the channel halts. The type is used for nothing else but to know a setup packet. So everything
    ///   else is declared to be an interrupt endpoint, and bulk endpoints are asked again by [`super::pace`]: no retry
    ///   is ever pending in the model, and an idle node costs only its own polls.
    /// - A device may hold a transfer and complete it later (usb-redir). Disabling the channel does not cancel it, and
    ///   enabling the channel again then breaks the model. Such channels rest until the model is through with them.
    ///   Its buffer is given back: a device that is gone completes nothing, and only control transfers have a deadline,
    ///   whose buffer is never used for anything else.
    /// - A reset of the board while a device holds a transfer ends it with an assertion (`dwc2_async_packet_complete`):
    ///   whoever restarts the node waits for [`super::has_held_transfers`] first.
    pub is_emulator: bool,
}

impl Identity {
    /// Reads the identity off the registers of the same names.
    #[must_use]
    pub fn new(gsnpsid: u32, ghwcfg1: u32, ghwcfg2: u32, ghwcfg4: u32) -> Self {
        let channels = ((ghwcfg2 & Ghwcfg2::CHANNELS.bits()) >> 14) as usize + 1;
        Self {
            channels: channels.min(CHANNELS_MAX),
            has_dma: (ghwcfg2 & Ghwcfg2::ARCHITECTURE.bits()) >> 3 == 2,
            // Release 2.94a is what QEMU says (`dwc2_reset_enter`); the BCM2835 and the BCM2711 have 2.80a. No silicon has
            // GHWCFG4 = 0: that would be a core without a PHY data width.
            is_emulator: gsnpsid == 0x4F54_294A && ghwcfg1 == 0 && ghwcfg4 == 0,
        }
    }

    /// Reads the identity.
    pub(crate) fn read(registers: &impl RegisterAccess) -> Self {
        let [gsnpsid, ghwcfg1, ghwcfg2, ghwcfg4] =
            [Register::Gsnpsid, Register::Ghwcfg1, Register::Ghwcfg2, Register::Ghwcfg4].map(|id| registers.read(id));
        Self::new(gsnpsid, ghwcfg1, ghwcfg2, ghwcfg4)
    }

    /// Returns a word for the log.
    #[must_use]
    pub fn kind_name(&self) -> &'static str {
        if self.is_emulator { "QEMU's model" } else { "silicon" }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values that QEMU 10.0.2 returns (`dwc2_reset_enter`).
    #[test]
    fn the_emulator_is_known_by_its_registers() {
        let qemu =
            Identity::new(0x4F54_294A, 0, 8 << 26 | 4 << 24 | 4 << 22 | 1 << 19 | 1 << 18 | 7 << 14 | 2 << 3 | 6, 0);
        assert_eq!(qemu, Identity { channels: 8, has_dma: true, is_emulator: true });
    }

    /// Values of the BCM2835, from the boot log of Linux's dwc_otg on a Pi 3B (GHWCFG2 = 0x228ddd50).
    #[test]
    fn the_bcm2835_is_not_the_emulator() {
        let pi = Identity::new(0x4F54_280A, 0, 0x228D_DD50, 0x1FF0_0020);
        assert_eq!(pi, Identity { channels: 8, has_dma: true, is_emulator: false });
    }
}
