//! TCP sockets.
//!
//! A [`TcpSocket`] keeps its buffers for life and has one connection after the other. A server that is to serve N clients
//! at once runs N tasks with a socket each, all of which [`accept`](TcpSocket::accept) on the same port: a free one takes
//! the next client, and no task wakes up for another's.

use core::future::poll_fn;
use core::net::SocketAddr;
use core::task::Poll;

use alloc::vec;
use embassy_time::{Duration, with_timeout};
use embedded_io_async::{ErrorKind, ErrorType, Read, Write};
use smoltcp::iface::SocketHandle;
use smoltcp::socket::tcp::{self, State};
use smoltcp::wire::{IpEndpoint, IpListenEndpoint};

use crate::backlog::{Spare, renew};
use crate::stack::{Inner, Stack, is_closed, now};

/// A peer that does not acknowledge data, or keep-alives, for this long is given up. RFC 9293, section 3.8.3, asks for at
/// least 100 s for an end user's connection; a node would rather have its socket back.
const PEER_TIMEOUT: smoltcp::time::Duration = smoltcp::time::Duration::from_secs(30);
/// A client that has asked for a connection has this long to confirm it: half-open connections, which cost a forger
/// nothing, do not hold a server's sockets for long.
const HANDSHAKE_TIMEOUT: smoltcp::time::Duration = smoltcp::time::Duration::from_secs(5);
/// How long a connection may be silent before the peer is asked whether it is still there.
const KEEP_ALIVE: smoltcp::time::Duration = smoltcp::time::Duration::from_secs(10);
/// How long to wait for a peer to say good-bye after we have.
pub(crate) const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// Why a TCP operation failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TcpError {
    /// The connection was reset, or the peer was silent for too long.
    #[error("the connection is gone")]
    ConnectionReset,
    /// The peer refused the connection, or there was no answer.
    #[error("the peer refused, or did not answer")]
    Refused,
    /// The node has no address that could reach the peer, or the address or port can't be used.
    #[error("no address of this node reaches the peer")]
    NoRoute,
}

impl embedded_io_async::Error for TcpError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::ConnectionReset => ErrorKind::ConnectionReset,
            Self::Refused => ErrorKind::ConnectionRefused,
            Self::NoRoute => ErrorKind::AddrNotAvailable,
        }
    }
}

/// A TCP socket.
pub struct TcpSocket {
    stack: &'static Stack,
    handle: SocketHandle,
    /// The port on which it takes clients.
    port: Option<u16>,
}

impl TcpSocket {
    /// Makes a socket that can hold `rx_len` received bytes and `tx_len` bytes that are to be sent.
    #[must_use]
    pub fn new(stack: &'static Stack, rx_len: usize, tx_len: usize) -> Self {
        let mut socket =
            tcp::Socket::new(tcp::SocketBuffer::new(vec![0; rx_len]), tcp::SocketBuffer::new(vec![0; tx_len]));
        socket.set_timeout(Some(PEER_TIMEOUT));
        socket.set_keep_alive(Some(KEEP_ALIVE));
        socket.set_nagle_enabled(false);
        socket.set_congestion_control(tcp::CongestionControl::Reno);
        Self { stack, handle: stack.inner.borrow_mut().sockets.add(socket), port: None }
    }

