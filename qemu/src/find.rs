//! Finds QEMU on this machine.

use std::env;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::str::FromStr;

use anyhow::{Context, Result, bail};

use crate::config::Machine;

/// Name of the program.
pub const PROGRAM: &str = "qemu-system-aarch64";

/// The oldest QEMU that will do: `-netdev stream` and `-netdev dgram` came with it.
pub const OLDEST: Version = Version { major: 7, minor: 2, patch: 0 };

/// Where QEMU may be although `PATH` does not say so.
const USUAL_PLACES: [&str; 4] = ["/usr/bin", "/usr/local/bin", "/opt/homebrew/bin", "/opt/qemu/bin"];

/// Version of QEMU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// First number.
    pub major: u32,
    /// Second number.
    pub minor: u32,
    /// Third number.
    pub patch: u32,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

impl FromStr for Version {
    type Err = anyhow::Error;

    /// Reads the version out of what `--version` prints: `QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds-2~bpo12+1)`.
    fn from_str(text: &str) -> Result<Self> {
        let number = text
            .split_once("version ")
            .map(|(_, rest)| rest.split_whitespace().next().unwrap_or_default())
            .with_context(|| format!("no version in {:?}", text.lines().next().unwrap_or_default()))?;
        let mut parts = number.split('.').map(|part| {
            let digits = part.find(|c: char| !c.is_ascii_digit()).map_or(part, |end| &part[..end]);
            digits.parse::<u32>().with_context(|| format!("{number:?} is not a version"))
        });
        let mut next = || parts.next().transpose().map(Option::unwrap_or_default);
        Ok(Self { major: next()?, minor: next()?, patch: next()? })
    }
}

/// A QEMU that can run nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Qemu {
    /// The program.
    pub program: PathBuf,
    /// Its version.
    pub version: Version,
    /// Boards that it has, of those that we know. [`Machine::Raspi3b`] is always among them.
    pub machines: Vec<Machine>,
}

impl Qemu {
    /// Returns the first QEMU in `PATH` and the usual places, if it will do.
    ///
    /// # Errors
    /// Says whether there is none, or what is wrong with each one that was found.
    pub fn find() -> Result<Self> {
        let path = env::var_os("PATH").unwrap_or_default();
        Self::find_in(env::split_paths(&path).chain(USUAL_PLACES.iter().map(PathBuf::from)))
    }

    /// As [`Qemu::find`], and installs one with the system's package manager if there is none that will do.
    ///
    /// `progress` gets one line for each step.
    ///
    /// # Errors
    /// One line that says what the user can do, when it can't be installed from here.
    pub fn find_or_install(progress: &mut dyn FnMut(&str)) -> Result<Self> {
        match Self::find() {
            Ok(qemu) => Ok(qemu),
            Err(missing) => crate::install::install(&missing.to_string(), progress),
        }
    }

    /// Returns the first QEMU in `directories` that will do.
    ///
    /// # Errors
    /// As [`Qemu::find`].
    pub fn find_in(directories: impl Iterator<Item = PathBuf>) -> Result<Self> {
        let mut unfit = Vec::new();
        for directory in directories {
            let program = directory.join(PROGRAM);
            if !program.is_file() || unfit.iter().any(|(seen, _)| *seen == program) {
                continue;
            }
            match Self::check(&program) {
                Ok(qemu) => return Ok(qemu),
                Err(error) => unfit.push((program, error)),
            }
        }
        if unfit.is_empty() {
            bail!("{PROGRAM} is not installed");
        }
        let reasons: Vec<String> = unfit.iter().map(|(_, error)| format!("{error:#}")).collect();
        bail!("{}", reasons.join("; "))
    }

    fn check(program: &Path) -> Result<Self> {
        let version: Version = output(program, "--version")?.parse()?;
        if version < OLDEST {
            bail!("{} is version {version}, at least {OLDEST} is needed", program.display());
        }
        let names = output(program, "-machine=help")?;
        let has = |machine: &Machine| names.lines().any(|line| line.split_whitespace().next() == Some(machine.name()));
        let machines: Vec<_> = Machine::ALL.into_iter().filter(has).collect();
        if !machines.contains(&Machine::default()) {
            bail!("{} {version} does not have the machine {}", program.display(), Machine::default());
        }
        Ok(Self { program: program.to_owned(), version, machines })
    }

