//! Which algorithms a connection uses (RFC 4253, section 7.1).

use crate::connection::Error;
use crate::message;
use crate::wire::{Malformed, Reader, Writer};

/// How the keys are agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exchange {
    /// ML-KEM-768 and X25519 (draft-ietf-sshm-mlkem-hybrid-kex): safe from a computer that breaks one of them.
    MlKem768X25519,
    /// X25519 (RFC 8731).
    X25519,
}

/// How packets are sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cipher {
    /// `chacha20-poly1305@openssh.com`.
    ChaCha20Poly1305,
    /// AES-256 in counter mode (RFC 4344, section 4) with HMAC-SHA2-256 (RFC 6668), encrypt then MAC.
    Aes256Ctr,
}

const EXCHANGES: &str =
    "mlkem768x25519-sha256,curve25519-sha256,curve25519-sha256@libssh.org,kex-strict-s-v00@openssh.com";
const HOST_KEYS: &str = "ssh-ed25519";
const CIPHERS: &str = "chacha20-poly1305@openssh.com,aes256-ctr";
/// For ciphers that need one.
const MACS: &str = "hmac-sha2-256-etm@openssh.com";
const NONE: &str = "none";
/// The client knows the countermeasures against prefix truncation (OpenSSH, PROTOCOL, section 1.10).
const STRICT_CLIENT: &str = "kex-strict-c-v00@openssh.com";
/// The client wants to know what signatures we take (RFC 8308, section 2.1).
const EXTENSIONS_CLIENT: &str = "ext-info-c";

/// What both sides will use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Agreed {
    pub(crate) exchange: Exchange,
    /// From the client to us.
    pub(crate) inbound: Cipher,
    /// From us to the client.
    pub(crate) outbound: Cipher,
    pub(crate) is_strict: bool,
    pub(crate) has_extensions: bool,
    /// The client has sent a first message for an algorithm that was not chosen: it is to be left out.
    pub(crate) is_guess_wrong: bool,
}

/// Writes our offer.
pub(crate) fn write_offer(cookie: &[u8; 16], out: &mut Writer<'_>) {
    out.byte(message::KEXINIT);
    out.bytes(cookie);
    for list in [EXCHANGES, HOST_KEYS, CIPHERS, CIPHERS, MACS, MACS, NONE, NONE, "", ""] {
        out.string(list.as_bytes());
    }
    out.boolean(false);
    out.number(0);
}

/// Chooses from the client's offer, which is the whole message: for each purpose the first of the client's that we have too.
pub(crate) fn choose(offer: &[u8]) -> Result<Agreed, Error> {
    let mut reader = Reader::new(offer);
    let (_number, _cookie): (u8, [u8; 16]) = (reader.byte()?, reader.array()?);
    let exchanges = reader.text()?;
    let host_keys = reader.text()?;
    let [cipher_in, cipher_out] = [reader.text()?, reader.text()?];
    let [mac_in, mac_out] = [reader.text()?, reader.text()?];
    let compressions = [reader.text()?, reader.text()?];
    let _languages = [reader.text()?, reader.text()?];
    let has_guess = reader.boolean()?;
    if reader.number().is_err() || !reader.rest().is_empty() {
        return Err(Malformed.into());
    }
    let exchange = match first_common(exchanges, EXCHANGES) {
        Some("mlkem768x25519-sha256") => Exchange::MlKem768X25519,
        Some("curve25519-sha256" | "curve25519-sha256@libssh.org") => Exchange::X25519,
        _ => return Err(Error::NoCommon("key exchange")),
    };
    first_common(host_keys, HOST_KEYS).ok_or(Error::NoCommon("host key"))?;
    for list in compressions {
        first_common(list, NONE).ok_or(Error::NoCommon("compression"))?;
    }
    let cipher = |ciphers, macs| match first_common(ciphers, CIPHERS) {
        Some("aes256-ctr") => first_common(macs, MACS).map(|_| Cipher::Aes256Ctr).ok_or(Error::NoCommon("MAC")),
        Some(_) => Ok(Cipher::ChaCha20Poly1305),
        None => Err(Error::NoCommon("cipher")),
    };
    let has = |name| names(exchanges).any(|known| known == name);
    let is_guess_right =
        names(exchanges).next() == names(EXCHANGES).next() && names(host_keys).next() == names(HOST_KEYS).next();
    Ok(Agreed {
        exchange,
        inbound: cipher(cipher_in, mac_in)?,
        outbound: cipher(cipher_out, mac_out)?,
        is_strict: has(STRICT_CLIENT),
        has_extensions: has(EXTENSIONS_CLIENT),
        is_guess_wrong: has_guess && !is_guess_right,
    })
}

