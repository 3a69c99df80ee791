//! Writes an image in pieces that a user can watch and stop, and compares.
//!
//! The first piece, with the partition table, is wiped first and written last: a card that was stopped half-way does not boot
//! something that is half of one thing and half of another.

use std::io::{self, Read, Seek, SeekFrom, Write};

use anyhow::{Context, Result, bail};

/// Direct access to a device is by whole blocks, in length and in memory; 4 KiB is the largest block of common devices.
pub(super) const BLOCK: usize = 4096;
/// How much at once: a card is fast with this much, and it takes no longer than a tenth of a second on a slow one.
const PIECE: usize = 1 << 20;

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Everything was done.
    Done,
    /// The user stopped it when so many bytes were done.
    Stopped {
        /// The bytes.
        done: u64,
    },
}

/// Memory that starts on a block.
struct Piece {
    memory: Vec<u8>,
    start: usize,
}

impl Piece {
    fn new() -> Self {
        let memory = vec![0; PIECE + BLOCK];
        let start = memory.as_ptr().align_offset(BLOCK);
        Self { memory, start }
    }

    fn bytes(&mut self, len: usize) -> &mut [u8] {
        &mut self.memory[self.start..self.start + len]
    }
}

/// Writes the first `len` bytes of `image`, a multiple of [`BLOCK`], to `device`.
pub(super) fn write(
    image: &mut (impl Read + Seek + ?Sized),
    len: u64,
    device: &mut (impl Write + Seek),
    is_stopped: &dyn Fn() -> bool,
    progress: &dyn Fn(u64),
) -> Result<End> {
    let mut piece = Piece::new();
    put(device, 0, piece.bytes(piece_len(0, len)))?;
    let (mut at, mut done) = (piece_len(0, len) as u64, 0);
    while at < len {
        if is_stopped() {
            return Ok(End::Stopped { done });
        }
        let bytes = piece.bytes(piece_len(at, len));
        get(image, at, bytes)?;
        put(device, at, bytes)?;
        at += bytes.len() as u64;
        done += bytes.len() as u64;
        progress(done);
    }
    if is_stopped() {
        return Ok(End::Stopped { done });
    }
    let bytes = piece.bytes(piece_len(0, len));
    get(image, 0, bytes)?;
    put(device, 0, bytes)?;
    device.flush()?;
    progress(len);
    Ok(End::Done)
}

/// Compares the first `len` bytes of both.
pub(super) fn compare(
    image: &mut (impl Read + Seek + ?Sized),
    len: u64,
    device: &mut (impl Read + Seek),
    is_stopped: &dyn Fn() -> bool,
    progress: &dyn Fn(u64),
) -> Result<End> {
    let (mut wanted, mut found) = (Piece::new(), Piece::new());
    let mut at = 0;
    while at < len {
        if is_stopped() {
            return Ok(End::Stopped { done: at });
        }
        let (wanted, found) = (wanted.bytes(piece_len(at, len)), found.bytes(piece_len(at, len)));
        get(image, at, wanted)?;
        get(device, at, found).context("the card can't be read back: is it worn out?")?;
        if let Some(offset) = wanted.iter().zip(found.iter()).position(|(wanted, found)| wanted != found) {
            let byte = at + offset as u64;
            bail!(
                "the card does not keep what is written to it (first at byte {byte}): it is worn out or a fake, take another"
            );
        }
        at += wanted.len() as u64;
        progress(at);
    }
    Ok(End::Done)
}

fn piece_len(at: u64, len: u64) -> usize {
    usize::try_from(len - at).unwrap_or(PIECE).min(PIECE)
}

fn get(from: &mut (impl Read + Seek + ?Sized), at: u64, bytes: &mut [u8]) -> io::Result<()> {
    from.seek(SeekFrom::Start(at))?;
    from.read_exact(bytes)
}

fn put(into: &mut (impl Write + Seek), at: u64, bytes: &[u8]) -> io::Result<()> {
    into.seek(SeekFrom::Start(at))?;
    into.write_all(bytes)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use std::cell::Cell;
    use std::io::Cursor;

    use super::*;

    const LEN: usize = 3 * PIECE + 5 * BLOCK;

    fn image() -> Vec<u8> {
        (0..LEN as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
    }

    fn never() -> bool {
        false
    }

    #[test]
    fn what_is_written_is_what_is_read() {
        let (image, card) = (image(), vec![0xee; LEN + PIECE]);
        let seen = Cell::new(0);
        let mut card = Cursor::new(card);
        let progress = |done| assert!(seen.replace(done) < done);
        assert_eq!(write(&mut Cursor::new(&image), LEN as u64, &mut card, &never, &progress).unwrap(), End::Done);
        assert_eq!(seen.get(), LEN as u64);
        assert!(card.get_ref()[..LEN] == image[..], "another content");
        assert!(card.get_ref()[LEN..].iter().all(|byte| *byte == 0xee), "more than the image was written");
        seen.set(0);
        assert_eq!(compare(&mut Cursor::new(&image), LEN as u64, &mut card, &never, &progress).unwrap(), End::Done);
        assert_eq!(seen.get(), LEN as u64);
    }

    #[test]
    fn a_card_that_was_stopped_has_no_partition_table() {
        for pieces in 0..4 {
            let (image, mut card) = (image(), Cursor::new(vec![0xee; LEN]));
            let left = Cell::new(pieces);
            let stop = || left.replace(left.get() - 1) == 0;
            let end = write(&mut Cursor::new(&image), LEN as u64, &mut card, &stop, &|_| ()).unwrap();
            assert!(matches!(end, End::Stopped { done } if done < LEN as u64), "{end:?}");
            assert!(card.get_ref()[..PIECE].iter().all(|byte| *byte == 0), "{pieces}");
        }
    }

    #[test]
    fn a_single_wrong_bit_is_found_where_it_is() {
        for at in [0, 511, PIECE, LEN - 1] {
            let image = image();
            let mut card = image.clone();
            card[at] ^= 0x10;
            let result = compare(&mut Cursor::new(&image), LEN as u64, &mut Cursor::new(card), &never, &|_| ());
            let message = result.unwrap_err().to_string();
            assert!(message.contains(&format!("(first at byte {at})")), "{message}");
        }
    }

    #[test]
    fn a_card_that_is_smaller_than_it_says_is_found() {
        let image = image();
        let mut card = Cursor::new(vec![0; PIECE].into_boxed_slice());
        assert!(write(&mut Cursor::new(&image), LEN as u64, &mut card, &never, &|_| ()).is_err());
        assert!(compare(&mut Cursor::new(&image), LEN as u64, &mut card, &never, &|_| ()).is_err());
    }

    #[test]
    fn pieces_start_on_a_block() {
        for _ in 0..20 {
            let mut piece = Piece::new();
            assert_eq!(piece.bytes(PIECE).as_ptr().addr() % BLOCK, 0);
        }
    }
}
