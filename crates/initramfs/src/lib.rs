//! The files that the firmware leaves in memory for the node: cpio archives in the "newc" format, as Linux takes them for its
//! initramfs. A node reads its configuration from there and needs no driver for the card; the host tool writes them.
//!
//! Reading copies nothing. Several archives may follow each other, with zeros between them and behind the last one: the
//! firmware puts several files behind each other when it is told to, and rounds lengths up (raspberrypi/firmware, issues 1318
//! and 1395). Of several files with the same name the last counts, as in Linux.
//!
//! Sources: cpio(5) of FreeBSD, "New ASCII Format"; Linux, Documentation/driver-api/early-userspace/buffer-format.rst.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

mod write;

use thiserror::Error;
pub use write::Writer;

/// Longest archive that a node takes: the memory that its linker script keeps for one.
pub const LEN_MAX: usize = 0x4_0000;

/// Bytes of an entry's header: a magic number of 6 digits, and 13 numbers of 8.
const HEADER_LEN: usize = 110;
/// What an entry begins with: without and with a checksum.
const MAGIC: [&[u8; 6]; 2] = [b"070701", b"070702"];
/// Names the entry behind the last.
const TRAILER: &str = "TRAILER!!!";
/// Names and contents begin on multiples of this.
const ALIGNMENT: usize = 4;
/// Longest name with its NUL (Linux, PATH_MAX).
const NAME_LEN_MAX: usize = 4096;
/// The kind of file in the mode (cpio(5)), and a regular file.
const KIND: u32 = 0o170_000;
const REGULAR: u32 = 0o100_000;
/// Which fields of the header are what.
const MODE: usize = 1;
const FILE_LEN: usize = 6;
const NAME_LEN: usize = 11;
const CHECKSUM: usize = 12;

/// A regular file in an archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct File<'a> {
    /// Its path, without `./` or `/` in front.
    pub name: &'a str,
    /// Its content.
    pub content: &'a [u8],
}

/// Why the rest of an archive can't be read. Offsets are in bytes from its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Error {
    /// It is compressed.
    #[error("the initramfs is compressed; a node takes plain cpio archives only")]
    Compressed,
    /// What should be an entry is none.
    #[error("no cpio entry at byte {offset} of the initramfs; a node takes the format newc (cpio -H newc)")]
    NoEntry {
        /// Where.
        offset: usize,
    },
    /// It ends too early.
    #[error("the initramfs is cut off in the entry at byte {offset}")]
    CutOff {
        /// Where the entry begins that is not whole.
        offset: usize,
    },
    /// A name is not text.
    #[error("the name of the entry at byte {offset} of the initramfs can't be read")]
    Name {
        /// Where the entry begins.
        offset: usize,
    },
    /// The content is not what it was.
    #[error("the checksum of the entry at byte {offset} of the initramfs is wrong")]
    Checksum {
        /// Where the entry begins.
        offset: usize,
    },
}

/// Returns the regular files of an archive, in its order. After an error there is nothing more.
pub fn files(archive: &[u8]) -> impl Iterator<Item = Result<File<'_>, Error>> {
    Files { archive, offset: 0 }
}

/// Returns the content of the last file with this name, even if the archive is damaged behind it.
#[must_use]
pub fn find<'a>(archive: &'a [u8], name: &str) -> Option<&'a [u8]> {
    files(archive).map_while(Result::ok).filter(|file| file.name == name).last().map(|file| file.content)
}

struct Files<'a> {
    archive: &'a [u8],
    offset: usize,
}

impl<'a> Iterator for Files<'a> {
    type Item = Result<File<'a>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let entry = match self.entry() {
                Ok(entry) => entry?,
                Err(error) => {
                    self.offset = self.archive.len();
                    return Some(Err(error));
                }
            };
            if entry.name == TRAILER {
                self.skip_zeros();
            } else if entry.mode & KIND == REGULAR {
                let name = entry.name.strip_prefix("./").unwrap_or(entry.name).trim_start_matches('/');
                return Some(Ok(File { name, content: entry.content }));
            }
        }
    }
}

struct Entry<'a> {
    name: &'a str,
    mode: u32,
    content: &'a [u8],
}

impl<'a> Files<'a> {
    /// Reads the next entry of any kind; `None` at the end.
    fn entry(&mut self) -> Result<Option<Entry<'a>>, Error> {
        let offset = self.offset;
        if offset == 0 {
            self.skip_zeros();
        }
        let rest = self.archive.get(self.offset..).unwrap_or_default();
        if rest.is_empty() {
            return Ok(None);
        }
        if !MAGIC.iter().any(|magic| rest.starts_with(*magic)) {
            return Err(if is_compressed(rest) { Error::Compressed } else { Error::NoEntry { offset } });
        }
        let header = rest.get(..HEADER_LEN).ok_or(Error::CutOff { offset })?;
        let field = |index| number(header, index).ok_or(Error::NoEntry { offset });
        let (name_len, content_len) = (field(NAME_LEN)? as usize, field(FILE_LEN)? as usize);
        let name = self.take(HEADER_LEN, name_len).ok_or(Error::CutOff { offset })?;
        let content = self.take(0, content_len).ok_or(Error::CutOff { offset })?;
        let name = name.strip_suffix(b"\0").filter(|_| name_len <= NAME_LEN_MAX).ok_or(Error::Name { offset })?;
        let name = str::from_utf8(name).map_err(|_| Error::Name { offset })?;
        let sum = |sum: u32, &byte: &u8| sum.wrapping_add(byte.into());
        let mode = field(MODE)?;
        // GNU cpio gives links none.
        let has_checksum = header.starts_with(MAGIC[1]) && mode & KIND == REGULAR;
        if has_checksum && content.iter().fold(0, sum) != field(CHECKSUM)? {
            return Err(Error::Checksum { offset });
        }
        Ok(Some(Entry { name, mode, content }))
    }

    /// Returns `len` bytes behind `skip` more, and goes on behind them and their padding. What is cut off at the very end is
    /// only padding.
    fn take(&mut self, skip: usize, len: usize) -> Option<&'a [u8]> {
        let start = self.offset.checked_add(skip)?;
        let end = start.checked_add(len)?;
        let bytes = self.archive.get(start..end)?;
        self.offset = end.checked_next_multiple_of(ALIGNMENT)?.min(self.archive.len());
        Some(bytes)
    }

    fn skip_zeros(&mut self) {
        let rest = self.archive.get(self.offset..).unwrap_or_default();
        self.offset += rest.iter().take_while(|&&byte| byte == 0).count();
    }
}

/// Returns whether this is what gzip, xz, zstd, bzip2 or lz4 make (their formats' magic numbers).
fn is_compressed(bytes: &[u8]) -> bool {
    const MAGIC: [&[u8]; 6] =
        [b"\x1f\x8b", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd", b"BZh", b"\x02\x21\x4c\x18", b"\x04\x22\x4d\x18"];
    MAGIC.iter().any(|magic| bytes.starts_with(magic))
}

/// Reads a field of the header: eight hexadecimal digits.
fn number(header: &[u8], index: usize) -> Option<u32> {
    let digits = header.get(6 + 8 * index..)?.first_chunk::<8>()?;
    digits.iter().try_fold(0, |number, &digit| Some(number << 4 | char::from(digit).to_digit(16)?))
}

#[cfg(test)]
mod tests;
