//! UDP sockets.

use core::future::poll_fn;
use core::net::{IpAddr, SocketAddr};
use core::task::{Context, Poll};

use alloc::vec;
use embedded_io_async::{ErrorKind, ErrorType};
use smoltcp::iface::SocketHandle;
use smoltcp::socket::udp::{self, SendError, UdpMetadata};
use smoltcp::wire::{IpEndpoint, IpListenEndpoint};

use crate::stack::Stack;

/// Longest datagram in bytes that fits into one frame over IPv4.
pub const DATAGRAM_LEN_MAX: usize = 1500 - 20 - 8;

/// Why a UDP operation failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UdpError {
    /// The port is 0 or the socket is bound already.
    #[error("the port can't be used")]
    PortUnusable,
    /// The peer's address or port can't be sent to, or no address of this node reaches it.
    #[error("no address of this node reaches the peer")]
    NoRoute,
    /// The datagram does not fit into one frame.
    #[error("a datagram carries at most {DATAGRAM_LEN_MAX} bytes")]
    TooLong,
    /// No more multicast groups can be joined.
    #[error("too many multicast groups")]
    TooManyGroups,
}

impl embedded_io_async::Error for UdpError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::PortUnusable => ErrorKind::AddrInUse,
            Self::NoRoute => ErrorKind::AddrNotAvailable,
            Self::TooLong => ErrorKind::InvalidInput,
            Self::TooManyGroups => ErrorKind::OutOfMemory,
        }
    }
}

/// Where a datagram came from, and which of our addresses it was sent to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Datagram {
    /// Length in bytes.
    pub len: usize,
    /// The sender.
    pub peer: SocketAddr,
    /// The address that it was sent to: ours, or a group's.
    pub local: Option<IpAddr>,
}

/// A UDP socket.
pub struct UdpSocket {
    stack: &'static Stack,
    handle: SocketHandle,
}

impl UdpSocket {
    /// Makes a socket on `port`, with room for `packets` datagrams of together `len` bytes in each direction.
    ///
    /// Port 0 stands for any that is free.
    ///
    /// # Errors
    ///
    /// [`UdpError::PortUnusable`].
    pub fn bind(stack: &'static Stack, port: u16, packets: usize, len: usize) -> Result<Self, UdpError> {
        Self::bind_with(stack, port, (packets, len), (packets, len))
    }

    /// As [`bind`](Self::bind), with different room (packets, bytes) for what is received and what is sent.
    ///
    /// # Errors
    ///
    /// [`UdpError::PortUnusable`].
    pub fn bind_with(
        stack: &'static Stack,
        port: u16,
        rx: (usize, usize),
        tx: (usize, usize),
    ) -> Result<Self, UdpError> {
        let buffer = |(packets, len)| udp::PacketBuffer::new(vec![udp::PacketMetadata::EMPTY; packets], vec![0; len]);
        let mut socket = udp::Socket::new(buffer(rx), buffer(tx));
        let port = if port == 0 { stack.take_port() } else { port };
        socket.bind(IpListenEndpoint { addr: None, port }).map_err(|_| UdpError::PortUnusable)?;
        Ok(Self { stack, handle: stack.inner.borrow_mut().sockets.add(socket) })
    }

    /// Sets the time to live of what is sent: 255 for protocols that must stay on the link.
    pub fn set_hop_limit(&mut self, hop_limit: u8) {
        self.with(|socket| socket.set_hop_limit(Some(hop_limit.max(1))));
    }

    /// Joins a multicast group.
    ///
    /// # Errors
    ///
    /// [`UdpError::TooManyGroups`], also if the address is not a group's.
    pub fn join(&mut self, group: IpAddr) -> Result<(), UdpError> {
        self.stack.inner.borrow_mut().iface.join_multicast_group(group).map_err(|_| UdpError::TooManyGroups)?;
        self.stack.listen_to(group);
        Ok(())
    }

    /// Returns the port.
    pub(crate) fn port(&self) -> u16 {
        self.with(|socket| socket.endpoint().port)
    }

    /// Has the task woken when there may be room for another datagram to be sent.
    pub(crate) fn register_send_waker(&mut self, cx: &Context<'_>) {
        self.with(|socket| socket.register_send_waker(cx.waker()));
    }

    /// Has the stack send what is queued.
    pub(crate) fn kick(&self) {
        self.stack.kick();
    }

    /// Waits until all is sent.
    pub(crate) fn poll_sent(&mut self, cx: &Context<'_>) -> Poll<()> {
        self.stack.kick();
        self.with(|socket| {
            if socket.send_queue() == 0 {
                return Poll::Ready(());
            }
            socket.register_send_waker(cx.waker());
            Poll::Pending
        })
    }

