//! Any bytes as requests.

use super::{Method, Parsed, parse};

/// Reads requests one behind the other, each at once and as its bytes come.
pub fn run(data: &[u8]) {
    let mut rest = data;
    while let Parsed::Request(request) = check(rest) {
        assert!(request.len > 0 && request.len <= rest.len());
        assert!(!request.wanted.path.contains(['?', '#']), "{}", request.wanted.path);
        assert!(request.wanted.path.len() + request.wanted.query.len() <= request.len);
        // What follows a request of a method that we do not know may be its body.
        if request.method == Method::Other {
            break;
        }
        rest = rest.get(request.len..).unwrap_or_default();
    }
}

/// Parses `input` and makes sure that its beginnings lead to the same.
fn check(input: &[u8]) -> Parsed<'_> {
    let whole = parse(input);
    let step = 1 + input.len() / 32;
    for beginning in (0..input.len()).step_by(step).filter_map(|end| input.get(..end)) {
        match (parse(beginning), &whole) {
            (Parsed::Partial, _) => {}
            (Parsed::Bad, whole) => assert_eq!(whole, &Parsed::Bad, "{beginning:?} is bad, and so is all of it"),
            (request, whole) => assert_eq!(&request, whole, "what is behind a request does not change it"),
        }
    }
    whole
}

#[cfg(test)]
mod tests {
    #[test]
    fn it_holds_for_good_and_bad_requests() {
        super::run(b"GET /a?b#c HTTP/1.1\r\nHost: x\r\nUser-Agent: y\r\n\r\nHEAD / HTTP/1.0\r\n\r\nGET\0");
        super::run(b"POST / HTTP/1.0\r\n\r\n");
    }
}
