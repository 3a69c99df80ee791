//! TCP sockets.
//!
//! A [`TcpSocket`] keeps its buffers for life and has one connection after the other. A server that is to serve N clients
//! at once runs N futures with a socket each, all of which [`accept`](TcpSocket::accept) on the same port: a free one takes
//! the next client.

pub(crate) mod shared;

use core::future::poll_fn;
use core::net::SocketAddr;
use core::sync::atomic::Ordering;
use core::task::Poll;

use alloc::sync::Arc;
use embassy_time::Instant;
use embedded_io_async::{ErrorType, Read, Write};

use crate::SocketError;
use crate::bell::watch;
use crate::network::{Network, Opening};
use crate::ring::copy;
pub(crate) use crate::tcp::shared::{Order, RxEnd, State, Tcp};

/// A TCP socket.
///
/// Dropped after [`shutdown`](Self::shutdown) or [`close`](Self::close), it still delivers what was written, for as long
/// as `close` would wait. Dropped otherwise, it resets its connection.
pub struct TcpSocket {
    tcp: Arc<Tcp>,
    is_connected: bool,
}

impl TcpSocket {
    /// Opens a socket that can hold `rx_len` received bytes and `tx_len` bytes that are to be sent, on both cores: it
    /// takes about twice that much memory.
    ///
    /// # Errors
    ///
    /// [`SocketError::NoPlace`].
    pub async fn open(network: &'static Network, rx_len: usize, tx_len: usize) -> Result<Self, SocketError> {
        let tcp = Arc::new(Tcp::new(rx_len, tx_len));
        network.open(Opening::Tcp(Arc::clone(&tcp)))?;
        Ok(Self { tcp, is_connected: false })
    }

    /// Waits for a client to connect to `port`. A connection that the socket still has is reset.
    ///
    /// # Errors
    ///
    /// [`SocketError::NoRoute`] if the port is 0, [`SocketError::PortInUse`] if it is one of the node's own services.
    pub async fn accept(&mut self, port: u16) -> Result<(), SocketError> {
        self.start(Order::Listen(port)).await
    }

    /// Connects to a peer. A connection that the socket still has is reset.
    ///
    /// # Errors
    ///
    /// [`SocketError::NoRoute`] or [`SocketError::Refused`].
    pub async fn connect(&mut self, peer: SocketAddr) -> Result<(), SocketError> {
        self.start(Order::Connect(peer)).await
    }

    async fn start(&mut self, order: Order) -> Result<(), SocketError> {
        self.is_connected = false;
        if self.tcp.was_used() {
            let number = self.tcp.order(Order::Reset);
            self.report(number).await;
            self.tcp.renew();
        }
        let mut cancel = Cancel(Some(&self.tcp));
        let number = self.tcp.order(order);
        let state = self.report(number).await;
        cancel.0 = None;
        match state {
            State::Open => {
                self.is_connected = true;
                Ok(())
            }
            State::Failed(error) => Err(error),
            State::Busy | State::Idle => Err(SocketError::ConnectionReset),
        }
    }

    /// Waits for what becomes of an order.
    async fn report(&self, number: u32) -> State {
        poll_fn(|cx| {
            self.tcp.reported.listen(cx);
            match self.tcp.report() {
                report if report.number == number && !matches!(report.state, State::Busy) => Poll::Ready(report.state),
                _ => Poll::Pending,
            }
        })
        .await
    }

    /// Has `take` look at received bytes that lie together and say how many of them it has used up.
    ///
    /// Waits until there are some. `None` when the peer has said that it will send no more.
    ///
    /// # Errors
    ///
    /// [`SocketError::ConnectionReset`].
    pub async fn read_with<R>(&mut self, take: impl FnMut(&mut [u8]) -> (usize, R)) -> Result<Option<R>, SocketError> {
        read_with(self, take).await
    }

    /// Has `put` fill room that lies together and say how much of it is to be sent. Waits until there is room.
    ///
    /// # Errors
    ///
    /// [`SocketError::ConnectionReset`], also after [`shutdown`](Self::shutdown).
    pub async fn write_with<R>(&mut self, put: impl FnMut(&mut [u8]) -> (usize, R)) -> Result<R, SocketError> {
        write_with(self, put).await
    }

    /// Says that we will send no more. What was written is still sent.
    pub fn shutdown(&mut self) {
        self.tcp.shut_down();
    }

    /// Ends the connection in good order: sends what was written, says good-bye and waits a few seconds for the peer's.
    ///
    /// After that the connection is reset, if it still exists.
    pub async fn close(&mut self) {
        if core::mem::take(&mut self.is_connected) {
            self.tcp.shut_down();
            let number = self.tcp.order(Order::Close);
            self.report(number).await;
        }
    }

    /// Ends the connection at once: the peer is told by a reset.
    pub fn abort(&mut self) {
        if core::mem::take(&mut self.is_connected) {
            self.tcp.order(Order::Reset);
        }
    }

    /// Returns the peer's address; `None` without a connection.
    #[must_use]
    pub fn peer(&self) -> Option<SocketAddr> {
        self.is_connected.then(|| self.tcp.report().peer).flatten()
    }

    /// Returns our own address; `None` without a connection.
    #[must_use]
    pub fn local(&self) -> Option<SocketAddr> {
        self.is_connected.then(|| self.tcp.report().local).flatten()
    }

    /// Returns when core 0 saw the newest connection come about.
    #[must_use]
    pub fn connected_at(&self) -> Instant {
        self.tcp.report().at
    }

