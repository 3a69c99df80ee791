//! Connections that begin without a socket, by segments written out.

use std::net::Ipv4Addr;

use embassy_time::{Duration, Timer};
use net::Event;
use net::services::{self, ECHO_PORT};

use crate::lab::{self, Lab, Node, Tap, fixed, settings, wait_until};

const SECOND: Duration = Duration::from_secs(1);
/// Longest time in which the node answers.
const SOON: Duration = Duration::from_millis(20);
const SYN: u8 = 2;
const RST: u8 = 4;
const PSH_ACK: u8 = 0x18;
const ACK: u8 = 0x10;
const FIN: u8 = 1;
/// The client's first number.
const FIRST: u32 = 0xFFFF_FFFE;
/// Segments of 1460 bytes, selective acknowledgements, and windows of 128 times the number.
const OPTIONS: [u8; 12] = [2, 4, 0x05, 0xb4, 4, 2, 1, 3, 3, 7, 1, 0];

/// A client that exists on paper.
struct Paper {
    tap: Tap,
    server: Node,
    from: (Ipv4Addr, u16),
    mac: [u8; 6],
}

/// A segment from the server.
#[derive(Debug)]
struct Answer {
    flags: u8,
    seq: u32,
    ack: u32,
    window: u16,
    options: Vec<u8>,
    data: Vec<u8>,
}

impl Paper {
    fn new(lab: &Lab, server: &Node, number: u8) -> Self {
        let from = (Ipv4Addr::new(10, 0, 0, number), 4000);
        Self { tap: lab.tap_of_nodes(), server: server.clone(), from, mac: [2, 0, 0, 0, 0, number] }
    }

    fn frame(&self, flags: u8, (seq, ack): (u32, u32), options: &[u8], data: &[u8]) -> Vec<u8> {
        let sum = |parts: &[&[u8]]| {
            let words = parts.concat();
            let word = |word: &[u8]| u32::from(word[0]) << 8 | u32::from(word.get(1).copied().unwrap_or(0));
            let sum: u32 = words.chunks(2).map(word).sum();
            let sum = (sum & 0xFFFF) + (sum >> 16);
            (!((sum & 0xFFFF) + (sum >> 16)) as u16).to_be_bytes()
        };
        let to = self.server.stack.ipv4_address().unwrap();
        let addresses = [self.from.0.octets(), to.octets()].concat();
        let mut tcp = [self.from.1.to_be_bytes(), ECHO_PORT.to_be_bytes()].concat();
        tcp.extend([seq.to_be_bytes(), ack.to_be_bytes()].concat());
        tcp.extend([(5 + options.len() as u8 / 4) << 4, flags, 0x10, 0, 0, 0, 0, 0]);
        tcp.extend([options, data].concat());
        let len = (tcp.len() as u16).to_be_bytes();
        let check = sum(&[&addresses, &[0, 6], &len, &tcp]);
        tcp[16..18].copy_from_slice(&check);
        let total = (20 + tcp.len() as u16).to_be_bytes();
        let mut ip = [&[0x45, 0][..], &total, &[0, 0, 0x40, 0, 64, 6, 0, 0], &addresses].concat();
        let check = sum(&[&ip]);
        ip[10..12].copy_from_slice(&check);
        [&self.server.mac.0[..], &self.mac, &[8, 0], &ip, &tcp].concat()
    }

    async fn send(&self, flags: u8, numbers: (u32, u32), data: &[u8]) {
        let options: &[u8] = if flags & SYN != 0 { &OPTIONS } else { &[] };
        self.tap.send(&self.frame(flags, numbers, options, data)).await;
    }

    /// Returns what the server says to the client next, if it does so soon.
    async fn hear(&self) -> Option<Answer> {
        let to_us = |frame: &[u8]| {
            let is_ours = frame[..6] == self.mac && frame[12..14] == [8, 0] && frame[23] == 6;
            if !is_ours || frame[30..34] != self.from.0.octets() || frame[36..38] != self.from.1.to_be_bytes() {
                return None;
            }
            let number = |at: usize| u32::from_be_bytes(frame[at..at + 4].try_into().unwrap());
            let end = 34 + usize::from(frame[46] >> 4) * 4;
            let total = 14 + usize::from(u16::from_be_bytes([frame[16], frame[17]]));
            Some(Answer {
                flags: frame[47],
                seq: number(38),
                ack: number(42),
                window: u16::from_be_bytes([frame[48], frame[49]]),
                options: frame[54..end].to_vec(),
                data: frame[end..total].to_vec(),
            })
        };
        self.tap.find(SOON, to_us).await
    }

