//! The node's own key, by which its users know it.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use base64ct::{Base64, Base64Unpadded, Encoding};
use ed25519_dalek::{Signer, SigningKey};
use hkdf::Hkdf;
use sha2::{Digest, Sha256};

use crate::random::Random;

/// Name of the algorithm (RFC 8709, section 4).
pub(crate) const ED25519: &[u8] = b"ssh-ed25519";
/// Bytes of a public key with its type (RFC 8709, section 4).
pub(crate) const BLOB_LEN: usize = 4 + ED25519.len() + 4 + 32;
/// Bytes of a signature with its type (RFC 8709, section 6).
pub(crate) const SIGNATURE_LEN: usize = 4 + ED25519.len() + 4 + 64;
/// Sets this use of the rack's secret apart from others.
const PURPOSE: &[u8] = b"minipirack ssh host key 1";

/// A public Ed25519 key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublicKey(pub [u8; 32]);

impl PublicKey {
    /// Returns the key as it is sent (RFC 8709, section 4).
    pub(crate) fn blob(&self) -> [u8; BLOB_LEN] {
        with_type(&self.0)
    }

    /// Returns the key as it stands in files of OpenSSH: `ssh-ed25519 AAAA...`.
    #[must_use]
    pub fn to_openssh(&self) -> String {
        let mut buffer = [0; BLOB_LEN.div_ceil(3) * 4];
        // The buffer has the right length.
        let text = Base64::encode(&self.blob(), &mut buffer).unwrap_or_default();
        ["ssh-ed25519 ", text].concat()
    }

    /// Returns the key's fingerprint, `SHA256:` and 43 characters, as `ssh-keygen -l` shows it.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint(Sha256::digest(self.blob()).into())
    }
}

/// Shows itself as `ssh-keygen -l` does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint([u8; 32]);

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut buffer = [0; 43];
        let text = Base64Unpadded::encode(&self.0, &mut buffer).map_err(|_| fmt::Error)?;
        write!(f, "SHA256:{text}")
    }
}

/// The node's own key.
pub struct HostKey(SigningKey);

impl HostKey {
    /// Derives the key of one node from the rack's secret: the same one after every start, and another one on every node.
    ///
    /// By HKDF-SHA256 (RFC 5869) with `board`, which tells the node from all others, as its context.
    #[must_use]
    pub fn derive(secret: &[u8], board: &[u8]) -> Self {
        let mut seed = [0; 32];
        // Fails for more than 8 kB.
        let _ = Hkdf::<Sha256>::new(Some(PURPOSE), secret).expand(board, &mut seed);
        Self(SigningKey::from_bytes(&seed))
    }

    /// Derives the key of a board: from its serial number (0 if it has none), its Ethernet address (zeros if the firmware has
    /// told none), and its name. The name counts only for an emulated board, which has no serial number and the address of
    /// all others.
    #[must_use]
    pub fn of_board(secret: &[u8], serial: u64, mac: [u8; 6], name: &str) -> Self {
        let mut context = Vec::from(serial.to_be_bytes());
        context.extend_from_slice(&mac);
        if serial == 0 {
            context.extend_from_slice(name.as_bytes());
        }
        Self::derive(secret, &context)
    }

    /// Makes up a key.
    #[must_use]
    pub fn random(random: &mut Random) -> Self {
        Self(SigningKey::from_bytes(&random.array()))
    }

    /// Returns its public half.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key().to_bytes())
    }

    /// Signs `message`; the result is as it is sent (RFC 8709, section 6).
    pub(crate) fn sign(&self, message: &[u8]) -> [u8; SIGNATURE_LEN] {
        with_type(&self.0.sign(message).to_bytes())
    }
}

/// Puts the algorithm's name before a key or a signature, each with its length.
fn with_type<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut blob = [0; N];
    let mut writer = crate::wire::Writer::new(&mut blob);
    writer.string(ED25519);
    writer.string(bytes);
    debug_assert_eq!(writer.finish(), Some(N));
    blob
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_are_those_of_ssh_keygen() {
        // Shown by `ssh-keygen -l` of OpenSSH 9.2 for this key.
        let line = include_str!("../tests/keys/example.pub");
        let expected = include_str!("../tests/keys/example.fingerprint");
        let mut blob = [0; BLOB_LEN];
        Base64::decode(line.split(' ').nth(1).unwrap(), &mut blob).unwrap();
        let key = PublicKey(blob[BLOB_LEN - 32..].try_into().unwrap());
        assert_eq!(key.blob(), blob);
        assert_eq!(key.fingerprint().to_string(), expected.trim());
        assert_eq!(key.to_openssh(), line.trim().trim_end_matches(" example"));
    }

    #[test]
    fn a_derived_key_depends_on_secret_and_board() {
        let key = |secret: &str, board: &str| HostKey::derive(secret.as_bytes(), board.as_bytes()).public();
        assert_eq!(key("secret", "a"), key("secret", "a"));
        assert_ne!(key("secret", "a"), key("secret", "b"));
        assert_ne!(key("secret", "a"), key("secreT", "a"));
        let board = |serial, mac, name: &str| HostKey::of_board(b"secret", serial, [mac; 6], name).public();
        // The name of a real board may change; emulated ones have nothing else.
        assert_eq!(board(1, 2, "a"), board(1, 2, "b"));
        assert_ne!(board(0, 2, "a"), board(0, 2, "b"));
        assert_ne!(board(1, 2, "a"), board(1, 3, "a"));
        assert_ne!(board(1, 2, "a"), board(2, 2, "a"));
    }
}
