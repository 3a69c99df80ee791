//! `corrupt`: bits of frames are turned over.
//!
//! Bits that stand beside each other in one byte, behind the header of TCP, UDP or ICMP where there is something. That changes
//! one 16-bit word of what the Internet checksum is about by less than 0xFFFF, so the receiver's check fails, always
//! (RFC 1071): the frame is lost to whoever checks, and counted there. A datagram without a checksum (UDP over IPv4
//! with 0) and protocols without one are damaged unnoticed. With `checksum=fixed` the checksum is made right again, so that
//! the damage reaches the program: only frames with data behind a header of TCP or UDP.

use alloc::boxed::Box;

use chance::{Random, Unit};

use super::{Kind, share};
use crate::effect::{Alter, Damage, Effect, Holds, Passing};
use crate::packet::{Packet, be16, protocol};
use crate::words::{ALL, Key};

pub(super) const KIND: Kind = Kind {
    name: "corrupt",
    help: "bits of frames are turned over",
    example: "corrupt share=1% bits=2 checksum=fixed proto=udp port=9000",
    subject: None,
    own: &[
        share("how many of the frames; 100%"),
        Key { name: "bits", form: "a number from 1 to 8", help: "how many, beside each other; 1" },
        Key {
            name: "checksum",
            form: "bad or fixed",
            help: "whether the receiver's check fails, or the damage reaches the program; bad",
        },
    ],
    is_of_frames: true,
    make: |words| {
        Ok(Effect::Frames(Box::new(Corrupt {
            share: words.share(ALL)?,
            bits: words.number("bits", Unit::Count, 1..=8)?.unwrap_or(1),
            is_fixed: words.choice("checksum", &["bad", "fixed"])? == 1,
        })))
    },
};

struct Corrupt {
    share: u64,
    bits: u64,
    is_fixed: bool,
}

impl Corrupt {
    fn damage(&self, frame: &[u8], packet: &Packet, random: &mut Random) -> Option<Damage> {
        let start = packet.transport.start;
        let data = packet.data(frame).filter(|data| !data.is_empty());
        let (place, checksum) = match (data, packet.protocol) {
            (Some(data), Some(number)) => {
                let at = start + if number == protocol::TCP { 16 } else { 6 };
                let has_checksum = number == protocol::TCP || be16(frame, at) != Some(0);
                (data, (self.is_fixed && has_checksum).then_some((at..at + 2, start)))
            }
            _ if self.is_fixed => return None,
            // The ports: a checksum field that becomes 0 would mean that there is none.
            (None, Some(protocol::TCP | protocol::UDP)) => (start..packet.transport.end.min(start + 4), None),
            // Behind type, code and checksum, if there is anything.
            (None, Some(protocol::ICMP | protocol::ICMPV6)) if packet.transport.len() > 4 => {
                (start + 4..packet.transport.end, None)
            }
            _ => (packet.transport.clone(), None),
        };
        if place.is_empty() {
            return None;
        }
        let at = place.start + random.below(place.len() as u64) as usize;
        let shift = random.below(9 - self.bits);
        let bits = (((1u16 << self.bits) - 1) << shift) as u8;
        Some(Damage { at, bits, checksum })
    }
}

impl Alter for Corrupt {
    fn alter(&mut self, frame: &mut Passing<'_>, random: &mut Random) {
        if random.happens(self.share) {
            let damage = self.damage(frame.bytes, frame.packet, random);
            frame.is_hit = damage.is_some();
            frame.damage = damage.or(frame.damage.take());
        }
    }

    fn holds(&self) -> Holds {
        Holds::Few
    }
}
