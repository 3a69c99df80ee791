//! Packets (RFC 4253, section 6): bytes from the network become payloads, payloads become bytes for the network.

use alloc::vec::Vec;
use core::ops::Range;

use zeroize::Zeroize;

use crate::cipher::{LENGTH_LEN, Seal, TAG_LEN_MAX};
use crate::connection::Error;
use crate::message;
use crate::random::Random;
use crate::wire::Writer;

/// Longest packet that has to be understood, without its tag (RFC 4253, section 6.1).
pub(crate) const PACKET_LEN_MAX: usize = 35_000;
/// Bytes that wait to be sent at most.
const OUTPUT_LEN: usize = 16 * 1024;
/// Least padding (RFC 4253, section 6).
const PADDING_LEN_MIN: usize = 4;
/// Shortest packet, with its length: 16 bytes (RFC 4253, section 6), of which ChaCha20 does not count the length.
const PACKET_LEN_MIN: usize = 12;
/// What a packet needs besides its payload, at most.
const OVERHEAD: usize = LENGTH_LEN + 1 + PADDING_LEN_MIN + 16 + TAG_LEN_MAX;
/// Bytes of messages that wait for the end of a key exchange: some answers, and changes of windows.
const DEFERRED_LEN: usize = 4096;

/// Makes a buffer, if there is memory for it.
fn buffer(len: usize) -> Option<Vec<u8>> {
    let mut buffer = Vec::new();
    buffer.try_reserve_exact(len).ok()?;
    buffer.resize(len, 0);
    Some(buffer)
}

/// Collects the bytes of one packet at a time.
pub(crate) struct Receiver {
    buffer: Vec<u8>,
    filled: usize,
    /// Bytes of the whole packet with its tag, once its length is known.
    whole: Option<usize>,
    /// Where in the buffer the payload is, once the packet is complete and open.
    payload: Option<Range<usize>>,
    seal: Seal,
    sequence: u32,
    /// Bytes since the last key exchange.
    pub(crate) bytes: u64,
}

impl Receiver {
    pub(crate) fn new() -> Option<Self> {
        Some(Self {
            buffer: buffer(PACKET_LEN_MAX + TAG_LEN_MAX)?,
            filled: 0,
            whole: None,
            payload: None,
            seal: Seal::None,
            sequence: 0,
            bytes: 0,
        })
    }

    /// Takes bytes that have come and returns how many: none while there is a payload.
    pub(crate) fn take(&mut self, bytes: &[u8]) -> Result<usize, Error> {
        let mut taken = 0;
        while self.payload.is_none() {
            let rest = bytes.get(taken..).unwrap_or_default();
            let missing = self.whole.unwrap_or(LENGTH_LEN).saturating_sub(self.filled);
            let len = missing.min(rest.len());
            if let (Some(to), Some(from)) = (self.buffer.get_mut(self.filled..self.filled + len), rest.get(..len)) {
                to.copy_from_slice(from);
            }
            self.filled += len;
            taken += len;
            if len < missing {
                break;
            }
            match self.whole {
                None => self.whole = Some(self.read_length()?),
                Some(whole) => self.open(whole)?,
            }
        }
        self.bytes += taken as u64;
        Ok(taken)
    }

    /// Returns the payload of a packet that has come; it stays until [`done`](Self::done).
    pub(crate) fn payload(&self) -> Option<&[u8]> {
        self.buffer.get(self.payload.clone()?)
    }

    /// Forgets the payload, and makes room for the next packet.
    pub(crate) fn done(&mut self) {
        self.payload = None;
        self.filled = 0;
        self.whole = None;
    }

    /// Returns the number of the packet whose payload there is.
    pub(crate) fn number(&self) -> u32 {
        self.sequence.wrapping_sub(1)
    }

    /// Opens what comes from now on with `seal`.
    pub(crate) fn change(&mut self, seal: Seal, is_strict: bool) {
        self.seal = seal;
        self.bytes = 0;
        if is_strict {
            self.sequence = 0;
        }
    }

