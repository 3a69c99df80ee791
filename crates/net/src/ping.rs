//! Measures the way to a peer and back with ICMP echo requests.

use core::future::poll_fn;
use core::net::IpAddr;
use core::task::Poll;

use alloc::vec;
use embassy_sync::waitqueue::WakerRegistration;
use embassy_time::{Duration, Instant, with_timeout};
use smoltcp::iface::{SocketHandle, SocketSet};
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::socket::icmp;
use smoltcp::wire::{Icmpv4Packet, Icmpv4Repr, Icmpv6Packet, Icmpv6Repr, IpAddress};

use crate::stack::{Inner, Stack};

/// Most pings under way at once.
const PINGS: usize = 16;
/// Longest payload in bytes that fits into one frame over IPv6 and IPv4.
pub const PING_PAYLOAD_MAX: usize = 1500 - 40 - 8;
/// Room for one message in each direction.
const BUFFER_LEN: usize = 1600;

/// Why a ping gave no time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PingError {
    /// The payload does not fit into one frame.
    #[error("a ping carries at most {PING_PAYLOAD_MAX} bytes")]
    TooLong,
    /// Too many pings are under way.
    #[error("{PINGS} pings are under way already")]
    Busy,
    /// The node has no address that could reach the peer.
    #[error("no address of this node reaches the peer")]
    NoRoute,
    /// No reply in time.
    #[error("no reply in time")]
    Timeout,
}

/// One ping at a time. A socket of its own, because a request for a peer that nobody knows blocks those behind it.
struct Slot {
    handle: Option<SocketHandle>,
    is_used: bool,
    sequence: u16,
    peer: IpAddress,
    payload_len: usize,
    sent: Instant,
    reply: Option<Duration>,
    waker: WakerRegistration,
}

/// The pings that are under way.
pub(crate) struct Pinger {
    first_ident: u16,
    next_sequence: u16,
    slots: [Slot; PINGS],
}

impl Pinger {
    pub(crate) fn new(seed: u64) -> Self {
        let slot = || Slot {
            handle: None,
            is_used: false,
            sequence: 0,
            peer: IpAddress::v4(0, 0, 0, 0),
            payload_len: 0,
            sent: Instant::MIN,
            reply: None,
            waker: WakerRegistration::new(),
        };
        Self { first_ident: (seed >> 16) as u16, next_sequence: 0, slots: core::array::from_fn(|_| slot()) }
    }

    /// Matches the replies that came in with the pings that wait for them.
    pub(crate) fn collect(&mut self, sockets: &mut SocketSet<'static>) {
        for (ident, slot) in (0..).map(|at| self.first_ident.wrapping_add(at)).zip(&mut self.slots) {
            let Some(handle) = slot.handle.filter(|_| slot.is_used) else { continue };
            let socket = sockets.get_mut::<icmp::Socket<'_>>(handle);
            while let Ok((message, peer)) = socket.recv() {
                let reply = parse_reply(message, peer, ident);
                if peer == slot.peer && reply == Some((slot.sequence, slot.payload_len)) {
                    slot.reply.get_or_insert(slot.sent.elapsed());
                    slot.waker.wake();
                }
            }
        }
    }
}

fn new_socket(ident: u16) -> icmp::Socket<'static> {
    let buffer = || icmp::PacketBuffer::new(vec![icmp::PacketMetadata::EMPTY; 2], vec![0; BUFFER_LEN]);
    let mut socket = icmp::Socket::new(buffer(), buffer());
    // Can't fail: the socket is new, and every identifier will do.
    let _ = socket.bind(icmp::Endpoint::Ident(ident));
    socket
}

fn parse_reply(message: &[u8], peer: IpAddress, ident: u16) -> Option<(u16, usize)> {
    // The checksum was verified with the frame.
    let checksums = ChecksumCapabilities::ignored();
    let (from, sequence, data) = match peer {
        IpAddress::Ipv4(_) => match Icmpv4Repr::parse(&Icmpv4Packet::new_checked(message).ok()?, &checksums).ok()? {
            Icmpv4Repr::EchoReply { ident, seq_no, data } => (ident, seq_no, data),
            _ => return None,
        },
        IpAddress::Ipv6(address) => {
            let packet = Icmpv6Packet::new_checked(message).ok()?;
            match Icmpv6Repr::parse(&address, &address, &packet, &checksums).ok()? {
                Icmpv6Repr::EchoReply { ident, seq_no, data } => (ident, seq_no, data),
                _ => return None,
            }
        }
    };
    let is_ours = from == ident && data.iter().zip(pattern(sequence)).all(|(a, b)| *a == b);
    is_ours.then_some((sequence, data.len()))
}

