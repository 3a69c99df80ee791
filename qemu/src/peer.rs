//! The far end of a node's cable, in the program that started it.

use std::fs;
use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::config::{CABLE_NODE_SOCKET, CABLE_PEER_SOCKET};

/// Longest frame that QEMU passes on, in bytes (its `NET_BUFSIZE` is 4 KiB + 64 KiB).
const FRAME_LEN_MAX: usize = 69_632;

/// Sends frames to a node and receives what it sends. A frame has no FCS.
#[derive(Debug)]
pub struct Peer {
    socket: UnixDatagram,
    node: PathBuf,
}

impl Peer {
    /// Binds the peer's end in `run_dir`, before QEMU looks for it.
    pub(crate) fn bind(run_dir: &Path) -> Result<Self> {
        let path = run_dir.join(CABLE_PEER_SOCKET);
        let socket = UnixDatagram::bind(&path).with_context(|| format!("{} can't be bound", path.display()))?;
        Ok(Self { socket, node: run_dir.join(CABLE_NODE_SOCKET) })
    }

    /// Sends a frame, from destination address to the end of the payload.
    ///
    /// # Errors
    /// When QEMU ended.
    pub fn send(&self, frame: &[u8]) -> io::Result<()> {
        self.socket.send_to(frame, &self.node).map(|_| ())
    }

    /// Returns the next frame that the node sent, or `None` when there was none within `timeout`.
    ///
    /// # Errors
    /// When the socket fails.
    pub fn receive(&self, timeout: Duration) -> io::Result<Option<Vec<u8>>> {
        // A time-out of zero would mean "for ever".
        self.socket.set_read_timeout(Some(timeout.max(Duration::from_micros(1))))?;
        let mut frame = vec![0; FRAME_LEN_MAX];
        match self.socket.recv(&mut frame) {
            Ok(len) => {
                frame.truncate(len);
                Ok(Some(frame))
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Returns a second handle of the same end, for another thread.
    ///
    /// # Errors
    /// When the socket can't be duplicated.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { socket: self.socket.try_clone()?, node: self.node.clone() })
    }

    /// Throws away every frame that has already arrived.
    ///
    /// # Errors
    /// When the socket fails.
    pub fn drain(&self) -> io::Result<()> {
        while self.receive(Duration::ZERO)?.is_some() {}
        Ok(())
    }

    /// Returns whether QEMU has bound its end.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        fs::exists(&self.node).unwrap_or(false)
    }
}
