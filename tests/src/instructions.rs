//! How many instructions each core of a node executes: whatever else this machine does, and whatever the other cores do.
//!
//! What a node does for each frame is in there with what it does all the time, above all asking the USB for news, which depends
//! on how long something took. Where that matters, core 0's are counted by function.
//!
//! A plugin of QEMU counts them into a file, from which they can be read at any time.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use addr2line::Loader;
use anyhow::{Context, Result, anyhow, ensure};
use tempfile::TempDir;

use crate::node;

/// The oldest QEMU that takes the plugin: its interface is of version 2 from 9.0 on.
const OLDEST: u32 = 9;
/// Counts in front of those by place: see the plugin.
const CPUS: usize = 16;

/// The crates that a frame goes through between the NIC's driver and a socket, as [`Counter::of_crates`] takes them. What a core does
/// behind the driver depends on time, too.
pub const PATH: [&str; 4] = ["net::", "fault::", "smoltcp::", "nic::exchange::"];

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
        ensure!(core < CPUS, "no core has the number {core}");
        let mut count = [0; 8];
        let file = File::open(self.counts()).context("the instructions that were counted")?;
        file.read_exact_at(&mut count, 8 * core as u64)?;
        Ok(u64::from_le_bytes(count) as f64)
    }

    /// Returns how many instructions core 0 has executed so far in functions whose names begin so.
    ///
    /// # Errors
    /// As [`Counter::by_function`].
    pub fn of_crates(&self, crates: &[&str]) -> Result<f64> {
        let is_meant = |name: &str| crates.iter().any(|part| name.trim_start_matches('<').starts_with(part));
        Ok(self.by_function()?.iter().filter(|(name, _)| is_meant(name)).map(|(_, count)| count).sum())
    }

    /// Returns how many instructions core 0 has executed so far in each function of the image.
    ///
    /// # Errors
    /// When QEMU does not run with [`Counter::arguments`], or the image's symbols can't be read.
    pub fn by_function(&self) -> Result<BTreeMap<String, f64>> {
        let bytes = std::fs::read(self.counts()).context("the instructions that were counted")?;
        let elf = &node::kit()?.elf;
        let symbols = Loader::new(elf).map_err(|error| anyhow!("{}: {error}", elf.display()))?;
        let mut functions = BTreeMap::new();
        for (place, count) in bytes.chunks_exact(8).skip(CPUS).enumerate() {
            let count = u64::from_le_bytes(count.try_into()?);
            if count > 0
                && let Some(symbol) = symbols.find_symbol(4 * place as u64)
            {
                *functions.entry(addr2line::demangle_auto(symbol.into(), None).into_owned()).or_default() +=
                    count as f64;
            }
        }
        Ok(functions)
    }

    fn counts(&self) -> PathBuf {
        self.folder.path().join("counts")
    }
}
