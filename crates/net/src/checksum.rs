//! The Internet checksum (RFC 1071).

/// Adds `data` to `sum` as big-endian 16-bit words; an odd last byte counts as the high half of a word.
///
/// Only the last piece of a message may have an odd length.
#[must_use]
pub(crate) fn add(mut sum: u64, data: &[u8]) -> u64 {
    // Words of 32 bits in a 64-bit sum: a frame can't overflow it, and the carries are folded once at the end.
    let (words, rest) = data.as_chunks::<4>();
    for word in words {
        sum += u64::from(u32::from_be_bytes(*word));
    }
    let mut last = [0; 4];
    if let Some(head) = last.get_mut(..rest.len()) {
        head.copy_from_slice(rest);
    }
    sum + u64::from(u32::from_be_bytes(last))
}

/// Folds a sum to 16 bits. A message with its checksum in place gives 0xFFFF.
#[must_use]
pub(crate) fn fold(mut sum: u64) -> u16 {
    while sum > 0xFFFF {
        sum = (sum & 0xFFFF) + (sum >> 16);
    }
    u16::try_from(sum).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc_1071_example() {
        // RFC 1071, section 3: the words 0001 f203 f4f5 f6f7 sum to ddf2.
        assert_eq!(fold(add(0, &[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7])), 0xddf2);
    }

    #[test]
    fn agrees_with_16_bit_words_at_every_length() {
        let data: Vec<u8> = (0..61u8).map(|i| i.wrapping_mul(41).wrapping_add(7)).collect();
        for len in 0..data.len() {
            let mut slow = 0u32;
            for word in data[..len].chunks(2) {
                slow += u32::from(word[0]) << 8 | u32::from(word.get(1).copied().unwrap_or(0));
                slow = (slow & 0xFFFF) + (slow >> 16);
            }
            assert_eq!(u32::from(fold(add(0, &data[..len]))), slow, "length {len}");
        }
    }
}
