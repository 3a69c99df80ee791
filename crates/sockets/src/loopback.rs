//! A network of one node without a stack: for tests of programs.
//!
//! Whoever connects, to whatever address, reaches the socket that listens on that port; datagrams go to the socket that has
//! it. What is written is at the other side at once, and acknowledged when it is read. An extra address is the node's at once.

use core::future::poll_fn;
use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use core::pin::pin;
use core::task::{Context, Poll};

use alloc::vec::Vec;

use embassy_time::Instant;

use crate::address::AddressState;
use crate::network::PLACES;
use crate::portal::{Guest, Order, RxEnd, State, TcpEnd, UdpEnd};
use crate::{Network, SocketError};

/// The address that all sockets have.
pub const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// The first port for sockets that name none.
const FIRST_PORT: u16 = 49_152;

/// Provides `network` for ever. Names are answered with [`ADDRESS`].
pub async fn run(network: &'static Network) -> ! {
    let mut hub = Hub { network, tcp: Vec::new(), udp: Vec::new(), next_port: FIRST_PORT, address: None };
    poll_fn(|cx| {
        hub.admit(cx);
        while hub.turn(cx) {}
        Poll::Pending
    })
    .await
}

/// What a socket is doing.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Doing {
    Nothing,
    Listening(u16),
    /// Has a connection with the socket of this number.
    Connected {
        with: u64,
        is_finished: bool,
        is_closing: bool,
    },
    /// Its connection is over, and it knows.
    Over,
}

struct Socket {
    number: u64,
    end: TcpEnd,
    doing: Doing,
    /// It is to end when its peer has everything.
    leave: Option<Order>,
}

struct Hub {
    network: &'static Network,
    tcp: Vec<Socket>,
    udp: Vec<(u16, UdpEnd)>,
    next_port: u16,
    /// The claim of an extra address that it has granted.
    address: Option<u32>,
}

impl Hub {
    fn take_port(&mut self) -> u16 {
        self.next_port = self.next_port.checked_add(1).unwrap_or(FIRST_PORT);
        self.next_port
    }

    /// Takes in sockets and answers questions.
    fn admit(&mut self, cx: &mut Context<'_>) {
        for place in 0..PLACES {
            while let Poll::Ready(guest) = pin!(self.network.next_guest(place)).poll(cx) {
                match guest {
                    Guest::Tcp(end) => {
                        let number = self.tcp.last().map_or(1, |last| last.number + 1);
                        self.tcp.push(Socket { number, end, doing: Doing::Nothing, leave: None });
                    }
                    Guest::Udp(mut end) => {
                        let port = if end.port() == 0 { self.take_port() } else { end.port() };
                        if self.udp.iter().any(|(taken, _)| *taken == port) {
                            end.set_bound(Err(SocketError::PortInUse));
                        } else {
                            end.set_bound(Ok(port));
                            self.udp.push((port, end));
                        }
                    }
                }
            }
        }
        loop {
            let order = self.network.address_order(Instant::now());
            let number = order.map(|order| order.number);
            if let Some(number) = number.filter(|_| number != self.address) {
                self.network.report_address(number, AddressState::Held);
            }
            self.address = number;
            if pin!(self.network.wait_address_order(order)).poll(cx).is_pending() {
                break;
            }
        }
        for place in 0..crate::name::QUESTIONS {
            while let Poll::Ready(question) = pin!(self.network.next_question(place)).poll(cx) {
                question.answer(Some(ADDRESS));
            }
        }
    }

    /// Does what there is to do; returns whether something has changed.
    fn turn(&mut self, cx: &Context<'_>) -> bool {
        let mut has_changed = self.datagrams(cx);
        let numbers: Vec<u64> = self.tcp.iter().map(|socket| socket.number).collect();
        for number in numbers {
            has_changed |= self.obey(number, cx);
            has_changed |= self.pump(number, cx);
            has_changed |= self.settle(number);
        }
        has_changed
    }

    fn socket(&mut self, number: u64) -> Option<&mut Socket> {
        self.tcp.iter_mut().find(|socket| socket.number == number)
    }

    /// Carries out the newest order of a socket, if there is one.
    fn obey(&mut self, number: u64, cx: &Context<'_>) -> bool {
        let Some(socket) = self.socket(number) else { return false };
        if socket.end.poll_order(cx).is_pending() {
            return false;
        }
        let order = socket.end.take_order();
        if matches!(order, Order::Close | Order::Drop { after_close: true }) {
            if let Doing::Connected { is_closing, .. } = &mut socket.doing {
                *is_closing = true;
            }
            socket.leave = Some(order);
            return true;
        }
        socket.leave = None;
        self.lose_peer(number);
        match order {
            Order::Drop { .. } => self.tcp.retain(|socket| socket.number != number),
            Order::Connect(to) => self.connect(number, to),
            _ => {
                let Some(socket) = self.socket(number) else { return true };
                match order {
                    Order::Listen(0) => socket.end.report(State::Failed(SocketError::NoRoute), None, None),
                    Order::Listen(port) => {
                        socket.doing = Doing::Listening(port);
                        socket.end.report(State::Busy, None, None);
                    }
                    _ => {
                        socket.doing = Doing::Nothing;
                        socket.end.report_idle();
                    }
                }
            }
        }
        true
    }