    /// Waits for a client to connect to `port`. A connection that the socket still has is reset.
    ///
    /// From now on until it is dropped, or connects to a peer, the socket serves that port: clients who come while it and
    /// all others of that port have connections wait a little.
    ///
    /// # Errors
    ///
    /// [`TcpError::NoRoute`] if the port is 0.
    pub async fn accept(&mut self, port: u16) -> Result<(), TcpError> {
        self.abort();
        self.serve((port != 0).then_some(port));
        let mut is_first = true;
        loop {
            if !core::mem::take(&mut is_first) {
                // Nobody has confirmed the last one. If its neighbour could not be found, the next one's may.
                renew(&mut self.stack.inner.borrow_mut().sockets, self.handle);
            }
            // A connection that waits for stray segments (TIME-WAIT) may be forgotten.
            self.with(|socket| {
                if socket.is_open() {
                    return Ok(());
                }
                socket.set_timeout(Some(HANDSHAKE_TIMEOUT));
                socket.listen(IpListenEndpoint { addr: None, port }).map_err(|_| TcpError::NoRoute)
            })?;
            // For clients who wait.
            self.stack.kick();
            // A half-open connection that comes to nothing goes back to listening by itself, or to closed by its timeout.
            let state = poll_fn(|cx| {
                self.with(|socket| match socket.state() {
                    State::Listen | State::SynReceived => {
                        socket.register_recv_waker(cx.waker());
                        Poll::Pending
                    }
                    state => Poll::Ready(state),
                })
            })
            .await;
            if state != State::Closed {
                self.with(|socket| socket.set_timeout(Some(PEER_TIMEOUT)));
                self.went_on();
                return Ok(());
            }
        }
    }

    /// Connects to a peer. A connection that the socket still has is reset.
    ///
    /// # Errors
    ///
    /// [`TcpError::NoRoute`] or [`TcpError::Refused`].
    pub async fn connect(&mut self, peer: SocketAddr) -> Result<(), TcpError> {
        self.abort();
        self.serve(None);
        {
            let address = self.stack.to_reachable(peer.ip()).ok_or(TcpError::NoRoute)?;
            let mut inner = self.stack.inner.borrow_mut();
            let Inner { iface, sockets, .. } = &mut *inner;
            let peer = IpEndpoint::from(SocketAddr::new(address, peer.port()));
            if peer.addr.is_unspecified() || iface.get_source_address(&peer.addr).is_none() {
                return Err(TcpError::NoRoute);
            }
            let socket = sockets.get_mut::<tcp::Socket<'_>>(self.handle);
            socket.set_timeout(Some(PEER_TIMEOUT));
            socket.connect(iface.context(), peer, self.stack.take_port()).map_err(|_| TcpError::NoRoute)?;
        }
        self.stack.kick();
        poll_fn(|cx| {
            self.with(|socket| match socket.state() {
                State::SynSent | State::SynReceived => {
                    socket.register_recv_waker(cx.waker());
                    Poll::Pending
                }
                State::Closed | State::TimeWait => Poll::Ready(Err(TcpError::Refused)),
                _ => Poll::Ready(Ok(())),
            })
        })
        .await
    }

    /// Has `take` look at received bytes that lie together and say how many of them it has used up.
    ///
    /// Waits until there are some. Returns `None` when the peer will send no more.
    ///
    /// # Errors
    ///
    /// [`TcpError::ConnectionReset`].
    pub async fn read_with<R>(&mut self, take: impl FnMut(&mut [u8]) -> (usize, R)) -> Result<Option<R>, TcpError> {
        read_with(self.stack, self.handle, take).await
    }

    /// Has `put` fill in bytes to be sent and say how many it has. Waits until there is room.
    ///
    /// # Errors
    ///
    /// [`TcpError::ConnectionReset`], also when we have closed the connection.
    pub async fn write_with<R>(&mut self, put: impl FnMut(&mut [u8]) -> (usize, R)) -> Result<R, TcpError> {
        write_with(self.stack, self.handle, put).await
    }

    /// Says that we will send no more. What was written is still sent.
    pub fn shutdown(&mut self) {
        self.with(tcp::Socket::close);
        self.stack.kick();
    }

    /// Ends the connection in good order: sends what was written, says good-bye and waits a few seconds for the peer's.
    ///
    /// After that the connection is reset, if it still exists.
    pub async fn close(&mut self) {
        self.shutdown();
        self.set_spare(Some(Spare::Closing));
        let closed = poll_fn(|cx| {
            self.with(|socket| match socket.state() {
                State::Closed | State::Listen | State::TimeWait => Poll::Ready(()),
                _ => {
                    socket.register_recv_waker(cx.waker());
                    socket.register_send_waker(cx.waker());
                    Poll::Pending
                }
            })
        });
        // Late or not, the socket is free afterwards.
        let _ = with_timeout(CLOSE_TIMEOUT, closed).await;
        self.abort();
    }

