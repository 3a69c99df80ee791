//! Writing an archive.

use alloc::format;
use alloc::vec::Vec;

use crate::{ALIGNMENT, REGULAR, TRAILER};

/// An archive that is being written. The same files give the same bytes: times and owners are zero.
#[derive(Clone, Debug, Default)]
pub struct Writer {
    bytes: Vec<u8>,
    entries: u32,
}

impl Writer {
    /// Adds a regular file; `permissions` are its lower nine mode bits. Names are relative, with `/` between their parts.
    pub fn add(&mut self, name: &str, permissions: u32, content: &[u8]) {
        self.entry(name, REGULAR | permissions & 0o777, content);
    }

    /// Returns the whole archive.
    #[must_use]
    pub fn finish(mut self) -> Vec<u8> {
        self.entry(TRAILER, 0, &[]);
        self.bytes
    }

    fn entry(&mut self, name: &str, mode: u32, content: &[u8]) {
        self.entries += 1;
        let (ino, name_len, len) = (self.entries, name.len() + 1, content.len());
        // ino, mode, uid, gid, nlink, mtime, filesize, devmajor, devminor, rdevmajor, rdevminor, namesize, check
        let header = format!(
            "070701{ino:08x}{mode:08x}{0:08x}{0:08x}{1:08x}{0:08x}{len:08x}{0:032x}{name_len:08x}{0:08x}",
            0, 1
        );
        self.bytes.extend_from_slice(header.as_bytes());
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(content);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(ALIGNMENT), 0);
    }
}
