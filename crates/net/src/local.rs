//! Frames from this node to itself: they go round inside it, as a queue, and never reach the controller.
//!
//! smoltcp has one interface per medium, and sockets that are shared between two would send through either. So the Ethernet
//! device itself gives back what the node addresses to its own MAC address. How smoltcp comes to that address: it asks for
//! the neighbour that has an address of its own, and hears its own question (which goes out as well, where it is an
//! announcement), from which it learns the neighbour, as it does from anybody's question (RFC 826, RFC 4861 section 7.2.3).

use core::cell::RefCell;

use core::net::Ipv4Addr;

use alloc::boxed::Box;
use heapless::Deque;
use nic::MacAddress;

use crate::copies::{Copies, FrameCopy};
use crate::counters::{Counters, Event};

/// Frames that wait at most. While there is no room the stack sends nothing, which is for less than a round.
pub(crate) const FRAMES: usize = 16;
/// One more: the one that is being read, while its answer is written.
const BUFFERS: usize = FRAMES + 1;
const ARP_REQUEST: [u8; 2] = [0, 1];
const ICMPV6: u8 = 58;
const NEIGHBOR_SOLICITATION: u8 = 135;

/// The queue of frames to ourselves.
pub(crate) struct Local {
    waiting: RefCell<Deque<FrameCopy<'static>, BUFFERS>>,
    copies: &'static Copies,
}

/// Where a frame goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// To others.
    Out,
    /// To ourselves.
    Back,
    /// To both: a question for a neighbour that is ourselves.
    Both,
}

impl Local {
    /// Takes the memory for the frames, for good.
    pub(crate) fn new() -> Self {
        Self { waiting: RefCell::new(Deque::new()), copies: Box::leak(Box::new(Copies::new(BUFFERS))) }
    }

    pub(crate) fn has_room(&self) -> bool {
        self.waiting.borrow().len() < FRAMES
    }

    pub(crate) fn has_frame(&self) -> bool {
        !self.waiting.borrow().is_empty()
    }

    /// Puts a copy of a frame into the queue. One that finds no room is lost, and counted.
    pub(crate) fn put(&self, frame: &[u8], counters: &Counters) {
        let Some(copy) = self.copies.copy(frame) else { return counters.count(Event::LocalDropped) };
        counters.count(Event::LocalFrame);
        // There is room for every buffer.
        let _ = self.waiting.borrow_mut().push_back(copy);
    }

    /// Takes the frame that waits longest.
    pub(crate) fn take(&self) -> Option<FrameCopy<'static>> {
        self.waiting.borrow_mut().pop_front()
    }
}

/// Returns where a frame goes that the node with this MAC address sends; `is_ours` tells IPv4 addresses of the node.
pub(crate) fn way(frame: &[u8], own: MacAddress, is_ours: impl Fn(Ipv4Addr) -> bool) -> Way {
    let Some((destination, rest)) = frame.split_first_chunk::<6>() else { return Way::Out };
    if *destination == own.0 {
        return Way::Back;
    }
    // Most frames are to one station: nothing more to look at.
    if destination[0] & 1 == 1 && is_question_for_itself(rest.get(6..).unwrap_or_default(), is_ours) {
        return Way::Both;
    }
    Way::Out
}

/// Returns whether this, from the type field on, asks for the Ethernet address of whom it says it comes from. A node with two IPv4
/// addresses asks for one in the name of the other.
fn is_question_for_itself(frame: &[u8], is_ours: impl Fn(Ipv4Addr) -> bool) -> bool {
    let field = |from: usize, len: usize| frame.get(from..from + len);
    let is_same = |a: usize, b: usize, len| field(a, len).is_some_and(|a| Some(a) == field(b, len));
    match frame.split_first_chunk::<2>() {
        // ARP (RFC 826): operation, sender's and target's protocol addresses.
        Some(([0x08, 0x06], _)) => {
            let target = field(26, 4).and_then(|target| target.first_chunk::<4>());
            field(8, 2) == Some(&ARP_REQUEST)
                && (is_same(16, 26, 4) || target.is_some_and(|target| is_ours((*target).into())))
        }
        // IPv6 without extension headers: source; neighbour solicitation: target.
        Some(([0x86, 0xdd], _)) => {
            field(8, 1) == Some(&[ICMPV6]) && field(42, 1) == Some(&[NEIGHBOR_SOLICITATION]) && is_same(10, 50, 16)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: MacAddress = MacAddress([2, 0, 0, 0, 0, 1]);

    fn arp(operation: u8, sender: [u8; 4], target: [u8; 4]) -> Vec<u8> {
        let mut frame = vec![0xff; 6];
        frame.extend(OWN.0);
        frame.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, operation]);
        frame.extend(OWN.0);
        frame.extend(sender);
        frame.extend([0; 6]);
        frame.extend(target);
        frame
    }

    #[test]
    fn only_what_is_for_ourselves_comes_back() {
        let extra = [10, 0, 0, 250];
        let to = |frame: &[u8]| way(frame, OWN, |address| address.octets() == extra);
        let mut frame = vec![9; 60];
        frame[..6].copy_from_slice(&OWN.0);
        assert_eq!(to(&frame), Way::Back);
        frame[5] = 2;
        assert_eq!(to(&frame), Way::Out);
        let (me, other) = ([10, 0, 0, 1], [10, 0, 0, 2]);
        assert_eq!(to(&arp(1, me, me)), Way::Both);
        assert_eq!(to(&arp(1, me, other)), Way::Out);
        assert_eq!(to(&arp(1, me, extra)), Way::Both);
        assert_eq!(to(&arp(2, me, extra)), Way::Out);
        assert_eq!(to(&arp(2, me, me)), Way::Out, "an answer is no question");
        for len in 0..arp(1, me, me).len() {
            assert_eq!(to(&arp(1, me, me)[..len]), Way::Out, "cut to {len} bytes");
        }
    }

    #[test]
    fn the_queue_is_bounded_and_gives_its_buffers_back() {
        let (local, counters) = (Local::new(), Counters::new());
        for round in 0..3 {
            for number in 0..BUFFERS + 2 {
                local.put(&[number as u8; 60], &counters);
            }
            assert!(!local.has_room());
            assert_eq!(counters.get(Event::LocalDropped), 2 * (round + 1));
            for number in 0..BUFFERS {
                assert_eq!(local.take().unwrap().bytes(), [number as u8; 60]);
            }
            assert!(local.take().is_none() && local.has_room());
        }
    }
}
