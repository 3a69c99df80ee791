//! Which device may be written: what the system knows about it, from sysfs(5) and proc(5).

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use nix::sys::stat::{major, minor};

use crate::progress::quoted;

/// Larger than any card for a node: more likely a disk in a USB case.
const CARD_LEN_MAX: u64 = 256 << 30;
/// What stands in the place of a mount point for swap; mount points begin with a slash.
const SWAP: &str = "swap";
/// The unit of sizes in sysfs, whatever the device's own blocks are.
const SECTOR: u64 = 512;

/// Where to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// Its path, with links followed.
    pub(super) path: PathBuf,
    /// What it is.
    pub(super) device: Device,
    file_len: u64,
}

/// What a target is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Device {
    /// A block device, with what sysfs calls it.
    Block(Block),
    /// A file, to try things out.
    File,
}

/// A disk or a card, as sysfs shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Block {
    name: String,
    /// Numbers of the device itself and of everything on it: partitions, and what is made of them.
    numbers: Vec<String>,
    /// The names of the same.
    names: Vec<String>,
    len: u64,
    is_partition: bool,
    is_read_only: bool,
    is_removable: bool,
    is_usb: bool,
    model: String,
}

/// The machine that this runs on.
pub(super) struct System {
    root: PathBuf,
}

impl Target {
    /// Finds out what is at `path`.
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        Self::in_system(&System::new(Path::new("/")), path)
    }

    fn in_system(system: &System, path: &Path) -> io::Result<Self> {
        let path = fs::canonicalize(path)?;
        let metadata = fs::metadata(&path)?;
        let device = if metadata.file_type().is_block_device() {
            let number = format!("{}:{}", major(metadata.rdev()), minor(metadata.rdev()));
            Device::Block(system.find(&number)?)
        } else if metadata.is_file() {
            Device::File
        } else {
            return Err(io::Error::other("neither a block device nor a file"));
        };
        Ok(Self { path, device, file_len: metadata.len() })
    }

    /// Returns how many bytes there is room for; a file grows.
    pub(super) fn len(&self) -> u64 {
        match &self.device {
            Device::Block(block) => block.len,
            Device::File => u64::MAX,
        }
    }
}

impl System {
    /// Takes the system that is mounted at `root`.
    pub(super) fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// Says whether `target` may be written.
    ///
    /// # Errors
    /// Why not, and what to do.
    pub(super) fn check(&self, target: &Target, is_confirmed: bool) -> Result<()> {
        let name = target.path.display();
        let Device::Block(block) = &target.device else {
            if !is_confirmed {
                bail!("{name} is a file of {} bytes, not a card. If it is meant: --yes-i-mean {name}", target.file_len);
            }
            return Ok(());
        };
        if block.is_partition {
            bail!("{name} is a partition; the image has a partition table of its own, so name the whole device");
        }
        let used = self.uses(block);
        if let Some((source, place)) = used.iter().find(|(_, place)| place == "/") {
            bail!("{name} holds this very system ({source} is mounted at {place}): it is never written");
        }
        if let Some((source, place)) = used.first() {
            let places: Vec<_> =
                used.iter().filter(|(_, place)| place != SWAP).map(|(_, place)| quoted(place)).collect();
            if places.is_empty() {
                bail!("{name} is in use: {source} is swap. To free it: sudo swapoff {source}");
            }
            bail!("{name} is in use: {source} is mounted at {place}. To free it: sudo umount {}", places.join(" "));
        }
        if block.names.len() > 1 && block.names.iter().any(|other| !other.starts_with(&block.name)) {
            bail!("{name} is in use: {} is made of it (RAID, LVM or encryption)", block.names.join(" "));
        }
        if block.len == 0 {
            bail!("there is no card in {name}");
        }
        if block.is_read_only {
            bail!("{name} is write-protected: look at the slider on the side of the card");
        }
        if !is_confirmed && let Err(why) = block.looks_like_a_card() {
            bail!("{name} ({}) {why}. If it is meant, and all on it may go: --yes-i-mean {name}", block.describe());
        }
        Ok(())
    }

    /// Returns a line about `target`.
    pub(super) fn describe(&self, target: &Target) -> String {
        match &target.device {
            Device::Block(block) => format!("{} ({})", target.path.display(), block.describe()),
            Device::File => format!("the file {}", target.path.display()),
        }
    }

    /// Returns a line about each device that may be written without a second question.
    pub(super) fn candidates(&self) -> Vec<String> {
        let entries = fs::read_dir(self.root.join("sys/block")).into_iter().flatten().flatten();
        let mut blocks: Vec<Block> = entries.filter_map(|entry| self.block(&entry.path()).ok()).collect();
        blocks.sort_by(|a, b| a.name.cmp(&b.name));
        let is_good =
            |block: &&Block| block.len > 0 && block.looks_like_a_card().is_ok() && self.uses(block).is_empty();
        blocks.iter().filter(is_good).map(|block| format!("/dev/{}  {}", block.name, block.describe())).collect()
    }

