//! From bulk OUT packets to the cable: command words, checksums.

use super::registers::*;
use super::{Lan7800, TX_FIFO};
use crate::device::Answer;
use crate::nic::{Segments, SyncLost, fcs, insert_ip_checksum, insert_transport_checksum, word};

/// Command words in front of each frame, in bytes.
const COMMANDS: usize = 8;
/// The bulk OUT endpoint.
const ENDPOINT: u8 = 2;
/// A bulk OUT packet is taken while so much is free.
const ROOM: usize = 512;
/// Longest frame that the MAC sends: jumbo frames of 9,000 bytes (data sheet, features).
const LEN_MAX: usize = 9018;

#[derive(Debug, Default)]
pub(super) struct Transmitter {
    fifo: Segments,
    /// Frames in this transfer so far.
    batch: u64,
}

impl Transmitter {
    /// Returns how many bytes wait in the FIFO.
    pub(super) fn len(&self) -> usize {
        self.fifo.len()
    }
}

impl Lan7800 {
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
        self.is(FCT_TX_CTL, FCT_EN) && self.is(MAC_TX, MAC_EN) && !is_stuck
    }

    /// Sends all that is complete.
    pub(super) fn transmit(&mut self) {
        while self.is_transmitting() {
            match self.next_frame() {
                Ok(true) => {}
                Ok(false) => return,
                Err(lost) => return self.lose_sync(&lost),
            }
        }
    }

    fn lose_sync(&mut self, lost: &SyncLost) {
        self.core.mistakes.add(|| format!("transmit: {}", lost.0));
        self.tx = Transmitter::default();
        self.int_sts |= INT_TXE;
        if !self.is(USB_CFG0, STALL_BO_DIS) {
            self.core.halt(ENDPOINT);
        }
    }

    /// Takes a frame. Returns whether there was a whole one.
    fn next_frame(&mut self) -> Result<bool, SyncLost> {
        let bytes = self.tx.fifo.bytes();
        if bytes.len() < COMMANDS {
            return Ok(false);
        }
        let (a, b) = (word(bytes, 0), word(bytes, 4));
        let len = (a & TX_LEN) as usize;
        if a & TX_RESERVED != 0 || b & 0xC000_0000 != 0 || !(14..=LEN_MAX + 4).contains(&len) {
            return Err(SyncLost(format!("{a:#010x} {b:#010x} are no command words")));
        }
        if bytes.len() < COMMANDS + len {
            return Ok(false);
        }
        let frame = self.tx.fifo.take(COMMANDS + len).split_off(COMMANDS);
        self.finish(a, frame);
        Ok(true)
    }

    fn finish(&mut self, a: u32, mut frame: Vec<u8>) {
        if a & (TX_LSO | TX_IVTG | TX_RVTG) != 0 {
            self.core.mistakes.add(|| format!("command A {a:#x}: segmentation and VLAN tags are not modelled"));
        }
        if a & TX_FCS == 0 {
            let check = frame.split_off(frame.len().saturating_sub(4));
            if check != fcs(&frame) {
                self.core.mistakes.add(|| "a frame is sent with a wrong FCS of the driver's".into());
            }
        }
        if a & TX_IPE != 0 {
            insert_ip_checksum(&mut frame);
        }
        if a & TX_TPE != 0 {
            insert_transport_checksum(&mut frame);
        }
        self.tx.batch += 1;
        self.core.seen.batch_frames_max = self.core.seen.batch_frames_max.max(self.tx.batch);
        if !self.is_mac_right() {
            self.core.seen.dropped += 1;
            return;
        }
        self.statistics.sent(&frame);
        if !self.core.send(frame, true) {
            self.statistics.carrier_error();
        }
    }
}