    fn read_length(&self) -> Result<usize, Error> {
        let length = self.buffer.first_chunk().copied().unwrap_or_default();
        let len = self.seal.open_length(self.sequence, length) as usize;
        // The alignment, of what is encrypted, is that of the seal (RFC 4253, section 6).
        let is_aligned = (len.wrapping_add(self.seal.aligned_with())).is_multiple_of(self.seal.alignment());
        let whole = LENGTH_LEN + len;
        if !(PACKET_LEN_MIN..=PACKET_LEN_MAX).contains(&whole) || !is_aligned {
            return Err(Error::Length(len as u32));
        }
        Ok(whole + self.seal.tag_len())
    }

    fn open(&mut self, whole: usize) -> Result<(), Error> {
        let packet = self.buffer.get_mut(..whole).unwrap_or_default();
        let Some((packet, tag)) = packet.split_at_mut_checked(whole - self.seal.tag_len()) else {
            return Err(Error::Length(0));
        };
        if !self.seal.open(self.sequence, packet, tag) {
            return Err(Error::Tampered);
        }
        self.sequence = self.sequence.wrapping_add(1);
        let padding = packet.get(LENGTH_LEN).copied().map_or(0, usize::from);
        let start = LENGTH_LEN + 1;
        match packet.len().checked_sub(padding) {
            // An empty payload has no message number.
            Some(end) if padding >= PADDING_LEN_MIN && end > start => {
                self.payload = Some(start..end);
                Ok(())
            }
            _ => Err(Error::Padding(padding as u8)),
        }
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.buffer.zeroize();
    }
}

/// Makes packets.
pub(crate) struct Sender {
    buffer: Vec<u8>,
    /// What of the buffer waits to be sent.
    waiting: Range<usize>,
    /// Messages that wait for the end of a key exchange, each behind its length.
    deferred: Vec<u8>,
    /// Between our offer and our new keys nothing else may be sent (RFC 4253, section 7.1).
    is_exchanging: bool,
    seal: Seal,
    sequence: u32,
    /// Bytes since the last key exchange.
    pub(crate) bytes: u64,
    pub(crate) random: Random,
}

impl Sender {
    pub(crate) fn new(random: Random) -> Option<Self> {
        let mut deferred = Vec::new();
        deferred.try_reserve_exact(DEFERRED_LEN).ok()?;
        Some(Self {
            buffer: buffer(OUTPUT_LEN)?,
            waiting: 0..0,
            deferred,
            is_exchanging: false,
            seal: Seal::None,
            sequence: 0,
            bytes: 0,
            random,
        })
    }

    /// Returns the bytes that are to be sent.
    pub(crate) fn waiting(&self) -> &[u8] {
        self.buffer.get(self.waiting.clone()).unwrap_or_default()
    }

    /// Notes that the first `len` of the waiting bytes were sent.
    pub(crate) fn sent(&mut self, len: usize) {
        self.waiting.start = (self.waiting.start + len).min(self.waiting.end);
        if self.waiting.is_empty() {
            self.waiting = 0..0;
        }
    }

    /// Returns how long a payload may be that is sent now; 0 while keys are exchanged.
    pub(crate) fn room(&self) -> usize {
        if self.is_exchanging { 0 } else { self.free().saturating_sub(OVERHEAD) }
    }

    /// Returns how long a payload may be that takes part in a key exchange, or can wait.
    pub(crate) fn free(&self) -> usize {
        self.buffer.len() - self.waiting.len()
    }

