//! Whole Ethernet frames to and from a node, past the host's own network stack.

use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use smoltcp::phy::{Device, Medium, RawSocket, RxToken, TxToken};

use crate::lab::DEVICE;
use crate::packet::Mac;

/// A packet socket on the lab's network.
pub struct FrameSocket {
    socket: RawSocket,
}

impl FrameSocket {
    /// Opens a socket that sees every frame from now on; those that the host itself sends, too.
    ///
    /// # Errors
    /// When the calling thread does not live in a lab's private network.
    pub fn open() -> Result<Self> {
        let socket = RawSocket::new(DEVICE, Medium::Ethernet).context("opening a packet socket")?;
        Ok(Self { socket })
    }

    /// Sends one frame of at least 14 bytes.
    pub fn send(&mut self, frame: &[u8]) {
        if let Some(token) = self.socket.transmit(smoltcp::time::Instant::ZERO) {
            token.consume(frame.len(), |buffer| buffer.copy_from_slice(frame));
        }
    }

    /// Returns the next frame that `station` sent and for which `pick` gives a value, or `None` after `deadline`.
    ///
    /// # Errors
    /// When the socket fails.
    pub fn receive<T>(
        &mut self,
        station: Mac,
        deadline: Duration,
        mut pick: impl FnMut(&[u8]) -> Option<T>,
    ) -> Result<Option<T>> {
        let start = Instant::now();
        loop {
            while let Some((token, _)) = self.socket.receive(smoltcp::time::Instant::ZERO) {
                let picked = token.consume(|frame| if frame.get(6..12) == Some(&station) { pick(frame) } else { None });
                if picked.is_some() {
                    return Ok(picked);
                }
            }
            let Some(left) = deadline.checked_sub(start.elapsed()) else { return Ok(None) };
            smoltcp::phy::wait(self.socket.as_raw_fd(), Some(left.into())).context("waiting for a frame")?;
        }
    }
}
