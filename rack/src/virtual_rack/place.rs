//! Where a rack's files are: a directory that only the user may enter, and beside it the lock that a living supervisor holds.

use std::env;
use std::fs::{self, DirBuilder, File, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};

/// Longest path of a rack's directory, in bytes: a socket's path has at most 107 (unix(7)), and QEMU's are in a directory below it.
const PATH_LEN_MAX: usize = 80;
/// How often a lock that somebody has is tried again.
const LOCK_LOOK: Duration = Duration::from_millis(20);
/// Longest name of a rack.
const NAME_LEN_MAX: usize = 32;

/// A rack's name: lower-case letters, digits and hyphens.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct RackName(String);

impl Default for RackName {
    fn default() -> Self {
        Self("default".into())
    }
}

impl std::fmt::Display for RackName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for RackName {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let is_known = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if name.is_empty() || name.len() > NAME_LEN_MAX || !name.bytes().all(is_known) {
            return Err(format!("a rack's name has 1 to {NAME_LEN_MAX} of a-z, 0-9 and -"));
        }
        Ok(Self(name.into()))
    }
}

/// The files of one rack.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    name: RackName,
    directory: PathBuf,
}

impl Place {
    /// Returns the place of a rack; its directory need not exist.
    ///
    /// # Errors
    /// When the directory of all racks can't be made, or is not the user's alone.
    pub(crate) fn of(name: &RackName) -> Result<Self> {
        let directory = base()?.join(&name.0);
        if directory.as_os_str().len() > PATH_LEN_MAX {
            bail!("{} is too long for sockets: set XDG_RUNTIME_DIR to a shorter directory", directory.display());
        }
        Ok(Self { name: name.clone(), directory })
    }

    /// Returns a place somewhere else.
    #[cfg(test)]
    pub(crate) fn at(directory: PathBuf) -> Self {
        Self { name: RackName::default(), directory }
    }

    /// Returns every rack that has a directory, by name.
    ///
    /// # Errors
    /// As [`Place::of`].
    pub(crate) fn all() -> Result<Vec<Self>> {
        let mut names: Vec<RackName> = fs::read_dir(base()?)?
            .flatten()
            .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .collect();
        names.sort();
        names.iter().map(Self::of).collect()
    }

