//! What USB adapters send, for the fuzz target in `fuzz/`: takes any bytes and panics when something that must hold does not.

use usb::descriptor::Configuration;

use crate::burst::{END, Piece, Walk};
use crate::{cdc, cdc_ecm, cdc_ncm, lan78xx, lan95xx, rndis};

/// The ways to find frames in a received burst.
const WALKS: [Walk; 5] = [cdc_ecm::walk, cdc_ncm::WALK, lan78xx::WALK, lan95xx::WALK, rndis::WALK];

/// Takes `data` as a burst for each driver, and as what a device says of itself.
pub fn run(data: &[u8]) {
    for (number, walk) in WALKS.into_iter().enumerate() {
        let (mut place, mut pieces) = (0, 0);
        while place != END {
            let next = match walk(data, place) {
                Piece::Frame { frame, next } => {
                    // The exchange counts an empty one as damaged; none may reach beyond the burst.
                    assert!(frame.start <= frame.end && frame.end <= data.len(), "driver {number}: {frame:?}");
                    assert!(frame.len() <= crate::exchange::FRAME_LEN_MAX + 4, "driver {number}: {frame:?}");
                    next
                }
                Piece::Damaged { next, .. } => next,
                Piece::End => break,
            };
            assert!(next > place, "driver {number}: from {place} to {next}");
            pieces += 1;
            // Every piece takes at least an entry of four bytes.
            assert!(pieces <= 1 + data.len() / 4, "driver {number}: {pieces} pieces in {} bytes", data.len());
            place = next;
        }
    }
    rndis::read_anything(data);
    cdc_ncm::read_anything(data);
    cdc::read_anything(data);
    if let Ok(configuration) = Configuration::parse(data) {
        for subclass in [2, 6, 13] {
            let _ = cdc::Function::find(&configuration, subclass);
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn it_holds_for_a_block_and_for_garbage() {
        super::run(b"NCMH\x0C\0\0\0\x40\0\x0C\0NCM0\x10\0\0\0\x1C\0\x20\0\0\0\0\0AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA");
        super::run(&[1, 0, 0, 0, 8, 0, 0, 0, 0]);
        super::run(&[0xFF; 99]);
    }

    #[test]
    fn tables_that_overlap_are_not_walked_again_and_again() {
        // Each table claims 64 bytes, and that the next one begins in it.
        let mut block = b"NCMH\x0C\0\0\0\x40\0\x0C\0".to_vec();
        for table in 0..40_u16 {
            block.extend(b"NCM0");
            block.extend([0x40, 0]);
            block.extend((12 + 8 * (table + 1)).to_le_bytes());
        }
        super::run(&block);
    }
}
