//! How packets are sealed and opened.
//!
//! A packet on the wire is `length || body || tag`, where the body begins with the number of padding bytes. The three ways
//! differ in whether the length is encrypted, how bodies are aligned, and in the tag.

use aes::Aes256;
use chacha20::ChaCha20Legacy;
use chacha20::cipher::{KeyIvInit, StreamCipher, StreamCipherSeek};
use ctr::Ctr128BE;
use hmac::{Hmac, KeyInit, Mac};
use poly1305::Poly1305;
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::Zeroize;

use crate::negotiate::Cipher;

/// Bytes of a packet's length.
pub(crate) const LENGTH_LEN: usize = 4;
/// Longest tag.
pub(crate) const TAG_LEN_MAX: usize = 32;
/// Bytes of the stream before the body's: the key of the tag is the first half of the block 0.
const CHACHA_BODY_AT: u64 = 64;

/// Keys for one direction, as the key exchange gives them.
pub(crate) struct Material {
    /// For ChaCha20 the key of the bodies, then the key of the lengths; for AES the first half only.
    pub(crate) key: [u8; 64],
    pub(crate) iv: [u8; 16],
    pub(crate) mac: [u8; 32],
}

impl Drop for Material {
    fn drop(&mut self) {
        self.key.zeroize();
        self.iv.zeroize();
        self.mac.zeroize();
    }
}

/// A seal for one direction.
pub(crate) enum Seal {
    /// Before the first key exchange.
    None,
    /// OpenSSH, PROTOCOL.chacha20poly1305.
    ChaCha20Poly1305 { body: [u8; 32], length: [u8; 32] },
    /// OpenSSH, PROTOCOL, section 1.6, "-etm"; RFC 4344, section 4.
    Aes256CtrHmac { stream: Box<Ctr128BE<Aes256>>, mac: [u8; 32] },
}

use alloc::boxed::Box;

impl Seal {
    pub(crate) fn new(cipher: Cipher, material: &Material) -> Self {
        match cipher {
            Cipher::ChaCha20Poly1305 => {
                let (mut body, mut length) = ([0; 32], [0; 32]);
                for (to, from) in body.iter_mut().chain(&mut length).zip(&material.key) {
                    *to = *from;
                }
                Self::ChaCha20Poly1305 { body, length }
            }
            Cipher::Aes256Ctr => {
                let mut key = [0; 32];
                key.iter_mut().zip(&material.key).for_each(|(to, from)| *to = *from);
                let stream = Box::new(Ctr128BE::new(&key.into(), &material.iv.into()));
                key.zeroize();
                Self::Aes256CtrHmac { stream, mac: material.mac }
            }
        }
    }

    /// Returns the multiple of which the length of a body is, in bytes.
    pub(crate) fn alignment(&self) -> usize {
        match self {
            Self::None | Self::ChaCha20Poly1305 { .. } => 8,
            Self::Aes256CtrHmac { .. } => 16,
        }
    }

    /// Returns how many bytes besides the body count for its alignment.
    pub(crate) fn aligned_with(&self) -> usize {
        match self {
            Self::None => LENGTH_LEN,
            Self::ChaCha20Poly1305 { .. } | Self::Aes256CtrHmac { .. } => 0,
        }
    }

    pub(crate) fn tag_len(&self) -> usize {
        match self {
            Self::None => 0,
            Self::ChaCha20Poly1305 { .. } => 16,
            Self::Aes256CtrHmac { .. } => 32,
        }
    }

    /// Reads the length of packet number `sequence`.
    pub(crate) fn open_length(&self, sequence: u32, mut length: [u8; LENGTH_LEN]) -> u32 {
        if let Self::ChaCha20Poly1305 { length: key, .. } = self {
            chacha(key, sequence).apply_keystream(&mut length);
        }
        u32::from_be_bytes(length)
    }

    /// Encrypts packet number `sequence`, which is its length and its body, and returns its tag with the tag's length.
    pub(crate) fn seal(&mut self, sequence: u32, packet: &mut [u8]) -> ([u8; TAG_LEN_MAX], usize) {
        let mut tag = [0; TAG_LEN_MAX];
        let Some((length, body)) = packet.split_at_mut_checked(LENGTH_LEN) else { return (tag, 0) };
        match self {
            Self::None => {}
            Self::ChaCha20Poly1305 { body: body_key, length: length_key } => {
                chacha(length_key, sequence).apply_keystream(length);
                let (tag_key, mut stream) = chacha_body(body_key, sequence);
                stream.apply_keystream(body);
                copy(&mut tag, &poly(&tag_key, packet));
            }
            Self::Aes256CtrHmac { stream, mac } => {
                stream.apply_keystream(body);
                copy(&mut tag, &hmac(mac, sequence, packet));
            }
        }
        (tag, self.tag_len())
    }

    /// Checks the tag of packet number `sequence`, then decrypts its body. False if the tag is wrong: then nothing of it counts.
    #[must_use]
    pub(crate) fn open(&mut self, sequence: u32, packet: &mut [u8], tag: &[u8]) -> bool {
        match self {
            Self::None => true,
            Self::ChaCha20Poly1305 { body: key, .. } => {
                let (tag_key, mut stream) = chacha_body(key, sequence);
                let is_good: bool = poly(&tag_key, packet).ct_eq(tag).into();
                if is_good {
                    stream.apply_keystream(packet.get_mut(LENGTH_LEN..).unwrap_or_default());
                }
                is_good
            }
            Self::Aes256CtrHmac { stream, mac } => {
                let is_good: bool = hmac(mac, sequence, packet).ct_eq(tag).into();
                if is_good {
                    stream.apply_keystream(packet.get_mut(LENGTH_LEN..).unwrap_or_default());
                }
                is_good
            }
        }
    }
}

impl Drop for Seal {
    fn drop(&mut self) {
        match self {
            Self::None => {}
            Self::ChaCha20Poly1305 { body, length } => {
                body.zeroize();
                length.zeroize();
            }
            // The stream wipes itself.
            Self::Aes256CtrHmac { mac, .. } => mac.zeroize(),
        }
    }
}

fn chacha(key: &[u8; 32], sequence: u32) -> ChaCha20Legacy {
    ChaCha20Legacy::new(key.into(), &u64::from(sequence).to_be_bytes().into())
}

/// Returns the key of the tag and the stream for the body.
fn chacha_body(key: &[u8; 32], sequence: u32) -> ([u8; 32], ChaCha20Legacy) {
    let mut stream = chacha(key, sequence);
    let mut tag_key = [0; 32];
    stream.apply_keystream(&mut tag_key);
    stream.seek(CHACHA_BODY_AT);
    (tag_key, stream)
}

fn poly(key: &[u8; 32], packet: &[u8]) -> [u8; 16] {
    Poly1305::new(key.into()).compute_unpadded(packet).into()
}

fn hmac(key: &[u8; 32], sequence: u32, packet: &[u8]) -> [u8; 32] {
    let Ok(mut mac) = <Hmac<Sha256> as KeyInit>::new_from_slice(key) else { return [0; 32] };
    mac.update(&sequence.to_be_bytes());
    mac.update(packet);
    mac.finalize().into_bytes().into()
}

fn copy(to: &mut [u8], from: &[u8]) {
    to.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
}
