//! UDP sockets of programs on other cores.

use core::future::poll_fn;
use core::task::{Context, Poll};

use embassy_time::{Duration, with_timeout};
use sockets::SocketError;
use sockets::portal::UdpEnd;

use crate::socket::udp::{DATAGRAM_LEN_MAX, UdpSocket};
use crate::stack::Stack;

/// Datagrams that smoltcp holds until this task runs, which is after at most 32 received frames. What the program is too
/// slow for is dropped here, where it is counted.
const RX_PACKETS: usize = 64;
/// The same for what is to be sent; programs that send little get less.
const TX_PACKETS: core::ops::RangeInclusive<usize> = 4..=64;
/// A dropped socket stays this long for its last datagrams: finding a neighbour takes a moment.
const LINGER: Duration = Duration::from_secs(1);

/// Serves a socket until the program has dropped it.
pub(super) async fn serve(stack: &'static Stack, mut end: UdpEnd) {
    let tx_packets = end.tx_datagrams().clamp(*TX_PACKETS.start(), *TX_PACKETS.end());
    let room = |packets| (packets, packets * DATAGRAM_LEN_MAX);
    let socket = match end.port() {
        port if stack.is_taken_udp(port) => Err(SocketError::PortInUse),
        port => {
            UdpSocket::bind_with(stack, port, room(RX_PACKETS), room(tx_packets)).map_err(|_| SocketError::PortInUse)
        }
    };
    let mut socket = match socket {
        Ok(socket) => socket,
        Err(error) => return end.set_bound(Err(error)),
    };
    end.set_bound(Ok(socket.port()));
    poll_fn(|cx| poll(&mut socket, &mut end, cx)).await;
    // Late or not, the socket is gone afterwards.
    let _ = with_timeout(LINGER, poll_fn(|cx| socket.poll_sent(cx))).await;
}

fn poll(socket: &mut UdpSocket, end: &mut UdpEnd, cx: &mut Context<'_>) -> Poll<()> {
    let mut has_received = false;
    while socket.poll_recv_with(cx, |data, peer, local| end.deliver(data, peer, local)).is_ready() {
        has_received = true;
    }
    if has_received {
        end.announce();
    }
    let mut has_sent = false;
    let mut has_listened = false;
    loop {
        // Before the look at the datagrams: all that were sent are there.
        let is_dropped = end.is_dropped();
        match end.collect(|data, peer, local| socket.try_send(data, peer, local).map_err(|_| ())) {
            Some(true) => has_sent = true,
            Some(false) if is_dropped => return Poll::Ready(()),
            Some(false) => {
                // Nobody tells of a dropped socket then, but the way gets free sooner or later.
                socket.register_send_waker(cx);
                break;
            }
            None if is_dropped => return Poll::Ready(()),
            None if has_listened => break,
            None => {
                end.listen(cx);
                has_listened = true;
            }
        }
    }
    if has_sent {
        socket.kick();
    }
    Poll::Pending
}
