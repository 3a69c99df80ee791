//! What IPv6 routers tell (RFC 4861, RFC 4862): the rules, without any I/O.
//!
//! smoltcp has these rules too, but with them its timer stays in the past once three solicitations went unanswered, which
//! keeps the stack busy for ever on a link without a router; it solicits only once, not after each change of cable; it takes
//! one prefix only; and it uses an address without asking whether somebody has it.

use core::net::Ipv6Addr;

use embassy_time::{Duration, Instant};
use heapless::Vec;

/// Most prefixes that addresses are made from.
const PREFIXES: usize = 3;
/// A forged advertisement can't shorten an address's life to less (RFC 4862, section 5.5.3 e).
const LIFETIME_FLOOR: Duration = Duration::from_secs(2 * 3600);

// Offsets and option types of RFC 4861, sections 4.2 and 4.6.2.
const ROUTER_LIFETIME: usize = 6;
const OPTIONS: usize = 16;
const PREFIX_INFORMATION: u8 = 3;
const PREFIX_INFORMATION_LEN: usize = 32;
const AUTONOMOUS: u8 = 0x40;

/// A prefix to make an address from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Prefix {
    pub(crate) prefix: Ipv6Addr,
    /// The end of its life; [`Instant::MAX`] for never.
    pub(crate) valid_until: Instant,
}

/// What the routers told.
#[derive(Debug, Default)]
pub(crate) struct Slaac {
    pub(crate) prefixes: Vec<Prefix, PREFIXES>,
    /// The default router and the end of its service.
    pub(crate) router: Option<(Ipv6Addr, Instant)>,
}

impl Slaac {
    /// Takes in a router advertisement (an ICMPv6 message with a good checksum). Returns whether it was well-formed.
    pub(crate) fn advertise(&mut self, router: Ipv6Addr, message: &[u8], now: Instant) -> bool {
        let (Some(lifetime), Some(mut options)) = (be16(message, ROUTER_LIFETIME), message.get(OPTIONS..)) else {
            return false;
        };
        if !router.is_unicast_link_local() {
            return false;
        }
        match self.router {
            // Another one serves us well.
            Some((current, until)) if current != router && until > now => {}
            _ if lifetime == 0 => self.router = None,
            _ => self.router = Some((router, now + Duration::from_secs(u64::from(lifetime)))),
        }
        while let [kind, len, ..] = *options {
            let Some((option, rest)) = options.split_at_checked(usize::from(len) * 8).filter(|_| len > 0) else {
                return false;
            };
            if kind == PREFIX_INFORMATION && option.len() == PREFIX_INFORMATION_LEN {
                self.take_prefix(option, now);
            }
            options = rest;
        }
        true
    }

    fn take_prefix(&mut self, option: &[u8], now: Instant) {
        let (Some(&len), Some(&flags)) = (option.get(2), option.get(3)) else { return };
        let (Some(valid_s), Some(preferred_s)) = (be32(option, 4), be32(option, 8)) else { return };
        let Some(prefix) = option.get(16..).and_then(|bytes| bytes.first_chunk::<16>()) else { return };
        let prefix = Ipv6Addr::from(u128::from_be_bytes(*prefix) & !u128::from(u64::MAX));
        // The interface identifier has 64 bits (RFC 4291, section 2.5.1).
        let is_usable = prefix.segments()[0] & 0xE000 == 0x2000 || prefix.is_unique_local();
        if flags & AUTONOMOUS == 0 || len != 64 || preferred_s > valid_s || !is_usable {
            return;
        }
        let told = match valid_s {
            u32::MAX => Instant::MAX,
            _ => now + Duration::from_secs(u64::from(valid_s)),
        };
        match self.prefixes.iter_mut().find(|known| known.prefix == prefix) {
            Some(known) => {
                let floor = now + LIFETIME_FLOOR;
                if told > floor || told > known.valid_until {
                    known.valid_until = told;
                } else if known.valid_until > floor {
                    known.valid_until = floor;
                }
            }
            // More than fit are ignored.
            None if valid_s > 0 => {
                let _ = self.prefixes.push(Prefix { prefix, valid_until: told });
            }
            None => {}
        }
    }

    /// Forgets what has come to its end, and returns when something else does.
    pub(crate) fn expire(&mut self, now: Instant) -> Instant {
        self.prefixes.retain(|prefix| prefix.valid_until > now);
        self.router = self.router.filter(|(_, until)| *until > now);
        let ends = self.prefixes.iter().map(|prefix| prefix.valid_until).chain(self.router.map(|(_, until)| until));
        ends.min().unwrap_or(Instant::MAX)
    }
}

fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().copied().map(u16::from_be_bytes)
}

fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().copied().map(u32::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUTER: Ipv6Addr = Ipv6Addr::new(0xFE80, 0, 0, 0, 0, 0, 0, 1);

    fn prefix(last: u16) -> Ipv6Addr {
        Ipv6Addr::new(0x2001, 0xdb8, 0, last, 0, 0, 0, 0)
    }

    fn advertisement(lifetime_s: u16, prefixes: &[(Ipv6Addr, u32)]) -> Vec<u8, 256> {
        let mut message = Vec::from_slice(&[134, 0, 0, 0, 64, 0]).unwrap();
        message.extend(lifetime_s.to_be_bytes());
        message.extend([0; 8]);
        for (prefix, valid_s) in prefixes {
            message.extend([3, 4, 64, 0xC0]);
            message.extend(valid_s.to_be_bytes());
            message.extend(valid_s.to_be_bytes());
            message.extend([0; 4]);
            message.extend(prefix.octets());
        }
        message
    }

    fn at(s: u64) -> Instant {
        Instant::from_secs(1000 + s)
    }

    #[test]
    fn prefixes_and_routers_live_as_long_as_they_say() {
        let mut slaac = Slaac::default();
        let message = advertisement(60, &[(prefix(1), 100), (prefix(2), u32::MAX)]);
        assert!(slaac.advertise(ROUTER, &message, at(0)));
        assert_eq!(slaac.router, Some((ROUTER, at(60))));
        assert_eq!(slaac.expire(at(0)), at(60));
        assert_eq!(slaac.expire(at(60)), at(100));
        assert_eq!(slaac.router, None);
        assert_eq!(slaac.expire(at(100)), Instant::MAX);
        assert_eq!(slaac.prefixes[..], [Prefix { prefix: prefix(2), valid_until: Instant::MAX }]);
    }

    #[test]
    fn a_forged_advertisement_does_not_kill_an_address() {
        let mut slaac = Slaac::default();
        slaac.advertise(ROUTER, &advertisement(60, &[(prefix(1), 86_400)]), at(0));
        slaac.advertise(ROUTER, &advertisement(60, &[(prefix(1), 1)]), at(0));
        assert_eq!(slaac.prefixes[0].valid_until, at(7200));
        // It can be renewed, and a remaining life below the floor is not shortened further.
        slaac.advertise(ROUTER, &advertisement(60, &[(prefix(1), 0)]), at(10));
        assert_eq!(slaac.prefixes[0].valid_until, at(7200));
        slaac.advertise(ROUTER, &advertisement(60, &[(prefix(1), 86_400)]), at(20));
        assert_eq!(slaac.prefixes[0].valid_until, at(86_420));
    }

    #[test]
    fn another_router_takes_over_only_when_needed() {
        let mut slaac = Slaac::default();
        let other = Ipv6Addr::new(0xFE80, 0, 0, 0, 0, 0, 0, 2);
        slaac.advertise(ROUTER, &advertisement(60, &[]), at(0));
        slaac.advertise(other, &advertisement(60, &[]), at(1));
        assert_eq!(slaac.router.unwrap().0, ROUTER);
        slaac.advertise(ROUTER, &advertisement(0, &[]), at(2));
        assert_eq!(slaac.router, None);
        slaac.advertise(other, &advertisement(60, &[]), at(3));
        assert_eq!(slaac.router.unwrap().0, other);
    }

    #[test]
    fn what_is_not_fit_is_not_taken() {
        let mut slaac = Slaac::default();
        let good = advertisement(60, &[(prefix(1), 100)]);
        assert!(!slaac.advertise(prefix(1), &good, at(0)), "a router's address is link-local");
        let mut endless = good.clone();
        endless[17] = 0;
        assert!(!slaac.advertise(ROUTER, &endless, at(0)));
        for len in 0..good.len() {
            let mut slaac = Slaac::default();
            let is_whole = slaac.advertise(ROUTER, &good[..len], at(0));
            // One byte of an option is no option.
            assert_eq!(is_whole, len == 16 || len == 17, "{len} bytes");
            assert!(slaac.prefixes.is_empty());
        }
        let link_local = advertisement(60, &[(ROUTER, 100)]);
        let mut not_autonomous = good.clone();
        not_autonomous[19] = 0x80;
        let mut long = good.clone();
        long[18] = 65;
        for message in [link_local, not_autonomous, long] {
            slaac.advertise(ROUTER, &message, at(0));
        }
        assert!(slaac.prefixes.is_empty());
    }
}
