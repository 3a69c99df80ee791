//! The two rings as arithmetic: who has which descriptor. No registers here.
//!
//! Both sides count frames in 16 bits that wrap (Linux DMA_P_INDEX_MASK, DMA_C_INDEX_MASK); a descriptor is the count
//! modulo the size of the ring. The size divides 65,536, so that the wrap needs no care.

use rpi_pac::genet::{DESCRIPTOR_WORDS, DESCRIPTORS};
use thiserror::Error;

/// Descriptors of a ring.
pub(crate) const SIZE: u16 = DESCRIPTORS as u16;
const _: () = assert!(SIZE.is_power_of_two() && SIZE as usize == DESCRIPTORS);

/// The controller's index can't be right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("its {ring} ring is at {index:#06x}, where {low:#06x} to {high:#06x} are possible")]
pub struct Garbage {
    /// Which ring.
    pub ring: &'static str,
    /// The index that was read.
    pub index: u16,
    /// The lowest that is possible.
    pub low: u16,
    /// The highest.
    pub high: u16,
}

/// Where descriptors lie in relation to the counts.
///
/// A boot loader may leave the controller's count and pointer at any value, and they can't be relied on to take another
/// one (U-Boot rx_ring_init: "cannot init RDMA_PROD_INDEX to 0"), so the driver follows what it reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    offset: u16,
}

impl Place {
    /// Count 0 is descriptor 0.
    pub(crate) const START: Self = Self { offset: 0 };

    /// Takes the controller's count and the word of the descriptor that it is at. `None` for a word outside of the ring or
    /// in the middle of a descriptor.
    pub(crate) fn new(index: u16, word: u32) -> Option<Self> {
        let descriptor = u16::try_from(word / DESCRIPTOR_WORDS).ok()?;
        let is_right = word.is_multiple_of(DESCRIPTOR_WORDS) && descriptor < SIZE;
        is_right.then(|| Self { offset: descriptor.wrapping_sub(index) })
    }

    /// Returns the descriptor of a count.
    pub(crate) fn slot(self, index: u16) -> usize {
        usize::from(index.wrapping_add(self.offset) % SIZE)
    }
}

/// The receive ring: the controller fills descriptors, the driver takes what is in them and gives them new buffers.
///
/// `filled ≤ next ≤ controller's index ≤ filled + SIZE`: descriptors from `filled` to `next` have no buffer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RxRing {
    place: Place,
    /// The next frame to take.
    next: u16,
    /// What the controller is told: so many frames were taken and their descriptors have new buffers.
    filled: u16,
}

impl RxRing {
    /// Starts with no buffers at all, where the controller is.
    pub(crate) fn new(index: u16, place: Place) -> Self {
        Self { place, next: index, filled: index.wrapping_sub(SIZE) }
    }

    /// Returns how many frames can be taken.
    pub(crate) fn received(&self, index: u16) -> Result<u16, Garbage> {
        let received = index.wrapping_sub(self.next);
        if received > self.with_buffers() {
            let high = self.filled.wrapping_add(SIZE);
            return Err(Garbage { ring: "receive", index, low: self.next, high });
        }
        Ok(received)
    }

    /// Takes the next frame's descriptor.
    pub(crate) fn take(&mut self) -> usize {
        let slot = self.place.slot(self.next);
        self.next = self.next.wrapping_add(1);
        slot
    }

    /// Returns the next descriptor without a buffer, if there is one.
    pub(crate) fn hole(&self) -> Option<usize> {
        (self.filled != self.next).then(|| self.place.slot(self.filled))
    }

    /// Counts the hole as filled.
    pub(crate) fn fill(&mut self) {
        self.filled = self.filled.wrapping_add(1);
    }

    /// Returns what the controller is told.
    pub(crate) fn index(&self) -> u16 {
        self.filled
    }

    /// Returns how many descriptors have a buffer, filled with a frame or not.
    pub(crate) fn with_buffers(&self) -> u16 {
        SIZE - self.next.wrapping_sub(self.filled)
    }
}

/// The transmit ring: the driver fills descriptors, the controller sends what is in them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TxRing {
    place: Place,
    /// What the controller is told: so many frames were handed over.
    handed: u16,
    /// So many were taken back.
    done: u16,
}

impl TxRing {
    /// Starts empty, where the controller is.
    pub(crate) fn new(index: u16, place: Place) -> Self {
        Self { place, handed: index, done: index }
    }

    /// Returns how many frames the controller has.
    pub(crate) fn in_flight(&self) -> u16 {
        self.handed.wrapping_sub(self.done)
    }

    /// Takes a free descriptor, if there is one.
    pub(crate) fn push(&mut self) -> Option<usize> {
        if self.in_flight() == SIZE {
            return None;
        }
        let slot = self.place.slot(self.handed);
        self.handed = self.handed.wrapping_add(1);
        Some(slot)
    }

    /// Returns what the controller is told.
    pub(crate) fn index(&self) -> u16 {
        self.handed
    }

