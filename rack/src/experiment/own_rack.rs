//! A virtual rack of an experiment's own, which ends with it, however it ends.

use std::env;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::unix::process::CommandExt;
use std::process::{self, Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};

use super::stop::Stop;
use crate::progress::{Progress, say};
use crate::virtual_rack::place::{Place, RackName};
use crate::virtual_rack::protocol::{self, Request, State};

/// Between two looks at how far it is.
const LOOK: Duration = Duration::from_millis(100);
/// How long a rack that was told to end may take.
const END_TIMEOUT: Duration = Duration::from_secs(15);

/// See the module.
#[derive(Debug)]
pub(super) struct OwnRack {
    place: Place,
    up: Child,
    /// What `up` has to say.
    log: File,
}

impl OwnRack {
    /// Starts `count` nodes and waits until all are up.
    ///
    /// # Errors
    /// When one does not come up, with what `up` says; nothing is left of it then.
    pub(super) fn start(count: usize, is_built: bool, stop: &Stop) -> Result<Self> {
        let name: RackName = format!("experiment-{}", process::id()).parse().map_err(anyhow::Error::msg)?;
        let place = Place::of(&name)?;
        let log = tempfile::tempfile().context("a file for what `up` says")?;
        let program = env::current_exe().context("the path of this program")?;
        let mut arguments = vec!["up".to_owned(), count.to_string(), "--rack".into(), name.to_string()];
        // Exact timers: what is measured is not to depend on how idle a node was before.
        arguments.extend(["--foreground".into(), "--precise".into()]);
        if is_built {
            arguments.push("--no-build".into());
        }
        // The kernel tells it when this program is gone, even if it was killed. Where there is no setpriv, `down` has to.
        let mut guarded = Command::new("setpriv");
        guarded.args(["--pdeathsig", "TERM", "--"]).arg(&program);
        let up = match spawn(guarded, &arguments, &log) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => spawn(Command::new(&program), &arguments, &log),
            result => result,
        };
        let mut rack = Self { place, up: up.context("a virtual rack can't be started")?, log };
        rack.wait(stop)?;
        Ok(rack)
    }

    pub(super) fn name(&self) -> &RackName {
        self.place.name()
    }

    fn wait(&mut self, stop: &Stop) -> Result<()> {
        Progress::start("starting a virtual rack").follow(|line| {
            let mut told = usize::MAX;
            loop {
                if stop.is_set() {
                    bail!("interrupted");
                }
                if let Some(status) = self.up.try_wait().context("waiting for `up`")? {
                    let mut said = String::new();
                    self.log
                        .rewind()
                        .and_then(|()| self.log.read_to_string(&mut said))
                        .context("what `up` has said")?;
                    return Err(anyhow!("a virtual rack can't be started ({status}): {}", said.trim()));
                }
                // Before its supervisor answers, `up` builds the image.
                let Some(status) = protocol::status(&self.place).ok().flatten() else {
                    thread::sleep(LOOK);
                    continue;
                };
                if let Some(node) = status.nodes.iter().find(|node| node.error.is_some()) {
                    bail!("{} did not come up: {}", node.name, node.error.as_deref().unwrap_or_default());
                }
                let up = status.nodes.iter().filter(|node| node.state == State::Up).count();
                if up != told {
                    line(&format!("{up} of {} nodes are up", status.nodes.len()));
                    told = up;
                }
                if up == status.nodes.len() {
                    return Ok(());
                }
                thread::sleep(LOOK);
            }
        })
    }
}

impl Drop for OwnRack {
    fn drop(&mut self) {
        // Whether it obeys shows below.
        let _ = protocol::ask(&self.place, &Request::Down);
        let deadline = Instant::now() + END_TIMEOUT;
        while matches!(self.up.try_wait(), Ok(None)) {
            if Instant::now() >= deadline {
                say(&format!("rack {} did not end by itself and was killed", self.place.name()));
                let _ = self.up.kill();
                let _ = self.up.wait();
                break;
            }
            // Not up far enough to be asked.
            if !self.place.control().exists() {
                let _ = self.up.kill();
            }
            thread::sleep(LOOK);
        }
        // Its name is this process's number: nobody waits for the lock.
        if let Ok(Some(lock)) = self.place.lock()
            && let Err(error) = self.place.clear().and_then(|()| self.place.forget(lock))
        {
            say(&format!("warning: {error:#}"));
        }
    }
}

fn spawn(mut command: Command, arguments: &[String], log: &File) -> io::Result<Child> {
    // Of a group of its own: Ctrl-C is for this program, which has to heal the nodes first.
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log.try_clone()?).process_group(0).spawn()
}
