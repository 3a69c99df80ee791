//! The MAC: reset, address, filter, and what follows the link.

use embassy_time::{Duration, Timer};
use rpi_pac::genet::{
    Command, Energy, Ext, FILTERS, HFB_OFF, Hfb, MIB_RESET, Mdf, PORT_MODE_EXT_GPHY, RBUF_FLUSH, RBUF_FLUSH_RESET,
    Rbuf, RbufCtrl, RgmiiOob, Sys, Tbuf, Umac,
};
use safe_mmio::{UniqueMmioPointer, field};

use crate::MacAddress;
use crate::exchange::Groups;
use crate::mii::Negotiated;

/// Longest frame with VLAN tag and FCS, and some more (Linux ENET_MAX_MTU_SIZE; U-Boot the same; OpenBSD 1,536).
const FRAME_LEN_MAX: u32 = 1536;
/// What a reset or flush bit stays set, and rests afterwards (Linux reset_umac, bcmgenet_umac_reset and U-Boot: 2 or 10 µs).
const PULSE: Duration = Duration::from_micros(10);
/// Within this the MAC stops behind the frame it is at (Linux umac_enable_set: 1 to 2 ms).
const STOP: Duration = Duration::from_millis(2);
const BROADCAST: MacAddress = MacAddress([0xff; 6]);

/// The MAC, with the blocks around it that are set up once.
pub(crate) struct Mac<'a> {
    pub(crate) umac: UniqueMmioPointer<'a, Umac>,
    pub(crate) mdf: UniqueMmioPointer<'a, Mdf>,
    pub(crate) sys: UniqueMmioPointer<'a, Sys>,
    pub(crate) ext: UniqueMmioPointer<'a, Ext>,
    pub(crate) rbuf: UniqueMmioPointer<'a, Rbuf>,
    pub(crate) tbuf: UniqueMmioPointer<'a, Tbuf>,
    pub(crate) hfb: UniqueMmioPointer<'a, Hfb>,
}

impl Mac<'_> {
    /// Stops receiving, and waits until the frame that is coming in is over.
    pub(crate) async fn stop_receiving(&mut self) {
        self.stop(Command::RX_EN).await;
    }

    /// Stops sending. The transmit DMA must stand still.
    pub(crate) async fn stop_sending(&mut self) {
        self.stop(Command::TX_EN).await;
    }

    async fn stop(&mut self, what: Command) {
        let cmd = self.command();
        if cmd.intersects(what) {
            field!(self.umac, cmd).write((cmd - what).bits());
            Timer::after(STOP).await;
        }
    }

    /// Throws away what is in the FIFOs. Both DMAs must stand still (Linux 6.12 bcmgenet_dma_disable).
    pub(crate) async fn flush(&mut self) {
        field!(self.umac, tx_flush).write(1);
        Timer::after(PULSE).await;
        field!(self.umac, tx_flush).write(0);
        let flush = field!(self.sys, rbuf_flush_ctrl).read();
        field!(self.sys, rbuf_flush_ctrl).write(flush | RBUF_FLUSH);
        Timer::after(PULSE).await;
        field!(self.sys, rbuf_flush_ctrl).write(flush & !RBUF_FLUSH);
        Timer::after(PULSE).await;
    }

    /// Ends a reset that the MAC may still be in: before that its registers must not be touched (FreeBSD gen_get_eaddr and
    /// NetBSD genet_get_eaddr look first; Linux reset_umac: some chips start with the bit set).
    pub(crate) async fn end_reset(&mut self) {
        if field!(self.sys, rbuf_flush_ctrl).read() & RBUF_FLUSH_RESET != 0 {
            field!(self.sys, rbuf_flush_ctrl).write(0);
            Timer::after(PULSE).await;
        }
    }

    /// Resets the MAC and sets it up; neither direction is enabled yet.
    pub(crate) async fn reset(&mut self, address: MacAddress) {
        for value in [RBUF_FLUSH_RESET, 0] {
            field!(self.sys, rbuf_flush_ctrl).write(value);
            Timer::after(PULSE).await;
        }
        field!(self.umac, cmd).write(0);
        // Looped back the receiver has a clock while it is reset, whatever the PHY does (U-Boot bcmgenet_umac_reset;
        // OpenBSD genet_reset).
        field!(self.umac, cmd).write((Command::SW_RESET | Command::LCL_LOOP_EN).bits());
        Timer::after(PULSE).await;
        field!(self.umac, cmd).write(0);
        field!(self.umac, mib_ctrl).write(MIB_RESET);
        field!(self.umac, mib_ctrl).write(0);
        field!(self.umac, max_frame_len).write(FRAME_LEN_MAX);

        // Two bytes in front of a frame align the IP header behind its 14 bytes. No status block: what it says is in the
        // descriptor too, and its checksum is not used.
        let rbuf = RbufCtrl::from_bits_retain(field!(self.rbuf, ctrl).read());
        let rbuf = (rbuf - RbufCtrl::STATUS_64B_EN - RbufCtrl::BAD_DIS) | RbufCtrl::ALIGN_2B;
        field!(self.rbuf, ctrl).write(rbuf.bits());
        field!(self.rbuf, chk_ctrl).write(0);
        let tbuf = field!(self.tbuf, ctrl).read();
        field!(self.tbuf, ctrl).write(tbuf & !RbufCtrl::STATUS_64B_EN.bits());
        field!(self.rbuf, tbuf_size_ctrl).write(1);
        field!(self.hfb, ctrl).write(HFB_OFF);
        for mut enable in field!(self.hfb, enable).split() {
            enable.write(HFB_OFF);
        }
        self.stop_saving_energy();

        field!(self.sys, port_ctrl).write(PORT_MODE_EXT_GPHY);
        let oob = RgmiiOob::from_bits_retain(field!(self.ext, rgmii_oob_ctrl).read());
        // The MAC delays its transmit clock; see `phy.rs` for the other direction. Zephyr and U-Boot set ID_MODE_DIS for
        // rgmii-rxid; Linux and OpenBSD don't, and a Pi 4B was measured to run without (0x00f00050).
        let off = RgmiiOob::LINK | RgmiiOob::OOB_DISABLE | RgmiiOob::ID_MODE_DIS;
        let oob = (oob - off) | RgmiiOob::MODE_EN;
        field!(self.ext, rgmii_oob_ctrl).write(oob.bits());

        let [a, b, c, d, e, f] = address.0;
        field!(self.umac, mac0).write(u32::from_be_bytes([a, b, c, d]));
        field!(self.umac, mac1).write(u32::from_be_bytes([0, 0, e, f]));
    }

    fn stop_saving_energy(&mut self) {
        let eee = field!(self.umac, eee_ctrl).read();
        field!(self.umac, eee_ctrl).write(eee & !Energy::EEE_EN.bits());
        let buffers = (Energy::BUFFER_EEE_EN | Energy::BUFFER_PM_EN).bits();
        let rbuf = field!(self.rbuf, energy_ctrl).read();
        field!(self.rbuf, energy_ctrl).write(rbuf & !buffers);
        let tbuf = field!(self.tbuf, energy_ctrl).read();
        field!(self.tbuf, energy_ctrl).write(tbuf & !buffers);
    }

    /// Lets frames for `own`, for everybody and for these groups through; everything when there are too many groups.
    pub(crate) fn set_filter(&mut self, own: MacAddress, groups: &Groups) {
        let cmd = self.command();
        let Some(wanted) = filters(own, groups) else {
            field!(self.umac, cmd).write((cmd | Command::PROMISC).bits());
            field!(self.mdf, ctrl).write(0);
            return;
        };
        let mut enabled = 0;
        for (index, (filter, address)) in field!(self.mdf, filters).iter().zip(&wanted).enumerate() {
            let mut filter = filter;
            let [a, b, c, d, e, f] = address.0;
            field!(filter, high).write(u32::from_be_bytes([0, 0, a, b]));
            field!(filter, low).write(u32::from_be_bytes([c, d, e, f]));
            enabled |= 1 << (FILTERS - 1 - index);
        }
        field!(self.mdf, ctrl).write(enabled);
        field!(self.umac, cmd).write((cmd - Command::PROMISC).bits());
    }

    /// Follows the PHY: both directions run as was negotiated.
    pub(crate) fn link_up(&mut self, mode: Negotiated) {
        let oob = RgmiiOob::from_bits_retain(field!(self.ext, rgmii_oob_ctrl).read());
        field!(self.ext, rgmii_oob_ctrl).write((oob | RgmiiOob::LINK).bits());
        let keep = self.command() & Command::PROMISC;
        field!(self.umac, cmd).write((keep | command(mode) | Command::TX_EN | Command::RX_EN).bits());
    }

    /// Follows the PHY. What is enabled stays so: frames on their way out drain into nothing (Linux bcmgenet_mii_setup).
    pub(crate) fn link_down(&mut self) {
        let oob = RgmiiOob::from_bits_retain(field!(self.ext, rgmii_oob_ctrl).read());
        field!(self.ext, rgmii_oob_ctrl).write((oob - RgmiiOob::LINK).bits());
    }

    fn command(&mut self) -> Command {
        Command::from_bits_retain(field!(self.umac, cmd).read())
    }
}

