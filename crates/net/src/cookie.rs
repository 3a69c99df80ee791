//! Sequence numbers that remember what a client has asked for, so that the node need not (SYN cookies, RFC 4987 section 3.6).
//!
//! The number with which the node begins a connection is computed from a secret, the client's own number and the time. Who
//! sends it back has received it: it is there, and it has asked. What smoltcp has to know of a request besides is in the number
//! itself, so that a connection that was not remembered is as good as any other.

use core::net::{IpAddr, SocketAddr};

use embassy_time::{Duration, Instant};
use siphasher::sip::SipHasher24;

/// A number is good for the period that it was made in, and the next one: a slow client answers within seconds.
const PERIOD: Duration = Duration::from_secs(8);
/// How long a number is good at most.
pub(crate) const LIFETIME: Duration = Duration::from_secs(16);
/// Maximum segment sizes that can be told apart: what anybody takes (RFC 9293, section 3.7.1), IPv6's shortest packet
/// (RFC 8200, section 5), IPv6 and IPv4 on Ethernet.
const SEGMENT_LENS: [u16; 4] = [536, 1220, 1440, 1460];
/// A window is not scaled by more (RFC 7323, section 2.3).
const SCALE_MAX: u8 = 14;
const NO_SCALE: u32 = 15;
/// Bits of a number that only the secret gives. Who guesses needs 16 million segments for one connection.
const TAG_BITS: u32 = 25;

/// What a client has asked for, as far as the node can make use of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wish {
    /// Longest segment that it takes, in bytes; one of four.
    pub(crate) segment_len: u16,
    /// Binary digits by which its windows are scaled; `None`: neither side's are.
    pub(crate) window_scale: Option<u8>,
    /// Whether it understands selective acknowledgements.
    pub(crate) has_sack: bool,
}

impl Wish {
    /// Returns the nearest wish that a number can remember.
    pub(crate) fn new(segment_len: Option<u16>, window_scale: Option<u8>, has_sack: bool) -> Self {
        let [least, ..] = SEGMENT_LENS;
        let segment_len = segment_len.unwrap_or(least);
        Self {
            segment_len: SEGMENT_LENS.into_iter().rev().find(|len| *len <= segment_len).unwrap_or(least),
            window_scale: window_scale.map(|scale| scale.min(SCALE_MAX)),
            has_sack,
        }
    }

    fn to_bits(self) -> u32 {
        let len = SEGMENT_LENS.iter().position(|len| *len == self.segment_len).unwrap_or(0) as u32;
        let scale = self.window_scale.map_or(NO_SCALE, u32::from);
        len << 5 | scale << 1 | u32::from(self.has_sack)
    }

    fn from_bits(bits: u32) -> Option<Self> {
        Some(Self {
            segment_len: *SEGMENT_LENS.get((bits >> 5) as usize)?,
            window_scale: u8::try_from(bits >> 1 & 0xF).ok().filter(|scale| *scale <= SCALE_MAX),
            has_sack: bits & 1 != 0,
        })
    }
}

/// The two ends of a connection, and the number with which the client has begun it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) from: SocketAddr,
    pub(crate) to: SocketAddr,
    pub(crate) number: u32,
}

/// Makes the numbers, and knows them again.
pub(crate) struct Cookies {
    hasher: SipHasher24,
}

impl Cookies {
    pub(crate) fn new(secret: &[u8; 16]) -> Self {
        Self { hasher: SipHasher24::new_with_key(secret) }
    }

    /// Returns the number with which to answer.
    pub(crate) fn make(&self, request: &Request, wish: Wish, now: Instant) -> u32 {
        self.number(request, wish, now.as_ticks() / PERIOD.as_ticks())
    }

    /// Returns what the client has asked for, if the node has answered it with this number lately.
    pub(crate) fn check(&self, request: &Request, number: u32, now: Instant) -> Option<Wish> {
        let wish = Wish::from_bits(number >> TAG_BITS)?;
        let period = now.as_ticks() / PERIOD.as_ticks();
        [Some(period), period.checked_sub(1)]
            .into_iter()
            .flatten()
            .any(|period| self.number(request, wish, period) == number)
            .then_some(wish)
    }

