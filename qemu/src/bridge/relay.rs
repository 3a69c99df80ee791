//! Two connections made one: what comes from either goes to the other, until both have ended.

use std::fs::File;
use std::io;
use std::net::TcpStream;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use nix::libc;
use nix::sys::socket::{Shutdown, setsockopt, shutdown, sockopt};

/// Connections at a time, in both directions together; others wait in the queues of the sockets that listen.
const CONNECTIONS_MAX: usize = 256;
/// A node that says nothing is asked whether it is there after so long, in seconds,
const KEEP_ALIVE_S: u32 = 15;
/// and is given up when nothing has been heard of it for so long, in milliseconds.
const SILENCE_MAX_MS: u32 = 60_000;

/// Places for connections.
#[derive(Clone, Debug, Default)]
pub(super) struct Places(Arc<(Mutex<usize>, Condvar)>);

/// A place that is taken until this is dropped.
#[derive(Debug)]
pub(super) struct Place(Places);

impl Places {
    /// Waits for a place.
    pub(super) fn take(&self) -> Place {
        let mut taken = self.taken();
        while *taken >= CONNECTIONS_MAX {
            taken = self.0.1.wait(taken).unwrap_or_else(PoisonError::into_inner);
        }
        *taken += 1;
        Place(self.clone())
    }

    fn taken(&self) -> MutexGuard<'_, usize> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        *self.0.taken() -= 1;
        self.0.0.1.notify_one();
    }
}

/// Moves bytes between two sockets until both have said all, or one fails: then both end.
pub(super) fn relay(a: OwnedFd, b: OwnedFd) {
    let (a, b) = (File::from(a), File::from(b));
    thread::scope(|scope| {
        let there = || copy(&a, &b);
        if thread::Builder::new().spawn_scoped(scope, there).is_ok() {
            copy(&b, &a);
        }
    });
}

/// Copies until `from` has said all, and tells `to` that; on an error ends both.
fn copy(mut from: &File, mut to: &File) {
    if io::copy(&mut from, &mut to).is_ok() {
        let _ = shutdown(to.as_raw_fd(), Shutdown::Write);
    } else {
        // What is left of either is of no use to the other.
        let _ = shutdown(from.as_raw_fd(), Shutdown::Both);
        let _ = shutdown(to.as_raw_fd(), Shutdown::Both);
    }
}

/// Has the other end of a connection to a node, which may be switched off in the middle, be asked whether it is there.
///
/// # Errors
/// When the system does not know how.
pub(super) fn expect_life(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = &stream.as_fd();
    setsockopt(socket, sockopt::KeepAlive, &true)?;
    setsockopt(socket, sockopt::TcpKeepIdle, &KEEP_ALIVE_S)?;
    setsockopt(socket, sockopt::TcpKeepInterval, &KEEP_ALIVE_S)?;
    setsockopt(socket, sockopt::TcpUserTimeout, &SILENCE_MAX_MS)?;
    Ok(())
}

/// Has the other end see a reset, and not an orderly end, when the stream is dropped.
pub(super) fn reset(stream: &TcpStream) {
    // Closing a TCP socket that must not linger resets it (socket(7)).
    let now = libc::linger { l_onoff: 1, l_linger: 0 };
    // If not, it is an end all the same.
    let _ = setsockopt(&stream.as_fd(), sockopt::Linger, &now);
}
