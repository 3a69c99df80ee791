//! UDP sockets.

use core::cell::Cell;
use core::future::poll_fn;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use core::task::Poll;

use alloc::sync::Arc;
use embassy_sync::blocking_mutex::Mutex;
use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;

use crate::SocketError;
use crate::bell::{Bell, watch};
use crate::network::{Network, Opening};
use crate::ring::{Ring, copy};

/// Longest datagram in bytes that fits into one Ethernet frame over IPv4; over IPv6 it is 20 less.
pub const DATAGRAM_LEN_MAX: usize = 1500 - 20 - 8;

/// What precedes each datagram in a ring: the peer's address and port, and ours.
const HEADER_LEN: usize = 2 * ADDRESS_LEN + 2;
const ADDRESS_LEN: usize = 17;
/// What the ring itself puts in front of a frame.
const FRAME_LEN: usize = 2;

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

/// A UDP socket. Dropped, it is gone; what was sent before still leaves if it can leave at once.
pub struct UdpSocket {
    udp: Arc<Udp>,
    port: u16,
}

impl UdpSocket {
    /// Makes a socket on `port` (0: any that is free), with room for so many of the longest datagrams that wait to be
    /// received and to be sent. Waits for core 0.
    ///
    /// # Errors
    ///
    /// [`SocketError::NoPlace`] or [`SocketError::PortInUse`].
    pub async fn bind(
        network: &'static Network,
        port: u16,
        rx_datagrams: usize,
        tx_datagrams: usize,
    ) -> Result<Self, SocketError> {
        let udp = Arc::new(Udp::new(port, rx_datagrams, tx_datagrams));
        network.open(Opening::Udp(Arc::clone(&udp)))?;
        let mut socket = Self { udp, port };
        let bound = poll_fn(|cx| {
            socket.udp.bound_bell.listen(cx);
            socket.udp.bound.lock(Cell::get).map_or(Poll::Pending, Poll::Ready)
        });
        socket.port = bound.await?;
        Ok(socket)
    }

    /// Returns the port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Waits for a datagram and copies as much of it as fits into `buffer`.
    pub async fn recv_from(&mut self, buffer: &mut [u8]) -> Datagram {
        self.recv_with(|data, peer, local| {
            let (len, _) = copy(data, buffer);
            Datagram { len, peer, local }
        })
        .await
    }

    /// Waits for a datagram and has `take` look at it, its sender and the address that it was sent to.
    pub async fn recv_with<R>(&mut self, mut take: impl FnMut(&[u8], SocketAddr, Option<IpAddr>) -> R) -> R {
        poll_fn(|cx| {
            if let Some(result) = self.try_recv_with(&mut take) {
                return Poll::Ready(result);
            }
            self.udp.rx.listen_for_data(cx);
            self.try_recv_with(&mut take).map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }

    /// Has `take` look at the next datagram; `None` when there is none.
    pub fn try_recv_with<R>(&mut self, mut take: impl FnMut(&[u8], SocketAddr, Option<IpAddr>) -> R) -> Option<R> {
        let frame = |frame: &[u8]| parse(frame).map(|(data, peer, local)| take(data, peer, local));
        self.udp.rx.take_frame(frame).flatten()
    }

    /// Waits until there is a datagram to receive.
    pub async fn wait_datagram(&self) {
        let ring = &self.udp.rx;
        watch(|| ring.has_frame().then_some(()), |cx| ring.listen_for_data(cx)).await;
    }

    /// Waits until there is room for a datagram to be sent.
    pub async fn wait_room(&self) {
        let ring = &self.udp.tx;
        let len = HEADER_LEN + DATAGRAM_LEN_MAX;
        watch(|| ring.has_room_for_frame(len).then_some(()), |cx| ring.listen_for_room(cx)).await;
    }

    /// Sends a datagram. Waits until there is room for it.
    ///
    /// That no way leads to the peer is not found out here: such datagrams are counted in [`Network::counts`].
    ///
    /// # Errors
    ///
    /// [`SocketError::TooLong`], or [`SocketError::NoRoute`] if the peer's address or port is no one's.
    pub async fn send_to(&mut self, data: &[u8], peer: SocketAddr) -> Result<(), SocketError> {
        self.send_from(data, peer, None).await
    }

    /// Sends a datagram from one of our addresses: a reply comes from where the request went.
    ///
    /// # Errors
    ///
    /// As [`send_to`](Self::send_to).
    pub async fn send_from(&mut self, data: &[u8], peer: SocketAddr, local: Option<IpAddr>) -> Result<(), SocketError> {
        poll_fn(|cx| match self.try_send(data, peer, local) {
            Ok(false) => {
                self.udp.tx.listen_for_room(cx);
                match self.try_send(data, peer, local) {
                    Ok(false) => Poll::Pending,
                    result => Poll::Ready(result.map(|_| ())),
                }
            }
            result => Poll::Ready(result.map(|_| ())),
        })
        .await
    }

    /// Queues a datagram if there is room, and returns whether there was.
    ///
    /// # Errors
    ///
    /// As [`send_to`](Self::send_to).
    pub fn try_send(&mut self, data: &[u8], peer: SocketAddr, local: Option<IpAddr>) -> Result<bool, SocketError> {
        let headers = if peer.is_ipv6() { 20 } else { 0 };
        if data.len() + headers > DATAGRAM_LEN_MAX {
            return Err(SocketError::TooLong);
        }
        if peer.port() == 0 || peer.ip().is_unspecified() {
            return Err(SocketError::NoRoute);
        }
        let is_queued = self.udp.send(data, peer, local);
        if is_queued {
            self.udp.tx.announce();
        }
        Ok(is_queued)
    }

    /// Returns how many datagrams came for this socket and were dropped, because they were not taken in time.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.udp.dropped.load(Ordering::Relaxed)
    }
}

impl Drop for UdpSocket {
    fn drop(&mut self) {
        self.udp.is_dropped.store(true, Ordering::Release);
        self.udp.tx.announce();
    }
}

/// What both sides of a UDP socket share.
pub(crate) struct Udp {
    pub(crate) port: u16,
    pub(crate) rx: Ring,
    pub(crate) tx: Ring,
    pub(crate) tx_datagrams: usize,
    pub(crate) is_dropped: AtomicBool,
    pub(crate) dropped: AtomicU64,
    bound: Mutex<CriticalSectionRawMutex, Cell<Option<Result<u16, SocketError>>>>,
    bound_bell: Bell,
}

impl Udp {
    fn new(port: u16, rx_datagrams: usize, tx_datagrams: usize) -> Self {
        // One more, because the end of a ring may be too short for a datagram; and in less than three datagrams' room one
        // may find no place even when it is empty.
        let len = |datagrams: usize| (datagrams.max(2) + 1) * (DATAGRAM_LEN_MAX + HEADER_LEN + FRAME_LEN);
        Self {
            port,
            rx: Ring::new(len(rx_datagrams)),
            tx: Ring::new(len(tx_datagrams)),
            tx_datagrams,
            is_dropped: AtomicBool::new(false),
            dropped: AtomicU64::new(0),
            bound: Mutex::new(Cell::new(None)),
            bound_bell: Bell::new(),
        }
    }

