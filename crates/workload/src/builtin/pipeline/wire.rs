//! The protocol's bytes: greetings and frames, read and written without I/O. docs/pipeline.md has them as a table.
//!
//! All numbers are big-endian. What comes from outside is refused unless every field is what it may be, so nothing behind
//! this file has to doubt it.

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;

use crc::{CRC_32_ISCSI, Crc, Table};

/// What a connection begins with, both ways.
const MAGIC: [u8; 4] = *b"MPPL";
const VERSION: u8 = 1;
pub(super) const HELLO_LEN: usize = 32;
/// In front of every frame: kind, flags, length of the body, checksum of all of the head.
const PREFIX_LEN: usize = 8;
const MESSAGE_LEN: usize = 56;
const VERDICT_LEN: usize = 17;
const CREDIT_LEN: usize = 4;
/// The longest head: prefix and all of the body but a payload.
pub(super) const HEAD_LEN: usize = PREFIX_LEN + MESSAGE_LEN;
/// Longest payload of a message in bytes.
pub(super) const PAYLOAD_LEN_MAX: usize = 16 << 10;

const AT_LEAST_ONCE: u8 = 1;
const AGAIN: u8 = 2;
const QUESTION: u8 = 4;

/// CRC-32C (RFC 3720, appendix B.4), with a table of 1 KiB.
static CRC: Crc<u32, Table<1>> = Crc::<u32, Table<1>>::new(&CRC_32_ISCSI);

/// A checksum of a payload that comes in pieces.
pub(super) struct Checksum(crc::Digest<'static, u32, Table<1>>);

impl Checksum {
    pub(super) fn new() -> Self {
        Self(CRC.digest())
    }

    pub(super) fn add(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(super) fn value(self) -> u32 {
        self.0.finalize()
    }
}

/// Returns the checksum of a whole payload.
pub(super) fn checksum(bytes: &[u8]) -> u32 {
    CRC.checksum(bytes)
}

/// What a node plays in a pipeline. The numbers are those on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Stage {
    Source = 1,
    Queue = 2,
    Worker = 3,
    Sink = 4,
}

impl Stage {
    const ALL: [Self; 4] = [Self::Source, Self::Queue, Self::Worker, Self::Sink];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Queue => "queue",
            Self::Worker => "worker",
            Self::Sink => "sink",
        }
    }
}

/// Which way messages go on a connection, as seen by who has made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Want {
    /// To the one who was called.
    Push = 1,
    /// From there.
    Pull = 2,
}

/// Why the one who was called wants no connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Refusal {
    /// It speaks another version.
    Version = 1,
    /// Nobody pushes to it, or pulls from it.
    Direction = 2,
    /// The messages to come are longer than its room.
    TooLong = 3,
}

/// The first words of each side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hello {
    pub(super) stage: Stage,
    pub(super) want: Want,
    pub(super) refusal: Option<Refusal>,
    /// Longest payload in bytes: that it will send if it sends messages, that it takes if it takes them.
    pub(super) len_max: u32,
    /// Who this is: the same for all connections of a source, for as long as it lives.
    pub(super) link: u64,
    /// Messages that may be sent to it at once.
    pub(super) credit: u32,
    /// It gives up a peer that is silent for so long, in ms.
    pub(super) silence_ms: u32,
}

/// Why bytes are no greeting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum HelloError {
    #[error("is no stage of a pipeline: it does not answer in its protocol")]
    Magic,
    #[error("speaks version {0} of the pipeline's protocol, this node speaks {VERSION}: run the same image on both")]
    Version(u8),
    #[error("sent a damaged greeting")]
    Damaged,
}

impl Hello {
    pub(super) fn to_bytes(self) -> [u8; HELLO_LEN] {
        let mut bytes = [0; HELLO_LEN];
        let refusal = self.refusal.map_or(0, |refusal| refusal as u8);
        let mut out = Out(&mut bytes);
        out.put(MAGIC);
        out.put([VERSION, self.stage as u8, self.want as u8, refusal]);
        out.put(self.len_max.to_be_bytes());
        out.put(self.link.to_be_bytes());
        out.put(self.credit.to_be_bytes());
        out.put(self.silence_ms.to_be_bytes());
        let check = CRC.checksum(bytes.first_chunk::<{ HELLO_LEN - 4 }>().map_or(&[], |head| head.as_slice()));
        if let Some(end) = bytes.last_chunk_mut() {
            *end = check.to_be_bytes();
        }
        bytes
    }

