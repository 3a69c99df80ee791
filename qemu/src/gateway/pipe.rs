//! One connection through the gateway: bytes between a socket of the host and one of smoltcp.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use nix::libc;
use nix::poll::{PollFd, PollFlags};
use nix::sys::socket::{setsockopt, sockopt};
use smoltcp::socket::tcp;

/// What a reset may take to be with the switch.
const RESET_TIME: Duration = Duration::from_millis(1);

/// The host's end of a connection, non-blocking.
pub(super) trait Host: Read + Write + AsFd + Send {
    /// Tells the host that nothing more will come.
    fn end_write(&self) -> io::Result<()>;

    /// Has the host see an error, not an orderly end, when the stream is dropped.
    fn reset(&self);
}

impl Host for TcpStream {
    fn end_write(&self) -> io::Result<()> {
        self.shutdown(Shutdown::Write)
    }

    fn reset(&self) {
        // Closing a TCP socket that must not linger resets it (socket(7)).
        let now = libc::linger { l_onoff: 1, l_linger: 0 };
        // If not, it is an end all the same.
        let _ = setsockopt(self, sockopt::Linger, &now);
    }
}

impl Host for UnixStream {
    fn end_write(&self) -> io::Result<()> {
        self.shutdown(Shutdown::Write)
    }

    fn reset(&self) {}
}

/// See the module.
pub(super) struct Pipe {
    host: Option<Box<dyn Host>>,
    /// The host will send no more.
    is_host_ended: bool,
    /// The host was told that the node will send no more.
    is_node_ended: bool,
    /// Until when the connection must be there; `None` when it is.
    deadline: Option<Instant>,
}

impl Pipe {
    pub(super) fn new(host: Box<dyn Host>, deadline: Instant) -> Self {
        Self { host: Some(host), is_host_ended: false, is_node_ended: false, deadline: Some(deadline) }
    }

    /// Returns what is left of a connection that the host refused: a reset for the node.
    pub(super) fn refused() -> Self {
        Self { host: None, is_host_ended: true, is_node_ended: true, deadline: None }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Moves what can be moved. Returns whether the connection is still of use.
    pub(super) fn turn(&mut self, socket: &mut tcp::Socket<'_>, now: Instant) -> bool {
        if self.deadline.is_some_and(|deadline| now >= deadline) {
            socket.abort();
            self.end(true);
        }
        if !matches!(socket.state(), tcp::State::SynSent | tcp::State::SynReceived) {
            self.deadline = None;
        }
        if self.host.is_some() && self.copy(socket).is_err() {
            // The host is gone, and whoever is left at the node learns it by a reset.
            socket.abort();
            self.end(false);
        }
        match socket.state() {
            // A reset that has yet to be sent keeps the socket for one more turn.
            tcp::State::Closed => {
                self.end(!(self.is_host_ended && self.is_node_ended));
                let is_unsent = socket.remote_endpoint().is_some();
                self.deadline = is_unsent.then(|| now + RESET_TIME);
                is_unsent
            }
            tcp::State::TimeWait if socket.recv_queue() == 0 => {
                self.end(false);
                false
            }
            _ => true,
        }
    }

    /// Returns what has to happen to the host's end before there is something to do.
    pub(super) fn poll_fd(&self, socket: &tcp::Socket<'_>) -> Option<PollFd<'_>> {
        let mut flags = PollFlags::empty();
        flags.set(PollFlags::POLLIN, !self.is_host_ended && socket.can_send());
        flags.set(PollFlags::POLLOUT, socket.can_recv());
        // An error would be told all the time, and nothing could be done about it.
        if flags.is_empty() {
            return None;
        }
        self.host.as_ref().map(|host| PollFd::new(host.as_fd(), flags))
    }

    fn copy(&mut self, socket: &mut tcp::Socket<'_>) -> io::Result<()> {
        let Some(host) = &mut self.host else { return Ok(()) };
        while !self.is_host_ended && socket.can_send() {
            // The socket can send.
            let read = socket.send(|room| moved(host.read(room))).unwrap_or(Ok(Moved::Nothing))?;
            match read {
                Moved::Some => {}
                Moved::Nothing => break,
                Moved::End => {
                    self.is_host_ended = true;
                    socket.close();
                }
            }
        }
        while socket.can_recv() {
            let written = socket.recv(|bytes| moved(host.write(bytes))).unwrap_or(Ok(Moved::Nothing))?;
            if written != Moved::Some {
                break;
            }
        }
        let has_begun = !matches!(socket.state(), tcp::State::SynSent | tcp::State::SynReceived | tcp::State::Closed);
        if has_begun && !socket.may_recv() && !self.is_node_ended {
            self.is_node_ended = true;
            host.end_write()?;
        }
        Ok(())
    }

    fn end(&mut self, is_reset: bool) {
        if let Some(host) = self.host.take().filter(|_| is_reset) {
            host.reset();
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Moved {
    Some,
    Nothing,
    End,
}

/// Returns how many bytes smoltcp is to count, and what that means.
fn moved(result: io::Result<usize>) -> (usize, io::Result<Moved>) {
    match result {
        Ok(0) => (0, Ok(Moved::End)),
        Ok(len) => (len, Ok(Moved::Some)),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => (0, Ok(Moved::Nothing)),
        Err(error) => (0, Err(error)),
    }
}
