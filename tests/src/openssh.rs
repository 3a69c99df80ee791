//! OpenSSH's client, as a user with a key runs it.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, ensure};

use crate::node::TestNode;

/// A user with a key, and another key that the node does not know.
pub struct User {
    folder: tempfile::TempDir,
}

impl User {
    /// Makes the keys.
    ///
    /// # Errors
    /// When `ssh-keygen` does not.
    pub fn new() -> Result<Self> {
        let user = Self { folder: tempfile::tempdir()? };
        for name in ["good", "bad"] {
            let file = user.path(name);
            let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(file).status();
            ensure!(made.context("running ssh-keygen")?.success(), "ssh-keygen failed");
        }
        Ok(user)
    }

    /// Returns the file with this name in the user's folder: a key is `good` or `bad`.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Returns what gives the user's key to a node: a setting for its command line.
    ///
    /// # Errors
    /// When there is no key.
    pub fn setting(&self) -> Result<String> {
        let line = std::fs::read_to_string(self.path("good.pub"))?;
        Ok(format!("ssh-key={}", line.split(' ').nth(1).context("no key")?))
    }

    /// Returns the client with a key, its options and a command, ready to be started with pipes for its output.
    ///
    /// # Errors
    /// When the node's port can't be reached.
    pub fn ssh(&self, node: &TestNode, key: &str, options: &[&str], command: &[&str]) -> Result<Command> {
        let address = node.tcp(22)?;
        let mut ssh = Command::new("ssh");
        ssh.arg("-i").arg(self.path(key)).args(["-F", "none", "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes"]);
        ssh.args(["-o", "StrictHostKeyChecking=accept-new", "-o", "HostKeyAlias=node", "-o"]);
        ssh.arg(format!("UserKnownHostsFile={}", self.path("known").display()));
        ssh.args(["-p", &address.port().to_string()]).args(options);
        ssh.arg(format!("anybody@{}", address.ip())).args(command);
        ssh.env_remove("SSH_AUTH_SOCK").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Ok(ssh)
    }

    /// Runs a command with the good key.
    ///
    /// # Errors
    /// When the client can't be run; what the node says against it is in [`Done`].
    pub fn run(&self, node: &TestNode, command: &str) -> Result<Done> {
        self.run_as(node, "good", &[], command)
    }

    /// Runs a command with a key and the client's options.
    ///
    /// # Errors
    /// As [`User::run`].
    pub fn run_as(&self, node: &TestNode, key: &str, options: &[&str], command: &str) -> Result<Done> {
        let output = self.ssh(node, key, options, &[command])?.output().context("running ssh")?;
        Ok(Done::from(&output))
    }
}

/// What a client has said, and with what status it ended.
#[derive(Debug)]
pub struct Done {
    /// Exit status.
    pub status: Option<i32>,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub errors: String,
}

impl From<&Output> for Done {
    fn from(output: &Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self { status: output.status.code(), out: text(&output.stdout), errors: text(&output.stderr) }
    }
}
