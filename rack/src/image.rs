//! A card for a real board: what is on it, and the file that it is made as.

mod card;
mod command_line;

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Args;

use crate::firmware::{Files, Firmware};
use crate::node_files::{ARCHIVE, Archive, NodeFiles};
use crate::progress::{self, Progress, say};

/// Settings for the firmware, the same on every card.
const CONFIG_TXT: &str = include_str!("image/config.txt");
/// The settings for a card with an archive for the node. The firmware chooses where it goes: `followkernel` says "wherever it
/// fits" (raspberrypi/documentation, pull request 829).
const INITRAMFS: &str = "
# The node's settings, keys and files.
initramfs node.cpio followkernel
";
/// Where the firmware is kept between two cards, below the directory of the image.
const FIRMWARE_CACHE: &str = "raspi-firmware";

/// What a board boots.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Content {
    /// The node's command line: `name=web-1 ip=dhcp workload=cpu:load=50%`.
    #[arg(long, value_name = "TEXT")]
    cmdline: Option<String>,
    #[command(flatten)]
    node_files: NodeFiles,
    /// A directory with the Raspberry Pi's firmware files; without it they come from Debian's package raspi-firmware.
    #[arg(long, value_name = "DIR")]
    firmware: Option<PathBuf>,
    /// Takes the kernel that was built last.
    #[arg(long)]
    no_build: bool,
}

/// How an image is made.
#[derive(Clone, Debug, Args)]
pub(crate) struct Options {
    /// The file to write.
    #[arg(long, value_name = "FILE", default_value = "rack.img")]
    out: PathBuf,
    #[command(flatten)]
    content: Content,
}

impl Content {
    /// Builds the kernel, gets the firmware, and returns every file that a board boots from, telling the user about them.
    ///
    /// # Errors
    /// What is wrong with a setting or can't be had.
    pub(crate) fn files(&self) -> Result<Boot> {
        // What the user wrote comes first: building takes longer.
        let line = command_line::compose(self.cmdline.as_deref().unwrap_or_default())?;
        let archive = self.node_files.pack(&line, None)?;
        let built = if self.no_build {
            qemu::build::existing()?
        } else {
            let built = Progress::start("building the image").follow(|line| qemu::build::kernel(line))?;
            say(&progress::sizes(&built.sizes));
            built
        };
        let cache = built.image.with_file_name(FIRMWARE_CACHE);
        let firmware = Progress::start("getting the firmware")
            .follow(|line| Firmware::find(self.firmware.as_deref(), &cache, line))?;
        say(&format!("firmware: {} files from {}", firmware.files.len(), firmware.origin.display()));
        if !firmware.has_device_trees() {
            say(
                "warning: no device trees there (bcm27*.dtb). The node needs none, but the firmware of some boards may",
            );
        }
        let kernel = fs::read(&built.packed).with_context(|| format!("{} can't be read", built.packed.display()))?;
        let has_secret = archive.has_secret;
        Ok(Boot { files: with_ours(firmware.files, kernel, line, archive), has_secret })
    }
}

/// What a board boots.
pub(crate) struct Boot {
    /// Every file.
    pub(crate) files: Files,
    /// Whether one of them has something in it that not everybody may read.
    pub(crate) has_secret: bool,
}

/// Adds our own files to those of the firmware.
fn with_ours(mut files: Files, kernel: Vec<u8>, line: String, archive: Archive) -> Files {
    let mut settings = CONFIG_TXT.to_owned();
    if let Some(bytes) = archive.bytes {
        files.insert(ARCHIVE.into(), bytes);
        settings += INITRAMFS;
    }
    files.insert("kernel8.img".into(), kernel);
    files.insert("config.txt".into(), settings.into_bytes());
    files.insert("cmdline.txt".into(), line.into_bytes());
    files
}

/// Returns the content of a whole card with these files.
///
/// # Errors
/// When they do not fit.
pub(crate) fn card(files: &Files) -> Result<Vec<u8>> {
    card::card(files)
}

/// Makes an image file.
pub(crate) fn image(options: &Options) -> Result<ExitCode> {
    let Boot { files, has_secret } = options.content.files()?;
    write(&options.out, &card(&files)?, has_secret)?;
    let out = options.out.display();
    say(&format!(
        "{out}: {} files on {} MiB. To put it on a card: cargo run -- flash --image {out}",
        files.len(),
        CARD_MIB
    ));
    Ok(ExitCode::SUCCESS)
}

const CARD_MIB: usize = card::CARD_LEN >> 20;

/// Writes a file so that it is never half there, and that only its owner reads it if there is a secret in it.
fn write(path: &Path, bytes: &[u8], has_secret: bool) -> Result<()> {
    let partial = path.with_extension("part");
    let mode = if has_secret { 0o600 } else { 0o666 };
    // One that was left behind has permissions of its own.
    let _ = fs::remove_file(&partial);
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&partial)
        .and_then(|mut file| file.write_all(bytes))
        .and_then(|()| fs::rename(&partial, path))
        .inspect_err(|_| drop(fs::remove_file(&partial)))
        .with_context(|| format!("{} can't be written", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Raspberry Pi documentation, "What is config.txt": what is behind the 98th character (once the 78th) is ignored, and a
    /// comment is a line that begins with #.
    #[test]
    fn the_firmware_understands_every_line_of_config_txt() {
        assert_eq!(INITRAMFS.lines().last(), Some(format!("initramfs {ARCHIVE} followkernel").as_str()));
        for line in CONFIG_TXT.lines() {
            assert!(line.len() <= 98 && line.is_ascii(), "{line}");
            let is_setting = line.split_once('=').is_some_and(|(key, value)| {
                key.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
                    && !value.contains(' ')
            });
            let is_section = line.starts_with('[') && line.ends_with(']');
            assert!(line.is_empty() || line.starts_with('#') || is_section || is_setting, "{line}");
        }
    }

    #[test]
    fn the_kernel_is_loaded_where_it_is_linked_to() {
        let script = include_str!("../../linker/kernel.ld");
        let address = CONFIG_TXT.lines().find_map(|line| line.strip_prefix("kernel_address="));
        assert!(address.is_some_and(|address| script.to_lowercase().contains(address)), "{address:?}");
    }
}
