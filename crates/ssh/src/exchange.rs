//! The key exchange (RFC 4253, sections 7 and 8; RFC 8731; draft-ietf-sshm-mlkem-hybrid-kex), the server's side of it.
//!
//! Each multiplication on the curve takes a good part of a millisecond on a Pi, and more in an emulator. So the work is cut into
//! steps, between which others get their turn.

use alloc::boxed::Box;

use curve25519_dalek::MontgomeryPoint;
use ml_kem::kem::EncapsulationKey;
use ml_kem::{B32, MlKem768};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

use crate::cipher::Material;
use crate::connection::Error;
use crate::host_key::{HostKey, SIGNATURE_LEN};
use crate::negotiate::{Agreed, Exchange};
use crate::random::Random;
use crate::wire::{Reader, Writer, mpint};

/// Bytes of a point of Curve25519.
const POINT_LEN: usize = 32;
/// Bytes of a public key of ML-KEM-768 (FIPS 203, table 3).
const KEM_KEY_LEN: usize = 1184;
/// Bytes of a ciphertext of ML-KEM-768 (FIPS 203, table 3).
const KEM_CIPHERTEXT_LEN: usize = 1088;

/// A key exchange after both offers.
pub(crate) struct KeyExchange {
    pub(crate) agreed: Agreed,
    /// Has seen both identifications and both offers.
    hash: Sha256,
    step: Step,
    secret: Zeroizing<[u8; POINT_LEN]>,
    /// Our point.
    public: [u8; POINT_LEN],
    /// What X25519 gives.
    shared: Zeroizing<[u8; POINT_LEN]>,
    kem: Option<Box<Encapsulated>>,
}

/// What ML-KEM gives.
struct Encapsulated {
    ciphertext: [u8; KEM_CIPHERTEXT_LEN],
    secret: Zeroizing<[u8; 32]>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    MakePoint,
    MeetPoint,
    Encapsulate,
    Sign,
}

/// What a key exchange gives.
pub(crate) struct Keys {
    /// Has seen `K || H`.
    prefix: Sha256,
    /// The exchange hash, H.
    pub(crate) hash: [u8; 32],
}

/// What becomes of a step.
pub(crate) enum Progress {
    /// There is another one.
    More,
    /// All is known: keys, and the signature of the exchange.
    Done(Box<(Keys, [u8; SIGNATURE_LEN])>),
}

impl KeyExchange {
    /// Begins the exchange that follows the offers; `hash` has seen the identifications and the offers.
    pub(crate) fn new(agreed: Agreed, hash: Sha256, random: &mut Random) -> Self {
        Self {
            agreed,
            hash,
            step: Step::MakePoint,
            secret: Zeroizing::new(random.array()),
            public: [0; POINT_LEN],
            shared: Zeroizing::new([0; POINT_LEN]),
            kem: None,
        }
    }

    /// Does one step for the client's message, which is the whole payload.
    pub(crate) fn step(&mut self, message: &[u8], host_key: &HostKey, random: &mut Random) -> Result<Progress, Error> {
        let mut reader = Reader::new(message);
        reader.byte()?;
        let theirs = reader.string()?;
        let kem_len = match self.agreed.exchange {
            Exchange::X25519 => 0,
            Exchange::MlKem768X25519 => KEM_KEY_LEN,
        };
        let (kem_key, point) = theirs.split_at_checked(kem_len).ok_or(Error::BadKey)?;
        let point: [u8; POINT_LEN] = point.try_into().map_err(|_| Error::BadKey)?;
        match self.step {
            Step::MakePoint => {
                self.public = MontgomeryPoint::mul_base_clamped(*self.secret).to_bytes();
                self.step = Step::MeetPoint;
            }
            Step::MeetPoint => {
                *self.shared = MontgomeryPoint(point).mul_clamped(*self.secret).to_bytes();
                self.secret.zeroize();
                // A point of small order gives zeros, which would be no secret (RFC 8731, section 3).
                if self.shared.ct_eq(&[0; POINT_LEN]).into() {
                    return Err(Error::BadKey);
                }
                self.step = match self.agreed.exchange {
                    Exchange::X25519 => Step::Sign,
                    Exchange::MlKem768X25519 => Step::Encapsulate,
                };
            }
            Step::Encapsulate => {
                let key = kem_key.try_into().map_err(|_| Error::BadKey)?;
                let key = EncapsulationKey::<MlKem768>::new(key).map_err(|_| Error::BadKey)?;
                let mut chance = B32::from(random.array::<32>());
                let (ciphertext, secret) = key.encapsulate_deterministic(&chance);
                chance.zeroize();
                let encapsulated =
                    Encapsulated { ciphertext: ciphertext.into(), secret: Zeroizing::new(secret.into()) };
                self.kem = Some(Box::new(encapsulated));
                self.step = Step::Sign;
            }
            Step::Sign => return Ok(Progress::Done(Box::new(self.finish(theirs, host_key)))),
        }
        Ok(Progress::More)
    }

