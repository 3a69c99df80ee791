//! A fault as a user gives it: read from words.

use chance::Unit;
use heapless::String;

use crate::Direction;
use crate::effect::{Effect, NAME_MAX};
use crate::kinds::{KINDS, Kind};
use crate::matcher::Matcher;
use crate::words::{Key, Words};

/// Longest text of a fault, in bytes.
pub const TEXT_MAX: usize = 160;
/// How long a fault lasts when nothing is said: long enough to see what it does.
pub const FOR_DEFAULT_US: u64 = 60_000_000;
/// The longest that a fault may last: nobody has to travel to a node because of one.
pub const FOR_MAX_US: u64 = 3_600_000_000;
/// The latest that it may begin.
pub const AFTER_MAX_US: u64 = 24 * 3_600_000_000;

/// What every fault can be told.
pub const COMMON: [Key; 3] = [
    Key { name: "for", form: "a time up to 1h, such as 30s", help: "how long it lasts; 1m" },
    Key { name: "after", form: "a time up to 24h, such as 5s", help: "when it begins, from now; at once" },
    Key { name: "seed", form: "a whole number", help: "another one gives other packets the same fate; 1" },
];

/// What every fault of frames can be told.
pub const FRAMES: [Key; 7] = [
    Key { name: "dir", form: "in, out or both", help: "the way of the frames; both" },
    Key { name: "peer", form: "an address or a prefix, such as 10.0.0.7 or fe80::/64", help: "the other station; all" },
    Key { name: "proto", form: "tcp, udp, icmp, arp or a number up to 255", help: "the protocol; all" },
    Key { name: "port", form: "a port", help: "the port, on either side; all" },
    Key { name: "own-port", form: "a port", help: "the port of this node; all" },
    Key { name: "peer-port", form: "a port", help: "the port of the other station; all" },
    Key {
        name: "control",
        form: "no or yes",
        help: "whether SSH, HTTP, syslog, MQTT, mDNS, DHCP, ARP and its like are hit, too; no",
    },
];

/// A fault as it was given.
#[derive(Debug)]
pub struct Spec {
    pub(crate) kind: &'static Kind,
    pub(crate) effect: Effect,
    pub(crate) matcher: Matcher,
    /// From when it is added.
    pub(crate) after_us: u64,
    pub(crate) for_us: u64,
    /// Which random numbers it draws.
    pub(crate) stream: u64,
    /// As it was typed, with one space between words.
    pub(crate) text: String<TEXT_MAX>,
}

/// Why words are no fault.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SpecError<'a> {
    /// There are none.
    #[error("a kind of fault is missing: {}", listed())]
    Empty,
    /// There is no such kind.
    #[error("there is no fault '{word}': there are {}", listed())]
    Kind {
        /// The word.
        word: &'a str,
    },
    /// A word has no `=`.
    #[error("'{word}' is not KEY=VALUE")]
    NoPair {
        /// The word.
        word: &'a str,
    },
    /// The kind has no such key.
    #[error("{} has no '{key}': 'fault help {}' shows what it has", kind.name, kind.name)]
    Key {
        /// The kind.
        kind: &'static Kind,
        /// The key.
        key: &'a str,
    },
    /// A key stands there twice.
    #[error("'{key}' is given twice")]
    Twice {
        /// The key.
        key: &'a str,
    },
    /// A value can't be read, or is out of its range.
    #[error("{key}= is {form}, not '{value}'")]
    Value {
        /// The key.
        key: &'static str,
        /// The value.
        value: &'a str,
        /// What is allowed.
        form: &'static str,
    },
    /// Something must be said.
    #[error("{} needs {what}: see 'fault help {}'", kind.name, kind.name)]
    Missing {
        /// The kind.
        kind: &'static Kind,
        /// What is missing.
        what: &'static str,
    },
    /// The text is too long.
    #[error("it, or a name in it, is too long or has strange characters: {TEXT_MAX} bytes, {NAME_MAX} for a name")]
    TooLong,
}

fn listed() -> impl core::fmt::Display {
    core::fmt::from_fn(|f| {
        for (i, kind) in KINDS.iter().enumerate() {
            write!(f, "{}{}", if i == 0 { "" } else { ", " }, kind.name)?;
        }
        Ok(())
    })
}

