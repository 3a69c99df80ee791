//! Programs of others that a node talks to: started for a test, stopped and started again, ended with it.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::wait;

/// Longest that a program may take to end when it is asked to.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running program; it is killed on drop.
#[derive(Debug)]
pub struct Program {
    child: Child,
}

impl Program {
    /// Starts a program. Returns `None` if it is not installed; the caller's test then does not run, and what it needs and
    /// `what` it would have shown is printed.
    ///
    /// # Errors
    /// When it is there and does not start.
    pub fn start(command: &mut Command, package: &str, what: &str) -> Result<Option<Self>> {
        match command.stdin(Stdio::null()).spawn() {
            Ok(child) => Ok(Some(Self { child })),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                crate::lab::say(&format!("NOT TESTED (needs {package}): {what}"));
                Ok(None)
            }
            Err(error) => Err(error).with_context(|| format!("starting {command:?}")),
        }
    }

    /// Asks the program to end and waits until it has.
    ///
    /// # Errors
    /// When it has ended before, or does not end.
    pub fn stop(mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("the program has ended by itself: {status}");
        }
        kill(Pid::from_raw(i32::try_from(self.child.id())?), Signal::SIGTERM).context("SIGTERM")?;
        wait::until("a program to end", PATIENCE, || Ok(self.child.try_wait()?.map(|_| ())))
    }

    /// Ends the program without giving it a chance to do anything.
    ///
    /// # Errors
    /// When it can't be waited for.
    pub fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns where a program is that `.ci/run` installs with cargo below `target/tools`; otherwise `PATH` is searched for it.
#[must_use]
pub fn tool(name: &str) -> PathBuf {
    let own = qemu::build::workspace_root().map(|root| root.join("target/tools/bin").join(name));
    own.ok().filter(|path| path.is_file()).unwrap_or_else(|| name.into())
}