    /// Returns how many frames can be taken back.
    pub(crate) fn completed(&self, index: u16) -> Result<u16, Garbage> {
        let completed = index.wrapping_sub(self.done);
        if completed > self.in_flight() {
            return Err(Garbage { ring: "transmit", index, low: self.done, high: self.handed });
        }
        Ok(completed)
    }

    /// Takes the oldest frame's descriptor back.
    pub(crate) fn pop(&mut self) -> usize {
        let slot = self.place.slot(self.done);
        self.done = self.done.wrapping_add(1);
        slot
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    fn place(index: u16) -> Place {
        Place::new(index, u32::from(index % SIZE) * DESCRIPTOR_WORDS).unwrap()
    }

    /// A small generator, for steps of any size.
    fn random(state: &mut u64) -> u16 {
        *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (*state >> 33) as u16
    }

    #[test]
    fn a_receive_ring_without_buffers_is_full_and_takes_as_many_as_it_is_given() {
        let mut ring = RxRing::new(0, place(0));
        assert_eq!((ring.with_buffers(), ring.received(0)), (0, Ok(0)));
        for slot in 0..usize::from(SIZE) {
            assert_eq!(ring.hole(), Some(slot));
            ring.fill();
        }
        assert_eq!((ring.hole(), ring.index(), ring.with_buffers()), (None, 0, SIZE));
    }

    #[test]
    fn the_receive_ring_keeps_order_over_a_hundred_wraps() {
        let (mut seed, mut hardware) = (1, 0xfff0_u16);
        let mut ring = RxRing::new(hardware, place(hardware));
        let (mut arrived, mut taken) = (u64::from(hardware), u64::from(hardware));
        while arrived < 100 * 65_536 {
            // The driver has only some of the buffers at hand, as when the stack reads slowly.
            for _ in 0..random(&mut seed) % 300 {
                if ring.hole().is_some() {
                    ring.fill();
                }
            }
            let room = ring.index().wrapping_add(SIZE).wrapping_sub(hardware);
            assert!(room <= SIZE);
            let frames = random(&mut seed) % (room + 1);
            hardware = hardware.wrapping_add(frames);
            arrived += u64::from(frames);
            let received = ring.received(hardware).unwrap();
            assert_eq!(u64::from(received), arrived - taken);
            for _ in 0..random(&mut seed) % (received + 1) {
                assert_eq!(ring.take() as u64, taken % u64::from(SIZE));
                taken += 1;
            }
        }
    }

    #[test]
    fn the_transmit_ring_keeps_order_over_a_hundred_wraps() {
        let (mut seed, mut hardware) = (7, 0x8000_u16);
        let mut ring = TxRing::new(hardware, place(hardware));
        let (mut handed, mut done) = (0x8000_u64, 0x8000_u64);
        while done < 100 * 65_536 {
            for _ in 0..random(&mut seed) % 400 {
                let Some(slot) = ring.push() else { break };
                assert_eq!(slot as u64, handed % u64::from(SIZE));
                handed += 1;
            }
            assert_eq!(u64::from(ring.in_flight()), handed - done);
            hardware = hardware.wrapping_add(random(&mut seed) % (ring.index().wrapping_sub(hardware) + 1));
            for _ in 0..ring.completed(hardware).unwrap() {
                assert_eq!(ring.pop() as u64, done % u64::from(SIZE));
                done += 1;
            }
        }
    }

    #[test]
    fn a_full_transmit_ring_takes_no_more() {
        let mut ring = TxRing::new(0xffff, place(0xffff));
        for _ in 0..SIZE {
            assert!(ring.push().is_some());
        }
        assert_eq!((ring.push(), ring.in_flight()), (None, SIZE));
        assert_eq!(ring.completed(0xff), Ok(SIZE));
    }

    #[test]
    fn an_index_that_nobody_could_have_reached_is_garbage() {
        let mut rx = RxRing::new(10, place(10));
        for _ in 0..3 {
            rx.fill();
        }
        assert_eq!(rx.received(13), Ok(3));
        assert!(rx.received(14).is_err() && rx.received(9).is_err());
        let mut tx = TxRing::new(10, place(10));
        tx.push();
        assert_eq!(tx.completed(11), Ok(1));
        assert!(tx.completed(12).is_err() && tx.completed(9).is_err());
    }

    #[test]
    fn descriptors_follow_the_pointer_that_was_left_behind() {
        let place = Place::new(0x1234, 9).unwrap();
        assert_eq!((place.slot(0x1234), place.slot(0x1233)), (3, 2));
        assert_eq!(place.slot(0x1234_u16.wrapping_sub(4)), 255);
        assert_eq!(Place::new(0, 10), None, "in the middle of a descriptor");
        assert_eq!(Place::new(0, u32::from(SIZE) * DESCRIPTOR_WORDS), None, "behind the last one");
        assert_eq!(Place::new(0, u32::MAX), None);
    }
}
