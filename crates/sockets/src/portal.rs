//! The other side of the sockets, for who provides the network: `net` on core 0, `loopback` in tests.
//!
//! A provider takes a [`Guest`] out of each place ([`Network::next_guest`]), carries out its orders, and moves bytes between
//! its rings and the network until it is dropped.

use core::future::poll_fn;
use core::net::{IpAddr, SocketAddr};
use core::sync::atomic::Ordering;
use core::task::{Context, Poll};

use alloc::sync::Arc;
use embassy_time::Instant;

use crate::SocketError;
pub use crate::name::Question;
use crate::network::{Network, PlaceHold};
use crate::tcp::Tcp;
use crate::tcp::shared::Report;
pub use crate::tcp::shared::{Order, RxEnd, State};
use crate::udp::{self, Udp};

/// A socket of a program.
pub enum Guest {
    /// A TCP socket.
    Tcp(TcpEnd),
    /// A UDP socket.
    Udp(UdpEnd),
}

/// The provider's side of a TCP socket. Dropping it frees the place.
pub struct TcpEnd {
    tcp: Arc<Tcp>,
    number: u32,
    /// Bytes taken out of the ring in this connection.
    taken: usize,
    _hold: PlaceHold,
}

impl TcpEnd {
    pub(crate) fn new(tcp: Arc<Tcp>, hold: PlaceHold) -> Self {
        Self { tcp, number: 0, taken: 0, _hold: hold }
    }

    /// Returns how many bytes the program wants to have room for: received, and to be sent.
    #[must_use]
    pub fn lens(&self) -> (usize, usize) {
        (self.tcp.rx_len, self.tcp.tx_len)
    }

    /// Waits for an order that is not carried out yet, and takes it on.
    pub async fn next_order(&mut self) -> Order {
        self.wait_order().await;
        self.take_order()
    }

    /// Waits for an order that is not carried out yet.
    pub async fn wait_order(&self) {
        poll_fn(|cx| self.poll_order(cx)).await;
    }

    /// Returns whether there is an order that is not carried out yet; if not, has the task woken when one comes.
    pub fn poll_order(&self, cx: &Context<'_>) -> Poll<()> {
        if self.has_order() {
            return Poll::Ready(());
        }
        self.tcp.ordered.listen(cx);
        if self.has_order() { Poll::Ready(()) } else { Poll::Pending }
    }

    fn has_order(&self) -> bool {
        self.tcp.newest_order().0 != self.number
    }

    /// Takes on the newest order.
    pub fn take_order(&mut self) -> Order {
        let (number, order) = self.tcp.newest_order();
        self.number = number;
        order
    }

    /// Reports what has become of the order taken on last. An open connection has addresses: the peer's and ours.
    pub fn report(&mut self, state: State, peer: Option<SocketAddr>, local: Option<SocketAddr>) {
        self.tcp.is_open.store(state == State::Open, Ordering::Release);
        self.tcp.set_report(Report { number: self.number, state, peer, local, at: Instant::now() });
    }

    /// Reports that there is no connection any more, and forgets what the program has written.
    pub fn report_idle(&mut self) {
        self.tcp.tx.clear();
        self.taken = 0;
        self.report(State::Idle, None, None);
        self.tcp.wake_program();
    }

    /// Tells the program how the connection has ended.
    pub fn lose(&mut self, end: RxEnd) {
        self.tcp.set_rx_end(end);
        self.tcp.is_open.store(false, Ordering::Release);
        self.tcp.wake_program();
    }

    /// Has `put` fill room for received bytes that lies together, and say how much of it. `None` when there is no room.
    pub fn deliver<R>(&mut self, put: impl FnOnce(&mut [u8]) -> (usize, R)) -> Option<R> {
        self.tcp.rx.put(put)
    }

    /// Wakes the program if it waits for received bytes.
    pub fn announce(&mut self) {
        self.tcp.rx.announce();
    }

    /// Tells the program that the peer will send no more.
    pub fn finish(&mut self) {
        self.tcp.set_rx_end(RxEnd::Finished);
    }

