//! Ctrl-C: the first ends an experiment in good order, the second at once.

use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};

use crate::progress::say;

/// What a shell shows for a program that Ctrl-C ended: 128 + SIGINT.
const STATUS: i32 = 130;

/// Whether the user has had enough.
#[derive(Clone, Debug)]
pub(super) struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Catches Ctrl-C, SIGTERM and SIGHUP from now on. Once in a process.
    ///
    /// # Errors
    /// When they are caught already.
    pub(super) fn catch() -> Result<Self> {
        let flag = Arc::new(AtomicBool::new(false));
        let handler = flag.clone();
        let handle = move || {
            if handler.swap(true, Ordering::Relaxed) {
                say("left at once: faults end by themselves, workloads go on");
                process::exit(STATUS);
            }
            say("interrupted: everything is stopped; Ctrl-C again leaves at once");
        };
        ctrlc::set_handler(handle).context("Ctrl-C can't be caught")?;
        Ok(Self(flag))
    }

    /// Returns whether one of them has come.
    pub(super) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