    /// Returns whether the connection is gone, or none was made.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        !(self.is_connected && self.tcp.is_open.load(Ordering::Acquire))
    }

    /// Returns how many written bytes the peer has not acknowledged.
    #[must_use]
    pub fn unsent(&self) -> usize {
        self.tcp.unsent()
    }

    /// Returns halves for reading and writing at the same time.
    pub fn split(&mut self) -> (TcpReader<'_>, TcpWriter<'_>) {
        (TcpReader { socket: self }, TcpWriter { socket: self })
    }
}

impl Drop for TcpSocket {
    fn drop(&mut self) {
        let after_close = self.tcp.shutdown.load(Ordering::Relaxed);
        self.tcp.order(Order::Drop { after_close });
    }
}

/// Takes an order back that nobody waits for any more.
struct Cancel<'a>(Option<&'a Tcp>);

impl Drop for Cancel<'_> {
    fn drop(&mut self) {
        if let Some(tcp) = self.0 {
            tcp.order(Order::Reset);
        }
    }
}

async fn read_with<R>(
    socket: &TcpSocket,
    mut take: impl FnMut(&mut [u8]) -> (usize, R),
) -> Result<Option<R>, SocketError> {
    let tcp = &socket.tcp;
    if !socket.is_connected {
        return Err(SocketError::ConnectionReset);
    }
    let look = || {
        // Before the look at the bytes: what comes first is read first.
        let end = tcp.rx_end();
        if let Some(result) = tcp.rx.take(&mut take) {
            return Some(Ok(Some(result)));
        }
        match end {
            RxEnd::None => None,
            RxEnd::Finished => Some(Ok(None)),
            RxEnd::Lost => Some(Err(SocketError::ConnectionReset)),
        }
    };
    watch(look, |cx| tcp.rx.listen_for_data(cx)).await
}

async fn write_with<R>(socket: &TcpSocket, mut put: impl FnMut(&mut [u8]) -> (usize, R)) -> Result<R, SocketError> {
    let tcp = &socket.tcp;
    let look = || {
        if socket.is_closed() || tcp.shutdown.load(Ordering::Relaxed) {
            return Some(Err(SocketError::ConnectionReset));
        }
        let mut len = 0;
        let result = tcp.tx.put(|room| {
            let (used, result) = put(room);
            len = used.min(room.len());
            (len, result)
        })?;
        tcp.wrote(len);
        Some(Ok(result))
    };
    watch(look, |cx| tcp.tx.listen_for_room(cx)).await
}

async fn read(socket: &TcpSocket, buffer: &mut [u8]) -> Result<usize, SocketError> {
    if buffer.is_empty() {
        return Ok(0);
    }
    Ok(read_with(socket, |bytes| copy(bytes, buffer)).await?.unwrap_or(0))
}

async fn write(socket: &TcpSocket, data: &[u8]) -> Result<usize, SocketError> {
    let tcp = &socket.tcp;
    let look = || {
        if socket.is_closed() || tcp.shutdown.load(Ordering::Relaxed) {
            return Some(Err(SocketError::ConnectionReset));
        }
        let len = tcp.tx.put_slice(data);
        tcp.wrote(len);
        (len > 0 || data.is_empty()).then_some(Ok(len))
    };
    watch(look, |cx| tcp.tx.listen_for_room(cx)).await
}

/// Waits until the peer has everything that was written.
async fn flush(socket: &TcpSocket) -> Result<(), SocketError> {
    let tcp = &socket.tcp;
    let look = || {
        // Before the look at the bytes: the end comes after the last acknowledgement.
        let is_closed = socket.is_closed();
        match tcp.unsent() {
            0 => Some(Ok(())),
            _ => is_closed.then_some(Err(SocketError::ConnectionReset)),
        }
    };
    watch(look, |cx| tcp.sent.listen(cx)).await
}

/// The half of a socket that reads.
pub struct TcpReader<'s> {
    socket: &'s TcpSocket,
}

/// The half of a socket that writes.
pub struct TcpWriter<'s> {
    socket: &'s TcpSocket,
}

impl TcpReader<'_> {
    /// As [`TcpSocket::read_with`].
    ///
    /// # Errors
    ///
    /// [`SocketError::ConnectionReset`].
    pub async fn read_with<R>(&mut self, take: impl FnMut(&mut [u8]) -> (usize, R)) -> Result<Option<R>, SocketError> {
        read_with(self.socket, take).await
    }
}

impl TcpWriter<'_> {
    /// As [`TcpSocket::write_with`].
    ///
    /// # Errors
    ///
    /// [`SocketError::ConnectionReset`], also after [`shutdown`](Self::shutdown).
    pub async fn write_with<R>(&mut self, put: impl FnMut(&mut [u8]) -> (usize, R)) -> Result<R, SocketError> {
        write_with(self.socket, put).await
    }

    /// As [`TcpSocket::shutdown`].
    pub fn shutdown(&mut self) {
        self.socket.tcp.shut_down();
    }
}

impl ErrorType for TcpSocket {
    type Error = SocketError;
}

impl Read for TcpSocket {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, SocketError> {
        read(self, buffer).await
    }
}

impl Write for TcpSocket {
    async fn write(&mut self, data: &[u8]) -> Result<usize, SocketError> {
        write(self, data).await
    }

    async fn flush(&mut self) -> Result<(), SocketError> {
        flush(self).await
    }
}

impl ErrorType for TcpReader<'_> {
    type Error = SocketError;
}

impl Read for TcpReader<'_> {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, SocketError> {
        read(self.socket, buffer).await
    }
}

impl ErrorType for TcpWriter<'_> {
    type Error = SocketError;
}

impl Write for TcpWriter<'_> {
    async fn write(&mut self, data: &[u8]) -> Result<usize, SocketError> {
        write(self.socket, data).await
    }

    async fn flush(&mut self) -> Result<(), SocketError> {
        flush(self.socket).await
    }
}
