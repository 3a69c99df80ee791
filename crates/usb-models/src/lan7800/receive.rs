//! From the cable into the receive FIFO: filter, command words.

use super::registers::*;
use super::{Lan7800, MAC_RX};
use crate::nic::{FRAME_LEN_MIN, checksum, fcs, hash, is_ip_checksum_wrong, is_transport_checksum_wrong};

impl Lan7800 {
    pub(super) fn receive_frame(&mut self, frame: &[u8]) {
        let is_deaf = self.core.faults.is_silent || self.lite_reset.is_on();
        let is_on = self.is(MAC_RX, MAC_EN) && self.is(FCT_RX_CTL, FCT_EN);
        if self.core.phy.link().is_none() || !is_on || is_deaf || !self.is_mac_right() {
            self.core.seen.dropped += 1;
            return;
        }
        let mut frame = frame.to_vec();
        // Whoever sent it on the wire has padded it.
        frame.resize(frame.len().max(FRAME_LEN_MIN), 0);
        if !self.is_wanted(&frame) {
            self.core.seen.filtered += 1;
            return;
        }
        let mut command_a = 0;
        if frame[..6] == [0xFF; 6] {
            command_a |= RX_BAM;
        } else if frame[0] & 1 != 0 {
            command_a |= RX_MAM;
        } else {
            command_a |= RX_PFF;
        }
        let mut check = fcs(&frame);
        let tag = if frame[12..14] == [0x81, 0] { 4 } else { 0 };
        let len_max = (self.register(MAC_RX) >> 16 & 0x3FFF) as usize;
        if self.core.faults.damaged_frames > 0 {
            self.core.faults.damaged_frames -= 1;
            let middle = frame.len() / 2;
            frame[middle] ^= 0x10;
            check[0] ^= 1;
            command_a |= RX_RED | RX_FCS;
            self.statistics.fcs_error();
        } else if frame.len() + check.len() > len_max + tag {
            command_a |= RX_RED | RX_LONG;
            self.statistics.oversize();
        } else {
            self.statistics.received(&frame);
        }
        // Frames with errors are thrown away, unless "store bad frames" is set.
        if command_a & RX_RED != 0 && !self.is(FCT_RX_CTL, FCT_SBF) {
            self.core.seen.dropped += 1;
            return;
        }
        if self.core.faults.bad_statuses > 0 {
            self.core.faults.bad_statuses -= 1;
            command_a |= RX_RED | RX_RXE;
        }
        self.store(&frame, check, command_a | self.verdict(&frame));
    }

    /// What the checksum engine says.
    fn verdict(&self, frame: &[u8]) -> u32 {
        if !self.is(RFE_CTL, IP_COE | TCPUDP_COE) {
            return RX_ICSM;
        }
        let is_ip_wrong = self.is(RFE_CTL, IP_COE) && is_ip_checksum_wrong(frame);
        let is_transport_wrong = self.is(RFE_CTL, TCPUDP_COE) && is_transport_checksum_wrong(frame);
        let mut bits = 0;
        if is_ip_wrong {
            bits |= RX_ICE;
        }
        if is_transport_wrong {
            bits |= RX_TCE;
        }
        bits
    }

    /// Writes commands A, B and C (ten bytes), frame and FCS into the FIFO.
    fn store(&mut self, frame: &[u8], check: [u8; 4], command_a: u32) {
        let check = if self.is(MAC_RX, FCS_STRIP) { &[][..] } else { &check[..] };
        let mut len = frame.len() + check.len();
        if self.core.faults.wrong_lengths > 0 {
            self.core.faults.wrong_lengths -= 1;
            len += 1000;
        }
        let command_b = u32::from(checksum(&frame[14..])) << 16;
        let mut bytes = (command_a | len as u32 & 0x3FFF).to_le_bytes().to_vec();
        bytes.extend(command_b.to_le_bytes());
        bytes.extend([0, 0]);
        bytes.extend_from_slice(frame);
        bytes.extend_from_slice(check);
        if self.rx.push(bytes, self.core.now_us) {
            self.core.seen.received += 1;
        } else {
            self.core.seen.dropped += 1;
            self.statistics.dropped();
            self.int_sts |= INT_RDFO;
            *self.registers.entry(FCT_RX_CTL).or_default() |= FCT_OVFL;
        }
    }

    /// The filter engine (RFE_CTL).
    fn is_wanted(&self, frame: &[u8]) -> bool {
        if frame[..6] == [0xFF; 6] {
            return self.is(RFE_CTL, BCAST_EN);
        }
        let is_group = frame[0] & 1 != 0;
        let (all, hashed) = if is_group { (MCAST_EN, MCAST_HASH) } else { (UCAST_EN, DA_HASH) };
        if self.is(RFE_CTL, all) {
            return true;
        }
        let bit = hash(frame, 9) as usize;
        let is_in_table = self.filter_ram[HASH_TABLE + bit / 32] >> (bit % 32) & 1 != 0;
        let is_perfect = self.is(RFE_CTL, DA_PERFECT) && (0..MAF_COUNT).any(|index| self.is_filter(index, frame));
        is_perfect || self.is(RFE_CTL, hashed) && is_in_table
    }

    /// Whether a perfect filter is for the frame's destination: valid, and not for sources.
    fn is_filter(&self, index: u16, frame: &[u8]) -> bool {
        let (high, low) = (self.register(MAF + index * 8), self.register(MAF + index * 8 + 4));
        let [l0, l1, l2, l3] = low.to_le_bytes();
        let [h0, h1, ..] = high.to_le_bytes();
        high >> 30 == 0b10 && frame[..6] == [l0, l1, l2, l3, h0, h1]
    }
}
