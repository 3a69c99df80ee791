//! From bulk OUT packets to the cable: command words, buffers, checksum.

use super::registers::*;
use super::{Lan9514, TX_FIFO};
use crate::device::Answer;
use crate::nic::{Segments, SyncLost, checksum, fcs, word};

/// Command words in front of each buffer, in bytes.
const COMMANDS: usize = 8;
/// The bulk OUT endpoint.
const ENDPOINT: u8 = 2;
/// A bulk OUT packet is taken while so much is free (LAN9730 data sheet DS00001946A, 4.3.1.2).
const ROOM: usize = 512;
/// Longest frame without FCS, with a VLAN tag.
const LEN_MAX: usize = 1518;

/// Statistics by their place (5.3.1.7, table 5-39).
const GOOD: usize = 0;
const CARRIER: usize = 8;
const BAD: usize = 9;

#[derive(Debug, Default)]
pub(super) struct Transmitter {
    fifo: Segments,
    /// The frame whose last segment has not come: command B of its first one, and what there is of it.
    frame: Option<(u32, Vec<u8>)>,
    /// Frames in this transfer so far.
    batch: u64,
}

impl Transmitter {
    /// Returns how many bytes wait in the FIFO.
    pub(super) fn len(&self) -> usize {
        self.fifo.len()
    }
}

impl Lan9514 {
    pub(super) fn take_packet(&mut self, data: &[u8]) -> Answer {
        if self.core.faults.is_silent {
            return Answer::Nak;
        }
        if self.core.is_halted(ENDPOINT) {
            return Answer::Stall;
        }
        if self.tx.len() + ROOM > TX_FIFO {
            self.core.seen.refused_packets += 1;
            return Answer::Nak;
        }
        let packet = usize::from(self.core.speed.bulk_packet());
        if data.len() > packet {
            self.tx.batch = 0;
        }
        self.tx.fifo.push(data);
        self.transmit();
        let is_running = self.is_transmitting();
        if data.is_empty() || !data.len().is_multiple_of(packet) {
            self.tx.batch = 0;
            if !is_running {
                self.tx.fifo.pad();
            } else if let Err(lost) = self.tx.fifo.end_transfer() {
                self.lose_sync(&lost);
            }
        }
        // The packet itself was acknowledged; the next one meets the halt.
        Answer::Data(Vec::new())
    }

    fn is_transmitting(&self) -> bool {
        let is_stuck = self.core.holds_frames();
        self.tx_cfg & TX_ON != 0 && self.is(MAC_CR, TXEN) && !is_stuck
    }

    /// Sends all that is complete.
    pub(super) fn transmit(&mut self) {
        while self.is_transmitting() {
            match self.next_segment() {
                Ok(true) => {}
                Ok(false) => return,
                Err(lost) => return self.lose_sync(&lost),
            }
        }
    }

    /// "Loss of sync is a catastrophic error": the endpoint stalls, unless that is switched off (LAN9730, 4.3.1.2).
    fn lose_sync(&mut self, lost: &SyncLost) {
        self.core.mistakes.add(|| format!("transmit: {}", lost.0));
        self.tx = Transmitter::default();
        self.int_sts |= INT_TXE;
        self.statistics.tx[BAD] += 1;
        if !self.is(HW_CFG, SBP) {
            self.core.halt(ENDPOINT);
        }
    }

    /// Takes a segment. Returns whether there was a whole one.
    fn next_segment(&mut self) -> Result<bool, SyncLost> {
        let bytes = self.tx.fifo.bytes();
        if bytes.len() < COMMANDS {
            return Ok(false);
        }
        let (a, b) = (word(bytes, 0), word(bytes, 4));
        let (size, offset) = ((a & 0x7FF) as usize, (a >> 16 & 3) as usize);
        if a & CMD_A_RESERVED != 0 || b & CMD_B_RESERVED != 0 || size == 0 {
            return Err(SyncLost(format!("{a:#010x} {b:#010x} are no command words")));
        }
        let len = COMMANDS + offset + size;
        if bytes.len() < len {
            return Ok(false);
        }
        let data = self.tx.fifo.take(len).split_off(COMMANDS + offset);
        let frame = match (self.tx.frame.take(), a & CMD_A_FIRST != 0) {
            (None, true) => (b, data),
            (Some((first_b, mut frame)), false) => {
                if (first_b ^ b) & !CMD_B_CHECKSUM != 0 {
                    return Err(SyncLost(format!("command B {b:#x} differs from the first segment's {first_b:#x}")));
                }
                frame.extend(data);
                (first_b, frame)
            }
            (None, false) => return Err(SyncLost("a frame does not begin with a first segment".into())),
            (Some(_), true) => return Err(SyncLost("a first segment comes before the last one of a frame".into())),
        };
        if a & CMD_A_LAST == 0 {
            self.tx.frame = Some(frame);
            return Ok(true);
        }
        let (b, frame) = frame;
        if (b & 0x7FF) as usize != frame.len() {
            return Err(SyncLost(format!("a frame of {} bytes, command B says {}", frame.len(), b & 0x7FF)));
        }
        self.finish(b, frame);
        Ok(true)
    }

    fn finish(&mut self, b: u32, mut frame: Vec<u8>) {
        if b & CMD_B_CHECKSUM != 0 {
            if !self.is(COE_CR, TX_COE) {
                self.core.mistakes.add(|| "a checksum is asked for, but COE_CR has it switched off".into());
            }
            frame = self.with_checksum(frame);
        }
        if b & CMD_B_NO_CRC != 0 {
            let check = frame.split_off(frame.len().saturating_sub(4));
            if check != fcs(&frame) {
                self.core.mistakes.add(|| "a frame is sent with a wrong FCS of the driver's".into());
            }
        }
        if !(14..=LEN_MAX).contains(&frame.len()) {
            self.core.mistakes.add(|| format!("a frame of {} bytes is sent", frame.len()));
        }
        self.check_duplex();
        self.tx.batch += 1;
        self.core.seen.batch_frames_max = self.core.seen.batch_frames_max.max(self.tx.batch);
        let is_sent = self.core.send(frame, b & CMD_B_NO_PADDING == 0);
        self.statistics.tx[if is_sent { GOOD } else { CARRIER }] += 1;
    }

    /// A word in front of the frame says where the sum starts and where it goes (5.5.8).
    fn with_checksum(&mut self, mut frame: Vec<u8>) -> Vec<u8> {
        let preamble = word(&frame, 0);
        let (start, place) = ((preamble & 0xFFF) as usize, (preamble >> 16 & 0xFFF) as usize);
        frame.drain(..4.min(frame.len()));
        if start >= frame.len() || place + 2 > frame.len() {
            self.core.mistakes.add(|| format!("checksum from {start} to {place} in a frame of {} bytes", frame.len()));
            return frame;
        }
        let sum = !checksum(&frame[start..]);
        frame[place..place + 2].copy_from_slice(&sum.to_be_bytes());
        frame
    }
}
