//! One command over SSH, by the user's OpenSSH, within a time.

use std::env;
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use ::ssh::{HostKey, PublicKey};
use anyhow::{Context, Result, anyhow, bail};
use config::RackSecret;
use qemu::config::DEFAULT_MAC;
use tempfile::NamedTempFile;

use super::lan::plain;
use super::node::{Node, Origin};

/// Between two looks at whether it has ended or is to end.
const LOOK: Duration = Duration::from_millis(20);
/// Longest output that is kept, of each kind: what comes behind it is shown, and no more.
const OUTPUT_LEN_MAX: usize = 16 << 20;
/// Longest line that is shown as one.
const LINE_LEN_MAX: u64 = 64 << 10;
/// Status with which ssh(1) says that it is its own failure and not the command's.
const OWN_FAILURE: i32 = 255;
/// The user's name, which no node looks at.
const USER: &str = "rack";

/// How to log in to a node.
#[derive(Clone, Debug, Default)]
pub(crate) struct Access {
    /// The private key; `None` leaves the choice to OpenSSH: the agent, and keys at the usual places.
    pub(crate) identity: Option<PathBuf>,
    /// The nodes' host keys.
    pub(crate) hosts: Hosts,
}

/// Which host keys are right.
#[derive(Clone, Debug, Default)]
pub(crate) enum Hosts {
    /// Those in this file, and no others.
    Known(PathBuf),
    /// Any at first, which is put into this file, and later only the same.
    OnFirstUse(PathBuf),
    /// That of the board, which follows from the rack's secret.
    OfSecret(RackSecret),
    /// What the user's OpenSSH thinks.
    #[default]
    Configured,
}

/// What a command has said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Output {
    /// Its exit status; a node's commands have 0 and 1.
    pub(crate) status: i32,
    /// Standard output.
    pub(crate) stdout: String,
    /// Standard error.
    pub(crate) stderr: String,
}

impl Output {
    /// Returns whether the command succeeded.
    pub(crate) fn is_success(&self) -> bool {
        self.status == 0
    }
}

/// Which of its outputs a line comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Standard output.
    Out,
    /// Standard error.
    Error,
}

/// Runs a command, showing each line of what it says as it comes. See [`Node::ssh`].
pub(super) fn run(
    node: &Node,
    command: &str,
    timeout: Duration,
    is_cancelled: &dyn Fn() -> bool,
    show: &(dyn Fn(Kind, &str) + Sync),
) -> Result<Output> {
    // The file goes when ssh has ended.
    let (mut ssh, _hosts) = client_of(node)?;
    ssh.arg(command).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = ssh.spawn().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => anyhow!("ssh is not installed: install openssh-client"),
        _ => anyhow!("ssh can't be run: {error}"),
    })?;
    let (Some(out), Some(errors)) = (child.stdout.take(), child.stderr.take()) else { bail!("ssh has no output") };
    let (status, stdout, stderr) = thread::scope(|scope| {
        let out = scope.spawn(|| read_lines(out, |line| show(Kind::Out, line)));
        // What ssh itself says is the reason of a failure and shown with it.
        let errors = scope.spawn(|| read_lines(errors, |_| ()));
        let status = wait(&mut child, timeout, is_cancelled);
        if status.is_err() {
            // It may have ended by itself. Its proxy ends with its pipes.
            let _ = child.kill();
            let _ = child.wait();
        }
        let text = |thread: thread::ScopedJoinHandle<'_, String>| thread.join().unwrap_or_default();
        (status, text(out), text(errors))
    });
    let status = status?;
    let code = status.code().with_context(|| format!("ssh ended with {status}"))?;
    if code == OWN_FAILURE {
        bail!(explained(node, stderr.trim()));
    }
    stderr.lines().for_each(|line| show(Kind::Error, line));
    Ok(Output { status: code, stdout, stderr })
}

/// Returns `ssh` with everything but the command, and a file of host keys that it needs until its end, if it does.
pub(super) fn client_of(node: &Node) -> Result<(Command, Option<NamedTempFile>)> {
    let derived = derived_hosts(node)?;
    let mut ssh = client(node, derived.as_ref().map(NamedTempFile::path), Talk::Command)?;
    // Of a group of its own: Ctrl-C is for whoever asked, who may have something to do before the end.
    ssh.process_group(0);
    Ok((ssh, derived))
}

/// Returns `ssh` as it has a shell on this terminal, and the file of host keys, as [`client_of`].
pub(super) fn shell(node: &Node) -> Result<(Command, Option<NamedTempFile>)> {
    let derived = derived_hosts(node)?;
    Ok((client(node, derived.as_ref().map(NamedTempFile::path), Talk::Shell)?, derived))
}

/// What is wanted of a node.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Talk {
    /// That it runs a command; nobody is asked for anything.
    Command,
    /// A shell on this terminal.
    Shell,
}

