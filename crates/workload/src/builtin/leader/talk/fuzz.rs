//! Any bytes as what a store answers to a candidate.

use super::{REPLY_LEN, parse};

/// Reads one reply after another. What is behind a reply, and how much of it has come, changes nothing.
pub fn run(data: &[u8]) {
    let mut rest = data;
    while let Ok(Some((reply, len))) = parse(rest) {
        assert!((3..=rest.len()).contains(&len), "{len} of {} bytes", rest.len());
        let (its, behind) = rest.split_at_checked(len).unwrap_or_default();
        assert_eq!(parse(its), Ok(Some((reply, len))));
        for part in (0..len.min(REPLY_LEN)).filter_map(|part| its.get(..part)) {
            assert_eq!(parse(part), Ok(None), "{} of {len} bytes", part.len());
        }
        rest = behind;
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn it_holds_for_replies_and_others() {
        super::run(b"+OK\r\n$-1\r\n:42\r\n$2\r\n17\r\n-READONLY no\r\n");
        super::run(b"$2\r\n1");
        super::run(b"\r\n\r\n");
    }
}