    /// Has `take` look at the next datagram, its sender and the address that it was sent to.
    pub(crate) fn poll_recv_with<R>(
        &mut self,
        cx: &Context<'_>,
        take: impl FnOnce(&[u8], SocketAddr, Option<IpAddr>) -> R,
    ) -> Poll<R> {
        self.with(|socket| match socket.recv() {
            Ok((data, meta)) => {
                Poll::Ready(take(data, SocketAddr::from(meta.endpoint), meta.local_address.map(IpAddr::from)))
            }
            Err(_) => {
                socket.register_recv_waker(cx.waker());
                Poll::Pending
            }
        })
    }

    /// Waits for a datagram and copies as much of it as fits into `buffer`.
    pub async fn recv_from(&mut self, buffer: &mut [u8]) -> Datagram {
        poll_fn(|cx| {
            self.poll_recv_with(cx, |data, peer, local| {
                let len = data.len().min(buffer.len());
                if let (Some(to), Some(from)) = (buffer.get_mut(..len), data.get(..len)) {
                    to.copy_from_slice(from);
                }
                Datagram { len, peer, local }
            })
        })
        .await
    }

    /// Sends a datagram. Waits until there is room for it.
    ///
    /// # Errors
    ///
    /// [`UdpError::NoRoute`] or [`UdpError::TooLong`].
    pub async fn send_to(&mut self, data: &[u8], peer: SocketAddr) -> Result<(), UdpError> {
        self.send_from(data, peer, None).await
    }

    /// Sends a datagram from one of our addresses: a reply comes from where the request went.
    ///
    /// # Errors
    ///
    /// [`UdpError::NoRoute`] or [`UdpError::TooLong`].
    pub async fn send_from(&mut self, data: &[u8], peer: SocketAddr, local: Option<IpAddr>) -> Result<(), UdpError> {
        let result = poll_fn(|cx| match self.try_send(data, peer, local) {
            Ok(true) => Poll::Ready(Ok(())),
            Ok(false) => {
                self.with(|socket| socket.register_send_waker(cx.waker()));
                Poll::Pending
            }
            Err(error) => Poll::Ready(Err(error)),
        })
        .await;
        self.stack.kick();
        result
    }

    /// Queues a datagram if there is room, and returns whether there was.
    ///
    /// # Errors
    ///
    /// [`UdpError::NoRoute`] or [`UdpError::TooLong`].
    pub fn try_send(&mut self, data: &[u8], peer: SocketAddr, local: Option<IpAddr>) -> Result<bool, UdpError> {
        let headers = if peer.is_ipv6() { 20 } else { 0 };
        if data.len() + headers > DATAGRAM_LEN_MAX {
            return Err(UdpError::TooLong);
        }
        let address = self.stack.to_reachable(peer.ip()).ok_or(UdpError::NoRoute)?;
        let mut inner = self.stack.inner.borrow_mut();
        let peer = IpEndpoint::from(SocketAddr::new(address, peer.port()));
        let source = inner.iface.get_source_address(&peer.addr);
        // Without an IPv6 address smoltcp would send from ::1.
        if peer.addr.is_unspecified() || source.is_none_or(|source| IpAddr::from(source).is_loopback()) {
            return Err(UdpError::NoRoute);
        }
        let local_address = local
            .map(smoltcp::wire::IpAddress::from)
            .filter(|local| inner.iface.has_ip_addr(*local) && local.version() == peer.addr.version());
        let socket = inner.sockets.get_mut::<udp::Socket<'_>>(self.handle);
        let mut meta = UdpMetadata::from(peer);
        meta.local_address = local_address;
        match socket.send_slice(data, meta) {
            Ok(()) => Ok(true),
            Err(SendError::BufferFull) => Ok(false),
            Err(_) => Err(UdpError::NoRoute),
        }
    }

    fn with<R>(&self, f: impl FnOnce(&mut udp::Socket<'static>) -> R) -> R {
        f(self.stack.inner.borrow_mut().sockets.get_mut::<udp::Socket<'static>>(self.handle))
    }
}

impl Drop for UdpSocket {
    fn drop(&mut self) {
        self.stack.inner.borrow_mut().sockets.remove(self.handle);
    }
}

impl ErrorType for UdpSocket {
    type Error = UdpError;
}

impl edge_nal::UdpReceive for UdpSocket {
    async fn receive(&mut self, buffer: &mut [u8]) -> Result<(usize, SocketAddr), UdpError> {
        let datagram = self.recv_from(buffer).await;
        Ok((datagram.len, datagram.peer))
    }
}

impl edge_nal::UdpSend for UdpSocket {
    async fn send(&mut self, remote: SocketAddr, data: &[u8]) -> Result<(), UdpError> {
        self.send_to(data, remote).await
    }
}
