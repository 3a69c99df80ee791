//! TCP connections of programs on other cores.

use core::future::poll_fn;
use core::task::{Context, Poll};

use embassy_futures::select::{Either, select};
use embassy_time::{Instant, with_deadline};
use smoltcp::socket::tcp::{self, State as TcpState};
use sockets::SocketError;
use sockets::portal::{Order, RxEnd, State, TcpEnd};

use crate::backlog::Spare;
use crate::socket::tcp::{CLOSE_TIMEOUT, TcpError, TcpSocket};
use crate::stack::Stack;

/// Smoltcp's own buffers are at least this long: a segment fits.
const BUFFER_LEN_MIN: usize = 2048;

/// Serves a socket until the program has dropped it.
pub(super) async fn serve(stack: &'static Stack, mut end: TcpEnd) {
    let (rx_len, tx_len) = end.lens();
    let mut socket = TcpSocket::new(stack, rx_len.max(BUFFER_LEN_MIN), tx_len.max(BUFFER_LEN_MIN));
    stack.add_guest(socket.handle());
    loop {
        let mut order = end.next_order().await;
        if matches!(order, Order::Listen(_) | Order::Connect(_)) {
            let Some(next) = connection(stack, &mut socket, &mut end, order).await else { continue };
            order = next;
        }
        if matches!(order, Order::Close | Order::Drop { after_close: true }) {
            order = close(stack, &mut socket, &mut end, order).await;
        }
        socket.abort();
        if matches!(order, Order::Drop { .. }) {
            stack.remove_guest(socket.handle());
            return;
        }
        end.report_idle();
    }
}

/// Makes a connection and serves it. Returns the order that has ended it; `None` if that is still to be looked at.
async fn connection(stack: &'static Stack, socket: &mut TcpSocket, end: &mut TcpEnd, order: Order) -> Option<Order> {
    end.report(State::Busy, None, None);
    let establish = async {
        match order {
            Order::Listen(port) if stack.is_taken_tcp(port) => Err(SocketError::PortInUse),
            Order::Listen(port) => socket.accept(port).await.map_err(to_error),
            Order::Connect(peer) => socket.connect(peer).await.map_err(to_error),
            _ => Err(SocketError::ConnectionReset),
        }
    };
    match select(end.wait_order(), establish).await {
        Either::First(()) => {
            socket.abort();
            return None;
        }
        Either::Second(Err(error)) => {
            end.report(State::Failed(error), None, None);
            return None;
        }
        Either::Second(Ok(())) => end.report(State::Open, socket.peer(), socket.local()),
    }
    let mut pump = Pump { stack, socket, end, is_finished: false, is_closing: false };
    poll_fn(|cx| pump.poll(cx)).await;
    // However it has ended, the program has something more to say.
    Some(end.next_order().await)
}

/// Sends what the program has written and says good-bye, as long as nothing else is ordered.
async fn close(stack: &'static Stack, socket: &mut TcpSocket, end: &mut TcpEnd, mut order: Order) -> Order {
    let deadline = Instant::now() + CLOSE_TIMEOUT;
    socket.set_spare(Some(Spare::Closing));
    while matches!(order, Order::Close | Order::Drop { after_close: true }) {
        let mut pump = Pump { stack, socket, end, is_finished: false, is_closing: true };
        match with_deadline(deadline, poll_fn(|cx| pump.poll(cx))).await {
            Ok(Ended::Ordered) => order = end.take_order(),
            Ok(Ended::Gone) | Err(_) => return order,
        }
    }
    order
}

fn to_error(error: TcpError) -> SocketError {
    match error {
        TcpError::ConnectionReset => SocketError::ConnectionReset,
        TcpError::Refused => SocketError::Refused,
        TcpError::NoRoute => SocketError::NoRoute,
    }
}

/// Moves the bytes of one connection.
struct Pump<'a> {
    stack: &'static Stack,
    socket: &'a mut TcpSocket,
    end: &'a mut TcpEnd,
    /// The program knows that the peer will send no more.
    is_finished: bool,
    /// The program is no longer interested in what comes.
    is_closing: bool,
}

/// Why a pump has stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    /// There is a new order.
    Ordered,
    /// There is no connection any more, and the program knows.
    Gone,
}

impl Pump<'_> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Ended> {
        if self.end.poll_order(cx).is_ready() {
            return Poll::Ready(Ended::Ordered);
        }
        let Self { stack, socket, end, is_finished, is_closing } = self;
        let (mut has_read, mut has_sent) = (false, false);
        let result = socket.with(|socket| {
            // The peer is told of the new room with the next acknowledgement, unless it is short of it.
            let is_short = socket.recv_queue() >= socket.recv_capacity() / 2;
            has_read = receive(socket, end, *is_closing, cx) && is_short;
            let state = socket.state();
            if !*is_finished && !socket.may_recv() && state != TcpState::Closed {
                *is_finished = true;
                end.finish();
            }
            if matches!(state, TcpState::Closed | TcpState::TimeWait) && !socket.can_recv() {
                end.set_unacknowledged(socket.send_queue());
                end.lose(if *is_finished { RxEnd::Finished } else { RxEnd::Lost });
                return Poll::Ready(Ended::Gone);
            }
            has_sent = send(socket, end, cx);
            end.set_unacknowledged(socket.send_queue());
            socket.register_recv_waker(cx.waker());
            socket.register_send_waker(cx.waker());
            Poll::Pending
        });
        if has_read || has_sent {
            stack.kick();
        }
        result
    }
}

/// Moves received bytes to the program. Returns whether there were any.
fn receive(socket: &mut tcp::Socket<'_>, end: &mut TcpEnd, is_closing: bool, cx: &Context<'_>) -> bool {
    let mut has_moved = false;
    let mut has_listened = false;
    while socket.can_recv() {
        if is_closing {
            // Nobody will read it.
            let _ = socket.recv(|bytes| (bytes.len(), ()));
            continue;
        }
        let moved = end.deliver(|room| {
            let len = socket.recv_slice(room).unwrap_or(0);
            (len, len)
        });
        match moved {
            Some(len) => has_moved |= len > 0,
            None if has_listened => break,
            None => {
                end.listen_for_room(cx);
                has_listened = true;
            }
        }
    }
    if has_moved {
        end.announce();
    }
    has_moved
}

/// Moves the program's bytes to smoltcp, and its good-bye after them. Returns whether there is something to send.
fn send(socket: &mut tcp::Socket<'_>, end: &mut TcpEnd, cx: &Context<'_>) -> bool {
    let mut has_moved = false;
    let mut has_listened = false;
    while socket.can_send() {
        // Before the look at the bytes: all that was written is there.
        let is_shut_down = end.is_shut_down();
        let moved = end.collect(|bytes| {
            let len = socket.send_slice(bytes).unwrap_or(0);
            (len, ())
        });
        if moved.is_some() {
            has_moved = true;
        } else if is_shut_down {
            socket.close();
            return true;
        } else if has_listened {
            break;
        } else {
            end.listen_for_bytes(cx);
            has_listened = true;
        }
    }
    has_moved
}