/// Returns how the MAC is told of a mode.
fn command(mode: Negotiated) -> Command {
    let mut command = match mode.speed_mbps {
        1000 => Command::SPEED_1000,
        100 => Command::SPEED_100,
        _ => Command::empty(),
    };
    command.set(Command::HD_EN, !mode.is_full_duplex);
    command.set(Command::RX_PAUSE_IGNORE, !mode.obeys_pause);
    command.set(Command::TX_PAUSE_IGNORE, !mode.may_send_pause);
    command
}

/// Returns the addresses to let through; `None` when they are too many.
fn filters(own: MacAddress, groups: &Groups) -> Option<heapless::Vec<MacAddress, FILTERS>> {
    let Groups::Some(groups) = groups else { return None };
    let mut filters = heapless::Vec::new();
    filters.push(BROADCAST).ok()?;
    filters.push(own).ok()?;
    filters.extend_from_slice(groups).ok()?;
    Some(filters)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn groups(count: u8) -> Groups {
        Groups::Some((0..count).map(|n| MacAddress([1, 0, 0x5e, 0, 0, n])).collect())
    }

    #[test]
    fn fifteen_groups_fit_beside_broadcast_and_own_address() {
        let own = MacAddress([2, 0, 0, 0, 0, 1]);
        let fits = filters(own, &groups(15));
        assert!(fits.is_some_and(|filters| filters.len() == FILTERS && filters.get(1) == Some(&own)));
        assert_eq!(filters(own, &groups(16)), None);
        assert_eq!(filters(own, &Groups::All), None);
    }

    #[test]
    fn the_mac_is_told_what_was_negotiated() {
        let mode = Negotiated { speed_mbps: 1000, is_full_duplex: true, may_send_pause: true, obeys_pause: true };
        // As measured on a Pi 4B with a gigabit link: UMAC_CMD 0xb is this with TX_EN and RX_EN.
        assert_eq!(command(mode).bits() | 3, 0xb);
        let half = Negotiated { speed_mbps: 10, is_full_duplex: false, may_send_pause: false, obeys_pause: false };
        assert_eq!(command(half), Command::HD_EN | Command::RX_PAUSE_IGNORE | Command::TX_PAUSE_IGNORE);
    }
}
