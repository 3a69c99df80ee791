//! How many instructions each core of a node executes: whatever else this machine does, and whatever the other cores do.
//!
//! A plugin of QEMU counts them into a file, from which they can be read at any time.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use crate::node;

/// The oldest QEMU that takes the plugin: its interface is of version 2 from 9.0 on.
const OLDEST: u32 = 9;

/// The plugin, and the file that it counts in.
pub struct Counter {
    folder: TempDir,
    plugin: PathBuf,
}

impl Counter {
    /// Compiles the plugin; `None` if this machine's QEMU is too old for it.
    ///
    /// # Errors
    /// When there is no C compiler, or the plugin does not compile.
    pub fn new() -> Result<Option<Self>> {
        if node::kit()?.qemu.version.major < OLDEST {
            return Ok(None);
        }
        let folder = tempfile::tempdir()?;
        let plugin = folder.path().join("count.so");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/instructions/count.c");
        let status =
            Command::new("cc").args(["-O2", "-Wall", "-shared", "-fPIC", "-o"]).arg(&plugin).arg(&source).status();
        ensure!(status.context("running cc (gcc)")?.success(), "{} does not compile", source.display());
        Ok(Some(Self { folder, plugin }))
    }

    /// Returns the arguments with which QEMU counts.
    #[must_use]
    pub fn arguments(&self) -> [String; 2] {
        ["-plugin".into(), format!("{},out={}", self.plugin.display(), self.counts().display())]
    }

    /// Returns how many instructions a core has executed so far.
    ///
    /// # Errors
    /// When QEMU does not run with [`Counter::arguments`], or has no such core.
    pub fn of_core(&self, core: usize) -> Result<f64> {
        let bytes = std::fs::read(self.counts()).context("the instructions that were counted")?;
        let count = bytes.get(8 * core..8 * core + 8).context("no such core")?;
        Ok(u64::from_le_bytes(count.try_into()?) as f64)
    }

    fn counts(&self) -> PathBuf {
        self.folder.path().join("counts")
    }
}
