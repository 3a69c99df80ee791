//! Who may log in (RFC 4252): holders of accepted keys, under any user name.

use ed25519_dalek::{Signature, VerifyingKey};
use heapless::Vec;

use crate::host_key::{ED25519, PublicKey};
use crate::message;
use crate::wire::{Malformed, Reader};

/// Longest request whose signature is checked: enough for any user name that a person would type.
const SIGNED_LEN_MAX: usize = 1024;

/// What a client wants to log in with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Attempt<'a> {
    /// Nothing: it asks what there is.
    None,
    /// It asks whether it should sign with this key.
    Offer(PublicKey),
    /// It has signed with this key.
    Signed { key: PublicKey, request: &'a [u8], signature: [u8; 64] },
    /// Something that is not taken, such as a password or another kind of key.
    Other,
}

/// Reads a request to log in, which is the whole payload.
pub(crate) fn read(payload: &[u8]) -> Result<Attempt<'_>, Malformed> {
    let mut reader = Reader::new(payload);
    reader.byte()?;
    let (_user, service, method) = (reader.string()?, reader.string()?, reader.string()?);
    if service != b"ssh-connection" {
        return Ok(Attempt::Other);
    }
    match method {
        b"none" => Ok(Attempt::None),
        b"publickey" => {
            let is_signed = reader.boolean()?;
            let (algorithm, blob) = (reader.string()?, reader.string()?);
            let unsigned = reader;
            let Some(key) = read_typed(blob).map(PublicKey).filter(|_| algorithm == ED25519) else {
                return Ok(Attempt::Other);
            };
            if !is_signed {
                return Ok(Attempt::Offer(key));
            }
            let signature = read_typed(reader.string()?).ok_or(Malformed)?;
            let len = payload.len() - unsigned.rest().len();
            let request = payload.get(..len).ok_or(Malformed)?;
            Ok(Attempt::Signed { key, request, signature })
        }
        _ => Ok(Attempt::Other),
    }
}

/// Reads what stands behind the name of the algorithm, in a key or a signature; `None` if it is another one.
fn read_typed<const N: usize>(blob: &[u8]) -> Option<[u8; N]> {
    let mut reader = Reader::new(blob);
    let (name, value) = (reader.string().ok()?, reader.string().ok()?);
    (name == ED25519 && reader.rest().is_empty()).then_some(value)?.try_into().ok()
}

/// Returns whether the holder of `key` has signed the request in this session (RFC 4252, section 7).
pub(crate) fn is_signed(key: PublicKey, session: &[u8; 32], request: &[u8], signature: &[u8; 64]) -> bool {
    let mut signed: Vec<u8, { 4 + 32 + SIGNED_LEN_MAX }> = Vec::new();
    let is_whole = [&32_u32.to_be_bytes(), session.as_slice(), request]
        .into_iter()
        .all(|part| signed.extend_from_slice(part).is_ok());
    let Ok(key) = VerifyingKey::from_bytes(&key.0) else { return false };
    is_whole && key.verify_strict(&signed, &Signature::from_bytes(signature)).is_ok()
}

/// Methods that are offered after a failure.
pub(crate) const METHODS: &[u8] = b"publickey";
const _: () = assert!(message::USERAUTH_REQUEST == 50, "the signature covers the message's number");