    /// Fails if this QEMU does not have `machine`.
    ///
    /// # Errors
    /// Says which version has it.
    pub fn require(&self, machine: Machine) -> Result<()> {
        if !self.machines.contains(&machine) {
            let Self { program, version, .. } = self;
            bail!("{} {version} does not have the machine {machine}: QEMU has it since version 9", program.display());
        }
        Ok(())
    }
}

fn output(program: &Path, argument: &str) -> Result<String> {
    let result = Command::new(program)
        .args(argument.split('='))
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("{} can't be run", program.display()))?;
    if !result.status.success() {
        bail!("{} {argument} failed: {}", program.display(), String::from_utf8_lossy(&result.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&result.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn version(text: &str) -> Version {
        text.parse().unwrap()
    }

    fn fake(directory: &Path, version: &str, machines: &str) {
        let program = directory.join(PROGRAM);
        let script = format!("#!/bin/sh\ncase $1 in --version) echo '{version}';; *) echo '{machines}';; esac\n");
        fs::write(&program, script).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    }

    #[test]
    fn version_is_read_from_what_distributions_print() {
        let debian = "QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds-2~bpo12+1)\nCopyright (c) 2003-2025";
        assert_eq!(version(debian), Version { major: 10, minor: 0, patch: 2 });
        assert_eq!(version("QEMU emulator version 7.2.17"), Version { major: 7, minor: 2, patch: 17 });
        assert_eq!(version("QEMU emulator version 9.1"), Version { major: 9, minor: 1, patch: 0 });
        assert_eq!(version("QEMU emulator version 8.2.0rc1 (v8)"), Version { major: 8, minor: 2, patch: 0 });
    }

    #[test]
    fn version_must_be_there() {
        assert!("".parse::<Version>().is_err());
        assert!("QEMU emulator version x.y".parse::<Version>().is_err());
    }

    #[test]
    fn versions_compare_as_numbers() {
        assert!(version("version 10.0.0") > version("version 7.2.0"));
        assert!(version("version 7.1.9") < OLDEST);
    }

    #[test]
    fn too_old_is_said_and_a_later_place_is_tried() {
        let old = tempfile::tempdir().unwrap();
        fake(old.path(), "QEMU emulator version 6.2.0", "raspi3b");
        let error = Qemu::find_in([old.path().to_owned()].into_iter()).unwrap_err().to_string();
        assert!(error.contains("is version 6.2.0, at least 7.2.0 is needed"), "{error}");

        let new = tempfile::tempdir().unwrap();
        fake(new.path(), "QEMU emulator version 10.0.2", "raspi3b  Raspberry Pi 3B");
        let found = Qemu::find_in([old.path().to_owned(), new.path().to_owned()].into_iter()).unwrap();
        assert_eq!(found.program, new.path().join(PROGRAM));
    }

    #[test]
    fn the_machines_that_it_has_are_known() {
        let place = tempfile::tempdir().unwrap();
        fake(place.path(), "QEMU emulator version 8.2.2", "raspi3b  Raspberry Pi 3B");
        let old = Qemu::find_in([place.path().to_owned()].into_iter()).unwrap();
        assert!(old.require(Machine::Raspi3b).is_ok());
        let error = old.require(Machine::Raspi4b).unwrap_err().to_string();
        assert!(error.contains("8.2.2 does not have the machine raspi4b: QEMU has it since version 9"), "{error}");
        fake(place.path(), "QEMU emulator version 10.0.2", "raspi3b  Raspberry Pi 3B\nraspi4b  Raspberry Pi 4B");
        let new = Qemu::find_in([place.path().to_owned()].into_iter()).unwrap();
        assert_eq!(new.machines, Machine::ALL);
    }

    #[test]
    fn a_build_without_the_machine_is_said() {
        let place = tempfile::tempdir().unwrap();
        fake(place.path(), "QEMU emulator version 10.0.2", "virt");
        let error = Qemu::find_in([place.path().to_owned()].into_iter()).unwrap_err().to_string();
        assert!(error.contains("does not have the machine raspi3b"), "{error}");
    }

    #[test]
    fn none_is_said() {
        let place = tempfile::tempdir().unwrap();
        let error = Qemu::find_in([place.path().to_owned()].into_iter()).unwrap_err().to_string();
        assert_eq!(error, "qemu-system-aarch64 is not installed");
    }
}
