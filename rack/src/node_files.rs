//! What a node is given besides its kernel: node.toml, keys and files, in an archive that the firmware or QEMU puts into its
//! memory.

pub(crate) mod secret;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;
use config::{AUTHORIZED_KEYS, Config, MAX_SSH_KEYS, NODE_TOML, RACK_KEY, RackSecret};

use crate::progress::say;
use crate::workloads;

/// The archive's name on a card.
pub(crate) const ARCHIVE: &str = "node.cpio";
/// Where files of the user's are in the archive.
const FILES: &str = "files";
/// Permissions of what everybody may read, and of a secret.
const PUBLIC: u32 = 0o644;
const SECRET: u32 = 0o600;

/// What a node is given.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct NodeFiles {
    /// The node's settings: a node.toml, see docs/configuration.md. What is on its command line overrides them.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// A file with public ssh-ed25519 keys (~/.ssh/id_ed25519.pub): who may change the node; can be given several times.
    #[arg(long, value_name = "FILE")]
    ssh_key: Vec<PathBuf>,
    /// The rack secret, which the nodes' SSH host keys come from: a file, `new` to make one in your configuration directory,
    /// or `own` for the one there.
    #[arg(long, value_name = "FILE|new|own")]
    rack_secret: Option<String>,
    /// A file that the node gets as files/NAME; can be given several times.
    #[arg(long, value_name = "FILE")]
    file: Vec<PathBuf>,
}

/// An archive for a node.
#[derive(Clone, Debug)]
pub(crate) struct Archive {
    /// Its bytes; `None` when there is nothing in it.
    pub(crate) bytes: Option<Vec<u8>>,
    /// Whether there is something in it that not everybody may read.
    pub(crate) has_secret: bool,
    /// The rack secret, by whichever way it was given.
    pub(crate) rack_secret: Option<RackSecret>,
}

/// What this program gives to nodes by itself.
#[derive(Clone, Debug)]
pub(crate) struct OwnKeys {
    /// A public key, a line as ssh-keygen writes it.
    pub(crate) user_key: String,
    /// A rack secret, for who has given none: 64 hexadecimal digits.
    pub(crate) rack_secret: String,
}

impl NodeFiles {
    /// Reads everything and packs it, together with `own` keys, telling the user what the node would say about it and its command line.
    ///
    /// # Errors
    /// What can't be read, or does not fit.
    pub(crate) fn pack(&self, command_line: &str, own: Option<&OwnKeys>) -> Result<Archive> {
        let toml = self.config.as_deref().map(read).transpose()?;
        let keys = self.keys(own.map(|own| own.user_key.as_str()))?;
        let mut secret = self.rack_secret.as_deref().map(secret::find).transpose()?;
        if let (None, Some(own)) = (&secret, own) {
            let given = config::Files { node_toml: toml.as_deref(), ..config::Files::default() };
            let is_given = Config::read(given, command_line.as_bytes()).rack_secret.is_some();
            secret = (!is_given).then(|| own.rack_secret.clone() + "\n");
        }
        let files = config::Files {
            node_toml: toml.as_deref(),
            authorized_keys: keys.as_deref().map(str::as_bytes),
            rack_key: secret.as_deref().map(str::as_bytes),
        };
        let known = Config::read(files, command_line.as_bytes());
        known.warnings.iter().for_each(|warning| say(&format!("warning: {warning}")));
        workloads::mistakes(&known).for_each(|mistake| say(&format!("warning: {mistake}")));
        if known.is_read_only() {
            say("without an SSH key nothing can be changed over the network (--ssh-key ~/.ssh/id_ed25519.pub)");
        }
        let mut entries: Vec<(String, u32, Vec<u8>)> = Vec::new();
        entries.extend(toml.map(|bytes| (NODE_TOML.into(), SECRET, bytes)));
        entries.extend(keys.map(|text| (AUTHORIZED_KEYS.into(), PUBLIC, text.into_bytes())));
        entries.extend(secret.map(|text| (RACK_KEY.into(), SECRET, text.into_bytes())));
        for path in &self.file {
            entries.push((format!("{FILES}/{}", file_name(path)?), PUBLIC, read(path)?));
        }
        let has_secret = known.rack_secret.is_some() || known.mqtt.password.is_some();
        Ok(Archive { bytes: pack(&entries)?, has_secret, rack_secret: known.rack_secret })
    }

