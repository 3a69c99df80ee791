//! What a switch records: a file for Wireshark.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// The file's first bytes say so: microseconds, in the order of the bytes as written here (draft-ietf-opsawg-pcap, section 4).
const MAGIC: u32 = 0xa1b2_c3d4;
/// Frames begin with an Ethernet header (LINKTYPE_ETHERNET).
const ETHERNET: u32 = 1;
/// Longest frame that is recorded whole, in bytes.
const SNAP_LEN: u32 = 262_144;

/// A file that frames are recorded in, each once and when it reaches the switch.
#[derive(Debug)]
pub struct Capture {
    file: BufWriter<File>,
    error: Option<io::Error>,
}

impl Capture {
    /// Makes the file.
    ///
    /// # Errors
    /// When it can't be made.
    pub fn create(path: &Path) -> io::Result<Self> {
        let mut capture = Self { file: BufWriter::new(File::create(path)?), error: None };
        // Version 2.4, two fields that are not used.
        let header: [u32; 6] = [MAGIC, 4 << 16 | 2, 0, 0, SNAP_LEN, ETHERNET];
        capture.write(&header)?;
        capture.file.flush()?;
        Ok(capture)
    }

    /// Records a frame.
    pub(super) fn record(&mut self, frame: &[u8]) {
        // The switch goes on when the disk is full; the file ends there.
        if self.error.is_none() {
            self.error = self.append(frame).err();
        }
    }

    fn append(&mut self, frame: &[u8]) -> io::Result<()> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let len = u32::try_from(frame.len()).unwrap_or(u32::MAX);
        // Until 2106, by the format.
        let seconds = u32::try_from(now.as_secs()).unwrap_or(u32::MAX);
        self.write(&[seconds, now.subsec_micros(), len, len])?;
        self.file.write_all(frame)?;
        // Whoever looks at the file meanwhile finds whole frames.
        self.file.flush()
    }

    fn write(&mut self, words: &[u32]) -> io::Result<()> {
        words.iter().try_for_each(|word| self.file.write_all(&word.to_ne_bytes()))
    }
}
