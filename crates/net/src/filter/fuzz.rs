//! Any bytes as a frame.

use nic::MacAddress;

use super::{ETHERNET_HEADER_LEN, Seen, check, count_sent, sent_dhcp_transaction};
use crate::counters::Counters;
use crate::segment::Segment;

const OWN: MacAddress = MacAddress([2, 0, 0, 0, 0, 1]);

/// Looks at a frame that has come, and at the same as one that is sent.
pub fn run(data: &[u8]) {
    let counters = Counters::new();
    let seen = check(data, OWN, &counters);
    if let Some(Seen::Arp(arp)) = seen {
        let mut written = [0; super::Arp::LEN];
        arp.emit(&mut written);
        assert_eq!(super::Arp::parse(&written), Some(arp));
        assert_eq!(data.get(ETHERNET_HEADER_LEN..ETHERNET_HEADER_LEN + written.len()), Some(&written[..]));
    }
    // What a frame is does not depend on how often it has come, and padding behind its packet changes nothing.
    assert_eq!(check(data, OWN, &counters), seen);
    if seen.is_some() {
        let segment = Segment::parse(data);
        assert!(segment.is_none_or(|segment| segment.tcp.payload.len() <= data.len()));
        let mut padded = heapless::Vec::<u8, 2048>::new();
        if padded.extend_from_slice(data).is_ok() && padded.extend_from_slice(&[0; 4]).is_ok() {
            assert_eq!(check(&padded, OWN, &counters), seen, "padding matters");
        }
    }
    count_sent(data, &counters);
    let _ = sent_dhcp_transaction(data);
}

/// Reads a DHCP message, as one that has come.
pub(crate) fn dhcp(data: &[u8]) {
    let _ = super::parse_dhcp(data, OWN);
}

#[cfg(test)]
mod tests {
    #[test]
    fn it_holds_for_an_arp_request_and_less() {
        let frame = b"\xff\xff\xff\xff\xff\xff\x02\0\0\0\0\x02\x08\x06\0\x01\x08\0\x06\x04\0\x01\
            \x02\0\0\0\0\x02\x0a\0\0\x01\0\0\0\0\0\0\x0a\0\0\x02";
        (0..=frame.len()).for_each(|len| super::run(&frame[..len]));
    }
}
