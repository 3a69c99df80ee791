//! From the cable into the receive FIFO: filter, status word, checksum.

use super::registers::*;
use super::{Lan9514, RX_FIFO};
use crate::nic::{FRAME_LEN_MIN, checksum, fcs, hash};

/// Longest frame with FCS (IEEE 802.3, 3.2.7), and with a VLAN tag.
const LEN_MAX: usize = 1518;
const TAGGED_LEN_MAX: usize = 1522;

/// Statistics by their place (5.3.1.7, table 5-38).
const GOOD: usize = 0;
const CRC_ERRORS: usize = 1;
const TOO_LONG: usize = 4;
const FIFO_DROPPED: usize = 7;

impl Lan9514 {
    pub(super) fn receive_frame(&mut self, frame: &[u8]) {
        let is_deaf = self.core.faults.is_silent || self.lite_reset.is_on();
        if self.core.phy.link().is_none() || !self.is(MAC_CR, RXEN) || is_deaf {
            self.core.seen.dropped += 1;
            return;
        }
        self.check_duplex();
        let mut frame = frame.to_vec();
        // Whoever sent it on the wire has padded it.
        frame.resize(frame.len().max(FRAME_LEN_MIN), 0);
        let is_wanted = self.is_wanted(&frame);
        if !is_wanted && !self.is(MAC_CR, RXALL) {
            self.core.seen.filtered += 1;
            return;
        }
        let mut status = if is_wanted { 0 } else { STS_FILTER_FAIL };
        if frame[..6] == [0xFF; 6] {
            status |= STS_BROADCAST;
        } else if frame[0] & 1 != 0 {
            status |= STS_MULTICAST;
        }
        let kind = u16::from_be_bytes([frame[12], frame[13]]);
        if kind > 0x600 {
            status |= STS_TYPE;
        }
        let mut check = fcs(&frame);
        if self.core.faults.damaged_frames > 0 {
            self.core.faults.damaged_frames -= 1;
            let middle = frame.len() / 2;
            frame[middle] ^= 0x10;
            status |= STS_ERROR | STS_CRC;
            self.statistics.rx[CRC_ERRORS] += 1;
        } else if frame.len() + check.len() > if kind == 0x8100 { TAGGED_LEN_MAX } else { LEN_MAX } {
            status |= STS_ERROR | STS_TOO_LONG;
            self.statistics.rx[TOO_LONG] += 1;
        } else {
            self.statistics.rx[GOOD] += 1;
        }
        if status & STS_ERROR != 0 && self.is(HW_CFG, DRP) {
            self.core.seen.dropped += 1;
            return;
        }
        if status & STS_CRC != 0 {
            check[0] ^= 1;
        }
        if self.core.faults.bad_statuses > 0 {
            self.core.faults.bad_statuses -= 1;
            status |= STS_ERROR | STS_MII;
        }
        self.store(&frame, check, status);
    }

    /// Writes status, offset, frame, FCS and checksum into the FIFO.
    fn store(&mut self, frame: &[u8], check: [u8; 4], status: u32) {
        let sum = self.is(COE_CR, RX_COE).then(|| checksum(&frame[14..]).to_be_bytes());
        let mut len = frame.len() + check.len() + sum.map_or(0, |sum| sum.len());
        if self.core.faults.wrong_lengths > 0 {
            self.core.faults.wrong_lengths -= 1;
            len += 1000;
        }
        let mut bytes = (status | (len as u32 & 0x3FFF) << 16).to_le_bytes().to_vec();
        // RXDOFF: bytes without a meaning, and not zero.
        let offset = self.register(HW_CFG) >> 9 & 3;
        bytes.extend((0..offset).map(|_| 0xA5));
        bytes.extend_from_slice(frame);
        bytes.extend(check);
        bytes.extend(sum.into_iter().flatten());
        if self.rx.push(bytes, self.core.now_us) {
            self.core.seen.received += 1;
        } else {
            debug_assert!(self.rx.used() <= RX_FIFO, "a FIFO holds no more than its size");
            self.core.seen.dropped += 1;
            self.statistics.rx[FIFO_DROPPED] += 1;
            self.int_sts |= INT_RXDF;
        }
    }

    /// The address filter (MAC_CR, 7.4).
    fn is_wanted(&self, frame: &[u8]) -> bool {
        if self.is(MAC_CR, PRMS) {
            return true;
        }
        if frame[..6] == [0xFF; 6] {
            return !self.is(MAC_CR, BCAST);
        }
        let is_group = frame[0] & 1 != 0;
        if is_group && self.is(MAC_CR, MCPAS) {
            return true;
        }
        let is_hashed = self.is(MAC_CR, HFILT) || is_group && self.is(MAC_CR, HPFILT);
        if is_hashed {
            let bit = hash(frame, 6);
            return self.is(if bit & 0x20 != 0 { HASHH } else { HASHL }, 1 << (bit & 0x1F));
        }
        let [l0, l1, l2, l3] = self.register(ADDRL).to_le_bytes();
        let [h0, h1, ..] = self.register(ADDRH).to_le_bytes();
        (frame[..6] == [l0, l1, l2, l3, h0, h1]) != self.is(MAC_CR, INVFILT)
    }
}
