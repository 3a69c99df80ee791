//! Tests over archives of our own and of GNU cpio, whole, damaged and made up.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::vec::Vec;

use super::*;

fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = Writer::default();
    files.iter().for_each(|(name, content)| writer.add(name, 0o600, content));
    writer.finish()
}

fn read(archive: &[u8]) -> Vec<Result<(&str, &[u8]), Error>> {
    files(archive).map(|file| file.map(|file| (file.name, file.content))).collect()
}

/// Made with GNU cpio 2.13: `printf hi > a; mkdir d; printf 'some text' > d/b; ln -s a l; find . | LC_ALL=C sort | cpio -o
/// -H crc --reproducible`, with its padding to 512 bytes cut off. A fixture, because a machine need not have cpio.
const GNU: &[u8] = include_bytes!("tests/gnu.cpio");

#[test]
fn what_was_written_is_read() {
    let all: [(&str, &[u8]); 4] =
        [("node.toml", b"[node]\n"), ("empty", b""), ("files/a", &[7; 1001]), ("abc", b"123")];
    let bytes = archive(&all);
    assert_eq!(read(&bytes), all.map(Ok));
    assert_eq!(find(&bytes, "files/a"), Some(&[7; 1001][..]));
    assert_eq!(find(&bytes, "files"), None);
    assert_eq!(read(&[]), []);
}

#[test]
fn gnu_cpio_is_understood_and_only_its_files_count() {
    assert_eq!(read(GNU), [Ok(("a", &b"hi"[..])), Ok(("d/b", b"some text"))]);
}

#[test]
fn a_wrong_checksum_is_told() {
    let mut bytes = GNU.to_vec();
    let at = bytes.windows(9).position(|window| window == b"some text").unwrap();
    bytes[at] ^= 1;
    assert!(matches!(read(&bytes)[..], [Ok(("a", _)), Err(Error::Checksum { .. })]));
}

#[test]
fn archives_may_follow_each_other_with_zeros_between() {
    for zeros in [0, 4, 508] {
        let mut bytes = archive(&[("a", b"old"), ("b", b"1")]);
        bytes.resize(bytes.len() + zeros, 0);
        bytes.extend(archive(&[("a", b"new")]));
        bytes.extend([0; 3]);
        assert_eq!(read(&bytes), [Ok(("a", &b"old"[..])), Ok(("b", b"1")), Ok(("a", b"new"))]);
        assert_eq!(find(&bytes, "a"), Some(&b"new"[..]));
    }
}

#[test]
fn what_is_no_archive_is_named() {
    assert_eq!(read(b"\x1f\x8b\x08"), [Err(Error::Compressed)]);
    assert_eq!(read(b"\x28\xb5\x2f\xfd"), [Err(Error::Compressed)]);
    assert_eq!(read(b"[node]\nname = \"a\"\n"), [Err(Error::NoEntry { offset: 0 })]);
    assert_eq!(read(b"070707000000"), [Err(Error::NoEntry { offset: 0 })], "the old ASCII format");
    let mut bytes = archive(&[("a", b"1")]);
    bytes.extend(b"rubbish");
    let end = bytes.len() - 7;
    assert_eq!(read(&bytes), [Ok(("a", &b"1"[..])), Err(Error::NoEntry { offset: end })]);
}

#[test]
fn every_cut_gives_the_files_before_it() {
    let bytes = archive(&[("a", b"1"), ("node.toml", b"[node]")]);
    for len in 1..bytes.len() {
        let all = read(&bytes[..len]);
        let good = all.iter().take_while(|file| file.is_ok()).count();
        assert!(all.len() <= good + 1 && good <= 2, "{len}: {all:?}");
        assert!(all[..good].iter().zip(["a", "node.toml"]).all(|(file, name)| file.unwrap().0 == name));
    }
}

#[test]
fn any_bytes_give_an_end() {
    let good = archive(&[("a", b"1"), ("node.toml", &[9; 300]), ("x", b"")]);
    let mut state = 0x1234_5678_9abc_def1_u64;
    let mut random = |limit: usize| {
        // xorshift64 (Marsaglia, 2003).
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % limit as u64) as usize
    };
    let mut damaged = 0;
    for _ in 0..100_000 {
        let mut bytes = if random(2) == 0 { good.clone() } else { GNU.to_vec() };
        for _ in 0..1 + random(4) {
            let at = random(bytes.len());
            // Often a digit: most of a header is digits.
            bytes[at] = if random(2) == 0 { b"0123456789abcdef"[random(16)] } else { random(256) as u8 };
        }
        bytes.truncate(random(bytes.len() + 1));
        let all = read(&bytes);
        assert!(all.len() <= 4, "{all:?}");
        damaged += usize::from(all.iter().any(Result::is_err));
    }
    assert!(damaged > 10_000, "the damage is seen: {damaged}");
}