/// The payload of a ping: verified in the reply.
fn pattern(sequence: u16) -> impl Iterator<Item = u8> {
    (0..=u8::MAX).cycle().skip(usize::from(sequence & 0xFF))
}

impl Stack {
    /// Sends an echo request with `payload_len` bytes to `peer`, and returns how long the reply took.
    ///
    /// The reply must carry the same bytes.
    ///
    /// # Errors
    ///
    /// See [`PingError`].
    pub async fn ping(&self, peer: IpAddr, payload_len: usize, timeout: Duration) -> Result<Duration, PingError> {
        if payload_len > PING_PAYLOAD_MAX {
            return Err(PingError::TooLong);
        }
        let peer = self.to_reachable(peer).ok_or(PingError::NoRoute)?;
        let at = self.send_ping(peer.into(), payload_len)?;
        // Frees the slot also when this future is dropped.
        let _guard = SlotGuard { stack: self, at };
        self.kick();
        let reply = poll_fn(|cx| {
            let mut inner = self.inner.borrow_mut();
            let Some(slot) = inner.pinger.slots.get_mut(at) else { return Poll::Pending };
            match slot.reply {
                Some(time) => Poll::Ready(time),
                None => {
                    slot.waker.register(cx.waker());
                    Poll::Pending
                }
            }
        });
        with_timeout(timeout, reply).await.map_err(|_| PingError::Timeout)
    }

    fn send_ping(&self, peer: IpAddress, payload_len: usize) -> Result<usize, PingError> {
        let mut inner = self.inner.borrow_mut();
        let Inner { iface, sockets, pinger, .. } = &mut *inner;
        if peer.is_unspecified() {
            return Err(PingError::NoRoute);
        }
        let source = iface.get_source_address(&peer).ok_or(PingError::NoRoute)?;
        let at = pinger.slots.iter().position(|slot| !slot.is_used).ok_or(PingError::Busy)?;
        let slot = pinger.slots.get_mut(at).ok_or(PingError::Busy)?;
        let ident = pinger.first_ident.wrapping_add(at as u16);
        let sequence = pinger.next_sequence;
        let mut data = [0; PING_PAYLOAD_MAX];
        for (to, from) in data.iter_mut().zip(pattern(sequence)) {
            *to = from;
        }
        let data = data.get(..payload_len).unwrap_or_default();
        let handle = *slot.handle.get_or_insert_with(|| sockets.add(new_socket(ident)));
        let socket = sockets.get_mut::<icmp::Socket<'_>>(handle);
        let checksums = ChecksumCapabilities::default();
        match (source, peer) {
            (IpAddress::Ipv4(_), IpAddress::Ipv4(_)) => {
                let repr = Icmpv4Repr::EchoRequest { ident, seq_no: sequence, data };
                let out = socket.send(repr.buffer_len(), peer).map_err(|_| PingError::Busy)?;
                repr.emit(&mut Icmpv4Packet::new_unchecked(out), &checksums);
            }
            (IpAddress::Ipv6(source), IpAddress::Ipv6(to)) => {
                let repr = Icmpv6Repr::EchoRequest { ident, seq_no: sequence, data };
                let out = socket.send(repr.buffer_len(), peer).map_err(|_| PingError::Busy)?;
                repr.emit(&source, &to, &mut Icmpv6Packet::new_unchecked(out), &checksums);
            }
            _ => return Err(PingError::NoRoute),
        }
        pinger.next_sequence = sequence.wrapping_add(1);
        slot.is_used = true;
        slot.sequence = sequence;
        slot.peer = peer;
        slot.payload_len = payload_len;
        slot.sent = Instant::now();
        slot.reply = None;
        Ok(at)
    }
}

struct SlotGuard<'a> {
    stack: &'a Stack,
    at: usize,
}

impl Drop for SlotGuard<'_> {
    fn drop(&mut self) {
        let mut inner = self.stack.inner.borrow_mut();
        let Inner { sockets, pinger, .. } = &mut *inner;
        let Some(slot) = pinger.slots.get_mut(self.at) else { return };
        slot.is_used = false;
        // A request that could not be sent can only be taken back with its socket.
        if slot.handle.is_some_and(|handle| sockets.get::<icmp::Socket<'_>>(handle).send_queue() > 0) {
            slot.handle.take().map(|handle| sockets.remove(handle));
        }
    }
}