    /// Ends the connection at once: the peer is told by a reset.
    pub fn abort(&mut self) {
        self.set_spare(None);
        let mut inner = self.stack.inner.borrow_mut();
        let Inner { iface, sockets, device, .. } = &mut *inner;
        let socket = sockets.get_mut::<tcp::Socket<'_>>(self.handle);
        match socket.state() {
            State::Closed | State::TimeWait => {}
            State::Listen => socket.close(),
            _ => {
                socket.abort();
                // The reset leaves now: the socket may be gone, or have another connection, at the next round.
                let _ = iface.poll_egress(now(), device, sockets);
            }
        }
    }

    /// Returns the peer's address.
    #[must_use]
    pub fn peer(&self) -> Option<SocketAddr> {
        self.with(|socket| socket.remote_endpoint()).map(SocketAddr::from)
    }

    /// Returns our own address.
    pub(crate) fn local(&self) -> Option<SocketAddr> {
        self.with(|socket| socket.local_endpoint()).map(SocketAddr::from)
    }

    /// Returns which socket of smoltcp's it is.
    pub(crate) fn handle(&self) -> SocketHandle {
        self.handle
    }

    /// Returns whether the connection is gone, or none was made.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.with(|socket| is_closed(socket))
    }

    /// Returns how many bytes the send buffer holds that the peer has not acknowledged.
    #[must_use]
    pub fn unsent(&self) -> usize {
        self.with(|socket| socket.send_queue())
    }

    /// Returns halves for reading and writing at the same time.
    pub fn split(&mut self) -> (TcpReader<'_>, TcpWriter<'_>) {
        (TcpReader { socket: self }, TcpWriter { socket: self })
    }

    /// Says why the connection may be reset if another client wants its socket; `None`: it may not.
    pub(crate) fn set_spare(&self, spare: Option<Spare>) {
        if self.port.is_some() {
            self.stack.inner.borrow_mut().backlog.set_spare(self.handle, spare);
        }
    }

    /// Says that the client has done what was expected of it; the connection may not be reset.
    pub(crate) fn went_on(&self) {
        self.stack.inner.borrow_mut().backlog.went_on(self.handle);
    }

    fn serve(&mut self, port: Option<u16>) {
        let before = core::mem::replace(&mut self.port, port);
        if before != port {
            let backlog = &mut self.stack.inner.borrow_mut().backlog;
            backlog.unserve(self.handle);
            port.into_iter().for_each(|port| backlog.serve(port, self.handle));
        }
    }

    pub(crate) fn with<R>(&self, f: impl FnOnce(&mut tcp::Socket<'static>) -> R) -> R {
        f(self.stack.inner.borrow_mut().sockets.get_mut::<tcp::Socket<'static>>(self.handle))
    }
}

impl Drop for TcpSocket {
    fn drop(&mut self) {
        self.abort();
        self.serve(None);
        self.stack.inner.borrow_mut().sockets.remove(self.handle);
    }
}

async fn read_with<R>(
    stack: &Stack,
    handle: SocketHandle,
    mut take: impl FnMut(&mut [u8]) -> (usize, R),
) -> Result<Option<R>, TcpError> {
    poll_fn(|cx| {
        let mut inner = stack.inner.borrow_mut();
        let socket = inner.sockets.get_mut::<tcp::Socket<'_>>(handle);
        if socket.can_recv() {
            // The peer is told of the new room with the next acknowledgement, unless it is short of it.
            let is_short = socket.recv_queue() >= socket.recv_capacity() / 2;
            let result = socket.recv(&mut take).map_err(|_| TcpError::ConnectionReset);
            drop(inner);
            if is_short {
                stack.kick();
            }
            return Poll::Ready(result.map(Some));
        }
        if !socket.may_recv() {
            return Poll::Ready(match socket.state() {
                State::Closed => Err(TcpError::ConnectionReset),
                _ => Ok(None),
            });
        }
        socket.register_recv_waker(cx.waker());
        Poll::Pending
    })
    .await
}

async fn write_with<R>(
    stack: &Stack,
    handle: SocketHandle,
    mut put: impl FnMut(&mut [u8]) -> (usize, R),
) -> Result<R, TcpError> {
    poll_fn(|cx| {
        let mut inner = stack.inner.borrow_mut();
        let socket = inner.sockets.get_mut::<tcp::Socket<'_>>(handle);
        if socket.can_send() {
            let result = socket.send(&mut put).map_err(|_| TcpError::ConnectionReset);
            drop(inner);
            stack.kick();
            return Poll::Ready(result);
        }
        if !socket.may_send() {
            return Poll::Ready(Err(TcpError::ConnectionReset));
        }
        socket.register_send_waker(cx.waker());
        Poll::Pending
    })
    .await
}

async fn read(stack: &Stack, handle: SocketHandle, buffer: &mut [u8]) -> Result<usize, TcpError> {
    if buffer.is_empty() {
        return Ok(0);
    }
    let len = read_with(stack, handle, |bytes| {
        let len = bytes.len().min(buffer.len());
        if let (Some(to), Some(from)) = (buffer.get_mut(..len), bytes.get(..len)) {
            to.copy_from_slice(from);
        }
        (len, len)
    });
    Ok(len.await?.unwrap_or(0))
}

async fn write(stack: &Stack, handle: SocketHandle, data: &[u8]) -> Result<usize, TcpError> {
    if data.is_empty() {
        return Ok(0);
    }
    write_with(stack, handle, |room| {
        let len = room.len().min(data.len());
        if let (Some(to), Some(from)) = (room.get_mut(..len), data.get(..len)) {
            to.copy_from_slice(from);
        }
        (len, len)
    })
    .await
}

/// Waits until the peer has everything that was written.
async fn flush(stack: &Stack, handle: SocketHandle) -> Result<(), TcpError> {
    poll_fn(|cx| {
        let mut inner = stack.inner.borrow_mut();
        let socket = inner.sockets.get_mut::<tcp::Socket<'_>>(handle);
        if socket.send_queue() == 0 {
            return Poll::Ready(Ok(()));
        }
        if is_closed(socket) {
            return Poll::Ready(Err(TcpError::ConnectionReset));
        }
        socket.register_send_waker(cx.waker());
        Poll::Pending
    })
    .await
}

/// The half of a socket that reads.
pub struct TcpReader<'s> {
    socket: &'s TcpSocket,
}

