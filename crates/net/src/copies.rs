//! Copies of frames, in memory that is taken once.

use core::cell::RefCell;

use alloc::boxed::Box;
use alloc::vec::Vec;
use nic::exchange::FRAME_LEN_MAX;

type Buffer = Box<[u8; FRAME_LEN_MAX]>;

/// Buffers for copies of frames.
pub(crate) struct Copies {
    free: RefCell<Vec<Buffer>>,
}

impl Copies {
    /// Takes the memory for `count` copies.
    pub(crate) fn new(count: usize) -> Self {
        Self { free: RefCell::new((0..count).map(|_| Box::new([0; FRAME_LEN_MAX])).collect()) }
    }

    /// Copies a frame; `None` when all buffers are in use. What does not fit in a buffer is left out.
    pub(crate) fn copy(&self, frame: &[u8]) -> Option<FrameCopy<'_>> {
        let buffer = self.free.borrow_mut().pop()?;
        let mut copy = FrameCopy { copies: self, buffer: Some(buffer), len: 0 };
        copy.replace(frame);
        Some(copy)
    }
}

/// A copy of a frame; its buffer is free again when this is dropped.
pub(crate) struct FrameCopy<'a> {
    copies: &'a Copies,
    buffer: Option<Buffer>,
    len: usize,
}

impl FrameCopy<'_> {
    pub(crate) fn bytes(&self) -> &[u8] {
        self.buffer.as_ref().and_then(|buffer| buffer.get(..self.len)).unwrap_or_default()
    }

    /// Copies another frame in its place.
    pub(crate) fn replace(&mut self, frame: &[u8]) {
        self.len = frame.len().min(FRAME_LEN_MAX);
        let to = self.buffer.as_mut().and_then(|buffer| buffer.get_mut(..self.len));
        if let (Some(to), Some(from)) = (to, frame.get(..self.len)) {
            to.copy_from_slice(from);
        }
    }
}

impl Drop for FrameCopy<'_> {
    fn drop(&mut self) {
        if let Some(buffer) = self.buffer.take() {
            // There is room: it was here before.
            self.copies.free.borrow_mut().push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_come_back() {
        let copies = Copies::new(2);
        for _ in 0..3 {
            let mut first = copies.copy(&[1; 60]).unwrap();
            let second = copies.copy(&[2; FRAME_LEN_MAX + 1]).unwrap();
            assert!(copies.copy(&[3]).is_none());
            assert_eq!((first.bytes(), second.bytes()), (&[1; 60][..], &[2; FRAME_LEN_MAX][..]));
            first.replace(&[4; 61]);
            assert_eq!(first.bytes(), [4; 61]);
        }
    }
}