    /// Puts bytes in front of all packets: the identification.
    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        if let Some(room) = self.buffer.get_mut(self.waiting.end..self.waiting.end + bytes.len()) {
            room.copy_from_slice(bytes);
            self.waiting.end += bytes.len();
        }
    }

    /// Sends the payload that `write` makes, or keeps it until the key exchange is over.
    pub(crate) fn send(&mut self, write: &mut dyn FnMut(&mut Writer<'_>)) -> Result<(), Error> {
        if !self.is_exchanging {
            return self.send_now(write);
        }
        let mut payload = [0; 512];
        let mut writer = Writer::new(&mut payload);
        write(&mut writer);
        let len = writer.finish().ok_or(Error::OutputFull)?;
        if self.deferred.len() + 2 + len > DEFERRED_LEN {
            return Err(Error::OutputFull);
        }
        self.deferred.extend_from_slice(&(len as u16).to_be_bytes());
        self.deferred.extend_from_slice(payload.get(..len).unwrap_or_default());
        Ok(())
    }

    /// Sends a payload that takes part in a key exchange, or may stand between.
    pub(crate) fn send_now(&mut self, write: &mut dyn FnMut(&mut Writer<'_>)) -> Result<(), Error> {
        if self.waiting.start > 0 {
            self.buffer.copy_within(self.waiting.clone(), 0);
            self.waiting = 0..self.waiting.len();
        }
        let start = self.waiting.end;
        let room = self.buffer.get_mut(start..).unwrap_or_default();
        // Length and padding's length come when they are known.
        let mut writer = Writer::new(room.get_mut(LENGTH_LEN + 1..).unwrap_or_default());
        write(&mut writer);
        let len = writer.finish().ok_or(Error::OutputFull)?;
        let alignment = self.seal.alignment();
        let unpadded = self.seal.aligned_with() + 1 + len;
        let mut padding = alignment - unpadded % alignment;
        if padding < PADDING_LEN_MIN {
            padding += alignment;
        }
        let packet_len = LENGTH_LEN + 1 + len + padding;
        let whole = room.get_mut(..packet_len + self.seal.tag_len()).ok_or(Error::OutputFull)?;
        let (packet, tag) = whole.split_at_mut(packet_len);
        let mut header = Writer::new(packet);
        header.number((packet_len - LENGTH_LEN) as u32);
        header.byte(padding as u8);
        self.random.fill(packet.get_mut(packet_len - padding..).unwrap_or_default());
        let (made, tag_len) = self.seal.seal(self.sequence, packet);
        tag.iter_mut().zip(made).for_each(|(to, from)| *to = from);
        self.sequence = self.sequence.wrapping_add(1);
        self.waiting.end += packet_len + tag_len;
        self.bytes += (packet_len + tag_len) as u64;
        Ok(())
    }

    /// Sends our offer; until [`change`](Self::change) nothing but the key exchange is sent.
    pub(crate) fn start_exchange(&mut self, write: &mut dyn FnMut(&mut Writer<'_>)) -> Result<(), Error> {
        self.is_exchanging = true;
        self.send_now(write)
    }

    /// Forgets an exchange that was begun.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn stop_exchange(&mut self) {
        self.is_exchanging = false;
    }

    /// Tells that new keys are used from now on, and uses them.
    pub(crate) fn change(&mut self, seal: Seal, is_strict: bool) -> Result<(), Error> {
        self.send_now(&mut |out| out.byte(message::NEWKEYS))?;
        self.seal = seal;
        self.bytes = 0;
        if is_strict {
            self.sequence = 0;
        }
        Ok(())
    }

    /// Sends what had to wait for the end of the key exchange.
    pub(crate) fn end_exchange(&mut self) -> Result<(), Error> {
        self.is_exchanging = false;
        let mut deferred = core::mem::take(&mut self.deferred);
        let mut rest = deferred.as_slice();
        while let Some((len, behind)) = rest.split_first_chunk() {
            let len = usize::from(u16::from_be_bytes(*len));
            let Some((payload, behind)) = behind.split_at_checked(len) else { break };
            self.send_now(&mut |out| out.bytes(payload))?;
            rest = behind;
        }
        deferred.clear();
        self.deferred = deferred;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cipher::Material;
    use crate::negotiate::Cipher;

    fn pair(cipher: Option<Cipher>) -> (Sender, Receiver) {
        let mut sender = Sender::new(Random::new([1; 32])).unwrap();
        let mut receiver = Receiver::new().unwrap();
        if let Some(cipher) = cipher {
            let material = Material { key: core::array::from_fn(|i| i as u8), iv: [9; 16], mac: [3; 32] };
            sender.change(Seal::new(cipher, &material), true).unwrap();
            sender.sent(sender.waiting().len());
            receiver.change(Seal::new(cipher, &material), true);
        }
        (sender, receiver)
    }

    const CIPHERS: [Option<Cipher>; 3] = [None, Some(Cipher::ChaCha20Poly1305), Some(Cipher::Aes256Ctr)];

    #[test]
    fn payloads_arrive_whole_however_the_bytes_come() {
        for cipher in CIPHERS {
            for step in [1, 3, 7, 4096] {
                let (mut sender, mut receiver) = pair(cipher);
                let payloads: Vec<Vec<u8>> = (1..60).map(|len| vec![len as u8; len * 3]).collect();
                payloads.iter().for_each(|payload| sender.send(&mut |out| out.bytes(payload)).unwrap());
                let wire = sender.waiting().to_vec();
                let mut got = Vec::new();
                let mut rest = wire.as_slice();
                while !rest.is_empty() {
                    let taken = receiver.take(&rest[..step.min(rest.len())]).unwrap();
                    rest = &rest[taken..];
                    if let Some(payload) = receiver.payload() {
                        got.push(payload.to_vec());
                        receiver.done();
                    }
                }
                assert_eq!(got, payloads, "{cipher:?} {step}");
            }
        }
    }

    #[test]
    fn a_changed_bit_anywhere_is_noticed() {
        for cipher in [Cipher::ChaCha20Poly1305, Cipher::Aes256Ctr] {
            let (mut sender, _) = pair(Some(cipher));
            sender.send(&mut |out| out.string(b"something")).unwrap();
            let wire = sender.waiting().to_vec();
            // A changed length may ask for more than there is; it is noticed when that has come.
            for at in 0..wire.len() * 8 {
                let mut changed = wire.clone();
                changed[at / 8] ^= 1 << (at % 8);
                changed.resize(PACKET_LEN_MAX * 2, 0);
                let (_, mut receiver) = pair(Some(cipher));
                let result = receiver.take(&changed);
                assert!(matches!(result, Err(Error::Tampered | Error::Length(_))), "{cipher:?} {at} {result:?}");
            }
        }
    }

    #[test]
    fn lengths_that_cannot_be_are_refused() {
        for len in [0_u32, 3, 4, 11, 13, 35_000, 0x5353_482d, u32::MAX] {
            let (_, mut receiver) = pair(None);
            assert_eq!(receiver.take(&len.to_be_bytes()), Err(Error::Length(len)));
        }
        let (_, mut receiver) = pair(None);
        let mut packet = [0; 16];
        packet[3] = 12;
        packet[4] = 12;
        assert_eq!(receiver.take(&packet), Err(Error::Padding(12)));
        packet[4] = 3;
        let (_, mut receiver) = pair(None);
        assert_eq!(receiver.take(&packet), Err(Error::Padding(3)));
    }

    #[test]
    fn during_a_key_exchange_other_messages_wait() {
        let (mut sender, mut receiver) = pair(None);
        sender.start_exchange(&mut |out| out.byte(message::KEXINIT)).unwrap();
        sender.send(&mut |out| out.bytes(b"later")).unwrap();
        assert_eq!(sender.room(), 0);
        sender.change(Seal::None, false).unwrap();
        sender.end_exchange().unwrap();
        let wire = sender.waiting().to_vec();
        let mut rest = wire.as_slice();
        let mut got = Vec::new();
        while !rest.is_empty() {
            rest = &rest[receiver.take(rest).unwrap()..];
            got.push(receiver.payload().unwrap().to_vec());
            receiver.done();
        }
        assert_eq!(got, [vec![message::KEXINIT], vec![message::NEWKEYS], b"later".to_vec()]);
    }

    #[test]
    fn a_full_buffer_is_no_panic() {
        let (mut sender, _) = pair(None);
        let big = [0; 1000];
        let sent = (0..100).take_while(|_| sender.send(&mut |out| out.bytes(&big)).is_ok()).count();
        assert_eq!(sent, 16);
        assert!(sender.free() < 1100);
    }
}