    fn number(&self, request: &Request, wish: Wish, period: u64) -> u32 {
        let mut text = [0; 49];
        let parts: [&[u8]; 7] = [
            &address(request.from.ip()),
            &address(request.to.ip()),
            &request.from.port().to_be_bytes(),
            &request.to.port().to_be_bytes(),
            &request.number.to_be_bytes(),
            &period.to_be_bytes(),
            &[wish.to_bits() as u8],
        ];
        for (to, from) in text.iter_mut().zip(parts.into_iter().flatten()) {
            *to = *from;
        }
        let tag = self.hasher.hash(&text) as u32 & ((1 << TAG_BITS) - 1);
        wish.to_bits() << TAG_BITS | tag
    }
}

fn address(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> Request {
        Request { from: ([10, 0, 0, 9], 4000).into(), to: ([10, 0, 0, 1], 80).into(), number: 77 }
    }

    fn at(seconds: u64) -> Instant {
        Instant::from_secs(seconds)
    }

    #[test]
    fn a_number_remembers_every_wish() {
        let cookies = Cookies::new(&[7; 16]);
        for len in SEGMENT_LENS {
            for scale in [None, Some(0), Some(7), Some(14)] {
                for has_sack in [false, true] {
                    let wish = Wish::new(Some(len), scale, has_sack);
                    assert_eq!((wish.segment_len, wish.window_scale, wish.has_sack), (len, scale, has_sack));
                    let number = cookies.make(&request(), wish, at(100));
                    assert_eq!(cookies.check(&request(), number, at(100)), Some(wish));
                }
            }
        }
    }

    #[test]
    fn wishes_are_rounded_to_what_is_safe() {
        let len = |len| Wish::new(len, None, false).segment_len;
        assert_eq!(
            [len(None), len(Some(0)), len(Some(535)), len(Some(1459)), len(Some(9000))],
            [536, 536, 536, 1440, 1460]
        );
        assert_eq!(Wish::new(None, Some(200), false).window_scale, Some(14));
    }

    #[test]
    fn a_number_ages() {
        let cookies = Cookies::new(&[7; 16]);
        let wish = Wish::new(Some(1460), Some(7), true);
        for made in 96..104 {
            let number = cookies.make(&request(), wish, at(made));
            let good =
                (made..200).take_while(|now| cookies.check(&request(), number, at(*now)).is_some()).count() as u64;
            assert_eq!(made + good, 112, "the end of the next period");
            assert!(good <= LIFETIME.as_secs());
            assert_eq!(cookies.check(&request(), number, at(made - 8)), None, "from the future");
        }
    }

    #[test]
    fn what_is_not_exactly_right_is_wrong() {
        let cookies = Cookies::new(&[7; 16]);
        let good = request();
        let number = cookies.make(&good, Wish::new(Some(1460), Some(7), true), at(100));
        let others = [
            Request { from: ([10, 0, 0, 8], 4000).into(), ..good },
            Request { from: ([10, 0, 0, 9], 4001).into(), ..good },
            Request { to: ([10, 0, 0, 2], 80).into(), ..good },
            Request { to: ([10, 0, 0, 1], 22).into(), ..good },
            Request { number: 78, ..good },
        ];
        for other in others {
            assert_eq!(cookies.check(&other, number, at(100)), None, "{other:?}");
        }
        for bit in 0..32 {
            assert_eq!(cookies.check(&good, number ^ 1 << bit, at(100)), None, "bit {bit}");
        }
        assert_eq!(Cookies::new(&[8; 16]).check(&good, number, at(100)), None, "another secret");
    }

    #[test]
    fn numbers_are_hard_to_guess() {
        let cookies = Cookies::new(&[7; 16]);
        // What one number tells of another: 25 bits, each as often one as zero.
        let mut ones = [0; TAG_BITS as usize];
        for port in 0..4000 {
            let request = Request { from: ([10, 0, 0, 9], port).into(), ..request() };
            let number = cookies.make(&request, Wish::new(None, None, false), at(100));
            ones.iter_mut().enumerate().for_each(|(bit, ones)| *ones += number >> bit & 1);
        }
        // Six standard deviations.
        assert!(ones.iter().all(|ones| (1810..2190).contains(ones)), "{ones:?}");
    }
}
