//! Stock `defmt-print`, connected to a node.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};

use crate::node::{self, BOOT};
use crate::program::tool;
use crate::wait;

/// A running `defmt-print` and what it has printed.
pub struct Printer {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Printer {
    /// Connects to the node, or returns `None` where the program is not installed, and says so.
    ///
    /// # Errors
    /// When there is no image.
    pub fn connect(address: SocketAddr) -> Result<Option<Self>> {
        let mut command = Command::new(tool("defmt-print"));
        command.arg("-e").arg(&node::kit()?.elf).args(["tcp", "--host", &address.ip().to_string()]);
        let started = command.args(["--port", &address.port().to_string()]).stdout(Stdio::piped()).spawn();
        let Ok(mut child) = started else {
            crate::lab::say(
                "NOT TESTED (needs `cargo install --locked --root target/tools defmt-print@1.0.0`): defmt frames",
            );
            return Ok(None);
        };
        let output = BufReader::new(child.stdout.take().context("no output")?);
        let lines = Arc::new(Mutex::new(Vec::new()));
        let kept = lines.clone();
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                kept.lock().unwrap_or_else(PoisonError::into_inner).push(line);
            }
        });
        Ok(Some(Self { child, lines }))
    }

    /// Returns what it has printed.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits for a line that contains `part`.
    ///
    /// # Errors
    /// When none comes in time.
    pub fn wait_for(&self, part: &str) -> Result<String> {
        let found = wait::until(&format!("{part:?} from defmt-print"), BOOT, || {
            Ok(self.lines().into_iter().find(|line| line.contains(part)))
        });
        found.with_context(|| format!("{:#?}", self.lines()))
    }
}

impl Drop for Printer {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
