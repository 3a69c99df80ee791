//! Gets the firmware from the system's own Debian mirror, without installing anything and without root.
//!
//! apt is given lists and sources of its own in a temporary directory, so it checks signatures as always and changes nothing
//! on the machine. Package raspi-firmware is for all architectures, but has no device trees; those are in Linux for arm64.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use qemu::apt::{self, Source};

/// The package of the firmware.
const FIRMWARE: &str = "raspi-firmware";
/// The package that depends on the newest Linux for arm64.
const LINUX: &str = "linux-image-arm64";

/// Fills the directory `into`, which appears only when it is complete.
pub(super) fn download(into: &Path, progress: &mut dyn FnMut(&str)) -> Result<()> {
    let apt = Apt::new(&mirror()?)?;
    apt.get(&["update"])?;
    progress("downloading raspi-firmware");
    let firmware = apt.download(FIRMWARE)?;
    let staged = tempfile::Builder::new().prefix("firmware-").tempdir_in(into.parent().unwrap_or(Path::new(".")))?;
    copy(&firmware.join("usr/lib/raspi-firmware"), staged.path(), |_| true)?;
    fs::copy(firmware.join("usr/share/doc/raspi-firmware/copyright"), staged.path().join("LICENCE.broadcom"))
        .context("the package has no copyright file")?;
    progress("downloading Linux for arm64, for its device trees");
    if let Err(error) = apt.device_trees(staged.path()) {
        // The node does without; the card is worth having.
        progress(&format!("no device trees: {error:#}"));
    }
    fs::rename(staged.keep(), into).with_context(|| format!("{} can't be made", into.display()))
}

/// Returns the mirror that this machine gets Debian from, with the component that has the firmware.
fn mirror() -> Result<Source> {
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let sources = apt::sources_of(Path::new("/etc/apt"));
    with_firmware(&apt::os_release(&release, "ID"), &apt::os_release(&release, "VERSION_CODENAME"), &sources)
}

fn with_firmware(id: &str, codename: &str, sources: &[Source]) -> Result<Source> {
    if id != "debian" {
        bail!("this system is not Debian");
    }
    let mirror = sources.iter().find(|source| source.has_main_of(codename));
    let mut mirror = mirror.with_context(|| format!("no source of apt has {codename}"))?.with_suite(codename);
    // Debian 12 took the firmware out of non-free.
    let component = if codename == "bullseye" { "non-free" } else { "non-free-firmware" };
    mirror.components.push(component.into());
    mirror.options.retain(|(name, _)| !name.eq_ignore_ascii_case("Architectures"));
    Ok(mirror)
}

/// apt with a world of its own.
struct Apt {
    home: tempfile::TempDir,
}

impl Apt {
    fn new(source: &Source) -> Result<Self> {
        let home = tempfile::Builder::new().prefix("apt-").tempdir()?;
        for directory in ["parts", "lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(home.path().join(directory))?;
        }
        fs::write(home.path().join("parts/mirror.sources"), source.to_deb822())?;
        Ok(Self { home })
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let at = |name: &str| self.home.path().join(name).display().to_string();
        command.env("LC_ALL", "C").current_dir(self.home.path()).stdin(Stdio::null()).args([
            "-q".to_owned(),
            "-oDir::Etc::SourceList=/dev/null".to_owned(),
            format!("-oDir::Etc::SourceParts={}", at("parts")),
            format!("-oDir::State::Lists={}", at("lists")),
            format!("-oDir::Cache={}", at("cache")),
            "-oDebug::NoLocking=1".to_owned(),
            "-oAPT::Architecture=arm64".to_owned(),
            "-oAPT::Architectures=arm64".to_owned(),
            "-oAcquire::Languages=none".to_owned(),
            // apt's own user can't write here.
            "-oAPT::Sandbox::User=root".to_owned(),
        ]);
        command
    }

    fn get(&self, arguments: &[&str]) -> Result<String> {
        run(self.command("apt-get").args(arguments))
    }

    /// Fetches a package and returns the directory with its files.
    fn download(&self, package: &str) -> Result<PathBuf> {
        self.get(&["download", package])?;
        let is_it = |path: &PathBuf| {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            name.starts_with(&format!("{package}_")) && name.ends_with(".deb")
        };
        let files = fs::read_dir(self.home.path())?.flatten().map(|entry| entry.path());
        let file = files.into_iter().find(is_it).with_context(|| format!("apt-get downloaded no {package}"))?;
        let unpacked = self.home.path().join("unpacked").join(package);
        fs::create_dir_all(&unpacked)?;
        run(Command::new("dpkg-deb").arg("-x").arg(file).arg(&unpacked))?;
        Ok(unpacked)
    }

    fn device_trees(&self, into: &Path) -> Result<()> {
        let shown = run(self.command("apt-cache").args(["show", LINUX]))?;
        let linux = newest_linux(&shown).with_context(|| format!("{LINUX} depends on no Linux"))?;
        let lib = self.download(linux)?.join("usr/lib");
        let image = fs::read_dir(&lib)?.flatten().map(|entry| entry.path().join("broadcom"));
        let trees = image.into_iter().find(|path| path.is_dir()).context("this Linux has no device trees")?;
        copy(&trees, into, |name| name.starts_with("bcm27") || name.starts_with("bcm2837"))
    }
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

/// Runs a command and returns what it printed.
fn run(command: &mut Command) -> Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| format!("{program} can't be run"))?;
    if !output.status.success() {
        let complaint = String::from_utf8_lossy(&output.stderr);
        bail!("{program} failed: {}", complaint.trim().lines().last().unwrap_or("without a reason"));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::*;

    #[test]
    fn the_firmware_comes_from_the_mirror_that_the_machine_uses() {
        let sources = apt::parse_list(
            "deb http://s/debian-security bookworm-security main\n\
             deb [arch=amd64 signed-by=/k.gpg] http://m/debian bookworm main contrib\n",
        );
        let source = with_firmware("debian", "bookworm", &sources).unwrap();
        let text = "Types: deb\nURIs: http://m/debian\nSuites: bookworm\nComponents: main non-free-firmware\n\
                    Signed-By: /k.gpg\n";
        assert_eq!(source.to_deb822(), text);
        assert!(with_firmware("ubuntu", "bookworm", &sources).is_err());
        assert!(with_firmware("debian", "trixie", &sources).is_err());
    }

    #[test]
    fn the_newest_linux_is_what_the_meta_package_depends_on() {
        let shown = "Package: linux-image-arm64\nDepends: linux-image-6.1.0-50-arm64 (= 6.1.176-1)\nSize: 1480\n";
        assert_eq!(newest_linux(shown), Some("linux-image-6.1.0-50-arm64"));
        assert_eq!(newest_linux("Package: x\n"), None);
    }
}
