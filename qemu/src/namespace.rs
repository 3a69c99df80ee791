//! Network namespaces of Linux (network_namespaces(7)): a network that only some threads and programs see. One without a name lives
//! as long as a thread, a program or a [`Namespace`] is in it or refers to it, and takes its interfaces along when it ends. So
//! however its owner ends, nothing is left.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;
use std::thread;

use anyhow::{Context, Result, bail};
use nix::sched::{CloneFlags, setns, unshare};
use nix::unistd::geteuid;

/// A reference to a namespace.
#[derive(Debug)]
pub struct Namespace(File);

impl Namespace {
    /// Returns that of the calling thread.
    ///
    /// # Errors
    /// When there is no `/proc`.
    pub fn current() -> io::Result<Self> {
        File::open("/proc/thread-self/ns/net").map(Self)
    }

    /// Moves the calling thread, and what it starts from now on, into a new namespace, which has only a loopback interface that
    /// is down. Returns the former one.
    ///
    /// # Errors
    /// When the system does not allow it, see [`obstacle`].
    pub fn leave_for_new() -> Result<Self> {
        let former = Self::current().context("opening the network namespace")?;
        unshare(CloneFlags::CLONE_NEWNET).context("making a network namespace")?;
        Ok(former)
    }

    /// Moves the calling thread into this one.
    ///
    /// # Errors
    /// When the system does not allow it.
    pub fn enter(&self) -> io::Result<()> {
        Ok(setns(&self.0, CloneFlags::CLONE_NEWNET)?)
    }

    /// Returns a second reference.
    ///
    /// # Errors
    /// When the system has no more descriptors.
    pub fn try_clone(&self) -> io::Result<Self> {
        self.0.try_clone().map(Self)
    }

    /// Does something with the calling thread in this namespace. A socket stays in the one that it was made in.
    ///
    /// # Errors
    /// When the thread can't go there, or back.
    pub fn visit<T>(&self, action: impl FnOnce() -> T) -> io::Result<T> {
        let home = Self::current()?;
        if home.0.metadata()?.ino() == self.0.metadata()?.ino() {
            return Ok(action());
        }
        self.enter()?;
        let result = action();
        home.enter()?;
        Ok(result)
    }
}

/// Returns what stands in the way of a network of our own with tap interfaces, and what to do about it, if anything.
#[must_use]
pub fn obstacle() -> Option<&'static str> {
    static OBSTACLE: OnceLock<Option<&'static str>> = OnceLock::new();
    *OBSTACLE.get_or_init(|| {
        if !geteuid().is_root() {
            Some("not root")
        } else if !Path::new("/dev/net/tun").exists() {
            Some("no /dev/net/tun; modprobe tun makes it")
        } else if Command::new("ip").arg("-V").output().is_err() {
            Some("no ip command; install iproute2")
        } else if thread::spawn(|| unshare(CloneFlags::CLONE_NEWNET)).join().is_ok_and(|made| made.is_ok()) {
            None
        } else {
            Some("no right to make a network namespace")
        }
    })
}

/// Runs `ip` (ip(8)) in the calling thread's namespace. Arguments are separated by single blanks.
///
/// # Errors
/// What `ip` says.
pub fn ip(arguments: &str) -> Result<()> {
    let output = Command::new("ip").args(arguments.split(' ')).output().context("running ip")?;
    if !output.status.success() {
        bail!("ip {arguments}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