/// Returns `ssh` with everything but the command; `derived` is a file of host keys that were derived from a secret.
fn client(node: &Node, derived: Option<&Path>, talk: Talk) -> Result<Command> {
    node.require_address().map_err(anyhow::Error::msg)?;
    let mut ssh = Command::new("ssh");
    match talk {
        Talk::Command => ssh.args(["-T", "-o", "BatchMode=yes"]),
        Talk::Shell => ssh.arg("-t"),
    };
    ssh.args(["-o", "ConnectTimeout=10", "-o", "LogLevel=ERROR"]);
    ssh.args(["-o", &format!("HostKeyAlias={}", node.name)]);
    if let Some(identity) = &node.access.identity {
        ssh.arg("-i").arg(identity).args(["-o", "IdentitiesOnly=yes"]);
    }
    match &node.access.hosts {
        Hosts::Known(file) => known(&mut ssh, file, "yes"),
        Hosts::OnFirstUse(file) => {
            if let Some(directory) = file.parent() {
                fs::create_dir_all(directory).with_context(|| format!("{} can't be made", directory.display()))?;
            }
            known(&mut ssh, file, "accept-new");
        }
        Hosts::OfSecret(_) => known(&mut ssh, derived.context("no host keys were derived")?, "yes"),
        Hosts::Configured => {}
    }
    if let Origin::Rack(rack) = &node.origin {
        let program = env::current_exe().context("the path of this program")?;
        let proxy = format!("{} dial --rack {rack} {} %p", quoted(&program), node.address.ip());
        ssh.args(["-F", "none", "-o", &format!("ProxyCommand={proxy}")]);
        // The node multiplies on its curves in an emulator, where ML-KEM beside X25519 takes as long again, and nobody listens
        // in between.
        ssh.args(["-o", "KexAlgorithms=curve25519-sha256"]);
    }
    ssh.args(["-l", USER, "--", &node.address.ip().to_string()]);
    Ok(ssh)
}

/// Writes the host keys that the board may have, if they follow from a secret. Who it is it says itself, over a connection that nobody protects; who says it
/// in its place does not have the key.
fn derived_hosts(node: &Node) -> Result<Option<NamedTempFile>> {
    let Hosts::OfSecret(secret) = &node.access.hosts else { return Ok(None) };
    let mut file = NamedTempFile::new().context("a file for host keys")?;
    for key in host_keys(node, secret)? {
        writeln!(file, "{} {}", node.name, key.to_openssh()).context("a file for host keys")?;
    }
    Ok(Some(file))
}

/// Returns the host keys that a board may have in a rack with this secret.
///
/// # Errors
/// When it does not tell its serial number and its Ethernet address.
pub(super) fn host_keys(node: &Node, secret: &RackSecret) -> Result<Vec<PublicKey>> {
    let who = node.api("node").context("it does not tell its serial number, which its host key depends on")?;
    let network =
        node.api("network").context("it does not tell its Ethernet address, which its host key depends on")?;
    let serial = who["serial"].as_str().and_then(|text| u64::from_str_radix(text, 16).ok()).unwrap_or(0);
    let octets = network["mac"].as_str().unwrap_or_default().split(':').map(|octet| u8::from_str_radix(octet, 16).ok());
    let mac: Option<Vec<u8>> = octets.collect();
    let mac = mac.and_then(|octets| octets.try_into().ok()).unwrap_or_default();
    // Of a board whose firmware tells no address, and of an emulated one, whose firmware always tells the same.
    let macs: [[u8; 6]; 3] = [mac, [0; 6], DEFAULT_MAC];
    let of = |mac: [u8; 6], name: &str| HostKey::of_board(&secret.0, serial, mac, name).public();
    Ok(macs.iter().flat_map(|mac| [of(*mac, &node.name), of(*mac, "")]).collect())
}

fn known(ssh: &mut Command, file: &Path, strict: &str) {
    ssh.args(["-o", &format!("StrictHostKeyChecking={strict}"), "-o", "GlobalKnownHostsFile=/dev/null"]);
    // A file that ssh would take for several needs quotes (ssh_config(5)).
    ssh.args(["-o", &format!("UserKnownHostsFile=\"{}\"", file.display().to_string().replace('%', "%%"))]);
}

/// Returns a path as the shell wants it that runs a proxy, with `%` as ssh_config(5) wants it.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', "'\\''").replace('%', "%%"))
}

fn wait(child: &mut Child, timeout: Duration, is_cancelled: &dyn Fn() -> bool) -> Result<ExitStatus> {
    let begin = Instant::now();
    loop {
        if let Some(status) = child.try_wait().context("waiting for ssh")? {
            return Ok(status);
        }
        if is_cancelled() {
            bail!("interrupted");
        }
        if begin.elapsed() >= timeout {
            bail!("it has not ended within {:.0} s", timeout.as_secs_f64());
        }
        thread::sleep(LOOK);
    }
}