    pub(super) fn parse(bytes: &[u8; HELLO_LEN]) -> Result<Self, HelloError> {
        let (head, check) = bytes.split_at(HELLO_LEN - 4);
        let mut fields = In(head);
        if fields.take().ok_or(HelloError::Damaged)? != MAGIC {
            return Err(HelloError::Magic);
        }
        let [version, stage, want, refusal] = fields.take().ok_or(HelloError::Damaged)?;
        if version != VERSION {
            return Err(HelloError::Version(version));
        }
        let is_whole = check == CRC.checksum(head).to_be_bytes();
        let refusal = match refusal {
            0 => None,
            code => Some(
                [Refusal::Version, Refusal::Direction, Refusal::TooLong]
                    .into_iter()
                    .find(|refusal| *refusal as u8 == code)
                    .ok_or(HelloError::Damaged)?,
            ),
        };
        let hello = (|| {
            Some(Self {
                stage: Stage::ALL.into_iter().find(|known| *known as u8 == stage)?,
                want: [Want::Push, Want::Pull].into_iter().find(|known| *known as u8 == want)?,
                refusal,
                len_max: fields.u32()?,
                link: fields.u64()?,
                credit: fields.u32()?,
                silence_ms: fields.u32()?,
            })
        })();
        hello.filter(|_| is_whole).ok_or(HelloError::Damaged)
    }
}

/// A message without its payload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Message {
    /// Its source, and its number there: both together are unique.
    pub(super) stream: u64,
    pub(super) number: u64,
    /// The least number of which the source does not know the end yet.
    pub(super) base: u64,
    /// When it was due, in µs by the clock with this number.
    pub(super) due_us: u64,
    pub(super) clock: u64,
    /// The same in µs since 1970, 0 if unknown, and how far off that may be.
    pub(super) unix_us: u64,
    pub(super) unix_error_us: u32,
    /// Of the payload.
    pub(super) checksum: u32,
    /// In bytes.
    pub(super) len: usize,
    pub(super) is_at_least_once: bool,
    /// It was sent before.
    pub(super) is_again: bool,
    /// It only asks whether the message of this number has come; it has no payload.
    pub(super) is_question: bool,
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Verdict {
    /// The sink has it.
    Delivered = 0,
    /// The connection broke on which it was sent.
    Connection = 1,
    /// The worker that had it is gone.
    Worker = 2,
    /// It was damaged on the way.
    Corrupted = 3,
    /// The sink has not got it, and will not take it any more.
    GivenUp = 4,
}

impl Verdict {
    pub(super) const ALL: [Self; 5] = [Self::Delivered, Self::Connection, Self::Worker, Self::Corrupted, Self::GivenUp];
}

/// What comes after the greetings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Frame {
    /// A message; its payload follows.
    Message(Message),
    /// What became of a message.
    Verdict { stream: u64, number: u64, verdict: Verdict },
    /// So many more messages may be sent.
    Credit(u32),
    /// The sender is still there.
    Ping,
}

/// Why bytes are no frame: the connection is of no more use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum FrameError {
    #[error("a frame of kind {0}")]
    Kind(u8),
    #[error("a frame of a wrong length")]
    Length,
    #[error("a damaged frame")]
    Damaged,
}

/// The head of a frame: as many of these bytes as it has.
pub(super) type Head = heapless::Vec<u8, HEAD_LEN>;

