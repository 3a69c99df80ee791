//! Any bytes as requests.

use super::{BODY_LEN_MAX, Parsed, parse};

/// Reads requests one behind the other with their bodies, each at once and as its bytes come.
pub fn run(data: &[u8]) {
    let mut rest = data;
    while let Parsed::Request(request, len) = check(rest) {
        assert!(len > 0 && len <= rest.len() && request.body_len <= BODY_LEN_MAX);
        let body = usize::try_from(request.body_len).unwrap_or(usize::MAX);
        rest = rest.get(len.saturating_add(body)..).unwrap_or_default();
    }
}

/// Parses `input` and makes sure that its beginnings lead to the same.
fn check(input: &[u8]) -> Parsed {
    let whole = parse(input);
    let step = 1 + input.len() / 32;
    for beginning in (0..input.len()).step_by(step).filter_map(|end| input.get(..end)) {
        let part = parse(beginning);
        assert!(part == Parsed::Partial || part == whole, "{beginning:?} is {part:?}, all of it {whole:?}");
    }
    whole
}

#[cfg(test)]
mod tests {
    #[test]
    fn it_holds_for_good_and_bad_requests() {
        super::run(b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabcGET / HTTP/1.0\r\n\r\n\0\0");
        super::run(b"GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
    }
}