    /// Writes our public values, as a string.
    pub(crate) fn write_public(&self, out: &mut Writer<'_>) {
        let (kem, len) = self.ciphertext();
        out.number(len as u32);
        out.bytes(kem);
        out.bytes(&self.public);
    }

    fn ciphertext(&self) -> (&[u8], usize) {
        let kem = self.kem.as_ref().map_or(&[][..], |kem| &kem.ciphertext);
        (kem, kem.len() + POINT_LEN)
    }

    fn finish(&mut self, theirs: &[u8], host_key: &HostKey) -> (Keys, [u8; SIGNATURE_LEN]) {
        let mut hash = self.hash.clone();
        hash_string(&mut hash, &[&host_key.public().blob()]);
        hash_string(&mut hash, &[theirs]);
        hash_string(&mut hash, &[self.ciphertext().0, &self.public]);
        // The draft, section 2.4: K = HASH(K_PQ || K_CL), as a string; RFC 8731, section 3.1: an mpint.
        let combined = self.kem.as_ref().map(|kem| {
            Zeroizing::<[u8; 32]>::new(
                Sha256::new().chain_update(kem.secret.as_slice()).chain_update(*self.shared).finalize().into(),
            )
        });
        let feed = |hash: &mut Sha256| match &combined {
            Some(secret) => hash_string(hash, &[secret.as_slice()]),
            None => mpint(self.shared.as_slice(), &mut |part| hash.update(part)),
        };
        feed(&mut hash);
        let hash: [u8; 32] = hash.finalize().into();
        let mut prefix = Sha256::new();
        feed(&mut prefix);
        prefix.update(hash);
        let signature = host_key.sign(&hash);
        (Keys { prefix, hash }, signature)
    }
}

impl Keys {
    /// Derives the keys of one direction (RFC 4253, section 7.2): each has a letter, and the other direction's the next one.
    pub(crate) fn material(&self, session: &[u8; 32], is_inbound: bool) -> Material {
        let shift = u8::from(!is_inbound);
        let mut iv = [0; 16];
        iv.iter_mut().zip(self.derive(b'A' + shift, session).iter()).for_each(|(to, from)| *to = *from);
        let first = self.derive(b'C' + shift, session);
        let second: Zeroizing<[u8; 32]> =
            Zeroizing::new(self.prefix.clone().chain_update(first.as_slice()).finalize().into());
        let mut key = [0; 64];
        key.iter_mut().zip(first.iter().chain(second.iter())).for_each(|(to, from)| *to = *from);
        Material { key, iv, mac: *self.derive(b'E' + shift, session) }
    }

    fn derive(&self, letter: u8, session: &[u8; 32]) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.prefix.clone().chain_update([letter]).chain_update(session).finalize().into())
    }
}

/// Hashes a string that is in several parts.
pub(crate) fn hash_string(hash: &mut Sha256, parts: &[&[u8]]) {
    let len: usize = parts.iter().map(|part| part.len()).sum();
    hash.update((len as u32).to_be_bytes());
    parts.iter().for_each(|part| hash.update(part));
}
