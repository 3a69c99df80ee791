//! The receive FIFO and the USB transmitter ("UTX") that empties it into bulk IN transfers: the same in both chips.
//!
//! Facts: LAN950x data sheet DS00001875A, 5.3.1.1 (Endpoint 1, bulk in), with which LAN7800 data sheet DS00001992, chapter
//! on the USB 2.0 bulk in endpoint, agrees; Linux smsc95xx.c `smsc95xx_rx_fixup`, lan78xx.c `lan78xx_rx`.

use std::collections::VecDeque;

use super::{Core, Seen};
use crate::device::Answer;

/// How bulk IN transfers are made, from the registers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BulkIn {
    /// MEF: several frames in a transfer.
    pub(crate) has_several_frames: bool,
    /// BIR: an empty FIFO answers NAK instead of an empty packet.
    pub(crate) is_nak_when_empty: bool,
    /// BCE with BURST_CAP: most bytes of a transfer.
    pub(crate) burst_len_max: Option<usize>,
    /// BULK_IN_DLY: how long less than a full packet waits for more, in microseconds.
    pub(crate) delay_us: u64,
}

#[derive(Debug)]
struct Entry {
    /// Status, padding, frame, FCS: as the FIFO has it, without padding at the end.
    bytes: Vec<u8>,
    arrived_us: u64,
}

#[derive(Debug)]
pub(crate) struct RxFifo {
    frames: VecDeque<Entry>,
    used: usize,
    size: usize,
    /// Whether the last burst was padded at its end. Neither data sheet says that it is or is not; drivers must take both.
    was_padded: bool,
}

impl RxFifo {
    pub(crate) fn new(size: usize) -> Self {
        Self { frames: VecDeque::new(), used: 0, size, was_padded: false }
    }

    pub(crate) fn clear(&mut self) {
        self.frames.clear();
        self.used = 0;
    }

    /// Returns how many bytes are in use.
    pub(crate) fn used(&self) -> usize {
        self.used
    }

    /// Returns whether a partner that respects PAUSE frames would send: half of the FIFO is free.
    pub(crate) fn has_room(&self) -> bool {
        self.used * 2 < self.size
    }

    /// Takes a frame with its status. Returns whether there was room.
    pub(crate) fn push(&mut self, bytes: Vec<u8>, now_us: u64) -> bool {
        let len = bytes.len().next_multiple_of(4);
        if self.used + len > self.size {
            return false;
        }
        self.used += len;
        self.frames.push_back(Entry { bytes, arrived_us: now_us });
        true
    }

    /// Returns when the frames that wait will be sent, though they are less than a packet.
    pub(crate) fn due(&self, rules: &BulkIn) -> Option<u64> {
        self.frames.front().map(|entry| entry.arrived_us + rules.delay_us)
    }

    /// Makes a transfer.
    pub(crate) fn burst(&mut self, rules: &BulkIn, core: &mut Core) -> Answer {
        let has_packet = self.used >= usize::from(core.speed.bulk_packet());
        if !has_packet && self.due(rules).is_none_or(|due| core.now_us < due) {
            return if rules.is_nak_when_empty { Answer::Nak } else { Answer::Data(Vec::new()) };
        }
        let mut bytes = Vec::new();
        let mut count = 0;
        let len_max = rules.burst_len_max.unwrap_or(usize::MAX);
        while let Some(entry) = self.frames.front() {
            let start = bytes.len().next_multiple_of(4);
            // A frame is never divided: the host takes each transfer by itself. A cap that is too small for the first
            // frame is exceeded.
            if count > 0 && (!rules.has_several_frames || (start + entry.bytes.len()).next_multiple_of(4) > len_max) {
                break;
            }
            bytes.resize(start, 0);
            bytes.extend_from_slice(&entry.bytes);
            self.used -= entry.bytes.len().next_multiple_of(4);
            self.frames.pop_front();
            count += 1;
        }
        if rules.has_several_frames {
            self.was_padded = !self.was_padded;
            if self.was_padded {
                bytes.resize(bytes.len().next_multiple_of(4), 0);
            }
        }
        if core.faults.truncated_bursts > 0 {
            core.faults.truncated_bursts -= 1;
            // In the middle of the last frame, and not at the end of a packet.
            bytes.truncate((bytes.len() - 30) | 1);
        }
        note(&mut core.seen, count, bytes.len());
        Answer::Data(bytes)
    }
}

fn note(seen: &mut Seen, frames: u64, len: usize) {
    seen.bursts += 1;
    seen.burst_frames_max = seen.burst_frames_max.max(frames);
    seen.burst_len_max = seen.burst_len_max.max(len as u64);
}