/// Reads to the end, tells of each line, and returns the whole, or as much of its beginning as is kept.
fn read_lines(from: impl Read, mut show: impl FnMut(&str)) -> String {
    let mut reader = BufReader::new(from);
    let mut all = String::new();
    loop {
        let mut line = Vec::new();
        match reader.by_ref().take(LINE_LEN_MAX).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return all,
            Ok(_) => {
                let line = String::from_utf8_lossy(&line);
                show(line.trim_end_matches(['\r', '\n']));
                if all.len() + line.len() <= OUTPUT_LEN_MAX {
                    all.push_str(&line);
                }
            }
        }
    }
}

/// Returns what a failure of ssh means here, and what to do.
pub(super) fn explained(node: &Node, said: &str) -> String {
    let is_virtual = matches!(node.origin, Origin::Rack(_));
    let has = |text: &str| said.contains(text);
    let what = if has("read-only") {
        "it is read-only: it was given no key at its start"
    } else if has("Permission denied") {
        match (is_virtual, &node.access.identity) {
            (true, None) => {
                "it has no key of this rack's (`up --read-only`?): start it without, or name yours with --identity"
            }
            (_, Some(_)) => "it does not accept that key",
            (false, None) => "it accepts none of your keys: name the right one with --identity",
        }
    } else if has("Host key verification failed") || has("REMOTE HOST IDENTIFICATION HAS CHANGED") {
        "its host key is another one than expected: it belongs to another rack, or was started anew with another rack secret or \
         with none"
    } else if has("did not answer") || has("timed out") || has("closed by") || has("banner exchange") {
        "it does not answer at port 22"
    } else {
        "ssh failed"
    };
    let last = said.lines().rev().find(|line| !line.trim().is_empty());
    last.map_or_else(|| what.to_owned(), |line| format!("{what} ({})", plain(line.trim())))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use std::sync::Arc;

    use super::*;

    fn node(origin: Origin, access: Access) -> Node {
        Node { origin, access: Arc::new(access), ..super::super::node::tests::node("pi-1", 1) }
    }

    fn arguments(node: &Node) -> Vec<String> {
        let client = client(node, None, Talk::Command).unwrap();
        client.get_args().map(|argument| argument.to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn a_virtual_node_is_known_by_its_key_and_reached_through_its_rack() {
        let hosts = Hosts::Known("/run/a b/known".into());
        let access = Access { identity: Some("/k".into()), hosts };
        let arguments = arguments(&node(Origin::Rack("web".parse().unwrap()), access));
        let has = |wanted: &str| arguments.iter().any(|argument| argument == wanted);
        assert!(has("StrictHostKeyChecking=yes") && has("UserKnownHostsFile=\"/run/a b/known\""), "{arguments:?}");
        assert!(has("HostKeyAlias=pi-1") && has("IdentitiesOnly=yes") && has("none"), "{arguments:?}");
        assert!(
            arguments.iter().any(|a| a.starts_with("ProxyCommand='") && a.ends_with("dial --rack web 10.77.0.11 %p"))
        );
    }

    #[test]
    fn a_node_of_the_network_is_left_to_the_users_own_openssh() {
        let arguments = arguments(&node(Origin::Lan, Access::default()));
        assert!(
            !arguments.iter().any(|a| a.contains("Proxy") || a.contains("StrictHost") || a == "-F"),
            "{arguments:?}"
        );
        assert_eq!(arguments[arguments.len() - 2..], ["--", "10.77.0.11"]);
    }

    #[test]
    fn failures_say_what_to_do() {
        let lan = node(Origin::Lan, Access::default());
        assert!(explained(&lan, "rack@10.0.0.1: Permission denied (publickey).").contains("--identity"));
        assert!(explained(&lan, "Host key verification failed.").contains("another rack"));
        assert!(explained(&lan, "Connection timed out during banner exchange").contains("does not answer"));
        assert_eq!(explained(&lan, "x\nsomething\n\n"), "ssh failed (something)");
        assert_eq!(explained(&lan, "a\u{1b}[2Jb"), "ssh failed (a\u{fffd}[2Jb)", "a terminal obeys none of it");
    }

    #[test]
    fn a_log_that_is_followed_goes_on_after_all_that_is_kept() {
        let line = format!("{}\n", "x".repeat(999));
        let lines = 2 * OUTPUT_LEN_MAX / line.len();
        let mut shown = 0;
        let kept = read_lines(line.repeat(lines).as_bytes(), |line| shown += usize::from(line.len() == 999));
        assert_eq!(shown, lines);
        assert!(kept.len() <= OUTPUT_LEN_MAX && kept.len() > OUTPUT_LEN_MAX / 2 && kept.ends_with("x\n"));
        let mut longest = 0;
        read_lines(vec![b'x'; 1 << 20].as_slice(), |line| longest = longest.max(line.len()));
        assert_eq!(longest as u64, LINE_LEN_MAX);
    }

    #[test]
    fn paths_survive_the_shell_and_ssh() {
        assert_eq!(quoted(Path::new("/a b/it's%d")), r"'/a b/it'\''s%%d'");
    }
}