    pub(crate) fn name(&self) -> &RackName {
        &self.name
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Returns whether there is anything of the rack.
    pub(crate) fn exists(&self) -> bool {
        self.directory.is_dir()
    }

    /// The socket that the supervisor answers on.
    pub(crate) fn control(&self) -> PathBuf {
        self.directory.join("control")
    }

    /// The socket of the switch.
    pub(crate) fn switch(&self) -> PathBuf {
        self.directory.join("switch")
    }

    /// What a bridge needs.
    pub(crate) fn bridge(&self) -> PathBuf {
        self.directory.join("bridge")
    }

    /// What the supervisor has to say when nobody listens.
    pub(crate) fn log(&self) -> PathBuf {
        self.directory.join("log")
    }

    /// What the rack is made of.
    pub(crate) fn plan(&self) -> PathBuf {
        self.directory.join("plan.json")
    }

    /// The archive that the nodes find in their memory.
    pub(crate) fn archive(&self) -> PathBuf {
        self.directory.join("node.cpio")
    }

    /// The private key that commands of this user have for the nodes; there is none if the nodes are read-only.
    pub(crate) fn user_key(&self) -> PathBuf {
        self.directory.join("ssh_key")
    }

    /// The nodes' host keys, as OpenSSH reads them.
    pub(crate) fn known_hosts(&self) -> PathBuf {
        self.directory.join("known_hosts")
    }

    /// Takes the lock that says that the rack lives; `None` when somebody has it. It is kept by whoever has the file open,
    /// so it can be handed to a child, and no death leaves it behind.
    ///
    /// # Errors
    /// When the file can't be made.
    pub(crate) fn lock(&self) -> Result<Option<File>> {
        let path = self.directory.with_extension("lock");
        let file = File::options().create(true).truncate(false).write(true).open(&path);
        let file = file.with_context(|| format!("{} can't be made", path.display()))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(file)),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error).context("the rack's lock"),
        }
    }

    /// Removes the file of the lock, too, for who has it: only where nobody else will ever take this name.
    ///
    /// # Errors
    /// When it can't be removed.
    pub(crate) fn forget(&self, _lock: File) -> Result<()> {
        let path = self.directory.with_extension("lock");
        fs::remove_file(&path).with_context(|| format!("{} can't be removed", path.display()))
    }

    /// Returns whether nobody has the lock, now or within a time.
    ///
    /// # Errors
    /// As [`Place::lock`].
    pub(crate) fn is_free_within(&self, patience: Duration) -> Result<bool> {
        let deadline = Instant::now() + patience;
        loop {
            if self.lock()?.is_some() {
                return Ok(true);
            }
            if Instant::now() >= deadline {
                return Ok(false);
            }
            thread::sleep(LOCK_LOOK);
        }
    }

    /// Makes the directory, empty. Only for who has the lock.
    ///
    /// # Errors
    /// When it can't be made.
    pub(crate) fn make(&self) -> Result<()> {
        self.clear()?;
        make_private(&self.directory)
    }

    /// Ends what is left of a rack whose supervisor is gone, and removes the directory. Only for who has the lock.
    ///
    /// # Errors
    /// When it can't be removed.
    pub(crate) fn clear(&self) -> Result<()> {
        // Where the kernel does not end programs with their owner (no setpriv), this does.
        for pid in users_of(&self.directory) {
            // It may have ended meanwhile.
            let _ = kill(pid, Signal::SIGKILL);
        }
        match fs::remove_dir_all(&self.directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            result => result.with_context(|| format!("{} can't be removed", self.directory.display())),
        }
    }
}

/// Returns the directory of all racks, made if need be: `$XDG_RUNTIME_DIR/minipirack`, which ends with the user's last session, or
/// one in the directory for temporary files.
fn base() -> Result<PathBuf> {
    let runtime = env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|directory| directory.is_dir());
    let directory = match runtime {
        Some(runtime) => runtime.join("minipirack"),
        None => env::temp_dir().join(format!("minipirack-{}", geteuid())),
    };
    make_private(&directory)?;
    let metadata = fs::symlink_metadata(&directory)?;
    // In a directory that others may write to, somebody may have been faster.
    if !metadata.is_dir() || metadata.uid() != geteuid().as_raw() || metadata.mode() & 0o077 != 0 {
        bail!("{} is not a directory of yours alone: remove it", directory.display());
    }
    Ok(directory)
}

fn make_private(directory: &Path) -> Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .with_context(|| format!("{} can't be made", directory.display()))
}

/// Returns the processes of this user that were started with such a path below `directory` as QEMUs and dnsmasq have.
fn users_of(directory: &Path) -> Vec<Pid> {
    let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
    let needles = ["node-", "bridge/"].map(|name| format!("{}/{name}", directory.display()));
    let is_user = |path: &Path| {
        let is_own = fs::metadata(path).is_ok_and(|metadata| metadata.uid() == geteuid().as_raw());
        let arguments = || fs::read(path.join("cmdline")).unwrap_or_default();
        is_own && needles.iter().any(|needle| String::from_utf8_lossy(&arguments()).contains(needle))
    };
    let pids = processes.flatten().filter(|process| is_user(&process.path()));
    pids.filter_map(|process| process.file_name().to_str()?.parse().ok()).map(Pid::from_raw).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_plain() {
        for name in ["default", "a-1", "0"] {
            assert_eq!(name.parse::<RackName>().map(|name| name.to_string()), Ok(name.to_owned()));
        }
        for name in ["", "A", "../x", "a b", &"x".repeat(NAME_LEN_MAX + 1)] {
            assert!(name.parse::<RackName>().is_err(), "{name:?}");
        }
    }
}