    /// Has `take` look at bytes to be sent that lie together, and say how many of them it took. `None` when there are none.
    pub fn collect<R>(&mut self, take: impl FnOnce(&[u8]) -> (usize, R)) -> Option<R> {
        let mut len = 0;
        let result = self.tcp.tx.take(|bytes| {
            let (taken, result) = take(bytes);
            len = taken.min(bytes.len());
            (len, result)
        });
        self.taken = self.taken.wrapping_add(len);
        result
    }

    /// Says how many of the collected bytes the peer has not acknowledged.
    pub fn set_unacknowledged(&mut self, len: usize) {
        self.tcp.set_acknowledged(self.taken.wrapping_sub(len));
    }

    /// Returns whether the program will write no more. What it has written is in the ring by then.
    #[must_use]
    pub fn is_shut_down(&self) -> bool {
        self.tcp.shutdown.load(Ordering::Acquire)
    }

    /// Has the task woken when the program has written something, or shuts down.
    ///
    /// The caller looks for bytes once more afterwards.
    pub fn listen_for_bytes(&self, cx: &Context<'_>) {
        self.tcp.tx.listen_for_data(cx);
    }

    /// Has the task woken when there is room for received bytes.
    ///
    /// The caller looks for room once more afterwards.
    pub fn listen_for_room(&self, cx: &Context<'_>) {
        self.tcp.rx.listen_for_room(cx);
    }
}

/// The provider's side of a UDP socket. Dropping it frees the place.
pub struct UdpEnd {
    udp: Arc<Udp>,
    network: &'static Network,
    _hold: PlaceHold,
}

impl UdpEnd {
    pub(crate) fn new(udp: Arc<Udp>, hold: PlaceHold, network: &'static Network) -> Self {
        Self { udp, network, _hold: hold }
    }

    /// Returns the port that the program wants; 0 for any.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.udp.port
    }

    /// Returns how many datagrams the program wants to have room for that are to be sent.
    #[must_use]
    pub fn tx_datagrams(&self) -> usize {
        self.udp.tx_datagrams
    }

    /// Tells the program its port, or why it has none.
    pub fn set_bound(&mut self, bound: Result<u16, SocketError>) {
        self.udp.set_bound(bound);
    }

    /// Returns whether the program has dropped its socket.
    #[must_use]
    pub fn is_dropped(&self) -> bool {
        self.udp.is_dropped.load(Ordering::Acquire)
    }

    /// Delivers a datagram from `peer` to our address `local`, or drops and counts it when the program is behind.
    pub fn deliver(&mut self, data: &[u8], peer: SocketAddr, local: Option<IpAddr>) {
        if !self.udp.receive(data, peer, local) {
            self.udp.dropped.fetch_add(1, Ordering::Relaxed);
            self.network.dropped_datagrams.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Wakes the program if it waits for datagrams.
    pub fn announce(&mut self) {
        self.udp.rx.announce();
    }

    /// Has `send` try to send the next datagram: false if it has to wait. `None` when there is none.
    pub fn collect(
        &mut self,
        send: impl FnOnce(&[u8], SocketAddr, Option<IpAddr>) -> Result<bool, ()>,
    ) -> Option<bool> {
        let mut is_unsendable = false;
        let sent = self.udp.tx.take_frame(|frame| {
            let result = udp::parse(frame).map_or(Err(()), |(data, peer, local)| send(data, peer, local));
            is_unsendable = result.is_err();
            (result != Ok(false)).then_some(())
        })?;
        if is_unsendable {
            self.network.unsendable_datagrams.fetch_add(1, Ordering::Relaxed);
        }
        Some(sent.is_some())
    }

    /// Has the task woken when there are datagrams to send, or the socket is dropped.
    ///
    /// The caller looks for datagrams once more afterwards.
    pub fn listen(&self, cx: &Context<'_>) {
        self.udp.tx.listen_for_data(cx);
    }
}