fn names(list: &str) -> impl Iterator<Item = &str> {
    list.split(',')
}

/// Returns the first of the client's names that is also one of ours. Markers, which both sides never share, are none.
fn first_common<'a>(theirs: &'a str, ours: &str) -> Option<&'a str> {
    names(theirs).find(|name| !name.is_empty() && names(ours).any(|known| known == *name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer(lists: [&str; 8], has_guess: bool) -> Vec<u8> {
        let mut buffer = vec![0; 2000];
        let mut out = Writer::new(&mut buffer);
        out.byte(message::KEXINIT);
        out.bytes(&[0; 16]);
        lists.iter().for_each(|list| out.string(list.as_bytes()));
        out.string(b"");
        out.string(b"");
        out.boolean(has_guess);
        out.number(0);
        let len = out.finish().unwrap();
        buffer.truncate(len);
        buffer
    }

    const CHACHA: &str = "chacha20-poly1305@openssh.com";

    #[test]
    fn the_clients_order_counts() {
        let kex = "sntrup761x25519-sha512@openssh.com,curve25519-sha256,mlkem768x25519-sha256,ext-info-c";
        let lists = [kex, "rsa-sha2-256,ssh-ed25519", "aes256-ctr,x", CHACHA, MACS, "", "none", "zlib,none"];
        let agreed = choose(&offer(lists, true)).unwrap();
        let expected = Agreed {
            exchange: Exchange::X25519,
            inbound: Cipher::Aes256Ctr,
            outbound: Cipher::ChaCha20Poly1305,
            is_strict: false,
            has_extensions: true,
            is_guess_wrong: true,
        };
        assert_eq!(agreed, expected);
    }

    #[test]
    fn a_right_guess_is_not_left_out() {
        let kex = "mlkem768x25519-sha256,kex-strict-c-v00@openssh.com";
        let agreed = choose(&offer([kex, HOST_KEYS, CHACHA, CHACHA, "", "", NONE, NONE], true)).unwrap();
        assert_eq!((agreed.exchange, agreed.is_strict, agreed.is_guess_wrong), (Exchange::MlKem768X25519, true, false));
    }

    #[test]
    fn what_is_missing_is_named() {
        let good = ["curve25519-sha256", HOST_KEYS, "aes256-ctr", "aes256-ctr", MACS, MACS, NONE, NONE];
        let names = ["key exchange", "host key", "cipher", "cipher", "MAC", "MAC", "compression", "compression"];
        for (at, name) in names.into_iter().enumerate() {
            let mut lists = good;
            lists[at] = "something,else";
            assert_eq!(choose(&offer(lists, false)), Err(Error::NoCommon(name)));
        }
        // A marker is no algorithm, though we send it too.
        let mut lists = good;
        lists[0] = "kex-strict-s-v00@openssh.com";
        assert_eq!(choose(&offer(lists, false)), Err(Error::NoCommon("key exchange")));
    }

    #[test]
    fn our_own_offer_is_a_good_one() {
        let mut buffer = [0; 1000];
        let mut out = Writer::new(&mut buffer);
        write_offer(&[1; 16], &mut out);
        let len = out.finish().unwrap();
        assert_eq!(choose(&buffer[..len]).unwrap().exchange, Exchange::MlKem768X25519);
        for cut in 0..len {
            assert!(choose(&buffer[..cut]).is_err());
        }
    }
}
