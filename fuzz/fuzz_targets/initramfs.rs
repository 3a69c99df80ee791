//! Archives of files.
#![no_main]

use initramfs::{File, Writer, files, find};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let found: Vec<_> = files(data).collect();
    // An entry has 110 bytes at least; there is nothing behind an error.
    assert!(found.len() <= 1 + data.len() / 110);
    assert!(found.iter().rev().skip(1).all(Result::is_ok));
    let good: Vec<File<'_>> = found.iter().filter_map(|file| file.as_ref().ok().copied()).collect();
    for file in &good {
        let last = good.iter().rev().find(|other| other.name == file.name).map(|file| file.content);
        assert_eq!(find(data, file.name), last, "{}", file.name);
    }
    // Names that are changed on their way, or mean the end.
    let is_plain = |name: &str| !name.starts_with(['.', '/']) && !name.contains('\0') && name != "TRAILER!!!";
    let plain: Vec<_> = good.into_iter().filter(|file| is_plain(file.name)).collect();
    let mut writer = Writer::default();
    plain.iter().for_each(|file| writer.add(file.name, 0o644, file.content));
    let archive = writer.finish();
    let again: Result<Vec<_>, _> = files(&archive).collect();
    assert_eq!(again, Ok(plain));
});
