//! No text makes the parser panic, and whatever it accepts it accepts again.

// Brings the clock that embassy-time is linked with.
use testkit as _;
use workload::Spec;

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

const PIECES: [&str; 36] = [
    "cpu",
    "idle",
    "memory",
    "ping",
    ":",
    ":",
    ",",
    ",",
    "=",
    "=",
    "load",
    "slice",
    "mode",
    "size",
    "peer",
    "count",
    "cores",
    "for",
    "interval",
    "timeout",
    "50%",
    "10ms",
    "1-3",
    "all",
    "0",
    "1",
    "99999999999999999999",
    "2M",
    "copy",
    "10.0.2.2",
    "fe80::1",
    "é",
    "\u{1b}[2J",
    " ",
    "+",
    "-",
];

#[test]
fn random_text_is_accepted_or_refused() {
    let mut random = Random(0x5EED);
    let (mut accepted, mut refused) = (0, 0);
    for _ in 0..200_000 {
        let text: String = (0..random.below(12)).map(|_| PIECES[random.below(PIECES.len())]).collect();
        match Spec::parse(&text) {
            Ok(spec) => {
                accepted += 1;
                assert!(Spec::parse(spec.values.as_str()).is_ok_and(|again| again.values == spec.values), "{text:?}");
            }
            Err(error) => {
                refused += 1;
                let message = error.to_string();
                assert!(!message.is_empty() && !message.chars().any(char::is_control), "{text:?}: {message:?}");
            }
        }
    }
    assert!(accepted > 500 && refused > 500, "{accepted} accepted, {refused} refused: the test tests nothing");
}

#[test]
fn random_bytes_are_accepted_or_refused() {
    let mut random = Random(0xBEEF);
    for _ in 0..100_000 {
        let bytes: Vec<u8> = (0..random.below(120)).map(|_| random.below(256) as u8).collect();
        let text = String::from_utf8_lossy(&bytes);
        for text in [text.to_string(), format!("cpu:{text}"), format!("ping:peer={text}"), format!("cpu:cores={text}")]
        {
            if let Err(error) = Spec::parse(&text) {
                assert!(!error.to_string().is_empty());
            }
        }
    }
}
