//! A port of the switch as smoltcp's network device, for a program in this process that speaks IP.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::time::Instant;

use super::{FRAME_LEN_MAX, Link};

/// Longest frame that smoltcp makes, in bytes: header and 1,500 bytes, as on a real wire.
const MTU: usize = 1514;
/// While so many bytes wait to be taken by the switch, smoltcp sends nothing.
const BACKLOG: usize = 256 * 1024;
/// Read at a time, in bytes.
const CHUNK: usize = 64 * 1024;

/// See the module. It never waits: [`Station::turn`] moves what can be moved, and its descriptor tells when there is more.
#[derive(Debug)]
pub struct Station {
    stream: UnixStream,
    /// Read, and not a whole frame yet.
    partial: Vec<u8>,
    frames: VecDeque<Vec<u8>>,
    outgoing: Vec<u8>,
    chunk: Box<[u8]>,
}

impl Station {
    /// Makes a device of a port.
    ///
    /// # Errors
    /// When the link can't be made non-blocking.
    pub fn new(link: Link) -> io::Result<Self> {
        link.0.set_nonblocking(true)?;
        let chunk = vec![0; CHUNK].into_boxed_slice();
        Ok(Self { stream: link.0, partial: Vec::new(), frames: VecDeque::new(), outgoing: Vec::new(), chunk })
    }

    /// Reads the frames that have come, and writes those that wait.
    ///
    /// # Errors
    /// When the switch is gone.
    pub fn turn(&mut self) -> io::Result<()> {
        self.flush()?;
        match self.stream.read(&mut self.chunk) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(len) => self.partial.extend_from_slice(&self.chunk[..len]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(error) => return Err(error),
        }
        let mut at = 0;
        while let Some((len, rest)) = self.partial[at..].split_first_chunk() {
            let len = usize::try_from(u32::from_be_bytes(*len)).unwrap_or(usize::MAX);
            if len > FRAME_LEN_MAX {
                return Err(io::Error::new(ErrorKind::InvalidData, format!("a frame of {len} bytes")));
            }
            let Some(frame) = rest.get(..len) else { break };
            self.frames.push_back(frame.to_vec());
            at += 4 + len;
        }
        self.partial.drain(..at);
        Ok(())
    }

    /// Has smoltcp receive a frame that nobody sent: what is known already need not be asked for.
    pub fn inject(&mut self, frame: Vec<u8>) {
        self.frames.push_back(frame);
    }

    /// Writes what waits, as far as the switch takes it.
    ///
    /// # Errors
    /// When the switch is gone.
    pub fn flush(&mut self) -> io::Result<()> {
        let mut sent = 0;
        while sent < self.outgoing.len() {
            match self.stream.write(&self.outgoing[sent..]) {
                Ok(len) => sent += len,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.outgoing.drain(..sent);
        Ok(())
    }

    /// Returns whether frames wait to be written.
    #[must_use]
    pub fn is_behind(&self) -> bool {
        !self.outgoing.is_empty()
    }
}

impl AsFd for Station {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

impl Device for Station {
    type RxToken<'a> = Received;
    type TxToken<'a> = Sent<'a>;

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = MTU;
        capabilities
    }

    fn receive(&mut self, _now: Instant) -> Option<(Received, Sent<'_>)> {
        let frame = self.frames.pop_front()?;
        Some((Received(frame), Sent(&mut self.outgoing)))
    }

    fn transmit(&mut self, _now: Instant) -> Option<Sent<'_>> {
        (self.outgoing.len() < BACKLOG).then_some(Sent(&mut self.outgoing))
    }
}

/// A frame for smoltcp.
#[derive(Debug)]
pub struct Received(Vec<u8>);

impl RxToken for Received {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, read: F) -> R {
        read(&self.0)
    }
}

/// Room for a frame of smoltcp's.
#[derive(Debug)]
pub struct Sent<'a>(&'a mut Vec<u8>);

impl TxToken for Sent<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, write: F) -> R {
        // Never longer than the device's MTU.
        self.0.extend_from_slice(&(len as u32).to_be_bytes());
        let at = self.0.len();
        self.0.resize(at + len, 0);
        write(&mut self.0[at..])
    }
}
