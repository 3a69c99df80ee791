//! Requests in every piece and of every kind of nonsense.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on should panic")]

use resp::{Argument, Arguments, Parsed, ProtocolError, parse};

/// Xorshift (Marsaglia 2003): seeded, so that a failure can be repeated.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n as u64) as usize
    }
}

fn words(input: &[u8], arguments: &Arguments) -> Vec<Vec<u8>> {
    let word = |argument: &Argument| match argument {
        Argument::Range { start, len } => input[*start..start + len].to_vec(),
        Argument::Held(index) => format!("held {index}").into_bytes(),
    };
    arguments.iter().map(word).collect()
}

fn encode(words: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend(format!("${}\r\n", word.len()).bytes().chain(word.iter().copied()).chain(*b"\r\n"));
    }
    bytes
}

#[test]
fn a_request_is_found_when_its_last_byte_is_there_and_not_before() {
    let mut random = Random(3);
    let mut arguments = Arguments::new();
    for _ in 0..300 {
        let request: Vec<Vec<u8>> = (0..1 + random.below(6))
            .map(|_| (0..random.below(50)).map(|_| random.below(256) as u8).collect())
            .collect();
        let bytes = encode(&request);
        let mut needed = 1;
        for len in 0..bytes.len() {
            match parse(&bytes[..len], usize::MAX, &[], &mut arguments).unwrap() {
                Parsed::Partial { needed: now } => {
                    assert!(now > len && now <= bytes.len() && now >= needed.min(now), "{now} of {}", bytes.len());
                    needed = now;
                }
                other => panic!("{other:?} after {len} of {} bytes", bytes.len()),
            }
        }
        let with_more = [bytes.clone(), b"*1\r\n$4\r\nPING\r\n".to_vec()].concat();
        assert_eq!(parse(&with_more, 10, &[], &mut arguments), Ok(Parsed::Request { used: bytes.len() }));
        assert_eq!(words(&with_more, &arguments), request);
    }
}

#[test]
fn long_strings_can_be_taken_away() {
    let request = [b"SET".to_vec(), b"k".to_vec(), vec![b'v'; 5000], b"PX".to_vec(), vec![b'w'; 3000]];
    let bytes = encode(&request);
    let mut arguments = Arguments::new();
    let cut = bytes.len() - 4000;
    let Ok(Parsed::Large { start, len: 5000 }) = parse(&bytes[..cut], 1000, &[], &mut arguments) else {
        panic!("{arguments:?}");
    };
    assert_eq!(bytes[start - 6..start], *b"5000\r\n");
    let without = [&bytes[..start], &bytes[start + 5000..]].concat();
    let Ok(Parsed::Large { start: second, len: 3000 }) =
        parse(&without[..without.len() - 100], 1000, &[start], &mut arguments)
    else {
        panic!("{arguments:?}");
    };
    let without = [&without[..second], b"\r\n"].concat();
    let parsed = parse(&without, 1000, &[start, second], &mut arguments);
    assert_eq!(parsed, Ok(Parsed::Request { used: without.len() }));
    assert_eq!(words(&without, &arguments), [&b"SET"[..], b"k", b"held 0", b"PX", b"held 1"]);
}

#[test]
fn inline_commands_are_words() {
    let mut arguments = Arguments::new();
    for (line, expected) in [
        ("PING\r\n", vec!["PING"]),
        ("  set  k\tv \n", vec!["set", "k", "v"]),
        ("set 'a b' \"c d\"\r\n", vec!["set", "a b", "c d"]),
        ("set '' x\r\n", vec!["set", "", "x"]),
        ("\r\n", vec![]),
        ("\n", vec![]),
        ("a\0b\n", vec!["a", "b"]),
    ] {
        assert_eq!(
            parse(line.as_bytes(), 0, &[], &mut arguments),
            Ok(Parsed::Request { used: line.len() }),
            "{line:?}"
        );
        let found: Vec<_> = words(line.as_bytes(), &arguments);
        assert_eq!(found, expected.iter().map(|word| word.as_bytes()).collect::<Vec<_>>(), "{line:?}");
    }
    for line in ["'a\n", "'a'b\n", "\"\n"] {
        assert_eq!(parse(line.as_bytes(), 0, &[], &mut arguments), Err(ProtocolError::Quotes), "{line:?}");
    }
}

#[test]
fn numbers_out_of_bounds_are_refused_before_their_data_comes() {
    let mut arguments = Arguments::new();
    for (bytes, error) in [
        ("*1025\r\n", ProtocolError::ArrayLength),
        ("*99999999999999999999\r\n", ProtocolError::ArrayLength),
        ("*\r\n", ProtocolError::ArrayLength),
        ("*1\r\n$\r\n", ProtocolError::BulkLength),
        ("*1\r\n$-2\r\n", ProtocolError::BulkLength),
        ("*1\r\n$536870913\r\n", ProtocolError::BulkLength),
        ("*1\r\nx", ProtocolError::NoString(b'x')),
        ("*00000000000000000000000000000000", ProtocolError::ArrayLine),
    ] {
        assert_eq!(parse(bytes.as_bytes(), 100, &[], &mut arguments), Err(error), "{bytes:?}");
    }
    let fine = parse(b"*1\r\n$536870912\r\n", 100, &[], &mut arguments);
    assert_eq!(fine, Ok(Parsed::Large { start: 16, len: 512 << 20 }));
}

#[test]
fn random_bytes_never_point_outside_of_the_input() {
    let mut random = Random(17);
    let mut arguments = Arguments::new();
    let pieces: [&[u8]; 10] =
        [b"*", b"$", b"\r\n", b"1", b"-1", b"$3\r\nabc\r\n", b"*2\r\n", b"'", b" ", b"$99999\r\n"];
    for _ in 0..200_000 {
        let mut bytes = Vec::new();
        for _ in 0..random.below(12) {
            match random.below(5) {
                0 => bytes.push(random.below(256) as u8),
                _ => bytes.extend_from_slice(pieces[random.below(pieces.len())]),
            }
        }
        let held = [random.below(20), random.below(40)];
        match parse(&bytes, random.below(100), &held, &mut arguments) {
            Ok(Parsed::Request { used }) => {
                assert!(used > 0 && used <= bytes.len());
                words(&bytes, &arguments);
            }
            Ok(Parsed::Partial { needed }) => assert!(needed > bytes.len()),
            Ok(Parsed::Large { start, len }) => assert!(start <= bytes.len() && start + len + 2 > bytes.len()),
            Err(_) => {}
        }
    }
}
