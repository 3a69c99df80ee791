//! apt with a world of its own: packages for arm64, without installing anything and without root.
//!
//! apt is given lists and sources of its own in a temporary directory, so it checks signatures as always and changes nothing
//! on the machine.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::Source;

/// A temporary directory that apt takes for a whole system, in which nothing is installed yet.
#[derive(Debug)]
pub struct World {
    home: tempfile::TempDir,
}

impl World {
    /// Makes a world with this mirror, and gets its lists of packages.
    ///
    /// # Errors
    /// When there is no apt, or the mirror can't be reached.
    pub fn new(mirror: &Source) -> Result<Self> {
        let home = tempfile::Builder::new().prefix("apt-").tempdir()?;
        for directory in ["parts", "lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(home.path().join(directory))?;
        }
        fs::write(home.path().join("parts/mirror.sources"), mirror.to_deb822())?;
        fs::write(home.path().join("status"), "")?;
        let world = Self { home };
        world.get(&["update"])?;
        Ok(world)
    }

    /// Fetches a package and returns the directory with its files.
    ///
    /// # Errors
    /// When there is none, or it can't be fetched or unpacked.
    pub fn download(&self, package: &str) -> Result<PathBuf> {
        self.get(&["download", package])?;
        let is_it = |name: &str| name.starts_with(&format!("{package}_")) && name.ends_with(".deb");
        let unpacked = self.home.path().join("unpacked").join(package);
        if unpack(self.home.path(), &unpacked, is_it)? == 0 {
            bail!("apt-get downloaded no {package}");
        }
        Ok(unpacked)
    }

    /// Fetches packages and all that they depend on, and returns the directory with the files of all of them.
    ///
    /// # Errors
    /// When there is none of a name, or something can't be fetched or unpacked.
    pub fn download_with_dependencies(&self, packages: &[&str]) -> Result<PathBuf> {
        let install = ["install", "--download-only", "--yes", "--no-install-recommends"];
        self.get(&[&install, packages].concat())?;
        let unpacked = self.home.path().join("unpacked").join("all");
        unpack(&self.home.path().join("cache/archives"), &unpacked, |name| name.ends_with(".deb"))?;
        Ok(unpacked)
    }

    /// Returns what apt knows of a package.
    ///
    /// # Errors
    /// When it knows none of this name.
    pub fn show(&self, package: &str) -> Result<String> {
        run(self.command("apt-cache").args(["show", package]))
    }

    fn get(&self, arguments: &[&str]) -> Result<String> {
        run(self.command("apt-get").args(arguments))
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let at = |name: &str| self.home.path().join(name).display().to_string();
        command.env("LC_ALL", "C").current_dir(self.home.path()).stdin(Stdio::null()).args([
            "-q".to_owned(),
            "-oDir::Etc::SourceList=/dev/null".to_owned(),
            format!("-oDir::Etc::SourceParts={}", at("parts")),
            format!("-oDir::State={}", at("")),
            format!("-oDir::State::Lists={}", at("lists")),
            format!("-oDir::State::status={}", at("status")),
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
}

/// Unpacks the packages of a directory whose names are wanted, and returns how many.
fn unpack(from: &Path, into: &Path, is_wanted: impl Fn(&str) -> bool) -> Result<usize> {
    fs::create_dir_all(into)?;
    let files = fs::read_dir(from)?.flatten().filter(|file| is_wanted(&file.file_name().to_string_lossy()));
    let mut count = 0;
    for file in files {
        run(Command::new("dpkg-deb").arg("-x").arg(file.path()).arg(into))?;
        count += 1;
    }
    Ok(count)
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
