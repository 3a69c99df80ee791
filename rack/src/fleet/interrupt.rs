//! Ctrl-C as a flag, for commands that have something to end first.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};

/// What a shell shows for a program that Ctrl-C ended: 128 + SIGINT.
pub(crate) const STATUS: u8 = 130;

/// Whether the user has had enough.
#[derive(Clone, Debug)]
pub(crate) struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Catches Ctrl-C, SIGTERM and SIGHUP from now on. Once in a process.
    ///
    /// # Errors
    /// When they are caught already.
    pub(crate) fn catch() -> Result<Self> {
        let flag = Arc::new(AtomicBool::new(false));
        let handler = flag.clone();
        ctrlc::set_handler(move || handler.store(true, Ordering::Relaxed)).context("Ctrl-C can't be caught")?;
        Ok(Self(flag))
    }

    /// Returns whether one of them has come.
    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
