//! Gets the firmware from the system's own Debian mirror, without installing anything and without root.
//!
//! Package raspi-firmware is for all architectures, but has no device trees; those are in Linux for arm64.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use qemu::apt::world::World;
use qemu::apt::{self, Source};

/// The package of the firmware.
const FIRMWARE: &str = "raspi-firmware";
/// The package that depends on the newest Linux for arm64.
const LINUX: &str = "linux-image-arm64";

/// Fills the directory `into`, which appears only when it is complete.
pub(super) fn download(into: &Path, progress: &mut dyn FnMut(&str)) -> Result<()> {
    let world = World::new(&mirror()?)?;
    progress("downloading raspi-firmware");
    let firmware = world.download(FIRMWARE)?;
    let staged = tempfile::Builder::new().prefix("firmware-").tempdir_in(into.parent().unwrap_or(Path::new(".")))?;
    copy(&firmware.join("usr/lib/raspi-firmware"), staged.path(), |_| true)?;
    fs::copy(firmware.join("usr/share/doc/raspi-firmware/copyright"), staged.path().join("LICENCE.broadcom"))
        .context("the package has no copyright file")?;
    progress("downloading Linux for arm64, for its device trees");
    if let Err(error) = device_trees(&world, staged.path()) {
        // The node does without; the card is worth having.
        progress(&format!("no device trees: {error:#}"));
    }
    fs::rename(staged.keep(), into).with_context(|| format!("{} can't be made", into.display()))
}

/// Returns the mirror that this machine gets Debian from, with the component that has the firmware.
fn mirror() -> Result<Source> {
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    Ok(with_firmware(apt::debian_mirror()?, &apt::os_release(&release, "VERSION_CODENAME")))
}

fn with_firmware(mut mirror: Source, codename: &str) -> Source {
    // Debian 12 took the firmware out of non-free.
    let component = if codename == "bullseye" { "non-free" } else { "non-free-firmware" };
    mirror.components.push(component.into());
    mirror
}

fn device_trees(world: &World, into: &Path) -> Result<()> {
    let shown = world.show(LINUX)?;
    let linux = newest_linux(&shown).with_context(|| format!("{LINUX} depends on no Linux"))?;
    let lib = world.download(linux)?.join("usr/lib");
    let image = fs::read_dir(&lib)?.flatten().map(|entry| entry.path().join("broadcom"));
    let trees = image.into_iter().find(|path| path.is_dir()).context("this Linux has no device trees")?;
    copy(&trees, into, |name| name.starts_with("bcm27") || name.starts_with("bcm2837"))
}

/// Returns the package that `linux-image-arm64` depends on.
fn newest_linux(shown: &str) -> Option<&str> {
    let depends = shown.lines().find_map(|line| line.strip_prefix("Depends: "))?;
    depends.split([' ', ',']).find(|name| name.starts_with("linux-image-"))
}

/// Copies the files of a directory whose names are wanted.
fn copy(from: &Path, into: &Path, is_wanted: impl Fn(&str) -> bool) -> Result<()> {
    for entry in fs::read_dir(from).with_context(|| format!("the package has no {}", from.display()))?.flatten() {
        if entry.path().is_file() && is_wanted(&entry.file_name().to_string_lossy()) {
            fs::copy(entry.path(), into.join(entry.file_name()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_firmware_comes_from_another_component_since_debian_12() {
        let components = |codename| with_firmware(Source::default(), codename).components;
        assert_eq!(components("bookworm"), ["non-free-firmware"]);
        assert_eq!(components("bullseye"), ["non-free"]);
    }

    #[test]
    fn the_newest_linux_is_what_the_meta_package_depends_on() {
        let shown = "Package: linux-image-arm64\nDepends: linux-image-6.1.0-50-arm64 (= 6.1.176-1)\nSize: 1480\n";
        assert_eq!(newest_linux(shown), Some("linux-image-6.1.0-50-arm64"));
        assert_eq!(newest_linux("Package: x\n"), None);
    }
}
