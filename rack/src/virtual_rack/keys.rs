//! The keys of a virtual rack: made by `up`, for nobody else, and gone with it.

use std::fs;
use std::io;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use config::RackSecret;
use qemu::config::DEFAULT_MAC;
use ssh::HostKey;

use super::plan::Plan;
use crate::node_files::{OwnKeys, secret};
use crate::progress::say;

/// See the module.
pub(super) struct Keys {
    /// The private half of the user's key, as OpenSSH has it in a file.
    pub(super) private: String,
    /// What the nodes get.
    pub(super) for_nodes: OwnKeys,
}

impl Keys {
    /// Makes them; `None` where there is no OpenSSH, which the user is told.
    ///
    /// # Errors
    /// When it does not.
    pub(super) fn make() -> Result<Option<Self>> {
        // For its owner only (mkdtemp(3)), and gone at the end of this function.
        let directory = tempfile::tempdir().context("a directory for keys")?;
        let file = directory.path().join("key");
        let mut command = Command::new("ssh-keygen");
        command.args(["-q", "-t", "ed25519", "-N", "", "-C", "rack", "-f"]).arg(&file).stdin(Stdio::null());
        let output = match command.output() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                say("ssh-keygen is not installed (openssh-client): `run` and `blink` will have no key for these nodes");
                return Ok(None);
            }
            output => output.context("ssh-keygen can't be run")?,
        };
        if !output.status.success() {
            bail!("ssh-keygen: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        let private = fs::read_to_string(&file).context("the key that ssh-keygen has made")?;
        let user_key = fs::read_to_string(file.with_extension("pub")).context("the key that ssh-keygen has made")?;
        let for_nodes = OwnKeys { user_key, rack_secret: secret::random()? };
        Ok(Some(Self { private, for_nodes }))
    }
}

/// Returns the host keys of a rack's nodes as the lines of a file known_hosts (sshd(8)).
pub(super) fn known_hosts(plan: &Plan, secret: &RackSecret) -> String {
    let line = |number| {
        let name = plan.name(number);
        // QEMU's firmware tells no serial number, and one Ethernet address for all boards.
        let key = HostKey::of_board(&secret.0, 0, DEFAULT_MAC, &name).public();
        format!("{name} {}\n", key.to_openssh())
    };
    plan.numbers().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::super::plan::tests::plan;
    use super::*;

    #[test]
    fn every_node_has_a_host_key_of_its_own() {
        let lines = known_hosts(&plan(), &RackSecret([7; 32]));
        let mut keys: Vec<_> = lines.lines().map(|line| line.split(' ').collect::<Vec<_>>()).collect();
        assert_eq!(keys.iter().map(|words| words[0]).collect::<Vec<_>>(), ["pi-123456", "pi-123457", "pi-123458"]);
        assert!(keys.iter().all(|words| words.len() == 3 && words[1] == "ssh-ed25519"), "{lines}");
        keys.dedup_by_key(|words| words[2]);
        assert_eq!(keys.len(), 3, "{lines}");
        assert_ne!(lines, known_hosts(&plan(), &RackSecret([8; 32])));
    }
}
