//! A burst: what a controller delivers in one buffer, with one or more frames in it.

use core::ops::Range;

use hal::dma::DmaBuffer;

use crate::events::NicEvent;
use crate::exchange::Counts;

/// What stands at one place of a received burst.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// A frame, and the place of the next piece.
    Frame {
        /// Where the frame is.
        frame: Range<usize>,
        /// Where to go on; beyond the place of this piece.
        next: usize,
    },
    /// Something that is no frame although it should be one; it is counted.
    Damaged {
        /// Why.
        why: NicEvent,
        /// Where to go on; beyond the place of this piece, or [`END`].
        next: usize,
    },
    /// Nothing: the burst ends here.
    End,
}

/// The place behind the last piece of every burst.
pub const END: usize = usize::MAX;

/// Finds the piece at a place of a burst. Places are numbers whose meaning only this function knows; the first one is 0, and
/// they rise.
pub type Walk = fn(bytes: &[u8], place: usize) -> Piece;

/// A received burst. Its frames are found one by one as the stack takes them, since there may be hundreds.
#[derive(Debug)]
pub(crate) struct Burst {
    buffer: DmaBuffer,
    /// Bytes received.
    len: usize,
    walk: Walk,
    /// The frame to be taken.
    frame: Range<usize>,
    /// Where the pieces behind it begin.
    next: usize,
}

impl Burst {
    /// Returns a burst whose frames are still to be found: [`advance`](Self::advance) goes to the first one.
    pub(crate) fn new(buffer: DmaBuffer, len: usize, walk: Walk) -> Self {
        Self { buffer, len, walk, frame: 0..0, next: 0 }
    }

    /// Returns a burst of one frame, which is the next to be taken.
    pub(crate) fn of_one(buffer: DmaBuffer, frame: Range<usize>) -> Self {
        Self { len: buffer.len(), buffer, walk: |_, _| Piece::End, frame, next: END }
    }

    /// Returns the frame to be taken.
    pub(crate) fn frame(&self) -> &[u8] {
        self.buffer.bytes().get(self.frame.clone()).unwrap_or_default()
    }

    /// Returns the buffer, whose frames are not needed any longer.
    pub(crate) fn into_buffer(self) -> DmaBuffer {
        self.buffer
    }

    /// Goes to the next frame; returns whether there is one.
    pub(crate) fn advance(&mut self, counts: &mut Counts) -> bool {
        while self.next != END {
            let bytes = self.buffer.bytes().get(..self.len).unwrap_or_default();
            let (result, next) = match (self.walk)(bytes, self.next) {
                Piece::Frame { frame, next } if !frame.is_empty() && frame.end <= bytes.len() => (Ok(frame), next),
                Piece::Frame { next, .. } => (Err(NicEvent::RxLength), next),
                Piece::Damaged { why, next } => (Err(why), next),
                Piece::End => return false,
            };
            // A place that does not rise would be visited for ever.
            self.next = if next > self.next { next } else { END };
            match result {
                Ok(frame) => {
                    counts.frame(frame.len());
                    self.frame = frame;
                    return true;
                }
                Err(why) => counts.damaged(why),
            }
        }
        false
    }
}

/// Walks a burst as the exchange does: start and end of its frames, and how many pieces were damaged.
#[cfg(test)]
pub(crate) fn frames_of(bytes: &[u8], walk: Walk) -> (Vec<[usize; 2]>, usize) {
    let (mut frames, mut damaged, mut place) = (Vec::new(), 0, 0);
    while place != END {
        let next = match walk(bytes, place) {
            Piece::Frame { frame, next } => {
                assert!(!frame.is_empty() && frame.end <= bytes.len(), "a frame at {frame:?} of {} bytes", bytes.len());
                frames.push([frame.start, frame.end]);
                next
            }
            Piece::Damaged { next, .. } => {
                damaged += 1;
                next
            }
            Piece::End => break,
        };
        assert!(next > place, "the place does not rise");
        place = next;
    }
    (frames, damaged)
}
