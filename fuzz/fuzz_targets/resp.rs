//! Requests of RESP.
#![no_main]

use resp::{Argument, Arguments, INLINE_LEN_MAX, Parsed, ProtocolError};

/// Strings longer than this are reported as they come.
const LARGE: usize = 64;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let mut rest = data;
    while let Ok(Parsed::Request { used }) = check(rest) {
        assert!(used > 0 && used <= rest.len());
        rest = &rest[used..];
    }
});

/// Parses a request as a whole, and makes sure that its beginnings lead to the same.
fn check(input: &[u8]) -> Result<Parsed, ProtocolError> {
    let mut arguments = Arguments::new();
    let whole = resp::parse(input, usize::MAX, &[], &mut arguments);
    match whole {
        Ok(Parsed::Request { used }) => {
            let mut end = 0;
            for argument in &arguments {
                let Argument::Range { start, len } = *argument else { unreachable!("nothing is held") };
                assert!(start >= end && start + len <= used, "{start} + {len} of {used}");
                end = start + len;
            }
        }
        Ok(Parsed::Partial { needed }) => assert!(needed > input.len()),
        Ok(Parsed::Large { .. }) => unreachable!("no string is that long"),
        Err(_) => {}
    }
    let mut others = Arguments::new();
    for end in (0..input.len()).step_by(1 + input.len() / 32) {
        match resp::parse(&input[..end], LARGE, &[], &mut others) {
            Ok(Parsed::Partial { needed }) => assert!(needed > end),
            Ok(Parsed::Large { start, len }) => assert!(start <= end && len > LARGE && start + len + 2 > end),
            // An error may come late, when a line has become too long, but never go.
            Err(error) => assert_eq!(Err(error), whole, "{end} of {} bytes", input.len().min(INLINE_LEN_MAX)),
            Ok(request) => {
                assert_eq!(Ok(request), whole);
                assert_eq!(others, arguments);
            }
        }
    }
    whole
}