    /// Asks for a connection; returns the server's number.
    async fn ask(&self) -> Answer {
        self.send(SYN, (FIRST, 0), &[]).await;
        let answer = self.hear().await.expect("an answer");
        assert_eq!((answer.flags, answer.ack), (SYN | ACK, FIRST.wrapping_add(1)));
        answer
    }
}

/// A server of echo with two sockets, one of which waits for somebody who has asked for a connection and does not exist:
/// from now on nobody gets a socket by asking.
async fn besieged(lab: &Lab) -> Node {
    let server = lab.node(1, settings(fixed(1)));
    wait_until(SECOND * 5, "an address", || server.stack.ipv4_address().is_some()).await;
    for _ in 0..2 {
        lab.tasks.spawn(services::tcp_echo(server.stack));
    }
    Timer::after(SECOND).await;
    Paper::new(lab, &server, 99).send(SYN, (1, 0), &[]).await;
    Timer::after_millis(100).await;
    assert_eq!(server.stack.status().tcp_connections, 1);
    server
}

fn count(server: &Node, event: Event) -> u64 {
    server.stack.counters().get(event)
}

#[test]
fn a_client_is_answered_without_a_socket_and_gets_one_when_it_confirms() {
    lab::run(|lab| async move {
        let server = besieged(&lab).await;
        let client = Paper::new(&lab, &server, 9);
        let answer = client.ask().await;
        // Nobody was asked where the client is.
        assert_eq!((count(&server, Event::TcpAnswered), server.stack.status().tcp_connections), (1, 1));
        assert_eq!((answer.window, &answer.options[..4]), (16 << 10, &[2, 4, 0x05, 0xb4][..]));
        assert!(answer.options.windows(3).any(|option| option == [3, 3, 0]), "{answer:?}");
        assert!(answer.options.windows(2).any(|option| option == [4, 2]), "{answer:?}");
        let (mut seq, mut ack) = (FIRST.wrapping_add(1), answer.seq.wrapping_add(1));
        client.send(ACK, (seq, ack), &[]).await;
        Timer::after_millis(5).await;
        assert_eq!((count(&server, Event::TcpConfirmed), server.stack.status().tcp_connections), (1, 2));
        for _ in 0..3 {
            client.send(PSH_ACK, (seq, ack), b"hello").await;
            let answer = client.hear().await.expect("an echo");
            assert_eq!((answer.seq, answer.ack, &answer.data[..]), (ack, seq.wrapping_add(5), &b"hello"[..]));
            (seq, ack) = (seq.wrapping_add(5), ack.wrapping_add(5));
        }
        client.send(FIN | ACK, (seq, ack), &[]).await;
        while client.hear().await.expect("a good-bye").flags & FIN == 0 {}
    });
}

/// A server of echo with two sockets, of which the first listens behind the back of a client that has the second.
async fn second_of_two(lab: &Lab, client: &dyn Fn(&Node, u8) -> Paper) -> (Node, Paper, Answer) {
    let server = lab.node(1, settings(fixed(1)));
    wait_until(SECOND * 5, "an address", || server.stack.ipv4_address().is_some()).await;
    for _ in 0..2 {
        lab.tasks.spawn(services::tcp_echo(server.stack));
    }
    Timer::after(SECOND).await;
    let [first, second] = [8, 9].map(|number| client(&server, number));
    for paper in [&first, &second] {
        paper.tap.send(&paper.arp()).await;
    }
    let ack = first.ask().await.seq.wrapping_add(1);
    first.send(ACK, (FIRST.wrapping_add(1), ack), &[]).await;
    Timer::after_millis(5).await;
    let answer = second.ask().await;
    first.send(RST, (FIRST.wrapping_add(1), 0), &[]).await;
    Timer::after_millis(5).await;
    (server, second, answer)
}

#[test]
fn a_request_that_comes_again_begins_no_second_connection() {
    lab::run(|lab| async move {
        let (server, client, answer) = second_of_two(&lab, &|server, number| Paper::new(&lab, server, number)).await;
        let (seq, ack) = (FIRST.wrapping_add(1), answer.seq.wrapping_add(1));
        // Before it is confirmed: a client that got two numbers would be lost by one of them.
        client.send(SYN, (FIRST, 0), &[]).await;
        assert!(client.hear().await.is_none_or(|again| again.seq == answer.seq));
        assert_eq!(server.stack.status().tcp_connections, 1);
        client.send(PSH_ACK, (seq, ack), b"hello").await;
        assert_eq!(client.hear().await.expect("an echo").data, b"hello");
        let (seq, ack) = (seq.wrapping_add(5), ack.wrapping_add(5));
        client.send(ACK, (seq, ack), &[]).await;
        // And when it is confirmed.
        client.send(SYN, (FIRST, 0), &[]).await;
        assert!(client.hear().await.is_none());
        assert_eq!(server.stack.status().tcp_connections, 1);
        client.send(PSH_ACK, (seq, ack), b"again").await;
        assert_eq!(client.hear().await.expect("an echo").data, b"again");
    });
}