impl Frame {
    /// Returns the head of the frame, behind which a message's payload comes.
    pub(super) fn head(&self) -> Head {
        let mut bytes = [0; HEAD_LEN];
        let (kind, flags, body_len, head_len) = match self {
            Self::Message(message) => {
                let flags = [
                    (message.is_at_least_once, AT_LEAST_ONCE),
                    (message.is_again, AGAIN),
                    (message.is_question, QUESTION),
                ];
                let flags = flags.iter().map(|(is_set, flag)| if *is_set { *flag } else { 0 }).sum();
                (1, flags, MESSAGE_LEN + message.len.min(PAYLOAD_LEN_MAX), HEAD_LEN)
            }
            Self::Verdict { .. } => (2, 0, VERDICT_LEN, PREFIX_LEN + VERDICT_LEN),
            Self::Credit(_) => (3, 0, CREDIT_LEN, PREFIX_LEN + CREDIT_LEN),
            Self::Ping => (4, 0, 0, PREFIX_LEN),
        };
        let [high, low] = (body_len as u16).to_be_bytes();
        let mut out = Out(&mut bytes);
        out.put([kind, flags, high, low, 0, 0, 0, 0]);
        match self {
            Self::Message(message) => {
                for field in
                    [message.stream, message.number, message.base, message.due_us, message.clock, message.unix_us]
                {
                    out.put(field.to_be_bytes());
                }
                out.put(message.unix_error_us.to_be_bytes());
                out.put(message.checksum.to_be_bytes());
            }
            Self::Verdict { stream, number, verdict } => {
                out.put(stream.to_be_bytes());
                out.put(number.to_be_bytes());
                out.put([*verdict as u8]);
            }
            Self::Credit(count) => out.put(count.to_be_bytes()),
            Self::Ping => {}
        }
        let mut head = Head::from_slice(bytes.get(..head_len).unwrap_or_default()).unwrap_or_default();
        let check = CRC.checksum(&head).to_be_bytes();
        head.iter_mut().skip(PREFIX_LEN - 4).zip(check).for_each(|(byte, check)| *byte = check);
        head
    }

    /// Returns how long the head is that begins with these bytes, all of which there must be for
    /// [`parse`](Self::parse).
    ///
    /// # Errors
    ///
    /// [`FrameError::Kind`] or [`FrameError::Length`].
    pub(super) fn head_len(prefix: [u8; PREFIX_LEN]) -> Result<usize, FrameError> {
        let [kind, _, high, low, ..] = prefix;
        let body_len = usize::from(u16::from_be_bytes([high, low]));
        let (fixed_len, payload_max) = match kind {
            1 => (MESSAGE_LEN, PAYLOAD_LEN_MAX),
            2 => (VERDICT_LEN, 0),
            3 => (CREDIT_LEN, 0),
            4 => (0, 0),
            kind => return Err(FrameError::Kind(kind)),
        };
        if (fixed_len..=fixed_len + payload_max).contains(&body_len) {
            Ok(PREFIX_LEN + fixed_len)
        } else {
            Err(FrameError::Length)
        }
    }

    /// Reads a head of the right length.
    ///
    /// # Errors
    ///
    /// [`FrameError`].
    pub(super) fn parse(head: &[u8]) -> Result<Self, FrameError> {
        let (prefix, fixed) = head.split_first_chunk::<PREFIX_LEN>().ok_or(FrameError::Length)?;
        if Self::head_len(*prefix)? != head.len() {
            return Err(FrameError::Length);
        }
        let [kind, flags, high, low, check @ ..] = *prefix;
        let mut digest = CRC.digest();
        digest.update(&[kind, flags, high, low, 0, 0, 0, 0]);
        digest.update(fixed);
        let allowed_flags = if kind == 1 { AT_LEAST_ONCE | AGAIN | QUESTION } else { 0 };
        if digest.finalize().to_be_bytes() != check || flags & !allowed_flags != 0 {
            return Err(FrameError::Damaged);
        }
        let len = usize::from(u16::from_be_bytes([high, low])).saturating_sub(MESSAGE_LEN);
        let mut fields = In(fixed);
        let frame = (|| {
            Some(match kind {
                1 => Self::Message(Message {
                    stream: fields.u64()?,
                    number: fields.u64()?,
                    base: fields.u64()?,
                    due_us: fields.u64()?,
                    clock: fields.u64()?,
                    unix_us: fields.u64()?,
                    unix_error_us: fields.u32()?,
                    checksum: fields.u32()?,
                    len,
                    is_at_least_once: flags & AT_LEAST_ONCE != 0,
                    is_again: flags & AGAIN != 0,
                    is_question: flags & QUESTION != 0,
                }),
                2 => Self::Verdict {
                    stream: fields.u64()?,
                    number: fields.u64()?,
                    verdict: {
                        let [code] = fields.take()?;
                        Verdict::ALL.into_iter().find(|verdict| *verdict as u8 == code)?
                    },
                },
                3 => Self::Credit(fields.u32()?),
                _ => Self::Ping,
            })
        })();
        frame.ok_or(FrameError::Damaged)
    }
}

/// Fields to be read.
struct In<'a>(&'a [u8]);

