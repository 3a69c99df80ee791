//! The Pi's own firmware, which a card needs besides the kernel. It is not ours to hand out, so it is never in the
//! repository: it comes from Debian's packages or from a directory that the user names.
//!
//! Which file is for what: Raspberry Pi documentation, "Boot folder contents", and the boot flows of both families.

mod debian;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// Files by their name on the card; there are no directories.
pub(crate) type Files = BTreeMap<String, Vec<u8>>;

/// What a board does not start without. The BCM2837 boards' ROM loads bootcode.bin, which loads start.elf; the BCM2711
/// boards' EEPROM loads start4.elf. Each start file has a fixup file that places it in memory.
const NEEDED: [&str; 5] = ["bootcode.bin", "start.elf", "fixup.dat", "start4.elf", "fixup4.dat"];

/// What is taken along where it is: the smaller firmware for `gpu_mem=16`, and the licence that asks to stay with the files.
const WELCOME: [&str; 6] =
    ["start_cd.elf", "fixup_cd.dat", "start4cd.elf", "fixup4cd.dat", "LICENCE.broadcom", "COPYING.linux"];

/// Device trees: the name that the firmware looks for, and the one that the file has where it comes from Linux itself.
/// One per board, by the file lists of github.com/raspberrypi/firmware (boot) and of Linux (arch/arm64/boot/dts/broadcom).
const TREES: [(&str, &str); 9] = [
    ("bcm2710-rpi-3-b.dtb", "bcm2837-rpi-3-b.dtb"),
    ("bcm2710-rpi-3-b-plus.dtb", "bcm2837-rpi-3-b-plus.dtb"),
    ("bcm2710-rpi-cm3.dtb", "bcm2837-rpi-cm3-io3.dtb"),
    ("bcm2710-rpi-zero-2-w.dtb", "bcm2837-rpi-zero-2-w.dtb"),
    ("bcm2710-rpi-zero-2.dtb", "bcm2837-rpi-zero-2-w.dtb"),
    ("bcm2711-rpi-4-b.dtb", "bcm2711-rpi-4-b.dtb"),
    ("bcm2711-rpi-400.dtb", "bcm2711-rpi-400.dtb"),
    ("bcm2711-rpi-cm4.dtb", "bcm2711-rpi-cm4-io.dtb"),
    ("bcm2711-rpi-cm4s.dtb", "bcm2711-rpi-cm4s-io.dtb"),
];

/// Where a system that has the package raspi-firmware keeps it.
const INSTALLED: &str = "/usr/lib/raspi-firmware";

/// How to get the files where Debian's package is out of reach.
const BY_HAND: &str = "give their directory with --firmware DIR. The files of the Raspberry Pi project, for example: \
    git clone --depth 1 --filter=blob:none --sparse https://github.com/raspberrypi/firmware && \
    git -C firmware sparse-checkout set boot, then --firmware firmware/boot";

/// The firmware for one card.
#[derive(Debug)]
pub(crate) struct Firmware {
    /// The files, as they are called on the card.
    pub(crate) files: Files,
    /// Where they come from.
    pub(crate) origin: PathBuf,
}

impl Firmware {
    /// Takes the files from `directory` if one is given, else from the installed package, else from `cache`, which is
    /// filled from the system's package sources when it is not there. `progress` gets lines for the user.
    ///
    /// # Errors
    /// What is missing, and how to get it.
    pub(crate) fn find(directory: Option<&Path>, cache: &Path, progress: &mut dyn FnMut(&str)) -> Result<Self> {
        if let Some(directory) = directory {
            return Self::read(directory);
        }
        if Path::new(INSTALLED).is_dir() {
            return Self::read(Path::new(INSTALLED));
        }
        if !cache.is_dir() {
            progress(
                "the Pi's firmware is not here: getting Debian's package raspi-firmware, and device trees (65 MB)",
            );
            debian::download(cache, progress).with_context(|| {
                format!("the Raspberry Pi's firmware files could not be had from Debian; {BY_HAND}. What went wrong")
            })?;
        }
        Self::read(cache)
    }