#[test]
fn who_waits_and_asks_again_goes_on_waiting() {
    lab::run(|lab| async move {
        let server = besieged(&lab).await;
        let [holder, other, client] = [7, 8, 9].map(|number| Paper::new(&lab, &server, number));
        let mut acks = Vec::new();
        for paper in [&holder, &other, &client] {
            let ack = paper.ask().await.seq.wrapping_add(1);
            paper.send(PSH_ACK, (FIRST.wrapping_add(1), ack), b"hello").await;
            acks.push(ack);
            if acks.len() < 3 {
                assert_eq!(paper.hear().await.expect("an echo").data, b"hello");
            }
        }
        Timer::after_millis(5).await;
        assert_eq!(count(&server, Event::TcpWaited), 1);
        client.send(SYN, (FIRST, 0), &[]).await;
        holder.send(RST, (FIRST.wrapping_add(6), 0), &[]).await;
        let echo = client.hear().await.expect("an echo");
        assert_eq!((echo.seq, &echo.data[..]), (acks[2], &b"hello"[..]));
    });
}

#[test]
fn of_two_answers_each_is_good() {
    lab::run(|lab| async move {
        let server = besieged(&lab).await;
        let [client, rival, other] = [9, 8, 7].map(|number| Paper::new(&lab, &server, number));
        for paper in [&client, &rival, &other] {
            paper.tap.send(&paper.arp()).await;
        }
        let first = client.ask().await;
        // The socket that is for somebody who does not exist goes to one of these, who leave; then a socket is to be had for asking.
        for paper in [&rival, &other] {
            let ack = paper.ask().await.seq.wrapping_add(1);
            paper.send(ACK, (FIRST.wrapping_add(1), ack), &[]).await;
            Timer::after_millis(5).await;
        }
        for paper in [&rival, &other] {
            paper.send(RST, (FIRST.wrapping_add(1), 0), &[]).await;
        }
        assert_eq!(count(&server, Event::TcpConfirmed), 2);
        // Numbers change every eight seconds.
        Timer::after(SECOND * 8).await;
        let second = client.ask().await;
        assert_ne!(first.seq, second.seq);
        assert_eq!(server.stack.status().tcp_connections, 1, "it has a socket");
        client.send(PSH_ACK, (FIRST.wrapping_add(1), first.seq.wrapping_add(1)), b"hello").await;
        let echo = client.hear().await.expect("an echo");
        assert_eq!((echo.flags & RST, echo.seq, &echo.data[..]), (0, first.seq.wrapping_add(1), &b"hello"[..]));
        assert_eq!(server.stack.status().tcp_connections, 1);
    });
}

#[test]
fn what_comes_with_the_confirmation_or_instead_of_it_is_not_lost() {
    lab::run(|lab| async move {
        let server = besieged(&lab).await;
        let client = Paper::new(&lab, &server, 9);
        // The bare confirmation is lost.
        let answer = client.ask().await;
        client.send(PSH_ACK, (FIRST.wrapping_add(1), answer.seq.wrapping_add(1)), b"hello").await;
        let echo = client.hear().await.expect("an echo");
        assert_eq!((echo.seq, &echo.data[..]), (answer.seq.wrapping_add(1), &b"hello"[..]));
        assert!(echo.options.is_empty());
    });
}

#[test]
fn only_who_has_the_answer_gets_a_socket() {
    lab::run(|lab| async move {
        let server = besieged(&lab).await;
        let [client, other] = [9, 8].map(|number| Paper::new(&lab, &server, number));
        for paper in [&client, &other] {
            paper.tap.send(&paper.arp()).await;
        }
        let answer = client.ask().await;
        let (seq, ack) = (FIRST.wrapping_add(1), answer.seq.wrapping_add(1));
        // Wrong answers, somebody else's answer, and another number of the client's own: all are refused.
        for bit in 0..32 {
            client.send(ACK, (seq, ack ^ 1 << bit), &[]).await;
            assert_eq!(client.hear().await.expect("a refusal").flags & RST, RST);
        }
        client.send(ACK, (seq.wrapping_add(1), ack), &[]).await;
        assert_eq!(client.hear().await.expect("a refusal").flags & RST, RST);
        other.send(ACK, (seq, ack), &[]).await;
        Timer::after_millis(50).await;
        assert_eq!((count(&server, Event::TcpConfirmed), server.stack.status().tcp_connections), (0, 1));
        // The right one is good once, and too old later.
        client.send(ACK, (seq, ack), &[]).await;
        client.send(ACK, (seq, ack), &[]).await;
        Timer::after_millis(50).await;
        assert_eq!((count(&server, Event::TcpConfirmed), server.stack.status().tcp_connections), (1, 2));
        client.send(RST, (seq, 0), &[]).await;
        Timer::after(SECOND * 17).await;
        client.send(ACK, (seq, ack), &[]).await;
        assert_eq!(client.hear().await.expect("a refusal").flags & RST, RST);
        assert_eq!(count(&server, Event::TcpConfirmed), 1);
    });
}

