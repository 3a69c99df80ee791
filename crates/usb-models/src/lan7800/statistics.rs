//! What the LAN7800 counts, in the order in which it tells it (data sheet, "Get Statistics"; Linux `struct lan78xx_statstage`).

/// Counters.
const COUNT: usize = 47;
/// Bytes of the answer.
pub(super) const LEN: usize = COUNT * 4;

/// Places of the counters in use. Byte and frame counters come in three: unicast, broadcast, multicast.
const RX_FCS_ERRORS: usize = 0;
const RX_OVERSIZE: usize = 5;
const RX_DROPPED: usize = 6;
const RX_BYTES: usize = 7;
const RX_FRAMES: usize = 10;
const RX_SIZES: usize = 14;
const TX_CARRIER: usize = 25;
const TX_BYTES: usize = 31;
const TX_FRAMES: usize = 34;
const TX_SIZES: usize = 38;

#[derive(Clone, Debug)]
pub(super) struct Statistics([u32; COUNT]);

impl Default for Statistics {
    fn default() -> Self {
        Self([0; COUNT])
    }
}

impl Statistics {
    pub(super) fn bytes(&self) -> Vec<u8> {
        self.0.iter().flat_map(|count| count.to_le_bytes()).collect()
    }

    pub(super) fn received(&mut self, frame: &[u8]) {
        self.count(frame, RX_BYTES, RX_FRAMES, RX_SIZES);
    }

    pub(super) fn sent(&mut self, frame: &[u8]) {
        self.count(frame, TX_BYTES, TX_FRAMES, TX_SIZES);
    }

    pub(super) fn fcs_error(&mut self) {
        self.0[RX_FCS_ERRORS] += 1;
    }

    pub(super) fn oversize(&mut self) {
        self.0[RX_OVERSIZE] += 1;
    }

    pub(super) fn dropped(&mut self) {
        self.0[RX_DROPPED] += 1;
    }

    pub(super) fn carrier_error(&mut self) {
        self.0[TX_CARRIER] += 1;
    }

    fn count(&mut self, frame: &[u8], bytes: usize, frames: usize, sizes: usize) {
        let kind = match frame.first_chunk::<6>() {
            Some([0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF]) => 1,
            Some([first, ..]) if first & 1 != 0 => 2,
            _ => 0,
        };
        // On the wire, with FCS.
        let len = frame.len().max(60) + 4;
        self.0[bytes + kind] = self.0[bytes + kind].wrapping_add(len as u32);
        self.0[frames + kind] += 1;
        let size = [64, 127, 255, 511, 1023, 1518].iter().position(|max| len <= *max).unwrap_or(6);
        self.0[sizes + size] += 1;
    }
}
