//! The two registers through which a MAC reaches its PHY, the same in both chips, and bits that stay set for a while.
//!
//! Facts: LAN950x data sheet DS00001875A, 7.4 (MII_ACCESS); Linux smsc95xx.h and lan78xx.h; FreeBSD if_smscreg.h.

use super::Core;

const BUSY: u32 = 1;
const WRITE: u32 = 2;
/// Address of the internal PHY (Linux `SMSC95XX_INTERNAL_PHY_ID`, lan78xx.c `phy_mask = ~(1 << 1)`).
const PHY: u32 = 1;
/// A frame of the management interface: 64 bits of 400 ns (IEEE 802.3, 22.2.4.5).
const FRAME_US: u64 = 26;

/// Something that is under way: over when its time has passed and somebody has looked in vain at least once, because the
/// bus between a test and a model is often slower than the chip.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Busy {
    until_us: Option<u64>,
    was_seen: bool,
}

impl Busy {
    pub(crate) fn start(&mut self, now_us: u64, duration_us: u64) {
        *self = Self { until_us: Some(now_us + duration_us), was_seen: false };
    }

    /// Whether it is under way, for somebody who does not ask for it.
    pub(crate) fn is_on(&self) -> bool {
        self.until_us.is_some()
    }

    /// Whether it is under way, for the driver that asks.
    pub(crate) fn poll(&mut self, now_us: u64) -> bool {
        let is_over = self.was_seen && self.until_us.is_none_or(|until| now_us >= until);
        self.was_seen = true;
        if is_over {
            self.until_us = None;
        }
        self.is_on()
    }
}

/// MII_ADDR and MII_DATA.
#[derive(Debug, Default)]
pub(crate) struct Mii {
    address: u32,
    data: u16,
    /// What a read that is under way will bring.
    result: Option<u16>,
    busy: Busy,
}

impl Mii {
    pub(crate) fn read_address(&mut self, core: &Core) -> u32 {
        let is_busy = self.busy.poll(core.now_us) || core.faults.is_mii_stuck;
        if !is_busy && let Some(result) = self.result.take() {
            self.data = result;
        }
        self.address & !BUSY | u32::from(is_busy)
    }

    pub(crate) fn write_address(&mut self, value: u32, core: &mut Core) {
        if self.busy.is_on() {
            core.mistakes.add(|| format!("MII address {value:#x} written while the MII is busy"));
            return;
        }
        // The data sheet asks for the busy bit; U-Boot and older Linux write without it on real boards, and it starts as well.
        self.address = value & 0xFFC2;
        let (phy, register) = (value >> 11 & 31, (value >> 6 & 31) as u8);
        let is_deaf = core.faults.unanswered_phy_reads > 0;
        core.faults.unanswered_phy_reads = core.faults.unanswered_phy_reads.saturating_sub(1);
        let is_there = phy == PHY && !core.faults.is_phy_missing && !is_deaf;
        if phy != PHY {
            core.mistakes.add(|| format!("PHY {phy} addressed, the internal one is {PHY}"));
        }
        if value & WRITE == 0 {
            self.result = Some(if is_there { core.phy.read(register, &mut core.mistakes) } else { 0xFFFF });
        } else if is_there {
            core.phy.write(register, self.data, &mut core.mistakes);
        }
        self.busy.start(core.now_us, FRAME_US);
    }

    pub(crate) fn read_data(&self, core: &mut Core) -> u32 {
        if self.busy.is_on() {
            core.mistakes.add(|| "MII data read while the MII is busy".into());
        }
        self.data.into()
    }

    pub(crate) fn write_data(&mut self, value: u32, core: &mut Core) {
        if self.busy.is_on() {
            core.mistakes.add(|| "MII data written while the MII is busy".into());
            return;
        }
        self.data = value as u16;
    }
}