impl In<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (field, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*field)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_be_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_be_bytes)
    }
}

/// Fields to be written.
struct Out<'a>(&'a mut [u8]);

impl Out<'_> {
    fn put<const N: usize>(&mut self, field: [u8; N]) {
        if let Some((to, rest)) = core::mem::take(&mut self.0).split_first_chunk_mut() {
            *to = field;
            self.0 = rest;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    fn any_message(random: &mut Random) -> Message {
        Message {
            stream: random.bits(),
            number: random.bits(),
            base: random.bits(),
            due_us: random.bits(),
            clock: random.bits(),
            unix_us: random.bits(),
            unix_error_us: random.bits() as u32,
            checksum: random.bits() as u32,
            len: random.below(PAYLOAD_LEN_MAX as u64 + 1) as usize,
            is_at_least_once: random.happens(500_000),
            is_again: random.happens(500_000),
            is_question: random.happens(500_000),
        }
    }

    fn any_frame(random: &mut Random) -> Frame {
        match random.below(4) {
            0 => Frame::Message(any_message(random)),
            1 => Frame::Verdict {
                stream: random.bits(),
                number: random.bits(),
                verdict: Verdict::ALL[random.below(5) as usize],
            },
            2 => Frame::Credit(random.bits() as u32),
            _ => Frame::Ping,
        }
    }

    #[test]
    fn every_frame_is_read_as_it_was_written_and_no_damage_goes_unnoticed() {
        let mut random = Random::new(4);
        for _ in 0..20_000 {
            let frame = any_frame(&mut random);
            let head = frame.head();
            assert_eq!(Frame::head_len(*head.first_chunk().unwrap()), Ok(head.len()));
            assert_eq!(Frame::parse(&head), Ok(frame));
            // A CRC finds every change of up to 32 bits in a row.
            let mut damaged = head.clone();
            let at = random.below(head.len() as u64) as usize;
            damaged[at] ^= 1 + random.below(255) as u8;
            let is_refused = Frame::head_len(*damaged.first_chunk().unwrap())
                .map_or(true, |len| len != damaged.len() || Frame::parse(&damaged).is_err());
            assert!(is_refused, "{damaged:?}");
            for len in 0..head.len() {
                assert!(Frame::parse(&head[..len]).is_err());
            }
        }
    }

    #[test]
    fn greetings_are_read_as_they_were_written_and_strangers_are_told_apart() {
        let mut random = Random::new(5);
        for _ in 0..5_000 {
            let hello = Hello {
                stage: Stage::ALL[random.below(4) as usize],
                want: [Want::Push, Want::Pull][random.below(2) as usize],
                refusal: [None, Some(Refusal::Version), Some(Refusal::Direction), Some(Refusal::TooLong)]
                    [random.below(4) as usize],
                len_max: random.bits() as u32,
                link: random.bits(),
                credit: random.bits() as u32,
                silence_ms: random.bits() as u32,
            };
            let bytes = hello.to_bytes();
            assert_eq!(Hello::parse(&bytes), Ok(hello));
            let mut damaged = bytes;
            damaged[random.below(32) as usize] ^= 1 + random.below(255) as u8;
            assert!(Hello::parse(&damaged).is_err());
            let noise: [u8; HELLO_LEN] = core::array::from_fn(|_| random.bits() as u8);
            assert_eq!(Hello::parse(&noise), Err(HelloError::Magic));
        }
        assert_eq!(Hello::parse(b"GET / HTTP/1.1\r\nHost: pi-2\r\n\r\n  "), Err(HelloError::Magic));
        let mut newer = [0; HELLO_LEN];
        newer[..5].copy_from_slice(b"MPPL\x02");
        assert_eq!(Hello::parse(&newer), Err(HelloError::Version(2)));
    }

    #[test]
    fn noise_is_never_a_frame() {
        let mut random = Random::new(6);
        let mut accepted = 0;
        for _ in 0..200_000 {
            let kind = random.below(6) as u8;
            let mut head: [u8; HEAD_LEN] = core::array::from_fn(|_| random.bits() as u8);
            head[0] = kind;
            if let Ok(len) = Frame::head_len(*head.first_chunk().unwrap()) {
                accepted += u32::from(Frame::parse(&head[..len]).is_ok());
            }
        }
        // One in four thousand million would be right by chance.
        assert_eq!(accepted, 0);
    }
}