    pub(crate) fn set_bound(&self, bound: Result<u16, SocketError>) {
        self.bound.lock(|cell| cell.set(Some(bound)));
        self.bound_bell.ring();
    }

    /// Puts a received datagram into the ring, if there is room.
    pub(crate) fn receive(&self, data: &[u8], peer: SocketAddr, local: Option<IpAddr>) -> bool {
        put(&self.rx, data, peer, local)
    }

    fn send(&self, data: &[u8], peer: SocketAddr, local: Option<IpAddr>) -> bool {
        put(&self.tx, data, peer, local)
    }
}

fn put(ring: &Ring, data: &[u8], peer: SocketAddr, local: Option<IpAddr>) -> bool {
    let frame = |frame: &mut [u8]| {
        let (header, body) = frame.split_at_mut(HEADER_LEN.min(frame.len()));
        if let Ok(header) = <&mut [u8; HEADER_LEN]>::try_from(header) {
            *header = to_header(peer, local);
        }
        copy(data, body);
    };
    ring.put_frame(HEADER_LEN + data.len(), frame).is_some()
}

/// Returns the datagram in a frame of a ring, the peer's address, and ours.
pub(crate) fn parse(frame: &[u8]) -> Option<(&[u8], SocketAddr, Option<IpAddr>)> {
    let (header, data) = frame.split_first_chunk::<HEADER_LEN>()?;
    let (peer, rest) = header.split_first_chunk::<ADDRESS_LEN>()?;
    let (local, port) = rest.split_first_chunk::<ADDRESS_LEN>()?;
    let port = u16::from_le_bytes(*port.first_chunk()?);
    Some((data, SocketAddr::new(to_address(*peer)?, port), to_address(*local)))
}

fn to_header(peer: SocketAddr, local: Option<IpAddr>) -> [u8; HEADER_LEN] {
    let mut header = [0; HEADER_LEN];
    let parts = from_address(Some(peer.ip())).into_iter().chain(from_address(local)).chain(peer.port().to_le_bytes());
    for (byte, part) in header.iter_mut().zip(parts) {
        *byte = part;
    }
    header
}

/// The version of IP (0: none), and the address.
fn from_address(address: Option<IpAddr>) -> [u8; ADDRESS_LEN] {
    let mut bytes = [0; ADDRESS_LEN];
    let (version, octets): (u8, &[u8]) = match &address {
        None => (0, &[]),
        Some(IpAddr::V4(address)) => (4, &address.octets()),
        Some(IpAddr::V6(address)) => (6, &address.octets()),
    };
    let [first, rest @ ..] = &mut bytes;
    *first = version;
    copy(octets, rest);
    bytes
}

fn to_address([version, octets @ ..]: [u8; ADDRESS_LEN]) -> Option<IpAddr> {
    match version {
        4 => octets.first_chunk::<4>().map(|octets| IpAddr::V4(Ipv4Addr::from(*octets))),
        6 => Some(IpAddr::V6(Ipv6Addr::from(octets))),
        _ => None,
    }
}