impl Spec {
    /// Reads a kind of fault and `KEY=VALUE` words behind it.
    ///
    /// # Errors
    ///
    /// When they are no fault.
    pub fn parse<'a>(words: &mut dyn Iterator<Item = &'a str>) -> Result<Self, SpecError<'a>> {
        let name = words.next().ok_or(SpecError::Empty)?;
        let kind = Kind::find(name).ok_or(SpecError::Kind { word: name })?;
        let mut text = String::new();
        let mut stream = hash(name);
        let mut is_too_long = text.push_str(name).is_err();
        let mut words = words.inspect(|word| {
            // Not what is said of time, and in any order.
            if !["for=", "after="].iter().any(|key| word.starts_with(key)) {
                stream = stream.wrapping_add(hash(word));
            }
            is_too_long |= text.push(' ').is_err() || text.push_str(word).is_err();
        });
        let words = Words::read(kind, &mut words)?;
        let mut matcher = Matcher::default();
        if kind.is_of_frames {
            let directions = [None, Some(Direction::In), Some(Direction::Out)];
            matcher = Matcher {
                direction: directions.get(words.choice("dir", &["both", "in", "out"])?).copied().flatten(),
                peer: words.peer()?,
                protocol: words.protocol()?,
                port: words.port("port")?,
                own_port: words.port("own-port")?,
                peer_port: words.port("peer-port")?,
                has_control: words.choice("control", &["no", "yes"])? == 1,
            };
        }
        // Part of the stream as a word.
        words.number("seed", Unit::Count, 0..=u64::MAX)?;
        let spec = Self {
            kind,
            effect: (kind.make)(&words)?,
            matcher,
            after_us: words.number("after", Unit::Time, 0..=AFTER_MAX_US)?.unwrap_or(0),
            for_us: words.number("for", Unit::Time, 1..=FOR_MAX_US)?.unwrap_or(FOR_DEFAULT_US),
            stream,
            text,
        };
        if is_too_long { Err(SpecError::TooLong) } else { Ok(spec) }
    }

    /// Returns the text that it was read from.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }
}

/// Keeps the name of a workload.
pub(crate) fn name(text: &str) -> Result<String<NAME_MAX>, SpecError<'_>> {
    text.chars().all(|c| c.is_ascii_graphic()).then(|| text.try_into().ok()).flatten().ok_or(SpecError::TooLong)
}

/// FNV-1a with 64 bits (Fowler, Noll, Vo; RFC 9923): which words were given, not a secret.
fn hash(word: &str) -> u64 {
    word.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Spec, std::string::String> {
        Spec::parse(&mut text.split_ascii_whitespace()).map_err(|error| error.to_string())
    }

    #[test]
    fn every_kind_is_read_as_its_example() {
        for kind in KINDS {
            let spec = parse(kind.example).unwrap_or_else(|error| panic!("{}: {error}", kind.example));
            assert_eq!(spec.kind.name, kind.name);
            assert_eq!(spec.text(), kind.example);
        }
    }

    #[test]
    fn mistakes_say_what_to_do() {
        let long = "x".repeat(100);
        let cases = [
            ("", "a kind of fault is missing: drop"),
            ("lose", "there is no fault 'lose': there are drop"),
            ("drop 5%", "'5%' is not KEY=VALUE"),
            ("drop rate=5", "drop has no 'rate': 'fault help drop'"),
            ("drop for=1s for=2s", "'for' is given twice"),
            ("drop for=2h", "for= is a time up to 1h, such as 30s, not '2h'"),
            ("drop for=0s", "for= is a time up to 1h, such as 30s, not '0s'"),
            ("drop after=25h", "after= is a time up to 24h"),
            ("drop share=0%", "share= is"),
            ("drop share=101%", "share= is"),
            ("drop peer=10.0.0.0/33", "peer= is an address"),
            ("drop peer=pi", "peer= is an address"),
            ("drop port=0", "port= is a port"),
            ("drop dir=up", "dir= is in, out or both, not 'up'"),
            ("drop proto=256", "proto= is tcp, udp, icmp, arp or a number up to 255, not '256'"),
            ("drop seed=-1", "seed= is a whole number"),
            ("delay", "delay needs time: see 'fault help delay'"),
            ("delay time=11s", "time= is"),
            ("rate", "rate needs rate"),
            ("pause", "pause needs WORKLOAD"),
            ("pause a b", "'b' is not KEY=VALUE"),
            ("stall dir=in core=2", "stall has no 'dir'"),
            ("stall core=0", "core= is"),
        ];
        for (text, expected) in cases {
            let error = parse(text).err().unwrap_or_else(|| panic!("{text} is a fault"));
            assert!(error.contains(expected), "{text}: {error}");
        }
        assert!(parse(&format!("drop peer={long}")).unwrap_err().contains("peer= is"));
        assert!(parse(&format!("drop seed={}", "0".repeat(200))).unwrap_err().contains("too long"));
        assert!(parse("pause caf\u{e9}").is_err());
    }

    #[test]
    fn which_numbers_are_drawn_depends_on_everything_but_time() {
        let stream = |text| parse(text).unwrap().stream;
        let base = stream("drop share=5% dir=in");
        assert_eq!(base, stream("drop dir=in share=5% for=5s after=1s"));
        for other in ["drop share=6% dir=in", "drop share=5%", "drop share=5% dir=in seed=2", "corrupt share=5% dir=in"]
        {
            assert_ne!(base, stream(other), "{other}");
        }
    }
}
