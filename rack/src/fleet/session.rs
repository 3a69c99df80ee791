//! A login that stays, for many commands: each is a line to the node's shell, which answers each with at least one line.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tempfile::NamedTempFile;

use super::lan::plain;
use super::node::Node;
use super::ssh::{self, Kind};

/// Between two looks at whether to give up.
const LOOK: Duration = Duration::from_millis(20);
/// How long the rest of an answer may take after its first line: it was sent with it.
const REST: Duration = Duration::from_millis(30);
/// Lines that wait to be read at most. A node that says more, unasked, waits itself.
const LINES_MAX: usize = 1000;
/// Longest line that is taken.
const LINE_LEN_MAX: u64 = 64 << 10;

/// See the module. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Session {
    ssh: Child,
    input: ChildStdin,
    lines: Receiver<(Kind, String)>,
    /// What it knows the node by, until its end.
    _hosts: Option<NamedTempFile>,
}

impl Session {
    /// Begins to log in. Whether that succeeds, the first command tells.
    ///
    /// # Errors
    /// When there is no OpenSSH.
    pub(crate) fn open(node: &Node) -> Result<Self> {
        let (mut command, hosts) = ssh::client_of(node)?;
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut ssh = command.spawn().context("ssh can't be run: install openssh-client")?;
        let pipes = (ssh.stdin.take(), ssh.stdout.take(), ssh.stderr.take());
        let (Some(input), Some(out), Some(errors)) = pipes else { bail!("ssh has no input or output") };
        let (sender, lines) = sync_channel(LINES_MAX);
        let other = sender.clone();
        thread::spawn(move || read(out, Kind::Out, &sender));
        thread::spawn(move || read(errors, Kind::Error, &other));
        Ok(Self { ssh, input, lines, _hosts: hosts })
    }

    /// Has the node carry out a line, and returns when it has answered and what it says; in the inner error what it says against it.
    ///
    /// # Errors
    /// When the session has ended, with the reason; when there is no answer within `timeout`, or `is_cancelled`.
    pub(crate) fn tell(
        &mut self,
        node: &Node,
        line: &str,
        timeout: Duration,
        is_cancelled: &dyn Fn() -> bool,
    ) -> Result<(Instant, Result<String, String>)> {
        // What is left of an earlier answer is not this one's.
        while self.lines.try_recv().is_ok() {}
        let sent = self.input.write_all(format!("{line}\n").as_bytes()).and_then(|()| self.input.flush());
        if sent.is_err() {
            bail!(self.end(node, String::new()));
        }
        let deadline = Instant::now() + timeout;
        let (kind, mut said) = loop {
            match self.lines.recv_timeout(LOOK) {
                Ok((kind, text)) => break (kind, text),
                Err(RecvTimeoutError::Disconnected) => bail!(self.end(node, String::new())),
                Err(RecvTimeoutError::Timeout) if is_cancelled() => bail!("interrupted"),
                Err(RecvTimeoutError::Timeout) if Instant::now() >= deadline => {
                    bail!("it has not answered to '{line}' within {:.0} s", timeout.as_secs_f64())
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
        };
        let answered = Instant::now();
        while let Ok((_, text)) = self.lines.recv_timeout(REST) {
            said.push('\n');
            said.push_str(&text);
        }
        match kind {
            Kind::Out => Ok((answered, Ok(said))),
            // What ssh itself says comes there, too: then it ends.
            Kind::Error if self.ssh.try_wait().is_ok_and(|status| status.is_some()) => bail!(self.end(node, said)),
            Kind::Error => Ok((answered, Err(said))),
        }
    }

    /// Returns whether it is over, and nothing can be told any more.
    pub(crate) fn has_ended(&mut self) -> bool {
        !matches!(self.ssh.try_wait(), Ok(None))
    }

    fn end(&mut self, node: &Node, mut said: String) -> String {
        while let Ok((_, text)) = self.lines.recv_timeout(REST) {
            said.push('\n');
            said.push_str(&text);
        }
        ssh::explained(node, said.trim())
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.ssh.kill();
        let _ = self.ssh.wait();
    }
}

fn read(from: impl Read, kind: Kind, lines: &SyncSender<(Kind, String)>) {
    let mut reader = BufReader::new(from);
    loop {
        let mut line = Vec::new();
        match reader.by_ref().take(LINE_LEN_MAX).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) => {
                let text = plain(String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']));
                // Nobody waits any more.
                if lines.send((kind, text)).is_err() {
                    return;
                }
            }
        }
    }
}
