//! The rack secret on this machine: a file that only its owner can read, made when asked for and never overwritten.

use std::env;
use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use config::{Config, Files};

use crate::progress::say;

/// Bytes of a secret.
const LEN: usize = 32;

/// Returns the secret, as a line of hexadecimal digits, that `choice` names: a file, `new` or `own`.
pub(super) fn find(choice: &str) -> Result<String> {
    let path = match choice {
        "new" => make(&own_path()?)?,
        "own" => own_path()?,
        path => path.into(),
    };
    read(&path)
}

/// Returns where the user's own secret is.
fn own_path() -> Result<PathBuf> {
    Ok(directory()?.join("rack.key"))
}

/// Returns whether the user has a secret of his own.
pub(crate) fn has_own() -> bool {
    own_path().is_ok_and(|path| path.exists())
}

/// Returns the user's configuration directory for racks (XDG Base Directory Specification), which may not exist.
///
/// # Errors
/// When the user has no home.
pub(crate) fn directory() -> Result<PathBuf> {
    let variable = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let directory = variable("XDG_CONFIG_HOME").or_else(|| Some(variable("HOME")?.join(".config")));
    let directory = directory.context("neither XDG_CONFIG_HOME nor HOME is set: name a file with --rack-secret")?;
    Ok(directory.join("minipirack"))
}

/// Makes up a secret.
///
/// # Errors
/// When the system has no random numbers.
pub(crate) fn random() -> Result<String> {
    let mut secret = [0; LEN];
    // The same source that ssh-keygen has, by way of the kernel's interface for everybody (random(4)).
    File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut secret)).context("no random numbers")?;
    Ok(secret.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Reads the secret that nodes have already: a file, or `own`.
///
/// # Errors
/// When it can't be read or is none; for `new`, which no node has.
pub(crate) fn bytes(choice: &str) -> Result<[u8; LEN]> {
    if choice == "new" {
        bail!("no node has a new rack secret: name the file with theirs, or own (`image` and `boot` make a new one)");
    }
    let text = find(choice)?;
    let known = Config::read(Files { rack_key: Some(text.as_bytes()), ..Files::default() }, b"");
    known.rack_secret.map(|secret| secret.0).context("no rack secret")
}

/// Makes a secret.
fn make(path: &Path) -> Result<PathBuf> {
    let fails = || format!("{} can't be made", path.display());
    let text = random()?;
    if let Some(directory) = path.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(directory).with_context(fails)?;
    }
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let mut file = match file {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            bail!("there is a rack secret already: {}; take it with --rack-secret own", path.display())
        }
        file => file.with_context(fails)?,
    };
    writeln!(file, "{text}").with_context(fails)?;
    say(&format!("made a rack secret: {}; next time: --rack-secret own", path.display()));
    Ok(path.to_owned())
}

fn read(path: &Path) -> Result<String> {
    let text = fs::read_to_string(path).with_context(|| format!("{} can't be read", path.display()))?;
    let known = Config::read(Files { rack_key: Some(text.as_bytes()), ..Files::default() }, b"");
    if known.rack_secret.is_none() {
        bail!("{} has no rack secret: 64 hexadecimal digits are expected", path.display());
    }
    let mode = fs::metadata(path).map_or(0, |about| about.permissions().mode());
    if mode & 0o077 != 0 {
        say(&format!("warning: others can read {0}; to change that: chmod 600 {0}", path.display()));
    }
    Ok(text.trim().to_owned() + "\n")
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::*;

    #[test]
    fn a_secret_is_made_once_and_only_its_owner_reads_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("minipirack/rack.key");
        make(&path).unwrap();
        let secret = read(&path).unwrap();
        assert_eq!((secret.len(), fs::metadata(&path).unwrap().permissions().mode() & 0o777), (2 * LEN + 1, 0o600));
        let error = make(&path).unwrap_err().to_string();
        assert!(error.contains("already") && error.contains("own"), "{error}");
        assert_eq!(read(&path).unwrap(), secret, "it was not overwritten");
        let other = directory.path().join("other/rack.key");
        make(&other).unwrap();
        assert_ne!(read(&other).unwrap(), secret);
    }

    #[test]
    fn what_is_no_secret_is_not_shown() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x");
        fs::write(&path, "5ecret").unwrap();
        let error = format!("{:#}", find(path.to_str().unwrap()).unwrap_err());
        assert!(error.contains("64 hexadecimal digits") && !error.contains("5ecret"), "{error}");
        assert!(find("/nowhere/rack.key").is_err());
    }
}