/// The half of a socket that writes.
pub struct TcpWriter<'s> {
    socket: &'s TcpSocket,
}

impl TcpWriter<'_> {
    /// Returns how many bytes the send buffer holds that the peer has not acknowledged.
    #[must_use]
    pub fn unsent(&self) -> usize {
        self.socket.unsent()
    }
}

impl ErrorType for TcpSocket {
    type Error = TcpError;
}

impl Read for TcpSocket {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, TcpError> {
        read(self.stack, self.handle, buffer).await
    }
}

impl Write for TcpSocket {
    async fn write(&mut self, data: &[u8]) -> Result<usize, TcpError> {
        write(self.stack, self.handle, data).await
    }

    async fn flush(&mut self) -> Result<(), TcpError> {
        flush(self.stack, self.handle).await
    }
}

impl ErrorType for TcpReader<'_> {
    type Error = TcpError;
}

impl Read for TcpReader<'_> {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, TcpError> {
        read(self.socket.stack, self.socket.handle, buffer).await
    }
}

impl ErrorType for TcpWriter<'_> {
    type Error = TcpError;
}

impl Write for TcpWriter<'_> {
    async fn write(&mut self, data: &[u8]) -> Result<usize, TcpError> {
        write(self.socket.stack, self.socket.handle, data).await
    }

    async fn flush(&mut self) -> Result<(), TcpError> {
        flush(self.socket.stack, self.socket.handle).await
    }
}