    /// Reads the files from a directory.
    fn read(directory: &Path) -> Result<Self> {
        let mut files = Files::new();
        let mut missing = Vec::new();
        for name in NEEDED {
            match read(directory, name)? {
                Some(bytes) => drop(files.insert(name.into(), bytes)),
                None => missing.push(name),
            }
        }
        if !missing.is_empty() {
            bail!("{} has no {}: {BY_HAND}", directory.display(), missing.join(", "));
        }
        for name in WELCOME {
            files.extend(read(directory, name)?.map(|bytes| (name.to_owned(), bytes)));
        }
        for (name, in_linux) in TREES {
            let bytes = read(directory, name).transpose().or_else(|| read(directory, in_linux).transpose());
            files.extend(bytes.transpose()?.map(|bytes| (name.to_owned(), bytes)));
        }
        Ok(Self { files, origin: directory.to_owned() })
    }

    /// Returns whether it has a device tree of any board.
    pub(crate) fn has_device_trees(&self) -> bool {
        self.files.keys().any(|name| name.starts_with("bcm27") && name.ends_with(".dtb"))
    }
}

/// Returns a file's content; `None` when there is no such file.
fn read(directory: &Path, name: &str) -> Result<Option<Vec<u8>>> {
    let path = directory.join(name);
    if !path.is_file() {
        return Ok(None);
    }
    let bytes = fs::read(&path).with_context(|| format!("{} can't be read", path.display()))?;
    if bytes.is_empty() {
        bail!("{} is empty", path.display());
    }
    Ok(Some(bytes))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::*;

    fn directory(names: &[&str]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        for name in names {
            let path = directory.path().join(name);
            fs::write(path, name).unwrap();
        }
        directory
    }

    fn find(directory: &Path) -> Result<Firmware> {
        Firmware::find(Some(directory), Path::new("/nowhere"), &mut |_| ())
    }

    #[test]
    fn device_trees_get_the_names_that_the_firmware_looks_for() {
        let names =
            [&NEEDED[..], &["bcm2837-rpi-3-b.dtb", "bcm2711-rpi-cm4-io.dtb", "bcm2710-rpi-cm3.dtb", "start_x.elf"]];
        let firmware = find(directory(&names.concat()).path()).unwrap();
        assert!(firmware.has_device_trees());
        assert_eq!(firmware.files["bcm2710-rpi-3-b.dtb"], b"bcm2837-rpi-3-b.dtb");
        assert_eq!(firmware.files["bcm2711-rpi-cm4.dtb"], b"bcm2711-rpi-cm4-io.dtb");
        assert_eq!(firmware.files["bcm2710-rpi-cm3.dtb"], b"bcm2710-rpi-cm3.dtb");
        assert_eq!(firmware.files.len(), NEEDED.len() + 3, "{:?}", firmware.files.keys());
    }

    #[test]
    fn device_trees_and_the_rest_are_optional() {
        let firmware = find(directory(&NEEDED).path()).unwrap();
        assert!(!firmware.has_device_trees());
        let licence = "LICENCE.broadcom";
        let firmware = find(directory(&[&NEEDED[..], &[licence]].concat()).path()).unwrap();
        assert!(firmware.files.contains_key(licence) && !firmware.has_device_trees());
    }

    #[test]
    fn what_is_missing_is_named_with_the_way_to_get_it() {
        let error = find(directory(&NEEDED[1..4]).path()).unwrap_err().to_string();
        assert!(error.contains("has no bootcode.bin, fixup4.dat: give their directory with --firmware"), "{error}");
        let empty = directory(&NEEDED);
        fs::write(empty.path().join("start.elf"), "").unwrap();
        let error = find(empty.path()).unwrap_err().to_string();
        assert!(error.ends_with("start.elf is empty"), "{error}");
    }
}