    /// Returns the block device with this number, "8:16".
    fn find(&self, number: &str) -> io::Result<Block> {
        self.block(&self.root.join("sys/dev/block").join(number))
    }

    fn block(&self, directory: &Path) -> io::Result<Block> {
        let directory = fs::canonicalize(directory)?;
        let read = |name: &str| fs::read_to_string(directory.join(name)).unwrap_or_default().trim().to_owned();
        let name = directory.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let (mut numbers, mut names) = (Vec::new(), Vec::new());
        collect(&directory, &mut numbers, &mut names);
        Ok(Block {
            numbers,
            names,
            len: read("size").parse::<u64>().unwrap_or(0) * SECTOR,
            is_partition: directory.join("partition").exists(),
            is_read_only: read("ro") == "1",
            is_removable: read("removable") == "1",
            is_usb: directory.components().any(|part| part.as_os_str().to_string_lossy().starts_with("usb")),
            model: [read("device/vendor"), read("device/model"), read("device/name")].join(" ").trim().to_owned(),
            name,
        })
    }

    /// Returns what of a device is mounted or swapped to: name and place.
    fn uses(&self, block: &Block) -> Vec<(String, String)> {
        let read = |name: &str| fs::read_to_string(self.root.join(name)).unwrap_or_default();
        let is_its = |source: &str| block.names.iter().any(|name| Path::new(source).file_name() == Some(name.as_ref()));
        // 36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue
        let mountinfo = read("proc/self/mountinfo");
        let mounts = mountinfo.lines().filter_map(|line| {
            let words: Vec<&str> = line.split(' ').collect();
            let (number, place) = (words.get(2)?, words.get(4)?);
            let source = words.iter().skip_while(|word| **word != "-").nth(2)?;
            // Some file systems have numbers of their own, but name their device.
            let is_here = block.numbers.iter().any(|own| own == number) || is_its(source);
            is_here.then(|| ((*source).to_owned(), unescaped(place)))
        });
        let swaps = read("proc/swaps");
        let swaps = swaps.lines().skip(1).filter_map(|line| line.split_whitespace().next());
        let swaps = swaps.filter(|source| is_its(source)).map(|source| (source.to_owned(), SWAP.to_owned()));
        mounts.chain(swaps).collect()
    }
}

impl Block {
    /// Says why not, if it does not.
    fn looks_like_a_card(&self) -> Result<(), &'static str> {
        let is_mmc = self.name.starts_with("mmcblk");
        if is_mmc && self.name.contains("boot") {
            return Err("is a boot area of an eMMC, not the eMMC itself");
        }
        if !(self.is_removable || self.is_usb || is_mmc) {
            return Err("is built in, not a card");
        }
        if self.len > CARD_LEN_MAX {
            return Err("is too large for a card");
        }
        Ok(())
    }

    fn describe(&self) -> String {
        let size = format!("{}.{} GB", self.len / 1_000_000_000, self.len / 100_000_000 % 10);
        let how = if self.is_usb { ", USB" } else { "" };
        let model = if self.model.is_empty() { String::new() } else { format!(", {}", self.model) };
        format!("{size}{how}{model}")
    }
}

/// Collects the numbers and names of a device, its partitions, and what is made of either (device mapper, RAID).
fn collect(directory: &Path, numbers: &mut Vec<String>, names: &mut Vec<String>) {
    let name = directory.file_name().unwrap_or_default().to_string_lossy().into_owned();
    if names.contains(&name) {
        return;
    }
    names.push(name);
    numbers.extend(fs::read_to_string(directory.join("dev")).ok().map(|number| number.trim().to_owned()));
    let entries =
        |of: &Path| fs::read_dir(of).into_iter().flatten().flatten().map(|entry| entry.path()).collect::<Vec<_>>();
    let partitions = entries(directory).into_iter().filter(|path| path.join("partition").exists());
    let holders = entries(&directory.join("holders")).into_iter().filter_map(|path| fs::canonicalize(path).ok());
    let mut others: Vec<PathBuf> = partitions.chain(holders).collect();
    others.sort();
    others.iter().for_each(|other| collect(other, numbers, names));
}

/// Returns a path of mountinfo as it is: a space is `\040` there.
fn unescaped(place: &str) -> String {
    place.replace("\\040", " ").replace("\\134", "\\")
}

#[cfg(test)]
mod tests;