    /// Returns all keys, one a line.
    fn keys(&self, own: Option<&str>) -> Result<Option<String>> {
        let mut lines: Vec<String> = own.map(|key| key.trim().to_owned()).into_iter().collect();
        for path in &self.ssh_key {
            let text = fs::read_to_string(path).with_context(|| format!("{} can't be read", path.display()))?;
            lines.extend(public_keys(&text).with_context(|| format!("{}", path.display()))?);
        }
        if lines.len() > MAX_SSH_KEYS {
            bail!("{} SSH keys are too many: a node takes {MAX_SSH_KEYS}", lines.len());
        }
        Ok((!lines.is_empty()).then(|| lines.join("\n") + "\n"))
    }
}

fn read(path: impl AsRef<Path>) -> Result<Vec<u8>> {
    let path = path.as_ref();
    fs::read(path).with_context(|| format!("{} can't be read", path.display()))
}

fn file_name(path: &Path) -> Result<&str> {
    let name = path.file_name().and_then(|name| name.to_str());
    name.with_context(|| format!("{} has no name that a node could show", path.display()))
}

fn pack(entries: &[(String, u32, Vec<u8>)]) -> Result<Option<Vec<u8>>> {
    if entries.is_empty() {
        return Ok(None);
    }
    let mut writer = initramfs::Writer::default();
    for (index, (name, permissions, content)) in entries.iter().enumerate() {
        if entries.iter().take(index).any(|(other, ..)| other == name) {
            bail!("there are two files with the name {name}");
        }
        writer.add(name, *permissions, content);
    }
    let bytes = writer.finish();
    if bytes.len() > initramfs::LEN_MAX {
        let sizes: Vec<_> = entries.iter().map(|(name, _, content)| format!("{name} {}", content.len())).collect();
        bail!(
            "{} bytes are too many for a node, which takes {}: {}",
            bytes.len(),
            initramfs::LEN_MAX,
            sizes.join(", ")
        );
    }
    Ok(Some(bytes))
}

/// Returns the lines of a file such as id_ed25519.pub or authorized_keys that are keys, as the node wants them.
fn public_keys(text: &str) -> Result<Vec<String>> {
    if text.contains("PRIVATE KEY") {
        bail!("this is a private key, which must not leave this machine; give the public one (.pub)");
    }
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let keys = lines.map(public_key).collect::<Result<Vec<_>>>()?;
    if keys.is_empty() {
        bail!("there is no key in it");
    }
    Ok(keys)
}

fn public_key(line: &str) -> Result<String> {
    let mut words = line.split_whitespace();
    match words.next() {
        Some("ssh-ed25519") => {}
        _ if words.any(|word| word == "ssh-ed25519") => {
            bail!("a node does not obey options of a key: remove what stands before ssh-ed25519")
        }
        _ => bail!("a node takes ssh-ed25519 keys only; to make one: ssh-keygen -t ed25519"),
    }
    let files = config::Files { authorized_keys: Some(line.as_bytes()), ..config::Files::default() };
    if Config::read(files, b"").ssh_keys.is_empty() {
        bail!("{line} is not an Ed25519 key");
    }
    Ok(line.to_owned())
}

/// Says what the node would say about a node.toml. Returns whether that is nothing.
///
/// # Errors
/// When it can't be read.
pub(crate) fn check(path: &Path) -> Result<bool> {
    let toml = read(path)?;
    let known = Config::read(config::Files { node_toml: Some(&toml), ..config::Files::default() }, b"");
    known.warnings.iter().for_each(|warning| say(&warning.to_string()));
    let mistakes = workloads::mistakes(&known).inspect(|mistake| say(mistake)).count();
    let more = known.warnings_dropped;
    if more > 0 {
        say(&format!("{more} more mistakes"));
    }
    Ok(known.warnings.is_empty() && mistakes == 0)
}

#[cfg(test)]
mod tests;
