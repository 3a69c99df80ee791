//! FCS, the hashes of multicast filters, and the Internet checksum.

use crc::{CRC_32_ISO_HDLC, Crc};

const CRC: Crc<u32> = Crc::<u32>::new(&CRC_32_ISO_HDLC);

/// Returns a frame's check sequence, in the order of the wire (IEEE 802.3, 3.2.9).
pub(crate) fn fcs(frame: &[u8]) -> [u8; 4] {
    CRC.checksum(frame).to_le_bytes()
}

/// Returns the upper `bits` bits of the CRC of a destination address as the MACs' hash filters compute it: most
/// significant bit first and not inverted (Linux `ether_crc`, as used in smsc95xx.c and lan78xx.c; FreeBSD
/// `ether_crc32_be`, as used in if_smsc.c and if_muge.c).
pub(crate) fn hash(frame: &[u8], bits: u32) -> u32 {
    let address = frame.get(..6).unwrap_or_default();
    (!CRC.checksum(address)).reverse_bits() >> (32 - bits)
}

/// Returns the sum of RFC 1071 over `bytes`, not inverted.
pub(crate) fn checksum(bytes: &[u8]) -> u16 {
    let mut sum = 0_u64;
    for pair in bytes.chunks(2) {
        sum += u64::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
    }
    while sum > 0xFFFF {
        sum = (sum & 0xFFFF) + (sum >> 16);
    }
    // The loop above left sixteen bits.
    u16::try_from(sum).unwrap_or(u16::MAX)
}

/// Where the IPv4 packet of a frame has its parts.
struct Ip {
    header: std::ops::Range<usize>,
    payload: std::ops::Range<usize>,
    /// Where the checksum of TCP or UDP is in the frame.
    transport_checksum: Option<usize>,
}

/// Finds the IPv4 packet of an untagged frame.
fn ip(frame: &[u8]) -> Option<Ip> {
    if frame.get(12..14)? != [8, 0] || frame.get(14)? >> 4 != 4 {
        return None;
    }
    let header_len = usize::from(frame[14] & 15) * 4;
    let total_len = usize::from(u16::from_be_bytes([*frame.get(16)?, *frame.get(17)?]));
    let (payload, end) = (14 + header_len, 14 + total_len);
    if header_len < 20 || payload > end || end > frame.len() {
        return None;
    }
    let is_fragment = u16::from_be_bytes([frame[20], frame[21]]) & 0x3FFF != 0;
    let transport_checksum = match frame[23] {
        6 if !is_fragment && end >= payload + 20 => Some(payload + 16),
        17 if !is_fragment && end >= payload + 8 => Some(payload + 6),
        _ => None,
    };
    Some(Ip { header: 14..payload, payload: payload..end, transport_checksum })
}

/// Returns the sum over a TCP or UDP packet and its pseudo header; right when 0xFFFF.
fn transport_sum(frame: &[u8], ip: &Ip) -> u16 {
    let mut bytes = frame[26..34].to_vec();
    bytes.extend([0, frame[23]]);
    bytes.extend(u16::try_from(ip.payload.len()).unwrap_or(u16::MAX).to_be_bytes());
    bytes.extend(&frame[ip.payload.clone()]);
    checksum(&bytes)
}

/// Says whether a frame has an IPv4 header with a wrong checksum.
pub(crate) fn is_ip_checksum_wrong(frame: &[u8]) -> bool {
    ip(frame).is_some_and(|ip| checksum(&frame[ip.header]) != 0xFFFF)
}

/// Says whether a frame has TCP or UDP over IPv4 with a wrong checksum. A UDP checksum of zero is none.
pub(crate) fn is_transport_checksum_wrong(frame: &[u8]) -> bool {
    let Some(ip) = ip(frame) else { return false };
    let Some(at) = ip.transport_checksum else { return false };
    let is_absent = frame[23] == 17 && frame[at..at + 2] == [0, 0];
    !is_absent && transport_sum(frame, &ip) != 0xFFFF
}

/// Writes the checksum of the IPv4 header, if there is one.
pub(crate) fn insert_ip_checksum(frame: &mut [u8]) {
    let Some(ip) = ip(frame) else { return };
    frame[24..26].fill(0);
    let sum = !checksum(&frame[ip.header]);
    frame[24..26].copy_from_slice(&sum.to_be_bytes());
}

/// Writes the checksum of TCP or UDP over IPv4, if there is one.
pub(crate) fn insert_transport_checksum(frame: &mut [u8]) {
    let Some(ip) = ip(frame) else { return };
    let Some(at) = ip.transport_checksum else { return };
    frame[at..at + 2].fill(0);
    let sum = !transport_sum(frame, &ip);
    frame[at..at + 2].copy_from_slice(&sum.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fcs_is_that_of_the_wire() {
        // The check value of CRC-32/ISO-HDLC.
        assert_eq!(fcs(b"123456789"), 0xCBF4_3926_u32.to_le_bytes());
    }

    #[test]
    fn the_hash_is_the_one_of_the_drivers() {
        // Linux smsc95xx.c, smsc95xx_hash: "01 00 5E 00 00 01 -> returns bit number 31".
        assert_eq!(hash(&[1, 0, 0x5E, 0, 0, 1], 6), 31);
        assert_eq!(hash(&[1, 0, 0x5E, 0, 0, 1], 9) >> 3, 31);
    }

    #[test]
    fn checksums_that_are_inserted_are_right() {
        let mut frame = vec![0; 12];
        frame.extend([8, 0, 0x45, 0, 0, 31, 0, 1, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        frame.extend([0, 7, 0, 9, 0, 11, 0x55, 0x55, b'a', b'b', b'c', 0, 0, 0]);
        assert!(is_ip_checksum_wrong(&frame) && is_transport_checksum_wrong(&frame));
        insert_ip_checksum(&mut frame);
        insert_transport_checksum(&mut frame);
        assert!(!is_ip_checksum_wrong(&frame) && !is_transport_checksum_wrong(&frame));
        frame[35] ^= 1;
        assert!(is_transport_checksum_wrong(&frame));
    }
}