#[test]
fn a_connection_that_made_room_before_it_was_confirmed_goes_on() {
    lab::run(|lab| async move {
        let server = lab.node(1, settings(fixed(1)));
        wait_until(SECOND * 5, "an address", || server.stack.ipv4_address().is_some()).await;
        lab.tasks.spawn(services::tcp_echo(server.stack));
        Timer::after(SECOND).await;
        let [first, second] = [9, 8].map(|number| Paper::new(&lab, &server, number));
        first.tap.send(&first.arp()).await;
        // The only socket.
        let answer = first.ask().await;
        assert_eq!((count(&server, Event::TcpAnswered), server.stack.status().tcp_connections), (0, 1));
        let numbers = |answer: &Answer| (FIRST.wrapping_add(1), answer.seq.wrapping_add(1));
        let early = second.ask().await;
        second.send(PSH_ACK, numbers(&early), b"second").await;
        assert_eq!(second.hear().await.expect("an echo").data, b"second");
        assert_eq!(count(&server, Event::TcpHalfOpenDropped), 1);
        // The first waits, with what it says, until the second has gone.
        first.send(ACK, numbers(&answer), &[]).await;
        first.send(PSH_ACK, numbers(&answer), b"first").await;
        assert!(first.hear().await.is_none());
        assert_eq!(count(&server, Event::TcpWaited), 1);
        second.send(RST, (numbers(&early).0.wrapping_add(6), 0), &[]).await;
        let echo = first.hear().await.expect("an echo");
        assert_eq!((echo.seq, &echo.data[..]), (numbers(&answer).1, &b"first"[..]));
    });
}

#[test]
fn those_who_wait_are_bounded_and_the_newest_is_the_first() {
    lab::run(|lab| async move {
        let server = besieged(&lab).await;
        let papers: Vec<_> = (0..100)
            .map(|number| Paper { from: (Ipv4Addr::new(10, 0, 0, 9), 5000 + number), ..Paper::new(&lab, &server, 9) })
            .collect();
        for paper in &papers {
            let answer = paper.ask().await;
            paper.send(PSH_ACK, (FIRST.wrapping_add(1), answer.seq.wrapping_add(1)), &paper.from.1.to_be_bytes()).await;
        }
        Timer::after_millis(10).await;
        // Two have sockets, 64 wait.
        assert_eq!(count(&server, Event::TcpConfirmed), 66);
        assert_eq!(count(&server, Event::TcpForgotten), 34);
        for paper in &papers[..2] {
            paper.send(RST, (FIRST.wrapping_add(3), 0), &[]).await;
        }
        for paper in &papers[64..66] {
            assert_eq!(paper.hear_data().await, paper.from.1.to_be_bytes());
        }
        // A minute later all others are told.
        papers[50].tap.clear();
        Timer::after(SECOND * 61).await;
        while papers[50].hear().await.expect("a refusal").flags & RST == 0 {}
        server.assert_no_leak();
    });
}

#[test]
fn nobody_is_answered_for_a_group_or_in_the_name_of_everybody() {
    lab::run(|lab| async move {
        let server = besieged(&lab).await;
        let answered = count(&server, Event::TcpAnswered);
        for from in [[10, 0, 0, 255], [255; 4], [224, 0, 0, 1], [0; 4]] {
            let paper = Paper { from: (from.into(), 4000), ..Paper::new(&lab, &server, 9) };
            paper.send(SYN, (FIRST, 0), &[]).await;
            assert!(paper.hear().await.is_none(), "{from:?}");
        }
        assert_eq!(count(&server, Event::TcpAnswered), answered);
    });
}

impl Paper {
    /// An announcement of where the client is, as the answer to a question.
    fn arp(&self) -> Vec<u8> {
        let own = self.server.stack.ipv4_address().unwrap().octets();
        let head = [&self.server.mac.0[..], &self.mac, &[8, 6, 0, 1, 8, 0, 6, 4, 0, 2]].concat();
        [&head[..], &self.mac, &self.from.0.octets(), &self.server.mac.0, &own].concat()
    }

    /// Returns the data of the next segment that has some.
    async fn hear_data(&self) -> Vec<u8> {
        loop {
            let data = self.hear().await.expect("data").data;
            if !data.is_empty() {
                return data;
            }
        }
    }
}