    /// Lets a socket go that wants to leave when its peer has all that it wrote.
    fn settle(&mut self, number: u64) -> bool {
        let Some(socket) = self.socket(number) else { return false };
        let (Some(leave), doing) = (socket.leave, socket.doing) else { return false };
        if let Doing::Connected { with, .. } = doing
            && let Some(peer) = self.socket(with)
            && let Doing::Connected { is_finished: false, .. } = peer.doing
        {
            return false;
        }
        if leave == Order::Close {
            if let Some(socket) = self.socket(number) {
                (socket.doing, socket.leave) = (Doing::Nothing, None);
                socket.end.report_idle();
            }
        } else {
            self.tcp.retain(|socket| socket.number != number);
        }
        true
    }

    /// Resets the connection of a socket.
    fn lose_peer(&mut self, number: u64) {
        let Some(socket) = self.socket(number) else { return };
        let Doing::Connected { with, .. } = core::mem::replace(&mut socket.doing, Doing::Over) else { return };
        if let Some(peer) = self.socket(with) {
            peer.doing = Doing::Over;
            peer.end.lose(RxEnd::Lost);
        }
    }

    fn connect(&mut self, number: u64, to: SocketAddr) {
        let from = SocketAddr::new(ADDRESS, self.take_port());
        let listener = self.tcp.iter_mut().find(|socket| socket.doing == Doing::Listening(to.port()));
        let with = listener.map(|listener| {
            listener.doing = Doing::Connected { with: number, is_finished: false, is_closing: false };
            listener.end.report(State::Open, Some(from), Some(to));
            listener.number
        });
        let Some(socket) = self.socket(number) else { return };
        match with {
            Some(with) => {
                socket.doing = Doing::Connected { with, is_finished: false, is_closing: false };
                socket.end.report(State::Open, Some(to), Some(from));
            }
            None => socket.end.report(State::Failed(SocketError::Refused), None, None),
        }
    }

    /// Moves what a socket has written to its peer.
    fn pump(&mut self, number: u64, cx: &Context<'_>) -> bool {
        let Some(at) = self.tcp.iter().position(|socket| socket.number == number) else { return false };
        let Some(Doing::Connected { with, .. }) = self.tcp.get(at).map(|socket| socket.doing) else { return false };
        let is_peer = |socket: &Socket| {
            socket.number == with && matches!(socket.doing, Doing::Connected { with, .. } if with == number)
        };
        let Some(to) = self.tcp.iter().position(is_peer) else {
            // It has left, and reads nothing any more.
            let Some(from) = self.tcp.get_mut(at) else { return false };
            let has_moved = from.end.collect(|bytes| (bytes.len(), ())).is_some();
            from.end.set_unacknowledged(0);
            from.end.listen_for_bytes(cx);
            return has_moved;
        };
        let Ok([from, to]) = self.tcp.get_disjoint_mut([at, to]) else { return false };
        let Doing::Connected { is_finished, is_closing, .. } = &mut to.doing else { return false };
        let mut has_moved = false;
        let mut has_listened = false;
        loop {
            let is_shut_down = from.end.is_shut_down();
            let moved = from.end.collect(|bytes| {
                if *is_closing {
                    return (bytes.len(), Some(bytes.len()));
                }
                let len = to.end.deliver(|room| {
                    let (len, _) = crate::ring::copy(bytes, room);
                    (len, len)
                });
                (len.unwrap_or(0), len)
            });
            match moved {
                Some(Some(_)) => has_moved = true,
                None if is_shut_down && !*is_finished => {
                    *is_finished = true;
                    to.end.finish();
                    has_moved = true;
                }
                Some(None) | None if has_listened => break,
                Some(None) => {
                    to.end.listen_for_room(cx);
                    has_listened = true;
                }
                None => {
                    from.end.listen_for_bytes(cx);
                    has_listened = true;
                }
            }
        }
        if has_moved {
            from.end.set_unacknowledged(0);
            to.end.announce();
        }
        has_moved
    }

    /// Moves datagrams to where they are sent to.
    fn datagrams(&mut self, cx: &Context<'_>) -> bool {
        let mut has_moved = false;
        for at in 0..self.udp.len() {
            let mut has_listened = false;
            loop {
                let mut datagram = None;
                let Some((port, end)) = self.udp.get_mut(at) else { break };
                let from = SocketAddr::new(ADDRESS, *port);
                let collected = end.collect(|data, peer, _| {
                    datagram = Some((data.to_vec(), peer));
                    Ok(true)
                });
                if collected.is_none() {
                    if has_listened {
                        break;
                    }
                    end.listen(cx);
                    has_listened = true;
                    continue;
                }
                has_moved = true;
                let Some((data, peer)) = datagram else { continue };
                if let Some((_, to)) = self.udp.iter_mut().find(|(port, _)| *port == peer.port()) {
                    to.deliver(&data, from, Some(ADDRESS));
                    to.announce();
                }
            }
        }
        self.udp.retain(|(_, end)| !end.is_dropped());
        has_moved
    }
}
