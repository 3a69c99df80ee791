//! What the registers of the model answer, and what writing to them does. Offsets as in `rpi_pac::genet`, which names their sources.

use embassy_time::Instant;

use super::{Genet, MDIO_TIME, REVISION, RX_EN, TX_EN};
use crate::mmio::Block;

impl Block for Genet {
    fn read(&mut self, offset: usize) -> u32 {
        self.progress();
        self.check_reset(offset);
        match offset {
            0x000 => REVISION,
            0x004 => self.port_ctrl,
            0x008 => self.flush,
            0x08c => self.oob,
            0x200 => self.stat,
            0x20c => self.mask,
            0x300 => self.rbuf_ctrl,
            0x394 => self.overflows,
            0x39c => self.energy[0],
            0x614 => self.energy[1],
            0x808 => self.cmd,
            0x80c => self.mac[0],
            0x810 => self.mac[1],
            0x864 => self.eee_ctrl,
            0xc64 => self.mib_good[0],
            0xcec => self.mib_good[1],
            0xe14 => self.mdio,
            0xe18 => self.mdio_cfg,
            0xe38 => self.filtered as u32,
            0xe50 => self.mdf_ctrl,
            0x2000..0x4000 => self.rx.read(offset - 0x2000),
            0x5008 if self.faults.tx_index_jump != 0 && self.tx.is_running() => {
                let jump = std::mem::take(&mut self.faults.tx_index_jump);
                self.tx.hw_index.wrapping_add(jump).into()
            }
            0x4000..0x6000 => self.tx.read(offset - 0x4000),
            _ => 0,
        }
    }

    fn write(&mut self, offset: usize, value: u32) {
        self.progress();
        self.check_reset(offset);
        match offset {
            0x004 if value == 3 => self.port_ctrl = value,
            0x008 => {
                if value & !3 != 0 {
                    self.error(&format!("flush control {value:#x}"));
                }
                if value & 2 != 0 {
                    self.reset();
                }
                if value & 1 != 0 {
                    self.fifo.clear();
                }
                self.flush = value;
            }
            0x08c => {
                if value & !0x00f1_0070 != 0 {
                    self.error(&format!("RGMII control {value:#x}"));
                }
                self.oob = value;
            }
            0x208 => {
                self.stat &= !value;
                self.waits_without_reason = 0;
            }
            0x210 => self.mask |= value,
            0x214 => {
                self.mask &= !value;
                self.update_line();
            }
            // Line B: nothing is ever raised there.
            0x248 | 0x250 => {}
            0x300 => self.rbuf_ctrl = value,
            0x39c => self.energy[0] = value,
            0x614 => self.energy[1] = value,
            0x314 | 0x600 if value == 0 => {}
            0x3b4 if value == 1 => {}
            0x808 => self.write_command(value),
            0x80c | 0x810 => {
                if self.cmd & (TX_EN | RX_EN) != 0 {
                    self.error("changes the address while the MAC runs");
                }
                self.mac[(offset - 0x80c) / 4] = value;
                self.is_mac_set = true;
            }
            0x814 if (1518..=1536).contains(&value) => {}
            0x864 => self.eee_ctrl = value,
            0xb34 => {
                if value != 0 && self.tx.is_running() {
                    self.error("flushes what is being sent");
                }
            }
            0xd80 if value & !7 == 0 => {
                if value & 1 != 0 {
                    self.mib_good = [0; 2];
                }
            }
            0xe14 => {
                if self.mdio_done.is_some() {
                    self.error("starts an MDIO transfer during another");
                }
                if self.mdio_cfg >> 4 & 0x3f < 63 {
                    self.error("starts an MDIO transfer with a clock that is too fast");
                }
                self.mdio = value;
                if value & 1 << 29 != 0 {
                    self.mdio_done = Some(Instant::now() + MDIO_TIME);
                }
            }
            0xe18 if value & 0x3f1 == value => self.mdio_cfg = value,
            0x394 if value == 0 => self.overflows = 0,
            0xe50 if value >> 17 == 0 => self.mdf_ctrl = value,
            0xe54..0xedc => self.mdf[(offset - 0xe54) / 8][(offset - 0xe54) / 4 % 2] = value,
            0x2000..0x4000 => {
                self.rx.write(offset - 0x2000, value, self.dma);
                self.drain_fifo();
            }
            0x4000..0x6000 => {
                self.tx.write(offset - 0x4000, value, self.dma);
                self.start_sending(Instant::now());
            }
            0xfc00..0xfc0c if value == 0 => {}
            _ => self.error(&format!("write of {value:#x} to {offset:#x}")),
        }
    }
}
