//! Any bytes as a message of mDNS.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use edge_mdns::domain::base::Message;

use super::{Reaction, react};
use crate::mdns::MESSAGE_LEN;
use crate::mdns::records::Zone;

/// Reacts to a message in each state of a responder.
pub fn run(data: &[u8]) {
    let mut zone = Zone {
        name: "pi-123456".try_into().unwrap_or_default(),
        addresses: heapless::Vec::new(),
        txt: &[("version", "1"), ("board", "x")],
    };
    for address in [IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2)), IpAddr::V6(Ipv6Addr::new(0xFE80, 0, 0, 0, 0, 0, 0, 2))] {
        assert!(zone.addresses.push(address).is_ok());
    }
    let mut out = [0; MESSAGE_LEN];
    for (is_legacy, is_probing) in [(false, false), (true, false), (false, true)] {
        let reaction = react(&zone, data, is_legacy, is_probing, &mut out);
        let Ok(Reaction::Answer { len, .. }) = reaction else { continue };
        assert!(!is_probing, "a name that is not ours yet has no answers");
        assert!((12..=MESSAGE_LEN).contains(&len));
        // What is said is well-formed: an answer, with at least one record.
        let answer = Message::from_octets(out.get(..len).unwrap_or_default());
        let count = answer.ok().and_then(|answer| Some(answer.answer().ok()?.take_while(Result::is_ok).count()));
        assert!(count.is_some_and(|count| count > 0), "{count:?}");
        // Our own words never make us answer, or give our name up.
        let mut again = [0; MESSAGE_LEN];
        let own = react(&zone, out.get(..len).unwrap_or_default(), false, true, &mut again);
        assert!(matches!(own, Ok(Reaction::None)), "{own:?}");
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn it_holds_for_a_question() {
        // For every service type (RFC 6763, section 9), and something that is not a message.
        super::run(b"\0\0\0\0\0\x01\0\0\0\0\0\0\x09_services\x07_dns-sd\x04_udp\x05local\0\0\x0c\0\x01");
        super::run(b"\0\0\x84\0\0");
    }
}
